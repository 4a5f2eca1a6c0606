// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
)

// retireOwner owns a cordon of the operator's, and nothing else: so a cordon of somebody else's stays
// when the operator's is taken back.
const retireOwner = client.FieldOwner(identity.ManagedBy + "-retire")

// Cordoned reports whether the operator has cordoned a Node.
func Cordoned(node *corev1.Node) bool { return !cordonedAt(node).IsZero() }

// cordonedAt returns when the operator cordoned a Node; zero where it did not.
func cordonedAt(node *corev1.Node) time.Time {
	if node == nil {
		return time.Time{}
	}
	for _, entry := range node.ManagedFields {
		if entry.Manager == string(retireOwner) && entry.Operation == metav1.ManagedFieldsOperationApply &&
			entry.Subresource == "" && entry.Time != nil {
			return entry.Time.Time
		}
	}
	return time.Time{}
}

// forced reports whether pods are to be deleted rather than evicted, and where they will be, in how long.
func (r *Retirer) forced(node *observe.Node, removal v1alpha1.Removal) (now bool, in time.Duration) {
	if removal.Policy == v1alpha1.RemovalPolicyForce {
		return true, 0
	}
	since := cordonedAt(node.Node)
	if removal.DrainTimeoutSeconds == nil || since.IsZero() {
		return false, 0
	}
	in = time.Duration(*removal.DrainTimeoutSeconds)*time.Second - r.Clock.Since(since)
	return in <= 0, in
}

// Uncordon takes back the operator's cordon of a Node.
func Uncordon(ctx context.Context, c client.Client, node *corev1.Node) error {
	if err := c.Apply(ctx, applycorev1.Node(node.Name).WithUID(node.UID), retireOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("uncordon Node %s: %w", node.Name, err)
	}
	return nil
}

func (v *visit) cordon(ctx context.Context) error {
	node := v.node.Node
	if node == nil || Cordoned(node) {
		return nil
	}
	cordon := applycorev1.Node(node.Name).WithUID(node.UID).
		WithSpec(applycorev1.NodeSpec().WithUnschedulable(true))
	options := []client.ApplyOption{retireOwner, client.ForceOwnership}
	if v.unwatched(node) {
		options = append(options, client.DisableReadYourWritesConsistency)
	}
	if err := v.Client.Apply(ctx, cordon, options...); err != nil {
		return fmt.Errorf("cordon Node %s: %w", node.Name, err)
	}
	return nil
}

// leaving are the pods that are left on a node, but for those of DaemonSets.
type leaving struct {
	// waited are those that are waited for, held those that would be gone but for the finalizers that somebody has set, and
	// late those that came after the cordon and have been asked to end: others may follow them for ever.
	waited, held, late []corev1.Pod
	// forced says that pods are deleted rather than evicted.
	forced bool
}

// overdue returns for how long the time of the last of the pods that are waited for has been over; zero while one has
// time, or has not been asked to end.
func (l leaving) overdue(now time.Time) time.Duration {
	if len(l.waited) == 0 {
		return 0
	}
	var last time.Time
	for i := range l.waited {
		asked := l.waited[i].DeletionTimestamp
		if asked.IsZero() {
			return 0
		}
		if asked.After(last) {
			last = asked.Time
		}
	}
	return max(0, now.Sub(last))
}

// all are the pods that are left.
func (l leaving) all() []corev1.Pod { return slices.Concat(l.waited, l.held, l.late) }

func (l leaving) heldText() string {
	pod := &l.held[0]
	return fmt.Sprintf("%s left on the node, held by finalizers: pod %s/%s: %s",
		count(len(l.held)), pod.Namespace, pod.Name, strings.Join(pod.Finalizers, ", "))
}

