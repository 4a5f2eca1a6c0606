// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/guard"
)

const neededForRemoval = "connector.virtual-kubelet.io/needed-for-removal"

var _ = Describe("The guard of removals", func() {
	DescribeTable("refuses to delete what a removal needs while there is a connector, and nothing else",
		func(ctx SpecContext, object client.Object) {
			object.SetName("needed")
			if object.GetNamespace() == "" && slices.Contains([]string{"ServiceAccount", "Deployment", "Role", "RoleBinding"}, kindOf(object)) {
				object.SetNamespace("default")
			}
			other := object.DeepCopyObject().(client.Object)
			other.SetName("other")
			object.SetLabels(map[string]string{neededForRemoval: "true"})
			for _, o := range []client.Object{object, other} {
				Expect(k8s.Create(ctx, o)).To(Succeed())
				DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, o))).To(Succeed()) })
			}
			Expect(k8s.Delete(ctx, object, client.DryRunAll)).To(Succeed())

			Expect(k8s.Create(ctx, connector())).To(Succeed())
			Eventually(func() error { return k8s.Delete(ctx, object, client.DryRunAll) }).Should(beRefused())
			Expect(k8s.Delete(ctx, other, client.DryRunAll)).To(Succeed())
			By("changing it")
			modify(ctx, object, func() { object.SetAnnotations(map[string]string{"changed": "true"}) })

			Expect(k8s.Delete(ctx, connector())).To(Succeed())
			Eventually(func() error { return k8s.Delete(ctx, object) }).Should(Succeed())
		},
		Entry("a Namespace", &corev1.Namespace{}),
		Entry("a ServiceAccount", &corev1.ServiceAccount{}),
		Entry("a Deployment", &appsv1.Deployment{Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(0)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "needed"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "needed"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example.com/app:1"}}},
			},
		}}),
		Entry("a Role", &rbacv1.Role{}),
		Entry("a RoleBinding", &rbacv1.RoleBinding{RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "needed"}}),
		Entry("a ClusterRole", &rbacv1.ClusterRole{}),
		Entry("a ClusterRoleBinding", &rbacv1.ClusterRoleBinding{RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "needed"}}),
	)

	It("refuses a collection as it refuses each in it", func(ctx SpecContext) {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "needed", Labels: map[string]string{neededForRemoval: "true"},
		}}
		Expect(k8s.Create(ctx, account)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, account))).To(Succeed()) })
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		Eventually(func() error {
			return k8s.DeleteAllOf(ctx, &corev1.ServiceAccount{}, client.InNamespace("default"), client.HasLabels{neededForRemoval}, client.DryRunAll)
		}).Should(beRefused())
	})

	It("lets go what is in a namespace that goes, so that it can be made again", func(ctx SpecContext) {
		space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "going"}}
		Expect(k8s.Create(ctx, space)).To(Succeed())
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: space.Name, Name: "needed", Labels: map[string]string{neededForRemoval: "true"},
		}}
		Expect(k8s.Create(ctx, account)).To(Succeed())
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		Eventually(func() error { return k8s.Delete(ctx, account, client.DryRunAll) }).Should(beRefused())

		Expect(k8s.Delete(ctx, space)).To(Succeed())
		Eventually(func() bool {
			return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(space), space))
		}).Should(BeTrue())
		Expect(k8s.Get(ctx, client.ObjectKey{Name: one}, connector())).To(Succeed())
	})

	It("is held while there is a connector, and let go before the last one", func(ctx SpecContext) {
		Expect(heldGuards(ctx)).To(BeEmpty())
		createSecret(ctx, goodSecret())
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		other := connector()
		other.Name = "two"
		Expect(k8s.Create(ctx, other)).To(Succeed())
		Eventually(heldGuards).WithArguments(ctx).Should(HaveLen(2))
		standIn(ctx, linuxNode)
		standIn(ctx, "virtual-kubelet-two-linux-eastus")
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
		Eventually(conditionOf(ctx, "two", v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))

		before := len(writes())
		By("deleting both connectors at once")
		Expect(k8s.DeleteAllOf(ctx, &v1alpha1.VirtualKubeletConnector{})).To(Succeed())
		allGone(ctx)
		Expect(heldGuards(ctx)).To(BeEmpty())
		last := func(prefix string) int {
			all := writes()[before:]
			for i, write := range slices.Backward(all) {
				if strings.HasPrefix(write, prefix) {
					return i
				}
			}
			return -1
		}
		policy := last("patch /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/" + guard.Name)
		binding := last("patch /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/" + guard.Name)
		Expect(policy).To(BeNumerically(">=", 0))
		Expect(binding).To(BeNumerically(">=", 0))
		Expect(max(policy, binding)).To(BeNumerically("<", last("patch /apis/connector.virtual-kubelet.io/v1alpha1/virtualkubeletconnectors/")),
			"the guard was let go after the last connector: %v", writes()[before:])
	})

	It("stays in force when it is deleted while there is a connector, and goes with the last one", func(ctx SpecContext) {
		DeferCleanup(func(ctx SpecContext) { install(ctx, "../config/guard") })
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "needed", Labels: map[string]string{neededForRemoval: "true"},
		}}
		Expect(k8s.Create(ctx, account)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, account))).To(Succeed()) })
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		Eventually(heldGuards).WithArguments(ctx).Should(HaveLen(2))

		for _, object := range guards() {
			Expect(k8s.Delete(ctx, object)).To(Succeed())
		}
		Consistently(func() error { return k8s.Delete(ctx, account, client.DryRunAll) }).Should(beRefused())
		Expect(heldGuards(ctx)).To(HaveLen(2))

		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		allGone(ctx)
		for _, object := range guards() {
			Expect(apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(object), object))).To(BeTrue())
		}
		Expect(k8s.Delete(ctx, account)).To(Succeed())
	})

	It("is let go where there is no connector, whoever held it", func(ctx SpecContext) {
		for _, object := range guards() {
			modify(ctx, object, func() { object.SetFinalizers([]string{guard.Finalizer}) })
		}
		Eventually(heldGuards).WithArguments(ctx).Should(BeEmpty())
	})

	It("may be absent", func(ctx SpecContext) {
		DeferCleanup(func(ctx SpecContext) { install(ctx, "../config/guard") })
		for _, object := range guards() {
			Expect(k8s.Delete(ctx, object)).To(Succeed())
		}
		ready(ctx, connector(), linuxNode)
		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		allGone(ctx)
		Expect(heldGuards(ctx)).To(BeEmpty())
	})
})

