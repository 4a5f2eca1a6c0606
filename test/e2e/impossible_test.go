// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

var _ = Describe("A change that can't work", func() {
	// impossible is a change, and what undoes it or makes it possible.
	type impossible struct {
		patch             string
		condition, reason string
		// node is what the condition of the Linux node says meanwhile.
		nodeStatus metav1.ConditionStatus
		nodeReason string
		mend       string
	}
	DescribeTable("leaves what runs as it is, says what is wrong, and is made once it can be",
		func(ctx SpecContext, change impossible) {
			applySample(ctx)
			pod := runWorkload(ctx, "aci-helloworld", linuxNode)
			kubelet, group, node := kubeletPod(ctx, linuxNode), groupsOf(ctx, linuxNode)[0], getNode(ctx, linuxNode)

			kubectl(ctx, "patch", "vkc", connectorName, "--type=merge", "-p", change.patch)
			Eventually(condition(ctx, connectorName, change.condition)).WithContext(ctx).
				Should(be(metav1.ConditionFalse, change.reason))
			Expect(condition(ctx, connectorName, v1alpha1.ConditionReady)(Default)).To(be(metav1.ConditionFalse, change.reason))
			Eventually(condition(ctx, connectorName, v1alpha1.ConditionLinuxNodeReady)).WithContext(ctx).
				Should(be(change.nodeStatus, change.nodeReason, "runs as before"))
			Expect(kubectl(ctx, "get", "vkc", connectorName, "-o", "jsonpath={.status.nodes[*].name}")).To(ContainSubstring(linuxNode))

			By("looking at what runs")
			Consistently(func(g Gomega) {
				g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
				g.Expect(pod.DeletionTimestamp).To(BeNil())
				g.Expect(getNode(ctx, linuxNode).UID).To(Equal(node.UID))
				g.Expect(getNode(ctx, linuxNode).Spec.Unschedulable).To(BeFalse())
				g.Expect(kubeletPod(ctx, linuxNode).UID).To(Equal(kubelet.UID))
				g.Expect(groupsOf(ctx, linuxNode)).To(ConsistOf(HaveField("Created", group.Created)))
			}).WithContext(ctx).WithTimeout(5 * time.Second).Should(Succeed())

			By("mending it")
			kubectl(ctx, "patch", "vkc", connectorName, "--type=merge", "-p", change.mend)
			Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(removalTimeout).Should(beReady)
		},
		Entry("a resource group that does not exist", SpecTimeout(4*time.Minute), impossible{
			`{"spec":{"containerGroups":{"resourceGroup":"not-there"}}}`, v1alpha1.ConditionAzureAccessible, v1alpha1.ReasonResourceGroupNotFound,
			metav1.ConditionFalse, v1alpha1.ReasonNotStarted, `{"spec":{"containerGroups":{"resourceGroup":"virtual-nodes"}}}`,
		}),
		Entry("a region that runs no container groups", SpecTimeout(4*time.Minute), impossible{
			`{"spec":{"containerGroups":{"location":"nowhere"}}}`, v1alpha1.ConditionProviderRegistered, v1alpha1.ReasonLocationNotAvailable,
			metav1.ConditionFalse, v1alpha1.ReasonNotStarted, `{"spec":{"containerGroups":{"location":"eastus"}}}`,
		}),
		Entry("a subscription that does not exist", SpecTimeout(4*time.Minute), impossible{
			`{"spec":{"containerGroups":{"subscriptionID":"99999999-9999-9999-9999-999999999999"}}}`, v1alpha1.ConditionAzureAccessible,
			v1alpha1.ReasonSubscriptionNotFound, metav1.ConditionFalse, v1alpha1.ReasonNotStarted,
			fmt.Sprintf(`{"spec":{"containerGroups":{"subscriptionID":%q}}}`, azure.DefaultSubscriptionID),
		}),
		Entry("a client that Azure does not know", SpecTimeout(4*time.Minute), impossible{
			`{"spec":{"credentials":{"servicePrincipal":{"clientID":"99999999-9999-9999-9999-999999999999"}}}}`, v1alpha1.ConditionAzureAccessible,
			v1alpha1.ReasonCredentialsRejected, metav1.ConditionTrue, v1alpha1.ReasonChangeHeld,
			fmt.Sprintf(`{"spec":{"credentials":{"servicePrincipal":{"clientID":%q}}}}`, azure.DefaultClientID),
		}),
		Entry("a subnet that does not exist", SpecTimeout(4*time.Minute), impossible{
			`{"spec":{"network":{"subnet":{"resourceGroup":"virtual-nodes","virtualNetworkName":"virtual-nodes","name":"not-there"}}}}`, v1alpha1.ConditionNetworkReady,
			v1alpha1.ReasonSubnetNotFound, metav1.ConditionTrue, v1alpha1.ReasonChangeHeld, `{"spec":{"network":null}}`,
		}),
	)

	It("a client secret that Azure refuses, is not handed to a virtual kubelet, and the next is within seconds", func(ctx SpecContext) {
		applySample(ctx)
		kubelet := kubeletPod(ctx, linuxNode)
		putSecret(ctx, secretKey, wrongSecret)
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionAzureAccessible)).WithContext(ctx).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected))
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionLinuxNodeReady)).WithContext(ctx).
			Should(be(metav1.ConditionTrue, v1alpha1.ReasonChangeHeld))
		Expect(kubeletPod(ctx, linuxNode).UID).To(Equal(kubelet.UID))

		Expect(box.Azure().SetClientSecret(ctx, azure.DefaultClientID, newSecret, time.Time{})).To(Succeed())
		mend(ctx, newSecret)
		Expect(kubeletPod(ctx, linuxNode).UID).NotTo(Equal(kubelet.UID))
	}, SpecTimeout(2*time.Minute))
})
