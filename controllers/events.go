// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
)

// Actions of events, as events.k8s.io asks for them.
const (
	actionReconcile = "Reconcile"
	actionRetire    = "Retire"
)

// Reasons of events that are none of a condition.
const (
	eventResumed                 = "Resumed"
	eventDrained                 = "Drained"
	eventRetired                 = "Retired"
	eventVanished                = "Vanished"
	eventRetirementCanceled      = "RetirementCanceled"
	eventContainerGroupsRetained = "ContainerGroupsRetained"
	eventContainerGroupsGone     = "ContainerGroupsGone"
	eventRemoved                 = "Removed"
)

// eventTypes are the types of all events, by their reasons. A condition that comes to a reason which is not here makes
// none: it says what another condition says as well, or what passes by itself, or what the spec asks for.
var eventTypes = map[string]string{
	v1alpha1.ReasonResolved:                 corev1.EventTypeNormal,
	v1alpha1.ReasonManagedClusterNotFound:   corev1.EventTypeWarning,
	v1alpha1.ReasonManagedClusterForbidden:  corev1.EventTypeWarning,
	v1alpha1.ReasonDefaultNotFound:          corev1.EventTypeWarning,
	v1alpha1.ReasonImageNotAllowed:          corev1.EventTypeWarning,
	v1alpha1.ReasonConflictingConnector:     corev1.EventTypeWarning,
	v1alpha1.ReasonSecretNotFound:           corev1.EventTypeWarning,
	v1alpha1.ReasonSecretIncomplete:         corev1.EventTypeWarning,
	v1alpha1.ReasonClientCANotFound:         corev1.EventTypeWarning,
	v1alpha1.ReasonNodeNameTooLong:          corev1.EventTypeWarning,
	v1alpha1.ReasonNodeNameInUse:            corev1.EventTypeWarning,
	v1alpha1.ReasonNotOwned:                 corev1.EventTypeWarning,
	v1alpha1.ReasonInvalidSpec:              corev1.EventTypeWarning,
	v1alpha1.ReasonLookForbidden:            corev1.EventTypeWarning,
	v1alpha1.ReasonAzureUnavailable:         corev1.EventTypeWarning,
	v1alpha1.ReasonThrottled:                corev1.EventTypeWarning,
	v1alpha1.ReasonProviderRegistered:       corev1.EventTypeNormal,
	v1alpha1.ReasonProviderNotRegistered:    corev1.EventTypeWarning,
	v1alpha1.ReasonRegistrationForbidden:    corev1.EventTypeWarning,
	v1alpha1.ReasonLocationNotAvailable:     corev1.EventTypeWarning,
	v1alpha1.ReasonOSTypeNotAvailable:       corev1.EventTypeWarning,
	v1alpha1.ReasonAccessible:               corev1.EventTypeNormal,
	v1alpha1.ReasonQuotaExhausted:           corev1.EventTypeWarning,
	v1alpha1.ReasonCredentialsRejected:      corev1.EventTypeWarning,
	v1alpha1.ReasonSecretExpired:            corev1.EventTypeWarning,
	v1alpha1.ReasonTenantNotFound:           corev1.EventTypeWarning,
	v1alpha1.ReasonCloudMismatch:            corev1.EventTypeWarning,
	v1alpha1.ReasonForbidden:                corev1.EventTypeWarning,
	v1alpha1.ReasonDenied:                   corev1.EventTypeWarning,
	v1alpha1.ReasonResourceGroupLocked:      corev1.EventTypeWarning,
	v1alpha1.ReasonResourceGroupNotFound:    corev1.EventTypeWarning,
	v1alpha1.ReasonSubscriptionNotFound:     corev1.EventTypeWarning,
	v1alpha1.ReasonSubscriptionDisabled:     corev1.EventTypeWarning,
	v1alpha1.ReasonNetworkReady:             corev1.EventTypeNormal,
	v1alpha1.ReasonSubnetNotFound:           corev1.EventTypeWarning,
	v1alpha1.ReasonSubnetDelegatedElsewhere: corev1.EventTypeWarning,
	v1alpha1.ReasonSubnetInUse:              corev1.EventTypeWarning,
	v1alpha1.ReasonSubnetHasRouteTable:      corev1.EventTypeWarning,
	v1alpha1.ReasonSubnetInOtherLocation:    corev1.EventTypeWarning,
	v1alpha1.ReasonSubnetTooSmall:           corev1.EventTypeWarning,
	v1alpha1.ReasonSubnetJoinForbidden:      corev1.EventTypeWarning,
	v1alpha1.ReasonSuspended:                corev1.EventTypeNormal,
	v1alpha1.ReasonNodeReady:                corev1.EventTypeNormal,
	v1alpha1.ReasonNodeNotReady:             corev1.EventTypeWarning,
	v1alpha1.ReasonUnschedulable:            corev1.EventTypeWarning,
	v1alpha1.ReasonImageNotPulled:           corev1.EventTypeWarning,
	v1alpha1.ReasonContainerNotCreated:      corev1.EventTypeWarning,
	v1alpha1.ReasonPodsNotCreated:           corev1.EventTypeWarning,
	v1alpha1.ReasonCrashLoop:                corev1.EventTypeWarning,
	v1alpha1.ReasonDraining:                 corev1.EventTypeNormal,
	v1alpha1.ReasonEvictionBlocked:          corev1.EventTypeWarning,
	v1alpha1.ReasonContainerGroupsRemain:    corev1.EventTypeNormal,
	v1alpha1.ReasonAzureNotAsked:            corev1.EventTypeWarning,
	v1alpha1.ReasonStopping:                 corev1.EventTypeWarning,

	eventResumed:                 corev1.EventTypeNormal,
	eventDrained:                 corev1.EventTypeNormal,
	eventRetired:                 corev1.EventTypeNormal,
	eventVanished:                corev1.EventTypeWarning,
	eventRetirementCanceled:      corev1.EventTypeNormal,
	eventContainerGroupsRetained: corev1.EventTypeWarning,
	eventContainerGroupsGone:     corev1.EventTypeNormal,
	eventRemoved:                 corev1.EventTypeNormal,
}

