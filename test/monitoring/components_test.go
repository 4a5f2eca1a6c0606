// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// build renders a kustomization, which may name folders of this repository as it is on GitHub.
func build(t *testing.T, kustomization string) resmap.ResMap {
	t.Helper()
	g := NewWithT(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	checkout, err := filepath.Abs(root)
	g.Expect(err).NotTo(HaveOccurred())
	checkout, err = filepath.EvalSymlinks(checkout)
	g.Expect(err).NotTo(HaveOccurred())
	here, err := filepath.Rel(dir, checkout)
	g.Expect(err).NotTo(HaveOccurred())
	kustomization = strings.NewReplacer("https://github.com/virtual-kubelet/connector-operator", here, "?ref=main", "").Replace(kustomization)
	g.Expect(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600)).To(Succeed())
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	g.Expect(err).NotTo(HaveOccurred())
	return built
}

func ids(built resmap.ResMap) []string {
	var found []string
	for _, object := range built.Resources() {
		found = append(found, object.GetKind()+"/"+object.GetName())
	}
	return found
}

// the returns the one object of a kind and name.
func the(t *testing.T, built resmap.ResMap, kind, name string) *resource.Resource {
	t.Helper()
	for _, object := range built.Resources() {
		if object.GetKind() == kind && object.GetName() == name {
			return object
		}
	}
	t.Fatalf("no %s %s", kind, name)
	return nil
}

// field returns what is at a path of an object.
func field(t *testing.T, object *resource.Resource, path string) any {
	t.Helper()
	value, err := object.GetFieldValue(path)
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), path)
	return value
}

// TestComponents builds the overlay that docs/metrics.md shows.
func TestComponents(t *testing.T) {
	g := NewWithT(t)
	_, overlay, found := strings.Cut(read(t, "docs/metrics.md"), "```yaml\n")
	g.Expect(found).To(BeTrue())
	overlay, _, _ = strings.Cut(overlay, "```")
	with := build(t, overlay)
	plain := build(t, "resources:\n- https://github.com/virtual-kubelet/connector-operator/config/default\n")

	var added []string
	before := ids(plain)
	for _, id := range ids(with) {
		if !slices.Contains(before, id) {
			added = append(added, id)
		}
	}
	g.Expect(added).To(ConsistOf(
		"ServiceMonitor/vk-connector-operator", "PrometheusRule/vk-connector-operator",
		"ClusterRole/vk-connector-metrics-reader", "ClusterRoleBinding/vk-connector-metrics-reader",
		"Role/vk-connector-metrics-discovery", "RoleBinding/vk-connector-metrics-discovery",
		"ConfigMap/vk-connector-dashboard"))

	service, monitor := the(t, with, "Service", "vk-connector-operator-metrics"), the(t, with, "ServiceMonitor", "vk-connector-operator")
	g.Expect(monitor.GetNamespace()).To(Equal(service.GetNamespace()))
	for label, value := range field(t, monitor, "spec.selector.matchLabels").(map[string]any) {
		g.Expect(service.GetLabels()).To(HaveKeyWithValue(label, value))
	}
	g.Expect(field(t, monitor, "spec.endpoints.0.port")).To(Equal(field(t, service, "spec.ports.0.name")))

	dashboard := the(t, with, "ConfigMap", "vk-connector-dashboard")
	g.Expect(dashboard.GetLabels()).To(HaveKeyWithValue("grafana_dashboard", "1"))
	g.Expect(dashboard.GetDataMap()).To(HaveKeyWithValue(filepath.Base(dashboardFile), read(t, dashboardFile)))
}
