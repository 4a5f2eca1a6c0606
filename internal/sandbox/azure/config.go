// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import "time"

// Config is the world at its start: plain data, written and read as JSON. Durations are in nanoseconds.
type Config struct {
	Tenants           []Tenant           `json:"tenants"`
	Subscriptions     []Subscription     `json:"subscriptions"`
	ServicePrincipals []ServicePrincipal `json:"servicePrincipals,omitempty"`
	ManagedIdentities []ManagedIdentity  `json:"managedIdentities,omitempty"`
	RoleAssignments   []RoleAssignment   `json:"roleAssignments,omitempty"`
	DenyAssignments   []DenyAssignment   `json:"denyAssignments,omitempty"`
	ResourceGroups    []ResourceGroup    `json:"resourceGroups,omitempty"`
	VirtualNetworks   []VirtualNetwork   `json:"virtualNetworks,omitempty"`
	ManagedClusters   []ManagedCluster   `json:"managedClusters,omitempty"`
	Locations         []Location         `json:"locations"`
	Quota             Quota              `json:"quota"`
	Timing            Timing             `json:"timing"`
	// PageSize is how many items one page of a list holds.
	PageSize int `json:"pageSize"`
}

// Tenant is a directory of one cloud (default: the public one).
type Tenant struct {
	ID    string `json:"id"`
	Cloud Cloud  `json:"cloud,omitempty"`
}

// Subscription belongs to a tenant and knows which resource providers are registered.
type Subscription struct {
	ID        string   `json:"id"`
	TenantID  string   `json:"tenantID"`
	Providers []string `json:"providers,omitempty"`
}

// Secret is a string that prints as nothing worth stealing.
type Secret string

// String hides the secret.
func (Secret) String() string { return "(secret)" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "(secret)" }

// ServicePrincipal is an application of a tenant with its client secrets.
type ServicePrincipal struct {
	TenantID string         `json:"tenantID"`
	ClientID string         `json:"clientID"`
	ObjectID string         `json:"objectID"`
	Secrets  []ClientSecret `json:"secrets,omitempty"`
}

// ClientSecret is valid until it expires; the zero time is never.
type ClientSecret struct {
	Value   Secret    `json:"value"`
	Expires time.Time `json:"expires,omitzero"`
}

// ManagedIdentity is a user-assigned identity that the machine carries.
type ManagedIdentity struct {
	TenantID string `json:"tenantID"`
	ClientID string `json:"clientID"`
	ObjectID string `json:"objectID"`
}

// RoleAssignment lets a principal act on a scope and what lies in it: a subscription, a resource group or a resource, by
// its resource ID.
type RoleAssignment struct {
	// ClientID of the service principal or managed identity.
	ClientID string `json:"clientID"`
	Scope    string `json:"scope"`
	// Actions allowed, and those of them that are not; * stands for any text.
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions,omitempty"`
}

// DenyAssignment keeps principals from what their roles allow, on a scope and what lies in it.
type DenyAssignment struct {
	Name  string `json:"name"`
	Scope string `json:"scope"`
	// Actions denied, and those of them that are not; * stands for any text.
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions,omitempty"`
	// ClientIDs of the service principals and managed identities that are denied; none is everyone.
	ClientIDs []string `json:"clientIDs,omitempty"`
	// ExcludeClientIDs are of those that are not denied.
	ExcludeClientIDs []string `json:"excludeClientIDs,omitempty"`
}

