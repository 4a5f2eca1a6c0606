// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package status says, from what was resolved and what was observed, how a connector is; it is pure.
package status

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/preflight"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
)

// Input is all that a status is made of.
type Input struct {
	Connector *v1alpha1.VirtualKubeletConnector
	Resolved  resolve.Resolved
	Preflight preflight.Report
	// Nodes are the desired nodes, in the order of Resolved.
	Nodes []Node
	// Kept are the nodes that are not desired any more, and run until those that replace them can be started.
	Kept []*observe.Node
	// Lost are the versions of Nodes that may be gone, by their names: their virtual kubelets are still to be restarted.
	Lost map[string]string
	// Retiring are the nodes that are being removed.
	Retiring []retire.Progress
	// Retained are the container groups that removals have left in Azure.
	Retained []v1alpha1.RetainedContainerGroups
}

// Node is a desired node and what came of it.
type Node struct {
	Desired resolve.Node
	Claim   discover.Claim
	// Blocked is why its objects were not applied; nil where they were, or where it was not tried.
	Blocked error
	// Withheld is the finding that keeps it from being started for the first time; nil where none does.
	Withheld *preflight.Finding
	// Held is the finding that keeps a change from a virtual kubelet that runs, and would be restarted for it; nil where
	// none does.
	Held *preflight.Finding
	// Former is the name of the node that runs in its place as long as it can't be started; empty where none does.
	Former string
	// Changed says that its Deployment's spec has just been changed, so that Observed is out of date.
	Changed bool
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
		DesiredNodes:       new(int32(len(in.Resolved.OSTypes))), //nolint:gosec // two at most
	}
	conditions := []metav1.Condition{resolvedCondition(in)}
	for _, finding := range in.Preflight.Findings() {
		conditions = append(conditions, findingCondition(in, finding))
	}
	out.Nodes = desiredNodes(in)
	ready := int32(0)
	for _, node := range out.Nodes {
		condition := node.Conditions[0]
		if condition.Status == metav1.ConditionTrue {
			ready++
		}
		condition.Type = v1alpha1.NodeReadyCondition(node.OSType)
		conditions = append(conditions, condition)
	}
	out.ReadyNodes = &ready
	if in.Resolved.Undecided {
		out.Nodes = knownNodes(out.Nodes)
	}
	retiring := retiringCondition(in.Retiring)
	if held := heldRetirement(in); held != nil {
		retiring = []metav1.Condition{*held}
		out.Nodes = append(out.Nodes, heldNodes(in, out.Nodes)...)
	}
	out.Nodes = append(out.Nodes, keptNodes(in)...)
	out.Nodes = append(out.Nodes, retiringNodes(in)...)
	out.RetainedContainerGroups = in.Retained

	summary := readyCondition(in, conditions)
	out.Conditions = append([]metav1.Condition{summary}, conditions...)
	out.Conditions = append(out.Conditions, retiring...)
	if len(in.Retained) > 0 {
		out.Conditions = append(out.Conditions, condition(v1alpha1.ConditionContainerGroupsRetained, metav1.ConditionTrue, v1alpha1.ReasonRetained,
			"%s", retainedMessage(in.Retained)))
	}
	if in.Resolved.Suspended {
		out.Conditions = append(out.Conditions, condition(v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspended,
			"spec.suspend is true: nothing is changed until it is false, or the connector is deleted"))
	}
	out.Conditions = append(out.Conditions, kstatusConditions(in, summary)...)
	for i := range out.Conditions {
		out.Conditions[i].ObservedGeneration = in.Connector.Generation
	}
	return out
}

// heldRetirement is what was being removed before nothing was to be changed, or before it was not known any more what
// is wanted; nil where nothing was, or removals go on.
func heldRetirement(in Input) *metav1.Condition {
	if (!in.Resolved.Suspended && !in.Resolved.Undecided) || !in.Connector.DeletionTimestamp.IsZero() {
		return nil
	}
	known := meta.FindStatusCondition(in.Connector.Status.Conditions, v1alpha1.ConditionRetiring)
	if known == nil {
		return nil
	}
	return new(condition(known.Type, known.Status, known.Reason, "%s", known.Message))
}

// heldNodes are the nodes of a heldRetirement that are not listed yet.
func heldNodes(in Input, listed []v1alpha1.NodeStatus) []v1alpha1.NodeStatus {
	var out []v1alpha1.NodeStatus
	for _, known := range in.Connector.Status.Nodes {
		again := slices.ContainsFunc(listed, func(n v1alpha1.NodeStatus) bool { return n.Name == known.Name })
		if again || meta.FindStatusCondition(known.Conditions, v1alpha1.ConditionRetiring) == nil {
			continue
		}
		out = append(out, untimed(known))
	}
	return out
}

