// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package mend does for a living node what its virtual kubelet cannot: it labels and taints the Node, takes back a
// cordon, and ends a wait for a restart that has lost its reason. It never creates a Node.
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
}

// Mend mends a desired node as far as it is needed. It is told since when all is good that a virtual kubelet needs to
// start, and whether there was a Node when it was last looked at.
func (m *Mender) Mend(ctx context.Context, desired resolve.Node, observed *observe.Node, goodSince time.Time, hadNode bool) error {
	if observed == nil {
		return nil
	}
	if observed.Node != nil {
		if err := m.taint(ctx, desired, observed.Node); err != nil {
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
	return m.endBackoff(ctx, observed.Pods, goodSince)
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

// mark puts labels and annotations on the Node: the operator's, and those that the spec asks for.
func (m *Mender) mark(ctx context.Context, desired resolve.Node, node *corev1.Node) error {
	labels := desired.Labels(desired.Version)
	maps.Copy(labels, desired.NodeLabels)
	annotations := map[string]string{identity.AnnotationTaint: taintText(desired.Taint)}
	maps.Copy(annotations, desired.NodeAnnotations)
	// With its uid, so that a Node that has just been deleted is not made anew.
	patch := applycorev1.Node(node.Name).WithUID(node.UID).WithLabels(labels).WithAnnotations(annotations)
	owned, err := applycorev1.ExtractNode(node, string(apply.FieldOwner))
	if err != nil {
		return fmt.Errorf("read the managed fields of Node %s: %w", node.Name, err)
	}
	if equality.Semantic.DeepEqual(owned.WithUID(node.UID), patch) {
		return nil
	}
	if err := m.Client.Apply(ctx, patch, apply.FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("label Node %s: %w", node.Name, err)
	}
	return nil
}

// taint puts the taint that is asked for on the Node, and takes the one off that was asked for before: a virtual
// kubelet does so only when it makes the Node. Taints of others stay, so the list is not applied but patched.
func (m *Mender) taint(ctx context.Context, desired resolve.Node, node *corev1.Node) error {
	taints := slices.Clone(node.Spec.Taints)
	former, recorded := node.Annotations[identity.AnnotationTaint]
	if recorded && former != taintText(desired.Taint) {
		taints = slices.DeleteFunc(taints, func(t corev1.Taint) bool { return taintText(&t) == former })
	}
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

func (m *Mender) restart(ctx context.Context, pod *corev1.Pod) error {
	if !pod.DeletionTimestamp.IsZero() {
		return nil
	}
	err := m.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
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
