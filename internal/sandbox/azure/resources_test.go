// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("resource groups", func() {
	It("are made, found and deleted with all that is in them", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		client, err := armresources.NewResourceGroupsClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())

		got, err := client.Get(ctx, "VIRTUAL-NODES", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(*got.Name).To(Equal("virtual-nodes"))
		Expect(*got.Location).To(Equal("eastus"))
		_, err = client.Get(ctx, "missing", nil)
		Expect(err).To(beAzureError(http.StatusNotFound, "ResourceGroupNotFound"))
		for name, want := range map[string]bool{"virtual-nodes": true, "missing": false} {
			exists, err := client.CheckExistence(ctx, name, nil)
			Expect(err).NotTo(HaveOccurred())
			Expect(exists.Success).To(Equal(want), name)
		}

		_, err = client.CreateOrUpdate(ctx, "New_(1)", armresources.ResourceGroup{Location: new("West US")}, nil)
		Expect(err).NotTo(HaveOccurred())
		_, err = client.CreateOrUpdate(ctx, "new_(1)", armresources.ResourceGroup{Location: new("eastus")}, nil)
		Expect(err).To(beAzureError(http.StatusConflict, "InvalidResourceGroupLocation"))
		_, err = client.CreateOrUpdate(ctx, "bad.", armresources.ResourceGroup{Location: new("eastus")}, nil)
		Expect(err).To(beAzureError(http.StatusBadRequest, "InvalidResourceGroupName"))

		Expect(r.create(ctx, "default-web")).To(Succeed())
		poller, err := client.BeginDelete(ctx, "virtual-nodes", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(r.ContainerGroups()).To(HaveLen(1))
		r.clock.Step(time.Second)
		_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second})
		Expect(err).NotTo(HaveOccurred())
		Expect(r.ContainerGroups()).To(BeEmpty())

		var names []string
		for pager := client.NewListPager(nil); pager.More(); {
			page, err := pager.NextPage(ctx)
			Expect(err).NotTo(HaveOccurred())
			for _, g := range page.Value {
				names = append(names, *g.Name)
			}
		}
		Expect(names).To(ConsistOf("clusters", "MC_clusters_cluster_eastus", "virtual-nodes-westus", "New_(1)"))
	})
})

