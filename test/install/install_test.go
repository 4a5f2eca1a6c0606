// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package install tests what is installed, and that each way to install it installs the same. It needs no cluster.
package install

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/images"
)

const (
	root      = "../.."
	namespace = "vk-connector-system"
	operator  = "vk-connector-operator"
)

// build makes what kustomize makes of a folder.
func build(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := tryBuild(folder)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return objects
}

func tryBuild(folder string) ([]*unstructured.Unstructured, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, err
	}
	content, err := built.AsYaml()
	if err != nil {
		return nil, err
	}
	return decode(content)
}

// overlay writes a kustomization, in which ROOT is the way to the checkout.
func overlay(t *testing.T, kustomization string) string {
	t.Helper()
	g := NewWithT(t)
	folder := t.TempDir()
	checkout, err := filepath.Abs(root)
	g.Expect(err).NotTo(HaveOccurred())
	way, err := filepath.Rel(folder, checkout)
	g.Expect(err).NotTo(HaveOccurred())
	content := strings.ReplaceAll(kustomization, "ROOT", way)
	g.Expect(os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(content), 0o600)).To(Succeed())
	return folder
}

func decode(content []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

func name(object *unstructured.Unstructured) string {
	return object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
}

// of are the objects of a kind, as what it is in Go.
func of[T any](t *testing.T, objects []*unstructured.Unstructured, kind string) []T {
	t.Helper()
	var found []T
	for _, object := range objects {
		if object.GetKind() == kind {
			var typed T
			NewWithT(t).Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &typed, true)).To(Succeed(), name(object))
			found = append(found, typed)
		}
	}
	return found
}

// manager is the operator's Deployment.
func manager(t *testing.T, objects []*unstructured.Unstructured) appsv1.Deployment {
	t.Helper()
	deployments := of[appsv1.Deployment](t, objects, "Deployment")
	NewWithT(t).Expect(deployments).To(HaveLen(1))
	return deployments[0]
}

const everything = `
resources: [ROOT/config/default]
components:
- ROOT/config/components/grafana
- ROOT/config/components/high-availability
- ROOT/config/components/network-policy
- ROOT/config/components/prometheus
`

func TestLabels(t *testing.T) {
	g := NewWithT(t)
	objects := build(t, filepath.Join(root, "config/default"))
	deployment := manager(t, objects)
	image := deployment.Spec.Template.Spec.Containers[0].Image
	g.Expect(image).To(Equal(images.Manager), "the sandbox assembles what is installed")
	_, version, _ := strings.Cut(image, ":")
	for _, object := range objects {
		of := object.GetLabels()
		g.Expect(of).To(HaveKeyWithValue("app.kubernetes.io/name", operator), name(object))
		g.Expect(of).To(HaveKeyWithValue("app.kubernetes.io/part-of", operator), name(object))
		g.Expect(of).To(HaveKeyWithValue("app.kubernetes.io/version", version), name(object))
		g.Expect(of).To(HaveKey("app.kubernetes.io/component"), name(object))
		g.Expect(of[identity.LabelManagedBy]).NotTo(Equal(identity.ManagedBy), "%s is no child", name(object))
	}
	// A selector can't be changed by an upgrade.
	g.Expect(deployment.Spec.Selector.MatchLabels).To(Equal(map[string]string{
		"app.kubernetes.io/name": operator, "app.kubernetes.io/component": "manager",
	}))
}

