// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package status says, from what was resolved and what was observed, how a connector is; it is pure.
package status

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
)

// Input is all that a status is made of.
type Input struct {
	Connector *v1alpha1.VirtualKubeletConnector
	Resolved  resolve.Resolved
	Access    discover.Access
	// Nodes are the desired nodes, in the order of Resolved.
	Nodes []Node
	// Retiring are the nodes that are being removed.
	Retiring []retire.Progress
}

// Node is a desired node and what came of it.
type Node struct {
	Desired resolve.Node
	Claim   discover.Claim
	// Blocked is why its objects were not applied; nil where they were, or where it was not tried.
	Blocked error
	// Wrote says that its objects have just been changed, so that Observed is out of date.
	Wrote bool
	// Observed is nil where nothing exists of the node.
	Observed *observe.Node
}

// Compute returns the status. Its conditions have no transition times.
func Compute(in Input) v1alpha1.VirtualKubeletConnectorStatus {
	out := v1alpha1.VirtualKubeletConnectorStatus{
		ObservedGeneration: in.Connector.Generation,
		SubscriptionID:     in.Resolved.Target.SubscriptionID,
		ResourceGroup:      in.Resolved.Target.ResourceGroup,
		Location:           in.Resolved.Location,
		DesiredNodes:       new(int32(len(in.Nodes))), //nolint:gosec // two at most
	}
	resolved := resolvedCondition(in)
	access := accessCondition(in)
	conditions := []metav1.Condition{resolved, access}
	ready := int32(0)
	for _, node := range in.Nodes {
		condition := nodeCondition(in, node)
		if condition.Status == metav1.ConditionTrue {
			ready++
		}
		out.Nodes = append(out.Nodes, nodeStatus(node, condition))
		condition.Type = v1alpha1.NodeReadyCondition(node.Desired.OSType)
		conditions = append(conditions, condition)
	}
	out.ReadyNodes = &ready
	out.Nodes = append(out.Nodes, retiringNodes(in)...)

	summary := readyCondition(in, conditions)
	out.Conditions = append([]metav1.Condition{summary}, conditions...)
	out.Conditions = append(out.Conditions, retiringCondition(in.Retiring)...)
	out.Conditions = append(out.Conditions, kstatusConditions(in, summary)...)
	for i := range out.Conditions {
		out.Conditions[i].ObservedGeneration = in.Connector.Generation
	}
	return out
}

func condition(conditionType string, status metav1.ConditionStatus, reason, format string, args ...any) metav1.Condition {
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	return metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: message}
}

// resolvedCondition is True when the spec and what it points to are understood, and every desired node's
// name is claimed in its resource group.
func resolvedCondition(in Input) metav1.Condition {
	const is = v1alpha1.ConditionResolved
	if missing := in.Resolved.Missing; missing != nil {
		return condition(is, metav1.ConditionFalse, missing.Reason, "%s", missing.Message)
	}
	for _, node := range in.Nodes {
		var notOwned *apply.NotOwnedError
		var predecessor *apply.PredecessorError
		switch {
		case errors.As(node.Blocked, &notOwned):
			return condition(is, metav1.ConditionFalse, v1alpha1.ReasonNotOwned, "%s", notOwned.Error())
		case errors.As(node.Blocked, &predecessor), node.Blocked == nil:
		default:
			reason := v1alpha1.ReasonInvalidSpec
			if apierrors.IsForbidden(node.Blocked) {
				reason = v1alpha1.ReasonForbidden
			}
			return condition(is, metav1.ConditionFalse, reason, "the API server refuses what node %s needs: %s",
				node.Desired.Name, redact(in, node.Blocked.Error()))
		}
		if node.Claim.State == discover.ClaimRefused {
			return condition(is, metav1.ConditionFalse, v1alpha1.ReasonNodeNameInUse,
				"container groups in %s carry the name of node %s and have no pod in this cluster, so that starting it would delete them: %s; use a resource group or a spec.node.namePrefix for this cluster alone, or delete them if nothing needs them",
				in.Resolved.Target, node.Desired.Name, azure.Enumerate(node.Claim.Foreign))
		}
	}
	for _, node := range in.Nodes {
		if node.Claim.State == discover.ClaimPending {
			return condition(is, metav1.ConditionUnknown, v1alpha1.ReasonClaimPending,
				"waiting for Azure to say whether the name of node %s is free in %s", node.Desired.Name, in.Resolved.Target)
		}
	}
	return condition(is, metav1.ConditionTrue, v1alpha1.ReasonResolved, "the spec and what it points to are understood")
}

