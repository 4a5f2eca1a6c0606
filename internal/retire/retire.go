// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package retire takes a node out of the cluster and of Azure: it drains the node, sees that Azure has none of its
// container groups left, and only then removes what was made for it. The virtual kubelet ends the pods and deletes
// their container groups; where it can't, this package does. It makes one pass at a time and never waits.
package retire

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

const (
	// A node is looked at again while pods leave it, first soon and then more rarely.
	firstDrainInterval = 2 * time.Second
	lastDrainInterval  = 15 * time.Second
	// Azure is asked again while container groups are left, first soon and then more and more rarely.
	firstGroupsInterval = 3 * time.Second
	lastGroupsInterval  = 30 * time.Second
	// patience is how long a virtual kubelet that runs may take to delete its container groups: longer than
	// the five minutes in which it looks for those without a pod.
	patience = 6 * time.Minute
	// podPatience is how long a virtual kubelet that runs may take to end pods whose time is over.
	podPatience = 3 * time.Minute
	// downtime is how long a virtual kubelet that does not run is waited for by pods that are to end.
	downtime = 30 * time.Second
	// refusedInterval is how soon it is tried again what the API server forbids: no watch tells of its policies.
	refusedInterval = 30 * time.Second
)

// Progress is how far the removal of a node has come.
type Progress struct {
	// Node is the node's name.
	Node string
	// OSType, Location and ResourceGroup are empty where no record of them is left.
	OSType                  v1alpha1.OSType
	Location, ResourceGroup string
	// Reason is a reason of the condition Retiring, Message says what is being done and what blocks it.
	Reason, Message string
	// Drained says that no pod is left on the node that is waited for.
	Drained bool
	// Remaining are the container groups that Azure still has, as far as it has said so.
	Remaining []string
	// Stuck says that the removal does not go on until somebody acts.
	Stuck bool
	// Retained are the container groups that were left in Azure, as the connector asks for; nil where none were.
	Retained *v1alpha1.RetainedContainerGroups
	// Settled says that all was removed, after it was known what Azure has of the node: nothing, or what is retained.
	Settled bool
	// After is when to look again, where no watch will tell; zero where one will.
	After time.Duration
}

// Retirer retires nodes.
type Retirer struct {
	Client client.Client
	// Live reads past the cache.
	Live client.Reader
	// Pods are those of the users, read and written live.
	Pods      corev1client.PodsGetter
	Inventory *azure.Inventory
	Clock     clock.PassiveClock

	mu sync.Mutex
	// seen is when a node was first seen so: what Azure said before says nothing.
	seen map[sight]time.Time
	// young are the container groups of a node, by its identity and their names, that may be missing in Azure's lists.
	young map[string]map[string]young
	// orphaned are the container groups of a node, by its identity, whose pods were gone when that was last looked at.
	orphaned map[string]Orphaned
}

// sight is a node, by its identity, without something.
type sight struct{ hash, without string }

const (
	pods           = "pods"
	virtualKubelet = "virtual kubelet"
	availability   = "availability"
	scan           = "scan"
)

// visit is one pass over a node.
type visit struct {
	*Retirer
	node *observe.Node
	// found are those of the node's objects that the cache does not show.
	found []client.Object
	spec  resolve.Resolved
	// config is what the virtual kubelet was started with, and target where its container groups are.
	config render.AzureConfig
	target azure.Target
	// claimed says that Azure may have container groups of the node.
	claimed  bool
	progress *Progress
	// pods are those that are left on the node, but for those of DaemonSets.
	pods leaving
}

// Retire makes one pass over a node that is no longer desired. The credentials of the connector's spec
// are used where they are of the same identity in Azure as the node's.
func (r *Retirer) Retire(ctx context.Context, node *observe.Node, spec resolve.Resolved) (Progress, error) {
	progress, err := r.retire(ctx, node, spec)
	if !apierrors.IsForbidden(err) {
		return progress, err
	}
	progress.Stuck, progress.After = true, refusedInterval
	progress.set(v1alpha1.ReasonForbidden, "the API server refuses what the removal needs: %s", err)
	return progress, nil
}

