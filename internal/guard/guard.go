// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package guard keeps the admission policy of config/guard, which refuses to delete what a removal needs, for as long
// as there is a connector. It writes nothing but its finalizer, and makes neither of the two objects.
package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	applyadmissionv1 "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

const (
	// Name is that of the policy and of its binding.
	Name = "vk-connector-removal-guard"
	// Finalizer holds both of them: the API server enforces a policy also while it waits to be deleted.
	Finalizer = "connector.virtual-kubelet.io/removal-guard"
	// FieldOwner is who the finalizer belongs to.
	FieldOwner = client.FieldOwner("vk-connector-operator-guard")
)

// held is a kind of what is held, and how. The uid keeps an object that has just gone from being made anew.
type held struct {
	kind string
	hold func(types.UID) runtime.ApplyConfiguration
}

// The binding is let go first: the API server takes no change of one whose policy is gone.
var (
	binding = held{"ValidatingAdmissionPolicyBinding", func(uid types.UID) runtime.ApplyConfiguration {
		return applyadmissionv1.ValidatingAdmissionPolicyBinding(Name).WithUID(uid).WithFinalizers(Finalizer)
	}}
	policy = held{"ValidatingAdmissionPolicy", func(uid types.UID) runtime.ApplyConfiguration {
		return applyadmissionv1.ValidatingAdmissionPolicy(Name).WithUID(uid).WithFinalizers(Finalizer)
	}}
)

// Guard holds the policy and its binding.
type Guard struct {
	Client client.Client
	Live   client.Reader
	// releasing keeps two connectors that go at once from taking each other for one that stays, and the policy from
	// being held again between its release and that of the last connector.
	releasing sync.Mutex
	// released are the connectors that were let go, as long as the cache shows them.
	released sets.Set[types.UID]
}

// Sync holds the policy while there is a connector, and lets it go otherwise.
func (g *Guard) Sync(ctx context.Context) error {
	g.releasing.Lock()
	defer g.releasing.Unlock()
	needed, err := g.needed(ctx, "")
	switch {
	case err != nil:
		return err
	case !needed:
		return g.letGo(ctx)
	case g.holds(ctx, policy) && g.holds(ctx, binding):
		return nil
	}
	return g.hold(ctx)
}

// Release lets a connector go by calling release, and before it the policy where no other connector is left: after it,
// nobody may be there any more who would.
func (g *Guard) Release(ctx context.Context, connector types.UID, release func() error) error {
	g.releasing.Lock()
	defer g.releasing.Unlock()
	needed, err := g.needed(ctx, connector)
	if err != nil {
		return err
	}
	if !needed {
		// What the API server refuses for good keeps no connector; Sync tells of it.
		if err := g.letGo(ctx); err != nil && !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) {
			return err
		}
	}
	if err := release(); err != nil {
		return err
	}
	if g.released == nil {
		g.released = sets.New[types.UID]()
	}
	g.released.Insert(connector)
	return nil
}

// some is up to how many connectors that were let go a look at twice as many is enough, in place of all.
const some = 16

// needed reports whether there is a connector that the operator has not let go, but for one. The cache is believed that
// there is one: only the last of many costs a request.
func (g *Guard) needed(ctx context.Context, except types.UID) (bool, error) {
	// To look at all of them at each change would cost the square of their number: some are enough, unless many do not count.
	if len(g.released) < some {
		if known, err := g.known(ctx, client.Limit(2*some)); err != nil || g.stay(known, except) {
			return err == nil, err
		}
	}
	known, err := g.known(ctx)
	if err != nil {
		return false, err
	}
	shown := sets.New[types.UID]()
	for i := range known {
		shown.Insert(known[i].UID)
	}
	g.released = g.released.Intersection(shown)
	if g.stay(known, except) {
		return true, nil
	}
	var connectors metav1.PartialObjectMetadataList
	connectors.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("VirtualKubeletConnectorList"))
	err = g.Live.List(ctx, &connectors)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return false, nil // a CustomResourceDefinition goes after the last connector
	}
	if err != nil {
		return false, fmt.Errorf("list VirtualKubeletConnectors: %w", err)
	}
	return slices.ContainsFunc(connectors.Items, func(c metav1.PartialObjectMetadata) bool {
		return c.UID != except && stays(&c)
	}), nil
}

