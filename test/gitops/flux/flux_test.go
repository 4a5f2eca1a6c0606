// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package flux tests that Flux, and whatever else reads kstatus, makes of a connector what it has to.
package flux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	fluxstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/runtime/cel"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const root = "../../.."

// connectors are the recorded ones, by their paths; the folder of each says what it is.
func connectors(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	out := map[string]*unstructured.Unstructured{}
	for _, pattern := range []string{"*/*.yaml", "*/*/*.yaml"} {
		paths, err := filepath.Glob(filepath.Join(root, "test", "connectors", pattern))
		g.Expect(err).NotTo(HaveOccurred())
		for _, path := range paths {
			name, err := filepath.Rel(filepath.Join(root, "test", "connectors"), path)
			g.Expect(err).NotTo(HaveOccurred())
			out[filepath.ToSlash(name)] = object(g, path)
		}
	}
	g.Expect(len(out)).To(BeNumerically(">", 100))
	return out
}

// object reads a manifest as a client reads what the API server answers.
func object(g Gomega, path string) *unstructured.Unstructured {
	content, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	encoded, err := yaml.YAMLToJSON(content)
	g.Expect(err).NotTo(HaveOccurred())
	out := &unstructured.Unstructured{}
	g.Expect(out.UnmarshalJSON(encoded)).To(Succeed(), path)
	return out
}

// read reads a manifest, and fails where it has a field that into has not.
func read(g Gomega, path string, into any) {
	content, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(yaml.UnmarshalStrict(content, into)).To(Succeed(), path)
}

// verdict is the folder of a recorded connector.
func verdict(name string) string {
	folder, _, _ := strings.Cut(name, "/")
	return folder
}

// TestStatus computes the status that tools compute which know nothing of connectors.
func TestStatus(t *testing.T) {
	want := map[string]kstatus.Status{
		"current": kstatus.CurrentStatus, "in-progress": kstatus.InProgressStatus, "failed": kstatus.FailedStatus,
		"terminating": kstatus.TerminatingStatus,
	}
	for name, connector := range connectors(t) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(want).To(HaveKey(verdict(name)))
			got, err := kstatus.Compute(connector)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got.Status).To(Equal(want[verdict(name)]), got.Message)
			of, err := fluxstatus.Compute(connector)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(of.Status.String()).To(Equal(got.Status.String()), "of Flux's own copy")
			if verdict(name) == "failed" {
				g.Expect(got.Message).To(Equal(message(connector, "Stalled")), "it says what to do")
			}
		})
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

// TestHealthCheckExpressions evaluates the expressions of the Kustomization that waits for what somebody has to do.
func TestHealthCheckExpressions(t *testing.T) {
	g := NewWithT(t)
	exprs := kustomization(g, "connector-patient").Spec.HealthCheckExprs
	g.Expect(exprs).To(HaveLen(1))
	evaluator, err := cel.NewStatusEvaluator(&exprs[0].HealthCheckExpressions)
	g.Expect(err).NotTo(HaveOccurred())
	for name, connector := range connectors(t) {
		want := fluxstatus.InProgressStatus
		switch verdict(name) {
		case "current":
			want = fluxstatus.CurrentStatus
		case "terminating":
			continue // Flux waits for an object that it deletes to go, and asks for nothing else.
		}
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(connector.GetAPIVersion()).To(Equal(exprs[0].APIVersion))
			g.Expect(connector.GetKind()).To(Equal(exprs[0].Kind))
			got, err := evaluator.Evaluate(t.Context(), connector)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got.Status).To(Equal(want))
		})
	}
}

func kustomization(g Gomega, name string) kustomizev1.Kustomization {
	var out kustomizev1.Kustomization
	read(g, filepath.Join(root, "config", "gitops", "flux", name+".yaml"), &out)
	return out
}

// TestManifests tests that Flux reads the manifests as they are meant.
func TestManifests(t *testing.T) {
	g := NewWithT(t)
	var source sourcev1.GitRepository
	read(g, filepath.Join(root, "config", "gitops", "flux", "source.yaml"), &source)

	var applied types.Kustomization
	read(g, filepath.Join(root, "config", "gitops", "flux", "kustomization.yaml"), &applied)
	g.Expect(applied.Resources).To(ConsistOf("source.yaml", "operator.yaml", "credentials.yaml", "connector.yaml"))

	files, err := filepath.Glob(filepath.Join(root, "config", "gitops", "flux", "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	known := map[string]kustomizev1.Kustomization{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if name == "source" || name == "kustomization" {
			continue
		}
		k := kustomization(g, name)
		known[k.Name] = k
		g.Expect(k.Namespace).To(Equal(source.Namespace))
		g.Expect(k.Spec.SourceRef.Kind).To(Equal(source.Kind))
		g.Expect(k.Spec.SourceRef.Name).To(Equal(source.Name))
		g.Expect(k.Spec.Wait).To(BeTrue(), "Ready means that it works")
		g.Expect(k.Spec.Prune).To(BeTrue())
	}
	for _, k := range known {
		for _, other := range k.Spec.DependsOn {
			g.Expect(known).To(HaveKey(other.Name))
		}
	}
	g.Expect(kinds(g, known["connector-operator"])).To(ContainElements("Namespace", "CustomResourceDefinition", "Deployment"))
	g.Expect(kinds(g, known["connector-credentials"])).To(ConsistOf("Secret"))
	g.Expect(kinds(g, known["connector"])).To(ConsistOf("VirtualKubeletConnector"))
}

// kinds are those of the objects that a Kustomization applies.
func kinds(g Gomega, k kustomizev1.Kustomization) []string {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, k.Spec.Path))
	g.Expect(err).NotTo(HaveOccurred())
	var out []string
	for _, object := range built.Resources() {
		out = append(out, object.GetKind())
	}
	return out
}

// TestTheConnectorIsTheSample keeps what GitOps applies what everybody else does.
func TestTheConnectorIsTheSample(t *testing.T) {
	g := NewWithT(t)
	sample := object(g, filepath.Join(root, "config", "samples", "connector.yaml"))
	g.Expect(object(g, filepath.Join(root, "config", "gitops", "connector", "connector.yaml"))).To(Equal(sample))
}
