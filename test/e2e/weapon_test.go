// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// Who may create connectors chooses an image, which runs with the rights of a virtual kubelet, and names of nodes. Neither
// makes the operator a weapon against what is somebody else's.
var _ = Describe("A connector's author", func() {
	// forge puts labels on the machine of the sandbox.
	forge := func(ctx context.Context, labels map[string]string) {
		GinkgoHelper()
		put := func(ctx context.Context, labels map[string]any) {
			GinkgoHelper()
			patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
			Expect(err).NotTo(HaveOccurred())
			kubectl(ctx, "patch", "node", "sandbox", "--type=merge", "-p", string(patch))
		}
		forged, undo := map[string]any{}, map[string]any{}
		for key, value := range labels {
			forged[key], undo[key] = value, nil
		}
		put(ctx, forged)
		DeferCleanup(func(ctx SpecContext) { put(ctx, undo) }, NodeTimeout(time.Minute))
	}
	unhurt := func(g Gomega, ctx context.Context) {
		var machine corev1.Node
		g.Expect(k8s.Get(ctx, client.ObjectKey{Name: "sandbox"}, &machine)).To(Succeed())
		g.Expect(machine.DeletionTimestamp).To(BeNil())
		g.Expect(machine.Spec.Unschedulable).To(BeFalse())
		g.Expect(machine.Spec.Taints).To(BeEmpty())
	}

	It("gets no label onto a Node of somebody else's", func(ctx SpecContext) {
		applySample(ctx)
		config, err := box.RESTConfig()
		Expect(err).NotTo(HaveOccurred())
		config.Impersonate.UserName = account(linuxNode)
		kubelet, err := client.New(config, client.Options{Scheme: k8s.Scheme()})
		Expect(err).NotTo(HaveOccurred())
		label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"type":"virtual-kubelet"}}}`))
		for _, name := range []string{"sandbox", windowsNode} {
			Expect(kubelet.Status().Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, label)).
				To(MatchError(ContainSubstring("the virtual kubelet of node " + linuxNode + " may write that Node only, and not Node " + name)))
		}
	}, SpecTimeout(2*time.Minute))

	// Others than virtual kubelets may write the labels of Nodes.
	DescribeTable("gets no Node removed, drained or tainted by labels that somebody forges",
		func(ctx SpecContext, identity func(own string) string) {
			applySample(ctx)
			labels := getNode(ctx, linuxNode).Labels
			forged := map[string]string{"type": "virtual-kubelet"}
			for _, key := range []string{"app.kubernetes.io/managed-by", connectorLabel, "connector.virtual-kubelet.io/os"} {
				forged[key] = labels[key]
			}
			forged["connector.virtual-kubelet.io/identity"] = identity(labels["connector.virtual-kubelet.io/identity"])
			forge(ctx, forged)
			By("removing the connector whose node the machine is said to be")
			kubectl(ctx, "delete", "vkc", connectorName, "--wait=false")
			Consistently(func(g Gomega) { unhurt(g, ctx) }).WithContext(ctx).WithTimeout(15 * time.Second).Should(Succeed())
			Eventually(func() []string { return leftovers(ctx, linuxNode, windowsNode) }).WithContext(ctx).WithTimeout(removalTimeout).
				Should(ConsistOf("*v1.Node sandbox"), "the machine alone carries the labels")
			unhurt(Default, ctx)
		},
		Entry("of the connector's own node", SpecTimeout(3*time.Minute), func(own string) string { return own }),
		Entry("of a node that does not exist", SpecTimeout(3*time.Minute), func(string) string { return "0123456789abcdef" }),
	)

	It("gets no container group deleted that carries another node's name, or is there before the node", func(ctx SpecContext) {
		group := func(name, node string) azure.ContainerGroup {
			return azure.ContainerGroup{
				SubscriptionID: azure.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Name: name, Location: "eastus", OSType: "Linux",
				Tags: map[string]string{
					"NodeName": node, "Namespace": userNamespace, "PodName": name, "UID": "00000000-0000-0000-0000-00000000000f",
				},
			}
		}
		Expect(box.Azure().PutContainerGroup(ctx, group("theirs", "another-node"))).To(Succeed())
		applySample(ctx)
		kubectl(ctx, "delete", "vkc", connectorName, "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
		Expect(groupsOf(ctx, "another-node")).To(HaveLen(1))

		By("naming a node as container groups of somebody else say")
		Expect(box.Azure().PutContainerGroup(ctx, group("victim", linuxNode))).To(Succeed())
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		kubectl(ctx, "apply", "-k", "config/samples")
		Eventually(condition(ctx, connectorName, "Resolved")).WithContext(ctx).Should(be(metav1.ConditionFalse, "NodeNameInUse", "victim"))
		kubectl(ctx, "delete", "vkc", connectorName, "--timeout="+removalTimeout.String())
		Expect(groupsOf(ctx, linuxNode)).To(HaveLen(1))
	}, SpecTimeout(4*time.Minute))
})
