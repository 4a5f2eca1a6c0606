// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"math"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// checker says what the API server would say to a connector, in the order in which it says it.
type checker struct {
	schema *schema.Structural
	values validation.SchemaValidator
	rules  *cel.Validator
}

func newChecker(t *testing.T) checker {
	t.Helper()
	g := NewWithT(t)
	var definition apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.UnmarshalStrict(
		[]byte(read(t, "config/crd/bases/connector.virtual-kubelet.io_virtualkubeletconnectors.yaml")), &definition)).To(Succeed())
	g.Expect(definition.Spec.Versions).To(HaveLen(1))
	var props apiextensions.JSONSchemaProps
	g.Expect(apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		definition.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil)).To(Succeed())
	structural, err := schema.NewStructural(&props)
	g.Expect(err).NotTo(HaveOccurred())
	values, _, err := validation.NewSchemaValidator(&props)
	g.Expect(err).NotTo(HaveOccurred())
	return checker{schema: structural, values: values, rules: cel.NewValidator(structural, true, celconfig.PerCallLimit)}
}

func (c checker) check(t *testing.T, object map[string]any) (unknown []string, refused field.ErrorList) {
	t.Helper()
	unknown = pruning.PruneWithOptions(object, c.schema, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.Default(object, c.schema)
	refused = slices.Concat(validation.ValidateCustomResource(nil, object, c.values), listtype.ValidateListSetsAndMaps(nil, c.schema, object))
	if len(refused) == 0 {
		refused, _ = c.rules.Validate(t.Context(), nil, c.schema, object, nil, math.MaxInt64)
	}
	return unknown, refused
}

// connectors are the documents of a text that are whole connectors.
func connectors(t *testing.T, text string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for document := range strings.SplitSeq(text, "\n---\n") {
		var object map[string]any
		if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
			t.Errorf("%v in\n%s", err, document)
		}
		if object["kind"] == "VirtualKubeletConnector" {
			found = append(found, object)
		}
	}
	return found
}

func TestConnectors(t *testing.T) {
	checker, tried := newChecker(t), 0
	for _, page := range all(t) {
		for _, block := range page.Blocks {
			if block.Language != "yaml" {
				continue
			}
			t.Run(block.String(), func(t *testing.T) {
				for _, object := range connectors(t, block.Text) {
					tried++
					g := NewWithT(t)
					g.Expect(object["apiVersion"]).To(Equal("connector.virtual-kubelet.io/v1alpha1"))
					unknown, refused := checker.check(t, object)
					g.Expect(unknown).To(BeEmpty(), "unknown fields")
					g.Expect(refused).To(BeEmpty())
				}
			})
		}
	}
	NewWithT(t).Expect(tried).To(BeNumerically(">", 0))
}

// TestCheckerRefuses tests that the check of connectors finds what is wrong, of each kind.
func TestCheckerRefuses(t *testing.T) {
	checker := newChecker(t)
	for name, test := range map[string]struct {
		change          func(spec map[string]any)
		unknown, refuse string
	}{
		"an unknown field":     {func(spec map[string]any) { spec["osType"] = "Linux" }, "spec.osType", ""},
		"a wrong value":        {func(spec map[string]any) { spec["osTypes"] = []any{"Plan9"} }, "", "spec.osTypes[0]: Unsupported value"},
		"a value twice":        {func(spec map[string]any) { spec["osTypes"] = []any{"Linux", "Linux"} }, "", "spec.osTypes[1]: Duplicate value"},
		"a rule":               {func(spec map[string]any) { delete(spec, "containerGroups") }, "", "containerGroups.subscriptionID must be set"},
		"a rule and a default": {withNetworkFor("Windows"), "", "network.osTypes must be among osTypes"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			sample := connectors(t, read(t, "config/samples/minimal.yaml"))
			g.Expect(sample).To(HaveLen(1))
			test.change(sample[0]["spec"].(map[string]any))
			unknown, refused := checker.check(t, sample[0])
			if test.unknown != "" {
				g.Expect(unknown).To(ConsistOf(test.unknown))
				return
			}
			g.Expect(refused.ToAggregate()).To(MatchError(ContainSubstring(test.refuse)))
		})
	}
}

// withNetworkFor asks for one operating system, and leaves those of the network to their default.
func withNetworkFor(os string) func(map[string]any) {
	return func(spec map[string]any) {
		spec["osTypes"] = []any{os}
		spec["network"] = map[string]any{"subnet": map[string]any{
			"resourceGroup": "virtual-nodes", "virtualNetworkName": "virtual-nodes", "name": "container-groups",
		}}
	}
}
