// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/argoproj/argo-cd/v3/common"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	"github.com/argoproj/gitops-engine/pkg/diff"
	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	. "github.com/onsi/gomega"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"k8s.io/kube-openapi/pkg/util/proto"
	"sigs.k8s.io/yaml"
)

// definition is the CustomResourceDefinition of connectors, as an API server uses it.
type definition struct {
	defaults *schema.Structural
	types    managedfields.TypeConverter
	parser   *managedfields.GvkParser
}

func define(g Gomega) definition {
	var crd apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.UnmarshalStrict(
		file(g, "config", "crd", "bases", "connector.virtual-kubelet.io_virtualkubeletconnectors.yaml"), &crd)).To(Succeed())
	version := crd.Spec.Versions[0]

	var internal apiextensions.JSONSchemaProps
	g.Expect(apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &internal, nil)).To(Succeed())
	defaults, err := schema.NewStructural(&internal)
	g.Expect(err).NotTo(HaveOccurred())

	v3, err := builder.BuildOpenAPIV3(&crd, version.Name, builder.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	types, err := managedfields.NewTypeConverter(v3.Components.Schemas, false)
	g.Expect(err).NotTo(HaveOccurred())

	v2, err := builder.BuildOpenAPIV2(&crd, version.Name, builder.Options{V2: true})
	g.Expect(err).NotTo(HaveOccurred())
	document, err := openapi_v2.ParseDocument(encode(g, v2))
	g.Expect(err).NotTo(HaveOccurred())
	models, err := proto.NewOpenAPIData(document)
	g.Expect(err).NotTo(HaveOccurred())
	parser, err := managedfields.NewGVKParser(models, false)
	g.Expect(err).NotTo(HaveOccurred())
	return definition{defaults, types, parser}
}

// settled is what has become of a connector that Argo CD has applied and the operator has brought to rest.
func (d definition) settled(g Gomega, applied *unstructured.Unstructured) *unstructured.Unstructured {
	fields := managedfieldstest.NewTestFieldManager(d.types, applied.GroupVersionKind())
	g.Expect(fields.Apply(applied.DeepCopy(), common.ArgoCDSSAManager, false)).To(Succeed())
	held := &unstructured.Unstructured{}
	held.SetGroupVersionKind(applied.GroupVersionKind())
	held.SetName(applied.GetName())
	held.SetFinalizers([]string{"connector.virtual-kubelet.io/retire-nodes"})
	g.Expect(fields.Apply(held, "vk-connector-operator", false)).To(Succeed())

	live := &unstructured.Unstructured{}
	g.Expect(json.Unmarshal(encode(g, fields.Live()), &live.Object)).To(Succeed())
	defaulting.Default(live.Object, d.defaults)
	live.SetUID("00000000-0000-0000-0000-000000000000")
	live.SetGeneration(1)
	live.SetResourceVersion("42")
	live.Object["status"] = object(g, file(g, "test", "connectors", "current", "all-is-well.yaml")).Object["status"]
	return live
}

// TestNoDrift compares connectors as they are in Git with those that have settled, in each way of Argo CD's that asks no
// API server. Nothing is ignored.
func TestNoDrift(t *testing.T) {
	g := NewWithT(t)
	d := define(g)
	normalizer, err := normalizers.NewIgnoreNormalizer(nil, nil, normalizers.IgnoreNormalizerOpts{})
	g.Expect(err).NotTo(HaveOccurred())
	serverSide := []diff.Option{
		diff.WithNormalizer(normalizer), diff.WithStructuredMergeDiff(true), diff.WithGVKParser(d.parser), diff.WithManager(common.ArgoCDSSAManager),
	}
	paths, err := filepath.Glob(filepath.Join(root, "config", "samples", "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	count := 0
	for _, path := range append(paths, filepath.Join(root, "config", "gitops", "connector", "connector.yaml")) {
		content, err := os.ReadFile(path)
		g.Expect(err).NotTo(HaveOccurred())
		connector := object(g, content)
		if connector.GetKind() != "VirtualKubeletConnector" {
			continue
		}
		count++
		t.Run(filepath.Base(path), func(t *testing.T) {
			config := tracked(NewWithT(t), connector)
			for _, test := range []struct {
				name    string
				live    func(g Gomega) *unstructured.Unstructured
				options []diff.Option
			}{
				{"server-side apply", func(g Gomega) *unstructured.Unstructured { return d.settled(g, config) }, serverSide},
				{"client-side apply", func(g Gomega) *unstructured.Unstructured {
					live := d.settled(g, config)
					annotations := live.GetAnnotations()
					annotations[diff.AnnotationLastAppliedConfig] = string(encode(g, config))
					live.SetAnnotations(annotations)
					return live
				}, []diff.Option{diff.WithNormalizer(normalizer)}},
			} {
				t.Run(test.name, func(t *testing.T) {
					g := NewWithT(t)
					live := test.live(g)
					spec := func() map[string]any { return live.Object["spec"].(map[string]any) }
					g.Expect(spec()).To(HaveKeyWithValue("suspend", false), "the API server's defaults are there")
					result, err := diff.Diff(config, live, test.options...)
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(string(result.PredictedLive)).To(MatchJSON(result.NormalizedLive))
					g.Expect(result.Modified).To(BeFalse())

					spec()["credentials"].(map[string]any)["type"] = "edited"
					result, err = diff.Diff(config, live, test.options...)
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(result.Modified).To(BeTrue(), "what somebody edits is seen")
				})
			}
		})
	}
	g.Expect(count).To(BeNumerically(">", 3))
}
