// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

var _ = Describe("What the API server refuses", func() {
	It("is told of a Node that the operator may not write, while it is wanted and while it is removed", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}}
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(node), node)).To(Succeed())
			g.Expect(node.Labels).To(HaveKey("app.kubernetes.io/managed-by"))
		}).Should(Succeed())
		refusal := ContainSubstring("Node " + linuxNode + " is the machine cloud://1 of a cloud, and the operator writes no such")
		modify(ctx, node, func() { node.Spec.ProviderID, node.Spec.Taints = "cloud://1", nil })
		Eventually(condition(ctx, v1alpha1.ConditionResolved)).Should(And(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonForbidden), HaveField("Message", refusal)))

		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(And(
			beCondition(metav1.ConditionTrue, v1alpha1.ReasonForbidden), HaveField("Message", refusal)))
		Expect(condition(ctx, v1alpha1.ConditionStalled)(Default)).To(And(
			beCondition(metav1.ConditionTrue, v1alpha1.ReasonUserActionNeeded), HaveField("Message", refusal)))

		Expect(k8s.Delete(ctx, node)).To(Succeed())
		Eventually(gone(ctx)).Should(BeTrue())
	}, SpecTimeout(2*time.Minute))

	It("is told of a node that another connector has and keeps, until that gives it up", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		By("having it ask for another name while it is suspended")
		patchSpec(ctx, `{"spec":{"suspend":true,"node":{"namePrefix":"moved"}}}`)
		Eventually(condition(ctx, v1alpha1.ConditionSuspended)).Should(HaveField("Status", metav1.ConditionTrue))
		another := connector()
		another.Name, another.Spec.Node.NamePrefix = "another", strings.TrimSuffix(linuxNode, "-linux-eastus")
		Expect(k8s.Create(ctx, another)).To(Succeed())
		Eventually(conditionOf(ctx, another.Name, v1alpha1.ConditionResolved)).Should(And(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonNotOwned), HaveField("Message", ContainSubstring("belongs to connector "+one))))
		Expect(conditionOf(ctx, another.Name, v1alpha1.ConditionStalled)(Default)).To(
			beCondition(metav1.ConditionTrue, v1alpha1.ReasonUserActionNeeded))

		patchSpec(ctx, `{"spec":{"suspend":false}}`)
		Eventually(func(g Gomega) {
			var deployment appsv1.Deployment
			g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &deployment)).To(Succeed())
			g.Expect(deployment.Labels).To(HaveKeyWithValue("connector.virtual-kubelet.io/connector", another.Name))
		}).WithTimeout(time.Minute).Should(Succeed())
	}, SpecTimeout(2*time.Minute))

	DescribeTable("does not keep a node from what another installation of the operator binds it to",
		func(ctx SpecContext, binding client.Object, role rbacv1.RoleRef) {
			ready(ctx, connector(), linuxNode)
			deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: linuxNode}}
			Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
			Expect(k8s.Get(ctx, client.ObjectKeyFromObject(binding), binding)).To(Succeed())
			wanted := without(binding)

			By("having it bound to another role while the operator does not look")
			patchSpec(ctx, `{"spec":{"suspend":true}}`)
			Eventually(condition(ctx, v1alpha1.ConditionSuspended)).Should(HaveField("Status", metav1.ConditionTrue))
			Expect(k8s.Delete(ctx, binding)).To(Succeed())
			other := without(binding)
			switch o := other.(type) {
			case *rbacv1.RoleBinding:
				o.RoleRef = role
			case *rbacv1.ClusterRoleBinding:
				o.RoleRef = role
			}
			Expect(k8s.Create(ctx, other, client.FieldOwner("vk-connector-operator"))).To(Succeed())
			patchSpec(ctx, `{"spec":{"suspend":false}}`)

			Eventually(func(g Gomega) {
				g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(binding), binding)).To(Succeed())
				g.Expect(without(binding)).To(Equal(wanted))
			}).Should(Succeed())
			Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
			generation := deployment.Generation
			Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
			Expect(deployment.Generation).To(Equal(generation), "its virtual kubelet goes on")
		},
		Entry("a RoleBinding, to the ClusterRole that OLM brings",
			&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-node-lease", Name: linuxNode}},
			rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "vk-connector-virtual-kubelet-lease"}, SpecTimeout(time.Minute)),
		Entry("a ClusterRoleBinding, to a role of somebody's",
			&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}},
			rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}, SpecTimeout(time.Minute)),
	)
})
