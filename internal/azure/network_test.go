// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v8"
	. "github.com/onsi/gomega"

	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const networkScope = groupScope + "/providers/Microsoft.Network/virtualNetworks/virtual-nodes"

func subnetRef(name string) SubnetRef {
	return SubnetRef{Network: VirtualNetworkRef{ResourceGroup: rgName, Name: "virtual-nodes"}, Name: name}
}

func TestSessionReadsASubnet(t *testing.T) {
	const (
		read       = "Microsoft.Network/virtualNetworks/subnets/read"
		join       = "Microsoft.Network/virtualNetworks/subnets/join/action"
		write      = "Microsoft.Network/virtualNetworks/subnets/write"
		delegation = "Microsoft.ContainerInstance/containerGroups"
		routes     = groupScope + "/providers/Microsoft.Network/routeTables/firewall"
	)
	reader := roles{simulated.Reader(simulated.DefaultClientID, subscriptionScope)}
	for name, test := range map[string]struct {
		subnet    string
		roles     roles
		azure     func(*testing.T, *rig)
		want      Subnet
		delegated bool
	}{
		"delegated": {
			subnet: "container-groups", delegated: true,
			want: Subnet{Location: "eastus", AddressPrefix: "10.241.0.0/16", Delegations: []string{delegation}},
		},
		"in another case": {
			subnet: "Container-Groups", delegated: true,
			want: Subnet{Location: "eastus", AddressPrefix: "10.241.0.0/16", Delegations: []string{delegation}},
		},
		"free": {
			subnet: "free", want: Subnet{Location: "eastus", AddressPrefix: "10.242.0.0/24"},
		},
		"delegated to another service": {
			subnet: "taken", want: Subnet{Location: "eastus", AddressPrefix: "10.243.0.0/24", Delegations: []string{"Microsoft.Web/serverFarms"}},
		},
		"with machines in it": {
			subnet: "cluster", want: Subnet{Location: "eastus", AddressPrefix: "10.240.0.0/16", UsedBy: []string{"network interfaces"}},
		},
		"delegated, with container groups in it": {
			subnet: "full", delegated: true,
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				r.addSubnet(t, simulated.Subnet{Name: "full", AddressPrefix: "10.244.0.0/24", DelegatedTo: delegation, IPConfigurations: 2})
			},
			want: Subnet{Location: "eastus", AddressPrefix: "10.244.0.0/24", Delegations: []string{delegation}},
		},
		"with a route table": {
			subnet: "routed", delegated: true,
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				r.addSubnet(t, simulated.Subnet{Name: "routed", AddressPrefix: "10.244.0.0/24", DelegatedTo: delegation, RouteTableID: routes})
			},
			want: Subnet{Location: "eastus", AddressPrefix: "10.244.0.0/24", Delegations: []string{delegation}, RouteTable: routes},
		},
		"delegated, for who may only look": {
			subnet: "container-groups", roles: reader, delegated: true,
			want: Subnet{Location: "eastus", AddressPrefix: "10.241.0.0/16", Delegations: []string{delegation}, Missing: []string{join}},
		},
		"free, for who may only look": {
			subnet: "free", roles: reader, want: Subnet{Location: "eastus", AddressPrefix: "10.242.0.0/24", Missing: []string{join, write}},
		},
		"free, for who may join": {
			subnet: "free", roles: append(reader, role(networkScope, []string{join}, nil)),
			want: Subnet{Location: "eastus", AddressPrefix: "10.242.0.0/24", Missing: []string{write}},
		},
		"for who may see nothing but it": {
			subnet: "container-groups", roles: roles{role(networkScope+"/subnets/container-groups", []string{read, join}, nil)}, delegated: true,
			want: Subnet{AddressPrefix: "10.241.0.0/16", Delegations: []string{delegation}},
		},
		"where the rights can't be looked at": {
			subnet: "free",
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				r.fault(t, simulated.Fault{Operation: "Permissions.ListForResource", Status: http.StatusForbidden})
			},
			want: Subnet{Location: "eastus", AddressPrefix: "10.242.0.0/24"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRig(t)
			if test.roles != nil {
				g.Expect(r.SetRoleAssignments(simulated.DefaultClientID, test.roles...)).To(Succeed())
			}
			if test.azure != nil {
				test.azure(t, r)
			}
			got, err := connected(t, r).Subnet(t.Context(), subscription, subnetRef(test.subnet))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(test.want))
			g.Expect(got.Delegated()).To(Equal(test.delegated))
		})
	}
}

