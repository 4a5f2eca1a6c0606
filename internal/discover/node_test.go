// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// nodeSecret is what a node's Secret looks like once it is applied.
func nodeSecret(certificate Certificate, edit ...func(*corev1.Secret)) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: node().Name, Labels: node().Labels("1.6.4"),
			Annotations: map[string]string{identity.AnnotationClaim: node().Hash()},
		},
		Data: map[string][]byte{CertificateKey: certificate.Certificate, PrivateKeyKey: certificate.PrivateKey},
	}
	for _, e := range edit {
		e(secret)
	}
	return secret
}

func unclaimed(secret *corev1.Secret) { secret.Annotations = nil }

func (w *world) node(ctx context.Context) NodeFacts {
	facts, err := w.Node(ctx, node(), target(), false)
	w.g.Expect(err).NotTo(HaveOccurred())
	return facts
}

// claims lets the inventory ask Azure until it has an answer.
func (w *world) claims(ctx context.Context) Claim {
	w.g.Eventually(func() bool {
		w.clock.Step(0)
		w.node(ctx)
		_, known := w.Inventory.List("aci", target(), time.Time{})
		return known
	}).Should(BeTrue())
	return w.node(ctx).Claim
}

func (w *world) plant(nodeName, podName, uid string) {
	w.g.Expect(w.azure.PutContainerGroup(simulated.ContainerGroup{
		SubscriptionID: simulated.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Name: "default-" + podName,
		Tags: map[string]string{"NodeName": nodeName, "Namespace": "default", "PodName": podName, "UID": uid},
	})).To(Succeed())
}

func TestClaims(t *testing.T) {
	for name, test := range map[string]struct {
		edit   func(*world)
		secret func(*corev1.Secret)
		want   Claim
	}{
		"a free name": {
			want: Claim{State: Claimed},
		},
		"groups of other nodes": {
			edit: func(w *world) { w.plant("another-node", "web", "uid") },
			want: Claim{State: Claimed},
		},
		"groups of pods here": {
			edit: func(w *world) { w.plant(node().Name, "mine", "mine-uid") },
			want: Claim{State: Claimed},
		},
		"groups of pods elsewhere": {
			edit: func(w *world) {
				w.plant(node().Name, "web", "uid")
				w.plant(node().Name, "api", "uid")
				w.plant(node().Name, "mine", "mine-uid")
			},
			want: Claim{State: ClaimRefused, Foreign: []string{"default-api", "default-web"}},
		},
		"a group of a pod that has been made anew": {
			edit: func(w *world) { w.plant(node().Name, "mine", "former-uid") },
			want: Claim{State: ClaimRefused, Foreign: []string{"default-mine"}},
		},
		"Azure refuses": {
			edit: func(w *world) { w.g.Expect(w.azure.SetRoleAssignments(simulated.DefaultClientID)).To(Succeed()) },
			want: Claim{State: ClaimPending},
		},
		"another identity's Secret": {
			edit: func(w *world) { w.plant(node().Name, "web", "uid") },
			secret: func(secret *corev1.Secret) {
				secret.Labels[identity.LabelIdentity] = "former"
				secret.Annotations[identity.AnnotationClaim] = node().Hash()
			},
			want: Claim{State: ClaimRefused, Foreign: []string{"default-web"}},
		},
		"another connector's claim on the same node": {
			edit:   func(w *world) { w.plant(node().Name, "web", "uid") },
			secret: func(secret *corev1.Secret) { secret.Labels[identity.LabelConnector] = "other" },
			want:   Claim{State: ClaimRefused, Foreign: []string{"default-web"}},
		},
		"another identity's claim": {
			edit:   func(w *world) { w.plant(node().Name, "web", "uid") },
			secret: func(secret *corev1.Secret) { secret.Annotations[identity.AnnotationClaim] = "former" },
			want:   Claim{State: ClaimRefused, Foreign: []string{"default-web"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, pod("mine", "mine-uid"))
			if test.edit != nil {
				test.edit(w)
			}
			if test.secret != nil {
				w.holds(pod("mine", "mine-uid"), nodeSecret(w.node(t.Context()).Serving, test.secret))
			}
			w.g.Expect(w.node(t.Context()).Claim).To(Equal(Claim{State: ClaimPending}), "nothing is claimed before Azure was asked")
			w.g.Expect(w.claims(t.Context())).To(Equal(test.want))
		})
	}
}

