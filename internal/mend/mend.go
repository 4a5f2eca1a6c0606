// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package mend does for a living node what its virtual kubelet cannot: it labels the Node, takes back a
// cordon, and ends a wait for a restart that has lost its reason. It never creates a Node.
package mend

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
)

// Mender mends living nodes.
type Mender struct {
	Client client.Client
}

// Mend mends a desired node as far as it is needed. It is told whether there was a Node when it was last
// looked at.
func (m *Mender) Mend(ctx context.Context, desired resolve.Node, observed *observe.Node, access discover.Access, hadNode bool) error {
	if observed == nil {
		return nil
	}
	if observed.Node != nil {
		if err := m.label(ctx, desired, observed.Node); err != nil {
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
	return m.endBackoff(ctx, observed.Pods, access)
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

func (m *Mender) label(ctx context.Context, desired resolve.Node, node *corev1.Node) error {
	labels := desired.Labels(desired.Version)
	for key, value := range labels {
		if node.Labels[key] != value {
			// With its uid, so that a Node that has just been deleted is not made anew.
			patch := applycorev1.Node(node.Name).WithUID(node.UID).WithLabels(labels)
			if err := m.Client.Apply(ctx, patch, apply.FieldOwner, client.ForceOwnership); err != nil {
				return fmt.Errorf("label Node %s: %w", node.Name, err)
			}
			return nil
		}
	}
	return nil
}

// endBackoff deletes a pod that waits to be restarted, and that ended before Azure began to accept the
// credentials: it would wait for up to five minutes although nothing is wrong any more.
func (m *Mender) endBackoff(ctx context.Context, pods []corev1.Pod, access discover.Access) error {
	if access.Problem != nil || access.GoodSince.IsZero() {
		return nil
	}
	for i := range pods {
		if ended, waits := waitsForRestart(&pods[i]); waits && ended.Before(access.GoodSince) {
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
