// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package api tests the schema of the API on a real API server.
package api

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/controlplane"
)

// good is a connector that is as small as it can be; each case changes one thing of it.
const good = `{
	"apiVersion": "connector.virtual-kubelet.io/v1alpha1",
	"kind": "VirtualKubeletConnector",
	"metadata": {"name": "aci"},
	"spec": {
		"containerGroups": {
			"subscriptionID": "11111111-1111-1111-1111-111111111111", "resourceGroup": "virtual-nodes", "location": "eastus"
		},
		"credentials": {"type": "ServicePrincipal", "servicePrincipal": {
			"tenantID": "22222222-2222-2222-2222-222222222222",
			"clientID": "33333333-3333-3333-3333-333333333333",
			"clientSecretRef": {"name": "credentials"}
		}}
	}
}`

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// cases change a field of good; an empty rejection means that the object is accepted. A value of nil
// takes the field away.
var cases = []struct {
	field    string
	value    any
	rejected string
}{
	{"metadata.name", "a.b-c", ""},
	{"metadata.name", strings.Repeat("a", 31), ""}, // 16 + 31 + 1 + 7 for Linux's part and the location: 61
	{"metadata.name", strings.Repeat("a", 40), "set a shorter spec.node.namePrefix"},
	{"metadata.name", strings.Repeat("a", 64), "metadata.name must be at most 63 characters"},

	{"spec.osTypes", []any{"Windows"}, ""},
	{"spec.osTypes", []any{"Windows", "Linux"}, ""},
	{"spec.osTypes", []any{}, "spec.osTypes"},
	{"spec.osTypes", []any{"Darwin"}, `supported values: "Linux", "Windows"`},
	{"spec.osTypes", []any{"Linux", "Linux"}, "Duplicate value"},

	{"spec.containerGroups", nil, "spec.containerGroups: Required value"},
	{"spec.containerGroups.subscriptionID", nil, "spec.containerGroups.subscriptionID: Required value"},
	{"spec.containerGroups.subscriptionID", "ABCDEF01-1111-1111-1111-111111111111", ""},
	{"spec.containerGroups.subscriptionID", "11111111-1111-1111-1111-11111111111", "spec.containerGroups.subscriptionID"},
	{"spec.containerGroups.subscriptionID", "11111111_1111-1111-1111-111111111111", "must be a GUID such as"},
	{"spec.containerGroups.resourceGroup", "rg_(1).größe", ""},
	{"spec.containerGroups.resourceGroup", strings.Repeat("a", 90), ""},
	{"spec.containerGroups.resourceGroup", strings.Repeat("a", 91), "Too long: may not be more than 90"},
	{"spec.containerGroups.resourceGroup", "group.", "without a period at the end"},
	{"spec.containerGroups.resourceGroup", "my group", "must be the name of an Azure resource group"},
	{"spec.containerGroups.resourceGroup", "", "spec.containerGroups.resourceGroup"},
	{"spec.containerGroups.location", "East US 2", ""},
	{"spec.containerGroups.location", "east-us", "az account list-locations"},
	{"spec.containerGroups.location", " eastus", "must be the name of an Azure region"},

	{"spec.cloud", "AzureUSGovernmentCloud", ""},
	{"spec.cloud", "AzureGermanCloud", "supported values"},

	{"spec.credentials", nil, "spec.credentials: Required value"},
	{"spec.credentials.type", "Password", `supported values: "ServicePrincipal"`},
	{"spec.credentials.servicePrincipal", nil, "servicePrincipal must be set exactly when type is ServicePrincipal"},
	{"spec.credentials.servicePrincipal.tenantID", "contoso.example", "spec.credentials.servicePrincipal.tenantID"},
	{"spec.credentials.servicePrincipal.clientSecretRef.name", "Credentials", "must be the name of a Secret"},
	{"spec.credentials.servicePrincipal.clientSecretRef.key", "client_Secret.1", ""},
	{"spec.credentials.servicePrincipal.clientSecretRef.key", "client secret", "must be a key of a Secret"},

	{"spec.virtualKubelet.image.repository", "localhost:5000/a/b_c", ""},
	{"spec.virtualKubelet.image.repository", "https://example.com/a", "without scheme, tag and digest"},
	{"spec.virtualKubelet.image.repository", "example.com/a:1", "without scheme, tag and digest"},
	{"spec.virtualKubelet.image.tag", "1.6.4-rc_1", ""},
	{"spec.virtualKubelet.image.tag", "-1", "must be an image tag"},
	{"spec.virtualKubelet.image.digest", digest, ""},
	{"spec.virtualKubelet.image.digest", strings.ToUpper(digest), "must be sha256: and 64 hexadecimal digits"},
	{"spec.virtualKubelet.image.pullPolicy", "Sometimes", "supported values"},
	{"spec.virtualKubelet.image.pullSecrets", []any{map[string]any{"name": "a"}, map[string]any{"name": "a"}}, "Duplicate value"},
	{"spec.virtualKubelet.logLevel", "debug", ""},
	{"spec.virtualKubelet.logLevel", "loud", "supported values"},
	{"spec.virtualKubelet.resources.limits", map[string]any{"memory": "1Gi"}, ""},
	{"spec.virtualKubelet.resources.limits", map[string]any{"memory": "lots"}, "spec.virtualKubelet.resources.limits.memory"},

	{"spec.node.namePrefix", strings.Repeat("a", 49), ""},
	{"spec.node.namePrefix", strings.Repeat("a", 50), ""}, // 50 + 1 + 5 + 1 + 6 = 63
	{"spec.node.namePrefix", strings.Repeat("a", 51), "Too long"},
	{"spec.node.namePrefix", "a-", "beginning and ending with a letter or digit"},
}