func (r *rig) addSubnet(t *testing.T, subnet simulated.Subnet) {
	t.Helper()
	network := simulated.DefaultConfig().VirtualNetworks[0]
	network.Subnets = append(network.Subnets, subnet)
	NewWithT(t).Expect(r.SetVirtualNetwork(network)).To(Succeed())
}

func TestSubnetErrors(t *testing.T) {
	for name, test := range map[string]struct {
		fault simulated.Fault
		want  string
	}{
		"of the network":    {simulated.Fault{Operation: "VirtualNetworks.Get", Status: http.StatusConflict}, "get virtual network virtual-nodes: "},
		"of the rights":     {simulated.Fault{Operation: "Permissions.ListForResource", Status: http.StatusConflict}, "list the permissions on " + subnetRef("free").String() + ": "},
		"of a proxy":        {simulated.Fault{Operation: "VirtualNetworks.Get", Status: http.StatusForbidden, Body: "<html>"}, "get virtual network virtual-nodes: "},
		"of the subnet":     {simulated.Fault{Operation: "*s.Get", Status: http.StatusForbidden}, "get subnet free: "},
		"of a proxy's page": {simulated.Fault{Operation: "Permissions.ListForResource", Status: http.StatusForbidden, Body: "<html>"}, "list the permissions on "},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fault(t, test.fault)
			_, err := connected(t, r).Subnet(t.Context(), subscription, subnetRef("free"))
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(test.want)))
		})
	}
	_, err := connected(t, newRig(t)).Subnet(t.Context(), subscription, subnetRef("missing"))
	NewWithT(t).Expect(err).To(MatchError(errNoSubnet))
}

// What the simulated Azure does not have.
func TestNewSubnet(t *testing.T) {
	link := func(kind *string) *armnetwork.ServiceAssociationLink {
		return &armnetwork.ServiceAssociationLink{Properties: &armnetwork.ServiceAssociationLinkPropertiesFormat{LinkedResourceType: kind}}
	}
	for name, test := range map[string]struct {
		properties *armnetwork.SubnetPropertiesFormat
		want       Subnet
	}{
		"nothing":       {nil, Subnet{}},
		"nothing in it": {&armnetwork.SubnetPropertiesFormat{}, Subnet{}},
		"a list of ranges": {&armnetwork.SubnetPropertiesFormat{
			AddressPrefixes: []*string{new("10.0.0.0/24"), new("fd00::/64")},
		}, Subnet{AddressPrefix: "10.0.0.0/24"}},
		"holes": {&armnetwork.SubnetPropertiesFormat{
			Delegations:             []*armnetwork.Delegation{nil, {}},
			ServiceAssociationLinks: []*armnetwork.ServiceAssociationLink{nil, {}, link(nil)},
			RouteTable:              &armnetwork.RouteTable{},
		}, Subnet{}},
		"container groups": {&armnetwork.SubnetPropertiesFormat{
			ServiceAssociationLinks: []*armnetwork.ServiceAssociationLink{link(new("microsoft.containerinstance/containergroups"))},
		}, Subnet{}},
		"another service": {&armnetwork.SubnetPropertiesFormat{
			ServiceAssociationLinks: []*armnetwork.ServiceAssociationLink{link(new("Microsoft.Web/serverFarms"))},
		}, Subnet{UsedBy: []string{"Microsoft.Web/serverFarms"}}},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(newSubnet(test.properties)).To(Equal(test.want))
		})
	}
}
