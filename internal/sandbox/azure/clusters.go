// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6/fake"
)

func (c *call) managedClusters() doer {
	return fake.NewManagedClustersServerTransport(&fake.ManagedClustersServer{
		Get: c.getManagedCluster, NewListByResourceGroupPager: c.listManagedClusters,
	})
}

func (m *ManagedCluster) view() *armcontainerservice.ManagedCluster {
	optional := func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}
	pool := &armcontainerservice.ManagedClusterAgentPoolProfile{
		Name: new("nodepool1"), Count: to.Ptr[int32](1), VnetSubnetID: optional(m.SubnetID),
		Mode: to.Ptr(armcontainerservice.AgentPoolModeSystem), OSType: to.Ptr(armcontainerservice.OSTypeLinux),
	}
	view := &armcontainerservice.ManagedCluster{
		ID: new("/subscriptions/" + m.SubscriptionID + "/resourceGroups/" + m.ResourceGroup +
			"/providers/" + clusterNamespace + "/managedClusters/" + m.Name),
		Name: new(m.Name), Type: new(clusterNamespace + "/managedClusters"), Location: new(m.Location),
		Identity: &armcontainerservice.ManagedClusterIdentity{
			Type: to.Ptr(armcontainerservice.ResourceIdentityTypeSystemAssigned), TenantID: optional(m.TenantID),
		},
		Properties: &armcontainerservice.ManagedClusterProperties{
			AgentPoolProfiles: []*armcontainerservice.ManagedClusterAgentPoolProfile{pool},
			Fqdn:              optional(m.FQDN),
			PrivateFQDN:       optional(m.PrivateFQDN),
			KubernetesVersion: optional(m.KubernetesVersion),
			NetworkProfile: &armcontainerservice.NetworkProfile{
				PodCidr: optional(m.PodCIDR), ServiceCidr: optional(m.ServiceCIDR), DNSServiceIP: optional(m.DNSServiceIP),
			},
			NodeResourceGroup: new(m.NodeResourceGroup),
			PowerState: &armcontainerservice.PowerState{
				Code: new(armcontainerservice.Code(cmp.Or(m.PowerState, string(armcontainerservice.CodeRunning)))),
			},
			ProvisioningState: new(cmp.Or(m.ProvisioningState, "Succeeded")),
		},
	}
	if m.IdentityClientID != "" {
		view.Properties.IdentityProfile = map[string]*armcontainerservice.UserAssignedIdentity{
			"kubeletidentity": {ClientID: new(m.IdentityClientID)},
		}
	}
	if m.RestrictionLevel != "" {
		view.Properties.NodeResourceGroupProfile = &armcontainerservice.ManagedClusterNodeResourceGroupProfile{
			RestrictionLevel: new(armcontainerservice.RestrictionLevel(m.RestrictionLevel)),
		}
	}
	return view
}

func (c *call) getManagedCluster(context.Context, string, string, *armcontainerservice.ManagedClustersClientGetOptions) (
	resp azfake.Responder[armcontainerservice.ManagedClustersClientGetResponse], fail azfake.ErrorResponder,
) {
	c.lock()
	defer c.mu.Unlock()
	group, err := c.resourceGroup()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	cluster := group.clusters[strings.ToLower(c.names["cluster"])]
	if cluster == nil {
		fail.SetError(resourceNotFound(clusterNamespace+"/managedClusters", c.names["cluster"], c.names["resourceGroup"]))
		return resp, fail
	}
	resp.SetResponse(http.StatusOK, armcontainerservice.ManagedClustersClientGetResponse{ManagedCluster: *cluster.view()}, nil)
	return resp, fail
}

func (c *call) listManagedClusters(string, *armcontainerservice.ManagedClustersClientListByResourceGroupOptions) (
	resp azfake.PagerResponder[armcontainerservice.ManagedClustersClientListByResourceGroupResponse],
) {
	c.lock()
	defer c.mu.Unlock()
	group, err := c.resourceGroup()
	if err != nil {
		resp.AddError(err)
		return resp
	}
	clusters, next := page(c, sorted(group.clusters), func(m *ManagedCluster) string { return strings.ToLower(m.Name) })
	list := armcontainerservice.ManagedClusterListResult{NextLink: next, Value: []*armcontainerservice.ManagedCluster{}}
	for _, m := range clusters {
		list.Value = append(list.Value, m.view())
	}
	resp.AddPage(http.StatusOK, armcontainerservice.ManagedClustersClientListByResourceGroupResponse{ManagedClusterListResult: list}, nil)
	return resp
}