// accessCondition is True when Azure accepted the credentials on the resource group.
func accessCondition(in Input) metav1.Condition {
	const is = v1alpha1.ConditionAzureAccessible
	problem := in.Access.Problem
	switch {
	case problem != nil && problem.Proven:
		return condition(is, metav1.ConditionFalse, problem.Reason, "%s", redact(in, problem.Message))
	case problem != nil:
		return condition(is, metav1.ConditionUnknown, problem.Reason, "%s", redact(in, problem.Message))
	case in.Resolved.Target.ClientSecret == "":
		return condition(is, metav1.ConditionUnknown, v1alpha1.ReasonNotChecked, "there is no client secret to ask Azure with")
	case !in.Access.Known:
		// An operator that has just started has not asked yet, and must not write over what it knew before.
		known := meta.FindStatusCondition(in.Connector.Status.Conditions, is)
		if known != nil && known.Reason != v1alpha1.ReasonNotChecked && known.ObservedGeneration == in.Connector.Generation {
			return condition(is, known.Status, known.Reason, "%s", known.Message)
		}
		return condition(is, metav1.ConditionUnknown, v1alpha1.ReasonNotChecked, "waiting for Azure's answer")
	}
	return condition(is, metav1.ConditionTrue, v1alpha1.ReasonAccessible, "Azure accepts the credentials on %s", in.Resolved.Target)
}

// readyCondition sums up the others: False where one is False, True where the nodes are ready, whatever
// else could not be looked at.
func readyCondition(in Input, others []metav1.Condition) metav1.Condition {
	const is = v1alpha1.ConditionReady
	if !in.Connector.DeletionTimestamp.IsZero() {
		return condition(is, metav1.ConditionFalse, v1alpha1.ReasonDeleting, "the nodes are being removed")
	}
	if fault := worst(others); fault != nil {
		return condition(is, metav1.ConditionFalse, fault.Reason, "%s", fault.Message)
	}
	for _, other := range others {
		if other.Status == metav1.ConditionUnknown && other.Type != v1alpha1.ConditionAzureAccessible {
			return condition(is, metav1.ConditionUnknown, other.Reason, "%s", other.Message)
		}
	}
	if len(in.Nodes) == 1 {
		return condition(is, metav1.ConditionTrue, v1alpha1.ReasonReady, "the virtual node is ready")
	}
	return condition(is, metav1.ConditionTrue, v1alpha1.ReasonReady, "both virtual nodes are ready")
}

// worst returns the first False condition that somebody has to do something about, else the first False
// one; nil where none is False.
func worst(conditions []metav1.Condition) *metav1.Condition {
	var found *metav1.Condition
	for i := range conditions {
		if conditions[i].Status != metav1.ConditionFalse {
			continue
		}
		if !progressing(conditions[i].Reason) {
			return &conditions[i]
		}
		if found == nil {
			found = &conditions[i]
		}
	}
	return found
}

func retiringCondition(retiring []retire.Progress) []metav1.Condition {
	if len(retiring) == 0 {
		return nil
	}
	messages := make([]string, 0, len(retiring))
	for _, progress := range retiring {
		messages = append(messages, "node "+progress.Node+": "+progress.Message)
	}
	return []metav1.Condition{condition(v1alpha1.ConditionRetiring, metav1.ConditionTrue, retiring[0].Reason, "%s", strings.Join(messages, "; "))}
}

// kstatusConditions are Reconciling or Stalled, as tools expect them that know nothing else of the kind
// (https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md).
func kstatusConditions(in Input, ready metav1.Condition) []metav1.Condition {
	for _, progress := range in.Retiring {
		if progress.Stuck {
			return []metav1.Condition{condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonUserActionNeeded, "%s", progress.Message)}
		}
	}
	switch {
	case len(in.Retiring) > 0:
		return []metav1.Condition{condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, "removing node %s: %s", in.Retiring[0].Node, in.Retiring[0].Message)}
	case ready.Status == metav1.ConditionTrue:
		return nil
	case ready.Status == metav1.ConditionUnknown, progressing(ready.Reason):
		return []metav1.Condition{condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, "%s", ready.Message)}
	}
	return []metav1.Condition{condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonUserActionNeeded, "%s", ready.Message)}
}

// progressing tells the reasons that pass by themselves from those that somebody has to do something about.
func progressing(reason string) bool {
	switch reason {
	case v1alpha1.ReasonStarting, v1alpha1.ReasonNodeNotRegistered, v1alpha1.ReasonWaitingForRetirement, v1alpha1.ReasonDeleting:
		return true
	}
	return false
}

// redact takes the client secret out of a text that comes from elsewhere.
func redact(in Input, text string) string {
	if secret := in.Resolved.Target.ClientSecret; secret != "" {
		return strings.ReplaceAll(text, secret, "REDACTED")
	}
	return text
}
