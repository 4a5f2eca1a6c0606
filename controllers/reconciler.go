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
	"github.com/virtual-kubelet/connector-operator/internal/guard"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/mend"
	"github.com/virtual-kubelet/connector-operator/internal/metrics"
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
	Metrics   *metrics.Metrics

	Discoverer *discover.Discoverer
	Applier    *apply.Applier
	Observer   *observe.Observer
	Mender     *mend.Mender
	Retirer    *retire.Retirer
	Guard      *guard.Guard

	removals removals
	drafts   drafts
}

// Reconcile brings one connector a step towards its spec, and stores what it saw in the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	connector, err := r.connector(ctx, req.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer r.Inventory.Sweep(connector.Name)
	stored := r.drafts.recall(connector)

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
	r.endRemovals(connector, snapshot)
	pass := pass{reconciler: r, input: &in, snapshot: snapshot}
	pass.recall()
	if err := pass.look(ctx); err != nil {
		return ctrl.Result{}, err
	}
	if !resolved.Suspended || !connector.DeletionTimestamp.IsZero() {
		pass.apply(ctx)
		pass.mend(ctx)
		pass.retire(ctx)
	}
	if pass.gone() {
		if err := errors.Join(pass.err, r.release(ctx, connector)); err != nil {
			return ctrl.Result{}, err
		}
		r.removals.forget(connector.Name)
		r.drafts.drop(connector.Name)
		return ctrl.Result{}, nil
	}
	if after, err := r.writeStatus(ctx, connector, stored, status.Compute(in)); err != nil {
		pass.fail(err)
	} else {
		pass.lookAgain(after)
		pass.tellDisappeared()
	}
	if pass.err != nil {
		return ctrl.Result{}, pass.err
	}
	return ctrl.Result{RequeueAfter: pass.after}, nil
}

// endRemovals tells of the nodes that are gone by now, and measures how long the removals of those took that were removed.
func (r *Reconciler) endRemovals(connector *v1alpha1.VirtualKubeletConnector, left observe.Snapshot) {
	for _, removal := range r.removals.end(connector.Name, left) {
		if removal.settled {
			r.Metrics.Removed(r.Clock.Since(removal.since))
		}
		r.tellRetired(connector, removal)
	}
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
	return r.Guard.Release(ctx, connector.UID, func() error {
		// Not by apply: the finalizer may belong to somebody else, too, such as who restored the connector.
		released := connector.DeepCopy()
		controllerutil.RemoveFinalizer(released, v1alpha1.Finalizer)
		err := r.Client.Patch(ctx, released, client.MergeFromWithOptions(connector, client.MergeFromWithOptimisticLock{}), apply.FieldOwner)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("take the finalizer of VirtualKubeletConnector %s off: %w", connector.Name, err)
		}
		r.tellRemoved(connector)
		return nil
	})
}

// pass is one way through the stages. A node that fails does not keep the others from being served.
type pass struct {
	reconciler *Reconciler
	input      *status.Input
	snapshot   observe.Snapshot
	// disappeared are container groups that were left in Azure, and are not there any more.
	disappeared []v1alpha1.RetainedContainerGroups
	after       time.Duration
	err         error
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
		started := node.Observed.Deployed()
		if started {
			node.Claim.State = discover.Claimed
		} else {
			node.Withheld = p.input.Preflight.Withholding(desired.OSType)
		}
		owner, err := p.reconciler.Observer.Owner(ctx, desired.Name)
		if err != nil {
			return err
		}
		rival, err := p.reconciler.Discoverer.Rival(ctx, p.input.Connector, desired.Name, owner)
		if err != nil {
			return err
		}
		if rival != nil {
			node.Blocked = &apply.RivalError{Node: desired.Name, Connector: rival.Name, Leaving: !rival.DeletionTimestamp.IsZero()}
		}
		if former := p.former(&node); former != nil && !started {
			if err := p.lookAtFormer(ctx, &node, former); err != nil {
				return err
			}
		}
		p.input.Nodes = append(p.input.Nodes, node)
	}
	return nil
}

// former returns the node that a desired one is to replace, as long as that is not removed. Two at once would fight over
// the container groups of a StatefulSet, which are named after its pods.
func (p *pass) former(node *status.Node) *observe.Node {
	for _, hash := range p.snapshot.Hashes() {
		if p.snapshot[hash].OSType() == node.Desired.OSType && !p.describes(hash) {
			return p.snapshot[hash]
		}
	}
	return nil
}

// lookAtFormer keeps the node that a desired one is to replace as long as that could not be started anyway, and has the
// desired one wait for it otherwise.
func (p *pass) lookAtFormer(ctx context.Context, node *status.Node, former *observe.Node) error {
	startable := p.input.Resolved.Missing == nil && node.Withheld == nil && node.Blocked == nil
	// The container groups of a former node of the same name and place are in nobody's way: they go with it.
	if startable && (former.Name != node.Desired.Name || !p.input.Resolved.Target.SamePlace(retire.Place(former, p.input.Resolved))) {
		facts, err := p.reconciler.Discoverer.Node(ctx, node.Desired.Node, p.input.Resolved.Target, node.Observed.Started())
		if err != nil {
			return err
		}
		node.Claim = facts.Claim
		startable = facts.Claim.State == discover.Claimed
	}
	switch {
	case !startable && former.Deployment != nil && !retire.Cordoned(former.Node):
		node.Former = former.Name
		p.input.Kept = append(p.input.Kept, former)
	case node.Blocked == nil:
		node.Blocked = &apply.PredecessorError{Node: former.Name}
	}
	return nil
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
		if node := &p.input.Nodes[i]; node.Blocked == nil && node.Withheld == nil && node.Former == "" {
			p.applyNode(ctx, node)
		}
	}
}

