// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

var update = flag.Bool("update", false, "write the golden files")

// cases are the connectors whose objects are in testdata, a file each.
var cases = map[string]func(*v1alpha1.VirtualKubeletConnector){
	"minimal": func(*v1alpha1.VirtualKubeletConnector) {},
	"both-operating-systems": func(c *v1alpha1.VirtualKubeletConnector) {
		c.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows}
	},
	"full": func(c *v1alpha1.VirtualKubeletConnector) {
		c.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
		c.Spec.Cloud = v1alpha1.CloudUSGovernment
		c.Spec.ContainerGroups.Location = "USGov Virginia"
		c.Spec.Node.NamePrefix = "edge"
		c.Spec.VirtualKubelet = v1alpha1.VirtualKubelet{
			Image: v1alpha1.Image{
				Repository:  "mirror.example:5000/virtual-kubelet",
				Tag:         "1.6.5",
				Digest:      "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
				PullPolicy:  corev1.PullAlways,
				PullSecrets: []v1alpha1.LocalSecretReference{{Name: "mirror"}, {Name: "fallback"}},
			},
			LogLevel: "debug",
			Resources: v1alpha1.Resources{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0.2")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
			},
		}
	},
}

var serving = discover.Certificate{
	Certificate: []byte("-----BEGIN CERTIFICATE-----\nserving\n-----END CERTIFICATE-----\n"),
	PrivateKey:  []byte("-----BEGIN PRIVATE KEY-----\nserving\n-----END PRIVATE KEY-----\n"),
}

func resolved(edit func(*v1alpha1.VirtualKubeletConnector)) resolve.Resolved {
	connector := &v1alpha1.VirtualKubeletConnector{
		ObjectMeta: metav1.ObjectMeta{Name: "aci"},
		Spec: v1alpha1.VirtualKubeletConnectorSpec{
			ContainerGroups: v1alpha1.ContainerGroups{
				SubscriptionID: "11111111-1111-1111-1111-111111111111",
				ResourceGroup:  "virtual-nodes",
				Location:       "eastus",
			},
			Credentials: v1alpha1.Credentials{
				Type: v1alpha1.CredentialTypeServicePrincipal,
				ServicePrincipal: &v1alpha1.ServicePrincipal{
					TenantID: "22222222-2222-2222-2222-222222222222",
					ClientID: "33333333-3333-3333-3333-333333333333",
				},
			},
		},
	}
	edit(connector)
	facts := discover.Facts{
		ClientSecret: "client-secret",
		ClientCA:     []byte("-----BEGIN CERTIFICATE-----\nclient CA\n-----END CERTIFICATE-----\n"),
	}
	return resolve.Resolve(connector, facts, resolve.Defaults{
		Namespace:       "vk-connector-system",
		ImageRepository: "mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet",
		ImageTag:        "1.6.4",
	})
}

// objects returns what Children holds, in the order of its fields.
func objects(children render.Children) []any {
	var out []any
	for _, field := range reflect.ValueOf(children).Fields() {
		out = append(out, field.Interface())
	}
	return out
}

// golden writes objects for people: YAML documents, the data of Secrets readable.
func golden(g Gomega, all []any) []byte {
	var out bytes.Buffer
	for _, object := range all {
		data, err := json.Marshal(object)
		g.Expect(err).NotTo(HaveOccurred())
		var tree map[string]any
		g.Expect(json.Unmarshal(data, &tree)).To(Succeed())
		if secret, ok := object.(*applycorev1.SecretApplyConfiguration); ok {
			decoded := map[string]any{}
			for key, value := range secret.Data {
				decoded[key] = string(value)
			}
			delete(tree, "data")
			tree["(data, decoded)"] = decoded
		}
		document, err := yaml.Marshal(tree)
		g.Expect(err).NotTo(HaveOccurred())
		out.WriteString("---\n")
		out.Write(document)
	}
	return out.Bytes()
}

func renderAll(g Gomega, r resolve.Resolved) []any {
	var all []any
	g.Expect(r.Missing).To(BeNil())
	for _, node := range r.Nodes {
		children, err := render.Node(r, node, serving)
		g.Expect(err).NotTo(HaveOccurred())
		all = append(all, objects(children)...)
	}
	return all
}

