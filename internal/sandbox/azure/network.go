// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v8/fake"
)

// subnet finds a subnet by its resource ID.
func (w *world) subnet(resourceID string) (Subnet, *VirtualNetwork, bool) {
	id, err := arm.ParseResourceID(resourceID)
	if err != nil || id.Parent == nil || !strings.EqualFold(id.ResourceType.String(), networkNamespace+"/virtualNetworks/subnets") {
		return Subnet{}, nil, false
	}
	group, err := w.resourceGroup(id.SubscriptionID, id.ResourceGroupName)
	if err != nil {
		return Subnet{}, nil, false
	}
	network := group.networks[strings.ToLower(id.Parent.Name)]
	if network == nil {
		return Subnet{}, nil, false
	}
	i := network.subnetIndex(id.Name)
	if i < 0 {
		return Subnet{}, nil, false
	}
	return network.Subnets[i], network, true
}

func (n *VirtualNetwork) subnetIndex(name string) int {
	return slices.IndexFunc(n.Subnets, func(s Subnet) bool { return strings.EqualFold(s.Name, name) })
}

func (n *VirtualNetwork) id() string {
	return "/subscriptions/" + n.SubscriptionID + "/resourceGroups/" + n.ResourceGroup + "/providers/" + networkNamespace + "/virtualNetworks/" + n.Name
}

func (n *VirtualNetwork) view() *armnetwork.VirtualNetwork {
	view := &armnetwork.VirtualNetwork{
		ID: new(n.id()), Name: new(n.Name), Type: new(networkNamespace + "/virtualNetworks"), Location: new(n.Location),
		Properties: &armnetwork.VirtualNetworkPropertiesFormat{
			AddressSpace:      &armnetwork.AddressSpace{AddressPrefixes: to.SliceOfPtrs(n.AddressPrefixes...)},
			ProvisioningState: to.Ptr(armnetwork.ProvisioningStateSucceeded),
		},
	}
	for _, s := range n.Subnets {
		view.Properties.Subnets = append(view.Properties.Subnets, n.subnetView(s))
	}
	return view
}

func (n *VirtualNetwork) subnetView(s Subnet) *armnetwork.Subnet {
	view := &armnetwork.Subnet{
		ID: new(n.id() + "/subnets/" + s.Name), Name: new(s.Name), Type: new(networkNamespace + "/virtualNetworks/subnets"),
		Properties: &armnetwork.SubnetPropertiesFormat{
			AddressPrefix:     new(s.AddressPrefix),
			ProvisioningState: to.Ptr(armnetwork.ProvisioningStateSucceeded),
			Delegations:       []*armnetwork.Delegation{},
		},
	}
	if s.DelegatedTo != "" {
		view.Properties.Delegations = append(view.Properties.Delegations, &armnetwork.Delegation{
			ID: new(*view.ID + "/delegations/delegation"), Name: new("delegation"),
			Properties: &armnetwork.ServiceDelegationPropertiesFormat{
				ServiceName:       new(s.DelegatedTo),
				Actions:           []*string{new(networkNamespace + "/virtualNetworks/subnets/action")},
				ProvisioningState: to.Ptr(armnetwork.ProvisioningStateSucceeded),
			},
		})
	}
	if s.RouteTableID != "" {
		view.Properties.RouteTable = &armnetwork.RouteTable{ID: new(s.RouteTableID)}
	}
	for i := range s.IPConfigurations {
		view.Properties.IPConfigurations = append(view.Properties.IPConfigurations, &armnetwork.IPConfiguration{ID: new(n.ipConfigurationID(s, i))})
	}
	return view
}

func (n *VirtualNetwork) ipConfigurationID(s Subnet, i int) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/networkInterfaces/%s-%s-%d/ipConfigurations/ipconfig1",
		n.SubscriptionID, n.ResourceGroup, networkNamespace, n.Name, s.Name, i)
}

