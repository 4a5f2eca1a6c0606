// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
)

// lag is how long a container group may be missing in Azure's lists after it was made.
const lag = 10 * time.Minute

// groupOf returns the container group that a virtual kubelet makes for a pod (azure-aci v1.6.4, pkg/provider/aci.go).
func groupOf(node string, pod *corev1.Pod) azure.ContainerGroup {
	return azure.ContainerGroup{
		Name: pod.Namespace + "-" + pod.Name, NodeName: node, Namespace: pod.Namespace, PodName: pod.Name, PodUID: string(pod.UID),
	}
}

// young is a container group that Azure's lists may not show, and when its pod was last seen.
type young struct {
	azure.ContainerGroup
	seen time.Time
}

// remember notes the container groups that Azure's lists may not show.
func (r *Retirer) remember(node *observe.Node, pods []corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range pods {
		if r.Clock.Since(pods[i].CreationTimestamp.Time) > lag {
			continue
		}
		if r.young == nil {
			r.young = map[string]map[string]young{}
		}
		if r.young[node.Hash] == nil {
			r.young[node.Hash] = map[string]young{}
		}
		group := groupOf(node.Name, &pods[i])
		r.young[node.Hash][group.Name] = young{group, r.Clock.Now()}
	}
}

// remembered returns those of the noted container groups that the lists may still not show: where pods keep coming, there
// would be ever more to ask for.
func (r *Retirer) remembered(hash string) []azure.ContainerGroup {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.young[hash], func(_ string, y young) bool { return r.Clock.Since(y.seen) > 2*lag })
	groups := make([]azure.ContainerGroup, 0, len(r.young[hash]))
	for _, name := range slices.Sorted(maps.Keys(r.young[hash])) {
		groups = append(groups, r.young[hash][name].ContainerGroup)
	}
	return groups
}

// noneLeft reports whether Azure, asked after the pods were gone, lists no container group of the node, or
// none that its virtual kubelet will delete: not those of pods that are not waited for, nor those that it
// has not deleted for long. Where such are retained, a removal does not wait for an Azure that can't be asked.
func (v *visit) noneLeft(ctx context.Context) (bool, error) {
	since := v.since(v.node.Hash, pods)
	left, known, problem := v.left(since)
	if problem != nil {
		if v.retains() {
			return true, nil // what Azure does not tell of is retained
		}
		v.notAsked(problem, v.suspects())
		return false, nil
	}
	if !known || len(left) == 0 || v.Clock.Since(since) > patience {
		return known, nil
	}
	awaited, err := discover.Orphans(ctx, v.Live, left)
	if err != nil {
		return false, err
	}
	v.note(v.node, v.spec.Connector, awaited)
	if len(awaited) == 0 {
		return true, nil
	}
	v.progress.Remaining = azure.Names(awaited)
	v.progress.set(v1alpha1.ReasonContainerGroupsRemain, "the pods are gone; Azure still has %s in %s", enumerate(v.progress.Remaining), v.target)
	return false, nil
}

// settle sees to the container groups that are left after the virtual kubelet has ended, as the connector asks for, and
// reports whether that is done.
func (v *visit) settle(ctx context.Context) (bool, error) {
	switch {
	case !v.claimed && v.config.ResourceGroup == "":
		return true, nil
	case !v.claimed:
		return v.settleUnclaimed(ctx)
	case v.retains():
		return v.retainLeft(), nil
	}
	return v.deleteLeft(), nil
}

// settleUnclaimed settles the container groups that carry the name of a Node of which nothing proves that its name was
// claimed: those whose pods are bound to it are its own. All others may be another cluster's: they are left and noted.
func (v *visit) settleUnclaimed(ctx context.Context) (bool, error) {
	left, known, problem := v.left(v.since(v.node.Hash, virtualKubelet))
	if problem != nil {
		if !v.retains() && len(v.pods.all()) > 0 {
			v.notAsked(problem, v.suspects())
			return false, nil
		}
		v.retain(v.suspects(), problem.Message)
		return true, nil
	}
	if !known {
		return false, nil
	}
	var own []azure.ContainerGroup
	for _, group := range left {
		bound, err := v.bound(ctx, group)
		if err != nil {
			return false, err
		}
		if bound {
			own = append(own, group)
		}
	}
	if len(own) > 0 && !v.retains() {
		v.delete(own, func(ctx context.Context, group azure.ContainerGroup) (bool, error) {
			if bound, err := v.bound(ctx, group); err != nil || !bound {
				return false, err
			}
			return v.unused(ctx, group)
		})
		return false, nil
	}
	unknown := ""
	if len(own) < len(left) {
		unknown = "nothing proves that they are this node's, as only their tags say so"
	}
	v.retain(azure.Names(left), unknown)
	return true, nil
}

