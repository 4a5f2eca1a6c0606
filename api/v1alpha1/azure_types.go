// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// CloudName is the name of an Azure cloud.
//
// +kubebuilder:validation:Enum=AzurePublicCloud;AzureUSGovernmentCloud;AzureChinaCloud
type CloudName string

const (
	// CloudPublic is the worldwide Azure cloud.
	CloudPublic CloudName = "AzurePublicCloud"
	// CloudUSGovernment is the Azure cloud of the United States' government.
	CloudUSGovernment CloudName = "AzureUSGovernmentCloud"
	// CloudChina is the Azure cloud that 21Vianet runs in China.
	CloudChina CloudName = "AzureChinaCloud"
)

// ManagedCluster names an AKS cluster.
type ManagedCluster struct {
	// subscriptionID is the Azure subscription of the cluster.
	// Example: 11111111-1111-1111-1111-111111111111.
	// +required
	SubscriptionID GUID `json:"subscriptionID,omitempty"`

	// resourceGroup is the resource group that the cluster's own resource is in; not its node
	// resource group. Example: clusters.
	// +required
	ResourceGroup ResourceGroupName `json:"resourceGroup,omitempty"`

	// name is the name of the cluster. Example: cluster.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9]([-_a-zA-Z0-9]*[a-zA-Z0-9])?$')",message="must be the name of an AKS cluster: letters, digits, hyphens and underscores, beginning and ending with a letter or digit"
	Name string `json:"name,omitempty"`
}

// ContainerGroups says where container groups are made.
type ContainerGroups struct {
	// subscriptionID is the Azure subscription that is billed for the container groups.
	// Example: 11111111-1111-1111-1111-111111111111. Default: that of spec.managedCluster.
	// +optional
	SubscriptionID GUID `json:"subscriptionID,omitempty"`

	// resourceGroup is the existing resource group that the container groups are made in. Give each
	// cluster a resource group of its own: a container group is named after the namespace and name
	// of its pod, so two clusters in one resource group can collide. Example: virtual-nodes.
	// Default: the node resource group of spec.managedCluster.
	// +optional
	ResourceGroup ResourceGroupName `json:"resourceGroup,omitempty"`

	// location is the Azure region that the container groups run in, as its name or its display
	// name: eastus and East US are the same. Example: eastus. Default: the location of the resource
	// group, else that of spec.managedCluster.
	// +optional
	Location Location `json:"location,omitempty"`
}

// CredentialType says which kind of Microsoft Entra identity a connector uses.
//
// +kubebuilder:validation:Enum=ServicePrincipal;ManagedIdentity
type CredentialType string

const (
	// CredentialTypeServicePrincipal is an application's service principal with a client secret.
	CredentialTypeServicePrincipal CredentialType = "ServicePrincipal"
	// CredentialTypeManagedIdentity is a user-assigned managed identity of the cluster's machines.
	CredentialTypeManagedIdentity CredentialType = "ManagedIdentity"
)

// Credentials is a union: exactly the member that type names is set.
//
// +union
// +kubebuilder:validation:XValidation:rule="self.type == 'ServicePrincipal' ? has(self.servicePrincipal) : !has(self.servicePrincipal)",message="servicePrincipal must be set exactly when type is ServicePrincipal"
// +kubebuilder:validation:XValidation:rule="self.type == 'ManagedIdentity' ? has(self.managedIdentity) : !has(self.managedIdentity)",message="managedIdentity must be set exactly when type is ManagedIdentity"
type Credentials struct {
	// type is the kind of identity: ServicePrincipal or ManagedIdentity. Workload identity is not
	// supported by the virtual kubelet.
	// +required
	// +unionDiscriminator
	Type CredentialType `json:"type,omitempty"`

	// servicePrincipal is an application's service principal. Set with type ServicePrincipal.
	// +optional
	// +unionMember
	ServicePrincipal *ServicePrincipal `json:"servicePrincipal,omitempty"`

	// managedIdentity is a user-assigned managed identity that is assigned to the machines that the
	// operator and the virtual kubelets run on. Set with type ManagedIdentity.
	// +optional
	// +unionMember
	ManagedIdentity *ManagedIdentity `json:"managedIdentity,omitempty"`
}

// ServicePrincipal is an application's service principal with a client secret.
type ServicePrincipal struct {
	// tenantID is the Microsoft Entra tenant of the service principal, also called its directory.
	// Example: 22222222-2222-2222-2222-222222222222.
	// +required
	TenantID GUID `json:"tenantID,omitempty"`

	// clientID is the application (client) id of the service principal.
	// Example: 33333333-3333-3333-3333-333333333333.
	// +required
	ClientID GUID `json:"clientID,omitempty"`

	// clientSecretRef points to the client secret. A changed Secret is taken over within seconds.
	// +required
	ClientSecretRef SecretKeyReference `json:"clientSecretRef,omitzero"`
}

// ManagedIdentity is a user-assigned managed identity.
type ManagedIdentity struct {
	// clientID is the client id of the identity; not its object id.
	// Example: 44444444-4444-4444-4444-444444444444.
	// +required
	ClientID GUID `json:"clientID,omitempty"`

	// tenantID is the Microsoft Entra tenant of the identity. Nothing needs it to get a token; it
	// becomes a part of the node's identity, so that a change of it makes a new node.
	// Example: 22222222-2222-2222-2222-222222222222. Default: none.
	// +optional
	TenantID GUID `json:"tenantID,omitempty"`
}

