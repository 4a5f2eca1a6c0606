// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// Node is a desired node.
type Node struct {
	identity.Node
	Image
	PullPolicy  corev1.PullPolicy
	PullSecrets []string
	LogLevel    v1alpha1.LogLevel
	Resources   corev1.ResourceRequirements
	// Network is nil where the node's container groups are in no subnet.
	Network *Network
	// NodeLabels, NodeAnnotations, Taint and Capacity are the Node's; Taint is nil where there is none, and a part
	// of Capacity empty where the virtual kubelet decides.
	NodeLabels, NodeAnnotations map[string]string
	Taint                       *corev1.Taint
	Capacity                    Capacity
	// Pod is how the virtual kubelet's pod is made and scheduled.
	Pod Pod
	// Proxy are the variables by which the virtual kubelet reaches Azure through a proxy.
	Proxy []corev1.EnvVar
}

// Capacity is what a node offers to the scheduler, as quantities.
type Capacity struct{ CPU, Memory, Pods string }

// Pod is how a virtual kubelet's pod is made and scheduled.
type Pod struct {
	Labels, Annotations, NodeSelector map[string]string
	Tolerations                       []v1alpha1.Toleration
	Affinity                          *v1alpha1.Affinity
	PriorityClassName                 string
}

// The taint of a node whose connector gives none: the one that azure-aci has always had.
const (
	taintKey   = "virtual-kubelet.io/provider"
	taintValue = "azure"
)

// defaultPriority keeps a virtual kubelet from being the first that a full machine evicts.
const defaultPriority = "system-cluster-critical"

func node(connector *v1alpha1.VirtualKubeletConnector, os v1alpha1.OSType, resolved Resolved, defaults Defaults) Node {
	spec, vk := &connector.Spec.Node, &connector.Spec.VirtualKubelet
	n := Node{
		Node:            resolved.identity(identity.NodeName(identity.Prefix(connector), os, resolved.Location), os),
		PullPolicy:      cmp.Or(vk.Image.PullPolicy, corev1.PullIfNotPresent),
		LogLevel:        cmp.Or(vk.LogLevel, "info"),
		Resources:       resources(vk.Resources),
		NodeLabels:      plain(spec.Labels),
		NodeAnnotations: plain(spec.Annotations),
		Taint:           taint(spec.Taint),
		Capacity:        capacity(spec.Capacity),
		Pod: Pod{
			Labels:            plain(vk.PodLabels),
			Annotations:       plain(vk.PodAnnotations),
			NodeSelector:      plain(vk.NodeSelector),
			Tolerations:       vk.Tolerations,
			Affinity:          vk.Affinity,
			PriorityClassName: cmp.Or(string(vk.PriorityClassName), defaultPriority),
		},
		Proxy: defaults.Proxy,
	}
	for _, secret := range vk.Image.PullSecrets {
		n.PullSecrets = append(n.PullSecrets, string(secret.Name))
	}
	return n
}

func plain[T ~string](typed map[string]T) map[string]string {
	if len(typed) == 0 {
		return nil
	}
	out := make(map[string]string, len(typed))
	for key, value := range typed {
		out[key] = string(value)
	}
	return out
}

func taint(given v1alpha1.NodeTaint) *corev1.Taint {
	if given.Policy == v1alpha1.TaintPolicyNone {
		return nil
	}
	return &corev1.Taint{
		Key:    cmp.Or(string(given.Key), taintKey),
		Value:  string(ptr.Deref(given.Value, taintValue)),
		Effect: corev1.TaintEffect(cmp.Or(given.Effect, v1alpha1.TaintEffect(corev1.TaintEffectNoSchedule))),
	}
}

func capacity(given v1alpha1.NodeCapacity) Capacity {
	var out Capacity
	if given.CPU != nil {
		out.CPU = written(given.CPU)
	}
	if given.Memory != nil {
		out.Memory = written(given.Memory)
	}
	if given.Pods != nil {
		out.Pods = strconv.Itoa(int(*given.Pods))
	}
	return out
}

// written returns a quantity as the API server writes it. String would change the one that it is called on.
func written(quantity *resource.Quantity) string {
	own := quantity.DeepCopy()
	return own.String()
}

func resources(given v1alpha1.Resources) corev1.ResourceRequirements {
	requests := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("100m"),
		corev1.ResourceMemory: resource.MustParse("128Mi"),
	}
	limits := amounts(given.Limits)
	for name := range requests {
		// A request above the limit would be refused.
		if limit, ok := limits[name]; ok && limit.Cmp(requests[name]) < 0 {
			requests[name] = limit
		}
	}
	maps.Copy(requests, amounts(given.Requests))
	return corev1.ResourceRequirements{Requests: requests, Limits: limits}
}

// amounts returns a list whose quantities are as the API server writes them.
func amounts(given v1alpha1.ResourceAmounts) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, quantity := range map[corev1.ResourceName]*resource.Quantity{
		corev1.ResourceCPU: given.CPU, corev1.ResourceMemory: given.Memory,
	} {
		if quantity != nil {
			out[name] = resource.MustParse(written(quantity))
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