// deleteLeft reports the same after the virtual kubelet has ended, and deletes the container groups that
// are left: nobody else does any more.
func (v *visit) deleteLeft() bool {
	left, known, problem := v.left(v.since(v.node.Hash, virtualKubelet))
	if problem != nil {
		v.notAsked(problem, v.suspects())
		return false
	}
	if !known {
		return false
	}
	v.note(v.node, v.spec.Connector, left)
	if len(left) == 0 {
		return true
	}
	v.delete(left, v.unused)
	return false
}

// delete has container groups deleted that may be, asked for each right before.
func (v *visit) delete(left []azure.ContainerGroup, may func(context.Context, azure.ContainerGroup) (bool, error)) {
	for _, group := range left {
		v.Inventory.Delete(v.spec.Connector, v.target, group, func(ctx context.Context) (bool, error) {
			if retiring, err := v.stillRetiring(ctx); err != nil || !retiring {
				return false, err
			}
			return may(ctx, group)
		})
	}
	v.progress.Remaining = azure.Names(left)
	v.progress.set(v1alpha1.ReasonContainerGroupsRemain, "deleting %s that the virtual kubelet has left in %s", enumerate(v.progress.Remaining), v.target)
	if listing, _ := v.Inventory.List(v.spec.Connector, v.target, time.Time{}); listing.Refused != nil {
		v.refused(listing.Refused, azure.Names(left))
	}
}

func (v *visit) retains() bool {
	return v.spec.Removal.OrphanedContainerGroups == v1alpha1.OrphanPolicyRetain
}

// retainLeft notes which container groups are left, and reports whether Azure has said so, or can't.
func (v *visit) retainLeft() bool {
	left, known, problem := v.left(v.since(v.node.Hash, virtualKubelet))
	if problem != nil {
		v.retain(v.suspects(), problem.Message)
	} else {
		v.retain(azure.Names(left), "")
	}
	return known || problem != nil
}

// retain notes container groups that are left, and what of them is not known.
func (v *visit) retain(names []string, unknown string) {
	if len(names) == 0 && unknown == "" {
		return
	}
	v.note(v.node, v.spec.Connector, nil)
	v.progress.Retained = &v1alpha1.RetainedContainerGroups{
		NodeName: v.node.Name, SubscriptionID: v.target.SubscriptionID, ResourceGroup: v.target.ResourceGroup,
		Names: names, Message: unknown,
	}
}

// left returns the container groups of the node that Azure has, by its list and, where that may lag, by their names, or
// why Azure can't be asked. They are known once all that was asked for at since or later is answered.
func (v *visit) left(since time.Time) (left []azure.ContainerGroup, known bool, problem *azure.Problem) {
	if !v.target.Usable() {
		return nil, false, &azure.Problem{
			Message: "the Secret of the node and the one with the client secret are both gone: make the latter again", Proven: true,
		}
	}
	listing, known := v.Inventory.List(v.spec.Connector, v.target, since)
	switch {
	case listing.Problem != nil && listing.Problem.Reason == v1alpha1.ReasonResourceGroupNotFound:
		// With its resource group, Azure deletes everything in it.
		return nil, known, nil
	case listing.Problem != nil:
		return nil, false, listing.Problem
	case !known:
		v.progress.set(v1alpha1.ReasonContainerGroupsRemain, "asking Azure whether container groups are left in %s", v.target)
		return nil, false, nil
	}
	left = listing.OfNode(v.node.Name)
	again := listing.AskedAt.Add(min(max(v.Clock.Since(since)/4, firstGroupsInterval), lastGroupsInterval))
	for _, group := range v.remembered(v.node.Hash) {
		if slices.ContainsFunc(left, func(l azure.ContainerGroup) bool { return l.Name == group.Name }) {
			continue
		}
		named, asked := v.Inventory.Named(v.spec.Connector, v.target, group.Name, since)
		switch {
		case named.Problem != nil:
			return nil, false, named.Problem
		case !asked:
			v.progress.set(v1alpha1.ReasonContainerGroupsRemain, "asking Azure whether container group %s is left in %s", group.Name, v.target)
			known = false
		case named.Exists && named.NodeName == v.node.Name:
			left = append(left, named.ContainerGroup)
			v.Inventory.Named(v.spec.Connector, v.target, group.Name, again)
		}
	}
	if len(left) > 0 {
		v.Inventory.List(v.spec.Connector, v.target, again)
	}
	return left, known, nil
}

