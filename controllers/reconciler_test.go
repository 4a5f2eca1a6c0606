// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	sandboxazure "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	linuxNode   = "virtual-kubelet-one-linux-eastus"
	windowsNode = "virtual-kubelet-one-windows-eastus"
)

var _ = Describe("A connector", func() {
	It("gets one of each child for each node, without owner references", func(ctx SpecContext) {
		ready(ctx, connector(v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows), linuxNode, windowsNode)

		Expect(children(ctx)).To(ConsistOf(
			"Secret/"+linuxNode, "ServiceAccount/"+linuxNode, "ClusterRoleBinding/"+linuxNode, "RoleBinding/"+linuxNode,
			"Deployment/"+linuxNode, "Node/"+linuxNode,
			"Secret/"+windowsNode, "ServiceAccount/"+windowsNode, "ClusterRoleBinding/"+windowsNode, "RoleBinding/"+windowsNode,
			"Deployment/"+windowsNode, "Node/"+windowsNode,
		))
		var deployment appsv1.Deployment
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &deployment)).To(Succeed())
		Expect(deployment.OwnerReferences).To(BeEmpty())

		var c v1alpha1.VirtualKubeletConnector
		Expect(k8s.Get(ctx, client.ObjectKey{Name: one}, &c)).To(Succeed())
		Expect(c.Status.Location).To(Equal("eastus"))
		Expect(c.Status.ReadyNodes).To(HaveValue(BeEquivalentTo(2)))
		Expect(c.Status.Nodes).To(HaveLen(2))
		Expect(c.Status.Nodes[0].KubeletVersion).To(Equal("v1.25.0-vk-azure-aci-1.6.4"))
	})

	It("is not written to when nothing changes", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		settled(ctx, func() {
			By("reconciling it again, for a Secret that changed in nothing that matters")
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName}}
			modify(ctx, secret, func() { secret.Data["other"] = []byte("value") })
			By("a heartbeat of its node")
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}}
			modifyStatus(ctx, node, func() {
				node.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(time.Now().Add(time.Minute))
			})
		})
	})

	It("never takes over an object that is not its own", func(ctx SpecContext) {
		foreign := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: linuxNode}}
		Expect(k8s.Create(ctx, foreign)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, foreign))).To(Succeed()) })
		createSecret(ctx, goodSecret())
		Expect(k8s.Create(ctx, connector())).To(Succeed())

		Eventually(condition(ctx, v1alpha1.ConditionResolved)).Should(And(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonNotOwned),
			HaveField("Message", ContainSubstring("ServiceAccount "+namespace+"/"+linuxNode))))
		Expect(children(ctx)).To(ConsistOf("Secret/"+linuxNode), "what grants rights, or runs")
		var after corev1.ServiceAccount
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(foreign), &after)).To(Succeed())
		Expect(after.ResourceVersion).To(Equal(foreign.ResourceVersion))
	})

	DescribeTable("never takes over a Node of somebody else", func(ctx SpecContext, labels map[string]string) {
		foreign := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linuxNode, Labels: labels}}
		Expect(k8s.Create(ctx, foreign)).To(Succeed())
		createSecret(ctx, goodSecret())
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionResolved)).Should(And(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonNotOwned),
			HaveField("Message", ContainSubstring("Node "+linuxNode))))
		Expect(children(ctx)).To(BeEmpty())
	},
		Entry("whose virtual kubelet has made it", map[string]string{"type": "virtual-kubelet"}),
		Entry("that is a machine", map[string]string{"kubernetes.io/os": "linux"}),
	)

	It("gets back what somebody deletes or edits, and loses what somebody adds to the pod", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}}
		Expect(k8s.Delete(ctx, binding)).To(Succeed())
		Eventually(func() error { return k8s.Get(ctx, client.ObjectKey{Name: linuxNode}, binding) }).Should(Succeed())

		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: linuxNode}}
		modify(ctx, deployment, func() {
			pod := &deployment.Spec.Template
			pod.Spec.Containers[0].Image = "example.com/other:1"
			pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: "AZURE_CLIENT_ID", Value: "anything"})
			pod.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
			deployment.Spec.Paused = true
		})
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
			g.Expect(deployment.Spec.Template.Spec.Containers[0].Image).To(Equal("example.com/virtual-kubelet:1.6.4"))
			g.Expect(deployment.Spec.Template.Spec.Containers[0].Env).NotTo(ContainElement(HaveField("Name", "AZURE_CLIENT_ID")))
			g.Expect(deployment.Spec.Template.Annotations).NotTo(HaveKey("kubectl.kubernetes.io/restartedAt"))
			g.Expect(deployment.Spec.Paused).To(BeFalse())
		}).Should(Succeed())
		settled(ctx, func() {})
	})

	It("makes a Node anew that somebody deletes, by a restart of its virtual kubelet", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		var before corev1.PodList
		Expect(k8s.List(ctx, &before, client.InNamespace(namespace))).To(Succeed())
		Expect(before.Items).To(HaveLen(1))
		Expect(k8s.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}})).To(Succeed())
		Eventually(func(g Gomega) {
			err := k8s.Get(ctx, client.ObjectKeyFromObject(&before.Items[0]), &corev1.Pod{})
			g.Expect(apierrors.IsNotFound(err)).To(BeTrue())
		}).Should(Succeed())
		standIn(ctx, linuxNode)
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
	})

	It("says which Secret or key is missing, and starts once it is there", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionResolved)).Should(And(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound),
			HaveField("Message", ContainSubstring(namespace+"/"+secretName))))
		Eventually(condition(ctx, v1alpha1.ConditionStalled)).Should(HaveField("Status", metav1.ConditionTrue))

		createSecret(ctx, map[string]string{"password": "x"})
		Eventually(condition(ctx, v1alpha1.ConditionResolved)).Should(And(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonSecretIncomplete),
			HaveField("Message", ContainSubstring("key clientSecret"))))

		updateSecret(ctx, sandboxazure.DefaultClientSecret)
		standIn(ctx, linuxNode)
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
	})

	It("names credentials that Azure refuses, starts nothing with them, and recovers", func(ctx SpecContext) {
		createSecret(ctx, map[string]string{"clientSecret": "not-the-secret"})
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionAzureAccessible)).Should(And(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected),
			HaveField("Message", And(ContainSubstring("AADSTS7000215"), Not(ContainSubstring("not-the-secret"))))))
		Expect(children(ctx)).To(BeEmpty())

		updateSecret(ctx, sandboxazure.DefaultClientSecret)
		standIn(ctx, linuxNode)
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
	})

	It("does not start a node whose name another cluster's container groups carry", func(ctx SpecContext) {
		plantGroup(ctx, "default-web-0", linuxNode, "00000000-0000-0000-0000-00000000000f")
		createSecret(ctx, goodSecret())
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionResolved)).Should(And(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonNodeNameInUse),
			HaveField("Message", ContainSubstring("default-web-0"))))
		Expect(children(ctx)).To(BeEmpty())

		By("deleting the connector, which leaves what is not its own")
		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(gone(ctx)).Should(BeTrue())
		Expect(cloud.ContainerGroups()).To(HaveLen(1))
	})
})

