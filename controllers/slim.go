// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"maps"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/render"
)

// slimmer leaves out of caches what the operator does not read. What it owns of an object is a digest there, so that an edit
// of what is left out is noticed, too.
type slimmer struct {
	mu sync.Mutex
	// shared has what many objects say, once.
	shared map[string]string
	// kin has, by the identity of a node, what all of its objects say.
	kin map[string]*kin
	// authority is the CA that the Secrets of all nodes hold.
	authority []byte
}

// How much is shared: what is beyond that is shared among fewer.
const (
	maxShared = 256
	maxKin    = 8192
)

// kin is what the objects of a node have in common. A map of two entries is as large as most objects' other parts are.
type kin struct {
	name          string
	labels, place map[string]string
}

func (s *slimmer) share(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept, ok := s.shared[text]; ok {
		return kept
	}
	if s.shared == nil || len(s.shared) >= maxShared {
		s.shared = map[string]string{}
	}
	s.shared[text] = text
	return text
}

// transform slims what a cache is about to keep; what is not slimmed is kept as it is.
func transform[T client.Object](slim func(T) T) cache.TransformFunc {
	return func(object any) (any, error) {
		is, ok := object.(T)
		if !ok {
			return object, nil
		}
		if err := apply.Slim(is); err != nil {
			return object, nil //nolint:nilerr // it is kept whole then
		}
		return slim(is), nil
	}
}

// meta keeps whose an object is, and what the operator notes on it.
func (s *slimmer) meta(is metav1.ObjectMeta) metav1.ObjectMeta {
	slim := metav1.ObjectMeta{
		Namespace: s.share(is.Namespace), Name: is.Name, UID: is.UID, ResourceVersion: is.ResourceVersion, Generation: is.Generation,
		CreationTimestamp: is.CreationTimestamp, DeletionTimestamp: is.DeletionTimestamp, DeletionGracePeriodSeconds: is.DeletionGracePeriodSeconds,
		Finalizers: is.Finalizers, ManagedFields: is.ManagedFields,
	}
	slim.Labels, slim.Annotations = s.marks(is.Labels), s.marks(is.Annotations)
	if hash, ok := slim.Labels[identity.LabelIdentity]; ok {
		s.adopt(hash, &slim)
	}
	return slim
}

// adopt has an object share what it says with the others of its node.
func (s *slimmer) adopt(hash string, slim *metav1.ObjectMeta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of, ok := s.kin[hash]
	if !ok {
		if s.kin == nil || len(s.kin) >= maxKin {
			s.kin = map[string]*kin{}
		}
		of = &kin{}
		s.kin[hash] = of
	}
	_, placed := slim.Annotations[identity.AnnotationPlace]
	switch {
	case of.name == slim.Name:
		slim.Name = of.name
	case placed: // pods have names of their own
		of.name = slim.Name
	}
	of.labels = same(of.labels, slim.Labels)
	slim.Labels = of.labels
	if placed && len(slim.Annotations) == 1 {
		of.place = same(of.place, slim.Annotations)
		slim.Annotations = of.place
	}
}

// same returns the first of two maps if they are equal, and the second one otherwise.
func same(former, is map[string]string) map[string]string {
	if maps.Equal(former, is) {
		return former
	}
	return is
}

// marks keeps the labels or annotations that the operator reads.
func (s *slimmer) marks(all map[string]string) map[string]string {
	var kept map[string]string
	for key, value := range all {
		switch {
		case key == identity.LabelManagedBy, key == identity.LabelVirtualNode, key == identity.LabelOS, key == identity.AnnotationPlace:
			value = s.share(value)
		case !strings.HasPrefix(key, identity.Domain):
			continue
		}
		if kept == nil {
			kept = map[string]string{}
		}
		kept[s.share(key)] = value
	}
	return kept
}

// connector keeps all but who manages its fields, and its annotations, one of which is kubectl's copy of all of it.
func (s *slimmer) connector(object any) (any, error) {
	is, ok := object.(*v1alpha1.VirtualKubeletConnector)
	if !ok {
		return object, nil
	}
	is.ManagedFields, is.Annotations = nil, nil
	s.conditions(is.Status.Conditions)
	for i := range is.Status.Nodes {
		node := &is.Status.Nodes[i]
		node.Location, node.ResourceGroup, node.Image = s.share(node.Location), s.share(node.ResourceGroup), s.share(node.Image)
		node.KubeletVersion = s.share(node.KubeletVersion)
		s.conditions(node.Conditions)
	}
	return is, nil
}

func (s *slimmer) conditions(all []metav1.Condition) {
	for i := range all {
		all[i].Type, all[i].Reason, all[i].Message = s.share(all[i].Type), s.share(all[i].Reason), s.share(all[i].Message)
	}
}

