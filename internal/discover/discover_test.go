// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const namespace = "vk-connector-system"

// world is a Discoverer on objects that a test puts there, and on a simulated Azure.
type world struct {
	*Discoverer
	g     Gomega
	azure *simulated.Server
	clock *clocktesting.FakeClock
}

// newWorld reads objects as an API server holds them: a client that only reads needs no real one.
func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(30 * time.Second)
	clk := clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	server, err := simulated.NewServer(simulated.DefaultConfig(), simulated.WithClock(clk))
	g.Expect(err).NotTo(HaveOccurred())
	inventory := azure.NewInventory(azure.NewConnector(server.Transport(), "test"), clk, func(string) {})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- inventory.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		g.Eventually(ended).Should(Receive(BeNil()))
	})
	w := &world{g: g, azure: server, clock: clk}
	w.Discoverer = &Discoverer{Inventory: inventory, Namespace: namespace, Clock: clk}
	w.holds(objects...)
	return w
}

// holds replaces what the cluster holds.
func (w *world) holds(objects ...client.Object) {
	kinds := runtime.NewScheme()
	w.g.Expect(scheme.AddToScheme(kinds)).To(Succeed())
	w.g.Expect(v1alpha1.AddToScheme(kinds)).To(Succeed())
	reader := fake.NewClientBuilder().WithScheme(kinds).WithObjects(objects...).
		WithIndex(&v1alpha1.VirtualKubeletConnector{}, NodeNameField, func(o client.Object) []string {
			return identity.NodeNames(o.(*v1alpha1.VirtualKubeletConnector))
		}).Build()
	w.Cache, w.Live = reader, reader
}

// asks counts the questions that do makes the inventory put to Azure.
func (w *world) asks(do func()) int {
	w.Inventory.Token("another", target().Credential)
	w.g.Eventually(w.clock.Waiters).Should(Equal(1), "the inventory has started")
	do()
	return w.clock.Waiters() - 1
}

// fails makes reads of a kind fail.
func (w *world) fails(kind client.Object) {
	reader := interceptor.NewClient(w.Cache.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
			want, _ := c.GroupVersionKindFor(kind)
			if got, err := c.GroupVersionKindFor(object); err == nil && got == want {
				return errors.New("the API server is gone")
			}
			return c.Get(ctx, key, object, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			want, _ := c.GroupVersionKindFor(kind)
			if got, err := c.GroupVersionKindFor(list); err == nil && got.Kind == want.Kind+"List" {
				return errors.New("the API server is gone")
			}
			return c.List(ctx, list, opts...)
		},
	})
	w.Cache, w.Live = reader, reader
}

func credentials(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "credentials"}, Data: data}
}

func clientCA(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication"}, Data: data}
}

func connector(edit ...func(*v1alpha1.VirtualKubeletConnector)) *v1alpha1.VirtualKubeletConnector {
	c := &v1alpha1.VirtualKubeletConnector{
		ObjectMeta: metav1.ObjectMeta{Name: "aci"},
		Spec: v1alpha1.VirtualKubeletConnectorSpec{Credentials: v1alpha1.Credentials{
			Type: v1alpha1.CredentialTypeServicePrincipal,
			ServicePrincipal: &v1alpha1.ServicePrincipal{
				ClientSecretRef: v1alpha1.SecretKeyReference{Name: "credentials", Key: "clientSecret"},
			},
		}},
	}
	for _, e := range edit {
		e(c)
	}
	return c
}

