// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
)

// maxQuote is how many characters of a message from elsewhere a condition quotes.
const maxQuote = 300

// nodeCondition is True when the virtual kubelet is available and does not crash, its Node is Ready, and
// nothing is proven bad. The guards go from the first cause to the last.
func nodeCondition(in Input, node Node) metav1.Condition {
	const is = v1alpha1.ConditionReady
	name := node.Desired.Name
	not := func(reason, format string, args ...any) metav1.Condition {
		return condition(is, metav1.ConditionFalse, reason, format, args...)
	}

	if leaves := waitsFor(node); leaves != "" && !in.Resolved.Suspended {
		return asBefore(node, not(v1alpha1.ReasonWaitingForRetirement, "node %s starts once %s", name, leaves))
	}
	observed := node.Observed
	if !observed.Deployed() {
		return notStarted(in, node)
	}
	deployment := observed.Deployment
	if pod := newest(observed.Pods); pod != nil {
		if reason, message := podProblem(in, name, pod); reason == v1alpha1.ReasonStarting {
			return not(reason, "the virtual kubelet of node %s is started anew: %s", name, message)
		} else if reason != "" {
			return not(reason, "the virtual kubelet of node %s: %s", name, message)
		}
	}
	for _, c := range deployment.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return not(v1alpha1.ReasonPodsNotCreated, "the virtual kubelet's pod of node %s can't be made: %s", name, quote(in, c.Message))
		}
	}
	if node.Changed || deployment.Status.ObservedGeneration < deployment.Generation ||
		deployment.Status.UpdatedReplicas < 1 || deployment.Status.AvailableReplicas < 1 {
		return not(v1alpha1.ReasonStarting, "the virtual kubelet of node %s is starting", name)
	}
	if observed.Node == nil {
		return not(v1alpha1.ReasonNodeNotRegistered,
			"the virtual kubelet runs and has not made node %s yet; it first reads every container group in %s", name, in.Resolved.Target)
	}
	if ready := nodeReady(observed.Node); ready.Status != corev1.ConditionTrue {
		return not(v1alpha1.ReasonNodeNotReady, "node %s is not Ready: %s: %s", name, ready.Reason, quote(in, ready.Message))
	}
	if held := node.Held; held != nil {
		// What is bad is the change: what runs does not know of it. As long as that is not known, neither is the node's
		// readiness for what is wanted.
		status, until := metav1.ConditionTrue, "is not made before it is mended: see condition "+held.Type
		if held.Status != metav1.ConditionFalse {
			status, until = metav1.ConditionUnknown, "waits for Azure's answer: see condition "+held.Type
		}
		return condition(is, status, v1alpha1.ReasonChangeHeld, "node %s runs as before, and the change %s", name, until)
	}
	if finding := in.Preflight.Blocking(node.Desired.OSType); finding != nil {
		reason := v1alpha1.ReasonContainerGroupsImpossible
		if finding.Type == v1alpha1.ConditionAzureAccessible {
			reason = v1alpha1.ReasonAzureNotAccessible
		}
		return not(reason, "node %s can't make container groups: see condition %s", name, finding.Type)
	}
	return condition(is, metav1.ConditionTrue, v1alpha1.ReasonNodeReady, "node %s is ready", name)
}

// waitsFor tells what a node waits for that has to leave before it starts, and does so by itself; empty where nothing has.
func waitsFor(node Node) string {
	var predecessor *apply.PredecessorError
	var rival *apply.RivalError
	var notOwned *apply.NotOwnedError
	switch {
	case errors.As(node.Blocked, &predecessor):
		return "the former node of this name is removed: see condition Retiring"
	case node.Observed.Deployed():
		return ""
	case errors.As(node.Blocked, &rival) && rival.Leaving:
		return "connector " + rival.Connector + ", which is being deleted, has removed its own of this name"
	case errors.As(node.Blocked, &notOwned) && notOwned.Leaving:
		return "connector " + notOwned.Connector + ", which does not ask for it any more, has removed its own of this name"
	}
	return ""
}

// notStarted says why a node does not run, and what runs in its place.
func notStarted(in Input, node Node) metav1.Condition { return asBefore(node, whyNotStarted(in, node)) }

func asBefore(node Node, c metav1.Condition) metav1.Condition {
	if node.Former != "" {
		c.Message += fmt.Sprintf("; node %s runs as before", node.Former)
	}
	return c
}

