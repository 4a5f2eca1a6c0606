// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OSType is an operating system that Azure Container Instances can run containers on.
//
// +kubebuilder:validation:Enum=Linux;Windows
type OSType string

const (
	// OSTypeLinux runs Linux containers.
	OSTypeLinux OSType = "Linux"
	// OSTypeWindows runs Windows containers.
	OSTypeWindows OSType = "Windows"
)

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

// CredentialType says which kind of Microsoft Entra identity a connector uses.
//
// +kubebuilder:validation:Enum=ServicePrincipal
type CredentialType string

// CredentialTypeServicePrincipal is an application's service principal with a client secret.
const CredentialTypeServicePrincipal CredentialType = "ServicePrincipal"

// LogLevel is a log level of the virtual kubelet.
//
// +kubebuilder:validation:Enum=trace;debug;info;warning;error
type LogLevel string

// GUID is a globally unique identifier such as 11111111-1111-1111-1111-111111111111.
//
// +kubebuilder:validation:MinLength=36
// +kubebuilder:validation:MaxLength=36
// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$')",message="must be a GUID such as 11111111-1111-1111-1111-111111111111"
type GUID string

// VirtualKubeletConnector connects the cluster to Azure Container Instances: it makes one virtual
// node for each of its operating systems. Pods that are scheduled onto such a node run as Azure
// container groups. Deleting the connector drains its nodes, waits until Azure has no container
// group of theirs, and removes all that was made for it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=virtualkubeletconnectors,singular=virtualkubeletconnector,shortName=vkc,categories=azure
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="OS",type=string,JSONPath=`.spec.osTypes`
// +kubebuilder:printcolumn:name="Location",type=string,JSONPath=`.status.location`
// +kubebuilder:printcolumn:name="Resource Group",type=string,JSONPath=`.status.resourceGroup`
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.readyNodes`
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.status.desiredNodes`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Retiring",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Retiring")].message`
// +kubebuilder:validation:XValidation:rule="(has(self.spec.node) && has(self.spec.node.namePrefix) ? size(self.spec.node.namePrefix) : 16 + size(self.metadata.name)) + size(self.spec.containerGroups.location.replace(' ', \"\")) + (self.spec.osTypes.exists(o, o == 'Windows') ? 9 : 7) <= 63",message="the node names <prefix>-<linux or windows>-<location> would be longer than 63 characters: set a shorter spec.node.namePrefix (default virtual-kubelet-<metadata.name>)"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must be at most 63 characters, as it becomes the value of a label"
type VirtualKubeletConnector struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's metadata. Its name becomes a part of the names of the nodes.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec is the desired state of the connector.
	// +required
	Spec VirtualKubeletConnectorSpec `json:"spec,omitzero"`

	// status is what the operator last observed.
	// +optional
	Status VirtualKubeletConnectorStatus `json:"status,omitempty,omitzero"`
}

// VirtualKubeletConnectorList is a list of connectors.
//
// +kubebuilder:object:root=true
type VirtualKubeletConnectorList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VirtualKubeletConnector `json:"items"`
}

// VirtualKubeletConnectorSpec is the desired state of a connector.
type VirtualKubeletConnectorSpec struct {
	// osTypes are the operating systems that get a virtual node: Linux, Windows, or both.
	// An operating system that is taken off the list has its node drained and removed.
	// Default: [Linux].
	// +optional
	// +listType=set
	// +kubebuilder:default={Linux}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	OSTypes []OSType `json:"osTypes,omitempty"`

	// containerGroups says where in Azure the container groups are made. A change drains the nodes
	// and removes them, then makes new ones.
	// +required
	ContainerGroups ContainerGroups `json:"containerGroups,omitzero"`

	// cloud is the Azure cloud that the subscription belongs to: AzurePublicCloud,
	// AzureUSGovernmentCloud or AzureChinaCloud. Default: AzurePublicCloud.
	// +optional
	// +kubebuilder:default=AzurePublicCloud
	Cloud CloudName `json:"cloud,omitempty"`

	// credentials is the identity that container groups are managed with. It needs the rights of
	// Contributor on the resource group.
	// +required
	Credentials Credentials `json:"credentials,omitzero"`

	// virtualKubelet sets how the process behind each virtual node runs.
	// +optional
	VirtualKubelet VirtualKubelet `json:"virtualKubelet,omitempty,omitzero"`

	// node sets what the virtual nodes look like.
	// +optional
	Node Node `json:"node,omitempty,omitzero"`
}

// ContainerGroups says where container groups are made.
type ContainerGroups struct {
	// subscriptionID is the Azure subscription that is billed for the container groups.
	// Example: 11111111-1111-1111-1111-111111111111.
	// +required
	SubscriptionID GUID `json:"subscriptionID,omitempty"`

	// resourceGroup is the existing resource group that the container groups are made in. Give each
	// cluster a resource group of its own: a container group is named after the namespace and name
	// of its pod, so two clusters in one resource group can collide. Example: virtual-nodes.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=90
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-\\\\p{L}\\\\p{N}_.()]*[-\\\\p{L}\\\\p{N}_()]$')",message="must be the name of an Azure resource group: letters, digits, underscores, hyphens, periods and parentheses, without a period at the end"
	ResourceGroup string `json:"resourceGroup,omitempty"`

	// location is the Azure region that the container groups run in, as its name or its display
	// name: eastus and East US are the same. Example: eastus.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9]*( [A-Za-z0-9]+)*$')",message="must be the name of an Azure region, such as eastus or East US; az account list-locations -o table shows them"
	Location string `json:"location,omitempty"`
}

// Credentials is a union: exactly the member that type names is set.
//
// +union
// +kubebuilder:validation:XValidation:rule="self.type == 'ServicePrincipal' ? has(self.servicePrincipal) : !has(self.servicePrincipal)",message="servicePrincipal must be set exactly when type is ServicePrincipal"
type Credentials struct {
	// type is the kind of identity: ServicePrincipal.
	// +required
	// +unionDiscriminator
	Type CredentialType `json:"type,omitempty"`

	// servicePrincipal is an application's service principal. Set with type ServicePrincipal.
	// +optional
	// +unionMember
	ServicePrincipal *ServicePrincipal `json:"servicePrincipal,omitempty"`
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

// SecretKeyReference points to one key of a Secret in the namespace that the operator runs virtual
// kubelets in (vk-connector-system, unless the operator was told otherwise).
type SecretKeyReference struct {
	// name is the name of the Secret. Example: virtual-kubelet-credentials.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be the name of a Secret: lower-case letters, digits, hyphens and periods"
	Name string `json:"name,omitempty"`

	// key is the key in the Secret's data whose value is the client secret, without a line break at
	// its end. Default: clientSecret.
	// +optional
	// +kubebuilder:default=clientSecret
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="must be a key of a Secret: letters, digits, hyphens, underscores and periods"
	Key string `json:"key,omitempty"`
}

// VirtualKubelet sets how the process behind each virtual node runs.
type VirtualKubelet struct {
	// image is the container image of the virtual kubelet. What is not given comes from the
	// operator's release.
	// +optional
	Image Image `json:"image,omitempty,omitzero"`

	// logLevel is how much the virtual kubelet logs: trace, debug, info, warning or error.
	// Default: info.
	// +optional
	// +kubebuilder:default=info
	LogLevel LogLevel `json:"logLevel,omitempty"`

	// resources are the compute resources of the virtual kubelet's container. Requests that are not
	// given are 100m of cpu and 128Mi of memory; there is no limit unless one is given.
	// Resource claims are not supported.
	// +optional
	Resources Resources `json:"resources,omitempty,omitzero"`
}

// Resources are the compute resources of a container.
type Resources struct {
	// limits are the most that the container may use, by resource name. Example: {memory: 512Mi}.
	// +optional
	Limits corev1.ResourceList `json:"limits,omitempty"`

	// requests are what the container is sure to get, by resource name. Example: {cpu: 100m}.
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`
}

