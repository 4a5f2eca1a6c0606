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
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
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

// Children are the objects that were made for the node, but for its Secret.
func (n *Node) Children() []client.Object {
	var children []client.Object
	if n.Deployment != nil {
		children = append(children, n.Deployment)
	}
	if n.ClusterRoleBinding != nil {
		children = append(children, n.ClusterRoleBinding)
	}
	if n.RoleBinding != nil {
		children = append(children, n.RoleBinding)
	}
	if n.ServiceAccount != nil {
		children = append(children, n.ServiceAccount)
	}
	return children
}

// Deployed reports whether there is a Deployment of the node's virtual kubelet.
func (n *Node) Deployed() bool { return n != nil && n.Deployment != nil }

// Ready reports whether a Node is Ready, as far as it says.
func Ready(node *corev1.Node) bool {
	ready := ReadyCondition(node)
	return ready == nil || ready.Status == corev1.ConditionTrue
}

// ReadyCondition returns the condition Ready of a Node; nil where it has none.
func ReadyCondition(node *corev1.Node) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == corev1.NodeReady {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// Started reports whether there is something that is made only once the node's name is claimed. The labels of a Node prove
// nothing: others may write them.
func (n *Node) Started() bool { return n != nil && len(n.Children()) > 0 }

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
	// Namespace is where virtual kubelets run.
	Namespace string
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
		pods  corev1.PodList
		nodes corev1.NodeList
	)
	names := map[string]bool{}
	for _, list := range []client.ObjectList{
		&corev1.SecretList{}, &corev1.ServiceAccountList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleBindingList{}, &appsv1.DeploymentList{},
	} {
		if err := o.list(ctx, list, connector); err != nil {
			return nil, err
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			object, err := meta.Accessor(item)
			if err == nil {
				names[object.GetName()] = true
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read %T of connector %s: %w", list, connector, err)
		}
	}
	for _, list := range []client.ObjectList{&pods, &nodes} {
		if err := o.list(ctx, list, connector); err != nil {
			return nil, err
		}
	}
	for name := range names {
		node, err := o.named(ctx, name)
		if err != nil {
			return nil, err
		}
		owner, hash := node.belonging()
		if owner == connector {
			node.Hash = hash
			snapshot[hash] = node
		}
	}
	if err := o.nodes(ctx, snapshot, nodes.Items); err != nil {
		return nil, err
	}
	for i := range pods.Items {
		if node, ok := snapshot[pods.Items[i].Labels[identity.LabelIdentity]]; ok {
			node.Pods = append(node.Pods, pods.Items[i])
		}
	}
	return snapshot, nil
}

func (o *Observer) list(ctx context.Context, list client.ObjectList, connector string) error {
	if err := o.Cache.List(ctx, list, client.MatchingFields{indexField: connector}); err != nil {
		return fmt.Errorf("list %T of connector %s: %w", list, connector, err)
	}
	return nil
}

// named returns the objects that were made for a node of a name, whatever somebody has made of their labels: each name
// is of one node at a time.
func (o *Observer) named(ctx context.Context, name string) (*Node, error) {
	node := &Node{Name: name}
	secret, account, deployment := &corev1.Secret{}, &corev1.ServiceAccount{}, &appsv1.Deployment{}
	clusterBinding, binding := &rbacv1.ClusterRoleBinding{}, &rbacv1.RoleBinding{}
	for _, wanted := range []struct {
		object    client.Object
		namespace string
		found     func()
	}{
		{secret, o.Namespace, func() { node.Secret = secret }},
		{account, o.Namespace, func() { node.ServiceAccount = account }},
		{clusterBinding, "", func() { node.ClusterRoleBinding = clusterBinding }},
		{binding, corev1.NamespaceNodeLease, func() { node.RoleBinding = binding }},
		{deployment, o.Namespace, func() { node.Deployment = deployment }},
	} {
		err := o.Cache.Get(ctx, client.ObjectKey{Namespace: wanted.namespace, Name: name}, wanted.object)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get %T %s: %w", wanted.object, name, err)
		}
		if err == nil && ours(wanted.object) {
			wanted.found()
		}
	}
	return node, nil
}

