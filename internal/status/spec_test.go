// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
	"github.com/virtual-kubelet/connector-operator/internal/status"
)

func pending(message string) func(*status.Input) {
	return func(in *status.Input) {
		in.Resolved.Missing = &discover.Missing{Reason: v1alpha1.ReasonDefaultsPending, Message: message, Pending: true}
	}
}

// undecided is a connector whose place is not known.
func undecided(in *status.Input) {
	pending("waiting for Azure to tell the default of spec.containerGroups.resourceGroup")(in)
	in.Resolved.Undecided, in.Resolved.Target.ResourceGroup, in.Resolved.Location = true, "", ""
	in.Resolved.Nodes, in.Nodes = nil, nil
	checked(func(c *discover.Checks) { c.GroupsKnown = false })(in)
}

// knew puts into the connector the status that another input has had, for a generation.
func knew(generation int64, before status.Input) func(*status.Input) {
	return func(in *status.Input) {
		in.Connector.Status = status.Compute(before)
		in.Connector.Status.ObservedGeneration = generation
		for i := range in.Connector.Status.Conditions {
			in.Connector.Status.Conditions[i].ObservedGeneration = generation
			in.Connector.Status.Conditions[i].LastTransitionTime = metav1.Unix(1, 0)
		}
		for _, node := range in.Connector.Status.Nodes {
			for i := range node.Conditions {
				node.Conditions[i].LastTransitionTime = metav1.Unix(1, 0)
			}
		}
	}
}

func suspended(in *status.Input) { in.Connector.Spec.Suspend, in.Resolved.Suspended = true, true }

var (
	rival        = &apply.RivalError{Node: linux, Connector: "older"}
	leavingRival = &apply.RivalError{Node: linux, Connector: "older", Leaving: true}
)

const (
	waitsForRival = "node " + linux + " starts once connector older, which is being deleted, has removed its own of this name"
	waitsForGroup = "waiting for Azure to tell the default of spec.containerGroups.resourceGroup"
	isSuspended   = "True Suspended: spec.suspend is true: nothing is changed until it is false, or the connector is deleted"
)

