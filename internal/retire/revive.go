// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// revive serves a virtual kubelet that does not run while pods wait for it to end them: it says what Azure
// has against the credentials, and hands it those that Azure accepts by now. Where it stays down, it is
// stopped: the operator deletes its container groups, and the pods go with the Node.
func (r *Retirer) revive(ctx context.Context, spec resolve.Resolved, node *observe.Node, config render.AzureConfig, target azure.Target, progress *Progress) error {
	down := r.Clock.Since(r.since(node.Hash, availability))
	if !progress.waiting.IsZero() && r.Clock.Now().After(progress.waiting) && down > downtime {
		stopping, err := r.stop(ctx, node, *progress)
		*progress = stopping
		return err
	}
	if progress.Reason == v1alpha1.ReasonDraining {
		progress.Message += fmt.Sprintf(", and its virtual kubelet does not run: kubectl describe pods -n %s -l %s=%s",
			spec.Namespace, identity.LabelIdentity, node.Hash)
	}
	listing, known := r.Inventory.List(spec.Connector, target, time.Time{})
	if listing.Problem != nil {
		if progress.Reason == v1alpha1.ReasonDraining {
			progress.Stuck = listing.Problem.Proven
			progress.set(v1alpha1.ReasonAzureNotAsked, "%s: %s", progress.Message, listing.Problem.Message)
		}
		return nil
	}
	if !known || node.Secret == nil || config.Target() == target {
		return nil
	}
	config = config.With(target.Credential)
	content, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("write %s of Secret %s: %w", render.AzureKey, node.Name, err)
	}
	secret := node.Secret.DeepCopy()
	secret.Data[render.AzureKey] = content
	patch := client.MergeFromWithOptions(node.Secret, client.MergeFromWithOptimisticLock{})
	if err := client.IgnoreNotFound(r.Client.Patch(ctx, secret, patch, retireOwner)); err != nil {
		return fmt.Errorf("hand the client secret to Secret %s: %w", node.Name, err)
	}
	// The process reads its Secret once, and would wait for its backoff.
	for i := range node.Pods {
		pod := &node.Pods[i]
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})); err != nil {
			return fmt.Errorf("delete Pod %s: %w", client.ObjectKeyFromObject(pod), err)
		}
	}
	return nil
}