func kindOf(object client.Object) string {
	GinkgoHelper()
	gvk, err := k8s.GroupVersionKindFor(object)
	Expect(err).NotTo(HaveOccurred())
	return gvk.Kind
}

// beRefused matches the answer that the policy gives.
func beRefused() OmegaMatcher {
	return And(WithTransform(apierrors.IsForbidden, BeTrue()),
		MatchError(ContainSubstring("VirtualKubeletConnector "+one+" exists, and its removal needs this: run kubectl delete vkc --all")))
}

func guards() []client.Object {
	meta := metav1.ObjectMeta{Name: guard.Name}
	return []client.Object{
		&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta}, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta},
	}
}

// heldGuards lists the kinds of those that carry the operator's finalizer.
func heldGuards(ctx context.Context) []string {
	GinkgoHelper()
	var held []string
	for _, object := range guards() {
		err := k8s.Get(ctx, client.ObjectKeyFromObject(object), object)
		Expect(client.IgnoreNotFound(err)).To(Succeed())
		if slices.Contains(object.GetFinalizers(), guard.Finalizer) {
			held = append(held, kindOf(object))
		}
	}
	return held
}

// allGone waits until there is no connector.
func allGone(ctx context.Context) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		var connectors v1alpha1.VirtualKubeletConnectorList
		g.Expect(k8s.List(ctx, &connectors)).To(Succeed())
		g.Expect(connectors.Items).To(BeEmpty())
	}).Should(Succeed())
}
