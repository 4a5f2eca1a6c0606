// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// schema accepts and refuses connectors as an API server does with the CRD, by the API server's code.
type schema struct {
	structural *structuralschema.Structural
	validator  schemavalidation.SchemaValidator
	rules      *cel.Validator
}

func newSchema(t testing.TB) schema {
	g := NewWithT(t)
	files, err := filepath.Glob("../../config/crd/bases/*_virtualkubeletconnectors.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(HaveLen(1))
	data, err := os.ReadFile(files[0])
	g.Expect(err).NotTo(HaveOccurred())
	var crd apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.UnmarshalStrict(data, &crd)).To(Succeed())

	var props apiextensions.JSONSchemaProps
	g.Expect(apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil)).To(Succeed())
	structural, err := structuralschema.NewStructural(&props)
	g.Expect(err).NotTo(HaveOccurred())
	validator, _, err := schemavalidation.NewSchemaValidator(&props)
	g.Expect(err).NotTo(HaveOccurred())
	return schema{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
}

// accept returns a connector with the schema's defaults, or why it is refused.
func (s schema) accept(t testing.TB, connectorName string, spec []byte) (*v1alpha1.VirtualKubeletConnector, string) {
	if len(validation.IsDNS1123Subdomain(connectorName)) > 0 {
		return nil, "metadata.name"
	}
	var content any
	if utiljson.Unmarshal(spec, &content) != nil {
		return nil, "no JSON"
	}
	object := map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(),
		"kind":       "VirtualKubeletConnector",
		"metadata":   map[string]any{"name": connectorName},
		"spec":       content,
	}
	pruning.Prune(object, s.structural, true)
	defaulting.PruneNonNullableNullsWithoutDefaults(object, s.structural)
	defaulting.Default(object, s.structural)
	errs := schemavalidation.ValidateCustomResource(nil, object, s.validator)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, object)...)
	if len(errs) > 0 {
		return nil, errs.ToAggregate().Error()
	}
	if errs, _ := s.rules.Validate(t.Context(), nil, s.structural, object, nil, celconfig.RuntimeCELCostBudget); len(errs) > 0 {
		return nil, errs.ToAggregate().Error()
	}
	connector := &v1alpha1.VirtualKubeletConnector{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, connector); err != nil {
		return nil, err.Error()
	}
	return connector, ""
}

// seeds are specs that the schema accepts, at the borders of what it accepts, by the names of their connectors.
func seeds(t testing.TB) map[string][]byte {
	g := NewWithT(t)
	files, err := filepath.Glob("testdata/specs/*.json")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).NotTo(BeEmpty())
	specs := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		specs[strings.TrimSuffix(filepath.Base(file), ".json")] = data
	}
	return specs
}

func TestSeedsAreAccepted(t *testing.T) {
	accepting := newSchema(t)
	for connectorName, spec := range seeds(t) {
		t.Run(connectorName, func(t *testing.T) {
			g := NewWithT(t)
			accepted, refusal := accepting.accept(t, connectorName, spec)
			g.Expect(refusal).To(BeEmpty())
			g.Expect(accepted.Spec.Cloud).NotTo(BeEmpty(), "the schema's defaults are set")
			strict := json.NewDecoder(bytes.NewReader(spec))
			strict.DisallowUnknownFields()
			g.Expect(strict.Decode(&v1alpha1.VirtualKubeletConnectorSpec{})).To(Succeed(), "every field of a seed is one of the API")
		})
	}
}

func TestSeedsHaveEveryField(t *testing.T) {
	g := NewWithT(t)
	given := map[string]bool{}
	for _, spec := range seeds(t) {
		var content any
		g.Expect(json.Unmarshal(spec, &content)).To(Succeed())
		note(given, "spec", content)
	}
	for _, path := range paths("spec", newSchema(t).structural.Properties["spec"]) {
		if !given[path] {
			t.Errorf("no seed has %s", path)
		}
	}
}

