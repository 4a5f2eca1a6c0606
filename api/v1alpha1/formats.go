// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// The names of Azure follow its rules for names
// (https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules),
// those of Kubernetes the rules of its API server.

// GUID is a globally unique identifier such as 11111111-1111-1111-1111-111111111111.
//
// +kubebuilder:validation:MinLength=36
// +kubebuilder:validation:MaxLength=36
// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$')",message="must be a GUID such as 11111111-1111-1111-1111-111111111111"
type GUID string

// ResourceGroupName is the name of an Azure resource group.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=90
// +kubebuilder:validation:XValidation:rule="self.matches('^[-\\\\p{L}\\\\p{N}_.()]*[-\\\\p{L}\\\\p{N}_()]$')",message="must be the name of an Azure resource group: letters, digits, underscores, hyphens, periods and parentheses, without a period at the end"
type ResourceGroupName string

// Location is the name of an Azure region or its display name: eastus and East US are the same.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=40
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9]*( [A-Za-z0-9]+)*$')",message="must be the name of an Azure region, such as eastus or East US; az account list-locations -o table shows them"
type Location string

// ObjectName is the name of a Kubernetes object, such as a Secret.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be the name of a Kubernetes object: lower-case letters, digits, hyphens and periods, beginning and ending with a letter or digit"
type ObjectName string

// QualifiedName is the key of a label, a taint or a node selector: a name of at most 63 characters, perhaps behind
// a DNS name and a slash.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",message="must be a qualified name such as example.com/purpose: a name of at most 63 letters, digits, hyphens, underscores and periods, perhaps behind a DNS name and a slash"
type QualifiedName string

// LabelValue is the value of a label, a taint or a node selector.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="must be empty, or letters, digits, hyphens, underscores and periods, beginning and ending with a letter or digit"
type LabelValue string

// LocalSecretReference names a Secret in the namespace that the operator runs virtual kubelets in
// (vk-connector-system, unless the operator was told otherwise).
type LocalSecretReference struct {
	// name is the name of the Secret. Example: virtual-kubelet-credentials.
	// +required
	Name ObjectName `json:"name,omitempty"`
}

// SecretKeyReference points to one key of a Secret in the namespace that the operator runs virtual
// kubelets in (vk-connector-system, unless the operator was told otherwise).
type SecretKeyReference struct {
	// name is the name of the Secret. Example: virtual-kubelet-credentials.
	// +required
	Name ObjectName `json:"name,omitempty"`

	// key is the key in the Secret's data whose value is the client secret, without a line break at
	// its end. Default: clientSecret.
	// +optional
	// +kubebuilder:default=clientSecret
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="must be a key of a Secret: letters, digits, hyphens, underscores and periods"
	Key string `json:"key,omitempty"`
}