// specCases are of what the spec asks for and points to.
var specCases = map[string]connectorCase{
	"cluster absent":     {in: settled(missing(v1alpha1.ReasonManagedClusterNotFound, "no cluster"), fresh), want: ready("False ManagedClusterNotFound: no cluster")},
	"cluster forbidden":  {in: settled(missing(v1alpha1.ReasonManagedClusterForbidden, "no rights"), fresh), want: ready("False ManagedClusterForbidden: no rights")},
	"no default":         {in: settled(missing(v1alpha1.ReasonDefaultNotFound, "no default"), fresh), want: resolved("False DefaultNotFound: no default")},
	"image not allowed":  {in: settled(missing(v1alpha1.ReasonImageNotAllowed, "not allowed")), want: resolved("False ImageNotAllowed: not allowed")},
	"secrets in a fault": {in: settled(missing(v1alpha1.ReasonDefaultNotFound, secret+" and "+workspaceKey)), want: ready("False DefaultNotFound: REDACTED and REDACTED")},
	"an older connector": {
		in: settled(fresh, blocked(rival)),
		want: map[string]string{
			"Ready":          "False ConflictingConnector: " + rival.Error(),
			"Resolved":       "False ConflictingConnector: " + rival.Error(),
			"LinuxNodeReady": "False NotStarted: node " + linux + " was not started: see condition Resolved",
			"Stalled":        "True UserActionNeeded: " + rival.Error(),
		},
	},
	"an older connector, wrapped": {
		in:   settled(fresh, blocked(fmt.Errorf("apply: %w", rival))),
		want: map[string]string{"Resolved": "False ConflictingConnector: " + rival.Error()},
	},
	"an older connector that is being deleted": {
		in: settled(fresh, blocked(leavingRival)),
		want: map[string]string{
			"Ready":          "False WaitingForRetirement: " + waitsForRival,
			"Resolved":       "Unknown ClaimPending: the name of node " + linux + " is not claimed before connector older, which is being deleted, has removed its own of this name",
			"LinuxNodeReady": "False WaitingForRetirement: " + waitsForRival,
			"Reconciling":    "True Progressing: " + waitsForRival,
			"Stalled":        "",
		},
	},
	"an older connector that is being deleted, and a node that runs as long": {
		in:   settled(blocked(leavingRival), kept("virtual-kubelet-aci-linux-westus"), func(in *status.Input) { in.Nodes[0].Observed = nil }),
		want: ready("False WaitingForRetirement: " + waitsForRival + "; node virtual-kubelet-aci-linux-westus runs as before"),
	},
	"refused with the key of the workspace": {
		in: settled(fresh, blocked(errors.New("denied: "+workspaceKey))),
		want: map[string]string{
			"Resolved": "False InvalidSpec: the API server refuses what node " + linux + " needs: denied: REDACTED",
		},
	},
	"a remark": {
		in: settled(func(in *status.Input) { in.Resolved.Remark = "managed cluster cluster is Stopped" }),
		want: map[string]string{
			"Ready":    "True Ready: both virtual nodes are ready",
			"Resolved": "True Resolved: the spec and what it points to are understood; managed cluster cluster is Stopped",
		},
	},
	"defaults pending before the first start": {
		in: settled(fresh, pending("waiting for Azure")),
		want: map[string]string{
			"Ready":          "Unknown DefaultsPending: waiting for Azure",
			"Resolved":       "Unknown DefaultsPending: waiting for Azure",
			"LinuxNodeReady": "Unknown NotStarted: node " + linux + " was not started: see condition Resolved",
			"Reconciling":    "True Progressing: waiting for Azure",
			"Stalled":        "",
		},
	},
	"defaults pending, of a silent Azure": {
		in: settled(fresh, pending("not known"), problem(v1alpha1.ReasonAzureUnavailable, false, "Azure did not answer")),
		want: map[string]string{
			"Ready":    "Unknown AzureUnavailable: Azure did not answer",
			"Resolved": "Unknown DefaultsPending: not known",
		},
	},
	"defaults pending, of a connector that runs": {
		in: settled(pending("not known"), knew(7, settled())),
		want: map[string]string{
			"Ready":          "True Ready: both virtual nodes are ready",
			"Resolved":       "True Resolved: the spec and what it points to are understood",
			"LinuxNodeReady": "True NodeReady: node " + linux + " is ready",
		},
	},
	"defaults pending, of another spec": {
		in:   settled(pending("not known"), knew(6, settled())),
		want: map[string]string{"Ready": "Unknown DefaultsPending: not known", "LinuxNodeReady": "True NodeReady: node " + linux + " is ready"},
	},
	"defaults pending, of a node that is gone": {
		in:   settled(pending("not known"), knew(7, settled()), fresh),
		want: resolved("Unknown DefaultsPending: not known"),
	},
	"no place yet": {
		in: settled(undecided),
		want: map[string]string{
			"Ready":            "Unknown DefaultsPending: " + waitsForGroup,
			"Resolved":         "Unknown DefaultsPending: " + waitsForGroup,
			"AzureAccessible":  "Unknown NotChecked: it is not known yet what to ask Azure for: see condition Resolved",
			"LinuxNodeReady":   "Unknown NotStarted: the node is not named before its place is known: see condition Resolved",
			"WindowsNodeReady": "Unknown NotStarted: the node is not named before its place is known: see condition Resolved",
			"Reconciling":      "True Progressing: " + waitsForGroup,
		},
	},
	"no place yet, of nodes that run": {
		in: settled(undecided, knew(6, settled())),
		want: map[string]string{
			"Ready":            "Unknown DefaultsPending: " + waitsForGroup,
			"LinuxNodeReady":   "True NodeReady: node " + linux + " is ready",
			"WindowsNodeReady": "True NodeReady: node " + windows + " is ready",
		},
	},
	"suspended, nodes running": {
		in: settled(suspended),
		want: map[string]string{
			"Ready": "True Ready: both virtual nodes are ready", "Suspended": isSuspended, "Reconciling": "", "Stalled": "",
		},
	},
	"suspended before the first start": {
		in: settled(fresh, suspended),
		want: map[string]string{
			"Ready":          "Unknown NotStarted: node " + linux + " starts once spec.suspend is false",
			"Resolved":       "True Resolved: the spec and what it points to are understood",
			"LinuxNodeReady": "Unknown NotStarted: node " + linux + " starts once spec.suspend is false",
			"Suspended":      isSuspended, "Reconciling": "", "Stalled": "True Suspended: node " + linux + " starts once spec.suspend is false",
		},
	},
	"suspended before the first start, and not asked yet": {
		in: settled(fresh, suspended, notAsked),
		want: map[string]string{
			"Ready":       "Unknown NotStarted: node " + linux + " starts once spec.suspend is false",
			"Reconciling": "", "Stalled": "True Suspended: node " + linux + " starts once spec.suspend is false",
		},
	},
	"suspended before the first start, with a fault": {
		in: settled(fresh, suspended, problem(v1alpha1.ReasonSecretExpired, true, "expired")),
		want: map[string]string{
			"Ready":          "False SecretExpired: expired",
			"LinuxNodeReady": "False NotStarted: node " + linux + " was not started: see condition AzureAccessible",
			"Reconciling":    "", "Stalled": "True UserActionNeeded: expired",
		},
	},
	"suspended while the former node of the name is removed": {
		in: settled(fresh, suspended, blocked(&apply.PredecessorError{Node: linux})),
		want: map[string]string{
			"Ready":       "Unknown NotStarted: node " + linux + " starts once spec.suspend is false",
			"Reconciling": "", "Stalled": "True Suspended: node " + linux + " starts once spec.suspend is false",
		},
	},
	"suspended, with a fault": {
		in: settled(suspended, problem(v1alpha1.ReasonSecretExpired, true, "expired")),
		want: map[string]string{
			"Ready": "False SecretExpired: expired", "Suspended": isSuspended, "Reconciling": "", "Stalled": "True UserActionNeeded: expired",
		},
	},
	"suspended while the virtual kubelet starts": {
		in: settled(suspended, func(in *status.Input) { in.Nodes[0].Observed.Deployment.Status.AvailableReplicas = 0 }),
		want: map[string]string{
			"Ready": "False Starting: " + starting, "Suspended": isSuspended, "Reconciling": "True Progressing: " + starting, "Stalled": "",
		},
	},
	"suspended and deleted": {
		in: settled(suspended, deleted, retiring(retire.Progress{Node: linux, Reason: v1alpha1.ReasonDraining, Message: "3 pods left on the node"})),
		want: map[string]string{
			"Ready": "False Deleting: the nodes are being removed", "Reconciling": "True Progressing: removing node " + linux + ": 3 pods left on the node",
		},
	},
	"a node that is kept, as the one that replaces it can't be started": {
		in: settled(groupsMissing, kept("virtual-kubelet-aci-linux-westus")),
		want: map[string]string{
			"Ready":          "False ResourceGroupNotFound: it does not exist",
			"LinuxNodeReady": "False NotStarted: node " + linux + " was not started: see condition AzureAccessible; node virtual-kubelet-aci-linux-westus runs as before",
			"Retiring":       "", "Reconciling": "", "Stalled": "True UserActionNeeded: it does not exist",
		},
	},
	"container groups that were left": {
		in: settled(func(in *status.Input) {
			in.Retained = []v1alpha1.RetainedContainerGroups{
				{NodeName: linux, SubscriptionID: "s", ResourceGroup: "g", Names: []string{"default-web"}},
				{NodeName: windows, SubscriptionID: "s", ResourceGroup: "h", Message: "Azure is silent"},
			}
		}),
		want: map[string]string{
			"Ready": "True Ready: both virtual nodes are ready",
			"ContainerGroupsRetained": "True Retained: left in Azure, and billed: container group default-web of node " + linux +
				" in resource group g of subscription s; container groups of node " + windows + " in resource group h of subscription s, as far as is known: Azure is silent",
		},
	},
	"not suspended": {in: settled(), want: map[string]string{"Suspended": ""}},
}

