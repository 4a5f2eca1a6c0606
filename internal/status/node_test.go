// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/preflight"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/status"
)

// observed is a node that works.
func observed(desired resolve.Node) *observe.Node {
	return &observe.Node{
		Name: desired.Name,
		Hash: desired.Hash(),
		Deployment: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "vk-connector-system", Name: desired.Name, Generation: 3},
			Status:     appsv1.DeploymentStatus{ObservedGeneration: 3, UpdatedReplicas: 1, AvailableReplicas: 1},
		},
		Pods: []corev1.Pod{*pod(desired.Name, corev1.ContainerStatus{Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})},
		Node: &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: desired.Name},
			Status: corev1.NodeStatus{
				Conditions: []corev1.NodeCondition{
					{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
					{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"},
				},
				NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.25.0-vk-azure-aci-1.6.4"},
			},
		},
	}
}

func pod(node string, container corev1.ContainerStatus) *corev1.Pod {
	container.Image = "registry.example/vk:1.6.4"
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "vk-connector-system", Name: node + "-abcde", CreationTimestamp: metav1.Unix(100, 0)},
		Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container}},
	}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func terminated(code int32, reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
}

// after is a container that had run for some time before it ended.
func after(ran time.Duration, state corev1.ContainerState) corev1.ContainerState {
	state.Terminated.StartedAt = metav1.Unix(100, 0)
	state.Terminated.FinishedAt = metav1.NewTime(state.Terminated.StartedAt.Add(ran))
	return state
}

// is replaces a node's pods by one with a container, and makes the Deployment unavailable.
func is(container corev1.ContainerStatus) func(*status.Node) {
	return func(n *status.Node) {
		n.Observed.Deployment.Status.AvailableReplicas = 0
		n.Observed.Pods = []corev1.Pod{*pod(n.Desired.Name, container)}
	}
}

// crashed is a container that waits for its next start.
func crashed(code int32, reason, message string) func(*status.Node) {
	return is(corev1.ContainerStatus{State: waiting("CrashLoopBackOff", "back-off 5m0s"), LastTerminationState: terminated(code, reason, message)})
}

const (
	starting = "the virtual kubelet of node " + linux + " is starting"
	anew     = "the virtual kubelet of node " + linux + " is started anew: it ended with exit code "
	ended    = "the virtual kubelet of node " + linux + ": it ended with exit code "
	logs     = ": kubectl logs --previous -n vk-connector-system deployment/" + linux
)

