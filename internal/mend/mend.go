// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package mend does for a living node what its virtual kubelet cannot: it labels and taints the Node, takes back a
// cordon, ends a wait for a restart that has lost its reason, and a process that hangs. It never creates a Node.
package mend

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
)

// Mender mends living nodes.
type Mender struct {
	Client client.Client
	Clock  clock.PassiveClock
}

// Mend mends a desired node as far as it is needed. It is told since when all is good that a virtual kubelet needs to
// start, and whether there was a Node when it was last looked at.
func (m *Mender) Mend(ctx context.Context, desired resolve.Node, observed *observe.Node, goodSince time.Time, hadNode bool) error {
	if observed == nil {
		return nil
	}
	if observed.Node != nil {
		if err := m.taint(ctx, desired, observed); err != nil {
			return err
		}
		if err := m.mark(ctx, desired, observed.Node); err != nil {
			return err
		}
		if retire.Cordoned(observed.Node) {
			if err := retire.Uncordon(ctx, m.Client, observed.Node); err != nil {
				return err
			}
		}
	}
	if observed.Node == nil && hadNode {
		return m.remake(ctx, observed.Pods)
	}
	if err := m.renewTokens(ctx, observed); err != nil {
		return err
	}
	return m.endBackoff(ctx, observed.Pods, goodSince)
}

// Keep mends a node that is not desired any more, and runs until the one that replaces it can be started: it sees that its
// virtual kubelet runs, and has a Node and a token that counts.
func (m *Mender) Keep(ctx context.Context, observed *observe.Node, hadNode bool) error {
	if err := m.Start(ctx, observed); err != nil {
		return err
	}
	if observed.Node == nil && hadNode {
		return m.remake(ctx, observed.Pods)
	}
	return m.renewTokens(ctx, observed)
}

// Start starts a virtual kubelet that somebody has stopped, and whose Deployment is not applied.
func (m *Mender) Start(ctx context.Context, observed *observe.Node) error {
	if observed.Deployment == nil || ptr.Deref(observed.Deployment.Spec.Replicas, 1) > 0 {
		return nil
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":1}}`))
	err := m.Client.Patch(ctx, observed.Deployment.DeepCopy(), patch, apply.FieldOwner)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("scale Deployment %s to 1: %w", observed.Name, err)
	}
	return nil
}

// remake deletes the pods of a node whose Node somebody has deleted: a virtual kubelet makes its Node
// when it starts, and never again.
func (m *Mender) remake(ctx context.Context, pods []corev1.Pod) error {
	for i := range pods {
		if err := m.restart(ctx, &pods[i]); err != nil {
			return err
		}
	}
	return nil
}

// renewTokens deletes the pods that are older than their ServiceAccount, which somebody has deleted and the operator made
// anew: their tokens are of the former one, and the API server takes them no more.
func (m *Mender) renewTokens(ctx context.Context, observed *observe.Node) error {
	if observed.ServiceAccount == nil {
		return nil
	}
	for i := range observed.Pods {
		if pod := &observed.Pods[i]; pod.CreationTimestamp.Before(&observed.ServiceAccount.CreationTimestamp) {
			if err := m.restart(ctx, pod); err != nil {
				return err
			}
		}
	}
	return nil
}

// mark puts labels and annotations on the Node: the operator's, and those that the spec asks for.
func (m *Mender) mark(ctx context.Context, desired resolve.Node, node *corev1.Node) error {
	labels := desired.Labels(desired.Version)
	maps.Copy(labels, desired.NodeLabels)
	annotations := map[string]string{identity.AnnotationTaint: taintText(desired.Taint)}
	maps.Copy(annotations, desired.NodeAnnotations)
	patch := applycorev1.Node(node.Name).WithLabels(labels).WithAnnotations(annotations)
	if marked, err := apply.Owns(node, patch); marked || err != nil {
		return err
	}
	// With its uid, so that a Node that has just been deleted is not made anew.
	if err := m.Client.Apply(ctx, patch.WithUID(node.UID), apply.FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("label Node %s: %w", node.Name, err)
	}
	return nil
}