// untimed copies a node's status without transition times.
func untimed(known v1alpha1.NodeStatus) v1alpha1.NodeStatus {
	node := *known.DeepCopy()
	for i := range node.Conditions {
		node.Conditions[i].LastTransitionTime = metav1.Time{}
	}
	return node
}

// desiredNodes are the nodes asked for, each with its condition Ready first. Those whose place is not known yet are
// what they were when they were last looked at.
func desiredNodes(in Input) []v1alpha1.NodeStatus {
	var out []v1alpha1.NodeStatus
	for _, node := range in.Nodes {
		out = append(out, nodeStatus(in, node, nodeCondition(in, node)))
	}
	if !in.Resolved.Undecided {
		return out
	}
	for _, os := range in.Resolved.OSTypes {
		node := v1alpha1.NodeStatus{OSType: os}
		for _, known := range in.Connector.Status.Nodes {
			if known.OSType == os && meta.FindStatusCondition(known.Conditions, v1alpha1.ConditionReady) != nil {
				node = untimed(known)
			}
		}
		if node.Name == "" {
			node.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonNotStarted,
				"the node is not named before its place is known: see condition Resolved")}
		}
		out = append(out, node)
	}
	return out
}

// knownNodes leaves out those that have no name yet, and could not be listed by it.
func knownNodes(nodes []v1alpha1.NodeStatus) []v1alpha1.NodeStatus {
	return slices.DeleteFunc(nodes, func(n v1alpha1.NodeStatus) bool { return n.Name == "" })
}

func condition(conditionType string, status metav1.ConditionStatus, reason, format string, args ...any) metav1.Condition {
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	return metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: message}
}

// resolvedCondition is True when the spec and what it points to are understood, and every desired node's
// name is claimed in its resource group. What runs by what Azure has told of a spec does not come into doubt when an
// operator that has just started asks again.
func resolvedCondition(in Input) metav1.Condition {
	const is = v1alpha1.ConditionResolved
	if missing := in.Resolved.Missing; missing != nil {
		status := metav1.ConditionFalse
		if missing.Pending {
			status = metav1.ConditionUnknown
			known := meta.FindStatusCondition(in.Connector.Status.Conditions, is)
			if known != nil && known.Status == metav1.ConditionTrue && known.ObservedGeneration == in.Connector.Generation && started(in) {
				return condition(is, known.Status, known.Reason, "%s", known.Message)
			}
		}
		return condition(is, status, missing.Reason, "%s", redact(in, missing.Message))
	}
	for _, node := range in.Nodes {
		var notOwned *apply.NotOwnedError
		var rival *apply.RivalError
		switch {
		case node.Blocked == nil, waitsFor(node) != "":
		case errors.As(node.Blocked, &rival):
			return condition(is, metav1.ConditionFalse, v1alpha1.ReasonConflictingConnector, "%s", rival.Error())
		case errors.As(node.Blocked, &notOwned):
			return condition(is, metav1.ConditionFalse, v1alpha1.ReasonNotOwned, "%s", notOwned.Error())
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
		switch {
		case node.Claim.State != discover.ClaimPending || in.Resolved.Suspended:
		case waitsFor(node) != "":
			return condition(is, metav1.ConditionUnknown, v1alpha1.ReasonClaimPending,
				"the name of node %s is not claimed before %s", node.Desired.Name, waitsFor(node))
		case node.Withheld != nil:
			return condition(is, metav1.ConditionUnknown, v1alpha1.ReasonClaimPending,
				"the name of node %s is not claimed before condition %s allows the node to start", node.Desired.Name, node.Withheld.Type)
		default:
			return condition(is, metav1.ConditionUnknown, v1alpha1.ReasonClaimPending,
				"waiting for Azure to say whether the name of node %s is free in %s", node.Desired.Name, in.Resolved.Target)
		}
	}
	message := "the spec and what it points to are understood"
	if in.Resolved.Remark != "" {
		message += "; " + redact(in, in.Resolved.Remark)
	}
	return condition(is, metav1.ConditionTrue, v1alpha1.ReasonResolved, "%s", message)
}

// started reports whether every node asked for has been.
func started(in Input) bool {
	return !in.Resolved.Undecided &&
		!slices.ContainsFunc(in.Nodes, func(n Node) bool { return !n.Observed.Deployed() })
}

// findingCondition is what Azure was found to say. What was known before is not written over by what is not known yet:
// an operator may just have started. And what is not bad is not told in bits, while Azure is still answering.
func findingCondition(in Input, finding preflight.Finding) metav1.Condition {
	known := meta.FindStatusCondition(in.Connector.Status.Conditions, finding.Type)
	told := known != nil && known.Reason != v1alpha1.ReasonNotChecked
	switch {
	case !in.Resolved.Target.Usable() || finding.Status == metav1.ConditionFalse:
	case finding.Reason == v1alpha1.ReasonNotChecked && told && known.ObservedGeneration == in.Connector.Generation:
		return condition(finding.Type, known.Status, known.Reason, "%s", known.Message)
	case in.Preflight.Pending && !told && finding.Reason != v1alpha1.ReasonNotChecked:
		return condition(finding.Type, metav1.ConditionUnknown, v1alpha1.ReasonNotChecked, preflight.Waiting)
	}
	return condition(finding.Type, finding.Status, finding.Reason, "%s", redact(in, finding.Message))
}

// optional are the conditions that need not be known for a connector to be Ready.
var optional = []string{v1alpha1.ConditionAzureAccessible, v1alpha1.ConditionProviderRegistered, v1alpha1.ConditionNetworkReady}

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
	if unknown := firstUnknown(others); unknown != nil {
		return condition(is, metav1.ConditionUnknown, unknown.Reason, "%s", unknown.Message)
	}
	message := "both virtual nodes are ready"
	if len(in.Nodes) == 1 {
		message = "the virtual node is ready"
	}
	if access := in.Preflight.Access; access.Reason == v1alpha1.ReasonQuotaExhausted {
		message += "; " + access.Message
	}
	return condition(is, metav1.ConditionTrue, v1alpha1.ReasonReady, "%s", message)
}