// ProviderRegistration says what is done about the registration of the resource provider
// Microsoft.ContainerInstance.
//
// +kubebuilder:validation:Enum=Check;Register;Ignore
type ProviderRegistration string

const (
	// ProviderRegistrationCheck looks whether the provider is registered.
	ProviderRegistrationCheck ProviderRegistration = "Check"
	// ProviderRegistrationRegister registers the provider where it is not.
	ProviderRegistrationRegister ProviderRegistration = "Register"
	// ProviderRegistrationIgnore does not look.
	ProviderRegistrationIgnore ProviderRegistration = "Ignore"
)

// Network places container groups in a subnet of a virtual network.
type Network struct {
	// osTypes are the operating systems whose container groups are placed in the subnet. They must be
	// among spec.osTypes. Default: [Linux].
	// +optional
	// +listType=set
	// +kubebuilder:default={Linux}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	OSTypes []OSType `json:"osTypes,omitempty"`

	// subnet is an existing subnet that is delegated to Microsoft.ContainerInstance/containerGroups, or
	// that nothing uses yet: the virtual kubelet then delegates it. It is in the subscription and the
	// region of the container groups.
	// +required
	Subnet Subnet `json:"subnet,omitzero"`

	// clusterCIDR is the range of the cluster's pods, for the kube-proxy beside Linux container groups.
	// Example: 10.244.0.0/16. Default: that of spec.managedCluster, else 10.240.0.0/16.
	// +optional
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=18
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).ip().family() == 4 && cidr(self) == cidr(self).masked()",message="must be an IPv4 range without host bits, such as 10.244.0.0/16"
	ClusterCIDR string `json:"clusterCIDR,omitempty"`

	// clusterDomain is the DNS domain of the cluster, for the search list of Linux container groups.
	// Example: cluster.local. Default: cluster.local.
	// +optional
	// +kubebuilder:default=cluster.local
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be a DNS domain such as cluster.local, in lower case and without a period at the end"
	ClusterDomain string `json:"clusterDomain,omitempty"`

	// dnsServiceIP is the address that Linux container groups send their DNS queries to.
	// Example: 10.0.0.10. Default: the address of the Service kube-system/kube-dns, else that of
	// spec.managedCluster.
	// +optional
	// +kubebuilder:validation:MinLength=7
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="must be an IPv4 address such as 10.0.0.10"
	DNSServiceIP string `json:"dnsServiceIP,omitempty"`

	// apiServerURI is where the kube-proxy beside Linux container groups reaches the API server from
	// the subnet. Example: https://cluster-dns-1a2b3c4d.hcp.eastus.azmk8s.io:443. Default: the address
	// of spec.managedCluster, else that of the EndpointSlice default/kubernetes.
	// +optional
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=300
	// +kubebuilder:validation:XValidation:rule="self.matches('^https://[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$')",message="must be https:// with a host name or IPv4 address and perhaps a port, such as https://10.0.0.1:443"
	APIServerURI string `json:"apiServerURI,omitempty"`
}

// Subnet names a subnet of a virtual network.
type Subnet struct {
	// resourceGroup is the resource group of the virtual network. Example: network.
	// Default: that of the virtual network of spec.managedCluster's default pool.
	// +optional
	ResourceGroup ResourceGroupName `json:"resourceGroup,omitempty"`

	// virtualNetworkName is the name of the virtual network. Example: virtual-nodes.
	// Default: the virtual network of spec.managedCluster's default pool.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][-a-zA-Z0-9_.]*[a-zA-Z0-9_]$')",message="must be the name of a virtual network: letters, digits, underscores, periods and hyphens, beginning with a letter or digit and ending with one or an underscore"
	VirtualNetworkName string `json:"virtualNetworkName,omitempty"`

	// name is the name of the subnet. Example: container-groups.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=80
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9_])?$')",message="must be the name of a subnet: letters, digits, underscores, periods and hyphens, beginning with a letter or digit and ending with one or an underscore"
	Name string `json:"name,omitempty"`
}

// Monitoring says where the logs of container groups go.
type Monitoring struct {
	// logAnalytics is a Log Analytics workspace that gets the logs of every container group.
	// +optional
	LogAnalytics *LogAnalytics `json:"logAnalytics,omitempty"`
}

// LogAnalytics is a Log Analytics workspace.
type LogAnalytics struct {
	// secretRef names a Secret with the keys workspaceID and workspaceKey, in the namespace that the
	// virtual kubelets run in.
	// +required
	SecretRef LocalSecretReference `json:"secretRef,omitzero"`

	// clusterResourceID is the resource id of the AKS cluster that the logs are shown with in Azure
	// Monitor. Example: /subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/clusters/providers/Microsoft.ContainerService/managedClusters/cluster.
	// Default: that of spec.managedCluster; the logs then have the form of Container Insights.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=300
	// +kubebuilder:validation:XValidation:rule="self.matches('(?i)^/subscriptions/[-0-9a-f]{36}/resourceGroups/[^/]+/providers/Microsoft.ContainerService/managedClusters/[^/]+$')",message="must be the resource id of an AKS cluster: az aks show --query id shows it"
	ClusterResourceID string `json:"clusterResourceID,omitempty"`
}
