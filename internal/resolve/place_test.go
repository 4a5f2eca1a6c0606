// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

const (
	ours       = "11111111-1111-1111-1111-111111111111"
	clusters   = "55555555-5555-5555-5555-555555555555"
	clusterID  = "/subscriptions/" + clusters + "/resourceGroups/clusters/providers/Microsoft.ContainerService/managedClusters/cluster"
	nodesGroup = "MC_clusters_cluster_eastus"
)

type edit = func(*v1alpha1.VirtualKubeletConnector)

// aks is what Azure says of the cluster that ofCluster names.
var aks = azure.ManagedCluster{
	ID: clusterID, Location: "eastus", NodeResourceGroup: nodesGroup,
	Network: azure.VirtualNetworkRef{ResourceGroup: "network", Name: "cluster"},
	PodCIDR: "10.244.0.0/16", DNSServiceIP: "10.96.0.10", APIServerURI: "https://cluster.hcp.eastus.azmk8s.io:443",
	PowerState: "Running", ProvisioningState: "Succeeded",
}

// ofCluster leaves the place to a managed cluster.
func ofCluster(c *v1alpha1.VirtualKubeletConnector) {
	c.Spec.ManagedCluster = &v1alpha1.ManagedCluster{SubscriptionID: clusters, ResourceGroup: "clusters", Name: "cluster"}
	c.Spec.ContainerGroups = v1alpha1.ContainerGroups{}
}

func said[T any](value T) azure.Answer[T] {
	return azure.Answer[T]{Value: value, Have: true, AskedAt: time.Unix(1, 0)}
}

// refused is an answer that proves something, silent one that does not; both have no value.
func refused[T any](reason string) azure.Answer[T] {
	return azure.Answer[T]{Problem: &azure.Problem{Reason: reason, Proven: true, Message: "Azure says " + reason}, AskedAt: time.Unix(1, 0)}
}

func silent[T any]() azure.Answer[T] {
	return azure.Answer[T]{Problem: &azure.Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: "Azure is silent"}, AskedAt: time.Unix(1, 0)}
}

// stale is an answer that has a problem now and had a value before.
func stale[T any](value T) azure.Answer[T] {
	answer := silent[T]()
	answer.Value, answer.Have = value, true
	return answer
}

// was is a status that was written for a generation.
func was(generation, now int64) edit {
	return func(c *v1alpha1.VirtualKubeletConnector) {
		c.Generation = now
		c.Status = v1alpha1.VirtualKubeletConnectorStatus{
			ObservedGeneration: generation, SubscriptionID: clusters, ResourceGroup: "before", Location: "westus",
		}
	}
}

func deleted(c *v1alpha1.VirtualKubeletConnector) {
	c.DeletionTimestamp = &metav1.Time{Time: time.Unix(2, 0)}
}

func group(name v1alpha1.ResourceGroupName) edit {
	return func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ContainerGroups.ResourceGroup = name }
}

func location(name v1alpha1.Location) edit {
	return func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ContainerGroups.Location = name }
}

func subscription(id v1alpha1.GUID) edit {
	return func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ContainerGroups.SubscriptionID = id }
}

func pending(field, why string) *discover.Missing {
	message := "waiting for Azure to tell the default of " + field
	if why != "" {
		message = "the default of " + field + " is not known: " + why
	}
	return &discover.Missing{Reason: v1alpha1.ReasonDefaultsPending, Message: message, Pending: true}
}

const (
	groupField    = "spec.containerGroups.resourceGroup"
	locationField = "spec.containerGroups.location"
)

// clusterAnswer and groupAnswer shorten the table.
type (
	clusterAnswer = azure.Answer[azure.ManagedCluster]
	groupAnswer   = azure.Answer[azure.ResourceGroup]
)

