// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"slices"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

var _ = Describe("A removal", func() {
	It("that a PodDisruptionBudget holds says so, and goes on when the budget is gone", func(ctx SpecContext) {
		applySample(ctx)
		pod := runWorkload(ctx, "aci-helloworld", linuxNode)
		Expect(k8s.Create(ctx, &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: userNamespace, Name: "always-one"},
			Spec: policyv1.PodDisruptionBudgetSpec{
				MinAvailable: new(intstr.FromInt32(1)),
				Selector:     &metav1.LabelSelector{MatchLabels: pod.Labels},
			},
		})).To(Succeed())
		Eventually(func(g Gomega) {
			var budget policyv1.PodDisruptionBudget
			g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: userNamespace, Name: "always-one"}, &budget)).To(Succeed())
			g.Expect(budget.Status.CurrentHealthy).To(BeEquivalentTo(1))
		}).WithContext(ctx).Should(Succeed())

		kubectl(ctx, "delete", "vkc", connectorName, "--wait=false")
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionRetiring)).WithContext(ctx).
			Should(be(metav1.ConditionTrue, v1alpha1.ReasonEvictionBlocked, userNamespace+"/"+pod.Name, "always-one"))
		By("waiting for the node that nothing holds to be gone")
		removed(ctx, windowsNode)
		Expect(groupsOf(ctx, linuxNode)).To(ConsistOf(HaveField("State", "Running")))
		Expect(getNode(ctx, linuxNode).Spec.Unschedulable).To(BeTrue())
		Expect(runningPod(ctx, "aci-helloworld").UID).To(Equal(pod.UID))

		By("deleting the budget")
		kubectl(ctx, "delete", "pdb", "always-one", "-n", userNamespace)
		kubectl(ctx, "wait", "vkc/"+connectorName, "--for=delete", "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
	}, SpecTimeout(3*time.Minute))

	DescribeTable("that Azure refuses to speak of says so, and goes on when the credentials work",
		func(ctx SpecContext, workloads ...string) {
			applySample(ctx)
			for _, name := range workloads {
				runWorkload(ctx, name, linuxNode)
			}
			By("rotating the secret in Azure, and starting all anew that has a token yet")
			Expect(box.Azure().SetClientSecret(ctx, azure.DefaultClientID, newSecret, time.Time{})).To(Succeed())
			kubectl(ctx, "rollout", "restart", "deployment/"+operator, "-n", namespace)
			kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")
			for _, node := range []string{linuxNode, windowsNode} {
				kubectl(ctx, "delete", "pod", kubeletPod(ctx, node).Name, "-n", namespace, "--now")
			}
			Eventually(condition(ctx, connectorName, v1alpha1.ConditionLinuxNodeReady)).WithContext(ctx).
				Should(be(metav1.ConditionFalse, v1alpha1.ReasonCrashLoop))
			kubectl(ctx, "delete", "vkc", connectorName, "--wait=false")
			named := []string{"AADSTS7000215", "spec.removal.orphanedContainerGroups to Retain"}
			for _, group := range groupsOf(ctx, linuxNode) {
				named = append(named, group.Name)
			}
			Eventually(condition(ctx, connectorName, v1alpha1.ConditionRetiring)).WithContext(ctx).
				Should(be(metav1.ConditionTrue, v1alpha1.ReasonAzureNotAsked, named...))
			Expect(condition(ctx, connectorName, v1alpha1.ConditionStalled)(Default)).
				To(be(metav1.ConditionTrue, v1alpha1.ReasonUserActionNeeded, "AADSTS7000215"))

			By("mending the Secret")
			putSecret(ctx, secretKey, newSecret)
			kubectl(ctx, "wait", "vkc/"+connectorName, "--for=delete", "--timeout="+removalTimeout.String())
			removed(ctx, linuxNode, windowsNode)
		},
		Entry("of empty nodes", SpecTimeout(2*time.Minute)),
		Entry("of a node with a pod", SpecTimeout(3*time.Minute), "aci-helloworld"),
	)

	It("uses the credentials that the nodes were started with where those of the user are gone or refused", func(ctx SpecContext) {
		applySample(ctx)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		By("putting a secret into the Secret that Azure does not know")
		putSecret(ctx, secretKey, wrongSecret)
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionAzureAccessible)).WithContext(ctx).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected))
		kubectl(ctx, "delete", "vkc", connectorName, "--wait=false")
		By("deleting the Secret, as a prune of everything would")
		dropSecret(ctx)
		kubectl(ctx, "wait", "vkc/"+connectorName, "--for=delete", "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
	}, SpecTimeout(3*time.Minute))

	It("leaves container groups where it is asked to, names them, and goes on telling of them", func(ctx SpecContext) {
		applySample(ctx)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		group := groupsOf(ctx, linuxNode)[0]
		By("taking Linux off, while its virtual kubelet does not run and orphans are retained")
		kubectl(ctx, "patch", "vkc", connectorName, "--type=merge", "-p", `{"spec":{"suspend":true}}`)
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionSuspended)).WithContext(ctx).Should(HaveField("Status", metav1.ConditionTrue))
		kubectl(ctx, "delete", "deployment", linuxNode, "-n", namespace, "--cascade=foreground")
		kubectl(ctx, "patch", "vkc", connectorName, "--type=merge", "-p",
			`{"spec":{"suspend":false,"osTypes":["Windows"],"removal":{"policy":"Force","orphanedContainerGroups":"Retain"}}}`)
		Eventually(func() []string {
			return slices.DeleteFunc(leftovers(ctx, linuxNode), func(what string) bool { return what == "container group "+group.Name })
		}).WithContext(ctx).WithTimeout(removalTimeout).Should(BeEmpty())
		Expect(groupsOf(ctx, linuxNode)).To(ConsistOf(HaveField("Name", group.Name)))
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionContainerGroupsRetained)).WithContext(ctx).
			Should(be(metav1.ConditionTrue, v1alpha1.ReasonRetained, group.Name))
		Expect(kubectlEvents(ctx)).To(And(ContainSubstring("ContainerGroupsRetained"), ContainSubstring(group.Name)))
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).Should(beReady)

		By("deleting the container group by hand, which the status follows")
		Expect(box.Azure().DeleteContainerGroup(ctx, group.SubscriptionID, group.ResourceGroup, group.Name)).To(Succeed())
		kubectl(ctx, "rollout", "restart", "deployment/"+operator, "-n", namespace)
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionContainerGroupsRetained)).WithContext(ctx).WithTimeout(2 * time.Minute).
			Should(BeZero())
	}, SpecTimeout(5*time.Minute))

	It("is finished by the next operator where one is killed in the middle", func(ctx SpecContext) {
		applySample(ctx)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		By("making Azure refuse to delete container groups")
		_, err := box.Azure().AddFault(ctx, azure.Fault{Operation: "ContainerGroups.Delete", Status: 503})
		Expect(err).NotTo(HaveOccurred())
		kubectl(ctx, "delete", "vkc", connectorName, "--wait=false")
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionRetiring)).WithContext(ctx).
			Should(HaveField("Status", metav1.ConditionTrue))

		By("killing the operator")
		restarts := operatorRestarts(ctx)
		Expect(syscall.Kill(processOf("/manager"), syscall.SIGKILL)).To(Succeed())
		Eventually(func() int32 { return operatorRestarts(ctx) }).WithContext(ctx).Should(BeNumerically(">", restarts))
		Expect(leftovers(ctx, linuxNode)).To(ContainElement("*v1.Deployment "+linuxNode), "the removal was over before the operator was killed")

		By("making Azure delete again")
		Expect(box.Azure().ClearFaults(ctx)).To(Succeed())
		kubectl(ctx, "wait", "vkc/"+connectorName, "--for=delete", "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
	}, SpecTimeout(4*time.Minute))
})

// operatorRestarts counts how often the operator's container was started again, once it is ready.
func operatorRestarts(ctx context.Context) int32 {
	GinkgoHelper()
	var restarts int32
	Eventually(func(g Gomega) {
		var pods corev1.PodList
		g.Expect(k8s.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/component": "manager"})).To(Succeed())
		g.Expect(pods.Items).To(HaveLen(1))
		g.Expect(pods.Items[0].Status.ContainerStatuses).To(ConsistOf(HaveField("Ready", BeTrue())))
		restarts = pods.Items[0].Status.ContainerStatuses[0].RestartCount
	}).WithContext(ctx).Should(Succeed())
	return restarts
}