func TestFacts(t *testing.T) {
	secret := func(value string) *corev1.Secret {
		return credentials(map[string][]byte{"clientSecret": []byte(value)})
	}
	published := clientCA(map[string]string{"client-ca-file": "PEM"})
	missing := func(reason, message string) Facts {
		return Facts{ClientCA: []byte("PEM"), Missing: &Missing{Reason: reason, Message: message}}
	}
	const (
		space = "key clientSecret of Secret vk-connector-system/credentials begins or ends with a space or a line break, " +
			"which it must not: remove it (echo -n, or printf)"
		none = "Secret vk-connector-system/credentials does not exist: " +
			"kubectl create secret generic credentials --namespace vk-connector-system --from-file=clientSecret=FILE"
		noCA = "ConfigMap kube-system/extension-apiserver-authentication has no key client-ca-file: " +
			"start the API server with --client-ca-file, so that virtual kubelets can tell it from others"
	)
	for name, test := range map[string]struct {
		objects []client.Object
		facts   Facts
	}{
		"all there": {
			objects: []client.Object{secret("s3cret"), published},
			facts:   Facts{ClientSecret: "s3cret", ClientCA: []byte("PEM")},
		},
		"no Secret": {
			objects: []client.Object{published},
			facts:   missing(v1alpha1.ReasonSecretNotFound, none),
		},
		"Secret of another namespace": {
			objects: []client.Object{&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "credentials"}}, published},
			facts:   missing(v1alpha1.ReasonSecretNotFound, none),
		},
		"no key": {
			objects: []client.Object{credentials(map[string][]byte{"clientsecret": []byte("s3cret")}), published},
			facts: missing(v1alpha1.ReasonSecretIncomplete, "key clientSecret of Secret vk-connector-system/credentials does not exist: "+
				"put the client secret there, or name another key in spec.credentials.servicePrincipal.clientSecretRef.key"),
		},
		"empty": {
			objects: []client.Object{secret(""), published},
			facts: missing(v1alpha1.ReasonSecretIncomplete,
				"key clientSecret of Secret vk-connector-system/credentials is empty: put the client secret there"),
		},
		"blank": {
			objects: []client.Object{secret(" \n"), published},
			facts: missing(v1alpha1.ReasonSecretIncomplete,
				"key clientSecret of Secret vk-connector-system/credentials is empty: put the client secret there"),
		},
		"line break at the end": {
			objects: []client.Object{secret("s3cret\n"), published},
			facts:   missing(v1alpha1.ReasonSecretIncomplete, space),
		},
		"space at the beginning": {
			objects: []client.Object{secret(" s3cret"), published},
			facts:   missing(v1alpha1.ReasonSecretIncomplete, space),
		},
		"no client CA": {
			objects: []client.Object{secret("s3cret"), clientCA(map[string]string{"requestheader-client-ca-file": "PEM"})},
			facts:   Facts{ClientSecret: "s3cret", ClientCA: []byte{}, Missing: &Missing{Reason: v1alpha1.ReasonClientCANotFound, Message: noCA}},
		},
		"no ConfigMap": {
			objects: []client.Object{secret("s3cret")},
			facts:   Facts{ClientSecret: "s3cret", ClientCA: []byte{}, Missing: &Missing{Reason: v1alpha1.ReasonClientCANotFound, Message: noCA}},
		},
		"nothing": {
			facts: Facts{ClientCA: []byte{}, Missing: &Missing{Reason: v1alpha1.ReasonSecretNotFound, Message: none}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.objects...)
			facts, err := w.Facts(t.Context(), connector())
			w.g.Expect(err).NotTo(HaveOccurred())
			w.g.Expect(facts).To(Equal(test.facts))
		})
	}
}

// A managed identity has no secret; a connector that does not exist any more has no credentials at all.
func TestFactsWithoutAClientSecret(t *testing.T) {
	for name, given := range map[string]v1alpha1.Credentials{
		"managed identity": {Type: v1alpha1.CredentialTypeManagedIdentity, ManagedIdentity: &v1alpha1.ManagedIdentity{ClientID: "identity"}},
		"none":             {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, clientCA(map[string]string{"client-ca-file": "PEM"}))
			facts, err := w.Facts(t.Context(), connector(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Credentials = given }))
			w.g.Expect(err).NotTo(HaveOccurred())
			w.g.Expect(facts).To(Equal(Facts{ClientCA: []byte("PEM")}))
		})
	}
}

func TestCredentialOf(t *testing.T) {
	principal := v1alpha1.Credentials{
		Type:             v1alpha1.CredentialTypeServicePrincipal,
		ServicePrincipal: &v1alpha1.ServicePrincipal{TenantID: "tenant", ClientID: "client"},
	}
	for name, test := range map[string]struct {
		spec   v1alpha1.VirtualKubeletConnectorSpec
		secret string
		want   azure.Credential
		usable bool
	}{
		"service principal": {
			spec: v1alpha1.VirtualKubeletConnectorSpec{Credentials: principal, Cloud: v1alpha1.CloudChina}, secret: "s3cret", usable: true,
			want: azure.Credential{Cloud: v1alpha1.CloudChina, Type: principal.Type, TenantID: "tenant", ClientID: "client", ClientSecret: "s3cret"},
		},
		"service principal without its secret": {
			spec: v1alpha1.VirtualKubeletConnectorSpec{Credentials: principal},
			want: azure.Credential{Cloud: v1alpha1.CloudPublic, Type: principal.Type, TenantID: "tenant", ClientID: "client"},
		},
		"managed identity": {
			spec: v1alpha1.VirtualKubeletConnectorSpec{Credentials: v1alpha1.Credentials{
				Type: v1alpha1.CredentialTypeManagedIdentity, ManagedIdentity: &v1alpha1.ManagedIdentity{ClientID: "identity", TenantID: "tenant"},
			}},
			want:   azure.Credential{Cloud: v1alpha1.CloudPublic, Type: v1alpha1.CredentialTypeManagedIdentity, TenantID: "tenant", ClientID: "identity"},
			usable: true,
		},
		"none": {want: azure.Credential{Cloud: v1alpha1.CloudPublic}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := CredentialOf(&test.spec, test.secret)
			g.Expect(got).To(Equal(test.want), "%#v", got)
			g.Expect(got.Usable()).To(Equal(test.usable))
		})
	}
}

