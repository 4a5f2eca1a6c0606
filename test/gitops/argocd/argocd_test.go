// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package argocd tests, with Argo CD's own code, what it makes of a connector and of what is made for one.
package argocd

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/v3/common"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/argo"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/sync/syncwaves"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	root = "../../.."
	// argocd is the namespace of Argo CD.
	argocd = "argocd"
	// application is the name of the Application in config/gitops/argocd.
	application = "virtual-nodes"
)

// object reads a manifest as a client reads what the API server answers.
func object(g Gomega, content []byte) *unstructured.Unstructured {
	encoded, err := yaml.YAMLToJSON(content)
	g.Expect(err).NotTo(HaveOccurred())
	out := &unstructured.Unstructured{}
	g.Expect(out.UnmarshalJSON(encoded)).To(Succeed())
	return out
}

func file(g Gomega, path ...string) []byte {
	content, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	g.Expect(err).NotTo(HaveOccurred())
	return content
}

func build(g Gomega, fs filesys.FileSystem, path string) resmap.ResMap {
	options := krusty.MakeDefaultOptions()
	built, err := krusty.MakeKustomizer(options).Run(fs, path)
	g.Expect(err).NotTo(HaveOccurred())
	return built
}

// overrides are Argo CD's settings for kinds of objects, where its kustomization has the component of config/gitops.
func overrides(t *testing.T, g Gomega) map[string]v1alpha1.ResourceOverride {
	t.Helper()
	fs := filesys.MakeFsInMemory()
	for name, content := range map[string][]byte{
		"/argocd/kustomization.yaml": []byte("resources: [argocd-cm.yaml]\ncomponents: [../health]\n"),
		"/argocd/argocd-cm.yaml": []byte("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  namespace: argocd\n" +
			"  labels: {app.kubernetes.io/part-of: argocd}\ndata: {url: https://argocd.example.com}\n"),
		"/health/kustomization.yaml": file(g, "config", "gitops", "argocd", "health", "kustomization.yaml"),
		"/health/health.lua":         file(g, "config", "gitops", "argocd", "health", "health.lua"),
	} {
		g.Expect(fs.WriteFile(name, content)).To(Succeed())
	}
	built := build(g, fs, "/argocd").Resources()
	g.Expect(built).To(HaveLen(1))
	rendered, err := built[0].AsYAML()
	g.Expect(err).NotTo(HaveOccurred())
	var configMap corev1.ConfigMap
	g.Expect(yaml.UnmarshalStrict(rendered, &configMap)).To(Succeed())
	g.Expect(configMap.Name).To(Equal(common.ArgoCDConfigMapName))
	g.Expect(configMap.Data).To(HaveKeyWithValue("url", "https://argocd.example.com"), "what others set stays")

	client := fake.NewClientset(&configMap, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: common.ArgoCDSecretName, Namespace: argocd, Labels: configMap.Labels},
		Data:       map[string][]byte{"server.secretkey": []byte("key"), "admin.password": []byte("password")},
	})
	found, err := settings.NewSettingsManager(t.Context(), client, argocd).GetResourceOverrides()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found).To(HaveKey("connector.virtual-kubelet.io/VirtualKubeletConnector"))
	return found
}

// TestHealth runs the Lua script on every recorded connector.
func TestHealth(t *testing.T) {
	g := NewWithT(t)
	want := map[string]health.HealthStatusCode{
		"current": health.HealthStatusHealthy, "current/suspended": health.HealthStatusSuspended,
		"failed": health.HealthStatusDegraded, "failed/suspended": health.HealthStatusSuspended,
		"in-progress": health.HealthStatusProgressing, "terminating": health.HealthStatusProgressing,
	}
	scripts := lua.ResourceHealthOverrides(overrides(t, g))
	recordings := filepath.Join(root, "test", "connectors")
	seen := map[string]bool{}
	for _, pattern := range []string{"*/*.yaml", "*/*/*.yaml"} {
		paths, err := filepath.Glob(filepath.Join(recordings, pattern))
		g.Expect(err).NotTo(HaveOccurred())
		for _, path := range paths {
			folder, err := filepath.Rel(recordings, filepath.Dir(path))
			g.Expect(err).NotTo(HaveOccurred())
			folder = filepath.ToSlash(folder)
			seen[folder] = true
			t.Run(folder+"/"+filepath.Base(path), func(t *testing.T) {
				g := NewWithT(t)
				content, err := os.ReadFile(path)
				g.Expect(err).NotTo(HaveOccurred())
				connector := object(g, content)
				got, err := health.GetResourceHealth(connector, scripts)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(got.Status).To(Equal(want[folder]), got.Message)
				g.Expect(got.Message).NotTo(BeEmpty())
				if strings.HasPrefix(folder, "failed") {
					g.Expect(got.Message).To(Equal(message(connector, "Stalled")), "it says what to do")
				}
			})
		}
	}
	for folder := range want {
		g.Expect(seen).To(HaveKey(folder))
	}
}

