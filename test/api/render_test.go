// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	applyschedulingv1 "k8s.io/client-go/applyconfigurations/scheduling/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

const (
	seeds = "../../internal/resolve/testdata/specs"
	owner = client.FieldOwner(identity.ManagedBy)
)

// facts are what the world says to every spec.
var facts = discover.Facts{
	ClientSecret: "client-secret",
	ClientCA:     []byte("client CA"),
	Workspace:    &discover.Workspace{ID: "workspace", Key: []byte("key")},
	DNSServiceIP: "10.96.0.10",
	APIServerURI: "https://10.0.0.1:443",
	ManagedCluster: azure.Answer[azure.ManagedCluster]{Have: true, Value: azure.ManagedCluster{
		ID: clusterID("cluster"), Location: "eastus", NodeResourceGroup: "MC_clusters_cluster_eastus",
		Network: azure.VirtualNetworkRef{ResourceGroup: "network", Name: "virtual-nodes"},
		PodCIDR: "10.244.0.0/16", DNSServiceIP: "10.96.0.10", APIServerURI: "https://cluster-dns-1a2b3c4d.hcp.eastus.azmk8s.io:443",
	}},
	ResourceGroup: azure.Answer[azure.ResourceGroup]{Have: true, Value: azure.ResourceGroup{Location: "eastus"}},
}

// TestRenderedObjectsAreAccepted tests that what a connector is accepted with is accepted in what is made of it.
func TestRenderedObjectsAreAccepted(t *testing.T) {
	g := NewWithT(t)
	installNamespace(t)
	var connectors []*unstructured.Unstructured
	for _, file := range sampleFiles(t) {
		connectors = append(connectors, read(t, file))
	}
	found, err := filepath.Glob(filepath.Join(seeds, "*.json"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, file := range found {
		connectors = append(connectors, seed(t, file))
	}
	for _, object := range connectors {
		t.Run(object.GetName(), func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(client.WithFieldValidation(k8s, metav1.FieldValidationStrict).Create(t.Context(), object, client.DryRunAll)).To(Succeed())
			var connector v1alpha1.VirtualKubeletConnector
			convert(g, object, &connector)
			for _, children := range renderAll(g, &connector) {
				acceptAll(t, children)
			}
		})
	}
}

// TestExtremesAreAccepted tests the same of values at their bounds.
func TestExtremesAreAccepted(t *testing.T) {
	installNamespace(t)
	for _, try := range slices.Concat(azureRules, networkRules, virtualKubeletRules, nodeRules, schedulingRules) {
		if try.refusal != "" {
			continue
		}
		t.Run(try.name(), func(t *testing.T) {
			g := NewWithT(t)
			object := changed(base(try.base), try.set)
			g.Expect(k8s.Create(t.Context(), object, client.DryRunAll)).To(Succeed())
			var connector v1alpha1.VirtualKubeletConnector
			convert(g, object, &connector)
			resolved := resolve.Resolve(&connector, facts, defaults(&connector))
			if resolved.Missing != nil && resolved.Missing.Reason == v1alpha1.ReasonNodeNameTooLong {
				return // it is told where the API server can't know the location
			}
			for _, children := range renderAll(g, &connector) {
				acceptAll(t, children)
			}
		})
	}
}

func defaults(connector *v1alpha1.VirtualKubeletConnector) resolve.Defaults {
	out := resolve.Defaults{
		Namespace: namespace,
		Image:     v1alpha1.Image{Repository: "mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet", Tag: "1.6.4"},
		Proxy:     []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy.example:3128"}},
	}
	out.AllowedRepositories = []string{out.Image.Repository, connector.Spec.VirtualKubelet.Image.Repository}
	return out
}

func renderAll(g Gomega, connector *v1alpha1.VirtualKubeletConnector) []render.Children {
	resolved := resolve.Resolve(connector, facts, defaults(connector))
	g.Expect(resolved.Missing).To(BeNil())
	g.Expect(resolved.Nodes).NotTo(BeEmpty())
	var all []render.Children
	for _, node := range resolved.Nodes {
		children, err := render.Node(resolved, node, discover.Certificate{Certificate: []byte("certificate"), PrivateKey: []byte("key")})
		g.Expect(err).NotTo(HaveOccurred())
		all = append(all, children)
	}
	return all
}

// acceptAll lets the API server look at the objects of a node, and at the pod that the Deployment will make.
func acceptAll(t *testing.T, children render.Children) {
	t.Helper()
	for _, object := range []runtime.ApplyConfiguration{
		children.Secret, children.ServiceAccount, children.ClusterRoleBinding, children.RoleBinding, children.Deployment,
	} {
		if err := k8s.Apply(t.Context(), object, owner, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
	}
	content, err := json.Marshal(children.Deployment.Spec.Template)
	pod := &corev1.Pod{}
	if err == nil {
		err = json.Unmarshal(content, pod)
	}
	if err != nil {
		t.Fatal(err)
	}
	pod.Namespace, pod.Name = namespace, "pod"
	// The account of the node is not made for a dry run.
	pod.Spec.ServiceAccountName = "default"
	prioritize(t, pod.Spec.PriorityClassName)
	g := NewWithT(t)
	g.Eventually(func() (err error) {
		err = k8s.Create(t.Context(), pod, client.DryRunAll)
		if err != nil && !strings.Contains(err.Error(), "no PriorityClass") {
			return StopTrying("the pod is refused").Wrap(err)
		}
		return err // admission learns of a new class a moment later
	}).WithTimeout(30 * time.Second).Should(Succeed())
}

// installNamespace makes the namespace as the operator's installation does.
func installNamespace(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	kubectl(t, "apply", "-f", "../../config/manager/namespace.yaml")
	g.Eventually(func() error {
		return k8s.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "default"}, &corev1.ServiceAccount{})
	}).WithTimeout(30 * time.Second).Should(Succeed())
}