func TestAClaimIsKept(t *testing.T) {
	w := newWorld(t)
	w.plant(node().Name, "web", "uid")
	w.holds(nodeSecret(w.node(t.Context()).Serving))
	w.g.Expect(w.node(t.Context()).Claim).To(Equal(Claim{State: Claimed}))
}

func TestARefusedNameIsAskedForAgain(t *testing.T) {
	w := newWorld(t)
	w.plant(node().Name, "web", "uid")
	w.g.Expect(w.claims(t.Context()).State).To(Equal(ClaimRefused))
	w.g.Expect(w.azure.DeleteContainerGroup(simulated.DefaultSubscriptionID, "virtual-nodes", "default-web")).To(Succeed())
	w.g.Expect(w.node(t.Context()).Claim.State).To(Equal(ClaimRefused))

	w.clock.Step(recheck)
	w.g.Eventually(func() ClaimState { w.clock.Step(0); return w.node(t.Context()).Claim.State }).Should(Equal(Claimed))
}

// A claim on what can't be looked at would be a guess.
func TestAClaimNeedsThePodsRead(t *testing.T) {
	w := newWorld(t)
	w.plant(node().Name, "web", "uid")
	w.g.Expect(w.claims(t.Context()).State).To(Equal(ClaimRefused))
	w.fails(&corev1.Pod{})
	facts, err := w.Node(t.Context(), node(), target(), false)
	w.g.Expect(err).To(MatchError("get Pod default/web: the API server is gone"))
	w.g.Expect(facts.Claim.State).NotTo(Equal(Claimed))
}

func TestNodeThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.fails(&corev1.Secret{})
	_, err := w.Node(t.Context(), node(), target(), false)
	w.g.Expect(err).To(MatchError("get Secret vk-connector-system/virtual-kubelet-aci-linux-eastus: the API server is gone"))
}

func TestRival(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	named := func(name string, madeAt time.Time, edit ...func(*v1alpha1.VirtualKubeletConnector)) *v1alpha1.VirtualKubeletConnector {
		c := connector(append(edit, func(c *v1alpha1.VirtualKubeletConnector) {
			c.Name, c.CreationTimestamp = name, metav1.NewTime(madeAt)
			c.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
			c.Spec.ContainerGroups.Location, c.Spec.Node.NamePrefix = "eastus", "edge"
		})...)
		return c
	}
	elsewhere := named("elsewhere", at.Add(-time.Hour))
	elsewhere.Spec.Node.NamePrefix = "other"
	deleted := named("deleted", at.Add(-time.Hour), func(c *v1alpha1.VirtualKubeletConnector) {
		c.DeletionTimestamp, c.Finalizers = &metav1.Time{Time: at}, []string{v1alpha1.Finalizer}
	})
	for name, test := range map[string]struct {
		others []client.Object
		owner  string
		want   string
	}{
		"alone":                      {},
		"an older one":               {others: []client.Object{named("z", at.Add(-time.Minute))}, want: "z"},
		"a younger one":              {others: []client.Object{named("a", at.Add(time.Minute))}, want: ""},
		"as old, of an earlier name": {others: []client.Object{named("a", at)}, want: "a"},
		"as old, of a later name":    {others: []client.Object{named("z", at)}, want: ""},
		"the oldest of several": {
			others: []client.Object{named("b", at.Add(-time.Minute)), named("z", at.Add(-2*time.Minute)), named("a", at.Add(-time.Minute))}, want: "z",
		},
		"one with another prefix":            {others: []client.Object{elsewhere}, want: ""},
		"one that is being deleted":          {others: []client.Object{deleted}, want: "deleted"},
		"an older one, that has the node":    {others: []client.Object{named("z", at.Add(-time.Minute))}, owner: "z", want: "z"},
		"a younger one, that has the node":   {others: []client.Object{named("z", at.Add(time.Minute))}, owner: "z", want: "z"},
		"an older one, and the node is ours": {others: []client.Object{named("z", at.Add(-time.Minute))}, owner: "m"},
		"a node of one that has another name by now": {
			others: []client.Object{named("b", at.Add(-time.Minute)), elsewhere}, owner: "elsewhere", want: "b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			ours := named("m", at)
			w := newWorld(t, append(test.others, ours)...)
			rival, err := w.Rival(t.Context(), ours, "edge-linux-eastus", test.owner)
			w.g.Expect(err).NotTo(HaveOccurred())
			if test.want == "" {
				w.g.Expect(rival).To(BeNil())
			} else {
				w.g.Expect(rival).To(HaveField("Name", test.want))
			}
		})
	}
	t.Run("can't be read", func(t *testing.T) {
		w := newWorld(t)
		w.fails(&v1alpha1.VirtualKubeletConnector{})
		_, err := w.Rival(t.Context(), named("m", at), "edge-linux-eastus", "")
		w.g.Expect(err).To(MatchError("list the connectors that come to node edge-linux-eastus: the API server is gone"))
	})
}