func (r *Retirer) retire(ctx context.Context, node *observe.Node, spec resolve.Resolved) (Progress, error) {
	progress := Progress{Node: node.Name, OSType: node.OSType()}
	progress.set(v1alpha1.ReasonDraining, "looking at what is left of the node")
	node, found, err := r.complete(ctx, node, spec.Namespace)
	if err != nil {
		return progress, err
	}
	progress.OSType = node.OSType()
	config, claimed, err := record(node, spec)
	if err != nil && spec.Removal.OrphanedContainerGroups != v1alpha1.OrphanPolicyRetain {
		progress.Stuck = true
		progress.set(v1alpha1.ReasonAzureNotAsked, "%s; restore it, or set spec.removal.orphanedContainerGroups to Retain to leave what may be in Azure", err)
		return progress, nil
	}
	progress.Location, progress.ResourceGroup = config.Location, config.ResourceGroup
	v := visit{Retirer: r, node: node, found: found, spec: spec, config: config, claimed: claimed, progress: &progress}
	v.target = r.target(config, spec)
	err = v.pass(ctx)
	if late := len(v.pods.late); late > 0 {
		progress.Message += fmt.Sprintf("; pods keep coming in spite of the cordon, and are not waited for: %d", late)
	}
	return progress, err
}

func (v *visit) pass(ctx context.Context) error {
	if v.claimed || v.node.Node != nil {
		if err := v.drain(ctx); err != nil {
			return err
		}
	}
	v.progress.Drained = len(v.pods.waited)+len(v.pods.held) == 0
	if !running(v.node.Deployment) {
		return v.takeOver(ctx)
	}
	if len(v.pods.waited)+len(v.pods.late) > 0 {
		v.forget(v.node.Hash, pods, virtualKubelet)
	}
	if !serving(v.node) {
		return v.relieve(ctx)
	}
	v.forget(v.node.Hash, availability)
	return v.attend(ctx)
}

// attend waits for a virtual kubelet that works to end the pods and to delete their container groups, and stops it then.
// It stops it where pods keep coming, too: as long as it runs, they would get container groups.
func (v *visit) attend(ctx context.Context) error {
	if len(v.pods.waited) > 0 {
		if v.pods.overdue(v.Clock.Now()) > podPatience {
			return v.stop(ctx)
		}
		return nil
	}
	if v.claimed && len(v.pods.late) == 0 {
		if none, err := v.noneLeft(ctx); err != nil || !none {
			return err
		}
	}
	return v.stop(ctx)
}

// relieve stops a virtual kubelet that does not work, once it has had its time: it would not end pods, nor delete
// container groups.
func (v *visit) relieve(ctx context.Context) error {
	down := v.Clock.Since(v.since(v.node.Hash, availability))
	if len(v.pods.waited) == 0 || (v.pods.overdue(v.Clock.Now()) > 0 && down > downtime) {
		return v.stop(ctx)
	}
	if !v.claimed {
		return nil
	}
	return v.revive(ctx)
}

// takeOver does what a virtual kubelet does, which does not run any more, and removes what was made for the node.
func (v *visit) takeOver(ctx context.Context) error {
	if len(v.pods.waited) > 0 && v.pods.overdue(v.Clock.Now()) <= 0 {
		v.forget(v.node.Hash, virtualKubelet)
		return nil
	}
	if !v.ended() {
		v.forget(v.node.Hash, virtualKubelet)
		if v.unwatched(v.node.Deployment) {
			v.lookAgain(v.drainInterval())
		}
		v.progress.set(v1alpha1.ReasonStopping, "waiting for the virtual kubelet's pod to end%s", v.lost(ending(v.node)))
		return nil
	}
	if settled, err := v.settle(ctx); err != nil || !settled {
		return err
	}
	if err := v.finish(ctx); err != nil {
		return err
	}
	if len(v.pods.held) > 0 && !v.pods.forced {
		v.progress.Stuck = true
		v.progress.set(v1alpha1.ReasonEvictionBlocked, "%s, and its container group is gone: whoever set them has to take them off", v.pods.heldText())
		return nil
	}
	return v.remove(ctx)
}

// ended reports whether no virtual kubelet runs any more.
func (v *visit) ended() bool {
	return !running(v.node.Deployment) && settled(v.node.Deployment) && ending(v.node) == nil
}

// ending returns a pod of the virtual kubelet that has or may get a process; nil where there is none.
func ending(node *observe.Node) *corev1.Pod {
	for i := range node.Pods {
		if lives(node.Pods[i]) {
			return &node.Pods[i]
		}
	}
	return nil
}

// lost tells of a pod whose time to end is long over, as it is where its machine is lost.
func (v *visit) lost(pod *corev1.Pod) string {
	if pod == nil || pod.DeletionTimestamp.IsZero() {
		return ""
	}
	if left := downtime - v.Clock.Since(pod.DeletionTimestamp.Time); left > 0 {
		v.lookAgain(left) // a lost machine makes no event
		return ""
	}
	v.progress.Stuck = true
	return fmt.Sprintf(", whose time is long over: if machine %s is lost, kubectl delete node %s, or kubectl delete pod --force -n %s %s",
		pod.Spec.NodeName, pod.Spec.NodeName, pod.Namespace, pod.Name)
}