func (p *pass) applyNode(ctx context.Context, node *status.Node) {
	facts, err := p.reconciler.Discoverer.Node(ctx, node.Desired.Node, p.input.Resolved.Target, node.Observed.Started())
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
	if former := mend.FormerTaints(node.Desired, node.Observed); former != "" {
		children.Deployment.WithAnnotations(map[string]string{identity.AnnotationFormerTaints: former})
	}
	if node.Observed.Deployed() && children.Restarts(node.Observed.Deployment) {
		if node.Held = p.input.Preflight.Holding(node.Desired.OSType); node.Held != nil {
			children = children.Steady()
		}
	}
	node.Changed, err = p.reconciler.Applier.Apply(ctx, node.Desired.Node, children, node.Observed.Has)
	if notOwned, ok := errors.AsType[*apply.NotOwnedError](err); ok && notOwned.Connector != "" {
		leaving, unknown := p.reconciler.Discoverer.Leaves(ctx, notOwned.Connector, node.Desired.Name)
		if unknown != nil {
			p.fail(unknown)
		}
		notOwned.Leaving = leaving
	}
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
	for i := range p.input.Nodes {
		node := &p.input.Nodes[i]
		if !p.desires(node.Desired.Hash()) || node.Observed == nil {
			continue
		}
		p.callOff(node.Desired.Hash(), node.Desired.Name, " is wanted again, and stays")
		had := p.hadNode(node.Desired.Name)
		if err := p.reconciler.Mender.Mend(ctx, node.Desired, node.Observed, p.input.Preflight.GoodSince, had != ""); err != nil {
			p.lose(node.Desired.Name, had)
			p.refused(node, err)
		}
		if node.Held != nil {
			if err := p.reconciler.Mender.Start(ctx, node.Observed); err != nil {
				p.fail(err)
			}
		}
		p.attend(ctx, node.Observed)
	}
	for _, kept := range p.input.Kept {
		p.callOff(kept.Hash, kept.Name, " stays, as the one that is to replace it can't be started")
		had := p.hadNode(kept.Name)
		if err := p.reconciler.Mender.Keep(ctx, kept, had != ""); err != nil {
			p.lose(kept.Name, had)
			p.fail(err)
		}
		if err := p.reconciler.Retirer.Renew(ctx, kept, p.input.Resolved); err != nil {
			p.fail(err)
		}
		p.attend(ctx, kept)
	}
}

// refused has the status tell what the API server forbids; else an error is one.
func (p *pass) refused(node *status.Node, err error) {
	if !apierrors.IsForbidden(err) {
		p.fail(err)
		return
	}
	if node.Blocked == nil {
		node.Blocked = err
	}
	p.lookAgain(blockedInterval)
}

// callOff forgets the removal of a node that stays, if there was one, and tells why.
func (p *pass) callOff(hash, node, why string) {
	p.reconciler.Retirer.Forget(hash)
	if p.reconciler.removals.cancel(p.input.Connector.Name, hash) {
		p.reconciler.record(p.input.Connector, node, eventRetirementCanceled, actionRetire, "node "+node+why)
	}
}

// attend sees to a node whose virtual kubelet does not do what it should.
func (p *pass) attend(ctx context.Context, node *observe.Node) {
	after, err := p.reconciler.Mender.EndHang(ctx, node)
	if err != nil {
		p.fail(err)
	}
	p.lookAgain(after)
	left, after, err := p.reconciler.Retirer.Orphans(ctx, node, p.input.Resolved)
	if err != nil {
		p.fail(err)
	}
	p.retain(left)
	p.lookAgain(after)
}

// desires reports whether a node with an identity is to be there: one that the spec describes, and whose name no other
// connector has.
func (p *pass) desires(hash string) bool {
	return slices.ContainsFunc(p.input.Nodes, func(n status.Node) bool {
		_, rival := errors.AsType[*apply.RivalError](n.Blocked)
		return n.Desired.Hash() == hash && !rival
	})
}

// hadNode returns the version of the Node that the stored status tells of: only those have one.
func (p *pass) hadNode(name string) string {
	for _, n := range p.input.Connector.Status.Nodes {
		if n.Name == name {
			return n.KubeletVersion
		}
	}
	return ""
}

// lose keeps in the status that there was a Node, until its virtual kubelet is restarted for it.
func (p *pass) lose(name, version string) {
	if p.input.Lost == nil {
		p.input.Lost = map[string]string{}
	}
	p.input.Lost[name] = version
}

// retire takes away what exists and is not desired; nothing while it is not known what is.
func (p *pass) retire(ctx context.Context) {
	if p.input.Resolved.Undecided {
		return
	}
	for _, hash := range p.snapshot.Hashes() {
		if p.desires(hash) || slices.Contains(p.input.Kept, p.snapshot[hash]) {
			continue
		}
		removal := p.reconciler.removals.begin(p.input.Connector, p.snapshot[hash], p.reconciler.Clock.Now())
		progress, err := p.reconciler.Retirer.Retire(ctx, p.snapshot[hash], p.input.Resolved)
		if err != nil {
			p.fail(err)
		} else {
			p.reconciler.tellRemoval(p.input.Connector, removal, progress)
		}
		p.lookAgain(progress.After)
		p.retain(progress.Retained)
		p.input.Retiring = append(p.input.Retiring, progress)
	}
}

// gone reports whether a deleted connector has left nothing.
func (p *pass) gone() bool {
	return !p.input.Connector.DeletionTimestamp.IsZero() && len(p.snapshot) == 0
}
