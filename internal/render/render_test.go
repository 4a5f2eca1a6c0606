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
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

var update = flag.Bool("update", false, "write the golden files")

// input is what a node is resolved from, for a case to change.
type input struct {
	connector *v1alpha1.VirtualKubeletConnector
	facts     discover.Facts
	defaults  resolve.Defaults
}

// cases are the inputs whose objects are in testdata, a file each.
var cases = map[string]func(*input){
	"minimal": func(*input) {},
	"both-operating-systems": func(in *input) {
		in.connector.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows}
	},
	"full": full,
	"digest": func(in *input) {
		in.connector.Spec.VirtualKubelet.Image.Digest = digest
	},
	"managed-identity": func(in *input) {
		in.facts.ClientSecret = ""
		in.connector.Spec.Credentials = v1alpha1.Credentials{
			Type:            v1alpha1.CredentialTypeManagedIdentity,
			ManagedIdentity: &v1alpha1.ManagedIdentity{ClientID: "44444444-4444-4444-4444-444444444444"},
		}
	},
	"network": network,
	"taint-none": func(in *input) {
		in.connector.Spec.Node.Taint.Policy = v1alpha1.TaintPolicyNone
	},
	"taint": func(in *input) {
		in.connector.Spec.Node.Taint = v1alpha1.NodeTaint{Key: "example.com/aci", Value: new(v1alpha1.LabelValue("")), Effect: "NoExecute"}
	},
	"capacity":   capacity,
	"monitoring": monitoring,
	"proxy": func(in *input) {
		in.defaults.Proxy = []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://user:$(x)@proxy.example:3128"}}
	},
	"proxy-with-exceptions": proxied,
	"lease-cluster-role": func(in *input) {
		in.defaults.LeaseClusterRole = "vk-connector-virtual-kubelet-lease"
	},
	"scheduling": scheduling,
	"scheduling-elsewhere": func(in *input) {
		in.connector.Spec.VirtualKubelet.Affinity = &v1alpha1.Affinity{PodAntiAffinity: podAffinity()}
	},
	"everything": func(in *input) {
		for _, feature := range []func(*input){full, network, capacity, monitoring, proxied, scheduling} {
			feature(in)
		}
		in.connector.Spec.Node.Labels = map[string]v1alpha1.LabelValue{"example.com/team": "batch"}
		in.connector.Spec.Node.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/contact": "batch@example.com"}
	},
}

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func full(in *input) {
	c := in.connector
	c.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
	c.Spec.Cloud = v1alpha1.CloudUSGovernment
	c.Spec.ContainerGroups.Location = "USGov Virginia"
	c.Spec.Node.NamePrefix = "edge"
	c.Spec.VirtualKubelet = v1alpha1.VirtualKubelet{
		Image: v1alpha1.Image{
			Repository:  "mirror.example:5000/virtual-kubelet",
			Tag:         "1.6.5",
			Digest:      digest,
			PullPolicy:  corev1.PullAlways,
			PullSecrets: []v1alpha1.LocalSecretReference{{Name: "mirror"}, {Name: "fallback"}},
		},
		LogLevel: "debug",
		Resources: v1alpha1.Resources{
			Requests: v1alpha1.ResourceAmounts{CPU: new(resource.MustParse("0.2"))},
			Limits:   v1alpha1.ResourceAmounts{Memory: new(resource.MustParse("512Mi"))},
		},
	}
}

func network(in *input) {
	in.connector.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows}
	in.connector.Spec.Network = &v1alpha1.Network{
		OSTypes:     in.connector.Spec.OSTypes,
		Subnet:      v1alpha1.Subnet{ResourceGroup: "network", VirtualNetworkName: "virtual-nodes", Name: "groups"},
		ClusterCIDR: "10.244.0.0/16",
	}
	in.facts.DNSServiceIP, in.facts.APIServerURI = "10.0.0.10", "https://192.0.2.1:6443"
}

func capacity(in *input) {
	in.connector.Spec.Node.Capacity = v1alpha1.NodeCapacity{
		CPU: new(resource.MustParse("100")), Memory: new(resource.MustParse("400Gi")), Pods: new(int32(50)),
	}
}