func (s *slimmer) serviceAccount(is *corev1.ServiceAccount) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{TypeMeta: is.TypeMeta, ObjectMeta: s.meta(is.ObjectMeta)}
}

func (s *slimmer) clusterRoleBinding(is *rbacv1.ClusterRoleBinding) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{TypeMeta: is.TypeMeta, ObjectMeta: s.meta(is.ObjectMeta), RoleRef: s.roleRef(is.RoleRef)}
}

func (s *slimmer) roleBinding(is *rbacv1.RoleBinding) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{TypeMeta: is.TypeMeta, ObjectMeta: s.meta(is.ObjectMeta), RoleRef: s.roleRef(is.RoleRef)}
}

func (s *slimmer) roleRef(is rbacv1.RoleRef) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: s.share(is.APIGroup), Kind: s.share(is.Kind), Name: s.share(is.Name)}
}

// secret keeps the data: the users' Secrets, which carry no label of the operator's, are read from the cache, too.
func (s *slimmer) secret(is *corev1.Secret) *corev1.Secret {
	if authority, ok := is.Data[render.ClientCAKey]; ok {
		s.mu.Lock()
		if !bytes.Equal(s.authority, authority) {
			s.authority = authority
		}
		is.Data[render.ClientCAKey] = s.authority
		s.mu.Unlock()
	}
	return &corev1.Secret{TypeMeta: is.TypeMeta, ObjectMeta: s.meta(is.ObjectMeta), Data: is.Data}
}

// deployment keeps how its virtual kubelet is started, as far as the Node tells of it, and how it fares.
func (s *slimmer) deployment(is *appsv1.Deployment) *appsv1.Deployment {
	slim := &appsv1.Deployment{TypeMeta: is.TypeMeta, ObjectMeta: s.meta(is.ObjectMeta)}
	slim.Spec.Replicas, slim.Spec.Selector = is.Spec.Replicas, is.Spec.Selector
	slim.Spec.Template.Spec.Containers = s.containers(is.Spec.Template.Spec.Containers)
	slim.Status = is.Status
	slim.Status.Conditions = nil
	for _, c := range is.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure {
			slim.Status.Conditions = append(slim.Status.Conditions, c)
		}
	}
	return slim
}

func (s *slimmer) containers(all []corev1.Container) []corev1.Container {
	slim := make([]corev1.Container, 0, len(all))
	for i := range all {
		container := corev1.Container{Name: s.share(all[i].Name), Image: s.share(all[i].Image)}
		for _, argument := range all[i].Args {
			if argument == render.ArgumentNoTaint {
				container.Args = []string{render.ArgumentNoTaint}
			}
		}
		for _, variable := range all[i].Env {
			switch variable.Name {
			case render.VariableTaintKey, render.VariableTaintValue, render.VariableTaintEffect:
				container.Env = append(container.Env, corev1.EnvVar{Name: s.share(variable.Name), Value: s.share(variable.Value)})
			}
		}
		slim = append(slim, container)
	}
	return slim
}

// pod keeps how a virtual kubelet fares. The operator applies no pods.
func (s *slimmer) pod(object any) (any, error) {
	is, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	slim := &corev1.Pod{TypeMeta: is.TypeMeta, ObjectMeta: s.meta(is.ObjectMeta)}
	slim.ManagedFields = nil
	slim.Spec.NodeName = s.share(is.Spec.NodeName)
	slim.Status.Phase = is.Status.Phase
	for _, c := range is.Status.ContainerStatuses {
		slim.Status.ContainerStatuses = append(slim.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: s.share(c.Name), Image: s.share(c.Image), State: c.State, LastTerminationState: c.LastTerminationState, Ready: c.Ready, RestartCount: c.RestartCount,
		})
	}
	for _, c := range is.Status.Conditions {
		if c.Type == corev1.PodReady || c.Type == corev1.PodScheduled {
			slim.Status.Conditions = append(slim.Status.Conditions, c)
		}
	}
	return slim, nil
}

func (s *slimmer) node(is *corev1.Node) *corev1.Node {
	slim := &corev1.Node{TypeMeta: is.TypeMeta, ObjectMeta: s.meta(is.ObjectMeta)}
	slim.Spec.Unschedulable = is.Spec.Unschedulable
	slim.Spec.ProviderID = is.Spec.ProviderID
	slim.Spec.Taints = is.Spec.Taints
	slim.Status.NodeInfo.KubeletVersion = s.share(is.Status.NodeInfo.KubeletVersion)
	for _, c := range is.Status.Conditions {
		if c.Type == corev1.NodeReady {
			slim.Status.Conditions = append(slim.Status.Conditions, c)
		}
	}
	return slim
}
