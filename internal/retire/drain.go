// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/kubectl/pkg/drain"
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
		if entry.Manager == string(retireOwner) && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Time != nil {
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

func (r *Retirer) cordon(ctx context.Context, node *corev1.Node) error {
	if node == nil || Cordoned(node) {
		return nil
	}
	cordon := applycorev1.Node(node.Name).WithUID(node.UID).
		WithSpec(applycorev1.NodeSpec().WithUnschedulable(true))
	if err := r.Client.Apply(ctx, cordon, retireOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("cordon Node %s: %w", node.Name, err)
	}
	return nil
}

// drain cordons a node and evicts, by the rules of kubectl drain, the pods that are not leaving yet, or deletes them
// where the removal is forced or took too long. It reports whether all of them are gone; those of DaemonSets are not waited for.
func (r *Retirer) drain(ctx context.Context, node *observe.Node, removal v1alpha1.Removal, progress *Progress) (bool, error) {
	if err := r.cordon(ctx, node.Node); err != nil {
		return false, err
	}
	helper := &drain.Helper{
		Ctx:                 ctx,
		Client:              r.Kubernetes,
		Force:               true,
		GracePeriodSeconds:  -1,
		IgnoreAllDaemonSets: true,
		DeleteEmptyDirData:  true,
		ChunkSize:           500,
		Out:                 io.Discard,
		ErrOut:              io.Discard,
	}
	list, errs := helper.GetPodsForDeletion(node.Name)
	if err := errors.Join(errs...); err != nil {
		return false, fmt.Errorf("list the pods of node %s: %w", node.Name, err)
	}
	pods := list.Pods()
	if len(pods) == 0 {
		return true, nil
	}

	progress.After = drainInterval
	progress.waiting = latest(pods)
	progress.set(v1alpha1.ReasonDraining, "%s left on the node", count(len(pods), "pod"))
	forced, in := r.forced(node, removal)
	var blocked []string
	for i := range pods {
		pod := &pods[i]
		if !pod.DeletionTimestamp.IsZero() {
			continue
		}
		var err error
		if forced {
			err = helper.DeletePod(*pod)
		} else {
			err = helper.EvictPod(*pod, policyv1.SchemeGroupVersion)
		}
		switch {
		case err == nil || apierrors.IsNotFound(err):
		case ctx.Err() != nil:
			return false, fmt.Errorf("evict Pod %s/%s: %w", pod.Namespace, pod.Name, err)
		default:
			blocked = append(blocked, fmt.Sprintf("pod %s/%s: %s", pod.Namespace, pod.Name, budget(err)))
		}
	}
	if len(blocked) > 0 {
		const most = 3
		text := strings.Join(blocked[:min(len(blocked), most)], "; ")
		if len(blocked) > most {
			text += fmt.Sprintf("; and %d more", len(blocked)-most)
		}
		progress.set(v1alpha1.ReasonEvictionBlocked, "%s left on the node, %d of them can't be evicted yet: %s",
			count(len(pods), "pod"), len(blocked), text)
		if in > 0 {
			progress.Message += "; they are deleted once spec.removal.drainTimeoutSeconds are over"
		}
	}
	return false, nil
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

// latest returns when the last of pods was to have ended, with its grace; zero while one was not asked to.
func latest(pods []corev1.Pod) time.Time {
	var last time.Time
	for i := range pods {
		if pods[i].DeletionTimestamp.IsZero() {
			return time.Time{}
		}
		if pods[i].DeletionTimestamp.After(last) {
			last = pods[i].DeletionTimestamp.Time
		}
	}
	return last
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
