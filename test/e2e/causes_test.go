// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	nowhere = "99999999-9999-9999-9999-999999999999"
	osLabel = "connector.virtual-kubelet.io/os"
	// told is how soon a cause is named, and how soon it is gone once it is mended.
	told = time.Minute
)

// cause is one thing that keeps a connector from working.
type cause struct {
	// condition and reason are what says so, and remedy what its message has to contain.
	condition, reason, remedy string
	// unknown causes prove nothing, so that the condition is Unknown rather than False.
	unknown bool
	// connector describes what differs from the sample, world what differs in the cluster and in Azure.
	connector func(*v1alpha1.VirtualKubeletConnector)
	world     func(context.Context)
	// mend does what the message says, to the world or to the connector.
	mend        func(context.Context)
	mendedThere func(*v1alpha1.VirtualKubeletConnector)
}

var causes = map[string]cause{
	"a missing Secret": {
		condition: v1alpha1.ConditionResolved, reason: v1alpha1.ReasonSecretNotFound, remedy: "kubectl create secret generic " + secretName,
		world: dropSecret,
		mend:  func(ctx context.Context) { putSecret(ctx, secretKey, azure.DefaultClientSecret) },
	},
	"a missing key": {
		condition: v1alpha1.ConditionResolved, reason: v1alpha1.ReasonSecretIncomplete, remedy: "clientSecretRef.key",
		world: func(ctx context.Context) { putSecret(ctx, "password", azure.DefaultClientSecret) },
		mend:  func(ctx context.Context) { putSecret(ctx, secretKey, azure.DefaultClientSecret) },
	},
	"a wrong client secret": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonCredentialsRejected, remedy: "put the value of the client secret",
		world: func(ctx context.Context) { putSecret(ctx, secretKey, wrongSecret) },
		mend:  func(ctx context.Context) { putSecret(ctx, secretKey, azure.DefaultClientSecret) },
	},
	"an expired secret": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonSecretExpired, remedy: "az ad app credential reset --id " + azure.DefaultClientID,
		world: func(ctx context.Context) { expire(ctx, time.Now().Add(-time.Hour)) },
		mend: func(ctx context.Context) {
			Expect(box.Azure().SetClientSecret(ctx, azure.DefaultClientID, newSecret, time.Time{})).To(Succeed())
			putSecret(ctx, secretKey, newSecret)
		},
	},
	"an unknown tenant": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonTenantNotFound, remedy: "spec.credentials.servicePrincipal.tenantID",
		connector: func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Credentials.ServicePrincipal.TenantID = nowhere },
		mendedThere: func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.Credentials.ServicePrincipal.TenantID = azure.DefaultTenantID
		},
	},
	"a tenant of another cloud": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonCloudMismatch, remedy: "set spec.cloud to AzurePublicCloud",
		connector:   func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Cloud = v1alpha1.CloudChina },
		mendedThere: func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Cloud = v1alpha1.CloudPublic },
	},
	"a wrong subscription": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonSubscriptionNotFound, remedy: "check spec.containerGroups.subscriptionID",
		connector: func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ContainerGroups.SubscriptionID = nowhere },
		mendedThere: func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.ContainerGroups.SubscriptionID = azure.DefaultSubscriptionID
		},
	},
	"a missing resource group": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonResourceGroupNotFound, remedy: "az group create",
		connector: func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ContainerGroups.ResourceGroup = "made-later" },
		mend: func(ctx context.Context) {
			group := azure.ResourceGroup{SubscriptionID: azure.DefaultSubscriptionID, Name: "made-later", Location: "eastus"}
			Expect(box.Azure().SetResourceGroup(ctx, group)).To(Succeed())
		},
	},
	"no permission": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonForbidden, remedy: "az role assignment create --assignee " + azure.DefaultClientID,
		world: func(ctx context.Context) { grant(ctx) },
		mend: func(ctx context.Context) {
			grant(ctx, azure.Contributor(azure.DefaultClientID, "/subscriptions/"+azure.DefaultSubscriptionID+"/resourceGroups/virtual-nodes"))
		},
	},
	"a right to read alone": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonForbidden, remedy: "Microsoft.ContainerInstance/containerGroups/write",
		world: func(ctx context.Context) {
			grant(ctx, azure.Reader(azure.DefaultClientID, "/subscriptions/"+azure.DefaultSubscriptionID))
		},
		mend: func(ctx context.Context) {
			grant(ctx, azure.Contributor(azure.DefaultClientID, "/subscriptions/"+azure.DefaultSubscriptionID))
		},
	},
	"a deny assignment": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonDenied, remedy: "nobody writes here",
		world: func(ctx context.Context) {
			Expect(box.Azure().SetDenyAssignments(ctx, groupScope, azure.DenyAssignment{
				Name: "nobody writes here", Scope: groupScope, Actions: []string{"*/write", "*/delete"},
			})).To(Succeed())
		},
		mend: func(ctx context.Context) { Expect(box.Azure().SetDenyAssignments(ctx, groupScope)).To(Succeed()) },
	},
	"a provider that is not registered": {
		condition: v1alpha1.ConditionProviderRegistered, reason: v1alpha1.ReasonProviderNotRegistered, remedy: "az provider register --namespace Microsoft.ContainerInstance",
		world: func(ctx context.Context) { register(ctx, false) },
		mend:  func(ctx context.Context) { register(ctx, true) },
	},
	"a region without container groups": {
		condition: v1alpha1.ConditionProviderRegistered, reason: v1alpha1.ReasonLocationNotAvailable, remedy: "set spec.containerGroups.location to one that does: eastus",
		connector:   func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ContainerGroups.Location = "Brazil Southeast" },
		mendedThere: func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ContainerGroups.Location = "East US" },
	},
	"a region without Windows": {
		condition: v1alpha1.ConditionProviderRegistered, reason: v1alpha1.ReasonOSTypeNotAvailable, remedy: "take Windows off spec.osTypes",
		connector: func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ContainerGroups.Location = "jioindiawest" },
		mend: func(ctx context.Context) {
			Expect(box.Azure().SetLocation(ctx, azure.Location{
				Name: "jioindiawest", DisplayName: "Jio India West", OSTypes: []string{"Linux", "Windows"},
			})).To(Succeed())
		},
	},
	"a missing subnet": {
		condition: v1alpha1.ConditionNetworkReady, reason: v1alpha1.ReasonSubnetNotFound, remedy: "az network vnet subnet create",
		connector: inSubnet("made-later"),
		mend: func(ctx context.Context) {
			network := azure.DefaultConfig().VirtualNetworks[0]
			network.Subnets = append(network.Subnets, azure.Subnet{Name: "made-later", AddressPrefix: "10.244.0.0/24"})
			Expect(box.Azure().SetVirtualNetwork(ctx, network)).To(Succeed())
		},
	},
	"a subnet that is delegated elsewhere": {
		condition: v1alpha1.ConditionNetworkReady, reason: v1alpha1.ReasonSubnetDelegatedElsewhere, remedy: "Microsoft.Web/serverFarms",
		connector: inSubnet("taken"),
		mend: func(ctx context.Context) {
			network := azure.DefaultConfig().VirtualNetworks[0]
			i := slices.IndexFunc(network.Subnets, func(s azure.Subnet) bool { return s.Name == "taken" })
			network.Subnets[i].DelegatedTo = "Microsoft.ContainerInstance/containerGroups"
			Expect(box.Azure().SetVirtualNetwork(ctx, network)).To(Succeed())
		},
	},
	"a subnet that machines are in": {
		condition: v1alpha1.ConditionNetworkReady, reason: v1alpha1.ReasonSubnetInUse, remedy: "set spec.network.subnet",
		connector:   inSubnet("cluster"),
		mendedThere: inSubnet("container-groups"),
	},
	"a node name in use": {
		condition: v1alpha1.ConditionResolved, reason: v1alpha1.ReasonNodeNameInUse, remedy: "default-of-another-cluster",
		world: func(ctx context.Context) {
			Expect(box.Azure().PutContainerGroup(ctx, azure.ContainerGroup{
				SubscriptionID: azure.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Name: "default-of-another-cluster",
				Tags: map[string]string{"NodeName": linuxNode, "Namespace": "default", "PodName": "of-another-cluster", "UID": nowhere},
			})).To(Succeed())
		},
		mend: func(ctx context.Context) {
			Expect(box.Azure().DeleteContainerGroup(ctx, azure.DefaultSubscriptionID, "virtual-nodes", "default-of-another-cluster")).To(Succeed())
		},
	},
	"a node name that is too long": {
		condition: v1alpha1.ConditionResolved, reason: v1alpha1.ReasonNodeNameTooLong, remedy: "set spec.node.namePrefix to at most 48 characters",
		connector: func(c *v1alpha1.VirtualKubeletConnector) {
			inManagedCluster(c)
			c.Spec.Node.NamePrefix = strings.Repeat("n", 50)
		},
		mendedThere: func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Node.NamePrefix = strings.Repeat("n", 48) },
	},
	"an image repository that is not allowed": {
		condition: v1alpha1.ConditionResolved, reason: v1alpha1.ReasonImageNotAllowed, remedy: "--allowed-image-repositories",
		connector: func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.VirtualKubelet.Image.Repository = "registry.example/evil"
		},
		mendedThere: func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.VirtualKubelet.Image.Repository = "" },
	},
	"a managed cluster that does not exist": {
		condition: v1alpha1.ConditionResolved, reason: v1alpha1.ReasonManagedClusterNotFound, remedy: "az aks list",
		connector: func(c *v1alpha1.VirtualKubeletConnector) {
			inManagedCluster(c)
			c.Spec.ManagedCluster.Name = "made-later"
		},
		mendedThere: func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ManagedCluster.Name = "cluster" },
	},
	"an Azure that can't be reached": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonAzureUnavailable, unknown: true, remedy: "check that the operator can reach it",
		world: func(ctx context.Context) { disturb(ctx, azure.Fault{Operation: "*", Drop: true}) },
		mend:  func(ctx context.Context) { Expect(box.Azure().ClearFaults(ctx)).To(Succeed()) },
	},
	"a proxy in between": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonAzureUnavailable, unknown: true, remedy: "check the proxies",
		world: func(ctx context.Context) {
			disturb(ctx, azure.Fault{Operation: "ContainerGroups.*", Status: 403, Body: "<html><title>Access denied</title></html>"})
		},
		mend: func(ctx context.Context) { Expect(box.Azure().ClearFaults(ctx)).To(Succeed()) },
	},
	"an Azure that throttles": {
		condition: v1alpha1.ConditionAzureAccessible, reason: v1alpha1.ReasonThrottled, unknown: true, remedy: "429",
		world: func(ctx context.Context) {
			disturb(ctx, azure.Fault{Operation: "ContainerGroups.*", Status: 429, RetryAfter: 7 * time.Second})
		},
		mend: func(ctx context.Context) { Expect(box.Azure().ClearFaults(ctx)).To(Succeed()) },
	},
}

