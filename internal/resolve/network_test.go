// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

var (
	subnet    = v1alpha1.Subnet{ResourceGroup: "network", VirtualNetworkName: "virtual-nodes", Name: "groups"}
	subnetRef = azure.SubnetRef{Network: azure.VirtualNetworkRef{ResourceGroup: "network", Name: "virtual-nodes"}, Name: "groups"}
)

func inNetwork(network v1alpha1.Network) edit {
	return func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Network = &network }
}

func TestNetwork(t *testing.T) {
	const cidr, domain, dns, uri = "10.1.0.0/16", "example.internal", "10.2.0.10", "https://given:443"
	whole := v1alpha1.Network{Subnet: subnet, ClusterCIDR: cidr, ClusterDomain: domain, DNSServiceIP: dns, APIServerURI: uri}
	with := func(change func(*v1alpha1.Network)) edit {
		network := whole
		change(&network)
		return inNetwork(network)
	}
	inCluster := discover.Facts{DNSServiceIP: "10.3.0.10", APIServerURI: "https://192.0.2.1:6443"}
	missing := func(reason, message string) *discover.Missing {
		return &discover.Missing{Reason: reason, Message: message}
	}
	const addresses = "spec.network.clusterCIDR and apiServerURI"
	const names = "spec.network.subnet.virtualNetworkName and resourceGroup"
	place := []edit{ofCluster, group("own"), location("eastus")}
	ofPool := func(n *v1alpha1.Network) { n.Subnet = v1alpha1.Subnet{Name: "groups"} }
	poolRef := azure.SubnetRef{Network: azure.VirtualNetworkRef{ResourceGroup: "network", Name: "cluster"}, Name: "groups"}

	for name, test := range map[string]struct {
		edits   []edit
		cluster clusterAnswer
		facts   discover.Facts
		want    *resolve.Network
		missing *discover.Missing
	}{
		"none": {facts: inCluster},
		"all in the spec": {
			edits: []edit{with(func(*v1alpha1.Network) {})}, facts: inCluster,
			want: &resolve.Network{Subnet: subnetRef, ClusterCIDR: cidr, ClusterDomain: domain, DNSServiceIP: dns, APIServerURI: uri},
		},
		"all of the Kubernetes cluster": {
			edits: []edit{inNetwork(v1alpha1.Network{Subnet: subnet})}, facts: inCluster,
			want: &resolve.Network{Subnet: subnetRef, ClusterDomain: "cluster.local", DNSServiceIP: "10.3.0.10", APIServerURI: "https://192.0.2.1:6443"},
		},
		"all of the managed cluster": {
			edits: append(place, inNetwork(v1alpha1.Network{Subnet: v1alpha1.Subnet{Name: "groups"}})), cluster: said(aks),
			want: &resolve.Network{
				Subnet: poolRef, ClusterCIDR: aks.PodCIDR, ClusterDomain: "cluster.local", DNSServiceIP: aks.DNSServiceIP, APIServerURI: aks.APIServerURI,
			},
		},
		"of both, each what it knows better": {
			edits: append(place, inNetwork(v1alpha1.Network{Subnet: subnet})), cluster: said(aks), facts: inCluster,
			want: &resolve.Network{
				Subnet: subnetRef, ClusterCIDR: aks.PodCIDR, ClusterDomain: "cluster.local", DNSServiceIP: "10.3.0.10", APIServerURI: aks.APIServerURI,
			},
		},
		"no DNS server": {
			edits: []edit{with(func(n *v1alpha1.Network) { n.DNSServiceIP = "" })}, facts: discover.Facts{APIServerURI: "https://192.0.2.1:6443"},
			missing: missing(v1alpha1.ReasonDefaultNotFound,
				"there is no Service kube-system/kube-dns to take the address of the DNS server from: set spec.network.dnsServiceIP"),
		},
		"no API server": {
			edits: []edit{with(func(n *v1alpha1.Network) { n.APIServerURI = "" })},
			missing: missing(v1alpha1.ReasonDefaultNotFound,
				"EndpointSlice default/kubernetes has no address of the API server: set spec.network.apiServerURI"),
		},
		"a cluster whose default pool is in a network of AKS's own": {
			edits: append(place, with(ofPool)), cluster: said(azure.ManagedCluster{ID: clusterID}), facts: inCluster,
			missing: missing(v1alpha1.ReasonDefaultNotFound, "the default pool of managed cluster cluster is in a virtual network of AKS's own, "+
				"where container groups can't be: set "+names),
		},
		"a cluster that Azure has not told of": {
			edits: append(place, with(ofPool)), facts: inCluster, missing: pending(names, ""),
		},
		"a cluster that Azure is silent about": {
			edits: append(place, with(ofPool)), cluster: silent[azure.ManagedCluster](), facts: inCluster, missing: pending(names, "Azure is silent"),
		},
		"a cluster that may not be read": {
			edits: append(place, with(ofPool)), cluster: refused[azure.ManagedCluster](v1alpha1.ReasonManagedClusterForbidden), facts: inCluster,
			missing: missing(v1alpha1.ReasonManagedClusterForbidden, "Azure says ManagedClusterForbidden; or set "+names),
		},
		"addresses of a silent cluster": {
			edits: append(place, inNetwork(v1alpha1.Network{Subnet: subnet})), cluster: silent[azure.ManagedCluster](), facts: inCluster,
			missing: pending(addresses, "Azure is silent"),
		},
		"a range of a silent cluster": {
			edits: append(place, with(func(n *v1alpha1.Network) { n.ClusterCIDR = "" })), cluster: silent[azure.ManagedCluster](), facts: inCluster,
			missing: pending(addresses, "Azure is silent"),
		},
		"addresses of a cluster that does not exist": {
			edits:   append(place, with(func(n *v1alpha1.Network) { n.APIServerURI = "" })),
			cluster: refused[azure.ManagedCluster](v1alpha1.ReasonManagedClusterNotFound), facts: inCluster,
			missing: missing(v1alpha1.ReasonManagedClusterNotFound, "Azure says ManagedClusterNotFound; or set "+addresses),
		},
		"a silent cluster that nothing is left to": {
			edits: append(place, with(func(*v1alpha1.Network) {})), cluster: silent[azure.ManagedCluster](),
			want: &resolve.Network{Subnet: subnetRef, ClusterCIDR: cidr, ClusterDomain: domain, DNSServiceIP: dns, APIServerURI: uri},
		},
		"a cluster of which there is an old answer": {
			edits: append(place, inNetwork(v1alpha1.Network{Subnet: subnet})), cluster: stale(aks), facts: inCluster,
			want: &resolve.Network{
				Subnet: subnetRef, ClusterCIDR: aks.PodCIDR, ClusterDomain: "cluster.local", DNSServiceIP: "10.3.0.10", APIServerURI: aks.APIServerURI,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			told := facts
			told.DNSServiceIP, told.APIServerURI, told.ManagedCluster = test.facts.DNSServiceIP, test.facts.APIServerURI, test.cluster
			resolved := resolve.Resolve(connector(test.edits...), told, defaults)
			g.Expect(resolved.Missing).To(Equal(test.missing))
			g.Expect(resolved.Nodes).To(HaveLen(1), "what runs is not removed for what is not known")
			g.Expect(resolved.Nodes[0].Network).To(Equal(test.want))
			g.Expect(resolved.Networked).To(Equal(name != "none"))
			if test.want != nil {
				g.Expect(resolved.Subnet).To(Equal(&test.want.Subnet), "what Azure is asked about is what the node gets")
			}
		})
	}
}