var _ = Describe("Retiring", func() {
	DescribeTable("a deleted connector", func(ctx SpecContext, propagation metav1.DeletionPropagation) {
		ready(ctx, connector(v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows), linuxNode, windowsNode)
		plantGroup(ctx, "default-web", linuxNode, "00000000-0000-0000-0000-000000000001")

		Expect(k8s.Delete(ctx, connector(), client.PropagationPolicy(propagation))).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(HaveField("Message", ContainSubstring("default-web")))
		By("keeping the virtual kubelet as long as Azure lists a container group of its node")
		var deployment appsv1.Deployment
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &deployment)).To(Succeed())
		Expect(deployment.Spec.Replicas).To(HaveValue(BeEquivalentTo(1)))
		Expect(deployment.DeletionTimestamp).To(BeNil())

		Expect(cloud.Client().DeleteContainerGroup(ctx, sandboxazure.DefaultSubscriptionID, "virtual-nodes", "default-web")).To(Succeed())
		Eventually(gone(ctx)).Should(BeTrue())
		Expect(children(ctx)).To(BeEmpty())
	},
		Entry("in the background", metav1.DeletePropagationBackground),
		Entry("in the foreground", metav1.DeletePropagationForeground),
		Entry("as an orphan", metav1.DeletePropagationOrphan),
	)

	It("removes the node of an OS that is taken off the list, and only that", func(ctx SpecContext) {
		ready(ctx, connector(v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows), linuxNode, windowsNode)
		patchSpec(ctx, `{"spec":{"osTypes":["Windows"]}}`)
		Eventually(func() []string { return children(ctx) }).Should(And(
			HaveLen(6), HaveEach(HaveSuffix(windowsNode))))
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(BeZero())
		Expect(condition(ctx, v1alpha1.ConditionReady)(Default)).To(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
	})

	It("replaces a node whose resource group changes, and starts the new one after the old one is gone", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		plantGroup(ctx, "default-web", linuxNode, "00000000-0000-0000-0000-000000000001")
		var before corev1.Secret
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &before)).To(Succeed())

		patchSpec(ctx, `{"spec":{"containerGroups":{"resourceGroup":"virtual-nodes-westus"}}}`)
		Eventually(condition(ctx, v1alpha1.ConditionLinuxNodeReady)).Should(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonWaitingForRetirement))
		Expect(cloud.Client().DeleteContainerGroup(ctx, sandboxazure.DefaultSubscriptionID, "virtual-nodes", "default-web")).To(Succeed())

		Eventually(func(g Gomega) {
			var after corev1.Secret
			g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &after)).To(Succeed())
			g.Expect(after.UID).NotTo(Equal(before.UID))
			g.Expect(string(after.Data["azure.json"])).To(ContainSubstring("virtual-nodes-westus"))
		}).Should(Succeed())
		standIn(ctx, linuxNode)
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
	})

	It("starts the node of another location after the former one is gone", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		plantGroup(ctx, "default-web", linuxNode, "00000000-0000-0000-0000-000000000001")
		patchSpec(ctx, `{"spec":{"containerGroups":{"location":"westus"}}}`)
		Eventually(condition(ctx, v1alpha1.ConditionLinuxNodeReady)).Should(
			beCondition(metav1.ConditionFalse, v1alpha1.ReasonWaitingForRetirement))
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(HaveField("Message", ContainSubstring("default-web")))
		Expect(children(ctx)).To(HaveEach(HaveSuffix(linuxNode)))

		Expect(cloud.Client().DeleteContainerGroup(ctx, sandboxazure.DefaultSubscriptionID, "virtual-nodes", "default-web")).To(Succeed())
		standIn(ctx, "virtual-kubelet-one-linux-westus")
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
		Expect(children(ctx)).To(HaveEach(HaveSuffix("virtual-kubelet-one-linux-westus")))
	})

	It("does not wait for a pod of the virtual kubelet that has failed", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		var pods corev1.PodList
		Expect(k8s.List(ctx, &pods, client.InNamespace(namespace))).To(Succeed())
		Expect(pods.Items).To(HaveLen(1))
		modifyStatus(ctx, &pods.Items[0], func() {
			pods.Items[0].Status.Phase, pods.Items[0].Status.Reason = corev1.PodFailed, "Evicted"
		})
		standIn(ctx, linuxNode)
		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(gone(ctx)).Should(BeTrue())
		Expect(children(ctx)).To(BeEmpty())
	})

	It("lets a connector go whose finalizer came with a restored object", func(ctx SpecContext) {
		restored := connector()
		restored.Finalizers = []string{v1alpha1.Finalizer}
		ready(ctx, restored, linuxNode)
		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(gone(ctx)).Should(BeTrue())
	})

	It("does not wait for the container groups of DaemonSets' pods", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		set := &appsv1.DaemonSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "agent"},
			Spec: appsv1.DaemonSetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "agent"}},
					Spec: corev1.PodSpec{
						Containers:  []corev1.Container{{Name: "agent", Image: "example.com/agent"}},
						Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					},
				},
			},
		}
		Expect(k8s.Create(ctx, set)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, set))).To(Succeed()) })
		var pods corev1.PodList
		Eventually(func(g Gomega) {
			g.Expect(k8s.List(ctx, &pods, client.InNamespace("default"), client.MatchingLabels{"app": "agent"})).To(Succeed())
			g.Expect(pods.Items).To(HaveLen(1))
		}).Should(Succeed())
		// No scheduler runs here.
		binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: linuxNode}}
		Expect(k8s.SubResource("binding").Create(ctx, &pods.Items[0], binding)).To(Succeed())
		plantGroup(ctx, "default-"+pods.Items[0].Name, linuxNode, string(pods.Items[0].UID))

		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(gone(ctx)).Should(BeTrue())
		Expect(cloud.ContainerGroups()).To(BeEmpty())
	})

	It("evicts pods by their budgets, says which one blocks, and goes on when it does not any more", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		pod := runPod(ctx)
		budget := hold(ctx, pod)

		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(And(
			beCondition(metav1.ConditionTrue, v1alpha1.ReasonEvictionBlocked),
			HaveField("Message", And(ContainSubstring("default/web"), ContainSubstring("budget web")))))
		Eventually(story(ctx, uidOf(ctx))).Should(ContainElement(And(
			HavePrefix("Warning EvictionBlocked "+linuxNode+": node "+linuxNode+": 1 pod left on the node"), ContainSubstring("budget web"))))
		var node corev1.Node
		Expect(k8s.Get(ctx, client.ObjectKey{Name: linuxNode}, &node)).To(Succeed())
		Expect(node.Spec.Unschedulable).To(BeTrue())

		Expect(k8s.Delete(ctx, budget)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
			g.Expect(pod.DeletionTimestamp).NotTo(BeNil())
		}).Should(Succeed())
		Expect(k8s.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(gone(ctx)).Should(BeTrue())
		Expect(children(ctx)).To(BeEmpty())
	})

	It("is called off when the node is wanted again, and takes its cordon back", func(ctx SpecContext) {
		ready(ctx, connector(v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows), linuxNode, windowsNode)
		plantGroup(ctx, "default-web", linuxNode, "00000000-0000-0000-0000-000000000001")
		patchSpec(ctx, `{"spec":{"osTypes":["Windows"]}}`)
		var node corev1.Node
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKey{Name: linuxNode}, &node)).To(Succeed())
			g.Expect(node.Spec.Unschedulable).To(BeTrue())
		}).Should(Succeed())
		patchSpec(ctx, `{"spec":{"osTypes":["Windows","Linux"]}}`)
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKey{Name: linuxNode}, &node)).To(Succeed())
			g.Expect(node.Spec.Unschedulable).To(BeFalse())
		}).Should(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
		Eventually(story(ctx, uidOf(ctx))).Should(And(
			ContainElement("Normal RetirementCanceled "+linuxNode+": node "+linuxNode+" is wanted again, and stays"),
			Not(ContainElement(HavePrefix("Normal Retired")))))
	})

	It("holds the connector and names the error while Azure can't be asked", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		_, err := cloud.AddFault(sandboxazure.Fault{Operation: "ContainerGroups.List*", Status: 403})
		Expect(err).NotTo(HaveOccurred())
		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(And(
			beCondition(metav1.ConditionTrue, v1alpha1.ReasonAzureNotAsked),
			HaveField("Message", ContainSubstring("az role assignment create"))))
		cloud.ClearFaults()
		Eventually(gone(ctx)).WithTimeout(time.Minute).Should(BeTrue())
		Expect(children(ctx)).To(BeEmpty())
	})

	It("finishes for a connector whose finalizer somebody took off", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		plantGroup(ctx, "default-web", linuxNode, "00000000-0000-0000-0000-000000000001")
		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(HaveField("Message", ContainSubstring("default-web")))
		patchSpec(ctx, `{"metadata":{"finalizers":null}}`)
		Eventually(gone(ctx)).Should(BeTrue())
		Expect(cloud.Client().DeleteContainerGroup(ctx, sandboxazure.DefaultSubscriptionID, "virtual-nodes", "default-web")).To(Succeed())
		Eventually(func() []string { return children(ctx) }).Should(BeEmpty())
	})

	It("deletes container groups that a virtual kubelet which does not work has left", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		plantGroup(ctx, "default-web", linuxNode, "00000000-0000-0000-0000-000000000001")
		plantGroup(ctx, "default-other", "virtual-kubelet-two-linux-eastus", "00000000-0000-0000-0000-000000000002")
		var pods corev1.PodList
		Expect(k8s.List(ctx, &pods, client.InNamespace(namespace))).To(Succeed())
		Expect(pods.Items).To(HaveLen(1))
		pod := &pods.Items[0]
		modifyStatus(ctx, pod, func() { pod.Status.Conditions[0].Status = corev1.ConditionFalse })
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(HaveField("Status", metav1.ConditionFalse))

		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(gone(ctx)).WithTimeout(time.Minute).Should(BeTrue())
		Expect(cloud.ContainerGroups()).To(ConsistOf(HaveField("Name", "default-other")))
	})
})