func TestSchema(t *testing.T) {
	g := NewWithT(t)
	programs, err := binaries.Build(t.Context(), binaries.Options{Progress: func(line string) { t.Log(line) }})
	g.Expect(err).NotTo(HaveOccurred())
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Dir: filepath.Join(t.TempDir(), "plane"), Programs: programs})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(plane.Stop()).To(Succeed()) })
	_, err = envtest.InstallCRDs(plane.RESTConfig(), envtest.CRDInstallOptions{
		Paths: []string{"../../config/crd/bases"}, ErrorIfPathMissing: true,
	})
	g.Expect(err).NotTo(HaveOccurred())
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	g.Expect(apiextensionsv1.AddToScheme(scheme)).To(Succeed())
	k8s, err := client.New(plane.RESTConfig(), client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())

	for _, test := range cases {
		t.Run(name(test.field, test.value), func(t *testing.T) {
			g := NewWithT(t)
			object := &unstructured.Unstructured{}
			g.Expect(json.Unmarshal([]byte(good), &object.Object)).To(Succeed())
			path := strings.Split(test.field, ".")
			if test.value == nil {
				unstructured.RemoveNestedField(object.Object, path...)
			} else {
				g.Expect(unstructured.SetNestedField(object.Object, test.value, path...)).To(Succeed())
			}
			err := k8s.Create(t.Context(), object, client.DryRunAll)
			if test.rejected == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(test.rejected)))
		})
	}

	t.Run("the defaults", func(t *testing.T) {
		g := NewWithT(t)
		connector := &v1alpha1.VirtualKubeletConnector{}
		g.Expect(json.Unmarshal([]byte(good), connector)).To(Succeed())
		g.Expect(k8s.Create(t.Context(), connector)).To(Succeed())
		g.Expect(connector.Spec.OSTypes).To(ConsistOf(v1alpha1.OSTypeLinux))
		g.Expect(connector.Spec.Cloud).To(Equal(v1alpha1.CloudPublic))
		g.Expect(connector.Spec.Credentials.ServicePrincipal.ClientSecretRef.Key).To(Equal("clientSecret"))
		g.Expect(connector.Spec.VirtualKubelet.Image).To(BeZero(), "the operator's release decides the image")

		again := connector.DeepCopy()
		g.Expect(k8s.Update(t.Context(), again)).To(Succeed())
		g.Expect(again.ResourceVersion).To(Equal(connector.ResourceVersion), "what was read is written back without a change")
	})

	t.Run("every field is documented", func(t *testing.T) {
		g := NewWithT(t)
		var crds apiextensionsv1.CustomResourceDefinitionList
		g.Expect(k8s.List(t.Context(), &crds)).To(Succeed())
		g.Expect(crds.Items).To(HaveLen(1))
		undocumented(g, "", crds.Items[0].Spec.Versions[0].Schema.OpenAPIV3Schema)
	})
}

func undocumented(g Gomega, path string, schema *apiextensionsv1.JSONSchemaProps) {
	for field := range schema.Properties {
		property := schema.Properties[field]
		if path+field != "metadata" { // which the API server fills in
			g.Expect(property.Description).NotTo(BeEmpty(), path+"."+field)
		}
		undocumented(g, path+"."+field, &property)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		undocumented(g, path+"[]", schema.Items.Schema)
	}
}

func name(field string, value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		return field
	}
	return field + "=" + string(encoded[:min(len(encoded), 40)])
}
