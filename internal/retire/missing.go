// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
)

// complete returns a node with those of its objects that the cache does not show: it holds what carries a label, and
// somebody may have taken that off. It reads each object that the node lacks once, live, and returns also which it found,
// of which no watch tells.
func (r *Retirer) complete(ctx context.Context, seen *observe.Node, namespace string) (*observe.Node, []client.Object, error) {
	node := new(*seen)
	var found []client.Object
	deployment, secret, account := &appsv1.Deployment{}, &corev1.Secret{}, &corev1.ServiceAccount{}
	clusterBinding, binding, virtual := &rbacv1.ClusterRoleBinding{}, &rbacv1.RoleBinding{}, &corev1.Node{}
	// The Deployment is first, as its selector tells best whose it is, and the Node is last, as the others tell whether it was
	// ever made.
	for _, wanted := range []struct {
		lacking   bool
		object    client.Object
		namespace string
		add       func()
	}{
		{node.Deployment == nil, deployment, namespace, func() { node.Deployment = deployment }},
		{node.Secret == nil, secret, namespace, func() { node.Secret = secret }},
		{node.ServiceAccount == nil, account, namespace, func() { node.ServiceAccount = account }},
		{node.ClusterRoleBinding == nil, clusterBinding, "", func() { node.ClusterRoleBinding = clusterBinding }},
		{node.RoleBinding == nil, binding, render.LeaseNamespace, func() { node.RoleBinding = binding }},
		{node.Node == nil, virtual, "", func() { node.Node = virtual }},
	} {
		if !wanted.lacking || (wanted.object == virtual && !hasClaim(node)) {
			continue
		}
		err := r.Live.Get(ctx, client.ObjectKey{Namespace: wanted.namespace, Name: node.Name}, wanted.object)
		if client.IgnoreNotFound(err) != nil {
			return nil, nil, fmt.Errorf("get %T %s: %w", wanted.object, node.Name, err)
		}
		if err == nil && madeFor(node, wanted.object) {
			wanted.add()
			found = append(found, wanted.object)
		}
	}
	return node, found, nil
}

// hasClaim reports whether a node's name was claimed, as far as its objects tell.
func hasClaim(node *observe.Node) bool {
	return node.Started() || (node.Secret != nil && node.Secret.Annotations[identity.AnnotationClaim] == node.Hash)
}

// madeFor reports whether an object of a node's name, that lacks the label of the operator's, was made for the node.
func madeFor(node *observe.Node, object client.Object) bool {
	if virtual, ok := object.(*corev1.Node); ok {
		return itsNode(node, virtual)
	}
	if !apply.Applied(object) {
		return false
	}
	if deployment, ok := object.(*appsv1.Deployment); ok && deployment.Spec.Selector != nil {
		if hash := deployment.Spec.Selector.MatchLabels[identity.LabelIdentity]; hash != "" {
			return hash == node.Hash // which can't be edited
		}
	}
	told := []string{object.GetAnnotations()[identity.AnnotationClaim], object.GetLabels()[identity.LabelIdentity]}
	if place, err := read([]byte(object.GetAnnotations()[identity.AnnotationPlace])); err == nil {
		told = append(told, hashOf(node.Name, place))
	}
	told = slices.DeleteFunc(told, func(hash string) bool { return hash == "" })
	return slices.Contains(told, node.Hash) || (len(told) == 0 && hasClaim(node))
}

// hashOf returns the identity of a node of a name, by what its virtual kubelet was started with.
func hashOf(name string, config render.AzureConfig) string {
	target := config.Target()
	return identity.Node{
		Name: name, Cloud: target.Cloud, TenantID: target.TenantID,
		SubscriptionID: target.SubscriptionID, ResourceGroup: target.ResourceGroup, Location: config.Location,
	}.Hash()
}

// itsNode reports whether a Node of a node's name is the one that the node's virtual kubelet has made: no machine of a
// cloud, nor one that somebody else keeps Ready.
func itsNode(node *observe.Node, virtual *corev1.Node) bool {
	switch {
	case virtual.Spec.ProviderID != "":
		return false
	case Cordoned(virtual):
		return true
	case observe.Ready(virtual) && !running(node.Deployment) && ending(node) == nil:
		return false
	}
	return node.Started() || apply.Applied(virtual) || virtual.Labels[identity.LabelIdentity] == node.Hash
}

// unwatched reports whether an object was read past the cache, which does not show what is written to it either.
func (v *visit) unwatched(object client.Object) bool { return slices.Contains(v.found, object) }
