// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
)

// Actions of events, as events.k8s.io asks for them.
const (
	actionReconcile = "Reconcile"
	actionRetire    = "Retire"
)

// maxNote is the longest note that the API server takes, in bytes.
const maxNote = 1024

// tell records an event for every condition that has changed its status or reason to something that a
// person wants to know. Ready, Reconciling and Stalled repeat what the others say.
func (r *Reconciler) tell(connector *v1alpha1.VirtualKubeletConnector, stored, computed v1alpha1.VirtualKubeletConnectorStatus) {
	before, after := stored.Conditions, computed.Conditions
	for _, condition := range after {
		switch condition.Type {
		case v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionContainerGroupsRetained:
			continue
		}
		was := meta.FindStatusCondition(before, condition.Type)
		if was != nil && was.Status == condition.Status && was.Reason == condition.Reason {
			continue
		}
		eventType, action := corev1.EventTypeNormal, actionReconcile
		switch {
		case condition.Type == v1alpha1.ConditionRetiring:
			action = actionRetire
			if condition.Reason == v1alpha1.ReasonAzureNotAsked || condition.Reason == v1alpha1.ReasonEvictionBlocked {
				eventType = corev1.EventTypeWarning
			} else if was != nil {
				continue // the steps of a removal that goes well are in the status
			}
		case condition.Status == metav1.ConditionUnknown, passing[condition.Reason]:
			continue
		case condition.Status == metav1.ConditionFalse:
			eventType = corev1.EventTypeWarning
		}
		r.Recorder.Eventf(connector, nil, eventType, condition.Reason, action, "%s", cut(condition.Message))
	}
	if meta.IsStatusConditionTrue(before, v1alpha1.ConditionRetiring) && meta.FindStatusCondition(after, v1alpha1.ConditionRetiring) == nil {
		if again := wantedAgain(stored.Nodes, computed.Nodes); again != "" {
			r.Recorder.Eventf(connector, nil, corev1.EventTypeNormal, "RetirementCanceled", actionRetire, "node %s is wanted again, and stays", again)
			return
		}
		r.Recorder.Eventf(connector, nil, corev1.EventTypeNormal, "Retired", actionRetire, "the nodes that were not wanted any more are removed")
	}
}

// wantedAgain returns the name of a node that was being removed, and is not any more; empty where there is none.
func wantedAgain(before, after []v1alpha1.NodeStatus) string {
	for _, node := range before {
		if meta.FindStatusCondition(node.Conditions, v1alpha1.ConditionRetiring) == nil {
			continue
		}
		if slices.ContainsFunc(after, func(n v1alpha1.NodeStatus) bool { return n.Name == node.Name }) {
			return node.Name
		}
	}
	return ""
}

// tellRetained records which container groups are left in Azure.
func (r *Reconciler) tellRetained(connector *v1alpha1.VirtualKubeletConnector, left v1alpha1.RetainedContainerGroups) {
	if connector.UID != "" {
		r.Recorder.Eventf(connector, nil, corev1.EventTypeWarning, "ContainerGroupsRetained", actionRetire, "%s", cut("left in Azure, and billed: "+retire.Describe(left)))
	}
}

// passing are the reasons that say no more than that a node is on its way.
var passing = map[string]bool{
	v1alpha1.ReasonStarting:             true,
	v1alpha1.ReasonProviderRegistering:  true,
	v1alpha1.ReasonNotStarted:           true,
	v1alpha1.ReasonNodeNotRegistered:    true,
	v1alpha1.ReasonWaitingForRetirement: true,
}

func cut(note string) string {
	if len(note) <= maxNote {
		return note
	}
	return strings.ToValidUTF8(note[:maxNote-len("…")], "") + "…"
}