func whyNotStarted(in Input, node Node) metav1.Condition {
	const is = v1alpha1.ConditionReady
	switch {
	case node.Withheld != nil && (!in.Resolved.Suspended || node.Withheld.Status == metav1.ConditionFalse):
		return condition(is, node.Withheld.Status, v1alpha1.ReasonNotStarted, "node %s was not started: see condition %s", node.Desired.Name, node.Withheld.Type)
	case in.Resolved.Suspended:
		return condition(is, metav1.ConditionUnknown, v1alpha1.ReasonNotStarted, "node %s starts once spec.suspend is false", node.Desired.Name)
	case in.Resolved.Missing != nil && in.Resolved.Missing.Pending:
		return condition(is, metav1.ConditionUnknown, v1alpha1.ReasonNotStarted, "node %s was not started: see condition Resolved", node.Desired.Name)
	case node.Blocked == nil && node.Claim.State == discover.Claimed:
		return condition(is, metav1.ConditionFalse, v1alpha1.ReasonStarting, "the virtual kubelet of node %s is starting", node.Desired.Name)
	case in.Resolved.Missing != nil, node.Blocked != nil, node.Claim.State == discover.ClaimRefused:
		return condition(is, metav1.ConditionFalse, v1alpha1.ReasonNotStarted, "node %s was not started: see condition Resolved", node.Desired.Name)
	case in.Preflight.Access.Status != metav1.ConditionTrue && in.Preflight.Access.Reason != v1alpha1.ReasonNotChecked:
		return condition(is, metav1.ConditionUnknown, v1alpha1.ReasonNotStarted, "node %s was not started: see condition AzureAccessible", node.Desired.Name)
	}
	return condition(is, metav1.ConditionUnknown, v1alpha1.ReasonNotStarted, "node %s starts once its name is claimed: see condition Resolved", node.Desired.Name)
}

// newest returns the pod that was made last and is not on its way out.
func newest(pods []corev1.Pod) *corev1.Pod {
	var found *corev1.Pod
	for i := range pods {
		pod := &pods[i]
		if pod.DeletionTimestamp.IsZero() && (found == nil || found.CreationTimestamp.Before(&pod.CreationTimestamp)) {
			found = pod
		}
	}
	return found
}

// podProblem says why a virtual kubelet's pod does not run; the reason is empty where it runs or may
// well do so soon.
func podProblem(in Input, node string, pod *corev1.Pod) (reason, message string) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return v1alpha1.ReasonUnschedulable, "no node takes its pod: " + quote(in, c.Message)
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if waiting := status.State.Waiting; waiting != nil {
			switch waiting.Reason {
			case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
				return v1alpha1.ReasonImageNotPulled, fmt.Sprintf(
					"image %s can't be pulled (%s): check spec.virtualKubelet.image, and that the cluster's nodes reach its registry",
					status.Image, waiting.Reason)
			case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
				return v1alpha1.ReasonContainerNotCreated, waiting.Reason + ": " + quote(in, waiting.Message)
			}
		}
		ended := status.LastTerminationState.Terminated
		if status.State.Terminated != nil {
			ended = status.State.Terminated
		}
		if ended != nil && (status.State.Running == nil || !status.Ready) {
			reason := v1alpha1.ReasonStarting
			if loops(status, ended) {
				reason = v1alpha1.ReasonCrashLoop
			}
			return reason, fmt.Sprintf("it ended with exit code %d%s: kubectl logs --previous -n %s deployment/%s",
				ended.ExitCode, cause(in, ended), pod.Namespace, node)
		}
	}
	return "", ""
}

// forgets is how long a container has to have run for the kubelet to start it anew without a wait.
const forgets = 10 * time.Minute

// loops tells a container that ends again and again from one that has ended for once, such as with its machine.
func loops(status corev1.ContainerStatus, ended *corev1.ContainerStateTerminated) bool {
	if waiting := status.State.Waiting; waiting != nil && waiting.Reason == "CrashLoopBackOff" {
		return true
	}
	times := status.RestartCount
	if status.State.Terminated != nil {
		times++
	}
	return times > 1 && ended.FinishedAt.Sub(ended.StartedAt.Time) < forgets
}

// fatal finds the message of a log line of level fatal, as logrus writes it: with
// quotes where it needs them.
var fatal = regexp.MustCompile(`level=fatal msg=(?:("(?:[^"\\]|\\.)*")|(\S+))`)