// note adds the paths of the fields that a value has.
func note(given map[string]bool, path string, value any) {
	given[path] = true
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			note(given, path+"."+name, inner)
		}
	case []any:
		for _, inner := range value {
			note(given, path, inner)
		}
	}
}

// paths returns the paths of the fields that a schema has.
func paths(path string, s structuralschema.Structural) []string {
	all := []string{path}
	for name, property := range s.Properties {
		all = append(all, paths(path+"."+name, property)...)
	}
	if s.Items != nil {
		all = append(all, paths(path, *s.Items)...)
	}
	return all
}

// FuzzResolve checks that whatever the schema accepts comes out as objects that the API server takes.
func FuzzResolve(f *testing.F) {
	accepting := newSchema(f)
	for connectorName, spec := range seeds(f) {
		f.Add(connectorName, spec)
	}
	f.Fuzz(func(t *testing.T, connectorName string, spec []byte) {
		accepted, refusal := accepting.accept(t, connectorName, spec)
		if refusal != "" {
			t.Skip(refusal)
		}
		c := check{NewWithT(t)}
		allowing := defaults
		allowing.AllowedRepositories = append(slices.Clone(defaults.AllowedRepositories), accepted.Spec.VirtualKubelet.Image.Repository)
		allowing.Proxy = []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy.example:3128"}}
		resolved := resolve.Resolve(accepted, everyFact(accepted), allowing)
		if accepted.Spec.ContainerGroups.Location == "" && resolved.Missing != nil {
			c.Expect(resolved.Missing.Reason).To(Equal(v1alpha1.ReasonNodeNameTooLong), "the schema knows no location that comes from Azure")
			return
		}
		c.Expect(resolved.Missing).To(BeNil(), "the schema refuses names that are too long")
		c.Expect(resolved.Undecided).To(BeFalse())
		c.Expect(resolved.Nodes).NotTo(BeEmpty())
		for _, n := range resolved.Nodes {
			c.node(n)
			children, err := render.Node(resolved, n, discover.Certificate{Certificate: []byte("cert"), PrivateKey: []byte("key")})
			c.Expect(err).NotTo(HaveOccurred())
			content, err := json.Marshal(children.Deployment.Spec.Template)
			c.Expect(err).NotTo(HaveOccurred())
			var template corev1.PodTemplateSpec
			c.Expect(json.Unmarshal(content, &template)).To(Succeed())
			c.template(n, template)
			_, err = json.Marshal(children)
			c.Expect(err).NotTo(HaveOccurred())
		}
	})
}

// everyFact is what a cluster and Azure may say to a spec.
func everyFact(connector *v1alpha1.VirtualKubeletConnector) discover.Facts {
	every := facts
	every.DNSServiceIP, every.APIServerURI = "10.0.0.10", "https://192.0.2.1:6443"
	if connector.Spec.Monitoring.LogAnalytics != nil {
		every.Workspace = &discover.Workspace{ID: "id", Key: []byte("key")}
	}
	if connector.Spec.ManagedCluster != nil {
		every.ManagedCluster = said(aks)
		every.ResourceGroup = said(azure.ResourceGroup{Location: "eastus"})
	}
	return every
}

// check holds what is decided against the API server's own rules, and where it has none, against those of its programs.
type check struct{ *WithT }

// reference is a reference with a tag, a digest or both (https://github.com/distribution/reference/blob/main/reference.go);
// the kubelet does not pull what is none.
var reference = regexp.MustCompile(`^([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*(:[0-9]+)?/)?` +
	`[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*` +
	`(:\w[\w.-]{0,127}(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})$`)