func TestWorkspace(t *testing.T) {
	const in = " of Secret vk-connector-system/workspace "
	for name, test := range map[string]struct {
		data    map[string][]byte
		want    *Workspace
		missing *Missing
	}{
		"all there": {
			data: map[string][]byte{"workspaceID": []byte("id"), "workspaceKey": []byte("key")},
			want: &Workspace{ID: "id", Key: []byte("key")},
		},
		"no Secret": {
			missing: &Missing{Reason: v1alpha1.ReasonSecretNotFound, Message: "Secret vk-connector-system/workspace does not exist: " +
				"kubectl create secret generic workspace --namespace vk-connector-system --from-file=workspaceID=FILE"},
		},
		"no id": {
			data: map[string][]byte{"workspaceKey": []byte("key")},
			missing: &Missing{Reason: v1alpha1.ReasonSecretIncomplete, Message: "key workspaceID" + in +
				"does not exist: put the id of the Log Analytics workspace there"},
		},
		"no key": {
			data: map[string][]byte{"workspaceID": []byte("id")},
			missing: &Missing{Reason: v1alpha1.ReasonSecretIncomplete, Message: "key workspaceKey" + in +
				"does not exist: put a key of the Log Analytics workspace there"},
		},
		"an empty key": {
			data: map[string][]byte{"workspaceID": []byte("id"), "workspaceKey": {}},
			missing: &Missing{Reason: v1alpha1.ReasonSecretIncomplete, Message: "key workspaceKey" + in +
				"is empty: put a key of the Log Analytics workspace there"},
		},
		"a line break at the end": {
			data: map[string][]byte{"workspaceID": []byte("id\n"), "workspaceKey": []byte("key")},
			missing: &Missing{Reason: v1alpha1.ReasonSecretIncomplete, Message: "key workspaceID" + in +
				"begins or ends with a space or a line break, which it must not: remove it (echo -n, or printf)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []client.Object{credentials(map[string][]byte{"clientSecret": []byte("s3cret")}), clientCA(map[string]string{"client-ca-file": "PEM"})}
			if test.data != nil {
				objects = append(objects, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "workspace"}, Data: test.data})
			}
			w := newWorld(t, objects...)
			facts, err := w.Facts(t.Context(), connector(monitored))
			w.g.Expect(err).NotTo(HaveOccurred())
			w.g.Expect(facts.Workspace).To(Equal(test.want))
			w.g.Expect(facts.Missing).To(Equal(test.missing))
			w.g.Expect(facts.ClientSecret).To(Equal("s3cret"), "the rest is known all the same")
		})
	}
}

func monitored(c *v1alpha1.VirtualKubeletConnector) {
	c.Spec.Monitoring.LogAnalytics = &v1alpha1.LogAnalytics{SecretRef: v1alpha1.LocalSecretReference{Name: "workspace"}}
}

func networked(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Network = &v1alpha1.Network{} }