// stackFrame finds a line of a Go stack trace, and exitPanic is how a Go program ends that panics.
var stackFrame = regexp.MustCompile(`\.go:\d+ \+0x`)

const exitPanic = 2

// cause returns what a container that ended said last, as far as it means something to a person.
func cause(in Input, ended *corev1.ContainerStateTerminated) string {
	if ended.Reason == "OOMKilled" {
		return ", out of memory: raise spec.virtualKubelet.resources.limits"
	}
	if found := fatal.FindStringSubmatch(ended.Message); found != nil {
		message, err := strconv.Unquote(found[1])
		if err != nil {
			message = found[2]
		}
		return ", " + quote(in, message)
	}
	// Of a long stack trace, the end alone is kept.
	if strings.Contains(ended.Message, "panic: ") || (ended.ExitCode == exitPanic && stackFrame.MatchString(ended.Message)) {
		return ", a panic, which it answers most faults of credentials or network with"
	}
	return ""
}

// quote returns the first line of a message from elsewhere, without the client secret and cut to a
// length that a condition can bear.
func quote(in Input, message string) string {
	message, _, _ = strings.Cut(strings.TrimSpace(redact(in, message)), "\n")
	if runes := []rune(message); len(runes) > maxQuote {
		return string(runes[:maxQuote]) + "…"
	}
	return message
}

func nodeReady(node *corev1.Node) corev1.NodeCondition {
	if ready := observe.ReadyCondition(node); ready != nil {
		return *ready
	}
	return corev1.NodeCondition{Reason: "NodeStatusNeverUpdated", Message: "the node has no condition Ready"}
}

func nodeStatus(in Input, node Node, ready metav1.Condition) v1alpha1.NodeStatus {
	out := v1alpha1.NodeStatus{
		Name:          node.Desired.Name,
		OSType:        node.Desired.OSType,
		Location:      node.Desired.Location,
		ResourceGroup: node.Desired.ResourceGroup,
		Image:         node.Desired.Reference,
		Conditions:    []metav1.Condition{ready},
	}
	observed := node.Observed
	for _, kept := range in.Kept {
		if kept.Name == node.Desired.Name {
			observed = kept
		}
	}
	out.KubeletVersion = kubeletVersion(in, node.Desired.Name, observed)
	return out
}

func kubeletVersion(in Input, name string, observed *observe.Node) string {
	if observed != nil && observed.Node != nil {
		return observed.Node.Status.NodeInfo.KubeletVersion
	}
	return in.Lost[name]
}

// keptNodes lists the nodes that run until those that replace them can be started, but for those whose name these have.
func keptNodes(in Input) []v1alpha1.NodeStatus {
	var out []v1alpha1.NodeStatus
	for _, kept := range in.Kept {
		if slices.ContainsFunc(in.Nodes, func(n Node) bool { return n.Desired.Name == kept.Name }) {
			continue
		}
		node := v1alpha1.NodeStatus{Name: kept.Name, OSType: kept.OSType()}
		for _, known := range in.Connector.Status.Nodes {
			if known.Name == kept.Name {
				node = untimed(known)
			}
		}
		node.KubeletVersion = kubeletVersion(in, kept.Name, kept)
		ready := condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonKept,
			"node %s runs until the one that replaces it can be started", kept.Name)
		if kept.Node == nil || nodeReady(kept.Node).Status != corev1.ConditionTrue {
			ready.Status = metav1.ConditionFalse
			ready.Message = fmt.Sprintf("node %s is not Ready, and is kept until the one that replaces it can be started", kept.Name)
		}
		node.Conditions = []metav1.Condition{ready}
		out = append(out, node)
	}
	return out
}

// retiringNodes lists the nodes that are being removed, but for those whose name a desired node carries
// on: a list by name has each once.
func retiringNodes(in Input) []v1alpha1.NodeStatus {
	desired := map[string]bool{}
	for _, node := range in.Nodes {
		desired[node.Desired.Name] = true
	}
	var out []v1alpha1.NodeStatus
	for _, progress := range in.Retiring {
		if desired[progress.Node] {
			continue
		}
		desired[progress.Node] = true
		out = append(out, v1alpha1.NodeStatus{
			Name:          progress.Node,
			OSType:        progress.OSType,
			Location:      progress.Location,
			ResourceGroup: progress.ResourceGroup,
			Conditions: []metav1.Condition{
				condition(v1alpha1.ConditionRetiring, metav1.ConditionTrue, progress.Reason, "%s", progress.Message),
			},
		})
	}
	return out
}
