// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package retire takes a node out of the cluster and of Azure: it drains the node while its virtual
// kubelet still runs, sees that Azure has none of its container groups left, and only then removes what
// was made for it. It makes one pass at a time and never waits.
package retire

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

const (
	// drainInterval is how soon a node is looked at again while pods leave it.
	drainInterval = 2 * time.Second
	// Azure is asked again while container groups are left, first soon and then more and more rarely.
	firstGroupsInterval = 3 * time.Second
	lastGroupsInterval  = 30 * time.Second
	// patience is how long a virtual kubelet that runs may take to delete its container groups: longer than
	// the five minutes in which it looks for those without a pod.
	patience = 6 * time.Minute
	// downtime is how long a virtual kubelet that does not run is waited for by pods that are to end.
	downtime = 2 * time.Minute
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
	// Stuck says that the removal does not go on until somebody acts.
	Stuck bool
	// Retained says which container groups were left in Azure, as the connector asks for; empty where none were.
	Retained string
	// After is when to look again, where no watch will tell; zero where one will.
	After time.Duration

	// waiting is when the pods that are left were to have ended; zero while one was not asked to.
	waiting time.Time
}

// Retirer retires nodes.
type Retirer struct {
	Client client.Client
	// Live reads past the cache.
	Live client.Reader
	// Kubernetes is for the library of kubectl drain.
	Kubernetes kubernetes.Interface
	Inventory  *azure.Inventory
	Clock      clock.PassiveClock

	mu sync.Mutex
	// seen is when a node was first seen so: what Azure said before says nothing.
	seen map[sight]time.Time
}

// sight is a node, by its identity, without something.
type sight struct{ hash, without string }

const (
	pods           = "pods"
	virtualKubelet = "virtual kubelet"
	availability   = "availability"
)

// Retire makes one pass over a node that is no longer desired. The credentials of the connector's spec
// are used where they are of the same identity in Azure as the node's.
func (r *Retirer) Retire(ctx context.Context, node *observe.Node, spec resolve.Resolved) (Progress, error) {
	progress := Progress{Node: node.Name, OSType: node.OSType()}
	progress.set(v1alpha1.ReasonDraining, "looking at what is left of the node")
	config, claimed, err := record(node, spec)
	if err != nil {
		return progress, err
	}
	progress.Location, progress.ResourceGroup = config.Location, config.ResourceGroup
	target := r.target(config, spec)

	if running(node.Deployment) {
		if available(node.Deployment) {
			r.forget(node.Hash, availability)
		}
		if claimed || node.Node != nil {
			drained, err := r.drain(ctx, node, spec.Removal, &progress)
			if err != nil {
				return progress, err
			}
			if !drained {
				r.forget(node.Hash, pods, virtualKubelet)
				if !claimed || available(node.Deployment) {
					return progress, nil
				}
				err := r.revive(ctx, spec, node, config, target, &progress)
				return progress, err
			}
		}
		// A virtual kubelet that does not work will not delete container groups either: it is stopped, and
		// the operator deletes them.
		if claimed && available(node.Deployment) {
			none, err := r.noneLeft(ctx, spec.Connector, target, node, &progress)
			if err != nil || !none {
				return progress, err
			}
		}
		return r.stop(ctx, node, progress)
	}
	if slices.ContainsFunc(node.Pods, lives) || !settled(node.Deployment) {
		progress.set(v1alpha1.ReasonStopping, "waiting for the virtual kubelet's pod to end")
		return progress, nil
	}
	if claimed && spec.Removal.OrphanedContainerGroups == v1alpha1.OrphanPolicyRetain {
		if !r.retainLeft(spec, target, node, &progress) {
			return progress, nil
		}
	} else if claimed && !r.deleteLeft(spec, target, node, &progress) {
		return progress, nil
	}
	return r.remove(ctx, node, progress)
}