func TestSelectors(t *testing.T) {
	g := NewWithT(t)
	objects := build(t, overlay(t, everything))
	deployment := manager(t, objects)
	pod := labels.Set(deployment.Spec.Template.Labels)
	kubelet := labels.Set(identity.Node{Name: "node", Connector: "aci", OSType: "Linux"}.Labels("1.6.4"))
	selects := func(selector *metav1.LabelSelector) (operators, kubelets bool) {
		s, err := metav1.LabelSelectorAsSelector(selector)
		g.Expect(err).NotTo(HaveOccurred())
		return s.Matches(pod), s.Matches(kubelet)
	}
	check := func(what string, selector *metav1.LabelSelector, wantOperators, wantKubelets bool) {
		operators, kubelets := selects(selector)
		g.Expect(operators).To(Equal(wantOperators), "%s and the operator", what)
		g.Expect(kubelets).To(Equal(wantKubelets), "%s and virtual kubelets", what)
	}
	check("the Deployment", deployment.Spec.Selector, true, false)
	services := of[corev1.Service](t, objects, "Service")
	g.Expect(services).To(HaveLen(1))
	check("the Service", &metav1.LabelSelector{MatchLabels: services[0].Spec.Selector}, true, false)
	budgets := of[policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget")
	g.Expect(budgets).To(HaveLen(1))
	check("the budget", budgets[0].Spec.Selector, true, false)
	g.Expect(*deployment.Spec.Replicas).To(BeNumerically(">", budgets[0].Spec.MinAvailable.IntValue()), "one may leave")
	g.Expect(deployment.Spec.Template.Spec.TopologySpreadConstraints).NotTo(BeEmpty())
	for _, constraint := range deployment.Spec.Template.Spec.TopologySpreadConstraints {
		check("the spread over "+constraint.TopologyKey, constraint.LabelSelector, true, false)
	}
	policies := map[string]networkingv1.NetworkPolicy{}
	for _, p := range of[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy") {
		policies[p.Name] = p
	}
	g.Expect(policies).To(HaveLen(2))
	forOperator, forKubelets := policies[operator], policies["vk-connector-virtual-kubelets"]
	check("the operator's network policy", &forOperator.Spec.PodSelector, true, false)
	check("the virtual kubelets' network policy", &forKubelets.Spec.PodSelector, false, true)
	for _, p := range policies {
		g.Expect(p.Namespace).To(Equal(namespace))
		g.Expect(p.Spec.PolicyTypes).To(ConsistOf(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress))
	}
	g.Expect(forOperator.Spec.Ingress).To(HaveLen(1))
	metrics := forOperator.Spec.Ingress[0].Ports[0].Port.StrVal
	g.Expect(deployment.Spec.Template.Spec.Containers[0].Ports).To(ContainElement(HaveField("Name", metrics)))
	g.Expect(forKubelets.Spec.Ingress).To(HaveLen(1))
	g.Expect(forKubelets.Spec.Ingress[0].Ports[0].Port.IntValue()).To(Equal(10250))
}

// TestPodSecurity tests every pod that the operator is, or makes, by the rules that its namespace enforces.
func TestPodSecurity(t *testing.T) {
	g := NewWithT(t)
	level, err := psa.ParseLevel(string(psa.LevelRestricted))
	g.Expect(err).NotTo(HaveOccurred())
	objects := build(t, filepath.Join(root, "config/default"))
	namespaces := of[corev1.Namespace](t, objects, "Namespace")
	g.Expect(namespaces).To(HaveLen(1))
	for _, mode := range []string{psa.EnforceLevelLabel, psa.AuditLevelLabel, psa.WarnLevelLabel} {
		g.Expect(namespaces[0].Labels).To(HaveKeyWithValue(mode, string(level)))
	}

	pods := map[string]corev1.PodTemplateSpec{}
	add := func(where string, objects []*unstructured.Unstructured) {
		for _, deployment := range of[appsv1.Deployment](t, objects, "Deployment") {
			pods[where+": "+deployment.Name] = deployment.Spec.Template
		}
	}
	add("config/default", objects)
	add("with all components", build(t, overlay(t, everything)))
	golden, err := filepath.Glob(filepath.Join(root, "internal/render/testdata/*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(golden).NotTo(BeEmpty())
	for _, file := range golden {
		content, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		rendered, err := decode(content)
		g.Expect(err).NotTo(HaveOccurred())
		add(file, rendered)
	}
	g.Expect(len(pods)).To(BeNumerically(">", len(golden)), "each has a Deployment")

	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	for where, pod := range pods {
		for _, result := range evaluator.EvaluatePod(psa.LevelVersion{Level: level, Version: psa.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
			g.Expect(result.Allowed).To(BeTrue(), "%s: %s: %s", where, result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
}

// TestComponents tests that each component can be added to config/default alone, and changes nothing of it but the Deployment.
func TestComponents(t *testing.T) {
	g := NewWithT(t)
	components, err := filepath.Glob(filepath.Join(root, "config/components/*"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(components).NotTo(BeEmpty())
	bare := byName(build(t, filepath.Join(root, "config/default")))
	for _, component := range components {
		t.Run(filepath.Base(component), func(t *testing.T) {
			g := NewWithT(t)
			with := byName(build(t, overlay(t, "resources: [ROOT/config/default]\ncomponents: [ROOT/config/components/"+filepath.Base(component)+"]\n")))
			g.Expect(len(with)).To(BeNumerically(">", len(bare)))
			for name, object := range bare {
				if !strings.HasPrefix(name, "Deployment ") {
					g.Expect(with[name]).To(Equal(object), name)
				}
			}
			for name, object := range with {
				g.Expect(object.GetLabels()).To(HaveKeyWithValue("app.kubernetes.io/part-of", operator), name)
			}
		})
	}
}

func byName(objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	named := map[string]*unstructured.Unstructured{}
	for _, object := range objects {
		named[name(object)] = object
	}
	return named
}

// shownOverlay is the overlay that docs/development.md shows for another namespace.
func shownOverlay(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join(root, "docs/development.md"))
	g.Expect(err).NotTo(HaveOccurred())
	_, shown, found := strings.Cut(string(text), "```yaml\nresources: [../config/default]\n")
	g.Expect(found).To(BeTrue())
	shown, _, _ = strings.Cut(shown, "```")
	return strings.ReplaceAll("resources: [../config/default]\n"+shown, "../config/", "ROOT/config/")
}

// TestNamespace tests that an overlay can choose the namespace, and that the usual field does not do it by halves.
func TestNamespace(t *testing.T) {
	g := NewWithT(t)
	_, err := tryBuild(overlay(t, "resources: [ROOT/config/default]\nnamespace: elsewhere\n"))
	g.Expect(err).To(MatchError(ContainSubstring("namespace transformation produces ID conflict")))

	moved := map[string]map[string]any{}
	const components = "components:\n" +
		"- ROOT/config/components/grafana\n- ROOT/config/components/high-availability\n" +
		"- ROOT/config/components/network-policy\n- ROOT/config/components/prometheus\n"
	for _, object := range build(t, overlay(t, shownOverlay(t)+components)) {
		moved[name(object)] = object.Object
	}
	for _, object := range build(t, overlay(t, "resources: [ROOT/config/default]\n"+components)) {
		switch object.GetKind() {
		case "CustomResourceDefinition", "PrometheusRule", "ConfigMap":
			continue // their texts tell the default
		}
		content, err := object.MarshalJSON()
		g.Expect(err).NotTo(HaveOccurred())
		want := &unstructured.Unstructured{}
		g.Expect(want.UnmarshalJSON(bytes.ReplaceAll(content, []byte(namespace), []byte("elsewhere")))).To(Succeed())
		g.Expect(moved).To(HaveKeyWithValue(name(want), want.Object))
	}
}

// TestOneFile tests what `make install.yaml` renders.
func TestOneFile(t *testing.T) {
	needTools(t)
	g := NewWithT(t)
	dist := t.TempDir()
	const image = "registry.example:5000/operator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, given := range []string{"", image, "registry.example/operator:v2"} {
		command := exec.CommandContext(t.Context(), "make", "-C", root, "install.yaml", "DIST="+dist, "IMAGE="+given)
		output, err := command.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), "%s", output)
		content, err := os.ReadFile(filepath.Join(dist, "install.yaml"))
		g.Expect(err).NotTo(HaveOccurred())
		objects, err := decode(content)
		g.Expect(err).NotTo(HaveOccurred())

		want := build(t, filepath.Join(root, "config/default"))
		wanted := manager(t, want).Spec.Template.Spec.Containers[0].Image
		if given != "" {
			wanted = given
		}
		g.Expect(manager(t, objects).Spec.Template.Spec.Containers[0].Image).To(Equal(wanted))
		g.Expect(objects).To(HaveLen(len(want)))
		g.Expect(ordered(objects)).To(Succeed())
	}
}

// ordered reports an object that is applied before one that it needs.
func ordered(objects []*unstructured.Unstructured) error {
	seen := map[string]bool{}
	for i, object := range objects {
		for _, needed := range map[string][]string{
			"CustomResourceDefinition":         {"Namespace"},
			"ServiceAccount":                   {"Namespace"},
			"Role":                             {"Namespace"},
			"RoleBinding":                      {"Role", "ServiceAccount"},
			"ClusterRoleBinding":               {"ClusterRole", "ServiceAccount"},
			"Deployment":                       {"CustomResourceDefinition", "ServiceAccount", "RoleBinding", "ClusterRoleBinding"},
			"ValidatingAdmissionPolicyBinding": {"ValidatingAdmissionPolicy"},
		}[object.GetKind()] {
			for _, later := range objects[i:] {
				if later.GetKind() == needed {
					return errors.New(name(object) + " is applied before " + name(later))
				}
			}
			if !seen[needed] {
				return errors.New("there is no " + needed)
			}
		}
		seen[object.GetKind()] = true
	}
	return nil
}

// needTools skips what needs the tools that make builds.
func needTools(t *testing.T) {
	t.Helper()
	if os.Getenv("HELM") == "" {
		t.Skip("HELM is not set: run make test-packaging")
	}
}
