// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// The functions here leave out of caches what the operator does not read. What they return must not share memory with what
// is left out.

// slimChild keeps of who manages an object's fields only those who may have written what the operator owns.
func slimChild(object any) (any, error) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return object, nil //nolint:nilerr // what the cache tells of an object that it has missed the deletion of
	}
	accessor.SetManagedFields(slimManagers(accessor.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return m.Subresource == ""
	}))
	return object, nil
}

// slimSecret keeps of a user's Secret its data alone: kubectl keeps a copy of that in an annotation.
func slimSecret(object any) (any, error) {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return object, nil
	}
	if secret.Labels[identity.LabelManagedBy] != identity.ManagedBy && secret.Annotations[identity.AnnotationClaim] == "" {
		secret.ManagedFields = nil
		secret.Annotations = nil
	}
	return slimChild(secret)
}

// slimPod keeps of a virtual kubelet's pod whose it is and how it fares.
func slimPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	slim := &corev1.Pod{TypeMeta: pod.TypeMeta, ObjectMeta: pod.ObjectMeta}
	slim.ManagedFields, slim.Annotations, slim.OwnerReferences = nil, nil, nil
	for i := range pod.Spec.Containers {
		container := &pod.Spec.Containers[i]
		slim.Spec.Containers = append(slim.Spec.Containers, corev1.Container{Name: container.Name, Image: container.Image})
	}
	slim.Status.Phase = pod.Status.Phase
	slim.Status.Conditions = pod.Status.Conditions
	slim.Status.ContainerStatuses = pod.Status.ContainerStatuses
	return slim, nil
}

// slimNode keeps of a Node whose it is and whether it is ready.
func slimNode(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	slim := &corev1.Node{TypeMeta: node.TypeMeta, ObjectMeta: node.ObjectMeta}
	slim.ManagedFields = slimManagers(node.ManagedFields, func(m metav1.ManagedFieldsEntry) bool { return m.Manager == string(apply.FieldOwner) })
	slim.Annotations = maps.Clone(node.Annotations)
	// What a virtual kubelet remembers there changes with each of its heartbeats.
	maps.DeleteFunc(slim.Annotations, func(key, _ string) bool { return strings.HasPrefix(key, "virtual-kubelet.io/") })
	slim.Spec.Unschedulable = node.Spec.Unschedulable
	slim.Spec.ProviderID = node.Spec.ProviderID
	slim.Spec.Taints = node.Spec.Taints
	slim.Status.NodeInfo.KubeletVersion = node.Status.NodeInfo.KubeletVersion
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			slim.Status.Conditions = append(slim.Status.Conditions, c)
		}
	}
	return slim, nil
}

// slimManagers returns those that are wanted, in a list of their own.
func slimManagers(managers []metav1.ManagedFieldsEntry, wanted func(metav1.ManagedFieldsEntry) bool) []metav1.ManagedFieldsEntry {
	var kept []metav1.ManagedFieldsEntry
	for _, m := range managers {
		if wanted(m) {
			kept = append(kept, m)
		}
	}
	return slices.Clip(kept)
}