// settled waits until the operator has stopped writing, does something, and fails if it writes for it. What it
// does is followed by a change that the operator must answer: by then it has seen all before it.
func settled(ctx context.Context, do func()) {
	GinkgoHelper()
	marker := func() { // a node label is put back, by one write
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}}
		modify(ctx, node, func() { node.Labels["connector.virtual-kubelet.io/os"] = "marked" })
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(node), node)).To(Succeed())
			g.Expect(node.Labels["connector.virtual-kubelet.io/os"]).To(Equal("linux"))
		}).Should(Succeed())
	}
	marker()
	Eventually(func() bool {
		before := len(writes())
		marker()
		return len(writes()) == before+1
	}).Should(BeTrue(), "the operator does not come to rest")
	before := writes()
	do()
	marker()
	after := writes()[len(before):]
	Expect(after).To(HaveLen(1), strings.Join(after, "\n"))
}

func gone(ctx context.Context) func() bool {
	return func() bool {
		return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKey{Name: one}, &v1alpha1.VirtualKubeletConnector{}))
	}
}

func patchSpec(ctx context.Context, patch string) {
	GinkgoHelper()
	Expect(k8s.Patch(ctx, connector(), client.RawPatch("application/merge-patch+json", []byte(patch)))).To(Succeed())
}

func updateSecret(ctx context.Context, value string) {
	GinkgoHelper()
	Expect(k8s.Update(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName},
		StringData: map[string]string{"clientSecret": value},
	})).To(Succeed())
}

// runPod makes the pod web, which runs on the Linux node.
func runPod(ctx context.Context) *corev1.Pod {
	GinkgoHelper()
	return runPodOn(ctx, linuxNode)
}

// runPodOn makes the pod web, which runs on a node.
func runPodOn(ctx context.Context, node string) *corev1.Pod {
	GinkgoHelper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			TerminationGracePeriodSeconds: new(int64(1)),
			Containers:                    []corev1.Container{{Name: "main", Image: "example.com/main"}},
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
	Expect(k8s.Create(ctx, pod)).To(Succeed())
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	Expect(k8s.Status().Update(ctx, pod)).To(Succeed())
	return pod
}
