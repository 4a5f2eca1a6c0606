// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package controllers holds the loop that brings connectors to what their spec asks for; it calls the
// stages in their order and decides nothing itself.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	applyv1alpha1 "github.com/virtual-kubelet/connector-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/mend"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/preflight"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
	"github.com/virtual-kubelet/connector-operator/internal/status"
)

// Reconciler brings connectors to what their spec asks for.
type Reconciler struct {
	Client    client.Client
	Recorder  events.EventRecorder
	Clock     clock.PassiveClock
	Inventory *azure.Inventory
	Defaults  resolve.Defaults

	Discoverer *discover.Discoverer
	Applier    *apply.Applier
	Observer   *observe.Observer
	Mender     *mend.Mender
	Retirer    *retire.Retirer
}

// Reconcile brings one connector a step towards its spec, and stores what it saw in the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	connector, err := r.connector(ctx, req.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer r.Inventory.Sweep(connector.Name)

	facts, err := r.Discoverer.Facts(ctx, connector)
	if err != nil {
		return ctrl.Result{}, err
	}
	resolved := resolve.Resolve(connector, facts, r.Defaults)
	checks := r.Discoverer.Checks(connector.Name, resolved.ToCheck())
	in := status.Input{Connector: connector, Resolved: resolved, Preflight: preflight.Assess(resolved, checks)}
	snapshot, err := r.Observer.Observe(ctx, connector.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	pass := pass{reconciler: r, input: &in, snapshot: snapshot}
	if err := pass.look(ctx); err != nil {
		return ctrl.Result{}, err
	}
	if !resolved.Suspended || !connector.DeletionTimestamp.IsZero() {
		pass.apply(ctx)
		pass.mend(ctx)
		pass.retire(ctx)
	}
	if pass.gone() {
		return ctrl.Result{}, errors.Join(pass.err, r.release(ctx, connector))
	}
	if err := r.writeStatus(ctx, connector, status.Compute(in)); err != nil {
		pass.fail(err)
	}
	if pass.err != nil {
		return ctrl.Result{}, pass.err
	}
	return ctrl.Result{RequeueAfter: pass.after}, nil
}

// connector returns a connector that is held by the finalizer. One that does not exist any more, but may
// have left something, comes back as one that is being deleted.
func (r *Reconciler) connector(ctx context.Context, name string) (*v1alpha1.VirtualKubeletConnector, error) {
	connector := &v1alpha1.VirtualKubeletConnector{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: name}, connector)
	if apierrors.IsNotFound(err) {
		connector.Name = name
		connector.DeletionTimestamp = &metav1.Time{Time: r.Clock.Now()}
		return connector, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get VirtualKubeletConnector %s: %w", name, err)
	}
	if connector.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(connector, v1alpha1.Finalizer) {
		hold := applyv1alpha1.VirtualKubeletConnector(name).WithUID(connector.UID).WithFinalizers(v1alpha1.Finalizer)
		if err := r.Client.Apply(ctx, hold, apply.FieldOwner, client.ForceOwnership); err != nil {
			return nil, fmt.Errorf("set the finalizer of VirtualKubeletConnector %s: %w", name, err)
		}
	}
	return connector, nil
}

// release lets a deleted connector go.
func (r *Reconciler) release(ctx context.Context, connector *v1alpha1.VirtualKubeletConnector) error {
	if !controllerutil.ContainsFinalizer(connector, v1alpha1.Finalizer) {
		return nil
	}
	// Not by apply: the finalizer may belong to somebody else, too, such as who restored the connector.
	released := connector.DeepCopy()
	controllerutil.RemoveFinalizer(released, v1alpha1.Finalizer)
	err := r.Client.Patch(ctx, released, client.MergeFromWithOptions(connector, client.MergeFromWithOptimisticLock{}), apply.FieldOwner)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("take the finalizer of VirtualKubeletConnector %s off: %w", connector.Name, err)
	}
	return nil
}

// pass is one way through the stages. A node that fails does not keep the others from being served.
type pass struct {
	reconciler *Reconciler
	input      *status.Input
	snapshot   observe.Snapshot
	after      time.Duration
	err        error
}

func (p *pass) fail(err error) { p.err = errors.Join(p.err, err) }

func (p *pass) lookAgain(after time.Duration) {
	if after > 0 && (p.after == 0 || after < p.after) {
		p.after = after
	}
}

