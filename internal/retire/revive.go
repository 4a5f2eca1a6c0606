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
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/render"
)

// revive serves a virtual kubelet that does not run while pods wait for it to end them: it says what Azure
// has against the credentials, and hands it those that Azure accepts by now. Where it stays down, it is
// stopped, and the operator ends the pods itself.
func (v *visit) revive(ctx context.Context) error {
	if v.progress.Reason == v1alpha1.ReasonDraining {
		v.progress.Message += fmt.Sprintf(", and its virtual kubelet does not run: kubectl describe pods -n %s -l %s=%s",
			v.spec.Namespace, identity.LabelIdentity, v.node.Hash)
	}
	listing, known := v.Inventory.List(v.spec.Connector, v.target, time.Time{})
	if listing.Problem != nil {
		if v.progress.Reason == v1alpha1.ReasonDraining {
			message := v.progress.Message
			v.notAsked(listing.Problem, v.suspects())
			v.progress.Message = message + ": " + v.progress.Message
		}
		return nil
	}
	if !known || v.node.Secret == nil || v.config.Target() == v.target {
		return nil
	}
	content, err := json.Marshal(v.config.With(v.target.Credential))
	if err != nil {
		return fmt.Errorf("write %s of Secret %s: %w", render.AzureKey, v.node.Name, err)
	}
	secret := v.node.Secret.DeepCopy()
	secret.Data[render.AzureKey] = content
	patch := client.MergeFromWithOptions(v.node.Secret, client.MergeFromWithOptimisticLock{})
	if err := client.IgnoreNotFound(v.Client.Patch(ctx, secret, patch, retireOwner)); err != nil {
		return fmt.Errorf("hand the client secret to Secret %s: %w", v.node.Name, err)
	}
	// The process reads its Secret once, and would wait for its backoff.
	for i := range v.node.Pods {
		pod := &v.node.Pods[i]
		if err := client.IgnoreNotFound(v.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})); err != nil {
			return fmt.Errorf("delete Pod %s: %w", client.ObjectKeyFromObject(pod), err)
		}
	}
	return nil
}
