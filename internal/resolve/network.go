// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
)

// Network places a node's container groups in a subnet.
type Network struct {
	Subnet azure.SubnetRef
	// ClusterCIDR, ClusterDomain, DNSServiceIP and APIServerURI are for Linux; without a ClusterCIDR the virtual
	// kubelet has one of its own.
	ClusterCIDR, ClusterDomain, DNSServiceIP, APIServerURI string
}

func (n Network) of(os v1alpha1.OSType) *Network {
	if os == v1alpha1.OSTypeWindows {
		return &Network{Subnet: n.Subnet}
	}
	return &n
}

func networkOSTypes(network *v1alpha1.Network) []v1alpha1.OSType {
	if len(network.OSTypes) == 0 {
		return []v1alpha1.OSType{v1alpha1.OSTypeLinux}
	}
	return network.OSTypes
}

// network decides the addresses of the network; nil where none is asked for.
func network(spec *v1alpha1.VirtualKubeletConnectorSpec, facts discover.Facts, place discover.Place) (*Network, *discover.Missing) {
	given := spec.Network
	if given == nil {
		return nil, nil
	}
	cluster := facts.ManagedCluster
	if place.Subnet == nil {
		const field = "spec.network.subnet.virtualNetworkName and resourceGroup"
		if !cluster.Have {
			return nil, unanswered(field, cluster.Problem)
		}
		return nil, &discover.Missing{Reason: v1alpha1.ReasonDefaultNotFound, Message: fmt.Sprintf(
			"the default pool of managed cluster %s is in a virtual network of AKS's own, where container groups can't be: set %s",
			spec.ManagedCluster.Name, field)}
	}
	network := &Network{
		Subnet:        *place.Subnet,
		ClusterCIDR:   cmp.Or(given.ClusterCIDR, cluster.Value.PodCIDR),
		ClusterDomain: cmp.Or(given.ClusterDomain, "cluster.local"),
		DNSServiceIP:  cmp.Or(given.DNSServiceIP, facts.DNSServiceIP, cluster.Value.DNSServiceIP),
		APIServerURI:  cmp.Or(given.APIServerURI, cluster.Value.APIServerURI, facts.APIServerURI),
	}
	if !slices.Contains(networkOSTypes(given), v1alpha1.OSTypeLinux) {
		return network, nil
	}
	switch {
	case spec.ManagedCluster != nil && !cluster.Have && (given.ClusterCIDR == "" || given.APIServerURI == ""):
		// What would come from the cluster later would restart the virtual kubelet.
		return nil, unanswered("spec.network.clusterCIDR and apiServerURI", cluster.Problem)
	case network.DNSServiceIP == "":
		return nil, &discover.Missing{Reason: v1alpha1.ReasonDefaultNotFound, Message: fmt.Sprintf(
			"there is no Service %s/%s to take the address of the DNS server from: set spec.network.dnsServiceIP", discover.DNSNamespace, discover.DNSService)}
	case network.APIServerURI == "":
		return nil, &discover.Missing{Reason: v1alpha1.ReasonDefaultNotFound, Message: fmt.Sprintf(
			"EndpointSlice %s/%s has no address of the API server: set spec.network.apiServerURI", discover.APIServerNamespace, discover.APIServerEndpoints)}
	}
	return network, nil
}
