// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// The tests of this file carry the names of the arguments of az aks install-connector that the sandbox is needed for.
var _ = Describe("Defaults", func() {
	It("--name, --resource-group: come from the managed cluster: subscription, node resource group, location", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		connector := sample()
		inManagedCluster(connector)
		create(ctx, connector)
		status := stored(ctx).Status
		Expect([]string{status.SubscriptionID, status.ResourceGroup, status.Location}).
			To(Equal([]string{azure.DefaultSubscriptionID, "MC_clusters_cluster_eastus", "eastus"}))
		Expect(stored(ctx).Spec.ContainerGroups).To(BeZero(), "defaults are not written back into the spec")
		runWorkload(ctx, "aci-helloworld", linuxNode)
		Expect(groupsOf(ctx, linuxNode)).To(ConsistOf(HaveField("ResourceGroup", "MC_clusters_cluster_eastus")))
	}, SpecTimeout(2*time.Minute))

	It("--aci-resource-group: has the location that the resource group has, not the cluster's, and removal finds it there", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		connector := sample()
		inManagedCluster(connector)
		connector.Spec.ContainerGroups.ResourceGroup = "virtual-nodes-westus"
		create(ctx, connector)
		const west = "virtual-kubelet-virtual-kubelet-linux-westus"
		Expect(stored(ctx).Status.Location).To(Equal("westus"))
		runWorkload(ctx, "aci-helloworld", west)
		Expect(groupsOf(ctx, west)).To(ConsistOf(HaveField("Location", "westus")))
		kubectl(ctx, "delete", "vkc", connectorName, "--timeout="+removalTimeout.String())
		removed(ctx, west, "virtual-kubelet-virtual-kubelet-windows-westus")
	}, SpecTimeout(3*time.Minute))

	It("that Azure does not tell any more stay what they were, and nothing is removed for it", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		connector := sample()
		inManagedCluster(connector)
		create(ctx, connector)
		before := kubeletPod(ctx, linuxNode)
		Expect(box.Azure().DeleteManagedCluster(ctx, azure.DefaultSubscriptionID, "clusters", "cluster")).To(Succeed())
		kubectl(ctx, "rollout", "restart", "deployment/"+operator, "-n", namespace)
		kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionResolved)).WithContext(ctx).WithTimeout(told).
			Should(be(metav1.ConditionTrue, v1alpha1.ReasonResolved, "managed cluster cluster", "does not exist"))
		Expect(condition(ctx, connectorName, v1alpha1.ConditionReady)(Default)).To(beReady)

		By("changing something else in the spec")
		edit(ctx, func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.VirtualKubelet.LogLevel = "debug" })
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionResolved)).WithContext(ctx).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonManagedClusterNotFound, "or set spec.containerGroups.resourceGroup"))
		Consistently(func() any { return kubeletPod(ctx, linuxNode) }).WithTimeout(5 * time.Second).Should(beUntouched(before))
		Expect(condition(ctx, connectorName, v1alpha1.ConditionRetiring)(Default)).To(BeZero())

		By("having the cluster again")
		Expect(box.Azure().SetManagedCluster(ctx, azure.DefaultConfig().ManagedClusters[0])).To(Succeed())
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(told).Should(beReady)
	}, SpecTimeout(4*time.Minute))

	It("--service-principal: or a managed identity, with which virtual nodes run container groups", func(ctx SpecContext) {
		connector := sample()
		connector.Spec.Credentials = v1alpha1.Credentials{
			Type:            v1alpha1.CredentialTypeManagedIdentity,
			ManagedIdentity: &v1alpha1.ManagedIdentity{ClientID: azure.DefaultManagedIdentityID},
		}
		create(ctx, connector)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		Expect(environmentOf(ctx, linuxNode)).NotTo(HaveKey("AZURE_CLIENT_ID"))
		kubectl(ctx, "delete", "vkc", connectorName, "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
	}, SpecTimeout(3*time.Minute))

	It("name an identity that the machine does not carry", func(ctx SpecContext) {
		connector := sample()
		connector.Spec.Credentials = v1alpha1.Credentials{
			Type: v1alpha1.CredentialTypeManagedIdentity, ManagedIdentity: &v1alpha1.ManagedIdentity{ClientID: nowhere},
		}
		Expect(k8s.Create(ctx, connector)).To(Succeed())
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionAzureAccessible)).WithContext(ctx).WithTimeout(told).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected, "managed identity "+nowhere, "az vmss identity assign"))
	}, SpecTimeout(2*time.Minute))
})

