// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	applyv1alpha1 "github.com/virtual-kubelet/connector-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
)

// statusOwner owns the status, apart from what the operator owns of the rest.
const statusOwner = apply.FieldOwner + "-status"

// writeStatus stores a status if it says something new, and tells of it by events.
func (r *Reconciler) writeStatus(ctx context.Context, connector *v1alpha1.VirtualKubeletConnector, computed v1alpha1.VirtualKubeletConnectorStatus) error {
	if connector.UID == "" {
		return nil
	}
	stamp(&connector.Status, &computed, metav1.NewTime(r.Clock.Now()))
	if equality.Semantic.DeepEqual(connector.Status, computed) {
		return nil
	}
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
	r.tell(connector, connector.Status, computed)
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
