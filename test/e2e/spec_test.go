// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// Each field of the spec is looked at where it has its effect: on the Node, on a container group in Azure, in the
// virtual kubelet's pod and log.
var _ = Describe("The spec", func() {
	It("reaches the Node, and a change of it reaches the Node that is there", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		connector := sample()
		connector.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
		connector.Spec.Node = v1alpha1.Node{
			Labels:      map[string]v1alpha1.LabelValue{"example.com/team": "batch", "example.com/former": "yes"},
			Annotations: map[string]v1alpha1.AnnotationValue{"example.com/contact": "batch@example.com"},
			Taint:       v1alpha1.NodeTaint{Key: "example.com/burst", Value: new(v1alpha1.LabelValue("")), Effect: "NoExecute"},
			Capacity:    v1alpha1.NodeCapacity{CPU: quantity("12"), Memory: quantity("34Gi"), Pods: new(int32(56))},
		}
		create(ctx, connector)
		Eventually(node(ctx)).WithContext(ctx).Should(And(
			HaveField("Labels", And(HaveKeyWithValue("example.com/team", "batch"), HaveKeyWithValue("example.com/former", "yes"))),
			HaveField("Annotations", HaveKeyWithValue("example.com/contact", "batch@example.com")),
			HaveField("Spec.Taints", ConsistOf(corev1.Taint{Key: "example.com/burst", Effect: corev1.TaintEffectNoExecute})),
			HaveField("Status.Capacity", And(
				HaveKeyWithValue(corev1.ResourceCPU, beQuantity("12")),
				HaveKeyWithValue(corev1.ResourceMemory, beQuantity("34Gi")),
				HaveKeyWithValue(corev1.ResourcePods, beQuantity("56")))),
		))
		made := getNode(ctx, linuxNode).UID

		By("changing all of it, under a taint of somebody else's")
		kubectl(ctx, "taint", "nodes", linuxNode, "example.com/else=there:PreferNoSchedule")
		edit(ctx, func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.Node = v1alpha1.Node{
				Labels:   map[string]v1alpha1.LabelValue{"example.com/team": "web"},
				Taint:    v1alpha1.NodeTaint{Value: new(v1alpha1.LabelValue("other"))},
				Capacity: v1alpha1.NodeCapacity{Pods: new(int32(7))},
			}
		})
		Eventually(node(ctx)).WithContext(ctx).Should(And(
			HaveField("UID", made),
			HaveField("Labels", And(HaveKeyWithValue("example.com/team", "web"), Not(HaveKey("example.com/former")))),
			HaveField("Annotations", Not(HaveKey("example.com/contact"))),
			HaveField("Spec.Taints", ConsistOf(
				corev1.Taint{Key: "example.com/else", Value: "there", Effect: corev1.TaintEffectPreferNoSchedule},
				corev1.Taint{Key: "virtual-kubelet.io/provider", Value: "other", Effect: corev1.TaintEffectNoSchedule})),
			HaveField("Status.Capacity", HaveKeyWithValue(corev1.ResourcePods, beQuantity("7"))),
		))

		By("editing the taint by hand")
		kubectl(ctx, "taint", "nodes", linuxNode, "virtual-kubelet.io/provider-")
		Eventually(node(ctx)).WithContext(ctx).Should(HaveField("Spec.Taints", ContainElement(HaveField("Key", "virtual-kubelet.io/provider"))))

		By("asking for no taint")
		edit(ctx, func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.Node.Taint = v1alpha1.NodeTaint{Policy: v1alpha1.TaintPolicyNone}
		})
		Eventually(node(ctx)).WithContext(ctx).Should(HaveField("Spec.Taints", ConsistOf(HaveField("Key", "example.com/else"))))
		ready(ctx, connectorName)
	}, SpecTimeout(3*time.Minute))

	It("keeps the first Node free of a taint where none is asked for", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		connector := sample()
		connector.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
		connector.Spec.Node.Taint.Policy = v1alpha1.TaintPolicyNone
		create(ctx, connector)
		Expect(getNode(ctx, linuxNode).Spec.Taints).To(BeEmpty())
	}, SpecTimeout(time.Minute))

	It("reaches container groups in a subnet, with their DNS, kube-proxy and logs", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		kubectl(ctx, "create", "secret", "generic", "workspace", "-n", namespace,
			"--from-literal=workspaceID=the-workspace", "--from-literal=workspaceKey="+workspaceKey)
		DeferCleanup(func(ctx SpecContext) { kubectl(ctx, "delete", "secret", "workspace", "-n", namespace) })
		connector := sample()
		inSubnet("free")(connector)
		connector.Spec.Network.ClusterCIDR = "10.99.0.0/16"
		connector.Spec.Network.ClusterDomain = "cluster.example"
		connector.Spec.Network.DNSServiceIP = "10.98.0.10"
		connector.Spec.Monitoring.LogAnalytics = &v1alpha1.LogAnalytics{
			SecretRef:         v1alpha1.LocalSecretReference{Name: "workspace"},
			ClusterResourceID: "/subscriptions/" + azure.DefaultSubscriptionID + "/resourceGroups/clusters/providers/Microsoft.ContainerService/managedClusters/cluster",
		}
		create(ctx, connector)
		Expect(condition(ctx, connectorName, v1alpha1.ConditionNetworkReady)(Default)).
			To(be(metav1.ConditionTrue, v1alpha1.ReasonNetworkReady, "subnet free", "room for 251"))

		runWorkload(ctx, "aci-helloworld", linuxNode)
		runWorkload(ctx, "nanoserver-iis", windowsNode)
		linux := groupsOf(ctx, linuxNode)[0].Resource.Properties
		Expect(linux.SubnetIDs).To(ConsistOf(HaveField("ID", HaveValue(HaveSuffix("/virtualNetworks/virtual-nodes/subnets/free")))))
		Expect(linux.IPAddress).To(Or(BeNil(), HaveField("Type", HaveValue(BeEquivalentTo("Private")))))
		Expect(linux.DNSConfig.NameServers).To(ContainElement(HaveValue(Equal("10.98.0.10"))))
		Expect(linux.DNSConfig.SearchDomains).To(HaveValue(ContainSubstring("svc.cluster.example")))
		Expect(linux.Extensions).To(ConsistOf(HaveField("Properties.Settings", HaveKeyWithValue("clusterCidr", "10.99.0.0/16"))))
		Expect(linux.Diagnostics.LogAnalytics.WorkspaceID).To(HaveValue(Equal("the-workspace")))
		Expect(linux.Diagnostics.LogAnalytics.LogType).To(HaveValue(BeEquivalentTo("ContainerInsights")))
		expectUnseen(ctx, workspaceKey)

		By("seeing that the subnet is for those that the spec names")
		windows := groupsOf(ctx, windowsNode)[0].Resource.Properties
		Expect(windows.SubnetIDs).To(BeEmpty())
		Expect(windows.Diagnostics.LogAnalytics.WorkspaceID).To(HaveValue(Equal("the-workspace")))
	}, SpecTimeout(3*time.Minute))

	It("places Windows in a subnet where it is asked for, and takes the cluster's addresses where none are given", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		connector := sample()
		inSubnet("container-groups")(connector)
		connector.Spec.Network.OSTypes = connector.Spec.OSTypes
		create(ctx, connector)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		runWorkload(ctx, "nanoserver-iis", windowsNode)
		Expect(groupsOf(ctx, windowsNode)[0].Resource.Properties.SubnetIDs).To(HaveLen(1))
		dns := strings.TrimSpace(kubectl(ctx, "get", "service", "kube-dns", "-n", "kube-system", "-o", "jsonpath={.spec.clusterIP}"))
		Expect(groupsOf(ctx, linuxNode)[0].Resource.Properties.DNSConfig.NameServers).To(ContainElement(HaveValue(Equal(dns))))

		config, err := box.RESTConfig()
		Expect(err).NotTo(HaveOccurred())
		Expect(environmentOf(ctx, linuxNode)).To(HaveKeyWithValue("MASTER_URI", config.Host))
	}, SpecTimeout(3*time.Minute))

	It("reaches the virtual kubelet's pod and process", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		connector := sample()
		connector.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
		workers := kubectl(ctx, "get", "nodes", "-l", "type!=virtual-kubelet", "-o", "jsonpath={.items[0].metadata.name}")
		connector.Spec.VirtualKubelet = v1alpha1.VirtualKubelet{
			LogLevel:       "debug",
			Resources:      v1alpha1.Resources{Limits: v1alpha1.ResourceAmounts{Memory: quantity("400Mi")}},
			PodLabels:      map[string]v1alpha1.LabelValue{"example.com/team": "platform"},
			PodAnnotations: map[string]v1alpha1.AnnotationValue{"example.com/contact": "platform@example.com"},
			NodeSelector:   map[string]v1alpha1.LabelValue{"kubernetes.io/os": "linux"},
			Tolerations:    []v1alpha1.Toleration{{Key: "example.com/reserved", Operator: "Exists", Effect: "NoSchedule"}},
			Affinity: &v1alpha1.Affinity{NodeAffinity: &v1alpha1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &v1alpha1.NodeSelector{NodeSelectorTerms: []v1alpha1.NodeSelectorTerm{
					{MatchExpressions: []v1alpha1.NodeSelectorRequirement{{Key: "kubernetes.io/hostname", Operator: "In", Values: []v1alpha1.LabelValue{v1alpha1.LabelValue(workers)}}}},
				}},
			}},
			PriorityClassName: "system-node-critical",
		}
		By("reserving the machine for those who tolerate it")
		kubectl(ctx, "taint", "nodes", workers, "example.com/reserved=yes:NoSchedule")
		DeferCleanup(func(ctx SpecContext) { kubectl(ctx, "taint", "nodes", workers, "example.com/reserved-") })
		create(ctx, connector)
		pod := kubeletPod(ctx, linuxNode)
		Expect(pod.Labels).To(HaveKeyWithValue("example.com/team", "platform"))
		Expect(pod.Annotations).To(HaveKeyWithValue("example.com/contact", "platform@example.com"))
		Expect(pod.Spec.PriorityClassName).To(Equal("system-node-critical"))
		Expect(pod.Spec.Containers[0].Resources.Limits).To(HaveKeyWithValue(corev1.ResourceMemory, beQuantity("400Mi")))
		Expect(kubectl(ctx, "logs", pod.Name, "-n", namespace)).To(ContainSubstring("level=debug"))
	}, SpecTimeout(3*time.Minute))

	It("is left alone while it is suspended, but for its removal", func(ctx SpecContext) {
		applySample(ctx)
		edit(ctx, func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.Suspend = true
			c.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
			c.Spec.VirtualKubelet.LogLevel = "debug"
		})
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionSuspended)).WithContext(ctx).
			Should(be(metav1.ConditionTrue, v1alpha1.ReasonSuspended, "nothing is changed"))
		kubectl(ctx, "delete", "rolebinding", linuxNode, "-n", "kube-node-lease")
		Consistently(func(g Gomega) {
			_, err := tryKubectl(ctx, "get", "rolebinding", linuxNode, "-n", "kube-node-lease")
			g.Expect(err).To(HaveOccurred())
			g.Expect(argumentsOf(ctx, g, linuxNode)).To(ContainElement("--log-level=info"))
			g.Expect(namesOf(ctx, g, &corev1.NodeList{}, client.HasLabels{connectorLabel})).To(ConsistOf(linuxNode, windowsNode))
		}).WithContext(ctx).WithTimeout(5 * time.Second).Should(Succeed())
		kubectl(ctx, "delete", "vkc", connectorName, "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
	}, SpecTimeout(3*time.Minute))

	It("registers the provider where it is asked to, and says who has to where it may not", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		register(ctx, false)
		grant(ctx,
			azure.Contributor(azure.DefaultClientID, groupScope),
			azure.Reader(azure.DefaultClientID, "/subscriptions/"+azure.DefaultSubscriptionID))
		connector := sample()
		connector.Spec.ProviderRegistration = v1alpha1.ProviderRegistrationRegister
		Expect(k8s.Create(ctx, connector)).To(Succeed())
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).Should(
			be(metav1.ConditionFalse, v1alpha1.ReasonRegistrationForbidden, "az provider register --namespace Microsoft.ContainerInstance --subscription "+azure.DefaultSubscriptionID))
		grant(ctx, azure.Contributor(azure.DefaultClientID, "/subscriptions/"+azure.DefaultSubscriptionID))
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(told).Should(beReady)
		Expect(condition(ctx, connectorName, v1alpha1.ConditionProviderRegistered)(Default)).
			To(be(metav1.ConditionTrue, v1alpha1.ReasonProviderRegistered))
	}, SpecTimeout(3*time.Minute))

	It("is not asked about what the credentials may not look at: that is Unknown, with the command that shows it", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		grant(ctx, azure.Contributor(azure.DefaultClientID, groupScope))
		create(ctx, sample())
		Expect(condition(ctx, connectorName, v1alpha1.ConditionProviderRegistered)(Default)).To(
			be(metav1.ConditionUnknown, v1alpha1.ReasonLookForbidden, "az provider show --namespace Microsoft.ContainerInstance"))
		Expect(condition(ctx, connectorName, v1alpha1.ConditionReady)(Default)).To(beReady)

		By("telling of a quota of which nothing is left")
		Expect(box.Azure().SetQuota(ctx, azure.Quota{ContainerGroups: 1})).To(Succeed())
		grant(ctx, azure.Contributor(azure.DefaultClientID, "/subscriptions/"+azure.DefaultSubscriptionID))
		runWorkload(ctx, "aci-helloworld", linuxNode)
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(told).
			Should(be(metav1.ConditionTrue, v1alpha1.ReasonReady, "quota ContainerGroups of 1"))
	}, SpecTimeout(3*time.Minute))
})

