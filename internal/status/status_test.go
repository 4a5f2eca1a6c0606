// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
	"github.com/virtual-kubelet/connector-operator/internal/status"
)

const (
	secret  = "c1ient-s3cret"
	place   = "resource group virtual-nodes of subscription 11111111-1111-1111-1111-111111111111"
	linux   = "virtual-kubelet-aci-linux-eastus"
	windows = "virtual-kubelet-aci-windows-eastus"
)

// settled is a connector for both operating systems whose nodes are ready, with changes.
func settled(edit ...func(*status.Input)) status.Input {
	connector := &v1alpha1.VirtualKubeletConnector{
		ObjectMeta: metav1.ObjectMeta{Name: "aci", Generation: 7},
		Spec: v1alpha1.VirtualKubeletConnectorSpec{
			OSTypes: []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows},
			ContainerGroups: v1alpha1.ContainerGroups{
				SubscriptionID: "11111111-1111-1111-1111-111111111111",
				ResourceGroup:  "virtual-nodes",
				Location:       "East US",
			},
			Credentials: v1alpha1.Credentials{ServicePrincipal: &v1alpha1.ServicePrincipal{
				TenantID: "22222222-2222-2222-2222-222222222222",
				ClientID: "33333333-3333-3333-3333-333333333333",
			}},
		},
	}
	in := status.Input{
		Connector: connector,
		Resolved: resolve.Resolve(connector, discover.Facts{ClientSecret: secret, ClientCA: []byte("ca")},
			resolve.Defaults{Namespace: "vk-connector-system", ImageRepository: "registry.example/vk", ImageTag: "1.6.4"}),
		Access: discover.Access{Known: true, GoodSince: time.Unix(1, 0)},
	}
	for _, desired := range in.Resolved.Nodes {
		in.Nodes = append(in.Nodes, status.Node{Desired: desired, Claim: discover.Claim{State: discover.Claimed}, Observed: observed(desired)})
	}
	for _, e := range edit {
		e(&in)
	}
	return in
}

func missing(reason, message string) func(*status.Input) {
	return func(in *status.Input) {
		in.Resolved.Missing = &discover.Missing{Reason: reason, Message: message}
		for i := range in.Nodes {
			in.Nodes[i].Claim = discover.Claim{}
		}
	}
}

func problem(reason string, proven bool, message string) func(*status.Input) {
	return func(in *status.Input) {
		in.Access = discover.Access{Known: true, Problem: &azure.Problem{Reason: reason, Proven: proven, Message: message}}
	}
}

func noSecret(in *status.Input) {
	in.Resolved.Target.ClientSecret = ""
	in.Access = discover.Access{}
}

func notAsked(in *status.Input) { in.Access = discover.Access{} }

// fresh is a connector of which nothing exists yet.
func fresh(in *status.Input) {
	for i := range in.Nodes {
		in.Nodes[i].Claim, in.Nodes[i].Observed = discover.Claim{}, nil
	}
}

func blocked(err error) func(*status.Input) {
	return func(in *status.Input) { in.Nodes[0].Blocked = err }
}

func deleted(in *status.Input) {
	in.Connector.DeletionTimestamp = &metav1.Time{Time: time.Unix(2, 0)}
	in.Resolved.Nodes, in.Nodes = nil, nil
}

func retiring(progress ...retire.Progress) func(*status.Input) {
	return func(in *status.Input) { in.Retiring = progress }
}