// Owner returns the connector that objects were made for under a node's name; empty where there are none.
func (o *Observer) Owner(ctx context.Context, name string) (string, error) {
	node, err := o.named(ctx, name)
	if err != nil {
		return "", err
	}
	connector, _ := node.belonging()
	return connector, nil
}

// ours tells what was made for a node from what others have made of the same name.
func ours(object client.Object) bool {
	return object.GetLabels()[identity.LabelManagedBy] == identity.ManagedBy || object.GetAnnotations()[identity.AnnotationClaim] != ""
}

// belonging returns whose a node is, and its identity, as most of its objects say: somebody may have edited the labels of
// some.
func (n *Node) belonging() (connector, hash string) {
	var connectors, hashes []string
	if n.Secret != nil {
		connectors = append(connectors, n.Secret.Labels[identity.LabelConnector])
		hashes = append(hashes, n.Secret.Annotations[identity.AnnotationClaim], n.Secret.Labels[identity.LabelIdentity])
	}
	if n.Deployment != nil && n.Deployment.Spec.Selector != nil {
		hashes = append(hashes, n.Deployment.Spec.Selector.MatchLabels[identity.LabelIdentity]) // which can't be edited
	}
	for _, child := range n.Children() {
		connectors = append(connectors, child.GetLabels()[identity.LabelConnector])
		hashes = append(hashes, child.GetLabels()[identity.LabelIdentity])
	}
	return most(connectors), most(hashes)
}

// most returns the value that is there most often, the first of those, but for the empty one.
func most(values []string) string {
	counts := map[string]int{}
	for _, value := range values {
		if value != "" {
			counts[value]++
		}
	}
	found := ""
	for _, value := range values {
		if counts[value] > counts[found] {
			found = value
		}
	}
	return found
}

// Has reports whether an object is one of the node's.
func (n *Node) Has(object client.Object) bool {
	if n == nil {
		return false
	}
	all := n.Children()
	if n.Secret != nil {
		all = append(all, n.Secret)
	}
	return slices.ContainsFunc(all, func(o client.Object) bool { return o.GetUID() == object.GetUID() })
}

// nodes adds the Nodes. To what was made for a node belongs the Node of its name, whatever its labels are: somebody may
// have edited them, or the virtual kubelet has just made it. Before the virtual kubelet was started, only the labels tell
// it from somebody else's. Labels alone make no Node that of another name.
func (o *Observer) nodes(ctx context.Context, snapshot Snapshot, labelled []corev1.Node) error {
	taken := map[string]bool{}
	for hash, observed := range snapshot {
		var node corev1.Node
		if err := o.Cache.Get(ctx, client.ObjectKey{Name: observed.Name}, &node); err != nil {
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("get Node %s: %w", observed.Name, err)
			}
			continue
		}
		if observed.Started() || node.Labels[identity.LabelIdentity] == hash {
			observed.Node = &node
			taken[node.Name] = true
		}
	}
	for i := range labelled {
		node := &labelled[i]
		hash := node.Labels[identity.LabelIdentity]
		// One that somebody keeps Ready, although nothing is left that was made for it, or that is a machine of a cloud, is
		// not the operator's to remove.
		if _, known := snapshot[hash]; known || taken[node.Name] || Ready(node) || node.Spec.ProviderID != "" {
			continue
		}
		// One that serves another connector's virtual kubelet is that one's.
		var deployment appsv1.Deployment
		err := o.Cache.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: node.Name}, &deployment)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get Deployment %s/%s: %w", o.Namespace, node.Name, err)
		}
		if err != nil {
			snapshot[hash] = &Node{Name: node.Name, Hash: hash, Node: node}
		}
	}
	return nil
}