// drain cordons a node and evicts the pods that are not leaving yet, or deletes them
// where the removal is forced or took too long. It notes which are left; those of DaemonSets are not waited for, nor are
// those that came after the cordon: what makes them makes others as soon as they leave.
func (v *visit) drain(ctx context.Context) error {
	if err := v.cordon(ctx); err != nil {
		return err
	}
	pods, err := v.leaving(ctx)
	if err != nil {
		return err
	}
	if !v.ended() || !v.noted(v.node.Hash, virtualKubelet) { // later pods get no container groups
		v.remember(v.node, pods)
	}
	forced, in := v.forced(v.node, v.spec.Removal)
	v.pods.forced = forced
	if len(pods) == 0 {
		return nil
	}

	v.progress.After = v.drainInterval()
	v.progress.set(v1alpha1.ReasonDraining, "%s left on the node", count(len(pods)))
	var blocked []string
	for i := range pods {
		pod := &pods[i]
		asked := !pod.DeletionTimestamp.IsZero()
		if !asked {
			err := v.end(ctx, pod, forced)
			switch {
			case err == nil || apierrors.IsNotFound(err):
				asked = true
			case ctx.Err() != nil:
				return fmt.Errorf("evict Pod %s/%s: %w", pod.Namespace, pod.Name, err)
			default:
				blocked = append(blocked, fmt.Sprintf("pod %s/%s: %s", pod.Namespace, pod.Name, budget(err)))
			}
		}
		v.sort(pod, asked)
	}
	switch {
	case len(blocked) > 0:
		v.tellBlocked(len(pods), blocked, in)
	case len(v.pods.waited) == 0 && len(v.pods.held) > 0:
		v.progress.set(v1alpha1.ReasonDraining, "%s", v.pods.heldText())
	}
	return nil
}

// pageSize is how many pods the API server lists at once.
const pageSize = 500

// leaving lists the pods that are to leave a node, as kubectl drain would with all its permissions: neither those of
// DaemonSets, which would be made anew at once, nor those of the machine itself.
func (v *visit) leaving(ctx context.Context) ([]corev1.Pod, error) {
	var pods []corev1.Pod
	list := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		return v.Pods.Pods(metav1.NamespaceAll).List(ctx, options)
	}))
	list.PageSize = pageSize
	of := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", v.node.Name).String()}
	err := list.EachListItem(ctx, of, func(item runtime.Object) error {
		if pod, ok := item.(*corev1.Pod); ok && leaves(pod) {
			pods = append(pods, *pod)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the pods of node %s: %w", v.node.Name, err)
	}
	return pods, nil
}

func leaves(pod *corev1.Pod) bool {
	if _, mirrors := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirrors {
		return false
	}
	owner := metav1.GetControllerOf(pod)
	stays := owner != nil && owner.Kind == "DaemonSet" && owner.APIVersion == appsv1.SchemeGroupVersion.String()
	return !stays || !lives(*pod)
}

// end asks for the end of a pod: by eviction, which budgets may refuse, unless it is forced.
func (v *visit) end(ctx context.Context, pod *corev1.Pod, forced bool) error {
	pods := v.Pods.Pods(pod.Namespace)
	if forced {
		return pods.Delete(ctx, pod.Name, metav1.DeleteOptions{})
	}
	return pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}})
}

// sort notes for what a pod is waited for, if it is, by whether it has been asked to end.
func (v *visit) sort(pod *corev1.Pod, asked bool) {
	since, ends := cordonedAt(v.node.Node), pod.DeletionTimestamp
	switch {
	case asked && !since.IsZero() && pod.CreationTimestamp.After(since):
		v.pods.late = append(v.pods.late, *pod)
	case !ends.IsZero() && len(pod.Finalizers) > 0 && v.Clock.Now().After(ends.Time):
		v.pods.held = append(v.pods.held, *pod)
	default:
		v.pods.waited = append(v.pods.waited, *pod)
	}
}

// drainInterval is how soon to look again: the more rarely, the longer it takes.
func (v *visit) drainInterval() time.Duration {
	since := cordonedAt(v.node.Node)
	if since.IsZero() {
		return firstDrainInterval
	}
	return min(max(v.Clock.Since(since)/30, firstDrainInterval), lastDrainInterval)
}

// tellBlocked says which pods can't be evicted, and why.
func (v *visit) tellBlocked(pods int, blocked []string, in time.Duration) {
	const most = 3
	text := strings.Join(blocked[:min(len(blocked), most)], "; ")
	if len(blocked) > most {
		text += fmt.Sprintf("; and %d more", len(blocked)-most)
	}
	v.progress.set(v1alpha1.ReasonEvictionBlocked, "%s left on the node, %d of them can't be evicted yet: %s",
		count(pods), len(blocked), text)
	if in > 0 {
		v.progress.Message += "; they are deleted once spec.removal.drainTimeoutSeconds are over"
	}
}

// finish ends the pods whose container groups are gone and that no virtual kubelet ends any more.
func (v *visit) finish(ctx context.Context) error {
	for _, pod := range v.pods.all() {
		err := v.Pods.Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64(0)), Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("end Pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	return nil
}

// budget returns what the API server says of the budget that refused an eviction, or of what else did.
func budget(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, cause := range status.Status().Details.Causes {
			if cause.Type == policyv1.DisruptionBudgetCause {
				return cause.Message
			}
		}
	}
	return err.Error()
}

func count(pods int) string {
	if pods == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", pods)
}
