// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package apply brings a node's objects into the cluster by server-side apply; it writes only what
// differs, and never touches an object that is not the node's.
package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/render"
)

// FieldOwner is the field manager of everything that the operator applies to children and Nodes.
const FieldOwner = client.FieldOwner(identity.ManagedBy)

// NotOwnedError says that an object which is needed exists and is not this connector's.
type NotOwnedError struct {
	Kind string
	Key  client.ObjectKey
	// Connector is the connector that owns the object; empty where none does.
	Connector string
	// Leaving says that the other connector gives the object up.
	Leaving bool
}

// Error names the object and the remedy.
func (e *NotOwnedError) Error() string {
	name := e.Key.Name
	if e.Key.Namespace != "" {
		name = e.Key.String()
	}
	if e.Connector != "" {
		return fmt.Sprintf("%s %s belongs to connector %s: set another spec.node.namePrefix", e.Kind, name, e.Connector)
	}
	return fmt.Sprintf("%s %s exists and was not made by this operator: delete it, or set another spec.node.namePrefix", e.Kind, name)
}

// PredecessorError says that a node of the same name and another identity has not been removed yet.
type PredecessorError struct{ Node string }

// Error names the node.
func (e *PredecessorError) Error() string {
	return fmt.Sprintf("the former node %s is still being removed", e.Node)
}

// RivalError says that another connector, which was first, comes to the same name of a node.
type RivalError struct {
	// Node is the node's name, Connector the other connector.
	Node, Connector string
	// Leaving says that the other connector is being deleted, and gives the name up.
	Leaving bool
}

// Error names the other connector and the remedy.
func (e *RivalError) Error() string {
	if e.Leaving {
		return fmt.Sprintf("connector %s, which is being deleted, still has node %s", e.Connector, e.Node)
	}
	return fmt.Sprintf("connector %s, which was first, has a node of the name %s, too: set another spec.node.namePrefix, or delete one of the two", e.Connector, e.Node)
}

// Applier applies the objects of nodes.
type Applier struct {
	Client client.Client
	// Live reads what the cache does not hold: objects that are not labelled as ours.
	Live client.Reader
}

// child is one object of a node, with what is known about its kind.
type child struct {
	kind    string
	object  client.Object
	desired named
	// resourceVersion is which version of the object desired is meant for; nil for any, and for none.
	resourceVersion **string
}

const deploymentKind = "Deployment"

// named is what every apply configuration of a child has.
type named interface {
	runtime.ApplyConfiguration
	GetName() *string
	GetNamespace() *string
}

// children returns a node's objects in the order to apply them: the Secret with the claim first.
func children(c render.Children) []child {
	all := []child{
		{"ServiceAccount", &corev1.ServiceAccount{}, c.ServiceAccount, &c.ServiceAccount.ResourceVersion},
		{"ClusterRoleBinding", &rbacv1.ClusterRoleBinding{}, c.ClusterRoleBinding, &c.ClusterRoleBinding.ResourceVersion},
		{"RoleBinding", &rbacv1.RoleBinding{}, c.RoleBinding, &c.RoleBinding.ResourceVersion},
	}
	if c.Secret != nil {
		all = slices.Insert(all, 0, child{"Secret", &corev1.Secret{}, c.Secret, &c.Secret.ResourceVersion})
	}
	if c.Deployment != nil {
		all = append(all, child{deploymentKind, &appsv1.Deployment{}, c.Deployment, &c.Deployment.ResourceVersion})
	}
	return all
}

// Apply brings the objects of a node into the cluster, and reports whether it changed the spec of its Deployment. It
// writes to nothing that belongs to somebody else, and starts no virtual kubelet where one of the objects, or the Node,
// does: see NotOwnedError and PredecessorError. What is known to be owned by the node may have any labels. Without a
// Secret and a Deployment, those that exist are left alone.
func (a *Applier) Apply(ctx context.Context, node identity.Node, rendered render.Children, owned func(client.Object) bool) (changed bool, err error) {
	all := children(rendered)
	for _, c := range all {
		if err := a.read(ctx, a.Client, node, c, owned); err != nil {
			return false, err
		}
	}
	if started := rendered.Deployment == nil || all[len(all)-1].object.GetResourceVersion() != ""; !started {
		if err := a.checkNode(ctx, node); err != nil {
			return false, err
		}
	}
	for _, c := range all {
		if c.object.GetResourceVersion() == "" {
			made, err := a.create(ctx, c)
			if err != nil {
				return changed, fmt.Errorf("create %s %s: %w", c.kind, node.Name, err)
			}
			if made {
				changed = changed || c.kind == deploymentKind
				continue
			}
			if err := a.read(ctx, a.Live, node, c, owned); err != nil {
				return changed, err
			}
		}
		w, err := a.write(ctx, c)
		if err != nil {
			return changed, fmt.Errorf("apply %s %s: %w", c.kind, node.Name, err)
		}
		changed = changed || w
	}
	return changed, nil
}

// noVersion is one that no object has: etcd counts its revisions from 1 on, before it holds anything.
const noVersion = "1"

// create applies an object that the cache does not have, unless there is one of its name: the API server makes it where
// there is none, whatever resourceVersion is given, and refuses another one's. The cache lacks what is not labelled as the
// operator's, and to look before would cost a request for every object, and not tell what somebody makes in between.
func (a *Applier) create(ctx context.Context, c child) (made bool, err error) {
	*c.resourceVersion = new(noVersion)
	err = a.Client.Apply(ctx, c.desired, FieldOwner, client.ForceOwnership)
	if err == nil {
		return true, nil
	}
	*c.resourceVersion = nil
	if apierrors.IsConflict(err) {
		err = nil
	}
	return false, err
}