func monitoring(in *input) {
	in.facts.Workspace = &discover.Workspace{ID: "workspace-id", Key: []byte("workspace-key")}
	in.connector.Spec.Monitoring.LogAnalytics = &v1alpha1.LogAnalytics{
		SecretRef: v1alpha1.LocalSecretReference{Name: "workspace"},
		ClusterResourceID: "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/clusters/" +
			"providers/Microsoft.ContainerService/managedClusters/cluster",
	}
}

func proxied(in *input) {
	in.defaults.Proxy = []corev1.EnvVar{
		{Name: "HTTP_PROXY", Value: "http://proxy.example:3128"},
		{Name: "https_proxy", Value: "http://proxy.example:3128"},
		{Name: "NO_PROXY", Value: ".example,10.0.0.0/8"},
		{Name: "no_proxy", Value: ".example"},
	}
}

func scheduling(in *input) {
	vk := &in.connector.Spec.VirtualKubelet
	vk.PodLabels = map[string]v1alpha1.LabelValue{"example.com/team": "platform"}
	vk.PodAnnotations = map[string]v1alpha1.AnnotationValue{"example.com/contact": "platform@example.com"}
	vk.NodeSelector = map[string]v1alpha1.LabelValue{"kubernetes.azure.com/mode": "system"}
	vk.PriorityClassName = "high"
	vk.Tolerations = []v1alpha1.Toleration{
		{Operator: "Exists"},
		{Key: "example.com/dedicated", Operator: "Equal", Value: "system", Effect: "NoExecute", TolerationSeconds: new(int64(0))},
	}
	zone := v1alpha1.NodeSelectorTerm{MatchExpressions: []v1alpha1.NodeSelectorRequirement{
		{Key: "topology.kubernetes.io/zone", Operator: "In", Values: []v1alpha1.LabelValue{"eastus-1", "eastus-2"}},
	}}
	mode := v1alpha1.NodeSelectorTerm{MatchExpressions: []v1alpha1.NodeSelectorRequirement{{Key: "example.com/fast", Operator: "Exists"}}}
	vk.Affinity = &v1alpha1.Affinity{
		NodeAffinity: &v1alpha1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution:  &v1alpha1.NodeSelector{NodeSelectorTerms: []v1alpha1.NodeSelectorTerm{zone, mode}},
			PreferredDuringSchedulingIgnoredDuringExecution: []v1alpha1.PreferredSchedulingTerm{{Weight: 10, Preference: mode}},
		},
		PodAffinity: podAffinity(), PodAntiAffinity: podAffinity(),
	}
}

func podAffinity() *v1alpha1.PodAffinity {
	term := v1alpha1.PodAffinityTerm{
		LabelSelector: v1alpha1.LabelSelector{
			MatchLabels:      map[string]v1alpha1.LabelValue{"app.kubernetes.io/component": "virtual-node"},
			MatchExpressions: []v1alpha1.LabelSelectorRequirement{{Key: "example.com/team", Operator: "NotIn", Values: []v1alpha1.LabelValue{"batch"}}},
		},
		TopologyKey: "kubernetes.io/hostname",
	}
	return &v1alpha1.PodAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution:  []v1alpha1.PodAffinityTerm{term},
		PreferredDuringSchedulingIgnoredDuringExecution: []v1alpha1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term}},
	}
}

var serving = discover.Certificate{
	Certificate: []byte("-----BEGIN CERTIFICATE-----\nserving\n-----END CERTIFICATE-----\n"),
	PrivateKey:  []byte("-----BEGIN PRIVATE KEY-----\nserving\n-----END PRIVATE KEY-----\n"),
}