func (v *visit) lookAgain(after time.Duration) {
	if v.progress.After == 0 || after < v.progress.After {
		v.progress.After = after
	}
}

// Forget drops what is remembered of a node that is gone or desired again.
func (r *Retirer) Forget(hash string) {
	r.forget(hash, pods, virtualKubelet)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.young, hash)
}

func (r *Retirer) forget(hash string, without ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range without {
		delete(r.seen, sight{hash, w})
	}
}

func (p *Progress) set(reason, format string, args ...any) {
	p.Reason, p.Message = reason, fmt.Sprintf(format, args...)
}

// since returns when it was first called for a sight of a node since the last Forget.
func (r *Retirer) since(hash, without string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[sight]time.Time{}
	}
	of := sight{hash, without}
	if _, ok := r.seen[of]; !ok {
		r.seen[of] = r.Clock.Now()
	}
	return r.seen[of]
}

// noted reports whether a node was seen so.
func (r *Retirer) noted(hash, without string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.seen[sight{hash, without}]
	return ok
}

func (v *visit) stop(ctx context.Context) error {
	v.progress.set(v1alpha1.ReasonStopping, "stopping the virtual kubelet")
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":0}}`))
	options := []client.PatchOption{retireOwner}
	if v.unwatched(v.node.Deployment) {
		options = append(options, client.DisableReadYourWritesConsistency)
		v.lookAgain(v.drainInterval())
	}
	err := v.Client.Patch(ctx, v.node.Deployment.DeepCopy(), patch, options...)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("scale Deployment %s to 0: %w", v.node.Name, err)
	}
	return nil
}

// remove deletes what was made for the node, and the Node. The Secret goes last: it is the record of
// where the container groups were.
func (v *visit) remove(ctx context.Context) error {
	v.progress.set(v1alpha1.ReasonRemoving, "removing the Node and what was made for it")
	node := v.node
	objects := node.Children()
	if node.Node != nil {
		objects = append(objects, node.Node)
	}
	if node.Node != nil || v.claimed {
		objects = append(objects, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: render.LeaseNamespace, Name: node.Name},
		})
	}
	if node.Secret != nil {
		objects = append(objects, node.Secret)
	}
	for _, object := range objects {
		if !object.GetDeletionTimestamp().IsZero() {
			continue
		}
		options := []client.DeleteOption{client.PropagationPolicy(metav1.DeletePropagationBackground)}
		if uid := object.GetUID(); uid != "" {
			options = append(options, client.Preconditions{UID: &uid})
		}
		if _, lease := object.(*coordinationv1.Lease); lease || v.unwatched(object) {
			options = append(options, client.DisableReadYourWritesConsistency) // Leases are not cached
		}
		err := v.Client.Delete(ctx, object, options...)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %T %s: %w", object, node.Name, err)
		}
	}
	v.Forget(node.Hash)
	v.forget(node.Hash, availability, scan)
	v.note(node, v.spec.Connector, nil)
	// A Node of which nothing tells where it was, and so Azure was not asked, had a virtual kubelet all the same.
	v.progress.Settled = v.claimed || v.config.ResourceGroup != "" || node.Node == nil
	return nil
}

// running reports whether a Deployment is meant to have a pod.
func running(deployment *appsv1.Deployment) bool {
	return deployment != nil && deployment.DeletionTimestamp.IsZero() && ptr.Deref(deployment.Spec.Replicas, 1) > 0
}

// serving reports whether a virtual kubelet works: one that hangs is available and lets its Node become not Ready.
func serving(node *observe.Node) bool {
	return running(node.Deployment) && available(node.Deployment) && (node.Node == nil || observe.Ready(node.Node))
}

// lives reports whether a pod has or may get a process. The controller of a Deployment leaves those alone
// that have ended.
func lives(pod corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded
}

// settled reports whether a stopped Deployment's controller has seen that it is to have no pod, and
// counts none.
func settled(deployment *appsv1.Deployment) bool {
	return deployment == nil || !deployment.DeletionTimestamp.IsZero() ||
		(deployment.Status.ObservedGeneration >= deployment.Generation && deployment.Status.Replicas == 0)
}

func available(deployment *appsv1.Deployment) bool {
	return deployment.Status.AvailableReplicas > 0
}