func (c check) node(n resolve.Node) {
	c.Expect(validation.IsDNS1123Subdomain(n.Name)).To(BeEmpty(), n.Name)
	c.Expect(len(n.Name)).To(BeNumerically("<=", identity.MaxNodeNameLength))
	c.labels(n.Labels(n.Version))
	c.labels(n.NodeLabels)
	for _, reserved := range append(keys(n.Labels(n.Version)), identity.LabelVirtualNode) {
		c.Expect(n.NodeLabels).NotTo(HaveKey(reserved), "it is the operator's, or the virtual kubelet's")
	}
	c.annotations(n.NodeAnnotations)
	c.Expect(n.NodeAnnotations).NotTo(HaveKey(identity.AnnotationTaint))
	if taint := n.Taint; taint != nil {
		c.Expect(validation.IsQualifiedName(taint.Key)).To(BeEmpty(), taint.Key)
		c.Expect(validation.IsValidLabelValue(taint.Value)).To(BeEmpty(), taint.Value)
		c.Expect(taint.Effect).To(BeElementOf(corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute))
	}
	c.Expect(n.Reference).To(MatchRegexp(reference.String()))
	for _, list := range []corev1.ResourceList{n.Resources.Requests, n.Resources.Limits} {
		for _, quantity := range list {
			c.quantity(quantity)
		}
	}
	for name, limit := range n.Resources.Limits {
		c.Expect(limit.Cmp(n.Resources.Requests[name])).To(BeNumerically(">=", 0), "a request above the limit")
	}
	for _, text := range []string{n.Capacity.CPU, n.Capacity.Memory, n.Capacity.Pods} {
		if text != "" {
			quantity, err := resource.ParseQuantity(text)
			c.Expect(err).NotTo(HaveOccurred())
			c.quantity(quantity)
		}
	}
	for _, name := range append(slices.Clone(n.PullSecrets), n.Pod.PriorityClassName) {
		c.Expect(validation.IsDNS1123Subdomain(name)).To(BeEmpty(), name)
	}
	if n.Network != nil {
		c.network(*n.Network)
	}
}

func (c check) network(network resolve.Network) {
	for _, name := range []string{network.Subnet.Name, network.Subnet.Network.Name, network.Subnet.Network.ResourceGroup} {
		c.Expect(name).NotTo(BeEmpty())
	}
	if network.DNSServiceIP == "" {
		c.Expect(network).To(Equal(resolve.Network{Subnet: network.Subnet}), "Windows")
		return
	}
	c.Expect(validation.IsDNS1123Subdomain(network.ClusterDomain)).To(BeEmpty(), network.ClusterDomain)
	address, err := netip.ParseAddr(network.DNSServiceIP)
	c.Expect(err).NotTo(HaveOccurred())
	c.Expect(address.Is4()).To(BeTrue())
	if network.ClusterCIDR != "" {
		prefix, err := netip.ParsePrefix(network.ClusterCIDR)
		c.Expect(err).NotTo(HaveOccurred())
		c.Expect(prefix.Masked()).To(Equal(prefix))
	}
	uri, err := url.Parse(network.APIServerURI)
	c.Expect(err).NotTo(HaveOccurred())
	c.Expect(uri.Hostname()).NotTo(BeEmpty())
}

func (c check) template(n resolve.Node, template corev1.PodTemplateSpec) {
	c.labels(template.Labels)
	c.annotations(template.Annotations)
	c.Expect(template.Annotations).To(HaveKey(render.AnnotationChecksum))
	for key, value := range n.Labels(n.Version) {
		c.Expect(template.Labels).To(HaveKeyWithValue(key, value), "a label of the spec is beside those of the operator")
	}
	c.labels(template.Spec.NodeSelector)
	c.Expect(len(template.Spec.Tolerations)).To(BeNumerically(">=", len(n.Pod.Tolerations)), "those of the spec, and for lost machines")
	for _, toleration := range template.Spec.Tolerations {
		c.toleration(toleration)
	}
	c.affinity(*template.Spec.Affinity)
	seen := map[string]bool{}
	for _, variable := range template.Spec.Containers[0].Env {
		c.Expect(validation.IsEnvVarName(variable.Name)).To(BeEmpty())
		c.Expect(seen).NotTo(HaveKey(variable.Name))
		seen[variable.Name] = true
	}
}