// read fills c.object, and fails where it is not the node's.
func (a *Applier) read(ctx context.Context, from client.Reader, node identity.Node, c child, owned func(client.Object) bool) error {
	key := client.ObjectKey{Name: ptr.Deref(c.desired.GetName(), ""), Namespace: ptr.Deref(c.desired.GetNamespace(), "")}
	err := from.Get(ctx, key, c.object)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get %s %s: %w", c.kind, key, err)
	}
	if owned(c.object) && c.object.GetDeletionTimestamp().IsZero() {
		return nil
	}
	return checkOwner(node, c.kind, c.object)
}

// checkNode fails where the Node is somebody else's: before the first start of a virtual kubelet of ours, every Node of
// the name is that does not carry its labels. The cache holds virtual nodes only, and a machine may have the name, too.
func (a *Applier) checkNode(ctx context.Context, node identity.Node) error {
	var live corev1.Node
	if err := a.Live.Get(ctx, client.ObjectKey{Name: node.Name}, &live); err != nil {
		return client.IgnoreNotFound(err)
	}
	return checkOwner(node, "Node", &live)
}

func checkOwner(node identity.Node, kind string, object client.Object) error {
	labels := object.GetLabels()
	switch {
	case unlabelled(labels, node) && Applied(object) && object.GetDeletionTimestamp().IsZero():
		return nil // somebody has taken its labels off
	case !identity.Owned(labels, node.Connector):
		owner := ""
		if labels[identity.LabelManagedBy] == identity.ManagedBy {
			owner = labels[identity.LabelConnector]
		}
		return &NotOwnedError{Kind: kind, Key: client.ObjectKeyFromObject(object), Connector: owner}
	case labels[identity.LabelIdentity] != node.Hash() || !object.GetDeletionTimestamp().IsZero():
		return &PredecessorError{Node: node.Name}
	}
	return nil
}

// unlabelled reports whether an object lacks labels that say whose it is, and has no other's.
func unlabelled(labels map[string]string, node identity.Node) bool {
	lacking := false
	for key, want := range map[string]string{
		identity.LabelManagedBy: identity.ManagedBy, identity.LabelConnector: node.Connector, identity.LabelIdentity: node.Hash(),
	} {
		value, ok := labels[key]
		if ok && value != want {
			return false
		}
		lacking = lacking || !ok
	}
	return lacking
}

// Applied reports whether the operator has applied an object.
func Applied(object client.Object) bool {
	return slices.ContainsFunc(object.GetManagedFields(), applies)
}

// write applies an object if it differs, and reports whether that changed a Deployment's spec: of all kinds of
// children, it alone has a generation.
func (a *Applier) write(ctx context.Context, c child) (bool, error) {
	var strays bool
	if c.object.GetResourceVersion() != "" {
		var is string
		var err error
		if is, strays, err = owned(c.object); err != nil {
			return false, err
		}
		want, err := digestOf(c.desired)
		if err != nil {
			return false, err
		}
		if is == want {
			if !strays {
				return false, nil
			}
			return a.removeStrays(ctx, c)
		}
		if c.rebinds() {
			if err := a.unbind(ctx, c); err != nil {
				return false, err
			}
		}
	}
	if err := a.Client.Apply(ctx, c.desired, FieldOwner, client.ForceOwnership); err != nil {
		return false, err
	}
	// What was applied is now what the API server has answered.
	if strays && ptr.Deref(*c.resourceVersion, "") == c.object.GetResourceVersion() {
		return a.removeStrays(ctx, c) // they alone make the difference
	}
	deployment, ok := c.desired.(*applyappsv1.DeploymentApplyConfiguration)
	return ok && ptr.Deref(deployment.Generation, 0) != c.object.GetGeneration(), nil
}

// rebinds reports whether a binding is of another role than it is to be: the API server does not let that be changed.
func (c child) rebinds() bool {
	var is rbacv1.RoleRef
	var want *applyrbacv1.RoleRefApplyConfiguration
	switch desired := c.desired.(type) {
	case *applyrbacv1.RoleBindingApplyConfiguration:
		want = desired.RoleRef
	case *applyrbacv1.ClusterRoleBindingApplyConfiguration:
		want = desired.RoleRef
	}
	switch object := c.object.(type) {
	case *rbacv1.RoleBinding:
		is = object.RoleRef
	case *rbacv1.ClusterRoleBinding:
		is = object.RoleRef
	}
	return want != nil && is != rbacv1.RoleRef{
		APIGroup: ptr.Deref(want.APIGroup, ""), Kind: ptr.Deref(want.Kind, ""), Name: ptr.Deref(want.Name, ""),
	}
}

// unbind deletes a binding that is about to be made anew. The cache is not waited for: it may not show the one that goes, and
// shows the one that comes.
func (a *Applier) unbind(ctx context.Context, c child) error {
	uid := c.object.GetUID()
	err := a.Client.Delete(ctx, c.object, client.Preconditions{UID: &uid}, client.DisableReadYourWritesConsistency)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete it, as it is of another role: %w", err)
	}
	return nil
}

// removeStrays takes away what others have put into the spec of a Deployment: it would reach the
// virtual kubelet's pod, which has rights.
func (a *Applier) removeStrays(ctx context.Context, c child) (bool, error) {
	deployment, ok := c.object.(*appsv1.Deployment)
	if !ok {
		return false, nil
	}
	desired, ok := c.desired.(*applyappsv1.DeploymentApplyConfiguration)
	if !ok {
		return false, nil
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/resourceVersion", "value": deployment.ResourceVersion},
		{"op": "replace", "path": "/spec", "value": desired.Spec},
	})
	if err != nil {
		return false, fmt.Errorf("write a patch: %w", err)
	}
	return true, a.Client.Patch(ctx, deployment, client.RawPatch("application/json-patch+json", patch), FieldOwner)
}
