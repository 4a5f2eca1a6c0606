// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// kubeletFails makes the one virtual kubelet unavailable, as one that crashes is.
func kubeletFails(ctx context.Context) {
	GinkgoHelper()
	var pods corev1.PodList
	Expect(k8s.List(ctx, &pods, client.InNamespace(namespace))).To(Succeed())
	Expect(pods.Items).To(HaveLen(1))
	modifyStatus(ctx, &pods.Items[0], func() { pods.Items[0].Status.Conditions[0].Status = corev1.ConditionFalse })
	Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(HaveField("Status", metav1.ConditionFalse))
}

// groupNames are those of all container groups that there are.
func groupNames() []string {
	var names []string
	for _, group := range cloud.ContainerGroups() {
		names = append(names, group.Name)
	}
	return names
}

var _ = Describe("What a virtual kubelet leaves", func() {
	DescribeTable("that is down for long is found, and handled as the connector asks for",
		func(ctx SpecContext, policy v1alpha1.OrphanPolicy, left ...string) {
			c := connector()
			c.Spec.Removal.OrphanedContainerGroups = policy
			ready(ctx, c, linuxNode)
			pod := runPod(ctx)
			plantGroup(ctx, "default-web", linuxNode, string(pod.UID))
			plantGroup(ctx, "default-gone", linuxNode, "00000000-0000-0000-0000-000000000001")
			plantGroup(ctx, "default-other", "virtual-kubelet-two-linux-eastus", "00000000-0000-0000-0000-000000000002")
			kubeletFails(ctx)
			Consistently(groupNames).WithTimeout(time.Second).Should(HaveLen(3), "it may come back")

			By("six minutes later")
			DeferCleanup(func() { operatorClock.ahead.Store(0) })
			operatorClock.ahead.Store(int64(6 * time.Minute))
			Eventually(func(g Gomega) {
				// Something happens now and then.
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName}}
				modify(ctx, secret, func() { secret.Data["other"] = []byte(time.Now().String()) })
				g.Expect(groupNames()).To(ConsistOf(left))
				if policy == v1alpha1.OrphanPolicyRetain {
					g.Expect(condition(ctx, v1alpha1.ConditionContainerGroupsRetained)(g)).To(And(
						beCondition(metav1.ConditionTrue, v1alpha1.ReasonRetained), HaveField("Message", ContainSubstring("default-gone"))))
				}
			}).WithTimeout(90*time.Second).WithPolling(time.Second).Should(Succeed(), "Azure is asked every 40 seconds")
		},
		Entry("by deletion", v1alpha1.OrphanPolicyDelete, "default-web", "default-other"),
		Entry("by telling of it", v1alpha1.OrphanPolicyRetain, "default-web", "default-gone", "default-other"),
	)

	It("and is retained is told of until somebody deletes it", func(ctx SpecContext) {
		c := connector(v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows)
		c.Spec.Removal.OrphanedContainerGroups = v1alpha1.OrphanPolicyRetain
		ready(ctx, c, linuxNode, windowsNode)
		plantGroup(ctx, "default-web", linuxNode, "00000000-0000-0000-0000-000000000001")
		Expect(k8s.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(namespace), client.MatchingLabels{"connector.virtual-kubelet.io/os": "linux"}, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionLinuxNodeReady)).Should(HaveField("Status", metav1.ConditionFalse))
		patchSpec(ctx, `{"spec":{"osTypes":["Windows"]}}`)
		Eventually(condition(ctx, v1alpha1.ConditionContainerGroupsRetained)).Should(And(
			beCondition(metav1.ConditionTrue, v1alpha1.ReasonRetained), HaveField("Message", ContainSubstring("default-web"))))
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(BeZero())
		Expect(condition(ctx, v1alpha1.ConditionContainerGroupsRetained)(Default)).To(HaveField("Status", metav1.ConditionTrue))
		var now v1alpha1.VirtualKubeletConnector
		Expect(k8s.Get(ctx, client.ObjectKey{Name: one}, &now)).To(Succeed())
		Expect(now.Status.RetainedContainerGroups).To(ConsistOf(And(
			HaveField("NodeName", linuxNode), HaveField("ResourceGroup", "virtual-nodes"), HaveField("Names", ConsistOf("default-web")))))

		Expect(cloud.DeleteContainerGroup(now.Status.SubscriptionID, "virtual-nodes", "default-web")).To(Succeed())
		DeferCleanup(func() { operatorClock.ahead.Store(0) })
		operatorClock.ahead.Store(int64(2 * time.Minute))
		Eventually(func(g Gomega) {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName}}
			modify(ctx, secret, func() { secret.Data["other"] = []byte(time.Now().String()) })
			g.Expect(condition(ctx, v1alpha1.ConditionContainerGroupsRetained)(g)).To(BeZero())
		}).WithTimeout(time.Minute).WithPolling(time.Second).Should(Succeed())
		Eventually(story(ctx, now.UID)).Should(ContainElements(
			HavePrefix("Warning ContainerGroupsRetained "+linuxNode+": left in Azure, and billed: container group default-web of node "+linuxNode),
			"Normal Retired "+linuxNode+": node "+linuxNode+" is removed, but for the container groups that were left in Azure",
			HavePrefix("Normal ContainerGroupsGone "+linuxNode+": not in Azure any more: container group default-web of node "+linuxNode)))
	})

	It("by a Deployment that somebody deletes is drained by its budgets, and ended by the operator", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		pod := runPod(ctx)
		plantGroup(ctx, "default-web", linuxNode, string(pod.UID))
		hold(ctx, pod)
		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonEvictionBlocked))
		Expect(k8s.Delete(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: linuxNode}})).To(Succeed())
		Consistently(groupNames).WithTimeout(3*time.Second).Should(ConsistOf("default-web"), "a budget holds the pod")

		By("changing the policy while the removal is under way")
		patchSpec(ctx, `{"spec":{"removal":{"policy":"Force"}}}`)
		Eventually(func() bool {
			err := k8s.Get(ctx, client.ObjectKeyFromObject(pod), pod)
			return err == nil && pod.DeletionTimestamp != nil
		}).Should(BeTrue())
		Eventually(gone(ctx)).WithTimeout(time.Minute).Should(BeTrue())
		Expect(children(ctx)).To(BeEmpty())
		Expect(groupNames()).To(BeEmpty())
		Expect(apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(pod), pod))).To(BeTrue(), "no pod is left in Terminating")
	})

	It("without the operator's labels, as somebody has overwritten them, is stopped and removed all the same", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		pod := runPod(ctx)
		budget := hold(ctx, pod)
		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonEvictionBlocked))
		here := metav1.ObjectMeta{Namespace: namespace, Name: linuxNode}
		deployment, account := &appsv1.Deployment{ObjectMeta: here}, &corev1.ServiceAccount{ObjectMeta: here}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}}
		for object, change := range map[client.Object]string{
			deployment: `{"app.kubernetes.io/managed-by":"Helm"}`, account: `{"app.kubernetes.io/managed-by":null}`, node: `{"type":null}`,
		} {
			Expect(k8s.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":`+change+`}}`)))).To(Succeed())
		}
		Consistently(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
			g.Expect(deployment.Spec.Replicas).To(HaveValue(BeEquivalentTo(1)))
			g.Expect(condition(ctx, v1alpha1.ConditionRetiring)(g)).To(HaveField("Reason", v1alpha1.ReasonEvictionBlocked))
		}).WithTimeout(3*time.Second).Should(Succeed(), "a budget holds the pod")

		By("ending the pod, as the virtual kubelet does")
		Expect(k8s.Delete(ctx, budget)).To(Succeed())
		Eventually(func() error {
			return client.IgnoreNotFound(k8s.Delete(ctx, pod, client.GracePeriodSeconds(0)))
		}).Should(Succeed())
		Eventually(gone(ctx)).WithTimeout(time.Minute).Should(BeTrue())
		Expect(children(ctx)).To(BeEmpty())
		for _, object := range []client.Object{deployment, account, node} {
			Expect(apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(object), object))).To(BeTrue(), "%T", object)
		}
	})
})