const workspaceKey = "the-key-of-the-workspace"

// create makes a connector and waits until it is Ready.
func create(ctx context.Context, connector *v1alpha1.VirtualKubeletConnector) {
	GinkgoHelper()
	Expect(k8s.Create(ctx, connector)).To(Succeed())
	ready(ctx, connector.Name)
}

func ready(ctx context.Context, connector string) {
	GinkgoHelper()
	Eventually(condition(ctx, connector, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(readyTimeout).Should(beReady)
}

func node(ctx context.Context) func(Gomega) corev1.Node {
	return func(g Gomega) corev1.Node {
		var found corev1.Node
		g.Expect(k8s.Get(ctx, client.ObjectKey{Name: linuxNode}, &found)).To(Succeed())
		return found
	}
}

func quantity(text string) *resource.Quantity { return new(resource.MustParse(text)) }

func beQuantity(text string) OmegaMatcher {
	return WithTransform(func(q resource.Quantity) string { return q.String() }, Equal(text))
}

func environmentOf(ctx context.Context, node string) map[string]string {
	GinkgoHelper()
	found := map[string]string{}
	for _, v := range kubeletPod(ctx, node).Spec.Containers[0].Env {
		found[v.Name] = v.Value
	}
	return found
}

func argumentsOf(ctx context.Context, g Gomega, node string) []string {
	pods := kubeletPods(ctx, g, node)
	g.Expect(pods).To(HaveLen(1))
	return pods[0].Spec.Containers[0].Args
}