// said is what a condition says, shortly: Status Reason: message.
func said(conditions []metav1.Condition, conditionType string) string {
	c := meta.FindStatusCondition(conditions, conditionType)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

var notOwned = &apply.NotOwnedError{Kind: "Deployment", Key: client.ObjectKey{Namespace: "vk-connector-system", Name: linux}}

// connectorCases are inputs with what the conditions of the connector say of them; a condition that a
// case does not name is not looked at.
var connectorCases = map[string]struct {
	in   status.Input
	want map[string]string
}{
	"all is well": {
		in: settled(),
		want: map[string]string{
			"Ready":            "True Ready: both virtual nodes are ready",
			"Resolved":         "True Resolved: the spec and what it points to are understood",
			"AzureAccessible":  "True Accessible: Azure accepts the credentials on " + place,
			"LinuxNodeReady":   "True NodeReady: node " + linux + " is ready",
			"WindowsNodeReady": "True NodeReady: node " + windows + " is ready",
			"Retiring":         "",
			"Reconciling":      "",
			"Stalled":          "",
		},
	},
	"one operating system": {
		in: settled(func(in *status.Input) { in.Nodes = in.Nodes[:1] }),
		want: map[string]string{
			"Ready":            "True Ready: the virtual node is ready",
			"WindowsNodeReady": "",
		},
	},
	"Secret missing": {
		in: settled(missing(v1alpha1.ReasonSecretNotFound, "Secret a/b does not exist"), noSecret, fresh),
		want: map[string]string{
			"Ready":           "False SecretNotFound: Secret a/b does not exist",
			"Resolved":        "False SecretNotFound: Secret a/b does not exist",
			"AzureAccessible": "Unknown NotChecked: there is no client secret to ask Azure with",
			"LinuxNodeReady":  "False NotStarted: node " + linux + " was not started: see condition Resolved",
			"Reconciling":     "",
			"Stalled":         "True UserActionNeeded: Secret a/b does not exist",
		},
	},
	"Secret incomplete, nodes running": {
		in: settled(missing(v1alpha1.ReasonSecretIncomplete, "key c of Secret a/b is empty"), noSecret),
		want: map[string]string{
			"Ready":          "False SecretIncomplete: key c of Secret a/b is empty",
			"LinuxNodeReady": "True NodeReady: node " + linux + " is ready",
		},
	},
	"client CA missing": {
		in:   settled(missing(v1alpha1.ReasonClientCANotFound, "no CA"), fresh),
		want: map[string]string{"Ready": "False ClientCANotFound: no CA", "Stalled": "True UserActionNeeded: no CA"},
	},
	"name too long": {
		in:   settled(missing(v1alpha1.ReasonNodeNameTooLong, "too long"), fresh),
		want: map[string]string{"Resolved": "False NodeNameTooLong: too long"},
	},
	"just made": {
		in: settled(fresh, notAsked),
		want: map[string]string{
			"Ready":           "Unknown ClaimPending: waiting for Azure to say whether the name of node " + linux + " is free in " + place,
			"Resolved":        "Unknown ClaimPending: waiting for Azure to say whether the name of node " + linux + " is free in " + place,
			"AzureAccessible": "Unknown NotChecked: waiting for Azure's answer",
			"LinuxNodeReady":  "Unknown NotStarted: node " + linux + " starts once its name is claimed: see condition Resolved",
			"Reconciling":     "True Progressing: waiting for Azure to say whether the name of node " + linux + " is free in " + place,
			"Stalled":         "",
		},
	},
	"credentials refused before the first start": {
		in: settled(fresh, problem(v1alpha1.ReasonCredentialsRejected, true, "Microsoft Entra refused "+secret)),
		want: map[string]string{
			"Ready":           "False CredentialsRejected: Microsoft Entra refused REDACTED",
			"Resolved":        "Unknown ClaimPending: waiting for Azure to say whether the name of node " + linux + " is free in " + place,
			"AzureAccessible": "False CredentialsRejected: Microsoft Entra refused REDACTED",
			"LinuxNodeReady":  "Unknown NotStarted: node " + linux + " was not started: see condition AzureAccessible",
			"Stalled":         "True UserActionNeeded: Microsoft Entra refused REDACTED",
		},
	},
	"Azure down before the first start": {
		in: settled(fresh, problem(v1alpha1.ReasonAzureUnavailable, false, "Azure did not answer")),
		want: map[string]string{
			"Ready":           "Unknown ClaimPending: waiting for Azure to say whether the name of node " + linux + " is free in " + place,
			"AzureAccessible": "Unknown AzureUnavailable: Azure did not answer",
			"Reconciling":     "True Progressing: waiting for Azure to say whether the name of node " + linux + " is free in " + place,
		},
	},
	"Azure down, nodes running": {
		in: settled(problem(v1alpha1.ReasonAzureUnavailable, false, "Azure did not answer")),
		want: map[string]string{
			"Ready":           "True Ready: both virtual nodes are ready",
			"AzureAccessible": "Unknown AzureUnavailable: Azure did not answer",
			"Reconciling":     "",
			"Stalled":         "",
		},
	},
	"client secret expired, nodes running": {
		in: settled(problem(v1alpha1.ReasonSecretExpired, true, "expired")),
		want: map[string]string{
			"Ready":           "False SecretExpired: expired",
			"AzureAccessible": "False SecretExpired: expired",
			"LinuxNodeReady":  "False AzureNotAccessible: node " + linux + " can't make container groups: see condition AzureAccessible",
			"Stalled":         "True UserActionNeeded: expired",
		},
	},
	"no rights":              {in: settled(problem(v1alpha1.ReasonForbidden, true, "no rights")), want: map[string]string{"AzureAccessible": "False Forbidden: no rights"}},
	"resource group missing": {in: settled(problem(v1alpha1.ReasonResourceGroupNotFound, true, "no group")), want: map[string]string{"AzureAccessible": "False ResourceGroupNotFound: no group"}},
	"subscription missing":   {in: settled(problem(v1alpha1.ReasonSubscriptionNotFound, true, "none")), want: map[string]string{"AzureAccessible": "False SubscriptionNotFound: none"}},
	"not asked, nodes running": {
		in: settled(notAsked),
		want: map[string]string{
			"Ready":           "True Ready: both virtual nodes are ready",
			"AzureAccessible": "Unknown NotChecked: waiting for Azure's answer",
		},
	},
	"claim taken away, nodes running": {
		in: settled(notAsked, func(in *status.Input) { in.Nodes[0].Claim = discover.Claim{} }),
		want: map[string]string{
			"Ready":          "Unknown ClaimPending: waiting for Azure to say whether the name of node " + linux + " is free in " + place,
			"LinuxNodeReady": "True NodeReady: node " + linux + " is ready",
		},
	},
	"name in use": {
		in: settled(fresh, func(in *status.Input) {
			in.Nodes[0].Claim = discover.Claim{State: discover.ClaimRefused, Foreign: []string{"default-api", "default-web"}}
		}),
		want: map[string]string{
			"Resolved": "False NodeNameInUse: container groups in " + place + " carry the name of node " + linux +
				" and have no pod in this cluster, so that starting it would delete them: default-api, default-web; " +
				"use a resource group or a spec.node.namePrefix for this cluster alone, or delete them if nothing needs them",
			"LinuxNodeReady": "False NotStarted: node " + linux + " was not started: see condition Resolved",
		},
	},
	"object of somebody else": {
		in: settled(fresh, blocked(fmt.Errorf("apply: %w", notOwned))),
		want: map[string]string{
			"Resolved": "False NotOwned: Deployment vk-connector-system/" + linux +
				" exists and was not made by this operator: delete it, or set another spec.node.namePrefix",
			"LinuxNodeReady": "False NotStarted: node " + linux + " was not started: see condition Resolved",
		},
	},
	"refused by the API server": {
		in: settled(fresh, blocked(errors.New("apply Deployment: must be less than or equal to cpu limit, "+secret))),
		want: map[string]string{
			"Resolved": "False InvalidSpec: the API server refuses what node " + linux + " needs: apply Deployment: must be less than or equal to cpu limit, REDACTED",
		},
	},
	"former node of the name": {
		in: settled(blocked(fmt.Errorf("apply: %w", &apply.PredecessorError{Node: linux}))),
		want: map[string]string{
			"Ready":          "False WaitingForRetirement: node " + linux + " starts once the former node of this name is removed: see condition Retiring",
			"Resolved":       "True Resolved: the spec and what it points to are understood",
			"LinuxNodeReady": "False WaitingForRetirement: node " + linux + " starts once the former node of this name is removed: see condition Retiring",
			"Reconciling":    "True Progressing: node " + linux + " starts once the former node of this name is removed: see condition Retiring",
			"Stalled":        "",
		},
	},
	"deleted": {
		in: settled(deleted, retiring(
			retire.Progress{Node: linux, Reason: v1alpha1.ReasonDraining, Message: "3 pods left on the node"},
			retire.Progress{Node: windows, Reason: v1alpha1.ReasonRemoving, Message: "removing"},
		)),
		want: map[string]string{
			"Ready":            "False Deleting: the nodes are being removed",
			"LinuxNodeReady":   "",
			"WindowsNodeReady": "",
			"Retiring":         "True Draining: node " + linux + ": 3 pods left on the node; node " + windows + ": removing",
			"Reconciling":      "True Progressing: removing node " + linux + ": 3 pods left on the node",
			"Stalled":          "",
		},
	},
	"deleted, with nothing left to name": {
		in: settled(deleted),
		want: map[string]string{
			"Ready":       "False Deleting: the nodes are being removed",
			"Retiring":    "",
			"Reconciling": "True Progressing: the nodes are being removed",
		},
	},
	"one node retires while others are ready": {
		in: settled(retiring(retire.Progress{Node: "former", Reason: v1alpha1.ReasonContainerGroupsRemain, Message: "Azure is still deleting"})),
		want: map[string]string{
			"Ready":       "True Ready: both virtual nodes are ready",
			"Retiring":    "True ContainerGroupsRemain: node former: Azure is still deleting",
			"Reconciling": "True Progressing: removing node former: Azure is still deleting",
		},
	},
	"removal that Azure can't be asked about": {
		in: settled(deleted, retiring(
			retire.Progress{Node: linux, Reason: v1alpha1.ReasonStopping, Message: "stopping"},
			retire.Progress{Node: windows, Reason: v1alpha1.ReasonAzureNotAsked, Message: "can't tell: no rights", Stuck: true},
		)),
		want: map[string]string{
			"Reconciling": "",
			"Stalled":     "True UserActionNeeded: can't tell: no rights",
		},
	},
	"removal while Azure does not answer": {
		in: settled(deleted, retiring(retire.Progress{Node: linux, Reason: v1alpha1.ReasonAzureNotAsked, Message: "no answer"})),
		want: map[string]string{
			"Reconciling": "True Progressing: removing node " + linux + ": no answer",
			"Stalled":     "",
		},
	},
	"a node that starts beside one that somebody has to look at": {
		in: settled(func(in *status.Input) { in.Nodes[0].Wrote = true }, func(in *status.Input) { in.Nodes[1].Blocked = notOwned; in.Nodes[1].Observed = nil }),
		want: map[string]string{
			"Ready":       "False NotOwned: " + notOwned.Error(),
			"Reconciling": "",
			"Stalled":     "True UserActionNeeded: " + notOwned.Error(),
		},
	},
	"removal that a budget blocks": {
		in:   settled(deleted, retiring(retire.Progress{Node: linux, Reason: v1alpha1.ReasonEvictionBlocked, Message: "held by a budget"})),
		want: map[string]string{"Retiring": "True EvictionBlocked: node " + linux + ": held by a budget"},
	},
}

func TestConnectorConditions(t *testing.T) {
	for name, test := range connectorCases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := status.Compute(test.in)
			for conditionType, want := range test.want {
				g.Expect(said(got.Conditions, conditionType)).To(Equal(want), conditionType)
			}
		})
	}
}

