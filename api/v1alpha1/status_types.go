// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// VirtualKubeletConnectorStatus is what the operator last observed.
type VirtualKubeletConnectorStatus struct {
	// observedGeneration is the generation of the connector that this status speaks of; -1 before there
	// is one.
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

	// nodes are the desired virtual nodes, those that run until one that replaces them can be started, and those that
	// are still being removed.
	// +optional
	// +listType=map
	// +listMapKey=name
	Nodes []NodeStatus `json:"nodes,omitempty"`

	// retainedContainerGroups are the container groups that were left in Azure, where they are billed, as
	// spec.removal.orphanedContainerGroups asks for. Those that somebody deletes leave the list.
	// +optional
	// +listType=map
	// +listMapKey=nodeName
	// +listMapKey=subscriptionID
	// +listMapKey=resourceGroup
	RetainedContainerGroups []RetainedContainerGroups `json:"retainedContainerGroups,omitempty"`
}

// RetainedContainerGroups are container groups that were left in Azure.
type RetainedContainerGroups struct {
	// nodeName is the name of the virtual node that they were made for.
	// +required
	NodeName string `json:"nodeName,omitempty"`

	// subscriptionID is the subscription that they are in.
	// +required
	SubscriptionID string `json:"subscriptionID,omitempty"`

	// resourceGroup is the resource group that they are in.
	// +required
	ResourceGroup string `json:"resourceGroup,omitempty"`

	// names are their names, as far as they are known.
	// +optional
	// +listType=set
	Names []string `json:"names,omitempty"`

	// message says what of them is not known, and why; empty where Azure has told.
	// +optional
	Message string `json:"message,omitempty"`
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

	// conditions are Ready, for a node that is to run, or Retiring, for one that is being removed.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