// nodeCases are changes to a node that works, with what its condition says then.
var nodeCases = map[string]struct {
	edit func(*status.Node)
	want string
}{
	"ready":         {func(*status.Node) {}, "True NodeReady: node " + linux + " is ready"},
	"nothing yet":   {func(n *status.Node) { n.Observed = nil }, "False Starting: " + starting},
	"no Deployment": {func(n *status.Node) { n.Observed.Deployment = nil }, "False Starting: " + starting},
	"a change that is refused": {
		func(n *status.Node) {
			n.Held = &preflight.Finding{Type: v1alpha1.ConditionAzureAccessible, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSecretExpired}
		},
		"True ChangeHeld: node " + linux + " runs as before, and the change is not made before it is mended: see condition AzureAccessible",
	},
	"a change that is not answered": {
		func(n *status.Node) {
			n.Held = &preflight.Finding{Type: v1alpha1.ConditionNetworkReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonNotChecked}
		},
		"Unknown ChangeHeld: node " + linux + " runs as before, and the change waits for Azure's answer: see condition NetworkReady",
	},
	"just changed":     {func(n *status.Node) { n.Changed = true }, "False Starting: " + starting},
	"not yet seen":     {func(n *status.Node) { n.Observed.Deployment.Generation++ }, "False Starting: " + starting},
	"not yet updated":  {func(n *status.Node) { n.Observed.Deployment.Status.UpdatedReplicas = 0 }, "False Starting: " + starting},
	"not available":    {func(n *status.Node) { n.Observed.Deployment.Status.AvailableReplicas = 0 }, "False Starting: " + starting},
	"no pod":           {func(n *status.Node) { n.Observed.Pods = nil; n.Observed.Deployment.Status.AvailableReplicas = 0 }, "False Starting: " + starting},
	"pod being pulled": {is(corev1.ContainerStatus{State: waiting("ContainerCreating", "")}), "False Starting: " + starting},
	"pods refused": {
		func(n *status.Node) {
			n.Observed.Pods, n.Observed.Deployment.Status.AvailableReplicas = nil, 0
			n.Observed.Deployment.Status.Conditions = []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota: compute-resources"},
			}
		},
		"False PodsNotCreated: the virtual kubelet's pod of node " + linux + " can't be made: exceeded quota: compute-resources",
	},
	"unschedulable": {
		func(n *status.Node) {
			is(corev1.ContainerStatus{})(n)
			n.Observed.Pods[0].Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes are available: 3 Insufficient cpu.",
			}}
		},
		"False Unschedulable: the virtual kubelet of node " + linux + ": no node takes its pod: 0/3 nodes are available: 3 Insufficient cpu.",
	},
	"image not there": {
		is(corev1.ContainerStatus{State: waiting("ImagePullBackOff", "Back-off pulling image")}),
		"False ImageNotPulled: the virtual kubelet of node " + linux + ": image registry.example/vk:1.6.4 can't be pulled (ImagePullBackOff): " +
			"check spec.virtualKubelet.image, and that the cluster's nodes reach its registry",
	},
	"container not made": {
		is(corev1.ContainerStatus{State: waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root\n(pod: …)")}),
		"False ContainerNotCreated: the virtual kubelet of node " + linux + ": CreateContainerConfigError: container has runAsNonRoot and image will run as root",
	},
	"fatal": {
		crashed(1, "Error", processSaid("vnet")),
		"False CrashLoop: " + ended + "1, error creating provider: vnet name can not be empty please set ACI_VNET_NAME" + logs,
	},
	"fatal, a long one": {
		crashed(1, "Error", processSaid("region")),
		"False CrashLoop: " + ended + "1, error creating provider: Region mars is invalid. Current supported regions are: australiacentral, australiacen" +
			"tral2, australiaeast, australiasoutheast, brazilsouth, canadacentral, canadaeast, centralindia, centralus, centraluseuap, chinaeas" +
			"t2, chinaeast3, chinanorth3, eastasia, eastus, eastus2, east…" + logs,
	},
	"fatal, with quotes": {
		crashed(1, "Error", `time="2026-01-01T00:00:00Z" level=fatal msg="open \"a\\b\":\nno such file"`),
		"False CrashLoop: " + ended + `1, open "a\b":` + logs,
	},
	"fatal, a single word": {
		crashed(1, "Error", "time=\"2026-01-01T00:00:00Z\" level=fatal msg=unauthorized code=1\n"),
		"False CrashLoop: " + ended + "1, unauthorized" + logs,
	},
	"panic": {
		crashed(2, "Error", processSaid("unreachable")),
		"False CrashLoop: " + ended + "2, a panic, which it answers most faults of credentials or network with" + logs,
	},
	"panic of which the end is left": {
		crashed(2, "Error", strings.SplitAfterN(processSaid("unreachable"), "\n\n", 2)[1]),
		"False CrashLoop: " + ended + "2, a panic, which it answers most faults of credentials or network with" + logs,
	},
	"panic of its own": {
		crashed(2, "Error", processSaid("cloud")),
		"False CrashLoop: " + ended + "2, a panic, which it answers most faults of credentials or network with" + logs,
	},
	"out of memory": {
		crashed(137, "OOMKilled", ""),
		"False CrashLoop: " + ended + "137, out of memory: raise spec.virtualKubelet.resources.limits" + logs,
	},
	"silent": {
		crashed(1, "Error", ""),
		"False CrashLoop: " + ended + "1" + logs,
	},
	"with the client secret": {
		crashed(1, "Error", `level=fatal msg="can't log in with `+secret+` here"`),
		"False CrashLoop: " + ended + "1, can't log in with REDACTED here" + logs,
	},
	"with the client secret where the text is cut": {
		crashed(1, "Error", `level=fatal msg="`+strings.Repeat("a", 295)+secret+`"`),
		"False CrashLoop: " + ended + "1, " + strings.Repeat("a", 295) + "REDAC…" + logs,
	},
	"ended for the first time": {
		is(corev1.ContainerStatus{State: terminated(1, "Error", "")}),
		"False Starting: " + anew + "1" + logs,
	},
	"ended once, and started again": {
		is(corev1.ContainerStatus{
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastTerminationState: terminated(2, "Error", ""), RestartCount: 1,
		}),
		"False Starting: " + anew + "2" + logs,
	},
	"ended for the second time": {
		is(corev1.ContainerStatus{State: terminated(1, "Error", ""), LastTerminationState: terminated(1, "Error", ""), RestartCount: 1}),
		"False CrashLoop: " + ended + "1" + logs,
	},
	"ended twice, and started again": {
		is(corev1.ContainerStatus{
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastTerminationState: terminated(2, "Error", ""), RestartCount: 2,
		}),
		"False CrashLoop: " + ended + "2" + logs,
	},
	"ended after it had run for long": {
		is(corev1.ContainerStatus{State: after(time.Hour, terminated(255, "Unknown", "")), RestartCount: 5}),
		"False Starting: " + anew + "255" + logs,
	},
	"ended again after minutes": {
		is(corev1.ContainerStatus{State: after(5*time.Minute, terminated(2, "Error", "")), RestartCount: 5}),
		"False CrashLoop: " + ended + "2" + logs,
	},
	"recovered from a crash": {
		func(n *status.Node) {
			n.Observed.Pods = []corev1.Pod{*pod(n.Desired.Name, corev1.ContainerStatus{
				Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastTerminationState: terminated(2, "Error", ""),
			})}
		},
		"True NodeReady: node " + linux + " is ready",
	},
	"former pods that crashed": {
		func(n *status.Node) {
			older := *pod(n.Desired.Name, corev1.ContainerStatus{State: terminated(1, "Error", "")})
			older.CreationTimestamp = metav1.Unix(50, 0)
			leaving := *pod(n.Desired.Name, corev1.ContainerStatus{State: terminated(1, "Error", "")})
			leaving.CreationTimestamp = metav1.Unix(200, 0)
			leaving.DeletionTimestamp = &metav1.Time{Time: time.Unix(201, 0)}
			n.Observed.Pods = append([]corev1.Pod{older}, append(n.Observed.Pods, leaving)...)
		},
		"True NodeReady: node " + linux + " is ready",
	},
	"no Node": {
		func(n *status.Node) { n.Observed.Node = nil },
		"False NodeNotRegistered: the virtual kubelet runs and has not made node " + linux + " yet; it first reads every container group in " + place,
	},
	"Node lost": {
		func(n *status.Node) {
			n.Observed.Node.Status.Conditions = []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status."},
			}
		},
		"False NodeNotReady: node " + linux + " is not Ready: NodeStatusUnknown: Kubelet stopped posting node status.",
	},
	"Node without conditions": {
		func(n *status.Node) { n.Observed.Node.Status.Conditions = nil },
		"False NodeNotReady: node " + linux + " is not Ready: NodeStatusNeverUpdated: the node has no condition Ready",
	},
}