func (c check) toleration(t corev1.Toleration) {
	if t.Key == "" {
		c.Expect(t.Operator).To(Equal(corev1.TolerationOpExists))
	} else {
		c.Expect(validation.IsQualifiedName(t.Key)).To(BeEmpty(), t.Key)
	}
	if t.Operator == corev1.TolerationOpExists {
		c.Expect(t.Value).To(BeEmpty())
	}
	c.Expect(validation.IsValidLabelValue(t.Value)).To(BeEmpty(), t.Value)
	if t.TolerationSeconds != nil {
		c.Expect(t.Effect).To(Equal(corev1.TaintEffectNoExecute))
	}
}

func (c check) affinity(affinity corev1.Affinity) {
	terms := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	c.Expect(terms).NotTo(BeEmpty())
	for _, term := range terms {
		c.Expect(term.MatchExpressions).To(ContainElement(HaveField("Key", corev1.LabelOSStable)))
		c.Expect(term.MatchExpressions).To(ContainElement(HaveField("Key", identity.LabelVirtualNode)), "no virtual node runs virtual kubelets")
	}
	for _, preferred := range affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		c.Expect(preferred.Weight).To(And(BeNumerically(">=", 1), BeNumerically("<=", 100)))
		terms = append(terms, preferred.Preference)
	}
	for _, term := range terms {
		for _, e := range term.MatchExpressions {
			_, err := labels.NewRequirement(e.Key, selectionOf[e.Operator], e.Values)
			c.Expect(err).NotTo(HaveOccurred())
		}
	}
	if pods := affinity.PodAffinity; pods != nil {
		c.podTerms(pods.RequiredDuringSchedulingIgnoredDuringExecution, pods.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if pods := affinity.PodAntiAffinity; pods != nil {
		c.podTerms(pods.RequiredDuringSchedulingIgnoredDuringExecution, pods.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

var selectionOf = map[corev1.NodeSelectorOperator]selection.Operator{
	corev1.NodeSelectorOpIn: selection.In, corev1.NodeSelectorOpNotIn: selection.NotIn, corev1.NodeSelectorOpExists: selection.Exists,
	corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist, corev1.NodeSelectorOpGt: selection.GreaterThan, corev1.NodeSelectorOpLt: selection.LessThan,
}

func (c check) podTerms(terms []corev1.PodAffinityTerm, weighted []corev1.WeightedPodAffinityTerm) {
	for _, w := range weighted {
		c.Expect(w.Weight).To(And(BeNumerically(">=", 1), BeNumerically("<=", 100)))
		terms = append(terms, w.PodAffinityTerm)
	}
	for _, term := range terms {
		c.Expect(validation.IsQualifiedName(term.TopologyKey)).To(BeEmpty(), term.TopologyKey)
		c.Expect(term.LabelSelector).NotTo(BeNil())
		c.Expect(metav1validation.ValidateLabelSelector(term.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, field.NewPath("x"))).To(BeEmpty())
		_, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
		c.Expect(err).NotTo(HaveOccurred())
	}
}

func (c check) labels(all map[string]string) {
	c.Expect(metav1validation.ValidateLabels(all, field.NewPath("labels"))).To(BeEmpty())
}

func (c check) annotations(all map[string]string) {
	c.Expect(apivalidation.ValidateAnnotations(all, field.NewPath("annotations"))).To(BeEmpty())
}

func (c check) quantity(quantity resource.Quantity) {
	c.Expect(quantity.Sign()).To(Equal(1))
	sent, err := json.Marshal(quantity)
	c.Expect(err).NotTo(HaveOccurred())
	var stored resource.Quantity
	c.Expect(json.Unmarshal(sent, &stored)).To(Succeed())
	c.Expect(json.Marshal(stored)).To(Equal(sent), "the API server stores what was sent")
}

func keys(m map[string]string) []string {
	all := make([]string, 0, len(m))
	for key := range m {
		all = append(all, key)
	}
	return all
}