var _ = Describe("A change of a node's place that can't work", func() {
	It("keeps the node that there is, and makes the other once it can be", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		before := children(ctx)
		patchSpec(ctx, `{"spec":{"containerGroups":{"resourceGroup":"not-there"}}}`)
		Eventually(condition(ctx, v1alpha1.ConditionLinuxNodeReady)).Should(And(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonNotStarted), HaveField("Message", ContainSubstring("runs as before"))))
		var node corev1.Node
		Consistently(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKey{Name: linuxNode}, &node)).To(Succeed())
			g.Expect(node.Spec.Unschedulable).To(BeFalse())
			g.Expect(children(ctx)).To(ConsistOf(before))
		}).WithTimeout(2 * time.Second).Should(Succeed())
		patchSpec(ctx, `{"spec":{"containerGroups":{"resourceGroup":"virtual-nodes-westus"}}}`)
		Eventually(func(g Gomega) {
			var secret corev1.Secret
			g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &secret)).To(Succeed())
			g.Expect(string(secret.Data["azure.json"])).To(ContainSubstring("virtual-nodes-westus"))
		}).Should(Succeed())
		standIn(ctx, linuxNode)
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
	})

	It("keeps it also where the other's name is taken there", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		plantGroupIn(ctx, "virtual-nodes-westus", "default-theirs", linuxNode, "00000000-0000-0000-0000-00000000000f")
		patchSpec(ctx, `{"spec":{"containerGroups":{"resourceGroup":"virtual-nodes-westus"}}}`)
		Eventually(condition(ctx, v1alpha1.ConditionResolved)).Should(And(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonNodeNameInUse), HaveField("Message", ContainSubstring("default-theirs"))))
		Eventually(condition(ctx, v1alpha1.ConditionLinuxNodeReady)).Should(HaveField("Message", ContainSubstring("runs as before")))
		var node corev1.Node
		Consistently(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKey{Name: linuxNode}, &node)).To(Succeed())
			g.Expect(node.Spec.Unschedulable).To(BeFalse())
		}).WithTimeout(2 * time.Second).Should(Succeed())
		patchSpec(ctx, `{"spec":{"containerGroups":{"resourceGroup":"virtual-nodes"}}}`)
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
	})
})