// EventTypes returns the types of all events that the operator records about connectors, by their reasons.
func EventTypes() map[string]string { return maps.Clone(eventTypes) }

// maxNote is the longest note that the API server takes, in bytes.
const maxNote = 1024

// record records an event about a connector, or about one of its nodes: those of two nodes are told apart by it, as what
// records them takes events of the same reason for one, and drops the note of the second.
func (r *Reconciler) record(connector *v1alpha1.VirtualKubeletConnector, node, reason, action, note string) {
	if connector.UID == "" {
		return // there is nothing any more to tell it of
	}
	var related runtime.Object
	if node != "" {
		related = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	}
	r.Recorder.Eventf(connector, related, eventTypes[reason], reason, action, "%s", cut(note))
}

// tell records an event for every condition that has changed its status or reason to something that a
// person wants to know. What is told of removals, and of what they leave, is told as they go on.
func (r *Reconciler) tell(connector *v1alpha1.VirtualKubeletConnector, stored, computed v1alpha1.VirtualKubeletConnectorStatus) {
	ready := meta.IsStatusConditionTrue(computed.Conditions, v1alpha1.ConditionReady)
	for _, condition := range computed.Conditions {
		// That its nodes are ready says as much, unless something was told before that was wrong.
		if _, told := eventTypes[conditionOf(stored.Conditions, condition.Type).Reason]; ready && expected(condition) && !told {
			continue
		}
		if worthTelling(stored.Conditions, condition) {
			r.record(connector, nodeOf(computed.Nodes, condition.Type), condition.Reason, actionReconcile, condition.Message)
		}
	}
	suspended := v1alpha1.ConditionSuspended
	if meta.IsStatusConditionTrue(stored.Conditions, suspended) && meta.FindStatusCondition(computed.Conditions, suspended) == nil {
		r.record(connector, "", eventResumed, actionReconcile, "spec.suspend is false: the operator goes on")
	}
}

// expected reports whether a condition says that what a node needs is there.
func expected(condition metav1.Condition) bool {
	switch condition.Reason {
	case v1alpha1.ReasonResolved, v1alpha1.ReasonAccessible, v1alpha1.ReasonProviderRegistered, v1alpha1.ReasonNetworkReady:
		return true
	}
	return false
}

// worthTelling reports whether an event is to tell of what a condition is now, after what all were.
func worthTelling(before []metav1.Condition, is metav1.Condition) bool {
	_, event := eventTypes[is.Reason]
	was := conditionOf(before, is.Type)
	follows := slices.Contains(followers, is.Type)
	switch {
	case !event || slices.Contains(summaries, is.Type), was.Status == is.Status && was.Reason == is.Reason:
		return false
	case is.Reason == v1alpha1.ReasonAzureUnavailable, is.Reason == v1alpha1.ReasonThrottled:
		return !follows
	case follows && is.Status == metav1.ConditionTrue && was.Status != metav1.ConditionFalse:
		access := conditionOf(before, v1alpha1.ConditionAzureAccessible).Reason
		return access == "" || access == v1alpha1.ReasonNotChecked
	case is.Reason == v1alpha1.ReasonNodeReady:
		return was.Status != metav1.ConditionTrue // as it is where a change is held
	case is.Reason == v1alpha1.ReasonNodeNotReady:
		return was.Status == metav1.ConditionTrue // another is on its way
	}
	return true
}