func TestLeaves(t *testing.T) {
	const node = "edge-linux-eastus"
	suspended := func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Suspend = true }
	deleted := func(c *v1alpha1.VirtualKubeletConnector) {
		c.DeletionTimestamp, c.Finalizers = &metav1.Time{Time: time.Now()}, []string{v1alpha1.Finalizer}
	}
	edited := func(c *v1alpha1.VirtualKubeletConnector) { c.Generation = 2 }
	has := func(name, condition string, status metav1.ConditionStatus) func(*v1alpha1.VirtualKubeletConnector) {
		return func(c *v1alpha1.VirtualKubeletConnector) {
			c.Status.Nodes = []v1alpha1.NodeStatus{
				{Name: "another", Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}},
				{Name: name, Conditions: []metav1.Condition{{Type: condition, Status: status}}},
			}
		}
	}
	removes := has(node, v1alpha1.ConditionRetiring, metav1.ConditionTrue)
	for name, test := range map[string]struct {
		edits []func(*v1alpha1.VirtualKubeletConnector)
		want  bool
	}{
		"removes it":                        {edits: []func(*v1alpha1.VirtualKubeletConnector){removes}, want: true},
		"is deleted":                        {edits: []func(*v1alpha1.VirtualKubeletConnector){deleted}, want: true},
		"is deleted, and was suspended":     {edits: []func(*v1alpha1.VirtualKubeletConnector){suspended, deleted}, want: true},
		"was edited a moment ago":           {edits: []func(*v1alpha1.VirtualKubeletConnector){edited}, want: true},
		"was suspended a moment ago":        {edits: []func(*v1alpha1.VirtualKubeletConnector){edited, suspended}},
		"was suspended while it removed it": {edits: []func(*v1alpha1.VirtualKubeletConnector){removes, suspended}},
		"keeps it":                          {edits: []func(*v1alpha1.VirtualKubeletConnector){has(node, v1alpha1.ConditionReady, metav1.ConditionTrue)}},
		"removes another":                   {edits: []func(*v1alpha1.VirtualKubeletConnector){has("other", v1alpha1.ConditionRetiring, metav1.ConditionTrue)}},
		"knows nothing of it":               {},
	} {
		t.Run(name, func(t *testing.T) {
			owner := connector(append(test.edits, func(c *v1alpha1.VirtualKubeletConnector) {
				c.Generation, c.Status.ObservedGeneration = max(c.Generation, 1), 1
			})...)
			w := newWorld(t, owner)
			w.g.Expect(w.Leaves(t.Context(), owner.Name, node)).To(Equal(test.want))
		})
	}
	t.Run("does not exist", func(t *testing.T) {
		w := newWorld(t)
		w.g.Expect(w.Leaves(t.Context(), "nobody", node)).To(BeFalse())
	})
	t.Run("can't be read", func(t *testing.T) {
		w := newWorld(t)
		w.fails(&v1alpha1.VirtualKubeletConnector{})
		_, err := w.Leaves(t.Context(), "other", node)
		w.g.Expect(err).To(MatchError("get VirtualKubeletConnector other: the API server is gone"))
	})
}