func TestPlace(t *testing.T) {
	for name, test := range map[string]struct {
		edits   []edit
		cluster clusterAnswer
		group   groupAnswer

		subscription, resourceGroup, location string
		missing                               *discover.Missing
	}{
		"all in the spec": {
			subscription: ours, resourceGroup: "virtual-nodes", location: "eastus",
		},
		"all in the spec, beside a cluster": {
			edits: []edit{ofCluster, subscription(ours), group("own"), location("North Europe")}, cluster: said(aks),
			subscription: ours, resourceGroup: "own", location: "northeurope",
		},
		"all of the cluster": {
			edits: []edit{ofCluster}, cluster: said(aks),
			subscription: clusters, resourceGroup: nodesGroup, location: "eastus",
		},
		"all of the cluster, whose last answer was a problem": {
			edits: []edit{ofCluster}, cluster: stale(aks),
			subscription: clusters, resourceGroup: nodesGroup, location: "eastus",
		},
		"a subscription in the spec": {
			edits: []edit{ofCluster, subscription(ours)}, cluster: said(aks),
			subscription: ours, resourceGroup: nodesGroup, location: "eastus",
		},
		"a location in the spec": {
			edits: []edit{ofCluster, location("West Europe")}, cluster: said(aks),
			subscription: clusters, resourceGroup: nodesGroup, location: "westeurope",
		},
		"a resource group in the spec, with a location of its own": {
			edits: []edit{ofCluster, group("own")}, cluster: said(aks), group: said(azure.ResourceGroup{Location: "westus2"}),
			subscription: clusters, resourceGroup: "own", location: "westus2",
		},
		"a resource group that may not be read": {
			edits: []edit{ofCluster, group("own")}, cluster: said(aks), group: refused[azure.ResourceGroup](v1alpha1.ReasonForbidden),
			subscription: clusters, resourceGroup: "own", location: "eastus",
		},
		"a resource group that may not be read, of a silent cluster": {
			edits: []edit{ofCluster, group("own")}, cluster: silent[azure.ManagedCluster](), group: refused[azure.ResourceGroup](v1alpha1.ReasonForbidden),
			subscription: clusters, resourceGroup: "own",
			missing: &discover.Missing{Reason: v1alpha1.ReasonForbidden, Message: "Azure says Forbidden; or set " + locationField},
		},
		"a resource group that does not exist": {
			edits: []edit{ofCluster, group("own")}, cluster: said(aks), group: refused[azure.ResourceGroup](v1alpha1.ReasonResourceGroupNotFound),
			subscription: clusters, resourceGroup: "own",
			missing: &discover.Missing{Reason: v1alpha1.ReasonResourceGroupNotFound, Message: "Azure says ResourceGroupNotFound; or set " + locationField},
		},
		"a resource group that Azure has not told of": {
			edits: []edit{ofCluster, group("own")}, cluster: said(aks),
			subscription: clusters, resourceGroup: "own", missing: pending(locationField, ""),
		},
		"a resource group that Azure is silent about": {
			edits: []edit{ofCluster, group("own")}, cluster: said(aks), group: silent[azure.ResourceGroup](),
			subscription: clusters, resourceGroup: "own", missing: pending(locationField, "Azure is silent"),
		},
		"a resource group that Azure is silent about, of before": {
			edits: []edit{ofCluster, group("own"), was(3, 3)}, cluster: said(aks), group: silent[azure.ResourceGroup](),
			subscription: clusters, resourceGroup: "own", location: "westus",
		},
		"a cluster that Azure has not told of": {
			edits:        []edit{ofCluster},
			subscription: clusters, missing: pending(groupField, ""),
		},
		"a cluster that Azure is silent about": {
			edits: []edit{ofCluster}, cluster: silent[azure.ManagedCluster](),
			subscription: clusters, missing: pending(groupField, "Azure is silent"),
		},
		"a cluster that Azure is silent about, and a location": {
			edits: []edit{ofCluster, location("eastus")}, cluster: silent[azure.ManagedCluster](),
			subscription: clusters, location: "eastus", missing: pending(groupField, "Azure is silent"),
		},
		"a cluster that does not exist": {
			edits: []edit{ofCluster}, cluster: refused[azure.ManagedCluster](v1alpha1.ReasonManagedClusterNotFound),
			subscription: clusters,
			missing:      &discover.Missing{Reason: v1alpha1.ReasonManagedClusterNotFound, Message: "Azure says ManagedClusterNotFound; or set " + groupField},
		},
		"a cluster that may not be read": {
			edits: []edit{ofCluster}, cluster: refused[azure.ManagedCluster](v1alpha1.ReasonManagedClusterForbidden),
			subscription: clusters,
			missing:      &discover.Missing{Reason: v1alpha1.ReasonManagedClusterForbidden, Message: "Azure says ManagedClusterForbidden; or set " + groupField},
		},
		"a cluster that nothing is left to": {
			edits:        []edit{ofCluster, subscription(ours), group("own"), location("eastus")},
			cluster:      refused[azure.ManagedCluster](v1alpha1.ReasonManagedClusterForbidden),
			subscription: ours, resourceGroup: "own", location: "eastus",
		},
		"a silent cluster, known from before": {
			edits: []edit{ofCluster, was(3, 3)}, cluster: silent[azure.ManagedCluster](),
			subscription: clusters, resourceGroup: "before", location: "westus",
		},
		"a cluster that is gone, known from before": {
			edits: []edit{ofCluster, was(3, 3)}, cluster: refused[azure.ManagedCluster](v1alpha1.ReasonManagedClusterNotFound),
			subscription: clusters, resourceGroup: "before", location: "westus",
		},
		"what the cluster says now before what it said": {
			edits: []edit{ofCluster, was(3, 3)}, cluster: said(aks),
			subscription: clusters, resourceGroup: nodesGroup, location: "eastus",
		},
		"what the spec says before what was": {
			edits: []edit{ofCluster, was(3, 3), group("own"), location("eastus2")}, cluster: silent[azure.ManagedCluster](),
			subscription: clusters, resourceGroup: "own", location: "eastus2",
		},
		"a silent cluster, known of another spec": {
			edits: []edit{ofCluster, was(3, 4)}, cluster: silent[azure.ManagedCluster](),
			subscription: clusters, missing: pending(groupField, "Azure is silent"),
		},
		"a silent cluster, known from before the deletion": {
			edits: []edit{ofCluster, was(3, 4), deleted}, cluster: silent[azure.ManagedCluster](),
			subscription: clusters, resourceGroup: "before", location: "westus",
		},
		"a silent cluster, known of another spec than the deleted": {
			edits: []edit{ofCluster, was(3, 5), deleted}, cluster: silent[azure.ManagedCluster](),
			subscription: clusters, missing: pending(groupField, "Azure is silent"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			told := facts
			told.ManagedCluster, told.ResourceGroup = test.cluster, test.group
			resolved := resolve.Resolve(connector(test.edits...), told, defaults)
			g.Expect(resolved.Target.SubscriptionID).To(Equal(test.subscription))
			g.Expect(resolved.Target.ResourceGroup).To(Equal(test.resourceGroup))
			g.Expect(resolved.Location).To(Equal(test.location))
			g.Expect(resolved.Missing).To(Equal(test.missing))
			if len(resolved.OSTypes) == 0 {
				return // deleted
			}
			g.Expect(resolved.Undecided).To(Equal(test.missing != nil), "nothing is removed for what is not known")
			if test.missing != nil {
				g.Expect(resolved.Nodes).To(BeEmpty())
				return
			}
			node := resolved.Nodes[0].Node
			g.Expect([]string{node.SubscriptionID, node.ResourceGroup, node.Location}).
				To(Equal([]string{test.subscription, test.resourceGroup, test.location}), "the node's identity")
		})
	}
}

