// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

var chart = filepath.Join(root, "config/chart")

// helm runs Helm, and returns what it printed.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	needTools(t)
	command := exec.CommandContext(t.Context(), os.Getenv("HELM"), args...)
	var output, problems bytes.Buffer
	command.Stdout, command.Stderr = &output, &problems
	// It is to keep nothing, and to know no cluster.
	command.Env = append(os.Environ(), "HOME="+t.TempDir(), "KUBECONFIG="+os.DevNull)
	if err := command.Run(); err != nil {
		return output.String(), fmt.Errorf("helm %s: %w: %s%s", strings.Join(args, " "), err, problems.String(), output.String())
	}
	return output.String(), nil
}

// rendered is what Helm makes of the chart, without what is Helm's own.
func rendered(t *testing.T, args ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	output, err := helm(t, append([]string{"template", "release", chart, "--namespace=" + namespace}, args...)...)
	g.Expect(err).NotTo(HaveOccurred())
	objects, err := decode([]byte(output))
	g.Expect(err).NotTo(HaveOccurred())
	for _, object := range objects {
		drop := []string{"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"}
		for _, fields := range [][]string{{"metadata", "labels"}, {"spec", "template", "metadata", "labels"}} {
			labels, found, err := unstructured.NestedStringMap(object.Object, fields...)
			g.Expect(err).NotTo(HaveOccurred())
			if !found {
				continue
			}
			for _, key := range drop {
				g.Expect(labels).To(HaveKey(key), name(object))
				delete(labels, key)
			}
			g.Expect(unstructured.SetNestedStringMap(object.Object, labels, fields...)).To(Succeed())
		}
	}
	return byName(objects)
}

// installed is what kustomize makes, but for the Namespace.
func installed(t *testing.T, folder string) map[string]*unstructured.Unstructured {
	t.Helper()
	objects := byName(build(t, folder))
	delete(objects, "Namespace /"+namespace)
	return objects
}

// expectSame compares objects as JSON, in which all numbers are alike.
func expectSame(g Gomega, got, want map[string]*unstructured.Unstructured) {
	g.Expect(slices.Sorted(maps.Keys(got))).To(Equal(slices.Sorted(maps.Keys(want))))
	for name, object := range want {
		wanted, err := object.MarshalJSON()
		g.Expect(err).NotTo(HaveOccurred())
		content, err := got[name].MarshalJSON()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(content).To(MatchJSON(wanted), name)
	}
}

// withEverything has all that the chart can install.
const withEverything = "--set=highAvailability.enabled=true,networkPolicy.enabled=true," +
	"metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true"

func TestChartIsTheManifests(t *testing.T) {
	g := NewWithT(t)
	expectSame(g, rendered(t, "--set=crds.keep=false"), installed(t, filepath.Join(root, "config/default")))
	components := installed(t, overlay(t, everything))
	// Those of components have no version of their own.
	version := manager(t, build(t, filepath.Join(root, "config/default"))).Labels["app.kubernetes.io/version"]
	for _, object := range components {
		labels := object.GetLabels()
		labels["app.kubernetes.io/version"] = version
		object.SetLabels(labels)
	}
	expectSame(g, rendered(t, "--set=crds.keep=false", withEverything), components)
}

func TestChartLint(t *testing.T) {
	for _, args := range [][]string{nil, {"--set=crds.enabled=false", withEverything}} {
		output, err := helm(t, append([]string{"lint", "--strict", chart}, args...)...)
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), output)
	}
}

