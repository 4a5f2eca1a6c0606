// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	applyv1alpha1 "github.com/virtual-kubelet/connector-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/status"
)

// statusOwner owns the status, apart from what the operator owns of the rest.
const statusOwner = apply.FieldOwner + "-status"

// writeStatus stores a status if it says something new, and tells of it by events. What only passes is stored once it has
// lasted for a while: after says in how long that is.
func (r *Reconciler) writeStatus(
	ctx context.Context, connector *v1alpha1.VirtualKubeletConnector, stored, computed v1alpha1.VirtualKubeletConnectorStatus,
) (after time.Duration, err error) {
	if connector.UID == "" {
		return 0, nil
	}
	now := r.Clock.Now()
	stamp(&connector.Status, &computed, metav1.NewTime(now))
	if equality.Semantic.DeepEqual(stored, computed) {
		r.drafts.drop(connector.Name)
		return 0, nil
	}
	if status.Passing(stored, computed) && sameNodeNames(withStatus(connector, stored), withStatus(connector, computed)) {
		patience := statusPatience
		if status.First(stored) {
			patience = firstStatusPatience
		}
		if left := patience - now.Sub(r.drafts.keep(connector, computed, now)); left > 0 {
			return left, nil
		}
	}
	if err := r.storeStatus(ctx, connector, computed); err != nil {
		return 0, err
	}
	r.drafts.drop(connector.Name)
	r.tell(connector, stored, computed)
	return 0, nil
}

// withStatus is a connector with another status.
func withStatus(connector *v1alpha1.VirtualKubeletConnector, s v1alpha1.VirtualKubeletConnectorStatus) *v1alpha1.VirtualKubeletConnector {
	other := *connector
	other.Status = s
	return &other
}

func (r *Reconciler) storeStatus(ctx context.Context, connector *v1alpha1.VirtualKubeletConnector, computed v1alpha1.VirtualKubeletConnectorStatus) error {
	encoded, err := json.Marshal(computed)
	if err != nil {
		return fmt.Errorf("encode the status of VirtualKubeletConnector %s: %w", connector.Name, err)
	}
	desired := &applyv1alpha1.VirtualKubeletConnectorStatusApplyConfiguration{}
	if err := json.Unmarshal(encoded, desired); err != nil {
		return fmt.Errorf("decode the status of VirtualKubeletConnector %s: %w", connector.Name, err)
	}
	err = r.Client.Status().Apply(ctx,
		applyv1alpha1.VirtualKubeletConnector(connector.Name).WithUID(connector.UID).WithStatus(desired),
		statusOwner, client.ForceOwnership)
	if err != nil {
		return client.IgnoreNotFound(fmt.Errorf("write the status of VirtualKubeletConnector %s: %w", connector.Name, err))
	}
	return nil
}

// stamp gives the conditions of a computed status their transition times.
func stamp(stored, computed *v1alpha1.VirtualKubeletConnectorStatus, now metav1.Time) {
	stampConditions(stored.Conditions, computed.Conditions, now)
	for i := range computed.Nodes {
		var before []metav1.Condition
		for j := range stored.Nodes {
			if stored.Nodes[j].Name == computed.Nodes[i].Name {
				before = stored.Nodes[j].Conditions
			}
		}
		stampConditions(before, computed.Nodes[i].Conditions, now)
	}
}

func stampConditions(stored, computed []metav1.Condition, now metav1.Time) {
	for i := range computed {
		computed[i].LastTransitionTime = now.Rfc3339Copy()
		before := meta.FindStatusCondition(stored, computed[i].Type)
		if before != nil && before.Status == computed[i].Status {
			computed[i].LastTransitionTime = before.LastTransitionTime
		}
	}
}