func TestAddresses(t *testing.T) {
	dns := func(clusterIP string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-dns"}, Spec: corev1.ServiceSpec{ClusterIP: clusterIP, ClusterIPs: []string{clusterIP}}}
	}
	slice := func(port discoveryv1.EndpointPort, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"}, AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
			Ports: []discoveryv1.EndpointPort{{Name: new("other"), Port: ptr.To[int32](1)}, port},
		}
	}
	ipv6 := func(slice *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
		slice.AddressType = discoveryv1.AddressTypeIPv6
		return slice
	}
	https := discoveryv1.EndpointPort{Name: new("https"), Port: ptr.To[int32](6443)}
	unready := discoveryv1.Endpoint{Addresses: []string{"192.0.2.9"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}}
	ready := discoveryv1.Endpoint{Addresses: []string{"192.0.2.1"}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}
	unsaid := discoveryv1.Endpoint{Addresses: []string{"192.0.2.2"}}
	for name, test := range map[string]struct {
		objects  []client.Object
		dns, uri string
	}{
		"all there":           {objects: []client.Object{dns("10.0.0.10"), slice(https, ready)}, dns: "10.0.0.10", uri: "https://192.0.2.1:6443"},
		"nothing":             {},
		"a headless Service":  {objects: []client.Object{dns("None")}},
		"an unready endpoint": {objects: []client.Object{slice(https, unready)}},
		"a ready one after an unready one": {
			objects: []client.Object{slice(https, unready, discoveryv1.Endpoint{}, ready)}, uri: "https://192.0.2.1:6443",
		},
		"one that does not say": {objects: []client.Object{slice(https, unsaid)}, uri: "https://192.0.2.2:6443"},
		"a port without a name": {objects: []client.Object{slice(discoveryv1.EndpointPort{Port: ptr.To[int32](6443)}, ready)}},
		"a port without number": {objects: []client.Object{slice(discoveryv1.EndpointPort{Name: new("https")}, ready)}},
		"addresses of IPv6":     {objects: []client.Object{dns("fd00::a"), ipv6(slice(https, discoveryv1.Endpoint{Addresses: []string{"2001:db8::1"}}))}},
		"a Service of elsewhere": {objects: []client.Object{
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kube-dns"}, Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.10", ClusterIPs: []string{"10.0.0.10"}}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.objects...)
			facts, err := w.Facts(t.Context(), connector(networked))
			w.g.Expect(err).NotTo(HaveOccurred())
			w.g.Expect(facts.DNSServiceIP).To(Equal(test.dns))
			w.g.Expect(facts.APIServerURI).To(Equal(test.uri))

			facts, err = w.Facts(t.Context(), connector())
			w.g.Expect(err).NotTo(HaveOccurred())
			w.g.Expect(facts.DNSServiceIP+facts.APIServerURI).To(BeEmpty(), "nothing needs them without a subnet")
		})
	}
}

// cluster is the AKS cluster of the simulated Azure.
func cluster(c *v1alpha1.VirtualKubeletConnector) {
	c.Spec.ManagedCluster = &v1alpha1.ManagedCluster{SubscriptionID: simulated.DefaultSubscriptionID, ResourceGroup: "clusters", Name: "cluster"}
	c.Spec.Credentials.ServicePrincipal.TenantID = simulated.DefaultTenantID
	c.Spec.Credentials.ServicePrincipal.ClientID = simulated.DefaultClientID
}

// Azure is asked for nothing that the spec says itself.
func TestDefaultsAreAskedFor(t *testing.T) {
	for name, test := range map[string]struct {
		edit           []func(*v1alpha1.VirtualKubeletConnector)
		secret         string
		cluster, group bool
	}{
		"no cluster":               {secret: simulated.DefaultClientSecret},
		"a cluster":                {secret: simulated.DefaultClientSecret, edit: []func(*v1alpha1.VirtualKubeletConnector){cluster}, cluster: true},
		"a cluster, and no secret": {edit: []func(*v1alpha1.VirtualKubeletConnector){cluster}},
		"a resource group, and no location": {
			edit: []func(*v1alpha1.VirtualKubeletConnector){cluster, func(c *v1alpha1.VirtualKubeletConnector) {
				c.Spec.ContainerGroups.ResourceGroup = "virtual-nodes-westus"
			}},
			secret: simulated.DefaultClientSecret, cluster: true, group: true,
		},
		"a resource group and a location": {
			edit: []func(*v1alpha1.VirtualKubeletConnector){cluster, func(c *v1alpha1.VirtualKubeletConnector) {
				c.Spec.ContainerGroups.ResourceGroup, c.Spec.ContainerGroups.Location = "virtual-nodes", "eastus"
			}},
			secret: simulated.DefaultClientSecret, cluster: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, clientCA(map[string]string{"client-ca-file": "PEM"}), credentials(map[string][]byte{"clientSecret": []byte(test.secret)}))
			given := connector(test.edit...)
			look := func() Facts {
				facts, err := w.Facts(t.Context(), given)
				w.g.Expect(err).NotTo(HaveOccurred())
				return facts
			}
			questions := map[bool]int{true: 1}
			w.g.Expect(w.asks(func() { look() })).To(Equal(questions[test.cluster] + questions[test.group]))
			w.g.Eventually(func() bool { w.clock.Step(0); return look().ManagedCluster.Have }).Should(Equal(test.cluster))
			w.g.Eventually(func() bool { w.clock.Step(0); return look().ResourceGroup.Have }).Should(Equal(test.group))
			facts := look()
			if test.cluster {
				w.g.Expect(facts.ManagedCluster.Value.NodeResourceGroup).To(Equal("MC_clusters_cluster_eastus"))
			}
			if test.group {
				w.g.Expect(facts.ResourceGroup.Value.Location).To(Equal("westus"))
			}
		})
	}
}