func TestOperatingSystemsOfTheNetwork(t *testing.T) {
	const linux, windows = v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows
	both := []v1alpha1.OSType{linux, windows}
	for name, test := range map[string]struct {
		osTypes, given, want []v1alpha1.OSType
		// facts are nothing where no address is needed.
		facts discover.Facts
	}{
		"none given":            {osTypes: both, want: []v1alpha1.OSType{linux}, facts: discover.Facts{DNSServiceIP: "10.3.0.10", APIServerURI: "https://192.0.2.1:6443"}},
		"both":                  {osTypes: both, given: both, want: both, facts: discover.Facts{DNSServiceIP: "10.3.0.10", APIServerURI: "https://192.0.2.1:6443"}},
		"Windows, beside Linux": {osTypes: both, given: []v1alpha1.OSType{windows}, want: []v1alpha1.OSType{windows}},
		"Windows alone":         {osTypes: []v1alpha1.OSType{windows}, given: []v1alpha1.OSType{windows}, want: []v1alpha1.OSType{windows}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			told := facts
			told.DNSServiceIP, told.APIServerURI = test.facts.DNSServiceIP, test.facts.APIServerURI
			resolved := resolve.Resolve(connector(inNetwork(v1alpha1.Network{Subnet: subnet, OSTypes: test.given}),
				func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.OSTypes = test.osTypes }), told, defaults)
			g.Expect(resolved.Missing).To(BeNil())
			g.Expect(resolved.NetworkOSTypes).To(Equal(test.want))
			var placed []v1alpha1.OSType
			for _, n := range resolved.Nodes {
				if n.Network == nil {
					continue
				}
				placed = append(placed, n.OSType)
				if n.OSType == windows {
					g.Expect(*n.Network).To(Equal(resolve.Network{Subnet: subnetRef}), "Windows container groups get no addresses")
				} else {
					g.Expect(n.Network.DNSServiceIP).NotTo(BeEmpty())
				}
			}
			g.Expect(placed).To(Equal(test.want))
		})
	}
}

// Without managedCluster and in a deleted connector, the subnet is the spec's or nobody's.
func TestSubnetOfADeletedConnector(t *testing.T) {
	g := NewWithT(t)
	resolved := resolve.Resolve(connector(inNetwork(v1alpha1.Network{Subnet: subnet}), deleted), facts, defaults)
	g.Expect(resolved.Missing).To(BeNil(), "addresses are of no matter any more")
	g.Expect(resolved.Subnet).To(Equal(&subnetRef))
	g.Expect(resolved.NetworkOSTypes).To(BeEmpty())
}
