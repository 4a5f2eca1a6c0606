// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"math/big"
	"math/bits"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/pki"
)

// childrenOf returns an empty object of each kind of a node's children, in a fixed order.
func childrenOf(node string) []client.Object {
	here := metav1.ObjectMeta{Namespace: namespace, Name: node}
	return []client.Object{
		&corev1.Secret{ObjectMeta: here},
		&corev1.ServiceAccount{ObjectMeta: here},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: node}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-node-lease", Name: node}},
		&appsv1.Deployment{ObjectMeta: here},
	}
}

// uids reads the uids of objects, as they are now; empty for those that do not exist.
func uids(ctx context.Context, g Gomega, objects []client.Object) []types.UID {
	found := make([]types.UID, len(objects))
	for i, object := range objects {
		err := k8s.Get(ctx, client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			continue
		}
		g.Expect(err).NotTo(HaveOccurred())
		if object.GetDeletionTimestamp().IsZero() {
			found[i] = object.GetUID()
		}
	}
	return found
}

// without is an object without what the API server decides and what a new serving certificate changes.
func without(object client.Object) client.Object {
	rendered, ok := object.DeepCopyObject().(client.Object)
	Expect(ok).To(BeTrue())
	rendered.SetUID("")
	rendered.SetResourceVersion("")
	rendered.SetGeneration(0)
	rendered.SetCreationTimestamp(metav1.Time{})
	rendered.SetManagedFields(nil)
	switch o := rendered.(type) {
	case *corev1.Secret:
		delete(o.Data, "cert.pem")
		delete(o.Data, "key.pem")
	case *appsv1.Deployment:
		o.Status = appsv1.DeploymentStatus{}
		maps.DeleteFunc(o.Annotations, func(string, string) bool { return true }) // its controller's
		maps.DeleteFunc(o.Spec.Template.Annotations, func(key, _ string) bool { return key == "connector.virtual-kubelet.io/secret-checksum" })
	}
	return rendered
}

// durations reports the median and the most of some.
func durations(name string, took []time.Duration) {
	slices.Sort(took)
	AddReportEntry(name, fmt.Sprintf("%d times: median %s, max %s",
		len(took), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond)))
}