// taint puts the taint that is asked for on the Node, and takes the one off that was asked for before: a virtual
// kubelet does so only when it makes the Node. Taints of others stay, so the list is not applied but patched.
func (m *Mender) taint(ctx context.Context, desired resolve.Node, observed *observe.Node) error {
	node := observed.Node
	taints := slices.Clone(node.Spec.Taints)
	var former []string
	if kept, recorded := node.Annotations[identity.AnnotationTaint]; recorded {
		former = []string{kept}
	} else if observed.Deployment != nil {
		former = mayCarry(observed.Deployment)
	}
	taints = slices.DeleteFunc(taints, func(t corev1.Taint) bool {
		text := taintText(&t)
		return text != taintText(desired.Taint) && slices.Contains(former, text)
	})
	if want := desired.Taint; want != nil {
		i := slices.IndexFunc(taints, func(t corev1.Taint) bool { return t.MatchTaint(want) })
		switch {
		case i < 0:
			taints = append(taints, *want)
		case taints[i].Value != want.Value:
			taints[i].Value = want.Value
		}
	}
	if equality.Semantic.DeepEqual(taints, node.Spec.Taints) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/resourceVersion", "value": node.ResourceVersion},
		{"op": "add", "path": "/spec/taints", "value": taints},
	})
	if err != nil {
		return fmt.Errorf("write a patch: %w", err)
	}
	err = m.Client.Patch(ctx, node.DeepCopy(), client.RawPatch(types.JSONPatchType, patch), apply.FieldOwner)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("taint Node %s: %w", node.Name, err)
	}
	return nil
}

// taintText writes a taint as kubectl does; empty for none.
func taintText(taint *corev1.Taint) string {
	if taint == nil {
		return ""
	}
	return taint.ToString()
}

// endBackoff deletes a pod that waits to be restarted, and that ended before all that it needs of Azure began to be
// good: it would wait for up to five minutes although nothing is wrong any more.
func (m *Mender) endBackoff(ctx context.Context, pods []corev1.Pod, goodSince time.Time) error {
	if goodSince.IsZero() {
		return nil
	}
	for i := range pods {
		if ended, waits := waitsForRestart(&pods[i]); waits && ended.Before(goodSince) {
			if err := m.restart(ctx, &pods[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// hangs is how long a virtual kubelet may hang before it is restarted, counted from when the control plane gave up
// waiting for its Node: 40 s after the last heartbeat, unless it is told otherwise.
const hangs = 2 * time.Minute

// EndHang deletes a pod of a node that runs although nothing is heard of its Node any more: the kubelet of its machine
// sees no more of the process than an open port. A process that starts is left alone, however long it reads the container
// groups of its resource group before its first heartbeat. EndHang says after which time to look again; 0 is when
// something changes.
func (m *Mender) EndHang(ctx context.Context, observed *observe.Node) (after time.Duration, err error) {
	if observed.Node == nil {
		return 0, nil
	}
	ready := observe.ReadyCondition(observed.Node)
	if ready == nil || ready.Status != corev1.ConditionUnknown {
		return 0, nil // something is heard of it
	}
	for i := range observed.Pods {
		started, runs := runsSince(&observed.Pods[i])
		// Both are of whole seconds, and a process that has no groups to read is heard of in the second that it starts in.
		if !runs || ready.LastHeartbeatTime.Time.Before(started) {
			continue
		}
		if left := hangs - m.Clock.Since(ready.LastTransitionTime.Time); left > 0 {
			return left, nil
		}
		// It answers no signal, and is not to be there beside its successor for long.
		if err := m.restart(ctx, &observed.Pods[i], client.GracePeriodSeconds(1)); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// runsSince says when the container of a pod started, if the pod is ready: on a machine that is lost it is not.
func runsSince(pod *corev1.Pod) (started time.Time, runs bool) {
	ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Running != nil {
			return status.State.Running.StartedAt.Time, ready
		}
	}
	return time.Time{}, false
}

func (m *Mender) restart(ctx context.Context, pod *corev1.Pod, how ...client.DeleteOption) error {
	if !pod.DeletionTimestamp.IsZero() {
		return nil
	}
	err := m.Client.Delete(ctx, pod, append(how, client.Preconditions{UID: &pod.UID})...)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Pod %s: %w", client.ObjectKeyFromObject(pod), err)
	}
	return nil
}

func waitsForRestart(pod *corev1.Pod) (ended time.Time, waits bool) {
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Waiting != nil && status.State.Waiting.Reason == "CrashLoopBackOff" &&
			status.LastTerminationState.Terminated != nil {
			return status.LastTerminationState.Terminated.FinishedAt.Time, pod.DeletionTimestamp.IsZero()
		}
	}
	return time.Time{}, false
}
