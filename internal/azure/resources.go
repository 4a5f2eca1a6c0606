// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"k8s.io/utils/ptr"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// ProviderNamespace is the resource provider of container groups.
const ProviderNamespace = "Microsoft.ContainerInstance"

const clusterNamespace = "Microsoft.ContainerService"

// ManagedCluster is an AKS cluster, as far as a connector takes defaults from it.
type ManagedCluster struct {
	ID                string
	Location          string
	NodeResourceGroup string
	// LockedDown says that nobody but AKS may write to the node resource group.
	LockedDown bool
	// Network is the virtual network of the default pool; without names where AKS made it.
	Network VirtualNetworkRef
	// PodCIDR, DNSServiceIP and APIServerURI are empty where the cluster does not tell.
	PodCIDR, DNSServiceIP, APIServerURI string
	// PowerState is Running or Stopped; ProvisioningState is Succeeded in a cluster that is at rest.
	PowerState, ProvisioningState string
}

// VirtualNetworkRef names a virtual network.
type VirtualNetworkRef struct{ ResourceGroup, Name string }

// ManagedCluster reads an AKS cluster.
func (s *Session) ManagedCluster(ctx context.Context, ref v1alpha1.ManagedCluster) (ManagedCluster, error) {
	client, err := armcontainerservice.NewManagedClustersClient(string(ref.SubscriptionID), s.tokens, s.arm())
	if err != nil {
		return ManagedCluster{}, fmt.Errorf("subscription %s: %w", ref.SubscriptionID, err)
	}
	response, err := client.Get(ctx, string(ref.ResourceGroup), ref.Name, nil)
	if err != nil {
		return ManagedCluster{}, fmt.Errorf("get managed cluster %s: %w", ref.Name, err)
	}
	if response.ID == nil {
		return ManagedCluster{}, fmt.Errorf("get managed cluster %s: %w", ref.Name, errNotAzures)
	}
	cluster := ManagedCluster{
		ID:       *response.ID,
		Location: identity.NormalizeLocation(ptr.Deref(response.Location, "")),
	}
	p := response.Properties
	if p == nil {
		return cluster, nil
	}
	cluster.NodeResourceGroup = ptr.Deref(p.NodeResourceGroup, "")
	cluster.ProvisioningState = ptr.Deref(p.ProvisioningState, "")
	if p.PowerState != nil {
		cluster.PowerState = string(ptr.Deref(p.PowerState.Code, ""))
	}
	if profile := p.NodeResourceGroupProfile; profile != nil {
		cluster.LockedDown = ptr.Deref(profile.RestrictionLevel, "") == armcontainerservice.RestrictionLevelReadOnly
	}
	if profile := p.NetworkProfile; profile != nil {
		cluster.PodCIDR = ptr.Deref(profile.PodCidr, "")
		cluster.DNSServiceIP = ptr.Deref(profile.DNSServiceIP, "")
	}
	for _, fqdn := range []*string{p.PrivateFQDN, p.Fqdn} {
		if host := ptr.Deref(fqdn, ""); host != "" {
			cluster.APIServerURI = "https://" + host + ":443"
			break
		}
	}
	cluster.Network = defaultPoolNetwork(p.AgentPoolProfiles)
	return cluster, nil
}

// defaultPoolNetwork returns the network of the first pool of mode System: AKS calls it the default one.
func defaultPoolNetwork(pools []*armcontainerservice.ManagedClusterAgentPoolProfile) VirtualNetworkRef {
	for _, pool := range pools {
		if pool == nil || ptr.Deref(pool.Mode, "") != armcontainerservice.AgentPoolModeSystem {
			continue
		}
		id, err := arm.ParseResourceID(ptr.Deref(pool.VnetSubnetID, ""))
		if err == nil && id.Parent != nil {
			return VirtualNetworkRef{ResourceGroup: id.ResourceGroupName, Name: id.Parent.Name}
		}
	}
	return VirtualNetworkRef{}
}

// ResourceGroup is a resource group.
type ResourceGroup struct {
	// Location is the region as Azure names it.
	Location string
}

// ResourceGroup reads a resource group.
func (s *Session) ResourceGroup(ctx context.Context, subscriptionID, name string) (ResourceGroup, error) {
	client, err := armresources.NewResourceGroupsClient(subscriptionID, s.tokens, s.arm())
	if err != nil {
		return ResourceGroup{}, fmt.Errorf("subscription %s: %w", subscriptionID, err)
	}
	response, err := client.Get(ctx, name, nil)
	if err != nil {
		return ResourceGroup{}, fmt.Errorf("get resource group %s: %w", name, err)
	}
	if response.Location == nil {
		return ResourceGroup{}, fmt.Errorf("get resource group %s: %w", name, errNotAzures)
	}
	return ResourceGroup{Location: identity.NormalizeLocation(*response.Location)}, nil
}

