// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

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

	// labels are put on the Nodes, beside those of the virtual kubelet. Keys of kubernetes.io, k8s.io
	// and connector.virtual-kubelet.io are reserved, and so are the keys that the virtual kubelet sets
	// itself. Example: {example.com/team: batch}. Default: none.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="every key must be a qualified name such as example.com/team"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('^([-a-z0-9.]+[.])?(kubernetes[.]io|k8s[.]io|connector[.]virtual-kubelet[.]io)/') && k != 'type' && k != 'kubernetes.azure.com/managed')",message="keys of kubernetes.io, k8s.io and connector.virtual-kubelet.io, and the keys type and kubernetes.azure.com/managed, are reserved: choose another"
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// annotations are put on the Nodes. Keys of kubernetes.io, k8s.io, virtual-kubelet.io and
	// connector.virtual-kubelet.io are reserved. Example: {example.com/contact: batch@example.com}.
	// Default: none.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="every key must be a qualified name such as example.com/contact"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('^([-a-z0-9.]+[.])?(kubernetes[.]io|k8s[.]io|virtual-kubelet[.]io)/'))",message="keys of kubernetes.io, k8s.io and virtual-kubelet.io are reserved: choose another"
	Annotations map[string]AnnotationValue `json:"annotations,omitempty"`

	// taint keeps pods off the nodes that do not tolerate it.
	// Default: virtual-kubelet.io/provider=azure:NoSchedule.
	// +optional
	Taint NodeTaint `json:"taint,omitempty,omitzero"`

	// capacity is what the nodes offer to the scheduler. It is no quota: Azure's own limits decide what
	// can run.
	// +optional
	Capacity NodeCapacity `json:"capacity,omitempty,omitzero"`
}

// AnnotationValue is the value of an annotation.
//
// +kubebuilder:validation:MaxLength=4096
type AnnotationValue string

// TaintPolicy says whether the nodes have a taint.
//
// +kubebuilder:validation:Enum=Managed;None
type TaintPolicy string

const (
	// TaintPolicyManaged keeps one taint on the nodes.
	TaintPolicyManaged TaintPolicy = "Managed"
	// TaintPolicyNone puts no taint on the nodes.
	TaintPolicyNone TaintPolicy = "None"
)

// TaintEffect is what a taint does to pods that do not tolerate it.
//
// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
type TaintEffect string

// NodeTaint is the taint of the nodes.
//
// +kubebuilder:validation:XValidation:rule="!has(self.policy) || self.policy == 'Managed' || (!has(self.key) && !has(self.value) && !has(self.effect))",message="key, value and effect may be set only with policy Managed: remove them, or set policy to Managed"
type NodeTaint struct {
	// policy says whether the nodes have a taint: Managed keeps the one that key, value and effect
	// describe; with None any pod may be scheduled onto the nodes, those of DaemonSets too, which Azure
	// Container Instances can't run. Default: Managed.
	// +optional
	// +kubebuilder:default=Managed
	Policy TaintPolicy `json:"policy,omitempty"`

	// key is the taint's key. Example: virtual-kubelet.io/provider.
	// Default: virtual-kubelet.io/provider.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([-a-z0-9.]+[.])?(kubernetes[.]io|k8s[.]io|connector[.]virtual-kubelet[.]io)/')",message="keys of kubernetes.io, k8s.io and connector.virtual-kubelet.io are reserved: choose another"
	Key QualifiedName `json:"key,omitempty"`

	// value is the taint's value; an empty one is a value, too. Example: azure. Default: azure.
	// +optional
	Value *LabelValue `json:"value,omitempty"`

	// effect is what the taint does to pods that do not tolerate it: NoSchedule, PreferNoSchedule or
	// NoExecute. Default: NoSchedule.
	// +optional
	Effect TaintEffect `json:"effect,omitempty"`
}

// NodeCapacity is what a node offers to the scheduler.
type NodeCapacity struct {
	// cpu is in cores. Example: "100". Default: 10000.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? (isQuantity(self) && quantity(self).isGreaterThan(quantity('0')) && !quantity(self).isGreaterThan(quantity('1000000'))) : (self > 0 && self <= 1000000)",message="must be a quantity above 0 and at most 1000000"
	CPU *resource.Quantity `json:"cpu,omitempty"`

	// memory is in bytes. Example: 400Gi. Default: 4Ti.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? (isQuantity(self) && quantity(self).isGreaterThan(quantity('0')) && !quantity(self).isGreaterThan(quantity('1Pi'))) : (self > 0 && self <= 1125899906842624)",message="must be a quantity above 0 and at most 1Pi"
	Memory *resource.Quantity `json:"memory,omitempty"`

	// pods is the number of pods that a node takes. Example: 100. Default: 5000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Pods *int32 `json:"pods,omitempty"`
}

// RemovalPolicy says how pods leave a node that is removed.
//
// +kubebuilder:validation:Enum=Drain;Force
type RemovalPolicy string

const (
	// RemovalPolicyDrain evicts pods, as kubectl drain does.
	RemovalPolicyDrain RemovalPolicy = "Drain"
	// RemovalPolicyForce deletes pods, whatever their budgets say.
	RemovalPolicyForce RemovalPolicy = "Force"
)

// OrphanPolicy says what becomes of container groups that are left when a node's virtual kubelet has ended.
//
// +kubebuilder:validation:Enum=Delete;Retain
type OrphanPolicy string

const (
	// OrphanPolicyDelete deletes them.
	OrphanPolicyDelete OrphanPolicy = "Delete"
	// OrphanPolicyRetain leaves them, and names them.
	OrphanPolicyRetain OrphanPolicy = "Retain"
)

// Removal says how a node is removed.
//
// +kubebuilder:validation:XValidation:rule="!has(self.drainTimeoutSeconds) || !has(self.policy) || self.policy == 'Drain'",message="drainTimeoutSeconds may be set only with policy Drain: remove it, or set policy to Drain"
type Removal struct {
	// policy says how pods leave: Drain evicts them and honours their PodDisruptionBudgets, Force
	// deletes them at once, with their grace periods. It may be changed while a removal is under way.
	// Default: Drain.
	// +optional
	// +kubebuilder:default=Drain
	Policy RemovalPolicy `json:"policy,omitempty"`

	// drainTimeoutSeconds is how long evictions are tried, in seconds from the beginning of the
	// removal, before the pods that are left are deleted. Example: 600. Default: as long as it takes.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	DrainTimeoutSeconds *int32 `json:"drainTimeoutSeconds,omitempty"`

	// orphanedContainerGroups says what becomes of container groups of the node that are left when its
	// virtual kubelet has ended: Delete deletes them, Retain leaves them, and they go on being billed.
	// Default: Delete.
	// +optional
	// +kubebuilder:default=Delete
	OrphanedContainerGroups OrphanPolicy `json:"orphanedContainerGroups,omitempty"`
}