func resolved(edit func(*input)) resolve.Resolved {
	in := input{
		connector: &v1alpha1.VirtualKubeletConnector{
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
		},
		facts: discover.Facts{
			ClientSecret: "client-secret",
			ClientCA:     []byte("-----BEGIN CERTIFICATE-----\nclient CA\n-----END CERTIFICATE-----\n"),
		},
		defaults: resolve.Defaults{
			Namespace:           "vk-connector-system",
			Image:               v1alpha1.Image{Repository: "mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet", Tag: "1.6.4"},
			AllowedRepositories: []string{"mcr.microsoft.com/*", "mirror.example:5000/virtual-kubelet"},
		},
	}
	edit(&in)
	return resolve.Resolve(in.connector, in.facts, in.defaults)
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

// Tools of GitOps take an object for one of theirs by its labels and annotations.
func TestNothingOfTheConnectorsMetadataIsOnItsObjects(t *testing.T) {
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tracked := resolved(func(in *input) {
				edit(in)
				in.connector.Labels = map[string]string{
					"app.kubernetes.io/instance": "virtual-nodes", "kustomize.toolkit.fluxcd.io/name": "connector",
				}
				in.connector.Annotations = map[string]string{
					"argocd.argoproj.io/tracking-id":                   "virtual-nodes:connector.virtual-kubelet.io/VirtualKubeletConnector:/aci",
					"kubectl.kubernetes.io/last-applied-configuration": "{}",
				}
			})
			g.Expect(golden(g, renderAll(g, tracked))).To(Equal(golden(g, renderAll(g, resolved(edit)))))
		})
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

// A field of a node that no case gives, or that is given and makes no difference, says nothing.
func TestEveryFieldOfANodeMatters(t *testing.T) {
	r := resolved(cases["everything"])
	whole := render1(NewWithT(t), r, r.Nodes[0])
	// The Node's own marks are not in the objects that make it; the Secret's claim is of the whole identity.
	elsewhere := []string{"NodeLabels", "NodeAnnotations"}
	var walk func(path string, at func(*resolve.Node) reflect.Value)
	walk = func(path string, at func(*resolve.Node) reflect.Value) {
		node := r.Nodes[0]
		field := at(&node)
		if field.Kind() == reflect.Pointer && field.Type().Elem().PkgPath() == reflect.TypeFor[resolve.Node]().PkgPath() {
			walk(path, func(n *resolve.Node) reflect.Value {
				own := reflect.New(field.Type().Elem())
				own.Elem().Set(at(n).Elem())
				at(n).Set(own)
				return own.Elem()
			})
			return
		}
		if field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[corev1.ResourceRequirements]() {
			for i := range field.NumField() {
				walk(path+"."+field.Type().Field(i).Name, func(n *resolve.Node) reflect.Value { return at(n).Field(i) })
			}
			return
		}
		t.Run(strings.TrimPrefix(path, "."), func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(field.IsZero()).To(BeFalse(), "the case everything gives it")
			changed := r.Nodes[0]
			at(&changed).SetZero()
			if slices.Contains(elsewhere, strings.TrimPrefix(path, ".")) {
				g.Expect(render1(g, r, changed)).To(Equal(whole))
			} else {
				g.Expect(render1(g, r, changed)).NotTo(Equal(whole))
			}
		})
	}
	walk("", func(n *resolve.Node) reflect.Value { return reflect.ValueOf(n).Elem() })
}

func render1(g Gomega, r resolve.Resolved, node resolve.Node) string {
	children, err := render.Node(r, node, serving)
	g.Expect(err).NotTo(HaveOccurred())
	data, err := json.Marshal(children)
	g.Expect(err).NotTo(HaveOccurred())
	return string(data)
}

// A person's labels are for the pods alone, and don't take the place of ours.
func TestPodLabelsAreBesideOurs(t *testing.T) {
	g := NewWithT(t)
	r := resolved(cases["scheduling"])
	children, err := render.Node(r, r.Nodes[0], serving)
	g.Expect(err).NotTo(HaveOccurred())
	labels := children.Deployment.Spec.Template.Labels
	g.Expect(labels).To(HaveKeyWithValue("example.com/team", "platform"))
	for key, value := range r.Nodes[0].Labels(r.Nodes[0].Version) {
		g.Expect(labels).To(HaveKeyWithValue(key, value))
	}
	g.Expect(children.Deployment.Labels).NotTo(HaveKey("example.com/team"))
	g.Expect(children.Deployment.Spec.Selector.MatchLabels).To(Equal(r.Nodes[0].Selector()))
}

