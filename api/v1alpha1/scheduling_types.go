// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// The types of this file have the form of those of Kubernetes, so that what works in a pod works here, and
// bounds and rules that those lack, so that what the API server would refuse in a pod is refused at once.

// Toleration tolerates taints of a node, as in a pod.
//
// +kubebuilder:validation:XValidation:rule="has(self.operator) && self.operator == 'Exists' ? !has(self.value) : has(self.key)",message="with operator Exists there must be no value; with operator Equal, the default, there must be a key"
// +kubebuilder:validation:XValidation:rule="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",message="tolerationSeconds may be set only with effect NoExecute"
type Toleration struct {
	// key is the key of the taints. Example: CriticalAddonsOnly. Default: every key, with operator Exists.
	// +optional
	Key QualifiedName `json:"key,omitempty"`

	// operator says how value is compared: Equal or Exists. Default: Equal.
	// +optional
	// +kubebuilder:validation:Enum=Equal;Exists
	Operator string `json:"operator,omitempty"`

	// value is the value of the taints. Example: "true". Default: the empty value.
	// +optional
	Value LabelValue `json:"value,omitempty"`

	// effect is the effect of the taints: NoSchedule, PreferNoSchedule or NoExecute. Default: every effect.
	// +optional
	Effect TaintEffect `json:"effect,omitempty"`

	// tolerationSeconds is how long a taint with effect NoExecute is tolerated, in seconds.
	// Example: 300. Default: for ever.
	// +optional
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// Affinity says where pods want to run, as in a pod.
type Affinity struct {
	// nodeAffinity is about the labels of nodes.
	// +optional
	NodeAffinity *NodeAffinity `json:"nodeAffinity,omitempty"`

	// podAffinity is about pods to be near to.
	// +optional
	PodAffinity *PodAffinity `json:"podAffinity,omitempty"`

	// podAntiAffinity is about pods to be away from.
	// +optional
	PodAntiAffinity *PodAffinity `json:"podAntiAffinity,omitempty"`
}

// NodeAffinity says which nodes pods need or prefer.
type NodeAffinity struct {
	// requiredDuringSchedulingIgnoredDuringExecution is what a node must fulfil.
	// +optional
	RequiredDuringSchedulingIgnoredDuringExecution *NodeSelector `json:"requiredDuringSchedulingIgnoredDuringExecution,omitempty"`

	// preferredDuringSchedulingIgnoredDuringExecution is what a node should fulfil.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	PreferredDuringSchedulingIgnoredDuringExecution []PreferredSchedulingTerm `json:"preferredDuringSchedulingIgnoredDuringExecution,omitempty"`
}

// NodeSelector selects nodes by any of its terms.
type NodeSelector struct {
	// nodeSelectorTerms are alternatives.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	NodeSelectorTerms []NodeSelectorTerm `json:"nodeSelectorTerms,omitempty"`
}

// NodeSelectorTerm selects nodes that fulfil all of its requirements.
type NodeSelectorTerm struct {
	// matchExpressions are requirements on the labels of a node.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	MatchExpressions []NodeSelectorRequirement `json:"matchExpressions,omitempty"`
}

// NodeSelectorRequirement is a requirement on a label of a node.
//
// +kubebuilder:validation:XValidation:rule="self.operator in ['In', 'NotIn'] ? has(self.values) : (self.operator in ['Gt', 'Lt'] ? has(self.values) && size(self.values) == 1 && self.values[0].matches('^-?[0-9]{1,18}$') : !has(self.values))",message="operators In and NotIn need values, Gt and Lt one integer, Exists and DoesNotExist none"
type NodeSelectorRequirement struct {
	// key is the label's key. Example: kubernetes.azure.com/mode.
	// +required
	Key QualifiedName `json:"key,omitempty"`

	// operator says how the label's value is compared: In, NotIn, Exists, DoesNotExist, Gt or Lt.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist;Gt;Lt
	Operator string `json:"operator,omitempty"`

	// values are what it is compared with.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Values []LabelValue `json:"values,omitempty"`
}

// PreferredSchedulingTerm is a preference for nodes.
type PreferredSchedulingTerm struct {
	// weight is how much the preference counts, from 1 to 100.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight,omitempty"`

	// preference is what a node should fulfil.
	// +required
	Preference NodeSelectorTerm `json:"preference,omitzero"`
}

// PodAffinity says which pods pods need or prefer beside them, or away from them.
type PodAffinity struct {
	// requiredDuringSchedulingIgnoredDuringExecution is what must be fulfilled.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	RequiredDuringSchedulingIgnoredDuringExecution []PodAffinityTerm `json:"requiredDuringSchedulingIgnoredDuringExecution,omitempty"`

	// preferredDuringSchedulingIgnoredDuringExecution is what should be fulfilled.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	PreferredDuringSchedulingIgnoredDuringExecution []WeightedPodAffinityTerm `json:"preferredDuringSchedulingIgnoredDuringExecution,omitempty"`
}

// WeightedPodAffinityTerm is a preference about pods.
type WeightedPodAffinityTerm struct {
	// weight is how much the preference counts, from 1 to 100.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight,omitempty"`

	// podAffinityTerm is what should be fulfilled.
	// +required
	PodAffinityTerm PodAffinityTerm `json:"podAffinityTerm,omitzero"`
}

// PodAffinityTerm is about pods of the namespace that the virtual kubelets run in.
type PodAffinityTerm struct {
	// labelSelector selects the pods.
	// +required
	LabelSelector LabelSelector `json:"labelSelector,omitzero"`

	// topologyKey is the key of the node label whose values are the places that count as one.
	// Example: kubernetes.io/hostname.
	// +required
	TopologyKey QualifiedName `json:"topologyKey,omitempty"`
}

// LabelSelector selects objects that fulfil all of its requirements.
//
// +kubebuilder:validation:XValidation:rule="has(self.matchLabels) || has(self.matchExpressions)",message="must have matchLabels, matchExpressions or both"
type LabelSelector struct {
	// matchLabels are labels with their values. Example: {app.kubernetes.io/component: virtual-node}.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="every key must be a qualified name such as app.kubernetes.io/component"
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// matchExpressions are requirements on labels.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	MatchExpressions []LabelSelectorRequirement `json:"matchExpressions,omitempty"`
}

// LabelSelectorRequirement is a requirement on a label.
//
// +kubebuilder:validation:XValidation:rule="self.operator in ['In', 'NotIn'] ? has(self.values) : !has(self.values)",message="operators In and NotIn need values, Exists and DoesNotExist none"
type LabelSelectorRequirement struct {
	// key is the label's key. Example: app.kubernetes.io/name.
	// +required
	Key QualifiedName `json:"key,omitempty"`

	// operator says how the label's value is compared: In, NotIn, Exists or DoesNotExist.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator string `json:"operator,omitempty"`

	// values are what it is compared with.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Values []LabelValue `json:"values,omitempty"`
}
