// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"context"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
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
	reader := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(objects...).Build()
	w.Cache, w.Live = reader, reader
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
	})
	w.Cache, w.Live = reader, reader
}

func credentials(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "credentials"}, Data: data}
}

func clientCA(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication"}, Data: data}
}

func connector() *v1alpha1.VirtualKubeletConnector {
	return &v1alpha1.VirtualKubeletConnector{
		ObjectMeta: metav1.ObjectMeta{Name: "aci"},
		Spec: v1alpha1.VirtualKubeletConnectorSpec{Credentials: v1alpha1.Credentials{
			Type: v1alpha1.CredentialTypeServicePrincipal,
			ServicePrincipal: &v1alpha1.ServicePrincipal{
				ClientSecretRef: v1alpha1.SecretKeyReference{Name: "credentials", Key: "clientSecret"},
			},
		}},
	}
}

func TestFacts(t *testing.T) {
	secret := func(value string) *corev1.Secret {
		return credentials(map[string][]byte{"clientSecret": []byte(value)})
	}
	published := clientCA(map[string]string{"client-ca-file": "PEM"})
	const space = "key clientSecret of Secret vk-connector-system/credentials begins or ends with a space or a line break, which no client secret does: remove it (echo -n, or printf)"
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
			facts: Facts{Missing: &Missing{v1alpha1.ReasonSecretNotFound, "Secret vk-connector-system/credentials does not exist: " +
				"kubectl create secret generic credentials --namespace vk-connector-system --from-file=clientSecret=FILE"}},
		},
		"Secret of another namespace": {
			objects: []client.Object{&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "credentials"}}, published},
			facts: Facts{Missing: &Missing{v1alpha1.ReasonSecretNotFound, "Secret vk-connector-system/credentials does not exist: " +
				"kubectl create secret generic credentials --namespace vk-connector-system --from-file=clientSecret=FILE"}},
		},
		"no key": {
			objects: []client.Object{credentials(map[string][]byte{"clientsecret": []byte("s3cret")}), published},
			facts: Facts{Missing: &Missing{v1alpha1.ReasonSecretIncomplete, "key clientSecret of Secret vk-connector-system/credentials does not exist: " +
				"put the client secret there, or name another key in spec.credentials.servicePrincipal.clientSecretRef.key"}},
		},
		"empty": {
			objects: []client.Object{secret(""), published},
			facts: Facts{Missing: &Missing{v1alpha1.ReasonSecretIncomplete,
				"key clientSecret of Secret vk-connector-system/credentials is empty: put the client secret there"}},
		},
		"blank": {
			objects: []client.Object{secret(" \n"), published},
			facts: Facts{Missing: &Missing{v1alpha1.ReasonSecretIncomplete,
				"key clientSecret of Secret vk-connector-system/credentials is empty: put the client secret there"}},
		},
		"line break at the end": {
			objects: []client.Object{secret("s3cret\n"), published},
			facts:   Facts{Missing: &Missing{v1alpha1.ReasonSecretIncomplete, space}},
		},
		"space at the beginning": {
			objects: []client.Object{secret(" s3cret"), published},
			facts:   Facts{Missing: &Missing{v1alpha1.ReasonSecretIncomplete, space}},
		},
		"no client CA": {
			objects: []client.Object{secret("s3cret"), clientCA(map[string]string{"requestheader-client-ca-file": "PEM"})},
			facts: Facts{ClientSecret: "s3cret", ClientCA: []byte{}, Missing: &Missing{v1alpha1.ReasonClientCANotFound,
				"ConfigMap kube-system/extension-apiserver-authentication has no key client-ca-file: start the API server with --client-ca-file, so that virtual kubelets can tell it from others"}},
		},
		"no ConfigMap": {
			objects: []client.Object{secret("s3cret")},
			facts: Facts{ClientSecret: "s3cret", ClientCA: []byte{}, Missing: &Missing{v1alpha1.ReasonClientCANotFound,
				"ConfigMap kube-system/extension-apiserver-authentication has no key client-ca-file: start the API server with --client-ca-file, so that virtual kubelets can tell it from others"}},
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

func TestFactsWithoutCredentials(t *testing.T) {
	w := newWorld(t)
	facts, err := w.Facts(t.Context(), &v1alpha1.VirtualKubeletConnector{})
	w.g.Expect(err).NotTo(HaveOccurred())
	w.g.Expect(facts.Missing.Reason).To(Equal(v1alpha1.ReasonInvalidSpec))
}

// What can't be read is not what is missing: the status would tell the user to do what is done.
func TestFactsThatCannotBeRead(t *testing.T) {
	for name, kind := range map[string]client.Object{"Secret": &corev1.Secret{}, "ConfigMap": &corev1.ConfigMap{}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, credentials(map[string][]byte{"clientSecret": []byte("s3cret")}), clientCA(map[string]string{"client-ca-file": "PEM"}))
			w.fails(kind)
			facts, err := w.Facts(t.Context(), connector())
			w.g.Expect(err).To(MatchError(MatchRegexp("get " + name + " [a-z-]+/[a-z-]+: the API server is gone")))
			w.g.Expect(err.Error()).NotTo(ContainSubstring("s3cret"))
			w.g.Expect(facts.Missing).To(BeNil())
		})
	}
}

func TestAccess(t *testing.T) {
	w := newWorld(t)
	good := target()
	w.g.Expect(w.Access("aci", good)).To(Equal(Access{}))
	w.g.Eventually(func() Access { w.clock.Step(0); return w.Access("aci", good) }).
		Should(Equal(Access{Known: true, GoodSince: w.clock.Now()}))

	wrong := target()
	wrong.ClientSecret = "wrong"
	w.g.Eventually(func() bool { w.clock.Step(0); return w.Access("aci", wrong).Known }).Should(BeTrue())
	access := w.Access("aci", wrong)
	w.g.Expect(access.Problem.Reason).To(Equal(v1alpha1.ReasonCredentialsRejected))
	w.g.Expect(access.GoodSince).To(BeZero())
}

func target() azure.Target {
	return azure.Target{
		Cloud:          v1alpha1.CloudPublic,
		TenantID:       simulated.DefaultTenantID,
		ClientID:       simulated.DefaultClientID,
		ClientSecret:   simulated.DefaultClientSecret,
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