func groupsMissing(in *status.Input) {
	problem(v1alpha1.ReasonResourceGroupNotFound, true, "it does not exist")(in)
	in.Nodes[0].Withheld, in.Nodes[0].Observed = &in.Preflight.Access, nil
}

// kept is a node that runs until the first of the desired ones can be started.
func kept(name string) func(*status.Input) {
	return func(in *status.Input) {
		in.Nodes[0].Former = name
		former := observed(in.Nodes[0].Desired)
		former.Name = name
		former.Secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"connector.virtual-kubelet.io/os": "linux"}}}
		in.Kept = append(in.Kept, former)
		in.Connector.Status.Nodes = []v1alpha1.NodeStatus{{Name: name, OSType: v1alpha1.OSTypeLinux, ResourceGroup: "former", KubeletVersion: "v1"}}
	}
}

// A node that is kept stays in the list, with what was known of it.
func TestKeptNodes(t *testing.T) {
	g := NewWithT(t)
	in := settled(groupsMissing, kept("former"))
	node := func() v1alpha1.NodeStatus {
		for _, n := range status.Compute(in).Nodes {
			if n.Name == "former" {
				return n
			}
		}
		return v1alpha1.NodeStatus{}
	}
	g.Expect(node()).To(And(HaveField("OSType", v1alpha1.OSTypeLinux), HaveField("ResourceGroup", "former"), HaveField("KubeletVersion", "v1.25.0-vk-azure-aci-1.6.4")))
	g.Expect(said(node().Conditions, "Ready")).To(Equal("True Kept: node former runs until the one that replaces it can be started"))
	in.Kept[0].Node.Status.Conditions[1].Status = corev1.ConditionUnknown
	g.Expect(said(node().Conditions, "Ready")).To(Equal("False Kept: node former is not Ready, and is kept until the one that replaces it can be started"))

	in.Kept[0].Node = nil
	g.Expect(node().KubeletVersion).To(BeEmpty(), "a virtual kubelet that starts anew is waited for")
	in.Lost = map[string]string{"former": "v1"}
	g.Expect(node().KubeletVersion).To(Equal("v1"), "it is still to be started anew")

	in = settled(groupsMissing, kept(linux))
	in.Connector.Status.Nodes[0].Name = linux
	names := map[string]int{}
	for _, n := range status.Compute(in).Nodes {
		names[n.Name]++
	}
	g.Expect(names).To(Equal(map[string]int{linux: 1, windows: 1}), "each name is listed once")
}

