// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
// +kubebuilder:validation:XValidation:rule="!has(self.spec.containerGroups) || !has(self.spec.containerGroups.location) || (has(self.spec.node) && has(self.spec.node.namePrefix) ? size(self.spec.node.namePrefix) : 16 + size(self.metadata.name)) + size(self.spec.containerGroups.location.replace(' ', \"\")) + (self.spec.osTypes.exists(o, o == 'Windows') ? 9 : 7) <= 63",message="the node names <prefix>-<linux or windows>-<location> would be longer than 63 characters: set a shorter spec.node.namePrefix (default virtual-kubelet-<metadata.name>)"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must be at most 63 characters, as it becomes the value of a label"
type VirtualKubeletConnector struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's metadata. Its name becomes a part of the names of the nodes.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec is the desired state of the connector.
	// +required
	Spec VirtualKubeletConnectorSpec `json:"spec,omitzero"`

	// status is what the operator last observed. Default: an observedGeneration of -1, so that nobody
	// takes a connector that was never looked at for one that works.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
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

// VirtualKubeletConnectorSpec is the desired state of a connector. Nothing of it is immutable: what makes
// another node of it, such as another location, retires the former node and makes a new one.
//
// +kubebuilder:validation:XValidation:rule="has(self.managedCluster) || (has(self.containerGroups) && has(self.containerGroups.subscriptionID))",message="containerGroups.subscriptionID must be set where there is no managedCluster to take it from"
// +kubebuilder:validation:XValidation:rule="has(self.managedCluster) || (has(self.containerGroups) && has(self.containerGroups.resourceGroup))",message="containerGroups.resourceGroup must be set where there is no managedCluster to take it from"
// +kubebuilder:validation:XValidation:rule="has(self.managedCluster) || (has(self.containerGroups) && has(self.containerGroups.location))",message="containerGroups.location must be set where there is no managedCluster to take it from"
// +kubebuilder:validation:XValidation:rule="!has(self.network) || self.network.osTypes.all(o, o in self.osTypes)",message="network.osTypes must be among osTypes: it is [Linux] where it is not set, so set it to [Windows] for Windows alone"
// +kubebuilder:validation:XValidation:rule="!has(self.network) || has(self.managedCluster) || (has(self.network.subnet.resourceGroup) && has(self.network.subnet.virtualNetworkName))",message="network.subnet.resourceGroup and network.subnet.virtualNetworkName must be set where there is no managedCluster to take them from"
// +kubebuilder:validation:XValidation:rule="!has(self.network) || has(self.network.subnet.resourceGroup) == has(self.network.subnet.virtualNetworkName)",message="network.subnet.resourceGroup and network.subnet.virtualNetworkName must be set together, or both be left to managedCluster"
type VirtualKubeletConnectorSpec struct {
	// osTypes are the operating systems that get a virtual node: Linux, Windows, or both.
	// An operating system that is taken off the list has its node drained and removed.
	// Example: [Linux, Windows]. Default: [Linux].
	// +optional
	// +listType=set
	// +kubebuilder:default={Linux}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	OSTypes []OSType `json:"osTypes,omitempty"`

	// managedCluster names an AKS cluster that what is not given elsewhere is taken from: the
	// subscription, resource group and location of the container groups, the virtual network, the
	// addresses of network, the resource id of monitoring. Default: none.
	// +optional
	ManagedCluster *ManagedCluster `json:"managedCluster,omitempty"`

	// containerGroups says where in Azure the container groups are made. A change drains the nodes
	// and removes them, then makes new ones. Default: as spec.managedCluster has it.
	// +optional
	ContainerGroups ContainerGroups `json:"containerGroups,omitempty,omitzero"`

	// cloud is the Azure cloud that the subscription belongs to: AzurePublicCloud,
	// AzureUSGovernmentCloud or AzureChinaCloud. Default: AzurePublicCloud.
	// +optional
	// +kubebuilder:default=AzurePublicCloud
	Cloud CloudName `json:"cloud,omitempty"`

	// credentials is the identity that container groups are managed with, by the virtual kubelets and
	// by the operator. It needs the rights of Contributor on the resource group.
	// +required
	Credentials Credentials `json:"credentials,omitzero"`

	// providerRegistration says what is done about the registration of the resource provider
	// Microsoft.ContainerInstance in the subscription: Check looks whether it is registered, Register
	// registers it where it is not, Ignore does not look. Default: Check.
	// +optional
	// +kubebuilder:default=Check
	ProviderRegistration ProviderRegistration `json:"providerRegistration,omitempty"`

	// network places container groups in a subnet of a virtual network. Default: none; container
	// groups with ports then have public addresses.
	// +optional
	Network *Network `json:"network,omitempty"`

	// virtualKubelet sets how the process behind each virtual node runs.
	// +optional
	VirtualKubelet VirtualKubelet `json:"virtualKubelet,omitempty,omitzero"`

	// node sets what the virtual nodes look like.
	// +optional
	Node Node `json:"node,omitempty,omitzero"`

	// monitoring says where the logs of container groups go. Default: nowhere.
	// +optional
	Monitoring Monitoring `json:"monitoring,omitempty,omitzero"`

	// removal says how a node is removed.
	// +optional
	Removal Removal `json:"removal,omitempty,omitzero"`

	// suspend keeps the operator from changing anything for this connector until it is deleted or
	// suspend is false again. The virtual kubelets go on running. Default: false.
	// +optional
	// +kubebuilder:default=false
	Suspend bool `json:"suspend,omitempty"`
}
