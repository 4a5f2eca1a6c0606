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
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
)

// revive serves a virtual kubelet that does not run while pods wait for it to end them: it says what Azure
// has against the credentials, and hands it the client secret that Azure accepts by now.
func (r *Retirer) revive(ctx context.Context, connector string, node *observe.Node, config render.AzureConfig, target azure.Target, progress *Progress) error {
	listing, known := r.Inventory.List(connector, target, time.Time{})
	if listing.Problem != nil {
		if progress.Reason == v1alpha1.ReasonDraining {
			progress.Stuck = listing.Problem.Proven
			progress.set(v1alpha1.ReasonAzureNotAsked, "%s, and its virtual kubelet does not run: %s", progress.Message, listing.Problem.Message)
		}
		return nil
	}
	if !known || node.Secret == nil || config.ClientSecret == target.ClientSecret {
		return nil
	}
	config.ClientSecret = target.ClientSecret
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