// suspects names the container groups that the node has as far as is known without Azure.
func (v *visit) suspects() []string {
	found := sets.New[string]()
	if v.target.Usable() {
		listing, _ := v.Inventory.List(v.spec.Connector, v.target, time.Time{})
		found.Insert(azure.Names(listing.OfNode(v.node.Name))...)
	}
	for _, pod := range v.pods.all() {
		found.Insert(groupOf(v.node.Name, &pod).Name)
	}
	return sets.List(found)
}

// notAsked says that Azure can't be asked for container groups that may be left.
func (v *visit) notAsked(problem *azure.Problem, groups []string) {
	v.block(problem, groups, "may be left")
}

// refused says that Azure does not delete container groups.
func (v *visit) refused(problem *azure.Problem, groups []string) {
	if len(groups) == 1 {
		v.block(problem, groups, "is left")
		return
	}
	v.block(problem, groups, "are left")
}

// block says which container groups stay, why, and the two ways out.
func (v *visit) block(problem *azure.Problem, groups []string, how string) {
	them := "them"
	if len(groups) == 1 {
		them = "it"
	}
	v.progress.Stuck = problem.Proven
	v.progress.set(v1alpha1.ReasonAzureNotAsked,
		"%s %s in %s, and billed: %s; mend that, or set spec.removal.orphanedContainerGroups to Retain to leave %s there",
		enumerate(groups), how, v.target, problem.Message, them)
}

// stillRetiring reads live whether the node's claim stands and its virtual kubelet is stopped: another
// operator may have become the leader, and the node may be wanted again.
func (v *visit) stillRetiring(ctx context.Context) (bool, error) {
	key := client.ObjectKey{Namespace: v.spec.Namespace, Name: v.node.Name}
	if v.node.Secret != nil {
		if stands, err := v.claimStands(ctx, key, v.node.Hash); err != nil || !stands {
			return false, err
		}
	}
	var deployment appsv1.Deployment
	if err := v.Live.Get(ctx, key, &deployment); err != nil {
		return client.IgnoreNotFound(err) == nil, client.IgnoreNotFound(err)
	}
	return !running(&deployment), nil
}

// claimStands reads live whether a node's Secret is still that of the node, and not of one that replaces it.
func (r *Retirer) claimStands(ctx context.Context, key client.ObjectKey, hash string) (bool, error) {
	var secret corev1.Secret
	if err := r.Live.Get(ctx, key, &secret); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return secret.Annotations[identity.AnnotationClaim] == hash || secret.Labels[identity.LabelIdentity] == hash, nil
}

// unused reads live whether nobody needs a container group any more: its pod is gone or leaves, or is a DaemonSet's.
func (r *Retirer) unused(ctx context.Context, group azure.ContainerGroup) (bool, error) {
	if group.Namespace == "" || group.PodName == "" {
		return true, nil
	}
	pod := &metav1.PartialObjectMetadata{}
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: group.Namespace, Name: group.PodName}, pod)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("get Pod %s/%s: %w", group.Namespace, group.PodName, err)
	}
	owner := metav1.GetControllerOf(pod)
	return !strings.EqualFold(string(pod.UID), group.PodUID) || !pod.DeletionTimestamp.IsZero() || (owner != nil && owner.Kind == "DaemonSet"), nil
}

// bound reads live whether the pod that a container group was made for is on the node: then the group is the node's.
func (v *visit) bound(ctx context.Context, group azure.ContainerGroup) (bool, error) {
	if group.Namespace == "" || group.PodName == "" || group.PodUID == "" {
		return false, nil
	}
	var pod corev1.Pod
	if err := v.Live.Get(ctx, client.ObjectKey{Namespace: group.Namespace, Name: group.PodName}, &pod); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return strings.EqualFold(string(pod.UID), group.PodUID) && pod.Spec.NodeName == v.node.Name, nil
}

// Describe names container groups that are left in Azure.
func Describe(left v1alpha1.RetainedContainerGroups) string {
	text := fmt.Sprintf("%s of node %s in resource group %s of subscription %s",
		enumerate(left.Names), left.NodeName, left.ResourceGroup, left.SubscriptionID)
	if left.Message != "" {
		text += ", as far as is known: " + left.Message
	}
	return text
}

// enumerate says how many container groups there are, and which.
func enumerate(names []string) string {
	switch len(names) {
	case 0:
		return "container groups"
	case 1:
		return "container group " + azure.Enumerate(names)
	}
	return fmt.Sprintf("%d container groups: %s", len(names), azure.Enumerate(names))
}
