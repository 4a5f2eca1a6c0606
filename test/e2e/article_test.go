// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gstruct"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

var _ = Describe("A connector of both operating systems", func() {
	It("serves the workloads until an operating system is taken off, and then the connector", func(ctx SpecContext) {
		By("applying the Secret and the sample connector")
		applySample(ctx)
		Expect(kubectl(ctx, "get", "nodes", "-l", "type=virtual-kubelet")).To(And(
			MatchRegexp(`(?m)^`+linuxNode+` +Ready +agent +\S+ +v1\.\S*azure-aci-1\.6\.4`),
			MatchRegexp(`(?m)^`+windowsNode+` +Ready +agent +\S+ +v1\.\S*azure-aci-1\.6\.4`),
		))
		Expect(kubectl(ctx, "get", "vkc")).To(MatchRegexp(
			`(?m)^%s +True +\["Linux","Windows"\] +eastus +virtual-nodes +2 +2 `, connectorName))

		By("running the workloads")
		kubectl(ctx, "apply", "-f", workload("aci-helloworld"), "-f", workload("nanoserver-iis"))
		hello, iis := runningPod(ctx, "aci-helloworld"), runningPod(ctx, "nanoserver-iis")
		Expect(hello.Spec.NodeName).To(Equal(linuxNode))
		Expect(hello.Status.PodIP).NotTo(BeEmpty())
		Expect(iis.Spec.NodeName).To(Equal(windowsNode))
		Expect(groupsOf(ctx, linuxNode)).To(ConsistOf(beGroupOf(hello, "Linux", "microsoft/aci-helloworld")))
		Expect(groupsOf(ctx, windowsNode)).To(ConsistOf(beGroupOf(iis, "Windows", "microsoft/iis:nanoserver")))

		By("reading a log through the API server")
		Expect(kubectl(ctx, "logs", "deployment/aci-helloworld")).To(ContainSubstring("image microsoft/aci-helloworld started"))

		By("taking Windows off the list")
		kubelet, node := kubeletPod(ctx, linuxNode), getNode(ctx, linuxNode)
		kubectl(ctx, "patch", "vkc", connectorName, "--type=merge", "-p", `{"spec":{"osTypes":["Linux"]}}`)
		removed(ctx, windowsNode)
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionRetiring)).WithContext(ctx).Should(BeZero())
		Expect(condition(ctx, connectorName, v1alpha1.ConditionWindowsNodeReady)(Default)).To(BeZero())
		Expect(condition(ctx, connectorName, v1alpha1.ConditionReady)(Default)).To(beReady)

		By("seeing that the Linux node was left alone")
		Expect(kubeletPod(ctx, linuxNode)).To(beUntouched(kubelet))
		Expect(getNode(ctx, linuxNode).UID).To(Equal(node.UID))
		Expect(runningPod(ctx, "aci-helloworld").UID).To(Equal(hello.UID))
		Expect(groupsOf(ctx, linuxNode)).To(ConsistOf(beGroupOf(hello, "Linux", "microsoft/aci-helloworld")))

		By("deleting the connector")
		kubectl(ctx, "delete", "vkc", connectorName, "--timeout="+removalTimeout.String())
		Expect(groupsOf(ctx, linuxNode)).To(BeEmpty(), "the connector is gone before its container groups")
		removed(ctx, linuxNode, windowsNode)
	}, SpecTimeout(5*time.Minute))

	DescribeTable("is removed without leaving anything, however it is deleted", func(ctx SpecContext, cascade string) {
		applySample(ctx)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		runWorkload(ctx, "nanoserver-iis", windowsNode)

		By("deleting the connector under its workloads")
		kubectl(ctx, "delete", "vkc", connectorName, "--cascade="+cascade, "--timeout="+removalTimeout.String())
		Expect(append(groupsOf(ctx, linuxNode), groupsOf(ctx, windowsNode)...)).To(BeEmpty(), "the connector is gone before its container groups")
		removed(ctx, linuxNode, windowsNode)
	},
		Entry("with its dependents first", SpecTimeout(3*time.Minute), "foreground"),
		Entry("with its dependents afterwards", SpecTimeout(3*time.Minute), "background"),
	)
})

var _ = Describe("Two connectors", func() {
	const (
		west     = "west"
		westNode = "virtual-kubelet-west-linux-westus"
	)

	It("stand side by side in different regions, and one's removal does not touch the other", func(ctx SpecContext) {
		applySample(ctx)
		Expect(k8s.Create(ctx, westConnector(west))).To(Succeed())
		Eventually(condition(ctx, west, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(readyTimeout).Should(beReady)
		stays := runWorkload(ctx, "aci-helloworld", westNode)
		runWorkload(ctx, "nanoserver-iis", windowsNode)
		kubelet, node := kubeletPod(ctx, westNode), getNode(ctx, westNode)
		Expect(groupsOf(ctx, westNode)).To(ConsistOf(And(
			HaveField("ResourceGroup", "virtual-nodes-westus"), HaveField("Location", "westus"))))

		kubectl(ctx, "delete", "vkc", connectorName, "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)

		Expect(kubeletPod(ctx, westNode)).To(beUntouched(kubelet))
		Expect(getNode(ctx, westNode).UID).To(Equal(node.UID))
		Expect(runningPod(ctx, "aci-helloworld").UID).To(Equal(stays.UID))
		Expect(groupsOf(ctx, westNode)).To(ConsistOf(HaveField("State", "Running")))
		Expect(condition(ctx, west, v1alpha1.ConditionReady)(Default)).To(beReady)
	}, SpecTimeout(3*time.Minute))
})

func westConnector(name string) *v1alpha1.VirtualKubeletConnector {
	return &v1alpha1.VirtualKubeletConnector{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.VirtualKubeletConnectorSpec{
			ContainerGroups: v1alpha1.ContainerGroups{
				SubscriptionID: azure.DefaultSubscriptionID,
				ResourceGroup:  "virtual-nodes-westus",
				Location:       "West US",
			},
			Credentials: v1alpha1.Credentials{
				Type: v1alpha1.CredentialTypeServicePrincipal,
				ServicePrincipal: &v1alpha1.ServicePrincipal{
					TenantID:        azure.DefaultTenantID,
					ClientID:        azure.DefaultClientID,
					ClientSecretRef: v1alpha1.SecretKeyReference{Name: secretName},
				},
			},
		},
	}
}

// beGroupOf matches the container group that runs a pod.
func beGroupOf(pod *corev1.Pod, os, image string) OmegaMatcher {
	return gstruct.MatchFields(gstruct.IgnoreExtras, gstruct.Fields{
		"ResourceGroup": Equal("virtual-nodes"),
		"Name":          Equal(pod.Namespace + "-" + pod.Name),
		"Location":      Equal("eastus"),
		"OSType":        Equal(os),
		"State":         Equal("Running"),
		"Deleting":      BeFalse(),
		"Images":        ConsistOf(image),
		"Tags": And(
			HaveKeyWithValue("NodeName", pod.Spec.NodeName),
			HaveKeyWithValue("Namespace", pod.Namespace),
			HaveKeyWithValue("PodName", pod.Name),
			HaveKeyWithValue("UID", string(pod.UID)),
		),
	})
}

// beUntouched matches a pod that is still the same and has not been started again.
func beUntouched(before *corev1.Pod) OmegaMatcher {
	return WithTransform(func(pod *corev1.Pod) []any {
		return []any{pod.UID, pod.Status.ContainerStatuses[0].RestartCount}
	}, Equal([]any{before.UID, before.Status.ContainerStatuses[0].RestartCount}))
}