// Of a client secret that is missing, the place that the status tells keeps the nodes; and the Secret is told, not Azure.
func TestPlaceWithoutAClientSecret(t *testing.T) {
	g := NewWithT(t)
	missing := &discover.Missing{Reason: v1alpha1.ReasonSecretNotFound, Message: "no Secret"}
	first := resolve.Resolve(connector(ofCluster), discover.Facts{Missing: missing}, defaults)
	g.Expect(first.Missing).To(Equal(missing))
	g.Expect(first.Undecided).To(BeTrue())

	later := resolve.Resolve(connector(ofCluster, was(3, 3)), discover.Facts{Missing: missing}, defaults)
	g.Expect(later.Missing).To(Equal(missing))
	g.Expect(later.Undecided).To(BeFalse())
	g.Expect(nodeNames(later)).To(Equal([]string{"virtual-kubelet-aci-linux-westus"}))
}

func TestProviderRegistration(t *testing.T) {
	const check, register, ignore = v1alpha1.ProviderRegistrationCheck, v1alpha1.ProviderRegistrationRegister, v1alpha1.ProviderRegistrationIgnore
	for name, test := range map[string]struct {
		given   v1alpha1.ProviderRegistration
		suspend bool
		want    v1alpha1.ProviderRegistration
	}{
		"none":                {"", false, check},
		"Check":               {check, false, check},
		"Register":            {register, false, register},
		"Ignore":              {ignore, false, ignore},
		"Check, suspended":    {check, true, check},
		"Register, suspended": {register, true, check},
		"Ignore, suspended":   {ignore, true, ignore},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) {
				c.Spec.ProviderRegistration, c.Spec.Suspend = test.given, test.suspend
			}), facts, defaults)
			g.Expect(resolved.Provider).To(Equal(test.want))
			g.Expect(resolved.Suspended).To(Equal(test.suspend))
			g.Expect(resolved.Nodes).NotTo(BeEmpty())
		})
	}
}