// Forget drops what is remembered of a node that is gone or desired again.
func (r *Retirer) Forget(hash string) {
	r.forget(hash, pods, virtualKubelet, availability)
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

// noneLeft reports whether Azure, asked after the pods were gone, lists no container group of the node, or
// none that its virtual kubelet will delete: not those of pods that are not waited for, nor those that it
// has not deleted for long.
func (r *Retirer) noneLeft(ctx context.Context, connector string, target azure.Target, node *observe.Node, progress *Progress) (bool, error) {
	since := r.since(node.Hash, pods)
	left, known := r.left(connector, target, node, since, progress)
	if !known || len(left) == 0 || r.Clock.Since(since) > patience {
		return known, nil
	}
	var awaited []azure.ContainerGroup
	for _, group := range left {
		stays, err := discover.PodLives(ctx, r.Live, group)
		if err != nil {
			return false, err
		}
		if !stays {
			awaited = append(awaited, group)
		}
	}
	if len(awaited) == 0 {
		return true, nil
	}
	progress.set(v1alpha1.ReasonContainerGroupsRemain, "the pods are gone; Azure still has %s in %s", names(awaited), target)
	return false, nil
}

// deleteLeft reports the same after the virtual kubelet has ended, and deletes the container groups that
// are left: nobody else does any more.
func (r *Retirer) deleteLeft(spec resolve.Resolved, target azure.Target, node *observe.Node, progress *Progress) bool {
	left, known := r.left(spec.Connector, target, node, r.since(node.Hash, virtualKubelet), progress)
	if !known {
		return false
	}
	for _, group := range left {
		r.Inventory.Delete(spec.Connector, target, group, func(ctx context.Context) (bool, error) {
			return r.stillRetiring(ctx, spec.Namespace, node)
		})
	}
	if len(left) > 0 {
		progress.set(v1alpha1.ReasonContainerGroupsRemain, "deleting %s that the virtual kubelet has left in %s", names(left), target)
	}
	return len(left) == 0
}

// retainLeft notes which container groups are left, and reports whether Azure has said so, or can't.
func (r *Retirer) retainLeft(spec resolve.Resolved, target azure.Target, node *observe.Node, progress *Progress) bool {
	left, known := r.left(spec.Connector, target, node, r.since(node.Hash, virtualKubelet), progress)
	if progress.Reason == v1alpha1.ReasonAzureNotAsked {
		progress.Stuck = false
		progress.Retained = "container groups of node " + node.Name + " that may be left: " + progress.Message
		return true
	}
	if len(left) > 0 {
		progress.Retained = fmt.Sprintf("%s in %s", names(left), target)
	}
	return known
}

func (r *Retirer) left(connector string, target azure.Target, node *observe.Node, since time.Time, progress *Progress) (left []azure.ContainerGroup, known bool) {
	if !target.Usable() {
		progress.Stuck = true
		progress.set(v1alpha1.ReasonAzureNotAsked,
			"can't tell whether container groups are left: the Secret of the node and the one with the client secret are both gone: make the latter again")
		return nil, false
	}
	listing, known := r.Inventory.List(connector, target, since)
	if listing.Problem != nil && listing.Problem.Reason == v1alpha1.ReasonResourceGroupNotFound {
		// With its resource group, Azure deletes everything in it.
		return nil, known
	}
	if listing.Problem != nil {
		progress.Stuck = listing.Problem.Proven
		progress.set(v1alpha1.ReasonAzureNotAsked, "can't tell whether container groups are left: %s", listing.Problem.Message)
		return nil, false
	}
	if !known {
		progress.set(v1alpha1.ReasonContainerGroupsRemain, "asking Azure whether container groups are left in %s", target)
		return nil, false
	}
	left = listing.OfNode(node.Name)
	if len(left) > 0 {
		wait := min(max(r.Clock.Since(since)/4, firstGroupsInterval), lastGroupsInterval)
		r.Inventory.List(connector, target, listing.AskedAt.Add(wait))
	}
	return left, true
}

// stillRetiring reads live whether the node's claim stands and its virtual kubelet is stopped: another
// operator may have become the leader, and the node may be wanted again.
func (r *Retirer) stillRetiring(ctx context.Context, namespace string, node *observe.Node) (bool, error) {
	key := client.ObjectKey{Namespace: namespace, Name: node.Name}
	if node.Secret != nil {
		var secret corev1.Secret
		if err := r.Live.Get(ctx, key, &secret); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		if secret.Annotations[identity.AnnotationClaim] != node.Hash {
			return false, nil
		}
	}
	var deployment appsv1.Deployment
	if err := r.Live.Get(ctx, key, &deployment); err != nil {
		return client.IgnoreNotFound(err) == nil, client.IgnoreNotFound(err)
	}
	return !running(&deployment), nil
}

func (r *Retirer) stop(ctx context.Context, node *observe.Node, progress Progress) (Progress, error) {
	progress.set(v1alpha1.ReasonStopping, "stopping the virtual kubelet")
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":0}}`))
	err := r.Client.Patch(ctx, node.Deployment.DeepCopy(), patch, retireOwner)
	if client.IgnoreNotFound(err) != nil {
		return progress, fmt.Errorf("scale Deployment %s to 0: %w", node.Name, err)
	}
	return progress, nil
}

// remove deletes what was made for the node, and the Node. The Secret goes last: it is the record of
// where the container groups were.
func (r *Retirer) remove(ctx context.Context, node *observe.Node, progress Progress) (Progress, error) {
	progress.set(v1alpha1.ReasonRemoving, "removing the Node and what was made for it")
	objects := make([]client.Object, 0, 7)
	if node.Deployment != nil {
		objects = append(objects, node.Deployment)
	}
	if node.ClusterRoleBinding != nil {
		objects = append(objects, node.ClusterRoleBinding)
	}
	if node.RoleBinding != nil {
		objects = append(objects, node.RoleBinding)
	}
	if node.ServiceAccount != nil {
		objects = append(objects, node.ServiceAccount)
	}
	if node.Node != nil {
		objects = append(objects, node.Node, &coordinationv1.Lease{
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
		if _, lease := object.(*coordinationv1.Lease); lease {
			options = append(options, client.DisableReadYourWritesConsistency) // Leases are not cached
		}
		err := r.Client.Delete(ctx, object, options...)
		if client.IgnoreNotFound(err) != nil {
			return progress, fmt.Errorf("delete %T %s: %w", object, node.Name, err)
		}
	}
	r.Forget(node.Hash)
	return progress, nil
}

// record returns what the node's virtual kubelet was started with, and whether it ever was: without a
// claim it was not, and Azure has nothing of it. Where somebody has deleted the record, the spec says the
// same of a node that it still describes.
func record(node *observe.Node, spec resolve.Resolved) (config render.AzureConfig, claimed bool, err error) {
	if node.Secret == nil && (node.Deployment != nil || node.Node != nil) && spec.Describes(node.Name, node.Hash) {
		return render.AzureConfigOf(spec.Target, spec.Location, nil), true, nil
	}
	if node.Secret == nil || node.Secret.Annotations[identity.AnnotationClaim] != node.Hash {
		return config, false, nil
	}
	if err := json.Unmarshal(node.Secret.Data[render.AzureKey], &config); err != nil {
		return config, false, fmt.Errorf("read %s of Secret %s: %w", render.AzureKey, node.Name, err)
	}
	return config, true, nil
}

// target returns where the node's container groups are, with the credentials that the node was started
// with, or where Azure refuses those, with the ones that the spec gives for what may be the same tenant.
func (r *Retirer) target(config render.AzureConfig, spec resolve.Resolved) azure.Target {
	own := target(config, spec.Target.Credential)
	other := own
	other.Credential = spec.Target.Credential
	if own == other || !other.Usable() || !own.Usable() ||
		own.Cloud != spec.Target.Cloud || !sameTenant(own.TenantID, other.TenantID) {
		return own
	}
	listing, _ := r.Inventory.List(spec.Connector, own, time.Time{})
	if listing.Problem != nil && listing.Problem.Proven {
		return other
	}
	return own
}

// sameTenant reports whether two tenants may be one: a managed identity need not name its.
func sameTenant(a, b string) bool { return a == "" || b == "" || strings.EqualFold(a, b) }

// target returns where the node's container groups are, with the live client secret where it is of the
// node's own identity in Azure, else with the one that the node was started with.
func target(config render.AzureConfig, live azure.Credential) azure.Target {
	target := config.Target()
	if live.ClientSecret != "" && live.SameIdentity(target.Credential) {
		target.ClientSecret = live.ClientSecret
	}
	return target
}

// running reports whether a Deployment is meant to have a pod.
func running(deployment *appsv1.Deployment) bool {
	return deployment != nil && deployment.DeletionTimestamp.IsZero() && ptr.Deref(deployment.Spec.Replicas, 1) > 0
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

// names says how many container groups there are, and which.
func names(groups []azure.ContainerGroup) string {
	list := make([]string, len(groups))
	for i := range groups {
		list[i] = groups[i].Name
	}
	if len(groups) == 1 {
		return "container group " + azure.Enumerate(list)
	}
	return fmt.Sprintf("%d container groups: %s", len(groups), azure.Enumerate(list))
}