// conditionOf returns a condition; zero where it is not there.
func conditionOf(conditions []metav1.Condition, conditionType string) metav1.Condition {
	if found := meta.FindStatusCondition(conditions, conditionType); found != nil {
		return *found
	}
	return metav1.Condition{}
}

// summaries are the conditions that say what others say, and those of what removals tell of as they go on.
var summaries = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled,
	v1alpha1.ConditionRetiring, v1alpha1.ConditionContainerGroupsRetained,
}

// followers are the conditions that nothing is known of while Azure is not accessible: AzureAccessible tells that it is not,
// and that it is again.
var followers = []string{v1alpha1.ConditionProviderRegistered, v1alpha1.ConditionNetworkReady}

// nodeOf returns the name of the node that a condition is about; empty where it is about none.
func nodeOf(nodes []v1alpha1.NodeStatus, conditionType string) string {
	for _, node := range nodes {
		if conditionType == v1alpha1.NodeReadyCondition(node.OSType) && meta.FindStatusCondition(node.Conditions, v1alpha1.ConditionReady) != nil {
			return node.Name
		}
	}
	return ""
}

// tellRemoval records how far the removal of a node has come: each step once, and what blocks it when it begins to.
func (r *Reconciler) tellRemoval(connector *v1alpha1.VirtualKubeletConnector, removal *removal, progress retire.Progress) {
	step := func(reached bool, reason, note string) {
		if reached && !removal.told.Has(reason) {
			removal.told.Insert(reason)
			r.record(connector, progress.Node, reason, actionRetire, "node "+progress.Node+note)
		}
	}
	step(true, v1alpha1.ReasonDraining, " is being removed: it takes no new pods, and those that it has are evicted")
	step(progress.Drained, eventDrained, ": no pods are left on it")
	remain := progress.Reason == v1alpha1.ReasonContainerGroupsRemain && len(progress.Remaining) > 0 // and not: is being asked
	step(remain, v1alpha1.ReasonContainerGroupsRemain, ": "+progress.Message)
	removal.retained = removal.retained || progress.Retained != nil
	removal.settled = removal.settled || progress.Settled
	removal.resourceGroup = cmp.Or(progress.ResourceGroup, removal.resourceGroup)

	blocked := ""
	if progress.Stuck || progress.Reason == v1alpha1.ReasonEvictionBlocked || progress.Reason == v1alpha1.ReasonAzureNotAsked {
		blocked = progress.Reason
	}
	if blocked != "" && blocked != removal.blocked {
		r.record(connector, progress.Node, blocked, actionRetire, "node "+progress.Node+": "+progress.Message)
	}
	removal.blocked = blocked
}

// tellRetired records that a node is removed, or that its objects are gone before that could be done.
func (r *Reconciler) tellRetired(connector *v1alpha1.VirtualKubeletConnector, removal *removal) {
	if !removal.settled {
		note := "the objects of node " + removal.node + " are gone before it was removed: " + unknown(removal.node)
		if removal.resourceGroup != "" {
			note += "; look in resource group " + removal.resourceGroup + " for those with the tag NodeName=" + removal.node
		}
		r.record(connector, removal.node, eventVanished, actionRetire, note)
		return
	}
	note := "node " + removal.node + " is removed, and nothing of it is left in Azure"
	if removal.retained {
		note = "node " + removal.node + " is removed, but for the container groups that were left in Azure"
	}
	r.record(connector, removal.node, eventRetired, actionRetire, note)
}

// tellRemoved records that a deleted connector is about to go.
func (r *Reconciler) tellRemoved(connector *v1alpha1.VirtualKubeletConnector) {
	retained := len(connector.Status.RetainedContainerGroups) > 0
	note := "nothing of the connector is left, neither in the cluster nor in Azure"
	if retained {
		note = "nothing of the connector is left, but for the container groups that were left in Azure"
	}
	if vanished := r.removals.vanished(connector); len(vanished) > 0 {
		note = "nothing of the connector is left in the cluster; " + unknown(vanished...)
		if retained {
			note += ", and others were left there"
		}
	}
	r.record(connector, "", eventRemoved, actionRetire, note)
}

// tellRetained records which container groups are left in Azure.
func (r *Reconciler) tellRetained(connector *v1alpha1.VirtualKubeletConnector, left v1alpha1.RetainedContainerGroups) {
	r.record(connector, left.NodeName, eventContainerGroupsRetained, actionRetire, "left in Azure, and billed: "+retire.Describe(left))
}

func unknown(nodes ...string) string {
	return "whether Azure has container groups of " + strings.Join(nodes, ", ") + ", which would be billed, is not known"
}

func cut(note string) string {
	if len(note) <= maxNote {
		return note
	}
	return strings.ToValidUTF8(note[:maxNote-len("…")], "") + "…"
}