// What can't be read is not what is missing: the status would tell the user to do what is done.
func TestFactsThatCannotBeRead(t *testing.T) {
	for name, kind := range map[string]client.Object{
		"Secret": &corev1.Secret{}, "ConfigMap": &corev1.ConfigMap{}, "Service": &corev1.Service{}, "EndpointSlice": &discoveryv1.EndpointSlice{},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, credentials(map[string][]byte{"clientSecret": []byte("s3cret")}), clientCA(map[string]string{"client-ca-file": "PEM"}))
			w.fails(kind)
			facts, err := w.Facts(t.Context(), connector(networked))
			w.g.Expect(err).To(MatchError(MatchRegexp("get " + name + " [a-z-]+/[a-z-]+: the API server is gone")))
			w.g.Expect(err.Error()).NotTo(ContainSubstring("s3cret"))
			w.g.Expect(facts).To(Equal(Facts{}))
		})
	}
}

// known are the checks that Azure has answered, by their names.
func known(c Checks) []string {
	var names []string
	for name, is := range map[string]bool{
		"token": c.Token.Known(), "groups": c.GroupsKnown, "rights": c.Rights.Known(),
		"provider": c.Provider.Known(), "region": c.Region.Known(), "subnet": c.Subnet.Known(),
	} {
		if is {
			names = append(names, name)
		}
	}
	return names
}

func TestChecks(t *testing.T) {
	whole := func(edit func(*Place)) Place {
		place := Place{
			Target: target(), Location: "eastus", Provider: v1alpha1.ProviderRegistrationCheck,
			Subnet: &azure.SubnetRef{Network: azure.VirtualNetworkRef{ResourceGroup: "virtual-nodes", Name: "virtual-nodes"}, Name: "container-groups"},
		}
		edit(&place)
		return place
	}
	for name, test := range map[string]struct {
		place Place
		asked []string
	}{
		"all":       {whole(func(*Place) {}), []string{"token", "groups", "rights", "provider", "region", "subnet"}},
		"no subnet": {whole(func(p *Place) { p.Subnet = nil }), []string{"token", "groups", "rights", "provider", "region"}},
		"registration ignored": {
			whole(func(p *Place) { p.Provider = v1alpha1.ProviderRegistrationIgnore }), []string{"token", "groups", "rights", "region", "subnet"},
		},
		"no location yet":       {whole(func(p *Place) { p.Location = "" }), []string{"token", "groups", "rights", "provider", "subnet"}},
		"no resource group yet": {whole(func(p *Place) { p.Target.ResourceGroup = "" }), []string{"token", "provider", "region", "subnet"}},
		"no subscription yet":   {whole(func(p *Place) { p.Target.SubscriptionID = "" }), []string{"token"}},
		"no client secret":      {whole(func(p *Place) { p.Target.ClientSecret = "" }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			others := slices.DeleteFunc(slices.Clone(test.asked), func(check string) bool { return check == "token" }) // asks has it asked
			w.g.Expect(w.asks(func() {
				w.g.Expect(known(w.Checks("aci", test.place))).To(BeEmpty(), "Azure has not answered yet")
			})).To(Equal(len(others)))
			w.g.Eventually(func() []string { w.clock.Step(0); return known(w.Checks("aci", test.place)) }).Should(ConsistOf(test.asked))
			checks := w.Checks("aci", test.place)
			w.g.Expect(checks.Groups.Problem).To(BeNil())
			w.g.Expect(checks.Subnet.Have).To(Equal(slices.Contains(test.asked, "subnet")))
		})
	}
}

