// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
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
	if json.Unmarshal(spec, &content) != nil {
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

// specJSON is a spec that the schema accepts, with other fields added or in place of its own.
func specJSON(t testing.TB, edit func(spec map[string]any)) []byte {
	spec := map[string]any{
		"containerGroups": map[string]any{
			"subscriptionID": "11111111-1111-1111-1111-111111111111", "resourceGroup": "virtual-nodes", "location": "eastus",
		},
		"credentials": map[string]any{"type": "ServicePrincipal", "servicePrincipal": map[string]any{
			"tenantID": "22222222-2222-2222-2222-222222222222", "clientID": "33333333-3333-3333-3333-333333333333",
			"clientSecretRef": map[string]any{"name": "credentials"},
		}},
	}
	edit(spec)
	data, err := json.Marshal(spec)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return data
}

// seeds are specs that the schema accepts, at the borders of what it accepts.
func seeds(t testing.TB) map[string][]byte {
	kubelet := func(fields map[string]any) []byte {
		return specJSON(t, func(spec map[string]any) { spec["virtualKubelet"] = fields })
	}
	return map[string][]byte{
		"aci": specJSON(t, func(map[string]any) {}),
		"a.b": specJSON(t, func(spec map[string]any) { spec["osTypes"] = []any{"Windows", "Linux"} }),
		strings.Repeat("a", 34): specJSON(t, func(spec map[string]any) {
			spec["containerGroups"].(map[string]any)["location"] = "East US"
		}),
		"prefix": specJSON(t, func(spec map[string]any) {
			spec["node"] = map[string]any{"namePrefix": strings.Repeat("a", 50)}
			spec["cloud"] = "AzureChinaCloud"
		}),
		"group": specJSON(t, func(spec map[string]any) {
			spec["containerGroups"].(map[string]any)["resourceGroup"] = "Ünïcode_(1).x-"
		}),
		"digest":     kubelet(map[string]any{"image": map[string]any{"digest": digest}}),
		"image":      kubelet(map[string]any{"image": map[string]any{"repository": "mirror.example:5000/a/b__c", "tag": "_-.", "digest": digest}}),
		"long-tag":   kubelet(map[string]any{"image": map[string]any{"tag": strings.Repeat("a", 62) + strings.Repeat("-", 66)}}),
		"secrets":    kubelet(map[string]any{"image": map[string]any{"pullPolicy": "Always", "pullSecrets": []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}}}),
		"resources":  kubelet(map[string]any{"resources": map[string]any{"limits": map[string]any{"cpu": 1, "memory": "0.5Gi"}, "requests": map[string]any{"cpu": "1e-4", "memory": "1e3"}}}),
		"quantities": kubelet(map[string]any{"resources": map[string]any{"limits": map[string]any{"cpu": "9223372036854775807E", "memory": "-1n"}, "requests": map[string]any{"a": ".5", "b": "+1e+9"}}}),
		"log-level":  kubelet(map[string]any{"logLevel": "trace"}),
	}
}

func TestSeedsAreAccepted(t *testing.T) {
	accepting := newSchema(t)
	for connectorName, spec := range seeds(t) {
		t.Run(connectorName, func(t *testing.T) {
			g := NewWithT(t)
			accepted, refusal := accepting.accept(t, connectorName, spec)
			g.Expect(refusal).To(BeEmpty())
			g.Expect(accepted.Spec.Cloud).NotTo(BeEmpty(), "the schema's defaults are set")
		})
	}
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
		g := NewWithT(t)
		resolved := resolve.Resolve(accepted, facts, defaults)
		g.Expect(resolved.Missing).To(BeNil(), "the schema refuses names that are too long")
		g.Expect(resolved.Nodes).NotTo(BeEmpty())
		for _, n := range resolved.Nodes {
			g.Expect(validation.IsDNS1123Subdomain(n.Name)).To(BeEmpty(), n.Name)
			g.Expect(len(n.Name)).To(BeNumerically("<=", identity.MaxNodeNameLength))
			for key, value := range n.Labels(n.Version) {
				g.Expect(validation.IsValidLabelValue(value)).To(BeEmpty(), "%s=%s", key, value)
			}
			_, err := name.ParseReference(n.Image, name.WeakValidation)
			g.Expect(err).NotTo(HaveOccurred())
			for _, list := range []corev1.ResourceList{n.Resources.Requests, n.Resources.Limits} {
				for _, quantity := range list {
					sent, err := json.Marshal(quantity)
					g.Expect(err).NotTo(HaveOccurred())
					var stored resource.Quantity
					g.Expect(json.Unmarshal(sent, &stored)).To(Succeed())
					g.Expect(json.Marshal(stored)).To(Equal(sent), "the API server stores what was sent")
				}
			}
			children, err := render.Node(resolved, n, discover.Certificate{Certificate: []byte("cert"), PrivateKey: []byte("key")})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = json.Marshal(children)
			g.Expect(err).NotTo(HaveOccurred())
		}
	})
}
