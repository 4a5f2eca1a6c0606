// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"
	"strings"
)

const (
	notAmong  = "network.osTypes must be among osTypes: it is [Linux] where it is not set, so set it to [Windows] for Windows alone"
	noNetwork = "network.subnet.resourceGroup and network.subnet.virtualNetworkName must be set where there is no managedCluster to take them from"
	noPair    = "network.subnet.resourceGroup and network.subnet.virtualNetworkName must be set together, or both be left to managedCluster"
)

var networkRules = slices.Concat(
	on("network",
		accept("spec.network.osTypes", []any{"Linux"}),
		together(changes{"spec.osTypes": both, "spec.network.osTypes": both}, "", ""),
		together(changes{"spec.osTypes": both, "spec.network.osTypes": windows}, "", ""),
		together(changes{"spec.osTypes": windows, "spec.network.osTypes": windows}, "", ""),
		together(changes{"spec.osTypes": windows}, "spec", notAmong),
		together(changes{"spec.network.osTypes": windows}, "spec", notAmong),
		together(changes{"spec.network.osTypes": both}, "spec", notAmong),
		refuse("spec.network.osTypes", tooFew(1), []any{}),
		refuse("spec.network.osTypes", tooMany(2), []any{"Linux", "Windows", "Linux"}),
		together(changes{"spec.network.osTypes": []any{"Linux", "Linux"}}, "spec.network.osTypes[1]", duplicate),
		together(changes{"spec.network.osTypes": []any{"Darwin"}}, "spec.network.osTypes[0]", unsupported),

		required("spec.network.subnet", "spec.network.subnet.name"),
		together(changes{"spec.network.subnet.resourceGroup": nil}, "spec", noNetwork),
		together(changes{"spec.network.subnet.virtualNetworkName": nil}, "spec", noNetwork),
		together(changes{"spec.network.subnet.resourceGroup": nil, "spec.network.subnet.virtualNetworkName": nil}, "spec", noNetwork),
		resourceGroup("spec.network.subnet.resourceGroup"),
		text("spec.network.subnet.virtualNetworkName", 2, 64),
		accept("spec.network.subnet.virtualNetworkName", "1.a-b_"),
		refuse("spec.network.subnet.virtualNetworkName",
			"must be the name of a virtual network: letters, digits, underscores, periods and hyphens, beginning with a letter or digit and ending with one or an underscore",
			"_a", "a-", "a.", "a b"),
		text("spec.network.subnet.name", 1, 80),
		accept("spec.network.subnet.name", "1.a-b_"),
		refuse("spec.network.subnet.name",
			"must be the name of a subnet: letters, digits, underscores, periods and hyphens, beginning with a letter or digit and ending with one or an underscore",
			"_a", "a-", "a.", "a b", "/subscriptions/1/subnets/a"),

		accept("spec.network.clusterCIDR", "10.244.0.0/16", "0.0.0.0/0", "100.100.100.100/32"),
		refuse("spec.network.clusterCIDR", tooShort(9), "1.1.1.1", ""),
		refuse("spec.network.clusterCIDR", tooLong(18), "100.100.100.100/032"),
		refuse("spec.network.clusterCIDR", "must be an IPv4 range without host bits, such as 10.244.0.0/16",
			"10.244.0.1/16", "10.244.0.0/33", "10.244.0.0", "fd00:10::/64", "somewhere"),

		text("spec.network.clusterDomain", 1, 253),
		accept("spec.network.clusterDomain", "cluster.local", "a-1.b"),
		refuse("spec.network.clusterDomain", "must be a DNS domain such as cluster.local, in lower case and without a period at the end",
			"cluster.local.", "Cluster.local", ".local", "a..b", "a_b"),

		accept("spec.network.dnsServiceIP", "10.0.0.10", "1.1.1.1", "100.100.100.100"),
		refuse("spec.network.dnsServiceIP", tooShort(7), "1.1.1.", ""),
		refuse("spec.network.dnsServiceIP", tooLong(15), "100.100.100.1000"),
		refuse("spec.network.dnsServiceIP", "must be an IPv4 address such as 10.0.0.10", "10.0.0.256", "fd00::10", "10.0.0.0/8", "kube-dns"),

		accept("spec.network.apiServerURI", "https://a", "https://10.0.0.1:443", "https://cluster-dns-1a2b3c4d.hcp.eastus.azmk8s.io:443",
			"https://"+letters(292)),
		refuse("spec.network.apiServerURI", tooShort(9), "https://", ""),
		refuse("spec.network.apiServerURI", tooLong(300), "https://"+letters(293)),
		refuse("spec.network.apiServerURI", "must be https:// with a host name or IPv4 address and perhaps a port, such as https://10.0.0.1:443",
			"http://10.0.0.1", "10.0.0.1:443", "https://a/", "https://a:", "https://a:123456", "https://[fd00::1]:443", "https://user@a",
			"https://a..b", "https://a:0", "https://a:65536"),
	),
	on("managed cluster",
		accept("spec.network", map[string]any{"subnet": map[string]any{"name": "container-groups"}}),
		accept("spec.network.subnet", subnet("network", "virtual-nodes")),
		together(changes{"spec.network.subnet": subnet("network", "")}, "spec", noPair),
		together(changes{"spec.network.subnet": subnet("", "virtual-nodes")}, "spec", noPair),
	),
)

func subnet(resourceGroup, network string) map[string]any {
	subnet := map[string]any{"name": "container-groups"}
	for field, value := range map[string]string{"resourceGroup": resourceGroup, "virtualNetworkName": network} {
		if value = strings.TrimSpace(value); value != "" {
			subnet[field] = value
		}
	}
	return subnet
}