// Image names a container image.
type Image struct {
	// repository is the image's registry and repository, without tag and digest.
	// Example: mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet. Default: the repository of the
	// operator's release.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]+)?(/[a-z0-9]+((\\\\.|_|__|-+)[a-z0-9]+)*)*$')",message="must be a repository such as mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet, without scheme, tag and digest"
	Repository string `json:"repository,omitempty"`

	// tag is the image's tag. Example: 1.6.4. Default: the tag of the operator's release.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9_][-a-zA-Z0-9_.]*$')",message="must be an image tag: letters, digits, underscores, periods and hyphens"
	Tag string `json:"tag,omitempty"`

	// digest pins the image's content; with it the tag is only for people to read.
	// Example: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.
	// +optional
	// +kubebuilder:validation:MinLength=71
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:XValidation:rule="self.matches('^sha256:[0-9a-f]{64}$')",message="must be sha256: and 64 hexadecimal digits in lower case"
	Digest string `json:"digest,omitempty"`

	// pullPolicy is when the image is pulled: Always, IfNotPresent or Never. Default: IfNotPresent.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	// +kubebuilder:default=IfNotPresent
	PullPolicy corev1.PullPolicy `json:"pullPolicy,omitempty"`

	// pullSecrets are the names of Secrets of type kubernetes.io/dockerconfigjson, in the namespace
	// that the virtual kubelets run in, to pull the image with.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	PullSecrets []LocalSecretReference `json:"pullSecrets,omitempty"`
}

