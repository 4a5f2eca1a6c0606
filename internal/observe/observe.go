// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package observe reads, from the cache, what exists of a connector's nodes; it judges nothing and
// writes nothing.
package observe

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// indexField finds the objects of a connector without a walk through all others.
const indexField = "connector"

// Node is what exists of one identity; nil and empty where there is nothing.
type Node struct {
	// Name is the node's name, Hash its identity.
	Name, Hash string

	Secret             *corev1.Secret
	ServiceAccount     *corev1.ServiceAccount
	ClusterRoleBinding *rbacv1.ClusterRoleBinding
	RoleBinding        *rbacv1.RoleBinding
	Deployment         *appsv1.Deployment
	// Pods are the virtual kubelet's own pods.
	Pods []corev1.Pod
	// Node is the virtual node.
	Node *corev1.Node
}

// OSType returns the node's operating system by its labels; empty where nothing carries them.
func (n *Node) OSType() v1alpha1.OSType {
	var labels map[string]string
	switch {
	case n.Secret != nil:
		labels = n.Secret.Labels
	case n.Deployment != nil:
		labels = n.Deployment.Labels
	case n.Node != nil:
		labels = n.Node.Labels
	}
	switch labels[identity.LabelOS] {
	case "linux":
		return v1alpha1.OSTypeLinux
	case "windows":
		return v1alpha1.OSTypeWindows
	}
	return ""
}

// Snapshot holds what exists of a connector, by identity.
type Snapshot map[string]*Node

// Hashes returns the identities in the order of their nodes' names.
func (s Snapshot) Hashes() []string {
	hashes := make([]string, 0, len(s))
	for hash := range s {
		hashes = append(hashes, hash)
	}
	slices.SortFunc(hashes, func(a, b string) int {
		return cmp.Or(cmp.Compare(s[a].Name, s[b].Name), cmp.Compare(a, b))
	})
	return hashes
}

// Observer takes snapshots.
type Observer struct {
	Cache client.Reader
}

// Index prepares a cache for an Observer.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	for _, object := range []client.Object{
		&corev1.Secret{}, &corev1.ServiceAccount{}, &rbacv1.ClusterRoleBinding{}, &rbacv1.RoleBinding{},
		&appsv1.Deployment{}, &corev1.Pod{}, &corev1.Node{},
	} {
		err := indexer.IndexField(ctx, object, indexField, func(o client.Object) []string {
			if labels := o.GetLabels(); labels[identity.LabelManagedBy] == identity.ManagedBy {
				return []string{labels[identity.LabelConnector]}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("index %T by connector: %w", object, err)
		}
	}
	return nil
}

// Observe returns what exists of a connector.
func (o *Observer) Observe(ctx context.Context, connector string) (Snapshot, error) {
	snapshot := Snapshot{}
	var (
		secrets         corev1.SecretList
		accounts        corev1.ServiceAccountList
		clusterBindings rbacv1.ClusterRoleBindingList
		bindings        rbacv1.RoleBindingList
		deployments     appsv1.DeploymentList
		pods            corev1.PodList
		nodes           corev1.NodeList
	)
	for _, list := range []client.ObjectList{&secrets, &accounts, &clusterBindings, &bindings, &deployments, &pods, &nodes} {
		if err := o.Cache.List(ctx, list, client.MatchingFields{indexField: connector}); err != nil {
			return nil, fmt.Errorf("list %T of connector %s: %w", list, connector, err)
		}
	}
	for i := range secrets.Items {
		snapshot.of(&secrets.Items[i]).Secret = &secrets.Items[i]
	}
	for i := range accounts.Items {
		snapshot.of(&accounts.Items[i]).ServiceAccount = &accounts.Items[i]
	}
	for i := range clusterBindings.Items {
		snapshot.of(&clusterBindings.Items[i]).ClusterRoleBinding = &clusterBindings.Items[i]
	}
	for i := range bindings.Items {
		snapshot.of(&bindings.Items[i]).RoleBinding = &bindings.Items[i]
	}
	for i := range deployments.Items {
		snapshot.of(&deployments.Items[i]).Deployment = &deployments.Items[i]
	}
	for i := range nodes.Items {
		snapshot.of(&nodes.Items[i]).Node = &nodes.Items[i]
	}
	for i := range pods.Items {
		if node, ok := snapshot[pods.Items[i].Labels[identity.LabelIdentity]]; ok {
			node.Pods = append(node.Pods, pods.Items[i])
		}
	}
	return snapshot, o.unlabelled(ctx, snapshot)
}

func (s Snapshot) of(object client.Object) *Node {
	hash := object.GetLabels()[identity.LabelIdentity]
	node, ok := s[hash]
	if !ok {
		node = &Node{Name: object.GetName(), Hash: hash}
		s[hash] = node
	}
	return node
}

// unlabelled adds the Nodes that virtual kubelets have made and that are not labelled yet.
func (o *Observer) unlabelled(ctx context.Context, snapshot Snapshot) error {
	for _, observed := range snapshot {
		if observed.Node != nil {
			continue
		}
		var node corev1.Node
		if err := o.Cache.Get(ctx, client.ObjectKey{Name: observed.Name}, &node); err != nil {
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("get Node %s: %w", observed.Name, err)
			}
			continue
		}
		if node.Labels[identity.LabelIdentity] == "" {
			observed.Node = &node
		}
	}
	return nil
}