var _ = Describe("providers", func() {
	It("are registered for a subscription, after a while", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		Expect(r.SetProvider(DefaultSubscriptionID, containerNamespace, false)).To(Succeed())
		Expect(r.create(ctx, "web")).To(beAzureError(http.StatusConflict, "MissingSubscriptionRegistration"))

		client, err := armresources.NewProvidersClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		state := func() string {
			GinkgoHelper()
			got, err := client.Get(ctx, "microsoft.containerinstance", nil)
			Expect(err).NotTo(HaveOccurred())
			return *got.RegistrationState
		}
		Expect(state()).To(Equal("NotRegistered"))
		_, err = client.Register(ctx, containerNamespace, nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(state()).To(Equal("Registering"))
		Expect(r.create(ctx, "web")).To(beAzureError(http.StatusConflict, "MissingSubscriptionRegistration"))
		r.clock.Step(DefaultConfig().Timing.ProviderRegistering)
		Expect(state()).To(Equal("Registered"))
		Expect(r.create(ctx, "web")).To(Succeed())

		page, err := client.NewListPager(nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(page.Value).To(HaveLen(3))
		Expect(page.Value[0].ResourceTypes[0].Locations).To(ContainElement(HaveValue(Equal("East US"))))
		Expect(page.Value[0].ResourceTypes[0].Locations).NotTo(ContainElement(HaveValue(Equal("Brazil Southeast"))))
		Expect(page.Value[0].ResourceTypes[0].Locations).NotTo(ContainElement(HaveValue(Equal("USGov Virginia"))))
		_, err = client.Get(ctx, "Microsoft.Nothing", nil)
		Expect(err).To(beAzureError(http.StatusNotFound, "InvalidResourceNamespace"))
	})

	It("tell what a region has and how much of it is used", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		Expect(r.create(ctx, "web")).To(Succeed())
		client, err := armcontainerinstance.NewLocationClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		capabilities, err := client.NewListCapabilitiesPager("jioindiawest", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(capabilities.Value).To(HaveLen(1))
		Expect(*capabilities.Value[0].OSType).To(Equal("Linux"))
		usages, err := client.NewListUsagePager("eastus", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(*usages.Value[0].CurrentValue).To(BeEquivalentTo(1))
	})

	It("follow the regions as they change", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		at := func(g *armcontainerinstance.ContainerGroup) { g.Location = new("marscentral") }
		Expect(r.create(ctx, "web", at)).To(beAzureError(http.StatusBadRequest, "LocationNotAvailableForResourceType"))
		control := r.Client()
		Expect(control.SetLocation(ctx, Location{Name: "Mars Central", DisplayName: "Mars Central", OSTypes: []string{"Linux"}})).To(Succeed())
		Expect(r.create(ctx, "web", at)).To(Succeed())
		client, err := armresources.NewProvidersClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		locations := func() []*string {
			GinkgoHelper()
			got, err := client.Get(ctx, containerNamespace, nil)
			Expect(err).NotTo(HaveOccurred())
			return got.ResourceTypes[0].Locations
		}
		before := locations()
		Expect(before).To(ContainElement(HaveValue(Equal("Mars Central"))))
		Expect(control.SetLocation(ctx, Location{Name: "marscentral"})).To(Succeed())
		Expect(locations()).To(HaveLen(len(before) - 1))
		Expect(r.create(ctx, "other", at)).To(beAzureError(http.StatusBadRequest, "LocationNotAvailableForResourceType"))
	})
})

var _ = Describe("networks", func() {
	It("have subnets that can be delegated", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		networks, err := armnetwork.NewVirtualNetworksClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		subnets, err := armnetwork.NewSubnetsClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())

		network, err := networks.Get(ctx, "virtual-nodes", "virtual-nodes", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(network.Properties.Subnets).To(HaveLen(4))
		all, err := networks.NewListPager("virtual-nodes", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(all.Value).To(HaveLen(1))
		_, err = networks.Get(ctx, "virtual-nodes", "missing", nil)
		Expect(err).To(beAzureError(http.StatusNotFound, "ResourceNotFound"))
		_, err = subnets.Get(ctx, "virtual-nodes", "virtual-nodes", "missing", nil)
		Expect(err).To(beAzureError(http.StatusNotFound, "NotFound"))

		free, err := subnets.Get(ctx, "virtual-nodes", "virtual-nodes", "free", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(free.Properties.Delegations).To(BeEmpty())
		put := func(name string, subnet armnetwork.Subnet) error {
			poller, err := subnets.BeginCreateOrUpdate(ctx, "virtual-nodes", "virtual-nodes", name, subnet, nil)
			if err != nil {
				return err
			}
			_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second})
			return err
		}
		free.Properties.Delegations = append(free.Properties.Delegations, &armnetwork.Delegation{
			Name: new("aci"), Properties: &armnetwork.ServiceDelegationPropertiesFormat{ServiceName: new(containerGroupDelegation)},
		})
		Expect(put("free", free.Subnet)).To(Succeed())
		of := func(prefix string) armnetwork.Subnet {
			return armnetwork.Subnet{Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: &prefix}}
		}
		Expect(put("new", of("10.244.0.0/24"))).To(Succeed())
		Expect(put("overlaps", of("10.244.0.128/25"))).To(beAzureError(http.StatusBadRequest, "NetcfgSubnetRangesOverlap"))
		Expect(put("outside", of("192.168.0.0/24"))).To(beAzureError(http.StatusBadRequest, "NetcfgInvalidSubnet"))
		Expect(put("garbage", of("x"))).To(beAzureError(http.StatusBadRequest, "InvalidCIDRNotation"))

		list, err := subnets.NewListPager("virtual-nodes", "virtual-nodes", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(list.Value).To(HaveLen(5))
		Expect(*list.Value[2].Properties.Delegations[0].Properties.ServiceName).To(Equal(containerGroupDelegation))
	})

	It("keep the delegation of a subnet that is in use", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		subnets, err := armnetwork.NewSubnetsClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		used, err := subnets.Get(ctx, "virtual-nodes", "virtual-nodes", "cluster", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(used.Properties.IPConfigurations).To(HaveLen(3))
		Expect(*used.Properties.IPConfigurations[2].ID).To(Equal("/subscriptions/" + DefaultSubscriptionID + "/resourceGroups/virtual-nodes/providers/" +
			"Microsoft.Network/networkInterfaces/virtual-nodes-cluster-2/ipConfigurations/ipconfig1"))

		put := func() error {
			_, err := subnets.BeginCreateOrUpdate(ctx, "virtual-nodes", "virtual-nodes", "Cluster", used.Subnet, nil)
			return err
		}
		used.Properties.IPConfigurations = nil
		used.Properties.RouteTable = &armnetwork.RouteTable{ID: new("/routes")}
		Expect(put()).To(Succeed())
		used.Properties.Delegations = []*armnetwork.Delegation{{
			Name: new("aci"), Properties: &armnetwork.ServiceDelegationPropertiesFormat{ServiceName: new(containerGroupDelegation)},
		}}
		err = put()
		Expect(err).To(beAzureError(http.StatusBadRequest, "SubnetDelegationsCannotChangeWhenSubnetUsedByResource"))
		Expect(err).To(MatchError(ContainSubstring("/subnets/cluster cannot be changed from [] to [Microsoft.ContainerInstance/containerGroups] because it is being used by the resource")))

		other, err := armnetwork.NewVirtualNetworksClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		network, err := other.Get(ctx, "virtual-nodes", "virtual-nodes", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(*network.Properties.Subnets[0].Properties.RouteTable.ID).To(Equal("/routes"))
		Expect(network.Properties.Subnets[0].Properties.IPConfigurations).To(HaveLen(3))
		Expect(network.Properties.Subnets[0].Properties.Delegations).To(BeEmpty())
	})
})

var _ = Describe("managed clusters", func() {
	It("tell where their nodes are", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		client, err := armcontainerservice.NewManagedClustersClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		cluster, err := client.Get(ctx, "clusters", "Cluster", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(*cluster.Properties.NodeResourceGroup).To(Equal("MC_clusters_cluster_eastus"))
		Expect(*cluster.Properties.NetworkProfile.DNSServiceIP).To(Equal("10.96.0.10"))
		Expect(*cluster.Properties.PowerState.Code).To(Equal(armcontainerservice.CodeRunning))
		page, err := client.NewListByResourceGroupPager("clusters", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(page.Value).To(HaveLen(1))
		_, err = client.Get(ctx, "clusters", "missing", nil)
		Expect(err).To(beAzureError(http.StatusNotFound, "ResourceNotFound"))
	})

	It("tell how they are reached, whose they are and how far their nodes are locked", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		client, err := armcontainerservice.NewManagedClustersClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		cluster, err := client.Get(ctx, "clusters", "cluster", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(*cluster.Properties.Fqdn).To(Equal("cluster-dns-1a2b3c4d.hcp.eastus.azmk8s.io"))
		Expect(*cluster.Identity.TenantID).To(Equal(DefaultTenantID))
		Expect(cluster.Properties.PrivateFQDN).To(BeNil())
		Expect(cluster.Properties.NodeResourceGroupProfile).To(BeNil())

		control := r.Client()
		Expect(control.SetManagedCluster(ctx, ManagedCluster{
			SubscriptionID: DefaultSubscriptionID, ResourceGroup: "clusters", Name: "cluster",
			PrivateFQDN: "cluster.privatelink.eastus.azmk8s.io", TenantID: "tenant", RestrictionLevel: "ReadOnly",
		})).To(Succeed())
		cluster, err = client.Get(ctx, "clusters", "cluster", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(cluster.Properties.Fqdn).To(BeNil())
		Expect(*cluster.Properties.PrivateFQDN).To(Equal("cluster.privatelink.eastus.azmk8s.io"))
		Expect(*cluster.Identity.TenantID).To(Equal("tenant"))
		Expect(*cluster.Properties.NodeResourceGroupProfile.RestrictionLevel).To(Equal(armcontainerservice.RestrictionLevelReadOnly))

		Expect(control.DeleteManagedCluster(ctx, DefaultSubscriptionID, "clusters", "Cluster")).To(Succeed())
		_, err = client.Get(ctx, "clusters", "cluster", nil)
		Expect(err).To(beAzureError(http.StatusNotFound, "ResourceNotFound"))
		Expect(control.DeleteManagedCluster(ctx, DefaultSubscriptionID, "missing", "cluster")).To(MatchError(ContainSubstring(`"missing" does not exist`)))
	})
})