// ProviderState is the state of a resource provider's registration.
type ProviderState string

// States of a registration; all others are of a provider that is not registered.
const (
	ProviderRegistered  ProviderState = "Registered"
	ProviderRegistering ProviderState = "Registering"
)

// Provider is the resource provider of container groups in a subscription.
type Provider struct {
	State ProviderState
	// Locations are the regions that container groups can be made in, as Azure names them, sorted.
	Locations []string
}

func (s *Session) providers(subscriptionID string) (*armresources.ProvidersClient, error) {
	client, err := armresources.NewProvidersClient(subscriptionID, s.tokens, s.arm())
	if err != nil {
		return nil, fmt.Errorf("subscription %s: %w", subscriptionID, err)
	}
	return client, nil
}

// Provider reads the resource provider of container groups in a subscription.
func (s *Session) Provider(ctx context.Context, subscriptionID string) (Provider, error) {
	client, err := s.providers(subscriptionID)
	if err != nil {
		return Provider{}, err
	}
	response, err := client.Get(ctx, ProviderNamespace, nil)
	if err != nil {
		return Provider{}, fmt.Errorf("get resource provider %s: %w", ProviderNamespace, err)
	}
	if response.RegistrationState == nil {
		return Provider{}, fmt.Errorf("get resource provider %s: %w", ProviderNamespace, errNotAzures)
	}
	provider := Provider{State: ProviderState(*response.RegistrationState)}
	for _, resource := range response.ResourceTypes {
		if resource == nil || !strings.EqualFold(ptr.Deref(resource.ResourceType, ""), "containerGroups") {
			continue
		}
		for _, location := range resource.Locations {
			provider.Locations = append(provider.Locations, identity.NormalizeLocation(ptr.Deref(location, "")))
		}
	}
	slices.Sort(provider.Locations)
	return provider, nil
}

// RegisterProvider asks Azure to register the resource provider of container groups, which takes minutes.
func (s *Session) RegisterProvider(ctx context.Context, subscriptionID string) error {
	client, err := s.providers(subscriptionID)
	if err != nil {
		return err
	}
	if _, err := client.Register(ctx, ProviderNamespace, nil); err != nil {
		return fmt.Errorf("register resource provider %s: %w", ProviderNamespace, err)
	}
	return nil
}

// Region is what a region offers a subscription.
type Region struct {
	// OSTypes are the operating systems of the container groups that it runs, sorted; none where it does not tell.
	OSTypes []string
	// Exhausted are the quotas of which nothing is left, by name.
	Exhausted []Quota
}

// Quota is a limit of a subscription in a region.
type Quota struct {
	Name  string
	Limit int32
}

// quotas are those that every container group counts towards; others, of machines with GPUs say, are 0 for most.
var quotas = []string{"ContainerGroups", "StandardCores"}

// Region reads what a region offers a subscription.
func (s *Session) Region(ctx context.Context, subscriptionID, location string) (Region, error) {
	client, err := armcontainerinstance.NewLocationClient(subscriptionID, s.tokens, s.arm())
	if err != nil {
		return Region{}, fmt.Errorf("subscription %s: %w", subscriptionID, err)
	}
	var region Region
	capabilities := client.NewListCapabilitiesPager(location, nil)
	for capabilities.More() {
		page, err := capabilities.NextPage(ctx)
		if err != nil {
			return Region{}, fmt.Errorf("list the capabilities of %s: %w", location, err)
		}
		for _, capability := range page.Value {
			if capability == nil || !strings.EqualFold(ptr.Deref(capability.ResourceType, ""), "containerGroups") {
				continue
			}
			if os := ptr.Deref(capability.OSType, ""); os != "" && !slices.Contains(region.OSTypes, os) {
				region.OSTypes = append(region.OSTypes, os)
			}
		}
	}
	slices.Sort(region.OSTypes)
	usages := client.NewListUsagePager(location, nil)
	for usages.More() {
		page, err := usages.NextPage(ctx)
		if err != nil {
			return Region{}, fmt.Errorf("list the usage of %s: %w", location, err)
		}
		for _, usage := range page.Value {
			if usage == nil || usage.Name == nil || usage.CurrentValue == nil || usage.Limit == nil {
				continue
			}
			name := ptr.Deref(usage.Name.Value, "")
			if slices.Contains(quotas, name) && *usage.CurrentValue >= *usage.Limit {
				region.Exhausted = append(region.Exhausted, Quota{Name: name, Limit: *usage.Limit})
			}
		}
	}
	slices.SortFunc(region.Exhausted, func(a, b Quota) int { return strings.Compare(a.Name, b.Name) })
	return region, nil
}