func (c *call) virtualNetwork() (*VirtualNetwork, *apiError) {
	group, err := c.resourceGroup()
	if err != nil {
		return nil, err
	}
	if network := group.networks[strings.ToLower(c.names["network"])]; network != nil {
		return network, nil
	}
	return nil, resourceNotFound(networkNamespace+"/virtualNetworks", c.names["network"], c.names["resourceGroup"])
}

func (c *call) virtualNetworks() doer {
	return fake.NewVirtualNetworksServerTransport(&fake.VirtualNetworksServer{
		Get: c.getVirtualNetwork, NewListPager: c.listVirtualNetworks,
	})
}

func (c *call) getVirtualNetwork(context.Context, string, string, *armnetwork.VirtualNetworksClientGetOptions) (
	resp azfake.Responder[armnetwork.VirtualNetworksClientGetResponse], fail azfake.ErrorResponder,
) {
	c.lock()
	defer c.mu.Unlock()
	network, err := c.virtualNetwork()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	resp.SetResponse(http.StatusOK, armnetwork.VirtualNetworksClientGetResponse{VirtualNetwork: *network.view()}, nil)
	return resp, fail
}

func (c *call) listVirtualNetworks(string, *armnetwork.VirtualNetworksClientListOptions) (
	resp azfake.PagerResponder[armnetwork.VirtualNetworksClientListResponse],
) {
	c.lock()
	defer c.mu.Unlock()
	group, err := c.resourceGroup()
	if err != nil {
		resp.AddError(err)
		return resp
	}
	networks, next := page(c, sorted(group.networks), func(n *VirtualNetwork) string { return strings.ToLower(n.Name) })
	list := armnetwork.VirtualNetworkListResult{NextLink: next, Value: []*armnetwork.VirtualNetwork{}}
	for _, n := range networks {
		list.Value = append(list.Value, n.view())
	}
	resp.AddPage(http.StatusOK, armnetwork.VirtualNetworksClientListResponse{VirtualNetworkListResult: list}, nil)
	return resp
}

func (c *call) subnets() doer {
	return fake.NewSubnetsServerTransport(&fake.SubnetsServer{
		Get: c.getSubnet, NewListPager: c.listSubnets, BeginCreateOrUpdate: c.putSubnet,
	})
}

func (c *call) getSubnet(context.Context, string, string, string, *armnetwork.SubnetsClientGetOptions) (
	resp azfake.Responder[armnetwork.SubnetsClientGetResponse], fail azfake.ErrorResponder,
) {
	c.lock()
	defer c.mu.Unlock()
	network, err := c.virtualNetwork()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	i := network.subnetIndex(c.names["subnet"])
	if i < 0 {
		fail.SetError(newError(http.StatusNotFound, "NotFound", "Resource %s not found.", c.resourceID))
		return resp, fail
	}
	resp.SetResponse(http.StatusOK, armnetwork.SubnetsClientGetResponse{Subnet: *network.subnetView(network.Subnets[i])}, nil)
	return resp, fail
}

func (c *call) listSubnets(string, string, *armnetwork.SubnetsClientListOptions) (
	resp azfake.PagerResponder[armnetwork.SubnetsClientListResponse],
) {
	c.lock()
	defer c.mu.Unlock()
	network, err := c.virtualNetwork()
	if err != nil {
		resp.AddError(err)
		return resp
	}
	list := armnetwork.SubnetListResult{Value: []*armnetwork.Subnet{}}
	for _, s := range network.Subnets {
		list.Value = append(list.Value, network.subnetView(s))
	}
	resp.AddPage(http.StatusOK, armnetwork.SubnetsClientListResponse{SubnetListResult: list}, nil)
	return resp
}

