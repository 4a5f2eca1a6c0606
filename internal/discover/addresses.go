// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// Where a cluster has its DNS server, by the convention that every distribution keeps for the sake of the programs
// that look there, and where its API servers write their own addresses.
const (
	DNSNamespace          = metav1.NamespaceSystem
	DNSService            = "kube-dns"
	APIServerNamespace    = metav1.NamespaceDefault
	APIServerEndpoints    = "kubernetes"
	apiServerEndpointPort = "https"
)

// addresses reads the addresses that Linux container groups in a subnet need of the cluster.
func (d *Discoverer) addresses(ctx context.Context, connector *v1alpha1.VirtualKubeletConnector, facts *Facts) (*Missing, error) {
	if connector.Spec.Network == nil {
		return nil, nil
	}
	var dns corev1.Service
	err := d.Cache.Get(ctx, client.ObjectKey{Namespace: DNSNamespace, Name: DNSService}, &dns)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get Service %s/%s: %w", DNSNamespace, DNSService, err)
	}
	for _, address := range dns.Spec.ClusterIPs {
		// Container groups have IPv4 addresses only.
		if parsed, err := netip.ParseAddr(address); err == nil && parsed.Is4() {
			facts.DNSServiceIP = address
			break
		}
	}
	var endpoints discoveryv1.EndpointSlice
	err = d.Cache.Get(ctx, client.ObjectKey{Namespace: APIServerNamespace, Name: APIServerEndpoints}, &endpoints)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get EndpointSlice %s/%s: %w", APIServerNamespace, APIServerEndpoints, err)
	}
	facts.APIServerURI = apiServerURI(&endpoints)
	return nil, nil
}

func apiServerURI(endpoints *discoveryv1.EndpointSlice) string {
	if endpoints.AddressType != discoveryv1.AddressTypeIPv4 {
		return ""
	}
	for _, port := range endpoints.Ports {
		if ptr.Deref(port.Name, "") != apiServerEndpointPort || port.Port == nil {
			continue
		}
		for _, endpoint := range endpoints.Endpoints {
			if len(endpoint.Addresses) > 0 && ptr.Deref(endpoint.Conditions.Ready, true) {
				return "https://" + net.JoinHostPort(endpoint.Addresses[0], strconv.Itoa(int(*port.Port)))
			}
		}
	}
	return ""
}