// ResourceGroup is an Azure resource group.
type ResourceGroup struct {
	SubscriptionID string            `json:"subscriptionID"`
	Name           string            `json:"name"`
	Location       string            `json:"location"`
	ManagedBy      string            `json:"managedBy,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
}

// VirtualNetwork is an Azure virtual network.
type VirtualNetwork struct {
	SubscriptionID  string   `json:"subscriptionID"`
	ResourceGroup   string   `json:"resourceGroup"`
	Name            string   `json:"name"`
	Location        string   `json:"location"`
	AddressPrefixes []string `json:"addressPrefixes"`
	Subnets         []Subnet `json:"subnets,omitempty"`
}

// Subnet is a part of a virtual network, perhaps delegated to a service such as Microsoft.ContainerInstance/containerGroups.
type Subnet struct {
	Name          string `json:"name"`
	AddressPrefix string `json:"addressPrefix"`
	DelegatedTo   string `json:"delegatedTo,omitempty"`
	RouteTableID  string `json:"routeTableID,omitempty"`
	// IPConfigurations is how many network interfaces are in it, which keep its delegation as it is.
	IPConfigurations int `json:"ipConfigurations,omitempty"`
}

// ManagedCluster is an AKS cluster as Resource Manager tells of it.
type ManagedCluster struct {
	SubscriptionID    string `json:"subscriptionID"`
	ResourceGroup     string `json:"resourceGroup"`
	Name              string `json:"name"`
	Location          string `json:"location"`
	NodeResourceGroup string `json:"nodeResourceGroup"`
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	SubnetID          string `json:"subnetID,omitempty"`
	PodCIDR           string `json:"podCIDR,omitempty"`
	ServiceCIDR       string `json:"serviceCIDR,omitempty"`
	DNSServiceIP      string `json:"dnsServiceIP,omitempty"`
	IdentityClientID  string `json:"identityClientID,omitempty"`
	FQDN              string `json:"fqdn,omitempty"`
	PrivateFQDN       string `json:"privateFQDN,omitempty"`
	// TenantID of its identity; the subscription's by default.
	TenantID string `json:"tenantID,omitempty"`
	// RestrictionLevel of the node resource group: ReadOnly or Unrestricted. It denies nothing by itself.
	RestrictionLevel string `json:"restrictionLevel,omitempty"`
	// PowerState is Running (the default) or Stopped.
	PowerState string `json:"powerState,omitempty"`
	// ProvisioningState is Succeeded by default.
	ProvisioningState string `json:"provisioningState,omitempty"`
}

// Location is a region of one cloud (default: the public one); OSTypes are those of the container groups that it can run,
// none where it has no such service.
type Location struct {
	Name        string   `json:"name"`
	DisplayName string   `json:"displayName"`
	Cloud       Cloud    `json:"cloud,omitempty"`
	OSTypes     []string `json:"osTypes,omitempty"`
}

// Quota limits what a subscription may run in one region; zero is no limit.
type Quota struct {
	ContainerGroups int     `json:"containerGroups,omitempty"`
	Cores           float64 `json:"cores,omitempty"`
}

// Timing is how long what Azure does takes.
type Timing struct {
	TokenLifetime          time.Duration `json:"tokenLifetime"`
	ContainerGroupPending  time.Duration `json:"containerGroupPending"`
	ContainerGroupCreating time.Duration `json:"containerGroupCreating"`
	ContainerGroupDeleting time.Duration `json:"containerGroupDeleting"`
	ProviderRegistering    time.Duration `json:"providerRegistering"`
	ResourceGroupDeleting  time.Duration `json:"resourceGroupDeleting"`
}

// Names of the default world.
const (
	DefaultTenantID          = "22222222-2222-2222-2222-222222222222"
	DefaultSubscriptionID    = "11111111-1111-1111-1111-111111111111"
	DefaultClientID          = "33333333-3333-3333-3333-333333333333"
	DefaultClientSecret      = "sandbox-client-secret"
	DefaultManagedIdentityID = "44444444-4444-4444-4444-444444444444"

	DefaultGovernmentTenantID       = "55555555-5555-5555-5555-555555555555"
	DefaultGovernmentSubscriptionID = "66666666-6666-6666-6666-666666666666"
	DefaultGovernmentClientID       = "77777777-7777-7777-7777-777777777777"
)

const containerGroupDelegation = "Microsoft.ContainerInstance/containerGroups"

// Contributor is Azure's built-in role: everything but the granting of rights.
func Contributor(clientID, scope string) RoleAssignment {
	return RoleAssignment{
		ClientID: clientID,
		Scope:    scope,
		Actions:  []string{"*"},
		NotActions: []string{
			"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
		},
	}
}

// Reader is Azure's built-in role that may look at everything.
func Reader(clientID, scope string) RoleAssignment {
	return RoleAssignment{ClientID: clientID, Scope: scope, Actions: []string{"*/read"}}
}

// DefaultConfig is a small company's Azure: one subscription, a cluster, resource groups for virtual nodes, a service
// principal and a managed identity that are Contributors; and a branch in the US Government's cloud.
func DefaultConfig() Config {
	const sub, government = DefaultSubscriptionID, DefaultGovernmentSubscriptionID
	both := []string{"Linux", "Windows"}
	return Config{
		Tenants: []Tenant{{ID: DefaultTenantID}, {ID: DefaultGovernmentTenantID, Cloud: USGovernmentCloud}},
		Subscriptions: []Subscription{
			{
				ID: sub, TenantID: DefaultTenantID,
				Providers: []string{"Microsoft.ContainerInstance", "Microsoft.ContainerService", "Microsoft.Network"},
			},
			{
				ID: government, TenantID: DefaultGovernmentTenantID,
				Providers: []string{"Microsoft.ContainerInstance", "Microsoft.Network"},
			},
		},
		ServicePrincipals: []ServicePrincipal{
			{
				TenantID: DefaultTenantID, ClientID: DefaultClientID, ObjectID: "33333333-3333-3333-3333-3333333333aa",
				Secrets: []ClientSecret{{Value: DefaultClientSecret}},
			},
			{
				TenantID: DefaultGovernmentTenantID, ClientID: DefaultGovernmentClientID, ObjectID: "77777777-7777-7777-7777-7777777777aa",
				Secrets: []ClientSecret{{Value: DefaultClientSecret}},
			},
		},
		ManagedIdentities: []ManagedIdentity{{
			TenantID: DefaultTenantID, ClientID: DefaultManagedIdentityID, ObjectID: "44444444-4444-4444-4444-4444444444aa",
		}},
		RoleAssignments: []RoleAssignment{
			Contributor(DefaultClientID, "/subscriptions/"+sub),
			Contributor(DefaultManagedIdentityID, "/subscriptions/"+sub),
			Contributor(DefaultGovernmentClientID, "/subscriptions/"+government),
		},
		ResourceGroups: []ResourceGroup{
			{SubscriptionID: sub, Name: "virtual-nodes", Location: "eastus"},
			{SubscriptionID: sub, Name: "virtual-nodes-westus", Location: "westus"},
			{SubscriptionID: sub, Name: "clusters", Location: "eastus"},
			{
				SubscriptionID: sub, Name: "MC_clusters_cluster_eastus", Location: "eastus",
				ManagedBy: "/subscriptions/" + sub + "/resourceGroups/clusters/providers/Microsoft.ContainerService/managedClusters/cluster",
			},
			{SubscriptionID: government, Name: "virtual-nodes", Location: "usgovvirginia"},
		},
		VirtualNetworks: []VirtualNetwork{{
			SubscriptionID: sub, ResourceGroup: "virtual-nodes", Name: "virtual-nodes", Location: "eastus",
			AddressPrefixes: []string{"10.240.0.0/12"},
			Subnets: []Subnet{
				{Name: "cluster", AddressPrefix: "10.240.0.0/16", IPConfigurations: 3},
				{Name: "container-groups", AddressPrefix: "10.241.0.0/16", DelegatedTo: containerGroupDelegation},
				{Name: "free", AddressPrefix: "10.242.0.0/24"},
				{Name: "taken", AddressPrefix: "10.243.0.0/24", DelegatedTo: "Microsoft.Web/serverFarms"},
			},
		}},
		ManagedClusters: []ManagedCluster{{
			SubscriptionID: sub, ResourceGroup: "clusters", Name: "cluster", Location: "eastus",
			NodeResourceGroup: "MC_clusters_cluster_eastus", KubernetesVersion: "1.37.1",
			SubnetID: "/subscriptions/" + sub +
				"/resourceGroups/virtual-nodes/providers/Microsoft.Network/virtualNetworks/virtual-nodes/subnets/cluster",
			PodCIDR: "10.244.0.0/16", ServiceCIDR: "10.96.0.0/16", DNSServiceIP: "10.96.0.10",
			IdentityClientID: DefaultManagedIdentityID, FQDN: "cluster-dns-1a2b3c4d.hcp.eastus.azmk8s.io",
		}},
		Locations: []Location{
			{Name: "eastus", DisplayName: "East US", OSTypes: both},
			{Name: "eastus2", DisplayName: "East US 2", OSTypes: both},
			{Name: "westus", DisplayName: "West US", OSTypes: both},
			{Name: "westus2", DisplayName: "West US 2", OSTypes: both},
			{Name: "westeurope", DisplayName: "West Europe", OSTypes: both},
			{Name: "northeurope", DisplayName: "North Europe", OSTypes: both},
			{Name: "usgovvirginia", DisplayName: "USGov Virginia", Cloud: USGovernmentCloud, OSTypes: both},
			{Name: "chinaeast2", DisplayName: "China East 2", Cloud: ChinaCloud, OSTypes: both},
			{Name: "jioindiawest", DisplayName: "Jio India West", OSTypes: []string{"Linux"}},
			{Name: "brazilsoutheast", DisplayName: "Brazil Southeast"},
		},
		Timing: Timing{
			TokenLifetime:          time.Hour,
			ContainerGroupPending:  300 * time.Millisecond,
			ContainerGroupCreating: time.Second,
			ContainerGroupDeleting: 300 * time.Millisecond,
			ProviderRegistering:    2 * time.Second,
			ResourceGroupDeleting:  time.Second,
		},
		PageSize: 100,
	}
}