func TestCertificates(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	mint := func(g Gomega, host string, at time.Time) Certificate {
		certificate, err := newCertificate(host, at)
		g.Expect(err).NotTo(HaveOccurred())
		return certificate
	}
	for name, test := range map[string]struct {
		stored func(Gomega) Certificate
		kept   bool
	}{
		"new": {
			stored: func(g Gomega) Certificate { return mint(g, node().Name, start) }, kept: true,
		},
		"a second before two thirds of its life": {
			stored: func(g Gomega) Certificate { return mint(g, node().Name, start.Add(-certificateLife*2/3+time.Second)) }, kept: true,
		},
		"at two thirds of its life": {
			stored: func(g Gomega) Certificate { return mint(g, node().Name, start.Add(-certificateLife*2/3)) },
		},
		"expired": {
			stored: func(g Gomega) Certificate { return mint(g, node().Name, start.Add(-2*certificateLife)) },
		},
		"not valid yet": {
			stored: func(g Gomega) Certificate { return mint(g, node().Name, start.Add(time.Hour)) },
		},
		"of a clock that is a little ahead": {
			stored: func(g Gomega) Certificate { return mint(g, node().Name, start.Add(clockSkew)) }, kept: true,
		},
		"of another host": {
			stored: func(g Gomega) Certificate { return mint(g, "another-node", start) },
		},
		"of another key": {
			stored: func(g Gomega) Certificate {
				certificate := mint(g, node().Name, start)
				certificate.PrivateKey = mint(g, node().Name, start).PrivateKey
				return certificate
			},
		},
		"no certificate": {
			stored: func(g Gomega) Certificate { return Certificate{PrivateKey: mint(g, node().Name, start).PrivateKey} },
		},
		"no key": {
			stored: func(g Gomega) Certificate { return Certificate{Certificate: mint(g, node().Name, start).Certificate} },
		},
		"swapped": {
			stored: func(g Gomega) Certificate {
				certificate := mint(g, node().Name, start)
				return Certificate{Certificate: certificate.PrivateKey, PrivateKey: certificate.Certificate}
			},
		},
		"garbage": {
			stored: func(Gomega) Certificate {
				return Certificate{
					Certificate: []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
					PrivateKey:  []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			stored := test.stored(w.g)
			w.holds(nodeSecret(stored))
			serving := w.node(t.Context()).Serving
			if test.kept {
				w.g.Expect(serving.Certificate).To(Equal(stored.Certificate))
				w.g.Expect(serving.PrivateKey).To(Equal(stored.PrivateKey))
				return
			}
			w.g.Expect(serving.Certificate).NotTo(Equal(stored.Certificate))
			w.g.Expect(serving.usable(node().Name, start)).To(BeTrue())
			w.g.Expect(serving.RenewAt()).To(Equal(start.Add(certificateLife * 2 / 3)))
		})
	}
}

func TestTheSameNewCertificateUntilTheCacheShowsIt(t *testing.T) {
	w := newWorld(t)
	first := w.node(t.Context()).Serving
	w.clock.Step(time.Minute)
	w.g.Expect(w.node(t.Context()).Serving).To(Equal(first))

	w.holds(nodeSecret(first, unclaimed))
	w.g.Expect(w.node(t.Context()).Serving.Certificate).To(Equal(first.Certificate))
	_, remembered := w.minted.Load(node().Hash())
	w.g.Expect(remembered).To(BeFalse(), "a private key is not kept longer than needed")

	w.holds()
	w.g.Expect(w.node(t.Context()).Serving.Certificate).NotTo(Equal(first.Certificate), "a Secret that was deleted gets a new certificate")

	w.clock.Step(certificateLife)
	second := w.node(t.Context()).Serving
	w.g.Expect(second.RenewAt()).To(BeTemporally(">", w.clock.Now()), "what waited too long to be applied is not used")
}

// A Go TLS server and client are what the virtual kubelet and the API server are.
func TestACertificateServes(t *testing.T) {
	g := NewWithT(t)
	certificate, err := newCertificate(node().Name, time.Now())
	g.Expect(err).NotTo(HaveOccurred())
	pair, err := tls.X509KeyPair(certificate.Certificate, certificate.PrivateKey)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(pair.Leaf.VerifyHostname(node().Name)).To(Succeed())
	g.Expect(pair.Leaf.IsCA).To(BeFalse(), "it signs nothing else")
	g.Expect(pair.Leaf.Subject.CommonName).To(Equal("system:node:" + node().Name))
	g.Expect(pair.Leaf.CheckSignature(pair.Leaf.SignatureAlgorithm, pair.Leaf.RawTBSCertificate, pair.Leaf.Signature)).To(Succeed())

	other, err := newCertificate(node().Name, time.Now())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(other.leaf.SerialNumber).NotTo(Equal(certificate.leaf.SerialNumber))
	g.Expect(other.PrivateKey).NotTo(Equal(certificate.PrivateKey))
}

func TestCertificateExpiry(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	secret := nodeSecret(w.node(t.Context()).Serving)
	expiry, ok := CertificateExpiry(secret.Data)
	g.Expect(ok).To(BeTrue())
	g.Expect(expiry).To(BeTemporally("~", w.clock.Now().Add(certificateLife), time.Second))
	for _, other := range []map[string][]byte{nil, {CertificateKey: []byte("none")}, {"clientSecret": []byte("secret")}} {
		_, ok := CertificateExpiry(other)
		g.Expect(ok).To(BeFalse())
	}
}