// LocalSecretReference names a Secret in the namespace that the virtual kubelets run in.
type LocalSecretReference struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be the name of a Secret: lower-case letters, digits, hyphens and periods"
	Name string `json:"name,omitempty"`
}

// Node sets what the virtual nodes look like.
type Node struct {
	// namePrefix is the first part of the nodes' names, <prefix>-<linux or windows>-<location>, which
	// are at most 63 characters long. A change drains the nodes and removes them, then makes new ones.
	// Default: virtual-kubelet-<name of the connector>.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=50
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be lower-case letters, digits and hyphens, beginning and ending with a letter or digit"
	NamePrefix string `json:"namePrefix,omitempty"`
}

// VirtualKubeletConnectorStatus is what the operator last observed.
type VirtualKubeletConnectorStatus struct {
	// observedGeneration is the generation of the connector that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions say whether the connector works, and what to do where it does not. Ready sums up
	// the others. Reconciling and Stalled are there only while they are true.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// subscriptionID is the subscription that is in effect.
	// +optional
	SubscriptionID string `json:"subscriptionID,omitempty"`

	// resourceGroup is the resource group that is in effect.
	// +optional
	ResourceGroup string `json:"resourceGroup,omitempty"`

	// location is the region that is in effect, as Azure's name of it.
	// +optional
	Location string `json:"location,omitempty"`

	// desiredNodes is the number of virtual nodes asked for.
	// +optional
	DesiredNodes *int32 `json:"desiredNodes,omitempty"`

	// readyNodes is the number of desired virtual nodes that are ready.
	// +optional
	ReadyNodes *int32 `json:"readyNodes,omitempty"`

	// nodes are the desired virtual nodes, and those that are still being removed.
	// +optional
	// +listType=map
	// +listMapKey=name
	Nodes []NodeStatus `json:"nodes,omitempty"`
}

// NodeStatus is what the operator last observed of one virtual node.
type NodeStatus struct {
	// name is the name of the Node and of everything that was made for it.
	// +required
	Name string `json:"name,omitempty"`

	// osType is the operating system that the node runs containers of.
	// +optional
	OSType OSType `json:"osType,omitempty"`

	// location is the region that the node's container groups run in.
	// +optional
	Location string `json:"location,omitempty"`

	// resourceGroup is the resource group that the node's container groups are in.
	// +optional
	ResourceGroup string `json:"resourceGroup,omitempty"`

	// image is the image of the node's virtual kubelet.
	// +optional
	Image string `json:"image,omitempty"`

	// kubeletVersion is the version that the Node reports.
	// +optional
	KubeletVersion string `json:"kubeletVersion,omitempty"`

	// conditions are Ready, for a desired node, or Retiring, for one that is being removed.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