func TestGolden(t *testing.T) {
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := golden(g, renderAll(g, resolved(edit)))
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				g.Expect(os.WriteFile(path, got, 0o644)).To(Succeed())
			}
			want, err := os.ReadFile(path)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(got)).To(Equal(string(want)), "go test ./internal/render -update writes it anew; then read the difference")
		})
	}
}

// A child that is added to Children and never filled, or a golden file that no case writes, says nothing.
func TestGoldenFilesAreComplete(t *testing.T) {
	g := NewWithT(t)
	files, err := filepath.Glob("testdata/*.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	wanted := make([]string, 0, len(cases))
	for name := range cases {
		wanted = append(wanted, name)
	}
	g.Expect(names).To(ConsistOf(wanted))

	minimal, err := os.ReadFile("testdata/minimal.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	for field, value := range reflect.ValueOf(render.Children{}).Fields() {
		g.Expect(string(minimal)).To(ContainSubstring("\nkind: "+field.Name+"\n"), "of type %s", value.Type())
	}
	for _, object := range renderAll(g, resolved(cases["minimal"])) {
		g.Expect(object).NotTo(BeNil())
	}
}

func TestRenderIsPure(t *testing.T) {
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			input := resolved(edit)
			first, err := json.Marshal(renderAll(g, input))
			g.Expect(err).NotTo(HaveOccurred())
			second, err := json.Marshal(renderAll(g, input))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(second)).To(Equal(string(first)))
			g.Expect(input).To(Equal(resolved(edit)), "the input is as it was")
		})
	}
}

func TestTheObjectsOfANodeBelongTogether(t *testing.T) {
	g := NewWithT(t)
	r := resolved(cases["both-operating-systems"])
	for _, node := range r.Nodes {
		children, err := render.Node(r, node, serving)
		g.Expect(err).NotTo(HaveOccurred())
		for _, object := range objects(children) {
			meta := object.(interface {
				GetName() *string
				GetNamespace() *string
			})
			g.Expect(*meta.GetName()).To(Equal(node.Name))
			labels := reflect.ValueOf(object).Elem().FieldByName("Labels").Interface()
			g.Expect(labels).To(Equal(node.Labels(node.Version)), "%T", object)
		}
		g.Expect(children.Deployment.Spec.Selector.MatchLabels).To(Equal(node.Selector()))
		for key, value := range node.Selector() {
			g.Expect(children.Deployment.Spec.Template.Labels).To(HaveKeyWithValue(key, value))
		}
	}
}

// The virtual kubelet reads its Secret once, at its start.
func TestAChangeOfTheSecretRestartsTheVirtualKubelet(t *testing.T) {
	g := NewWithT(t)
	checksum := func(edit func(*resolve.Resolved, *discover.Certificate)) string {
		r, certificate := resolved(cases["minimal"]), serving
		edit(&r, &certificate)
		children, err := render.Node(r, r.Nodes[0], certificate)
		g.Expect(err).NotTo(HaveOccurred())
		return children.Deployment.Spec.Template.Annotations[render.AnnotationChecksum]
	}
	seen := map[string]string{}
	for name, edit := range map[string]func(*resolve.Resolved, *discover.Certificate){
		"nothing":       func(*resolve.Resolved, *discover.Certificate) {},
		"client secret": func(r *resolve.Resolved, _ *discover.Certificate) { r.Target.ClientSecret = "other" },
		"client id":     func(r *resolve.Resolved, _ *discover.Certificate) { r.Target.ClientID = "other" },
		"client CA":     func(r *resolve.Resolved, _ *discover.Certificate) { r.ClientCA = []byte("other") },
		"certificate":   func(_ *resolve.Resolved, c *discover.Certificate) { c.Certificate = []byte("other") },
		"private key":   func(_ *resolve.Resolved, c *discover.Certificate) { c.PrivateKey = []byte("other") },
		"swapped content": func(_ *resolve.Resolved, c *discover.Certificate) {
			c.Certificate, c.PrivateKey = c.PrivateKey, c.Certificate
		},
	} {
		sum := checksum(edit)
		g.Expect(seen).NotTo(HaveKey(sum), name)
		seen[sum] = name
	}
	g.Expect(seen).To(HaveKeyWithValue(checksum(func(*resolve.Resolved, *discover.Certificate) {}), "nothing"))
}