func TestChartValues(t *testing.T) {
	g := NewWithT(t)
	const crd = "CustomResourceDefinition /virtualkubeletconnectors.connector.virtual-kubelet.io"
	g.Expect(rendered(t)[crd].GetAnnotations()).To(HaveKeyWithValue("helm.sh/resource-policy", "keep"))
	g.Expect(rendered(t, "--set=crds.enabled=false")).NotTo(HaveKey(crd))

	digest := "sha256:" + strings.Repeat("0", 64)
	values := filepath.Join(t.TempDir(), "values.yaml")
	g.Expect(os.WriteFile(values, []byte(`
image: {repository: registry.example/operator, tag: v2, digest: "`+digest+`", pullPolicy: Always}
imagePullSecrets: [{name: registry}]
replicas: 3
highAvailability: {enabled: true}
resources: {limits: {memory: 1Gi}}
priorityClassName: ""
nodeSelector: {pool: system}
tolerations: [{key: system, operator: Exists}]
podLabels: {team: platform}
podAnnotations: {note: "yes"}
env: [{name: HTTPS_PROXY, value: "http://proxy.example:3128"}]
virtualKubelet: {image: "registry.example/vk:1", allowedRepositories: [registry.example/vk, registry.example/more/*]}
extraArgs: [--workers=2]
networkPolicy: {enabled: true, controlPlaneCIDRs: [192.0.2.0/24], egressPorts: [443, 3128], egressCIDRs: [198.51.100.7/32]}
metrics:
  serviceMonitor: {enabled: true, labels: {release: stack}, interval: 1m, authorization: {credentials: {name: scraper, key: token}}}
  prometheusRule: {enabled: true, labels: {release: stack}}
  dashboard: {enabled: true, labels: {grafana_dashboard: null, dashboards: "yes"}}
  reader: {serviceAccount: {name: prometheus, namespace: observability}}
`), 0o600)).To(Succeed())
	objects := rendered(t, "--values="+values, "--namespace=elsewhere")
	deployment := objects["Deployment elsewhere/"+operator]
	g.Expect(deployment).NotTo(BeNil())
	typed := manager(t, []*unstructured.Unstructured{deployment})
	pod := typed.Spec.Template
	g.Expect(*typed.Spec.Replicas).To(BeEquivalentTo(3))
	g.Expect(pod.Labels).To(HaveKeyWithValue("team", "platform"))
	g.Expect(pod.Annotations).To(HaveKeyWithValue("note", "yes"))
	g.Expect(pod.Spec.PriorityClassName).To(BeEmpty())
	g.Expect(pod.Spec.NodeSelector).To(Equal(map[string]string{"pool": "system"}))
	g.Expect(pod.Spec.Tolerations).To(HaveLen(1))
	g.Expect(pod.Spec.ImagePullSecrets).To(HaveLen(1))
	container := pod.Spec.Containers[0]
	g.Expect(container.Image).To(Equal("registry.example/operator@" + digest))
	g.Expect(container.ImagePullPolicy).To(BeEquivalentTo("Always"))
	g.Expect(container.Args).To(Equal([]string{
		"--virtual-kubelet-image=registry.example/vk:1", "--allowed-image-repositories=registry.example/vk,registry.example/more/*", "--workers=2",
	}))
	g.Expect(container.Env).To(HaveLen(1))
	g.Expect(container.Resources.Limits.Memory().String()).To(Equal("1Gi"))
	g.Expect(container.Resources.Requests).To(HaveKey(BeEquivalentTo("cpu")), "Helm merges with the defaults")
	kubelets := objects["NetworkPolicy elsewhere/vk-connector-virtual-kubelets"]
	content, err := kubelets.MarshalJSON()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(content)).To(And(ContainSubstring("192.0.2.0/24"), ContainSubstring("3128"), Not(ContainSubstring("0.0.0.0/0"))))
	for _, policy := range []string{operator, "vk-connector-virtual-kubelets"} {
		object := objects["NetworkPolicy elsewhere/"+policy]
		for i, rule := range of[networkingv1.NetworkPolicy](t, []*unstructured.Unstructured{object}, "NetworkPolicy")[0].Spec.Egress {
			g.Expect(rule.To).NotTo(BeEmpty(), "%s: rule %d", policy, i)
		}
	}
	monitor := objects["ServiceMonitor elsewhere/"+operator]
	g.Expect(monitor.GetLabels()).To(HaveKeyWithValue("release", "stack"))
	endpoints, _, err := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(endpoints).To(ConsistOf(And(
		HaveKeyWithValue("interval", "1m"), Not(HaveKey("bearerTokenFile")),
		HaveKeyWithValue("authorization", map[string]any{"credentials": map[string]any{"name": "scraper", "key": "token"}}),
	)))
	g.Expect(objects["PrometheusRule elsewhere/"+operator].GetLabels()).To(HaveKeyWithValue("release", "stack"))
	g.Expect(objects["ConfigMap elsewhere/vk-connector-dashboard"].GetLabels()).
		To(And(HaveKeyWithValue("dashboards", "yes"), Not(HaveKey("grafana_dashboard"))))
	expectReader(g, objects, "elsewhere", rbacv1.Subject{Kind: "ServiceAccount", Name: "prometheus", Namespace: "observability"})
	for name, object := range objects {
		if object.GetKind() == "CustomResourceDefinition" {
			continue
		}
		content, err := object.MarshalJSON()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(content)).NotTo(ContainSubstring(namespace), name)
	}
	for _, wrong := range []string{
		"replica=2", "image.digest=v2", "replicas=-1", "networkPolicy.egressPorts={}", "image.pullPolicy=Sometimes", "extraArgs={workers}",
		"metrics.serviceMonitor.interval=often", "metrics.serviceMonitor.authorization.credentials.name=scraper",
	} {
		_, err := helm(t, "template", "release", chart, "--set="+wrong)
		g.Expect(err).To(MatchError(ContainSubstring("schema")), wrong)
	}
}