// known returns connectors that the cache shows.
func (g *Guard) known(ctx context.Context, options ...client.ListOption) ([]v1alpha1.VirtualKubeletConnector, error) {
	var known v1alpha1.VirtualKubeletConnectorList
	if err := g.Client.List(ctx, &known, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list VirtualKubeletConnectors: %w", err)
	}
	return known.Items, nil
}

// stay reports whether one of some connectors is there until the operator lets it go.
func (g *Guard) stay(connectors []v1alpha1.VirtualKubeletConnector, except types.UID) bool {
	for i := range connectors {
		if c := &connectors[i]; c.UID != except && !g.released.Has(c.UID) && stays(c) {
			return true
		}
	}
	return false
}

// stays reports whether a connector is there until the operator lets it go.
func stays(connector client.Object) bool {
	return connector.GetDeletionTimestamp().IsZero() || controllerutil.ContainsFinalizer(connector, v1alpha1.Finalizer)
}

// holds reports whether the cache shows an object with the finalizer.
func (g *Guard) holds(ctx context.Context, h held) bool {
	object, err := g.get(ctx, g.Client, h)
	return err == nil && object != nil && controllerutil.ContainsFinalizer(object, Finalizer)
}

// hold sets the finalizer, where both objects are there: neither refuses anything without the other.
func (g *Guard) hold(ctx context.Context) error {
	ofPolicy, err := g.get(ctx, g.Live, policy)
	if err != nil || ofPolicy == nil {
		return err
	}
	ofBinding, err := g.get(ctx, g.Live, binding)
	if err != nil || ofBinding == nil {
		return err
	}
	return errors.Join(g.set(ctx, policy, ofPolicy), g.set(ctx, binding, ofBinding))
}

func (g *Guard) set(ctx context.Context, h held, object *metav1.PartialObjectMetadata) error {
	// One that waits to be deleted takes no finalizer any more.
	if !object.DeletionTimestamp.IsZero() || controllerutil.ContainsFinalizer(object, Finalizer) {
		return nil
	}
	err := g.Client.Apply(ctx, h.hold(object.UID), FieldOwner, client.ForceOwnership, client.DisableReadYourWritesConsistency)
	if err != nil {
		return fmt.Errorf("set the finalizer of %s %s: %w", h.kind, Name, err)
	}
	return nil
}

func (g *Guard) letGo(ctx context.Context) error {
	for _, h := range []held{binding, policy} {
		object, err := g.get(ctx, g.Live, h)
		if err != nil {
			return err
		}
		if object == nil || !controllerutil.ContainsFinalizer(object, Finalizer) {
			continue
		}
		// Not by apply: the finalizer may belong to somebody else, too, such as who restored the policy.
		free := object.DeepCopy()
		controllerutil.RemoveFinalizer(free, Finalizer)
		err = g.Client.Patch(ctx, free, client.MergeFromWithOptions(object, client.MergeFromWithOptimisticLock{}), FieldOwner, client.DisableReadYourWritesConsistency)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("take the finalizer of %s %s off: %w", h.kind, Name, err)
		}
	}
	return nil
}

// get reads the policy or its binding; nil where it is not there.
func (g *Guard) get(ctx context.Context, from client.Reader, h held) (*metav1.PartialObjectMetadata, error) {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(admissionv1.SchemeGroupVersion.WithKind(h.kind))
	err := from.Get(ctx, client.ObjectKey{Name: Name}, object)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", h.kind, Name, err)
	}
	return object, nil
}