var _ = Describe("Repair", func() {
	It("brings children back as rendered, whichever of them are deleted at once", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		objects := childrenOf(linuxNode)
		uids(ctx, Default, objects)
		rendered := make([]client.Object, len(objects))
		for i := range objects {
			rendered[i] = without(objects[i])
		}
		var took []time.Duration
		for subset := 1; subset < 1<<len(objects); subset++ {
			before := uids(ctx, Default, objects)
			for i, object := range objects {
				if subset&(1<<i) != 0 {
					Expect(k8s.Delete(ctx, object, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
				}
			}
			deleted := time.Now()
			Eventually(func(g Gomega) {
				after := uids(ctx, g, objects)
				for i := range objects {
					g.Expect(after[i]).NotTo(BeEmpty(), "subset %05b: %T", subset, objects[i])
					if subset&(1<<i) != 0 {
						g.Expect(after[i]).NotTo(Equal(before[i]), "subset %05b: %T", subset, objects[i])
					} else {
						g.Expect(after[i]).To(Equal(before[i]), "subset %05b: %T was not deleted", subset, objects[i])
					}
					g.Expect(without(objects[i])).To(Equal(rendered[i]), "subset %05b", subset)
				}
			}).Should(Succeed(), "subset %05b, of %d", subset, bits.OnesCount(uint(subset)))
			took = append(took, time.Since(deleted))
		}
		durations("children back", took)
		var c v1alpha1.VirtualKubeletConnector
		Expect(k8s.Get(ctx, client.ObjectKey{Name: one}, &c)).To(Succeed())
		Expect(c.DeletionTimestamp).To(BeNil())
	}, SpecTimeout(3*time.Minute))

	It("brings children back as rendered that are edited", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		objects := childrenOf(linuxNode)
		uids(ctx, Default, objects)
		var took []time.Duration
		for i, edit := range []func(client.Object){
			func(o client.Object) { o.(*corev1.Secret).Data["azure.json"] = []byte("{}") },
			func(o client.Object) { o.(*corev1.ServiceAccount).AutomountServiceAccountToken = new(true) },
			func(o client.Object) { o.(*rbacv1.ClusterRoleBinding).Subjects = nil },
			func(o client.Object) { o.(*rbacv1.RoleBinding).Subjects[0].Name = "somebody" },
			func(o client.Object) { o.(*appsv1.Deployment).Spec.Replicas = new(int32(2)) },
		} {
			for _, edit := range []func(client.Object){
				edit,
				func(o client.Object) { o.GetLabels()["connector.virtual-kubelet.io/os"] = "windows" },
				func(o client.Object) { delete(o.GetLabels(), "app.kubernetes.io/instance") },
			} {
				rendered := without(objects[i])
				modify(ctx, objects[i], func() { edit(objects[i]) })
				edited := time.Now()
				Eventually(func(g Gomega) {
					g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(objects[i]), objects[i])).To(Succeed())
					g.Expect(without(objects[i])).To(Equal(rendered))
				}).Should(Succeed())
				took = append(took, time.Since(edited))
			}
		}
		durations("children edited", took)
	}, SpecTimeout(3*time.Minute))

	It("does not call a connector unready while what restarts nothing is brought back", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		before := len(writes())
		for _, object := range []client.Object{
			&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}},
			&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-node-lease", Name: linuxNode}},
		} {
			Expect(k8s.Delete(ctx, object)).To(Succeed())
			Eventually(func() error { return k8s.Get(ctx, client.ObjectKeyFromObject(object), object) }).Should(Succeed())
		}
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: linuxNode}}
		modify(ctx, deployment, func() { delete(deployment.Labels, "app.kubernetes.io/instance") })
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
			g.Expect(deployment.Labels).To(HaveKey("app.kubernetes.io/instance"))
		}).Should(Succeed())
		Consistently(func() []string { return writes()[before:] }).WithTimeout(2 * time.Second).WithPolling(200 * time.Millisecond).
			ShouldNot(ContainElement(ContainSubstring("/status")))
	}, SpecTimeout(time.Minute))

	It("brings back what the operator and the spec say of the Node, and leaves what is others'", func(ctx SpecContext) {
		asked := connector()
		asked.Spec.Node.Labels = map[string]v1alpha1.LabelValue{"example.com/team": "web"}
		asked.Spec.Node.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/contact": "web@example.com"}
		ready(ctx, asked, linuxNode)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}}
		ours := corev1.Taint{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoSchedule}
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(node), node)).To(Succeed())
			g.Expect(node.Spec.Taints).To(ContainElement(ours))
			g.Expect(node.Labels).To(HaveKeyWithValue("example.com/team", "web"))
		}).Should(Succeed())

		foreign := corev1.Taint{Key: "example.com/else", Value: "there", Effect: corev1.TaintEffectNoSchedule}
		modify(ctx, node, func() {
			node.Spec.Taints = append(node.Spec.Taints, foreign)
			node.Labels["example.com/else"], node.Annotations["example.com/else"] = "there", "there"
		})
		var took []time.Duration
		for name, edit := range map[string]func(){
			"our taint gone": func() { node.Spec.Taints = []corev1.Taint{foreign} },
			"another value":  func() { node.Spec.Taints[slices.Index(node.Spec.Taints, ours)].Value = "other" },
			"another effect": func() {
				node.Spec.Taints[slices.Index(node.Spec.Taints, ours)].Effect = corev1.TaintEffectPreferNoSchedule
			},
			"a label edited":     func() { node.Labels["example.com/team"] = "other" },
			"an annotation":      func() { node.Annotations["example.com/contact"] = "" },
			"an annotation gone": func() { delete(node.Annotations, "connector.virtual-kubelet.io/taint") },
			"labels and taints":  func() { node.Spec.Taints = []corev1.Taint{foreign}; delete(node.Labels, "example.com/team") },
			"labels gone":        func() { delete(node.Labels, "example.com/team"); delete(node.Labels, "app.kubernetes.io/version") },
		} {
			By(name)
			modify(ctx, node, edit)
			edited := time.Now()
			Eventually(func(g Gomega) {
				g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(node), node)).To(Succeed())
				g.Expect(node.Spec.Taints).To(ContainElements(ours, foreign))
				g.Expect(node.Labels).To(And(
					HaveKeyWithValue("example.com/team", "web"), HaveKeyWithValue("example.com/else", "there"),
					HaveKeyWithValue("connector.virtual-kubelet.io/connector", one), HaveKey("connector.virtual-kubelet.io/identity"),
					HaveKeyWithValue("app.kubernetes.io/managed-by", "vk-connector-operator")))
				g.Expect(node.Annotations).To(And(
					HaveKeyWithValue("example.com/contact", "web@example.com"), HaveKeyWithValue("example.com/else", "there"),
					HaveKey("connector.virtual-kubelet.io/taint")))
			}).Should(Succeed(), name)
			took = append(took, time.Since(edited))
			// An edited effect makes it another taint, which is not the operator's to take off.
			modify(ctx, node, func() { node.Spec.Taints = []corev1.Taint{ours, foreign} })
		}
		durations("Node edited", took)
		settled(ctx, func() {})
	}, SpecTimeout(3*time.Minute))

	// A child without the connector's name or the manager is nobody's, as far as the operator can know.
	DescribeTable("keeps the Node, and brings children back, whatever is done to the labels by which they are found",
		func(ctx SpecContext, edit func(labels map[string]string)) {
			ready(ctx, connector(), linuxNode)
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}}
			Expect(k8s.Get(ctx, client.ObjectKeyFromObject(node), node)).To(Succeed())
			uid := node.UID
			var took []time.Duration
			for _, object := range append([]client.Object{node}, childrenOf(linuxNode)...) {
				Eventually(func(g Gomega) { // a Node is labelled after it is Ready
					g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
					g.Expect(object.GetLabels()).To(HaveKey("connector.virtual-kubelet.io/identity"))
				}).Should(Succeed())
				labels := maps.Clone(object.GetLabels())
				modify(ctx, object, func() { edit(object.GetLabels()) })
				edited := time.Now()
				Eventually(func(g Gomega) {
					g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
					g.Expect(object.GetDeletionTimestamp()).To(BeNil())
					g.Expect(object.GetLabels()).To(Equal(labels))
				}).WithTimeout(10*time.Second).Should(Succeed(), "%T", object)
				took = append(took, time.Since(edited))
				Eventually(func(g Gomega) {
					standIn(ctx, linuxNode) // it may be started anew
					g.Expect(condition(ctx, v1alpha1.ConditionReady)(g)).To(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
				}).Should(Succeed(), "%T", object)
				Expect(k8s.Get(ctx, client.ObjectKeyFromObject(node), node)).To(Succeed())
				Expect(node.UID).To(Equal(uid), "%T: with its Node, its pods are lost", object)
			}
			durations("labels edited", took)
		},
		Entry("the connector's name removed", func(labels map[string]string) { delete(labels, "connector.virtual-kubelet.io/connector") }),
		Entry("another connector's name", func(labels map[string]string) { labels["connector.virtual-kubelet.io/connector"] = "another" }),
		Entry("the identity removed", func(labels map[string]string) { delete(labels, "connector.virtual-kubelet.io/identity") }),
		Entry("another identity", func(labels map[string]string) { labels["connector.virtual-kubelet.io/identity"] = "0123456789abcdef" }),
		Entry("the manager removed", func(labels map[string]string) { delete(labels, "app.kubernetes.io/managed-by") }),
		Entry("all removed but the virtual kubelet's", func(labels map[string]string) {
			maps.DeleteFunc(labels, func(key, _ string) bool { return key != "type" && key != "kubernetes.io/role" })
		}),
	)

	It("starts a virtual kubelet anew whose Node is deleted, at once", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		var took []time.Duration
		for range 5 {
			var before corev1.PodList
			Expect(k8s.List(ctx, &before, client.InNamespace(namespace))).To(Succeed())
			Expect(before.Items).To(HaveLen(1))
			Expect(k8s.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}})).To(Succeed())
			deleted := time.Now()
			Eventually(func(g Gomega) {
				err := k8s.Get(ctx, client.ObjectKeyFromObject(&before.Items[0]), &corev1.Pod{})
				g.Expect(apierrors.IsNotFound(err)).To(BeTrue())
			}).Should(Succeed())
			took = append(took, time.Since(deleted))
			standIn(ctx, linuxNode)
			Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
			// The status is what tells the operator that there was a Node.
			Eventually(func(g Gomega) {
				var c v1alpha1.VirtualKubeletConnector
				g.Expect(k8s.Get(ctx, client.ObjectKey{Name: one}, &c)).To(Succeed())
				g.Expect(c.Status.Nodes).To(ConsistOf(HaveField("KubeletVersion", Not(BeEmpty()))))
			}).Should(Succeed())
		}
		durations("virtual kubelet of a deleted Node ended", took)
	}, SpecTimeout(3*time.Minute))

	It("renews a serving certificate when two thirds of its life are over, with one restart", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		settled(ctx, func() {})
		before, generation := certificate(ctx), deploymentGeneration(ctx)
		life := time.Until(before.NotAfter)
		renewal := before.NotAfter.Add(-life / 3)

		By("coming close to it")
		DeferCleanup(func() { operatorClock.ahead.Store(0) })
		const early = 3 * time.Second
		operatorClock.ahead.Store(int64(time.Until(renewal) - early))
		wake(ctx)
		Expect(certificate(ctx).SerialNumber).To(Equal(before.SerialNumber), "it is renewed too early")
		Eventually(func() *big.Int { return certificate(ctx).SerialNumber }).Should(Not(Equal(before.SerialNumber)))
		renewed := certificate(ctx)
		Expect(renewed.NotAfter).To(BeTemporally("~", operatorClock.Now().Add(life), time.Minute))
		Eventually(func() int64 { return deploymentGeneration(ctx) }).Should(Equal(generation + 1))
		settled(ctx, func() { wake(ctx) })
		Expect(certificate(ctx).SerialNumber).To(Equal(renewed.SerialNumber))
		Expect(deploymentGeneration(ctx)).To(Equal(generation + 1))
	}, SpecTimeout(2*time.Minute))

	It("makes a serving certificate anew that is not usable, and takes a new client CA over", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		settled(ctx, func() {})
		generation := deploymentGeneration(ctx)
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: linuxNode}}
		modify(ctx, secret, func() { secret.Data["key.pem"] = []byte("no key") })
		Eventually(func() int64 { return deploymentGeneration(ctx) }).Should(Equal(generation + 1))
		settled(ctx, func() {})
		certificate(ctx)

		By("giving the API server's clients another authority beside the first")
		authority, err := pki.NewAuthority("another")
		Expect(err).NotTo(HaveOccurred())
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication"}}
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
		former := config.Data["client-ca-file"]
		DeferCleanup(func(ctx SpecContext) { modify(ctx, config, func() { config.Data["client-ca-file"] = former }) })
		modify(ctx, config, func() { config.Data["client-ca-file"] = former + string(authority.Certificate()) })
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
			g.Expect(string(secret.Data["client-ca.crt"])).To(And(ContainSubstring(former), ContainSubstring(string(authority.Certificate()))))
		}).Should(Succeed())
		Eventually(func() int64 { return deploymentGeneration(ctx) }).Should(Equal(generation + 2))
		settled(ctx, func() {})
		Expect(deploymentGeneration(ctx)).To(Equal(generation + 2))
	}, SpecTimeout(2*time.Minute))
})

// certificate reads the serving certificate of the Linux node, whose key it has to be.
func certificate(ctx context.Context) *x509.Certificate {
	GinkgoHelper()
	var secret corev1.Secret
	Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &secret)).To(Succeed())
	pair, err := tls.X509KeyPair(secret.Data["cert.pem"], secret.Data["key.pem"])
	Expect(err).NotTo(HaveOccurred())
	return pair.Leaf
}

func deploymentGeneration(ctx context.Context) int64 {
	GinkgoHelper()
	var deployment appsv1.Deployment
	Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &deployment)).To(Succeed())
	return deployment.Generation
}

// wake lets the operator look at the connector.
func wake(ctx context.Context) {
	GinkgoHelper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName}}
	modify(ctx, secret, func() { secret.Data["woken"] = append(secret.Data["woken"], '.') })
}