// firstUnknown returns what keeps a connector from being Ready as long as it is not known: the fault that Azure is
// asked in vain with, where that is what is waited for.
func firstUnknown(conditions []metav1.Condition) *metav1.Condition {
	var found *metav1.Condition
	for i := range conditions {
		if c := &conditions[i]; c.Status == metav1.ConditionUnknown && !slices.Contains(optional, c.Type) && found == nil {
			found = c
		}
	}
	if found == nil || (found.Reason != v1alpha1.ReasonClaimPending && found.Reason != v1alpha1.ReasonDefaultsPending) {
		return found
	}
	access := meta.FindStatusCondition(conditions, v1alpha1.ConditionAzureAccessible)
	if access != nil && access.Status == metav1.ConditionUnknown && access.Reason != v1alpha1.ReasonNotChecked {
		return access
	}
	return found
}

// worst returns the first False condition that somebody has to do something about, else the first False
// one; nil where none is False.
func worst(conditions []metav1.Condition) *metav1.Condition {
	var found *metav1.Condition
	for i := range conditions {
		if conditions[i].Status != metav1.ConditionFalse {
			continue
		}
		if !progressing(conditions[i].Reason) && !pointing(conditions[i].Reason) {
			return &conditions[i]
		}
		if found == nil {
			found = &conditions[i]
		}
	}
	return found
}

// retainedMessage names the container groups that were left in Azure.
func retainedMessage(retained []v1alpha1.RetainedContainerGroups) string {
	texts := make([]string, 0, len(retained))
	for _, r := range retained {
		texts = append(texts, retire.Describe(r))
	}
	return "left in Azure, and billed: " + strings.Join(texts, "; ")
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
	case in.Resolved.Suspended && ready.Status == metav1.ConditionUnknown && ready.Reason == v1alpha1.ReasonNotStarted:
		return []metav1.Condition{condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSuspended, "%s", ready.Message)}
	case ready.Status == metav1.ConditionFalse && !progressing(ready.Reason):
		return []metav1.Condition{condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonUserActionNeeded, "%s", ready.Message)}
	case len(in.Retiring) > 0:
		return []metav1.Condition{condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, "removing node %s: %s", in.Retiring[0].Node, in.Retiring[0].Message)}
	case ready.Status != metav1.ConditionTrue:
		return []metav1.Condition{condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, "%s", ready.Message)}
	}
	return nil
}

// progressing tells the reasons that pass by themselves from those that somebody has to do something about.
func progressing(reason string) bool {
	switch reason {
	case v1alpha1.ReasonStarting, v1alpha1.ReasonNodeNotRegistered, v1alpha1.ReasonNodeNotReady, v1alpha1.ReasonWaitingForRetirement,
		v1alpha1.ReasonDeleting, v1alpha1.ReasonProviderRegistering:
		return true
	}
	return false
}

// pointing tells the reasons of a node that only point to the condition that says why.
func pointing(reason string) bool {
	switch reason {
	case v1alpha1.ReasonNotStarted, v1alpha1.ReasonAzureNotAccessible, v1alpha1.ReasonContainerGroupsImpossible, v1alpha1.ReasonChangeHeld:
		return true
	}
	return false
}

// redact takes secrets out of a text that comes from elsewhere.
func redact(in Input, text string) string {
	secrets := []string{in.Resolved.Target.ClientSecret}
	if workspace := in.Resolved.Workspace; workspace != nil {
		secrets = append(secrets, string(workspace.Key))
	}
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "REDACTED")
		}
	}
	return text
}