const groupScope = "/subscriptions/" + azure.DefaultSubscriptionID + "/resourceGroups/virtual-nodes"

var _ = Describe("What keeps a connector from working", func() {
	for name, c := range causes {
		It(fmt.Sprintf("is named within a minute, and gone within a minute of being mended: %s", name), func(ctx SpecContext) {
			putSecret(ctx, secretKey, azure.DefaultClientSecret)
			if c.world != nil {
				c.world(ctx)
			}
			connector := sample()
			if c.connector != nil {
				c.connector(connector)
			}
			start := time.Now()
			Expect(k8s.Create(ctx, connector)).To(Succeed())
			expectCause(ctx, c)
			named := time.Since(start)

			linux := client.MatchingLabels{connectorLabel: connectorName, osLabel: "linux"}
			if c.reason == v1alpha1.ReasonOSTypeNotAvailable {
				By("seeing that the node which nothing keeps from working works")
				Eventually(condition(ctx, connectorName, v1alpha1.ConditionLinuxNodeReady)).WithContext(ctx).
					Should(be(metav1.ConditionTrue, v1alpha1.ReasonNodeReady))
			} else {
				Expect(namesOf(ctx, Default, &appsv1.DeploymentList{}, linux)).To(BeEmpty(), "a virtual kubelet was started that can't work")
			}

			By("mending it")
			start = time.Now()
			if c.mend != nil {
				c.mend(ctx)
			}
			if c.mendedThere != nil {
				edit(ctx, c.mendedThere)
			}
			Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(told).Should(beReady)
			Expect(condition(ctx, connectorName, v1alpha1.ConditionStalled)(Default)).To(BeZero())
			AddReportEntry(c.reason, fmt.Sprintf("%s: named after %s, Ready %s after it was mended", name,
				named.Round(100*time.Millisecond), time.Since(start).Round(100*time.Millisecond)))
		}, SpecTimeout(4*time.Minute))
	}
})