// processSaid is what the virtual kubelet's container left as its termination message: a run of
// azure-aci v1.6.4 whose output was recorded.
func processSaid(name string) string {
	data, err := os.ReadFile(filepath.Join("testdata", name+".log"))
	if err != nil {
		panic(err)
	}
	return string(data)
}

func TestNodeConditions(t *testing.T) {
	for name, test := range nodeCases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := settled(func(in *status.Input) { test.edit(&in.Nodes[0]) })
			got := status.Compute(in)
			g.Expect(said(got.Conditions, "LinuxNodeReady")).To(Equal(test.want))
			g.Expect(said(got.Conditions, "WindowsNodeReady")).To(HavePrefix("True"), "a node says nothing of the other")

			var own metav1.Condition
			for _, n := range got.Nodes {
				if n.Name == linux {
					own = n.Conditions[0]
				}
			}
			g.Expect(fmt.Sprintf("%s %s: %s", own.Status, own.Reason, own.Message)).To(Equal(test.want), "the node's own condition says the same")
		})
	}
}

// Tools wait on Reconciling and stop at Stalled.
func TestWhatPassesByItselfIsNotStalled(t *testing.T) {
	passing := map[string]bool{
		v1alpha1.ReasonStarting: true, v1alpha1.ReasonNodeNotRegistered: true, v1alpha1.ReasonWaitingForRetirement: true,
		v1alpha1.ReasonNodeNotReady: true, // a virtual kubelet that hangs is started anew
		v1alpha1.ReasonChangeHeld:   true, // without an answer; with one, the node is ready
	}
	for name, test := range nodeCases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := status.Compute(settled(func(in *status.Input) { test.edit(&in.Nodes[0]) }))
			want := strings.SplitN(test.want, " ", 3)
			reason := strings.TrimSuffix(want[1], ":")
			g.Expect(meta.IsStatusConditionTrue(got.Conditions, "Reconciling")).To(Equal(want[0] != "True" && passing[reason]))
			g.Expect(meta.IsStatusConditionTrue(got.Conditions, "Stalled")).To(Equal(want[0] != "True" && !passing[reason]))
			g.Expect(said(got.Conditions, "Ready")).To(HavePrefix(want[0]+" "), "Ready sums up")
		})
	}
}