func TestNodesWhosePlaceIsNotKnown(t *testing.T) {
	g := NewWithT(t)
	fresh := status.Compute(settled(undecided))
	g.Expect(fresh.Nodes).To(BeEmpty(), "a node without a name can't be listed by it")
	g.Expect(*fresh.DesiredNodes).To(BeEquivalentTo(2))
	g.Expect(*fresh.ReadyNodes).To(BeEquivalentTo(0))
	g.Expect(fresh.ResourceGroup).To(BeEmpty())

	before := status.Compute(settled())
	known := status.Compute(settled(undecided, knew(6, settled())))
	g.Expect(known.Nodes).To(Equal(before.Nodes), "what was known of them stays")
	g.Expect(*known.ReadyNodes).To(BeEquivalentTo(2))

	former := settled(undecided, knew(6, settled(deleted, retiring(
		retire.Progress{Node: linux, OSType: v1alpha1.OSTypeLinux, Reason: v1alpha1.ReasonDraining, Message: "draining"},
	))))
	g.Expect(*status.Compute(former).ReadyNodes).To(BeZero(), "a node that is being removed is not one that is wanted")
	g.Expect(meta.FindStatusCondition(status.Compute(former).Conditions, "LinuxNodeReady")).To(HaveField("Status", metav1.ConditionUnknown))
}

// What is being removed is not told of as removed while nothing is changed.
func TestARemovalIsHeldWhileNothingIsChanged(t *testing.T) {
	for name, hold := range map[string]func(*status.Input){
		"suspended": suspended,
		"undecided": func(in *status.Input) { in.Resolved.Undecided, in.Nodes = true, nil },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := settled()
			retiring := metav1.Condition{Type: v1alpha1.ConditionRetiring, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDraining, Message: "1 pod left"}
			in.Connector.Status.Conditions = append(in.Connector.Status.Conditions, retiring)
			in.Connector.Status.Nodes = append(in.Connector.Status.Nodes, v1alpha1.NodeStatus{Name: "former", Conditions: []metav1.Condition{retiring}})
			hold(&in)
			out := status.Compute(in)
			g.Expect(meta.FindStatusCondition(out.Conditions, v1alpha1.ConditionRetiring)).To(HaveField("Message", "1 pod left"))
			g.Expect(out.Nodes).To(ContainElement(HaveField("Name", "former")))
		})
	}
}