func TestRemoval(t *testing.T) {
	g := NewWithT(t)
	given := v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyForce, OrphanedContainerGroups: v1alpha1.OrphanPolicyRetain, DrainTimeoutSeconds: new(int32(60))}
	for _, edits := range [][]edit{nil, {deleted}} {
		edits = append(edits, func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Removal = given })
		g.Expect(resolve.Resolve(connector(edits...), facts, defaults).Removal).To(Equal(given))
	}
	given.Policy = ""
	resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Removal = given }), facts, defaults)
	g.Expect(resolved.Removal.Policy).To(Equal(v1alpha1.RemovalPolicyDrain))
	g.Expect(resolved.Removal.DrainTimeoutSeconds).To(Equal(given.DrainTimeoutSeconds))
}

// A locked node resource group is no matter to those that make container groups elsewhere.
func TestLockedDown(t *testing.T) {
	locked := aks
	locked.LockedDown = true
	for name, test := range map[string]struct {
		cluster azure.ManagedCluster
		edits   []edit
		want    bool
	}{
		"the default resource group":    {cluster: locked, want: true},
		"the same, named":               {cluster: locked, edits: []edit{group("mc_clusters_cluster_EASTUS"), location("eastus")}, want: true},
		"another resource group":        {cluster: locked, edits: []edit{group("own"), location("eastus")}},
		"a resource group without lock": {cluster: aks},
	} {
		t.Run(name, func(t *testing.T) {
			told := facts
			told.ManagedCluster = said(test.cluster)
			resolved := resolve.Resolve(connector(append([]edit{ofCluster}, test.edits...)...), told, defaults)
			NewWithT(t).Expect(resolved.LockedDown).To(Equal(test.want))
		})
	}
}