// TestChartMetrics tests that each part of what watches the operator can be had alone.
func TestChartMetrics(t *testing.T) {
	g := NewWithT(t)
	bare := rendered(t)
	reader := []string{
		"ClusterRole /vk-connector-metrics-reader", "ClusterRoleBinding /vk-connector-metrics-reader",
		"Role " + namespace + "/vk-connector-metrics-discovery", "RoleBinding " + namespace + "/vk-connector-metrics-discovery",
	}
	for part, want := range map[string][]string{
		"serviceMonitor": append([]string{"ServiceMonitor " + namespace + "/" + operator}, reader...),
		"prometheusRule": {"PrometheusRule " + namespace + "/" + operator},
		"dashboard":      {"ConfigMap " + namespace + "/vk-connector-dashboard"},
		"reader":         reader,
	} {
		var more []string
		for name := range rendered(t, "--set=metrics."+part+".enabled=true") {
			if _, always := bare[name]; !always {
				more = append(more, name)
			}
		}
		g.Expect(more).To(ConsistOf(want), part)
	}
}

// TestChartMetricsAsShown tests the values that docs/metrics.md shows.
func TestChartMetricsAsShown(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join(root, "docs/metrics.md"))
	g.Expect(err).NotTo(HaveOccurred())
	_, shown, found := strings.Cut(string(text), "```yaml values.yaml\n")
	g.Expect(found).To(BeTrue())
	shown, _, _ = strings.Cut(shown, "```")
	values := filepath.Join(t.TempDir(), "values.yaml")
	g.Expect(os.WriteFile(values, []byte(shown), 0o600)).To(Succeed())
	objects := rendered(t, "--values="+values)
	for _, kind := range []string{"ServiceMonitor", "PrometheusRule"} {
		g.Expect(objects[kind+" "+namespace+"/"+operator].GetLabels()).To(HaveKeyWithValue("release", "monitoring"))
	}
	g.Expect(objects).To(HaveKey("ConfigMap " + namespace + "/vk-connector-dashboard"))
	expectReader(g, objects, namespace,
		rbacv1.Subject{Kind: "ServiceAccount", Name: "monitoring-kube-prometheus-prometheus", Namespace: "monitoring"})
}

// expectReader tests whom the rights to find the operator and to read its metrics are for.
func expectReader(g *WithT, objects map[string]*unstructured.Unstructured, namespace string, reader rbacv1.Subject) {
	for _, name := range []string{"ClusterRoleBinding /vk-connector-metrics-reader", "RoleBinding " + namespace + "/vk-connector-metrics-discovery"} {
		g.Expect(objects).To(HaveKey(name))
		var binding rbacv1.RoleBinding
		g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(objects[name].Object, &binding)).To(Succeed(), name)
		g.Expect(binding.Subjects).To(Equal([]rbacv1.Subject{reader}), name)
	}
}

// TestChartIsDocumented tests that its README and its schema know each value.
func TestChartIsDocumented(t *testing.T) {
	g := NewWithT(t)
	read := func(file string) []byte {
		content, err := os.ReadFile(filepath.Join(chart, file))
		g.Expect(err).NotTo(HaveOccurred())
		return content
	}
	var values, schema map[string]any
	g.Expect(yaml.Unmarshal(read("values.yaml"), &values)).To(Succeed())
	g.Expect(yaml.Unmarshal(read("values.schema.json"), &schema)).To(Succeed())
	readme := string(read("README.md"))
	// The values of these are Kubernetes's, or anything.
	theirs := []string{"resources", "nodeSelector", "podLabels", "podAnnotations", "metrics.dashboard.labels"}
	var check func(prefix string, values, schema map[string]any)
	check = func(prefix string, values, schema map[string]any) {
		properties, _ := schema["properties"].(map[string]any)
		for key, value := range values {
			path := prefix + key
			property, known := properties[key].(map[string]any)
			g.Expect(known).To(BeTrue(), "%s is in the schema", path)
			if nested, ok := value.(map[string]any); ok && !slices.Contains(theirs, path) {
				check(path+".", nested, property)
				continue
			}
			g.Expect(readme).To(ContainSubstring("`"+path+"`"), "the README tells of it")
		}
	}
	check("", values, schema)
	var about struct{ AppVersion string }
	g.Expect(yaml.Unmarshal(read("Chart.yaml"), &about)).To(Succeed())
	deployment := manager(t, build(t, filepath.Join(root, "config/default")))
	g.Expect(deployment.Labels).To(HaveKeyWithValue("app.kubernetes.io/version", about.AppVersion))
}