func TestChecksOfWrongCredentials(t *testing.T) {
	w := newWorld(t)
	place := Place{Target: target(), Provider: v1alpha1.ProviderRegistrationIgnore}
	w.g.Eventually(func() bool { w.clock.Step(0); return w.Checks("aci", place).GroupsKnown }).Should(BeTrue())
	w.g.Expect(w.Checks("aci", place).Groups.GoodSince).To(Equal(w.clock.Now()))

	place.Target.ClientSecret = "wrong"
	w.g.Eventually(func() bool { w.clock.Step(0); return w.Checks("aci", place).Token.Known() }).Should(BeTrue())
	token := w.Checks("aci", place).Token
	w.g.Expect(token.Problem.Reason).To(Equal(v1alpha1.ReasonCredentialsRejected))
	w.g.Expect(token.GoodSince).To(BeZero())
}

// Register has the provider registered, Check does not.
func TestTheProviderIsRegistered(t *testing.T) {
	for registration, want := range map[v1alpha1.ProviderRegistration]azure.ProviderState{
		v1alpha1.ProviderRegistrationCheck: "NotRegistered", v1alpha1.ProviderRegistrationRegister: azure.ProviderRegistering,
	} {
		t.Run(string(registration), func(t *testing.T) {
			w := newWorld(t)
			w.g.Expect(w.azure.SetProvider(simulated.DefaultSubscriptionID, azure.ProviderNamespace, false)).To(Succeed())
			place := Place{Target: target(), Provider: registration}
			w.g.Eventually(func() bool { w.clock.Step(0); return w.Checks("aci", place).Provider.Have }).Should(BeTrue())
			w.g.Expect(w.Checks("aci", place).Provider.Value.State).To(Equal(want))
		})
	}
}

func target() azure.Target {
	return azure.Target{
		Credential: azure.Credential{
			Cloud:        v1alpha1.CloudPublic,
			Type:         v1alpha1.CredentialTypeServicePrincipal,
			TenantID:     simulated.DefaultTenantID,
			ClientID:     simulated.DefaultClientID,
			ClientSecret: simulated.DefaultClientSecret,
		},
		SubscriptionID: simulated.DefaultSubscriptionID,
		ResourceGroup:  "virtual-nodes",
	}
}

func node() identity.Node {
	return identity.Node{
		Name: "virtual-kubelet-aci-linux-eastus", Connector: "aci", OSType: v1alpha1.OSTypeLinux, Cloud: v1alpha1.CloudPublic,
		TenantID: simulated.DefaultTenantID, SubscriptionID: simulated.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Location: "eastus",
	}
}

// pod is one that a container group may have been made for.
func pod(name, uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uid)}}
}

func TestPodLives(t *testing.T) {
	group := azure.ContainerGroup{Name: "default-web", Namespace: "default", PodName: "web", PodUID: "uid"}
	for name, test := range map[string]struct {
		objects []client.Object
		edit    func(*azure.ContainerGroup)
		lives   bool
	}{
		"its pod":              {objects: []client.Object{pod("web", "uid")}, lives: true},
		"its pod, in any case": {objects: []client.Object{pod("web", "UID")}, lives: true},
		"no pod":               {},
		"another of its name":  {objects: []client.Object{pod("web", "other")}},
		"another of its uid":   {objects: []client.Object{pod("other", "uid")}},
		"no tag of the uid":    {objects: []client.Object{pod("web", "")}, edit: func(g *azure.ContainerGroup) { g.PodUID = "" }},
		"no tag of the name":   {objects: []client.Object{pod("web", "uid")}, edit: func(g *azure.ContainerGroup) { g.PodName = "" }},
		"no tag of the namespace": {
			objects: []client.Object{pod("web", "uid")}, edit: func(g *azure.ContainerGroup) { g.Namespace = "" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.objects...)
			asked := group
			if test.edit != nil {
				test.edit(&asked)
			}
			lives, err := PodLives(t.Context(), w.Live, asked)
			w.g.Expect(err).NotTo(HaveOccurred())
			w.g.Expect(lives).To(Equal(test.lives))
		})
	}
	t.Run("can't be read", func(t *testing.T) {
		w := newWorld(t)
		gone := interceptor.NewClient(w.Live.(client.WithWatch), interceptor.Funcs{
			Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
				return errors.New("the API server is gone")
			},
		})
		lives, err := PodLives(t.Context(), gone, group)
		w.g.Expect(err).To(MatchError("get Pod default/web: the API server is gone"))
		w.g.Expect(lives).To(BeFalse())
	})
}