// The virtual kubelet's client id is in no variable: with one, it takes every identity for a service principal. And its
// secret is nowhere but in its Secret.
func TestTheIdentityIsInTheFileAlone(t *testing.T) {
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := resolved(edit)
			for _, node := range r.Nodes {
				children, err := render.Node(r, node, serving)
				g.Expect(err).NotTo(HaveOccurred())
				template, err := json.Marshal(children.Deployment.Spec.Template)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(template)).NotTo(ContainSubstring(r.Target.ClientID))
				children.Secret = nil
				all, err := json.Marshal(children)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(all)).To(ContainSubstring(r.Target.ClientID))
				g.Expect(string(all)).NotTo(Or(ContainSubstring("client-secret"), ContainSubstring("workspace-key")))
			}
		})
	}
}

// What a node was started with is read back from its Secret when it retires.
func TestAzureConfig(t *testing.T) {
	for _, name := range []string{"minimal", "managed-identity", "network"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := resolved(cases[name])
			config := render.AzureConfigOf(r.Target, r.Location, r.Nodes[0].Network)
			data, err := json.Marshal(config)
			g.Expect(err).NotTo(HaveOccurred())
			var stored render.AzureConfig
			g.Expect(json.Unmarshal(data, &stored)).To(Succeed())
			g.Expect(stored).To(Equal(config))
			g.Expect(stored.Target()).To(Equal(r.Target))
		})
	}
}

func TestAzureConfigWithAnotherIdentity(t *testing.T) {
	g := NewWithT(t)
	principal := azure.Credential{Type: v1alpha1.CredentialTypeServicePrincipal, TenantID: "tenant", ClientID: "client", ClientSecret: "secret"}
	identity := azure.Credential{Type: v1alpha1.CredentialTypeManagedIdentity, ClientID: "identity"}
	place := azure.Target{Credential: principal, SubscriptionID: "subscription", ResourceGroup: "group"}
	first := render.AzureConfigOf(place, "eastus", nil)
	g.Expect(first).To(And(HaveField("ClientID", "client"), HaveField("ClientSecret", "secret"), HaveField("UserAssignedIdentityID", "")))

	second := first.With(identity)
	g.Expect(second).To(And(HaveField("ClientID", "msi"), HaveField("ClientSecret", ""), HaveField("UserAssignedIdentityID", "identity")))
	g.Expect(second.Target().Credential).To(Equal(identity), "it is read back as it was given")
	g.Expect(second).To(And(HaveField("ResourceGroup", "group"), HaveField("Location", "eastus"), HaveField("VNetName", "none")))
	g.Expect(second.With(principal)).To(Equal(first), "the way back")
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
		"a workspace":   func(r *resolve.Resolved, _ *discover.Certificate) { r.Workspace = &discover.Workspace{ID: "id"} },
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

// A change of what is wanted restarts a virtual kubelet; what others make of its Deployment, and its own place, do not.
func TestRestarts(t *testing.T) {
	g := NewWithT(t)
	rendered := func(edit func(*resolve.Resolved)) render.Children {
		r := resolved(cases["minimal"])
		if edit != nil {
			edit(&r)
		}
		children, err := render.Node(r, r.Nodes[0], serving)
		g.Expect(err).NotTo(HaveOccurred())
		return children
	}
	live := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Annotations: rendered(nil).Deployment.Annotations}}
	g.Expect(rendered(nil).Restarts(live)).To(BeFalse())
	g.Expect(rendered(func(r *resolve.Resolved) { r.Nodes[0].LogLevel = "debug" }).Restarts(live)).To(BeTrue())
	g.Expect(rendered(func(r *resolve.Resolved) { r.Target.ClientSecret = "another" }).Restarts(live)).To(BeTrue())
	g.Expect(rendered(func(r *resolve.Resolved) { r.Nodes[0].NodeLabels = map[string]string{"a": "b"} }).Restarts(live)).To(BeFalse())
	live.Spec.Replicas = new(int32(3))
	g.Expect(rendered(nil).Restarts(live)).To(BeFalse())
	g.Expect(rendered(nil).Restarts(&appsv1.Deployment{})).To(BeTrue())

	steady := rendered(nil).Steady()
	g.Expect(steady.Secret).To(BeNil())
	g.Expect(steady.Deployment).To(BeNil())
	g.Expect(steady.ServiceAccount).NotTo(BeNil())
}