func TestRemark(t *testing.T) {
	state := func(power, provisioning string) clusterAnswer {
		cluster := aks
		cluster.PowerState, cluster.ProvisioningState = power, provisioning
		return said(cluster)
	}
	own := []edit{ofCluster, group("own"), location("eastus")}
	for name, test := range map[string]struct {
		edits   []edit
		cluster clusterAnswer
		want    string
	}{
		"no cluster":                    {},
		"a cluster at work":             {edits: own, cluster: said(aks)},
		"a cluster that does not say":   {edits: own, cluster: state("", "")},
		"a stopped cluster":             {edits: own, cluster: state("Stopped", "Succeeded"), want: "managed cluster cluster is Stopped"},
		"a failed cluster":              {edits: own, cluster: state("Running", "Failed"), want: "managed cluster cluster is in the provisioning state Failed"},
		"a cluster that is deleted":     {edits: own, cluster: state("Running", "Deleting"), want: "managed cluster cluster is in the provisioning state Deleting"},
		"a cluster that changes":        {edits: own, cluster: state("Running", "Updating")},
		"a silent cluster":              {edits: own, cluster: silent[azure.ManagedCluster]()},
		"a cluster that does not exist": {edits: own, cluster: refused[azure.ManagedCluster](v1alpha1.ReasonManagedClusterNotFound), want: "Azure says ManagedClusterNotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			told := facts
			told.ManagedCluster = test.cluster
			resolved := resolve.Resolve(connector(test.edits...), told, defaults)
			g.Expect(resolved.Missing).To(BeNil())
			g.Expect(resolved.Remark).To(Equal(test.want))
		})
	}
}

func TestToCheck(t *testing.T) {
	g := NewWithT(t)
	inSubnet := func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Network = &v1alpha1.Network{Subnet: subnet} }
	resolved := resolve.Resolve(connector(inSubnet), facts, defaults)
	g.Expect(resolved.ToCheck()).To(Equal(resolved.Place))
	g.Expect(resolved.ToCheck().Subnet).NotTo(BeNil())

	gone := resolve.Resolve(connector(inSubnet, deleted), facts, defaults)
	g.Expect(gone.ToCheck()).To(Equal(discover.Place{Target: resolved.Target, Provider: v1alpha1.ProviderRegistrationIgnore}),
		"a removal needs nothing but the container groups")
}

func TestDescribes(t *testing.T) {
	g := NewWithT(t)
	resolved := resolve.Resolve(connector(), facts, defaults)
	node := resolved.Nodes[0]
	g.Expect(resolved.Describes(node.Name, node.Hash())).To(BeTrue())
	g.Expect(resolved.Describes("other", node.Hash())).To(BeFalse())
	moved := resolve.Resolve(connector(group("other")), facts, defaults)
	g.Expect(moved.Describes(node.Name, node.Hash())).To(BeFalse())
}

func TestManagedIdentity(t *testing.T) {
	identityOf := func(tenant v1alpha1.GUID) edit {
		return func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.Credentials = v1alpha1.Credentials{
				Type:            v1alpha1.CredentialTypeManagedIdentity,
				ManagedIdentity: &v1alpha1.ManagedIdentity{ClientID: "44444444-4444-4444-4444-444444444444", TenantID: tenant},
			}
		}
	}
	g := NewWithT(t)
	noSecret := discover.Facts{ClientCA: []byte("ca")}
	resolved := resolve.Resolve(connector(identityOf("")), noSecret, defaults)
	g.Expect(resolved.Missing).To(BeNil())
	g.Expect(resolved.Target.Usable()).To(BeTrue())
	g.Expect(resolved.Target.ClientID).To(Equal("44444444-4444-4444-4444-444444444444"))
	g.Expect(resolved.Nodes).To(HaveLen(1))

	moved := resolve.Resolve(connector(identityOf("22222222-2222-2222-2222-222222222222")), noSecret, defaults)
	g.Expect(moved.Nodes[0].Hash()).NotTo(Equal(resolved.Nodes[0].Hash()), "a tenant is a part of the identity")
}
