// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v8"
	"k8s.io/utils/ptr"

	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

const networkNamespace = "Microsoft.Network"

// ContainerGroupDelegation is what a subnet for container groups is delegated to.
const ContainerGroupDelegation = ProviderNamespace + "/containerGroups"

// SubnetRef names a subnet.
type SubnetRef struct {
	Network VirtualNetworkRef
	Name    string
}

// String names the subnet.
func (r SubnetRef) String() string {
	return fmt.Sprintf("subnet %s of virtual network %s in resource group %s", r.Name, r.Network.Name, r.Network.ResourceGroup)
}

// Subnet is a subnet, as far as container groups can be placed in it.
type Subnet struct {
	// Location is the region of its virtual network; empty where the identity may not read that.
	Location string
	// AddressPrefix is its range, in CIDR notation.
	AddressPrefix string
	// Delegations are the services that it is delegated to, such as ContainerGroupDelegation.
	Delegations []string
	// UsedBy are the kinds of resources other than container groups that use it.
	UsedBy []string
	// RouteTable is the resource id of its route table; empty where it has none.
	RouteTable string
	// Missing are the actions on it that the identity is not allowed and needs; nil where that could not be asked.
	Missing []string
}

// Delegated reports whether the subnet is delegated to container groups.
func (s Subnet) Delegated() bool {
	return slices.ContainsFunc(s.Delegations, func(d string) bool { return strings.EqualFold(d, ContainerGroupDelegation) })
}

// errNoSubnet says that a virtual network has no such subnet.
var errNoSubnet = errors.New("the virtual network has no such subnet")

// Subnet reads a subnet and what the identity may do with it.
func (s *Session) Subnet(ctx context.Context, subscriptionID string, ref SubnetRef) (Subnet, error) {
	found, err := s.subnet(ctx, subscriptionID, ref)
	if err != nil {
		return Subnet{}, err
	}
	client, err := armauthorization.NewPermissionsClient(subscriptionID, s.tokens, s.arm())
	if err != nil {
		return Subnet{}, fmt.Errorf("subscription %s: %w", subscriptionID, err)
	}
	actions := []string{networkNamespace + "/virtualNetworks/subnets/read", networkNamespace + "/virtualNetworks/subnets/join/action"}
	if !found.Delegated() {
		actions = append(actions, networkNamespace+"/virtualNetworks/subnets/write")
	}
	var permissions []*armauthorization.Permission
	pager := client.NewListForResourcePager(ref.Network.ResourceGroup, networkNamespace, "virtualNetworks/"+ref.Network.Name, "subnets", ref.Name, nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return found, ignoreForbidden(fmt.Errorf("list the permissions on %s: %w", ref, err))
		}
		permissions = append(permissions, page.Value...)
	}
	found.Missing = missing(permissions, actions)
	return found, nil
}

func (s *Session) subnet(ctx context.Context, subscriptionID string, ref SubnetRef) (Subnet, error) {
	networks, err := armnetwork.NewVirtualNetworksClient(subscriptionID, s.tokens, s.arm())
	if err != nil {
		return Subnet{}, fmt.Errorf("subscription %s: %w", subscriptionID, err)
	}
	network, err := networks.Get(ctx, ref.Network.ResourceGroup, ref.Network.Name, nil)
	if isForbidden(err) {
		return s.subnetAlone(ctx, subscriptionID, ref)
	}
	if err != nil {
		return Subnet{}, fmt.Errorf("get virtual network %s: %w", ref.Network.Name, err)
	}
	if network.Properties != nil {
		for _, subnet := range network.Properties.Subnets {
			if subnet != nil && strings.EqualFold(ptr.Deref(subnet.Name, ""), ref.Name) {
				found := newSubnet(subnet.Properties)
				found.Location = identity.NormalizeLocation(ptr.Deref(network.Location, ""))
				return found, nil
			}
		}
	}
	return Subnet{}, errNoSubnet
}

// subnetAlone is for identities with rights on nothing but the subnet.
func (s *Session) subnetAlone(ctx context.Context, subscriptionID string, ref SubnetRef) (Subnet, error) {
	subnets, err := armnetwork.NewSubnetsClient(subscriptionID, s.tokens, s.arm())
	if err != nil {
		return Subnet{}, fmt.Errorf("subscription %s: %w", subscriptionID, err)
	}
	subnet, err := subnets.Get(ctx, ref.Network.ResourceGroup, ref.Network.Name, ref.Name, nil)
	if err != nil {
		return Subnet{}, fmt.Errorf("get subnet %s: %w", ref.Name, err)
	}
	return newSubnet(subnet.Properties), nil
}

func newSubnet(p *armnetwork.SubnetPropertiesFormat) Subnet {
	if p == nil {
		return Subnet{}
	}
	subnet := Subnet{AddressPrefix: ptr.Deref(p.AddressPrefix, "")}
	if subnet.AddressPrefix == "" && len(p.AddressPrefixes) > 0 {
		subnet.AddressPrefix = ptr.Deref(p.AddressPrefixes[0], "")
	}
	for _, delegation := range p.Delegations {
		if delegation != nil && delegation.Properties != nil {
			subnet.Delegations = append(subnet.Delegations, ptr.Deref(delegation.Properties.ServiceName, ""))
		}
	}
	if p.RouteTable != nil {
		subnet.RouteTable = ptr.Deref(p.RouteTable.ID, "")
	}
	for _, link := range p.ServiceAssociationLinks {
		if link == nil || link.Properties == nil {
			continue
		}
		if linked := ptr.Deref(link.Properties.LinkedResourceType, ""); linked != "" && !strings.EqualFold(linked, ContainerGroupDelegation) {
			subnet.UsedBy = append(subnet.UsedBy, linked)
		}
	}
	if !subnet.Delegated() {
		// Which of many interfaces is first may change from one answer to the next.
		if len(p.IPConfigurations) > 0 {
			subnet.UsedBy = append(subnet.UsedBy, "network interfaces")
		}
	}
	return subnet
}

func isForbidden(err error) bool {
	var response *azcore.ResponseError
	return errors.As(err, &response) && response.StatusCode == http.StatusForbidden && response.ErrorCode != ""
}

func ignoreForbidden(err error) error {
	if isForbidden(err) {
		return nil
	}
	return err
}
