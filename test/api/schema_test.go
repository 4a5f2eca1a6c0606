// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// schemaOf returns the schema of a connector's field, such as spec.
func schemaOf(field string) *apiextensionsv1.JSONSchemaProps {
	property := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties[field]
	return &property
}

// fields calls visit for a schema and all below it. The items of a list have the path of the list and [], the values
// of a map the path of the map and {}.
func fields(path string, schema *apiextensionsv1.JSONSchemaProps, visit func(path string, schema *apiextensionsv1.JSONSchemaProps)) {
	visit(path, schema)
	for name := range schema.Properties {
		property := schema.Properties[name]
		fields(strings.TrimPrefix(path+"."+name, "."), &property, visit)
	}
	if schema.Items != nil {
		fields(path+"[]", schema.Items.Schema, visit)
	}
	if schema.AdditionalProperties != nil {
		fields(path+"{}", schema.AdditionalProperties.Schema, visit)
	}
}

func TestEveryFieldIsDocumented(t *testing.T) {
	g := NewWithT(t)
	for _, root := range []string{"spec", "status"} {
		fields(root, schemaOf(root), func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			if !strings.HasSuffix(path, "]") && !strings.HasSuffix(path, "}") {
				g.Expect(schema.Description).NotTo(BeEmpty(), path)
			}
		})
	}
}

func TestEveryDefaultIsDocumented(t *testing.T) {
	g := NewWithT(t)
	fields("spec", schemaOf("spec"), func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		if schema.Default != nil {
			value := strings.NewReplacer(`"`, "", ",", ", ").Replace(string(schema.Default.Raw))
			g.Expect(schema.Description).To(ContainSubstring("Default: "+value+"."), path)
		}
	})
}

func TestDefaults(t *testing.T) {
	g := NewWithT(t)
	object := base("network")
	g.Expect(k8s.Create(t.Context(), object, client.DryRunAll)).To(Succeed())
	g.Expect(object.Object["spec"]).To(Equal(changed(base("network"), changes{
		"spec.osTypes":               []any{"Linux"},
		"spec.cloud":                 "AzurePublicCloud",
		"spec.providerRegistration":  "Check",
		"spec.suspend":               false,
		"spec.network.osTypes":       []any{"Linux"},
		"spec.network.clusterDomain": "cluster.local",
		"spec.credentials.servicePrincipal.clientSecretRef.key": "clientSecret",
	}).Object["spec"]), "what depends on the world, or on the operator's release, has no default in the schema")
}

// TestDefaultsOfWhatIsGiven tests that a default within an optional object does not bring the object about.
func TestDefaultsOfWhatIsGiven(t *testing.T) {
	g := NewWithT(t)
	given := changes{
		"spec.virtualKubelet": map[string]any{"image": map[string]any{"tag": "1.6.4"}},
		"spec.node":           map[string]any{"taint": map[string]any{"key": "example.com/key"}},
		"spec.removal":        map[string]any{"drainTimeoutSeconds": 60},
	}
	object := changed(base("minimal"), given)
	g.Expect(k8s.Create(t.Context(), object, client.DryRunAll)).To(Succeed())
	var connector v1alpha1.VirtualKubeletConnector
	convert(g, object, &connector)
	g.Expect(connector.Spec.VirtualKubelet).To(Equal(v1alpha1.VirtualKubelet{
		Image: v1alpha1.Image{Tag: "1.6.4", PullPolicy: "IfNotPresent"}, LogLevel: "info",
	}))
	g.Expect(connector.Spec.Node).To(Equal(v1alpha1.Node{
		Taint: v1alpha1.NodeTaint{Policy: v1alpha1.TaintPolicyManaged, Key: "example.com/key"},
	}))
	g.Expect(connector.Spec.Removal.Policy).To(Equal(v1alpha1.RemovalPolicyDrain))
	g.Expect(connector.Spec.Removal.OrphanedContainerGroups).To(Equal(v1alpha1.OrphanPolicyDelete))
	g.Expect(connector.Spec.Monitoring).To(BeZero())
}

func TestUnknownFields(t *testing.T) {
	for _, field := range []string{"spec.osType", "spec.containerGroups.resourceGroupName", "spec.virtualKubelet.image.name", "spec.chartURL"} {
		t.Run(field, func(t *testing.T) {
			object := changed(base("minimal"), changes{field: "value"})
			err := client.WithFieldValidation(k8s, "Strict").Create(t.Context(), object, client.DryRunAll)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(fmt.Sprintf("unknown field %q", field))), "as kubectl asks")
		})
	}
}