func message(connector *unstructured.Unstructured, conditionType string) string {
	conditions, _, _ := unstructured.NestedSlice(connector.Object, "status", "conditions")
	for _, c := range conditions {
		if c := c.(map[string]any); c["type"] == conditionType {
			return c["message"].(string)
		}
	}
	return ""
}

// TestApplication tests that Argo CD reads the Application as it is meant, and in which order it applies what is in it.
func TestApplication(t *testing.T) {
	g := NewWithT(t)
	var app v1alpha1.Application
	g.Expect(yaml.UnmarshalStrict(file(g, "config", "gitops", "argocd", "application.yaml"), &app)).To(Succeed())
	g.Expect(app.Name).To(Equal(application))
	g.Expect(app.Spec.SyncPolicy.SyncOptions.HasOption("ServerSideApply=true")).To(BeTrue())
	g.Expect(app.Spec.IgnoreDifferences).To(BeEmpty())
	g.Expect(app.CascadedDeletion()).To(BeTrue())

	waves := map[int][]string{}
	for _, resource := range build(g, filesys.MakeFsOnDisk(), filepath.Join(root, app.Spec.Source.Path)).Resources() {
		content, err := resource.AsYAML()
		g.Expect(err).NotTo(HaveOccurred())
		wave := syncwaves.Wave(object(g, content))
		waves[wave] = append(waves[wave], resource.GetKind())
	}
	g.Expect(waves).To(HaveLen(3))
	g.Expect(waves[0]).To(ContainElements("Namespace", "CustomResourceDefinition", "Deployment", "ValidatingAdmissionPolicy"))
	g.Expect(waves[1]).To(ConsistOf("Secret"))
	g.Expect(waves[2]).To(ConsistOf("VirtualKubeletConnector"))
}

// TestNothingThatIsMadeForAConnectorIsTracked takes what is rendered for connector aci, whose Application may be named as
// the connector: what Argo CD takes for an Application's, and is not in Git, it prunes.
func TestNothingThatIsMadeForAConnectorIsTracked(t *testing.T) {
	g := NewWithT(t)
	paths, err := filepath.Glob(filepath.Join(root, "internal", "render", "testdata", "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	tracking := argo.NewResourceTracking()
	count := 0
	for _, path := range paths {
		content, err := os.ReadFile(path)
		g.Expect(err).NotTo(HaveOccurred())
		for _, document := range bytes.Split(content, []byte("---\napiVersion"))[1:] {
			child := object(g, append([]byte("apiVersion"), document...))
			count++
			for _, method := range []v1alpha1.TrackingMethod{v1alpha1.TrackingMethodAnnotation, v1alpha1.TrackingMethodAnnotationAndLabel} {
				g.Expect(tracking.GetAppName(child, common.LabelKeyAppInstance, method, "")).To(BeEmpty(), "%s %s", path, method)
			}
			g.Expect(tracking.GetAppName(child, common.LabelKeyAppInstance, v1alpha1.TrackingMethodLabel, "")).
				To(Equal(child.GetName()), "neither the connector nor its Application is named as a node")
		}
	}
	g.Expect(count).To(BeNumerically(">", 50))
}

// tracked is an object as Argo CD applies it.
func tracked(g Gomega, config *unstructured.Unstructured) *unstructured.Unstructured {
	out := config.DeepCopy()
	g.Expect(argo.NewResourceTracking().SetAppInstance(
		out, common.LabelKeyAppInstance, application, "vk-connector-system", v1alpha1.TrackingMethodAnnotation, "")).To(Succeed())
	return out
}

func encode(g Gomega, value any) []byte {
	out, err := json.Marshal(value)
	g.Expect(err).NotTo(HaveOccurred())
	return out
}