// expectCause waits until a connector says what is wrong, and looks whether it says so wherever a person looks.
func expectCause(ctx context.Context, c cause) {
	GinkgoHelper()
	status := metav1.ConditionFalse
	if c.unknown {
		status = metav1.ConditionUnknown
	}
	Eventually(condition(ctx, connectorName, c.condition)).WithContext(ctx).WithTimeout(told).Should(be(status, c.reason, c.remedy))
	Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(told).Should(be(status, c.reason, c.remedy))
	if !c.unknown {
		Expect(condition(ctx, connectorName, v1alpha1.ConditionStalled)(Default)).
			To(be(metav1.ConditionTrue, v1alpha1.ReasonUserActionNeeded, c.remedy))
	}
	Expect(kubectl(ctx, "get", "vkc", connectorName, "-o", "wide")).To(ContainSubstring(c.remedy))
}

// A settled connector is watched, too: nobody applies it anew to find out what has happened to it.
var _ = Describe("What happens to a connector that works", func() {
	for _, name := range []string{
		"an expired secret", "a right to read alone", "a deny assignment", "a provider that is not registered",
	} {
		It("is named within a minute, and gone within a minute of being mended: "+name, func(ctx SpecContext) {
			applySample(ctx)
			before := kubeletPod(ctx, linuxNode)
			c := causes[name]
			start := time.Now()
			c.world(ctx)
			Eventually(condition(ctx, connectorName, c.condition)).WithContext(ctx).WithTimeout(told).
				Should(be(metav1.ConditionFalse, c.reason, c.remedy))
			named := time.Since(start)
			Expect(kubeletPod(ctx, linuxNode)).To(beUntouched(before), "nothing is stopped that runs")

			start = time.Now()
			c.mend(ctx)
			Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(told).Should(beReady)
			AddReportEntry(c.reason, fmt.Sprintf("%s, of a connector that works: named after %s, Ready %s after it was mended", name,
				named.Round(100*time.Millisecond), time.Since(start).Round(100*time.Millisecond)))
		}, SpecTimeout(4*time.Minute))
	}

	It("is no fault of its own where Azure is away: it stays Ready, and what is edited is mended", func(ctx SpecContext) {
		applySample(ctx)
		disturb(ctx, azure.Fault{Operation: "*", Drop: true})
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionAzureAccessible)).WithContext(ctx).WithTimeout(told).
			Should(be(metav1.ConditionUnknown, v1alpha1.ReasonAzureUnavailable))
		Expect(condition(ctx, connectorName, v1alpha1.ConditionReady)(Default)).To(beReady)

		By("starting the operator anew, and editing what it made")
		kubectl(ctx, "rollout", "restart", "deployment/"+operator, "-n", namespace)
		kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")
		kubectl(ctx, "delete", "rolebinding", linuxNode, "-n", "kube-node-lease")
		Eventually(func() error {
			_, err := tryKubectl(ctx, "get", "rolebinding", linuxNode, "-n", "kube-node-lease")
			return err
		}).WithContext(ctx).Should(Succeed())
		Expect(condition(ctx, connectorName, v1alpha1.ConditionReady)(Default)).To(beReady)
	}, SpecTimeout(4*time.Minute))
})