// look finds out of each desired node whether it may be applied.
func (p *pass) look(ctx context.Context) error {
	for _, desired := range p.input.Resolved.Nodes {
		node := status.Node{
			Desired: desired, Claim: discover.Claim{State: discover.ClaimPending}, Observed: p.snapshot[desired.Hash()],
		}
		started := node.Observed != nil && node.Observed.Deployment != nil
		if started {
			node.Claim.State = discover.Claimed
		} else {
			node.Withheld = p.input.Preflight.Withholding(desired.OSType)
		}
		rival, err := p.reconciler.Discoverer.Rival(ctx, p.input.Connector, desired.Name)
		if err != nil {
			return err
		}
		switch former := p.former(&node); {
		case rival != "":
			node.Blocked = &apply.RivalError{Node: desired.Name, Connector: rival}
		case former != "" && !started:
			node.Blocked = &apply.PredecessorError{Node: former}
		}
		p.input.Nodes = append(p.input.Nodes, node)
	}
	return nil
}

// former returns the name of the node that a desired one is to replace, as long as that is not removed. Two at once
// would fight over the container groups of a StatefulSet, which are named after its pods.
func (p *pass) former(node *status.Node) string {
	for _, hash := range p.snapshot.Hashes() {
		if p.snapshot[hash].OSType() == node.Desired.OSType && !p.describes(hash) {
			return p.snapshot[hash].Name
		}
	}
	return ""
}

// describes reports whether the spec asks for a node with an identity.
func (p *pass) describes(hash string) bool {
	return slices.ContainsFunc(p.input.Resolved.Nodes, func(n resolve.Node) bool { return n.Hash() == hash })
}

// apply brings the desired nodes' objects into the cluster.
func (p *pass) apply(ctx context.Context) {
	if p.input.Resolved.Missing != nil {
		return
	}
	for i := range p.input.Nodes {
		if node := &p.input.Nodes[i]; node.Blocked == nil && node.Withheld == nil {
			p.applyNode(ctx, node)
		}
	}
}

func (p *pass) applyNode(ctx context.Context, node *status.Node) {
	facts, err := p.reconciler.Discoverer.Node(ctx, node.Desired.Node, p.input.Resolved.Target)
	if err != nil {
		p.fail(err)
		return
	}
	node.Claim = facts.Claim
	if facts.Claim.State != discover.Claimed {
		return
	}
	p.lookAgain(facts.Serving.RenewAt().Sub(p.reconciler.Clock.Now()))
	children, err := render.Node(p.input.Resolved, node.Desired, facts.Serving)
	if err != nil {
		p.fail(err)
		return
	}
	node.Wrote, err = p.reconciler.Applier.Apply(ctx, node.Desired.Node, children)
	if explains(err) {
		node.Blocked = err
		p.lookAgain(blockedInterval)
		return
	}
	if err != nil {
		p.fail(err)
	}
}

// blockedInterval is how soon it is tried again to apply what others keep from being applied: no watch
// tells of their objects, policies and quotas.
const blockedInterval = 30 * time.Second

// explains reports whether an error of the apply stage belongs into the status: to try again at once does
// not help.
func explains(err error) bool {
	var notOwned *apply.NotOwnedError
	var predecessor *apply.PredecessorError
	return errors.As(err, &notOwned) || errors.As(err, &predecessor) ||
		apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err)
}

func (p *pass) mend(ctx context.Context) {
	for _, node := range p.input.Nodes {
		if !p.desires(node.Desired.Hash()) {
			continue
		}
		p.reconciler.Retirer.Forget(node.Desired.Hash())
		if err := p.reconciler.Mender.Mend(ctx, node.Desired, node.Observed, p.input.Preflight.GoodSince, p.hadNode(node.Desired.Name)); err != nil {
			p.fail(err)
		}
	}
}

// desires reports whether a node with an identity is to be there: one that the spec describes, and whose name no older
// connector has.
func (p *pass) desires(hash string) bool {
	return slices.ContainsFunc(p.input.Nodes, func(n status.Node) bool {
		_, rival := errors.AsType[*apply.RivalError](n.Blocked)
		return n.Desired.Hash() == hash && !rival
	})
}

// hadNode reports whether the stored status tells of a Node: only those have a version.
func (p *pass) hadNode(name string) bool {
	return slices.ContainsFunc(p.input.Connector.Status.Nodes, func(n v1alpha1.NodeStatus) bool {
		return n.Name == name && n.KubeletVersion != ""
	})
}

// retire takes away what exists and is not desired; nothing while it is not known what is.
func (p *pass) retire(ctx context.Context) {
	if p.input.Resolved.Undecided {
		return
	}
	for _, hash := range p.snapshot.Hashes() {
		if p.desires(hash) {
			continue
		}
		progress, err := p.reconciler.Retirer.Retire(ctx, p.snapshot[hash], p.input.Resolved)
		if err != nil {
			p.fail(err)
		}
		p.lookAgain(progress.After)
		if progress.Retained != "" {
			p.reconciler.tellRetained(p.input.Connector, progress.Retained)
		}
		p.input.Retiring = append(p.input.Retiring, progress)
	}
}

// gone reports whether a deleted connector has left nothing.
func (p *pass) gone() bool {
	return !p.input.Connector.DeletionTimestamp.IsZero() && len(p.snapshot) == 0
}