// TestEveryStatusIsValid holds whatever the input is: the API server would refuse the whole status for
// one bad condition.
func TestEveryStatusIsValid(t *testing.T) {
	for name, in := range allInputs() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := status.Compute(in)
			seen := map[string]bool{}
			lists := [][]metav1.Condition{got.Conditions}
			for _, n := range got.Nodes {
				g.Expect(n.Name).NotTo(BeEmpty())
				g.Expect(seen).NotTo(HaveKey(n.Name), "nodes are a list by name")
				seen[n.Name] = true
				lists = append(lists, n.Conditions)
			}
			for _, conditions := range lists {
				types := map[string]bool{}
				for _, c := range conditions {
					g.Expect(types).NotTo(HaveKey(c.Type))
					types[c.Type] = true
					g.Expect(validation.IsQualifiedName(c.Type)).To(BeEmpty())
					g.Expect(c.Reason).To(MatchRegexp(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`), c.Type)
					g.Expect(c.Status).To(BeElementOf(metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown))
					g.Expect(c.Message).NotTo(BeEmpty(), c.Type)
					g.Expect(c.Message).NotTo(ContainSubstring("%!"), c.Type)
					g.Expect(len(c.Message)).To(BeNumerically("<=", 32768))
					g.Expect(c.Message).NotTo(ContainSubstring(secret))
					g.Expect(c.LastTransitionTime.IsZero()).To(BeTrue(), "who stores the status sets the time")
				}
			}
			for _, c := range got.Conditions {
				g.Expect(c.ObservedGeneration).To(Equal(int64(7)))
			}
			for _, always := range []string{"Ready", "Resolved", "AzureAccessible"} {
				g.Expect(meta.FindStatusCondition(got.Conditions, always)).NotTo(BeNil())
			}
			g.Expect(meta.IsStatusConditionTrue(got.Conditions, "Reconciling") && meta.IsStatusConditionTrue(got.Conditions, "Stalled")).
				To(BeFalse(), "kstatus takes one of them")
			g.Expect(status.Compute(in)).To(Equal(got), "the same input gives the same status")
		})
	}
}

// allInputs are the inputs of all tables.
func allInputs() map[string]status.Input {
	all := map[string]status.Input{}
	for name, test := range connectorCases {
		all["connector/"+name] = test.in
	}
	for name, test := range nodeCases {
		all["node/"+name] = settled(func(in *status.Input) { test.edit(&in.Nodes[0]) })
	}
	return all
}

// TestEveryReasonIsReached keeps the reasons of the API to those that users can meet.
func TestEveryReasonIsReached(t *testing.T) {
	g := NewWithT(t)
	reached := map[string]bool{}
	for _, in := range allInputs() {
		got := status.Compute(in)
		for _, c := range got.Conditions {
			reached[c.Reason] = true
		}
		for _, n := range got.Nodes {
			for _, c := range n.Conditions {
				reached[c.Reason] = true
			}
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, 0)
	g.Expect(err).NotTo(HaveOccurred())
	count := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		g.Expect(err).NotTo(HaveOccurred())
		count++
		if !reached[reason] {
			t.Errorf("no case reaches %s", spec.Names[0].Name)
		}
		return true
	})
	g.Expect(count).To(BeNumerically(">", 30))
}

func TestNumbersAndEffectiveValues(t *testing.T) {
	g := NewWithT(t)
	got := status.Compute(settled(func(in *status.Input) { in.Nodes[1].Observed = nil }))
	g.Expect(got.ObservedGeneration).To(Equal(int64(7)))
	g.Expect(got.SubscriptionID).To(Equal("11111111-1111-1111-1111-111111111111"))
	g.Expect(got.ResourceGroup).To(Equal("virtual-nodes"))
	g.Expect(got.Location).To(Equal("eastus"))
	g.Expect(got.DesiredNodes).To(Equal(ptr.To[int32](2)))
	g.Expect(got.ReadyNodes).To(Equal(ptr.To[int32](1)))

	gone := status.Compute(settled(deleted))
	g.Expect(gone.DesiredNodes).To(Equal(ptr.To[int32](0)))
	g.Expect(gone.ReadyNodes).To(Equal(ptr.To[int32](0)))
}

func TestNodes(t *testing.T) {
	g := NewWithT(t)
	got := status.Compute(settled(func(in *status.Input) { in.Nodes[1].Observed = nil }, retiring(
		retire.Progress{Node: "former", OSType: v1alpha1.OSTypeLinux, Location: "westus", ResourceGroup: "old", Reason: v1alpha1.ReasonDraining, Message: "1 pod left on the node"},
		retire.Progress{Node: linux, Reason: v1alpha1.ReasonStopping, Message: "its predecessor"},
		retire.Progress{Node: "former", Reason: v1alpha1.ReasonStopping, Message: "another identity of that name"},
	)))
	g.Expect(got.Nodes).To(Equal([]v1alpha1.NodeStatus{
		{
			Name: linux, OSType: v1alpha1.OSTypeLinux, Location: "eastus", ResourceGroup: "virtual-nodes",
			Image: "registry.example/vk:1.6.4", KubeletVersion: "v1.25.0-vk-azure-aci-1.6.4",
			Conditions: []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "NodeReady", Message: "node " + linux + " is ready"}},
		},
		{
			Name: windows, OSType: v1alpha1.OSTypeWindows, Location: "eastus", ResourceGroup: "virtual-nodes", Image: "registry.example/vk:1.6.4",
			Conditions: []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse, Reason: "Starting", Message: "the virtual kubelet of node " + windows + " is starting"}},
		},
		{
			Name: "former", OSType: v1alpha1.OSTypeLinux, Location: "westus", ResourceGroup: "old",
			Conditions: []metav1.Condition{{Type: "Retiring", Status: metav1.ConditionTrue, Reason: "Draining", Message: "1 pod left on the node"}},
		},
	}))
	g.Expect(said(got.Conditions, "Retiring")).To(Equal(
		"True Draining: node former: 1 pod left on the node; node " + linux + ": its predecessor; node former: another identity of that name"))
}

func TestComputeChangesNoInput(t *testing.T) {
	g := NewWithT(t)
	in := settled(retiring(retire.Progress{Node: "former", Reason: v1alpha1.ReasonDraining, Message: "draining"}))
	status.Compute(in)
	g.Expect(in).To(Equal(settled(retiring(retire.Progress{Node: "former", Reason: v1alpha1.ReasonDraining, Message: "draining"}))))
}

func TestAccessIsKeptUntilAzureAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		generation int64
		reason     string
	}{
		"by an operator that has just started": {7, v1alpha1.ReasonForbidden},
		"not for another spec":                 {6, v1alpha1.ReasonNotChecked},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := settled(notAsked)
			in.Connector.Status.Conditions = []metav1.Condition{{
				Type: v1alpha1.ConditionAzureAccessible, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonForbidden,
				Message: "100% refused", ObservedGeneration: test.generation,
			}}
			computed := status.Compute(in)
			found := meta.FindStatusCondition(computed.Conditions, v1alpha1.ConditionAzureAccessible)
			g.Expect(found).To(HaveField("Reason", test.reason))
			if test.reason == v1alpha1.ReasonForbidden {
				g.Expect(found).To(And(HaveField("Status", metav1.ConditionFalse), HaveField("Message", "100% refused")))
			}
		})
	}
}