// sample is the sample connector, to be changed before it is made.
func sample() *v1alpha1.VirtualKubeletConnector {
	connector := westConnector(connectorName)
	connector.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows}
	connector.Spec.ContainerGroups.ResourceGroup = "virtual-nodes"
	connector.Spec.ContainerGroups.Location = "eastus"
	return connector
}

// edit changes the sample connector as it is now.
func edit(ctx context.Context, change func(*v1alpha1.VirtualKubeletConnector)) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		var connector v1alpha1.VirtualKubeletConnector
		g.Expect(k8s.Get(ctx, client.ObjectKey{Name: connectorName}, &connector)).To(Succeed())
		change(&connector)
		g.Expect(k8s.Update(ctx, &connector)).To(Succeed())
	}).WithContext(ctx).Should(Succeed())
}

func inSubnet(name string) func(*v1alpha1.VirtualKubeletConnector) {
	return func(c *v1alpha1.VirtualKubeletConnector) {
		c.Spec.Network = &v1alpha1.Network{Subnet: v1alpha1.Subnet{
			ResourceGroup: "virtual-nodes", VirtualNetworkName: "virtual-nodes", Name: name,
		}}
	}
}

// inManagedCluster leaves to the AKS cluster whatever it can tell.
func inManagedCluster(c *v1alpha1.VirtualKubeletConnector) {
	c.Spec.ContainerGroups = v1alpha1.ContainerGroups{}
	c.Spec.ManagedCluster = &v1alpha1.ManagedCluster{
		SubscriptionID: azure.DefaultSubscriptionID, ResourceGroup: "clusters", Name: "cluster",
	}
}

func expire(ctx context.Context, when time.Time) {
	GinkgoHelper()
	Expect(box.Azure().SetClientSecret(ctx, azure.DefaultClientID, azure.DefaultClientSecret, when)).To(Succeed())
}

func grant(ctx context.Context, assignments ...azure.RoleAssignment) {
	GinkgoHelper()
	Expect(box.Azure().SetRoleAssignments(ctx, azure.DefaultClientID, assignments...)).To(Succeed())
}

func register(ctx context.Context, registered bool) {
	GinkgoHelper()
	Expect(box.Azure().SetProvider(ctx, azure.DefaultSubscriptionID, "Microsoft.ContainerInstance", registered)).To(Succeed())
}

func disturb(ctx context.Context, fault azure.Fault) {
	GinkgoHelper()
	_, err := box.Azure().AddFault(ctx, fault)
	Expect(err).NotTo(HaveOccurred())
}
