// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// LogLevel is a log level of the virtual kubelet.
//
// +kubebuilder:validation:Enum=trace;debug;info;warning;error
type LogLevel string

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

	// podLabels are put on the virtual kubelet's pods. Keys of kubernetes.io, k8s.io and
	// connector.virtual-kubelet.io are reserved. Example: {example.com/team: platform}. Default: none.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="every key must be a qualified name such as example.com/team"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('^([-a-z0-9.]+[.])?(kubernetes[.]io|k8s[.]io|connector[.]virtual-kubelet[.]io)/'))",message="keys of kubernetes.io, k8s.io and connector.virtual-kubelet.io are reserved: choose another"
	// +kubebuilder:validation:XValidation:rule="!('azure.workload.identity/use' in self)",message="the virtual kubelet does not support workload identity, which would keep it from starting: remove azure.workload.identity/use"
	PodLabels map[string]LabelValue `json:"podLabels,omitempty"`

	// podAnnotations are put on the virtual kubelet's pods. Keys of kubernetes.io, k8s.io and
	// connector.virtual-kubelet.io are reserved. Example: {example.com/contact: platform@example.com}.
	// Default: none.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="every key must be a qualified name such as example.com/contact"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('^([-a-z0-9.]+[.])?(kubernetes[.]io|k8s[.]io|connector[.]virtual-kubelet[.]io)/'))",message="keys of kubernetes.io, k8s.io and connector.virtual-kubelet.io are reserved: choose another"
	PodAnnotations map[string]AnnotationValue `json:"podAnnotations,omitempty"`

	// nodeSelector limits the nodes that the virtual kubelet's pods run on, by their labels. Virtual
	// nodes and Windows nodes are never among them. Example: {kubernetes.azure.com/mode: system}.
	// Default: any Linux node.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="every key must be a qualified name such as kubernetes.azure.com/mode"
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`

	// tolerations let the virtual kubelet's pods run on nodes with taints.
	// Example: [{key: CriticalAddonsOnly, operator: Exists}]. Default: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// affinity says which nodes the virtual kubelet's pods prefer or need, and which pods they want
	// beside them or away from them. Virtual nodes and Windows nodes are never among them.
	// Default: none.
	// +optional
	Affinity *Affinity `json:"affinity,omitempty"`

	// priorityClassName is the priority of the virtual kubelet's pods: what is evicted first when a
	// machine is full. Example: system-cluster-critical. Default: system-cluster-critical.
	// +optional
	PriorityClassName ObjectName `json:"priorityClassName,omitempty"`
}

// Resources are the compute resources of a container.
//
// +kubebuilder:validation:XValidation:rule="!has(self.limits) || !has(self.requests) || !has(self.limits.cpu) || !has(self.requests.cpu) || !quantity(string(self.requests.cpu)).isGreaterThan(quantity(string(self.limits.cpu)))",message="requests.cpu must not be above limits.cpu"
// +kubebuilder:validation:XValidation:rule="!has(self.limits) || !has(self.requests) || !has(self.limits.memory) || !has(self.requests.memory) || !quantity(string(self.requests.memory)).isGreaterThan(quantity(string(self.limits.memory)))",message="requests.memory must not be above limits.memory"
type Resources struct {
	// limits are the most that the container may use. Example: {memory: 512Mi}. Default: none.
	// +optional
	Limits ResourceAmounts `json:"limits,omitempty,omitzero"`

	// requests are what the container is sure to get. Example: {cpu: 100m}.
	// Default: {cpu: 100m, memory: 128Mi}, or the limits where those are less.
	// +optional
	Requests ResourceAmounts `json:"requests,omitempty,omitzero"`
}

// ResourceAmounts are amounts of compute resources.
type ResourceAmounts struct {
	// cpu is in cores. Example: 100m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? (isQuantity(self) && quantity(self).isGreaterThan(quantity('0')) && !quantity(self).isGreaterThan(quantity('1000'))) : (self > 0 && self <= 1000)",message="must be a quantity above 0 and at most 1000"
	CPU *resource.Quantity `json:"cpu,omitempty"`

	// memory is in bytes. Example: 128Mi.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? (isQuantity(self) && quantity(self).isGreaterThan(quantity('0')) && !quantity(self).isGreaterThan(quantity('1Pi'))) : (self > 0 && self <= 1125899906842624)",message="must be a quantity above 0 and at most 1Pi"
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// Image names a container image.
type Image struct {
	// repository is the image's registry and repository, without tag and digest. The operator's flag
	// --allowed-image-repositories limits it. Example: mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet.
	// Default: the repository of the operator's release.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*(:[0-9]+)?/)?[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*$')",message="must be a repository such as mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet, without scheme, tag and digest"
	Repository string `json:"repository,omitempty"`

	// tag is the image's tag. Example: 1.6.4. Default: the tag of the operator's release.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9_][-a-zA-Z0-9_.]*$')",message="must be an image tag: letters, digits, underscores, periods and hyphens"
	Tag string `json:"tag,omitempty"`

	// digest pins the image's content; with it the tag is only for people to read.
	// Example: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.
	// Default: none, or that of the operator's release where neither tag nor repository is given.
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
	// that the virtual kubelets run in, to pull the image with. Example: [{name: registry}].
	// Default: none.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	PullSecrets []LocalSecretReference `json:"pullSecrets,omitempty"`
}