var _ = Describe("Two connectors that come to one node name", func() {
	It("are told apart by their age: the older has the node, the other takes it over when that goes", func(ctx SpecContext) {
		applySample(ctx)
		younger := sample()
		younger.Name = "younger"
		younger.Spec.Node.NamePrefix = "virtual-kubelet-virtual-kubelet"
		Expect(k8s.Create(ctx, younger)).To(Succeed())
		Eventually(condition(ctx, "younger", v1alpha1.ConditionReady)).WithContext(ctx).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonConflictingConnector, "connector "+connectorName, "spec.node.namePrefix"))
		ready(ctx, connectorName)
		Expect(namesOf(ctx, Default, &v1alpha1.VirtualKubeletConnectorList{})).To(HaveLen(2))

		kubectl(ctx, "delete", "vkc", connectorName, "--timeout="+removalTimeout.String())
		Eventually(condition(ctx, "younger", v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(told).Should(beReady)
		Expect(getNode(ctx, linuxNode).Labels).To(HaveKeyWithValue(connectorLabel, "younger"))
	}, SpecTimeout(3*time.Minute))
})

// Every sample is applied as it stands, and works.
var _ = Describe("The samples", func() {
	It("work as they stand", func(ctx SpecContext) {
		files, err := filepath.Glob(filepath.Join(root, "config", "samples", "*.yaml"))
		Expect(err).NotTo(HaveOccurred())
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		var names []string
		for _, file := range files {
			var connector v1alpha1.VirtualKubeletConnector
			content, err := os.ReadFile(file)
			Expect(err).NotTo(HaveOccurred())
			Expect(yaml.Unmarshal(content, &connector)).To(Succeed())
			if connector.Kind != "VirtualKubeletConnector" {
				continue
			}
			prepareSample(ctx, &connector)
			kubectl(ctx, "apply", "-f", file)
			names = append(names, connector.Name)
		}
		Expect(len(names)).To(BeNumerically(">=", 6))
		for _, name := range names {
			Eventually(condition(ctx, name, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(2*time.Minute).
				Should(beReady, "sample %s", name)
		}
	}, SpecTimeout(5*time.Minute))
})

// prepareSample makes the Secrets that a sample points to, besides the one that all share.
func prepareSample(ctx context.Context, connector *v1alpha1.VirtualKubeletConnector) {
	GinkgoHelper()
	literals := map[string][]string{}
	if principal := connector.Spec.Credentials.ServicePrincipal; principal != nil && principal.ClientSecretRef.Name != secretName {
		literals[string(principal.ClientSecretRef.Name)] = []string{"--from-literal=" + cmp.Or(principal.ClientSecretRef.Key, secretKey) + "=" + azure.DefaultClientSecret}
	}
	if analytics := connector.Spec.Monitoring.LogAnalytics; analytics != nil {
		literals[string(analytics.SecretRef.Name)] = []string{"--from-literal=workspaceID=the-workspace", "--from-literal=workspaceKey=" + workspaceKey}
	}
	for name, arguments := range literals {
		kubectl(ctx, append([]string{"create", "secret", "generic", name, "-n", namespace}, arguments...)...)
		DeferCleanup(func(ctx SpecContext) { kubectl(ctx, "delete", "secret", name, "-n", namespace) })
	}
}

func stored(ctx context.Context) *v1alpha1.VirtualKubeletConnector {
	GinkgoHelper()
	var connector v1alpha1.VirtualKubeletConnector
	Expect(k8s.Get(ctx, client.ObjectKey{Name: connectorName}, &connector)).To(Succeed())
	return &connector
}