// prioritize makes a PriorityClass, if it is not one of Kubernetes's own.
func prioritize(t *testing.T, name string) {
	t.Helper()
	if !strings.HasPrefix(name, "system-") {
		NewWithT(t).Expect(k8s.Apply(t.Context(), applyschedulingv1.PriorityClass(name).WithValue(1), owner)).To(Succeed())
	}
}

// seed reads a spec; the file is named after the connector.
func seed(t *testing.T, file string) *unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(file)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	object := &unstructured.Unstructured{}
	name := strings.TrimSuffix(filepath.Base(file), ".json")
	manifest := `{"apiVersion":"connector.virtual-kubelet.io/v1alpha1","kind":"VirtualKubeletConnector","metadata":{"name":"` + name + `"},"spec":` + string(content) + `}`
	NewWithT(t).Expect(object.UnmarshalJSON([]byte(manifest))).To(Succeed(), file)
	return object
}

// TestSamplesTogether tests that the samples can be applied together: that each has nodes of its own.
func TestSamplesTogether(t *testing.T) {
	g := NewWithT(t)
	owners := map[string]string{}
	for _, file := range sampleFiles(t) {
		var connector v1alpha1.VirtualKubeletConnector
		convert(g, read(t, file), &connector)
		for _, children := range renderAll(g, &connector) {
			node := *children.Deployment.Name
			g.Expect(owners).NotTo(HaveKey(node), file)
			owners[node] = file
		}
	}
}

// TestSampleOfEverything tests that the sample has every field, or says in its comments which it leaves out.
func TestSampleOfEverything(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(samples, "everything.yaml")
	content, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	has := map[string]bool{}
	given(has, "spec", read(t, file).Object["spec"])
	for path := range has {
		// The two have one type.
		has[strings.Replace(path, "podAffinity", "podAntiAffinity", 1)] = true
		has[strings.Replace(path, "podAntiAffinity", "podAffinity", 1)] = true
	}
	fields("spec", schemaOf("spec"), func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		if len(schema.Properties) > 0 || strings.HasSuffix(path, "{}") || has[path] {
			return
		}
		if strings.Contains(path, "Affinity.") && strings.Contains(path, "DuringScheduling") {
			return // the terms of required and preferred have one type, too
		}
		commented := "# " + path[strings.LastIndex(path, ".")+1:] + ":"
		comments := strings.ReplaceAll(string(content), "#   ", "# ")
		g.Expect(comments).To(ContainSubstring(commented), path)
	})
}

func given(has map[string]bool, path string, value any) {
	has[path] = true
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			given(has, path+"."+key, below)
		}
	case []any:
		for _, below := range value {
			given(has, path+"[]", below)
		}
	}
}