func (c *call) putSubnet(_ context.Context, _, _, name string, wanted armnetwork.Subnet, _ *armnetwork.SubnetsClientBeginCreateOrUpdateOptions) (
	resp azfake.PollerResponder[armnetwork.SubnetsClientCreateOrUpdateResponse], fail azfake.ErrorResponder,
) {
	c.lock()
	defer c.mu.Unlock()
	network, err := c.virtualNetwork()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	subnet, err := network.subnetFrom(name, wanted)
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	status := http.StatusCreated
	if i := network.subnetIndex(name); i >= 0 {
		was := network.Subnets[i]
		if was.IPConfigurations > 0 && !strings.EqualFold(was.DelegatedTo, subnet.DelegatedTo) {
			fail.SetError(newError(http.StatusBadRequest, "SubnetDelegationsCannotChangeWhenSubnetUsedByResource",
				"Delegations of subnet %s cannot be changed from [%s] to [%s] because it is being used by the resource %s.",
				network.id()+"/subnets/"+was.Name, was.DelegatedTo, subnet.DelegatedTo, network.ipConfigurationID(was, 0)))
			return resp, fail
		}
		status, subnet.Name, subnet.IPConfigurations = http.StatusOK, was.Name, was.IPConfigurations
		network.Subnets[i] = subnet
	} else {
		network.Subnets = append(network.Subnets, subnet)
	}
	resp.SetTerminalResponse(status, armnetwork.SubnetsClientCreateOrUpdateResponse{Subnet: *network.subnetView(subnet)}, nil)
	return resp, fail
}

// subnetFrom reads a subnet out of a request, and refuses an address range that is not the network's to give.
func (n *VirtualNetwork) subnetFrom(name string, wanted armnetwork.Subnet) (Subnet, *apiError) {
	p := wanted.Properties
	if p == nil {
		p = &armnetwork.SubnetPropertiesFormat{}
	}
	subnet := Subnet{Name: name}
	switch {
	case p.AddressPrefix != nil:
		subnet.AddressPrefix = *p.AddressPrefix
	case len(p.AddressPrefixes) > 0 && p.AddressPrefixes[0] != nil:
		subnet.AddressPrefix = *p.AddressPrefixes[0]
	}
	prefix, err := netip.ParsePrefix(subnet.AddressPrefix)
	if err != nil {
		return Subnet{}, newError(http.StatusBadRequest, "InvalidCIDRNotation",
			"The address prefix %q of subnet %s has invalid CIDR notation.", subnet.AddressPrefix, name)
	}
	inside := slices.ContainsFunc(n.AddressPrefixes, func(text string) bool {
		whole, err := netip.ParsePrefix(text)
		return err == nil && whole.Contains(prefix.Masked().Addr()) && whole.Bits() <= prefix.Bits()
	})
	if !inside {
		return Subnet{}, newError(http.StatusBadRequest, "NetcfgInvalidSubnet", "Subnet '%s' is not valid in virtual network '%s'.", name, n.Name)
	}
	for _, other := range n.Subnets {
		taken, err := netip.ParsePrefix(other.AddressPrefix)
		if err == nil && taken.Overlaps(prefix) && !strings.EqualFold(other.Name, name) {
			return Subnet{}, newError(http.StatusBadRequest, "NetcfgSubnetRangesOverlap",
				"Subnet '%s' is not valid because its IP address range overlaps with that of an existing subnet in virtual network '%s'.", name, n.Name)
		}
	}
	if p.RouteTable != nil && p.RouteTable.ID != nil {
		subnet.RouteTableID = *p.RouteTable.ID
	}
	for _, d := range p.Delegations {
		if d == nil || d.Properties == nil || d.Properties.ServiceName == nil {
			continue
		}
		if subnet.DelegatedTo != "" && !strings.EqualFold(subnet.DelegatedTo, *d.Properties.ServiceName) {
			return Subnet{}, newError(http.StatusBadRequest, "SubnetHasMultipleDelegations", "%s", fmt.Sprintf(
				"Subnet %s cannot have more than one delegation.", n.id()+"/subnets/"+name))
		}
		subnet.DelegatedTo = *d.Properties.ServiceName
	}
	return subnet, nil
}
