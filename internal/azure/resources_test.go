// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

var clusterRef = v1alpha1.ManagedCluster{SubscriptionID: subscription, ResourceGroup: "clusters", Name: "cluster"}

func defaultCluster() ManagedCluster {
	return ManagedCluster{
		ID:                "/subscriptions/" + subscription + "/resourceGroups/clusters/providers/Microsoft.ContainerService/managedClusters/cluster",
		Location:          "eastus",
		NodeResourceGroup: "MC_clusters_cluster_eastus",
		Network:           VirtualNetworkRef{ResourceGroup: "virtual-nodes", Name: "virtual-nodes"},
		PodCIDR:           "10.244.0.0/16",
		DNSServiceIP:      "10.96.0.10",
		APIServerURI:      "https://cluster-dns-1a2b3c4d.hcp.eastus.azmk8s.io:443",
		PowerState:        "Running",
		ProvisioningState: "Succeeded",
	}
}

func TestSessionReadsAManagedCluster(t *testing.T) {
	for name, test := range map[string]struct {
		azure func(*simulated.ManagedCluster)
		want  func(*ManagedCluster)
	}{
		"as it is": {},
		"with a region in words": {
			azure: func(c *simulated.ManagedCluster) { c.Location = "West US 2" },
			want:  func(c *ManagedCluster) { c.Location = "westus2" },
		},
		"private": {
			azure: func(c *simulated.ManagedCluster) { c.PrivateFQDN = "cluster.privatelink.eastus.azmk8s.io" },
			want:  func(c *ManagedCluster) { c.APIServerURI = "https://cluster.privatelink.eastus.azmk8s.io:443" },
		},
		"without a name": {
			azure: func(c *simulated.ManagedCluster) { c.FQDN = "" },
			want:  func(c *ManagedCluster) { c.APIServerURI = "" },
		},
		"locked down": {
			azure: func(c *simulated.ManagedCluster) { c.RestrictionLevel = "ReadOnly" },
			want:  func(c *ManagedCluster) { c.LockedDown = true },
		},
		"not locked down": {
			azure: func(c *simulated.ManagedCluster) { c.RestrictionLevel = "Unrestricted" },
		},
		"in a network that AKS made": {
			azure: func(c *simulated.ManagedCluster) { c.SubnetID = "" },
			want:  func(c *ManagedCluster) { c.Network = VirtualNetworkRef{} },
		},
		"without a pod network": {
			azure: func(c *simulated.ManagedCluster) { c.PodCIDR, c.DNSServiceIP = "", "" },
			want:  func(c *ManagedCluster) { c.PodCIDR, c.DNSServiceIP = "", "" },
		},
		"stopped": {
			azure: func(c *simulated.ManagedCluster) { c.PowerState, c.ProvisioningState = "Stopped", "Stopping" },
			want:  func(c *ManagedCluster) { c.PowerState, c.ProvisioningState = "Stopped", "Stopping" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			config := simulated.DefaultConfig()
			r := newRig(t)
			if test.azure != nil {
				test.azure(&config.ManagedClusters[0])
				g.Expect(r.SetManagedCluster(config.ManagedClusters[0])).To(Succeed())
			}
			want := defaultCluster()
			if test.want != nil {
				test.want(&want)
			}
			g.Expect(connected(t, r).ManagedCluster(t.Context(), clusterRef)).To(Equal(want))
		})
	}
}

func TestSessionReadsAResourceGroup(t *testing.T) {
	g := NewWithT(t)
	r := newRig(t)
	g.Expect(r.SetResourceGroup(simulated.ResourceGroup{SubscriptionID: subscription, Name: "far", Location: "North Europe"})).To(Succeed())
	s := connected(t, r)
	g.Expect(s.ResourceGroup(t.Context(), subscription, rgName)).To(Equal(ResourceGroup{Location: "eastus"}))
	g.Expect(s.ResourceGroup(t.Context(), subscription, "FAR")).To(Equal(ResourceGroup{Location: "northeurope"}))
	_, err := s.ResourceGroup(t.Context(), subscription, "missing")
	g.Expect(err).To(MatchError(ContainSubstring("get resource group missing: ")))
	g.Expect(IsNotFound(err)).To(BeTrue())
}

func TestSessionReadsAndRegistersTheProvider(t *testing.T) {
	g := NewWithT(t)
	r := newRig(t)
	s := connected(t, r)
	provider, err := s.Provider(t.Context(), subscription)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(provider).To(Equal(Provider{State: ProviderRegistered, Locations: []string{
		"eastus", "eastus2", "jioindiawest", "northeurope", "westeurope", "westus", "westus2",
	}}), "of this cloud, and none without container groups")

	g.Expect(r.SetProvider(subscription, ProviderNamespace, false)).To(Succeed())
	state := func() ProviderState {
		provider, err := s.Provider(t.Context(), subscription)
		g.Expect(err).NotTo(HaveOccurred())
		return provider.State
	}
	g.Expect(state()).To(BeEquivalentTo("NotRegistered"))
	g.Expect(s.RegisterProvider(t.Context(), subscription)).To(Succeed())
	g.Expect(state()).To(Equal(ProviderRegistering))
	r.clock.Step(time.Minute)
	g.Expect(state()).To(Equal(ProviderRegistered))
}

func TestSessionReadsARegion(t *testing.T) {
	for name, test := range map[string]struct {
		location string
		quota    simulated.Quota
		want     Region
	}{
		"of both":         {location: "eastus", want: Region{OSTypes: []string{"Linux", "Windows"}}},
		"of one":          {location: "jioindiawest", want: Region{OSTypes: []string{"Linux"}}},
		"of none":         {location: "brazilsoutheast"},
		"unknown":         {location: "atlantis"},
		"of other clouds": {location: "chinaeast2"},
		"with room left": {
			location: "eastus", quota: simulated.Quota{ContainerGroups: 2, Cores: 2}, want: Region{OSTypes: []string{"Linux", "Windows"}},
		},
		"with no container group left": {
			location: "eastus", quota: simulated.Quota{ContainerGroups: 1},
			want: Region{OSTypes: []string{"Linux", "Windows"}, Exhausted: []Quota{{Name: "ContainerGroups", Limit: 1}}},
		},
		"with nothing left": {
			location: "eastus", quota: simulated.Quota{ContainerGroups: 1, Cores: 1},
			want: Region{OSTypes: []string{"Linux", "Windows"}, Exhausted: []Quota{{Name: "ContainerGroups", Limit: 1}, {Name: "StandardCores", Limit: 1}}},
		},
		"with nothing left elsewhere": {
			location: "westus", quota: simulated.Quota{ContainerGroups: 1, Cores: 1}, want: Region{OSTypes: []string{"Linux", "Windows"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRig(t, func(c *simulated.Config) { c.Quota = test.quota })
			r.plant(t, "node", "web", "uid")
			got, err := connected(t, r).Region(t.Context(), subscription, test.location)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(test.want))
		})
	}
}
