// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
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
	"github.com/virtual-kubelet/connector-operator/internal/preflight"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
	"github.com/virtual-kubelet/connector-operator/internal/status"
)

const (
	secret       = "c1ient-s3cret"
	workspaceKey = "w0rkspace-k3y"

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
			Credentials: v1alpha1.Credentials{Type: v1alpha1.CredentialTypeServicePrincipal, ServicePrincipal: &v1alpha1.ServicePrincipal{
				TenantID: "22222222-2222-2222-2222-222222222222",
				ClientID: "33333333-3333-3333-3333-333333333333",
			}},
			Network: &v1alpha1.Network{
				OSTypes:     []v1alpha1.OSType{v1alpha1.OSTypeLinux},
				Subnet:      v1alpha1.Subnet{ResourceGroup: "network", VirtualNetworkName: "virtual-nodes", Name: "groups"},
				ClusterCIDR: "10.244.0.0/16", DNSServiceIP: "10.0.0.10", APIServerURI: "https://10.0.0.1:443",
			},
		},
	}
	in := status.Input{
		Connector: connector,
		Resolved: resolve.Resolve(connector, discover.Facts{
			ClientSecret: secret, ClientCA: []byte("ca"), Workspace: &discover.Workspace{ID: "workspace", Key: []byte(workspaceKey)},
		}, resolve.Defaults{
			Namespace: "vk-connector-system", Image: v1alpha1.Image{Repository: "registry.example/vk", Tag: "1.6.4"},
			AllowedRepositories: []string{"registry.example/vk"},
		}),
	}
	in.Preflight = preflight.Assess(in.Resolved, goodChecks())
	for _, desired := range in.Resolved.Nodes {
		in.Nodes = append(in.Nodes, status.Node{Desired: desired, Claim: discover.Claim{State: discover.Claimed}, Observed: observed(desired)})
	}
	for _, e := range edit {
		e(&in)
	}
	for i := range in.Nodes {
		if node := &in.Nodes[i]; node.Observed == nil && node.Claim.State == discover.ClaimPending {
			node.Withheld = in.Preflight.Withholding(node.Desired.OSType)
		}
	}
	return in
}

func answered[T any](value T) azure.Answer[T] {
	at := time.Unix(1, 0)
	return azure.Answer[T]{Value: value, Have: true, AskedAt: at, GoodSince: at, ChangedAt: at}
}

// goodChecks are those of an Azure that nothing is wrong with.
func goodChecks() discover.Checks {
	return discover.Checks{
		Token:       answered(struct{}{}),
		Groups:      azure.Listing{AskedAt: time.Unix(1, 0), GoodSince: time.Unix(1, 0)},
		GroupsKnown: true,
		Rights:      answered(azure.Rights{}),
		Provider:    answered(azure.Provider{State: azure.ProviderRegistered}),
		Region:      answered(azure.Region{}),
		Subnet:      answered(azure.Subnet{AddressPrefix: "10.241.0.0/24"}),
	}
}

// checked changes what Azure says.
func checked(edits ...func(*discover.Checks)) func(*status.Input) {
	return func(in *status.Input) {
		checks := goodChecks()
		for _, edit := range edits {
			edit(&checks)
		}
		in.Preflight = preflight.Assess(in.Resolved, checks)
	}
}

func groupsFail(reason string, proven bool, message string) func(*discover.Checks) {
	return func(c *discover.Checks) {
		c.Groups = azure.Listing{AskedAt: time.Unix(1, 0), Problem: &azure.Problem{Reason: reason, Proven: proven, Message: message}}
	}
}

func tokenFails(reason string, proven bool, message string) func(*discover.Checks) {
	return func(c *discover.Checks) {
		c.Token = azure.Answer[struct{}]{AskedAt: time.Unix(1, 0), Problem: &azure.Problem{Reason: reason, Proven: proven, Message: message}}
	}
}

func providerFails(reason string, proven bool, message string) func(*discover.Checks) {
	return func(c *discover.Checks) {
		c.Provider = azure.Answer[azure.Provider]{AskedAt: time.Unix(1, 0), Problem: &azure.Problem{Reason: reason, Proven: proven, Message: message}}
	}
}

func subnetFails(reason string, proven bool, message string) func(*discover.Checks) {
	return func(c *discover.Checks) {
		c.Subnet = azure.Answer[azure.Subnet]{AskedAt: time.Unix(1, 0), Problem: &azure.Problem{Reason: reason, Proven: proven, Message: message}}
	}
}

func registering(c *discover.Checks) { c.Provider.Value.State = azure.ProviderRegistering }

func missing(reason, message string) func(*status.Input) {
	return func(in *status.Input) {
		in.Resolved.Missing = &discover.Missing{Reason: reason, Message: message}
		for i := range in.Nodes {
			in.Nodes[i].Claim = discover.Claim{}
		}
	}
}

func problem(reason string, proven bool, message string) func(*status.Input) {
	return checked(groupsFail(reason, proven, message))
}

func noSecret(in *status.Input) {
	in.Resolved.Target.ClientSecret = ""
	notAsked(in)
}

func notAsked(in *status.Input) { in.Preflight = preflight.Assess(in.Resolved, discover.Checks{}) }

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
	in.Resolved.Nodes, in.Resolved.OSTypes, in.Resolved.NetworkOSTypes, in.Nodes = nil, nil, nil, nil
	checked()(in)
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

// unclaimed is why the name of a node is not claimed that a finding withholds.
func unclaimed(conditionType string) string {
	return "the name of node " + linux + " is not claimed before condition " + conditionType + " allows the node to start"
}

var notOwned = &apply.NotOwnedError{Kind: "Deployment", Key: client.ObjectKey{Namespace: "vk-connector-system", Name: linux}}

// connectorCase is an input with what conditions say of it.
type connectorCase struct {
	in   status.Input
	want map[string]string
}

// connectorCases are inputs with what the conditions of the connector say of them; a condition that a
// case does not name is not looked at.
var connectorCases = map[string]connectorCase{
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
		in: settled(func(in *status.Input) { in.Nodes, in.Resolved.OSTypes = in.Nodes[:1], in.Resolved.OSTypes[:1] }),
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
			"Ready":              "Unknown ClaimPending: " + unclaimed("ProviderRegistered"),
			"Resolved":           "Unknown ClaimPending: " + unclaimed("ProviderRegistered"),
			"ProviderRegistered": "Unknown NotChecked: waiting for Azure's answer",
			"AzureAccessible":    "Unknown NotChecked: waiting for Azure's answer",
			"NetworkReady":       "Unknown NotChecked: waiting for Azure's answer",
			"LinuxNodeReady":     "Unknown NotStarted: node " + linux + " was not started: see condition ProviderRegistered",
			"Reconciling":        "True Progressing: " + unclaimed("ProviderRegistered"),
			"Stalled":            "",
		},
	},
	"answered in part": {
		in: settled(fresh, checked(func(c *discover.Checks) { c.Rights = azure.Answer[azure.Rights]{} })),
		want: map[string]string{
			"Ready":              "Unknown ClaimPending: " + unclaimed("AzureAccessible"),
			"ProviderRegistered": "Unknown NotChecked: waiting for Azure's answer",
			"AzureAccessible":    "Unknown NotChecked: waiting for Azure's answer",
			"LinuxNodeReady":     "Unknown NotStarted: node " + linux + " was not started: see condition AzureAccessible",
		},
	},
	"not claimed yet": {
		in: settled(fresh),
		want: map[string]string{
			"Ready":           "Unknown ClaimPending: waiting for Azure to say whether the name of node " + linux + " is free in " + place,
			"AzureAccessible": "True Accessible: Azure accepts the credentials on " + place,
			"LinuxNodeReady":  "Unknown NotStarted: node " + linux + " starts once its name is claimed: see condition Resolved",
			"Reconciling":     "True Progressing: waiting for Azure to say whether the name of node " + linux + " is free in " + place,
		},
	},
	"credentials refused before the first start": {
		in: settled(fresh, problem(v1alpha1.ReasonCredentialsRejected, true, "Microsoft Entra refused "+secret)),
		want: map[string]string{
			"Ready":           "False CredentialsRejected: Microsoft Entra refused REDACTED",
			"Resolved":        "Unknown ClaimPending: " + unclaimed("AzureAccessible"),
			"AzureAccessible": "False CredentialsRejected: Microsoft Entra refused REDACTED",
			"LinuxNodeReady":  "False NotStarted: node " + linux + " was not started: see condition AzureAccessible",
			"Stalled":         "True UserActionNeeded: Microsoft Entra refused REDACTED",
		},
	},
	"Azure down before the first start": {
		in: settled(fresh, problem(v1alpha1.ReasonAzureUnavailable, false, "Azure did not answer")),
		want: map[string]string{
			"Ready":           "Unknown AzureUnavailable: Azure did not answer",
			"Resolved":        "Unknown ClaimPending: waiting for Azure to say whether the name of node " + linux + " is free in " + place,
			"AzureAccessible": "Unknown AzureUnavailable: Azure did not answer",
			"LinuxNodeReady":  "Unknown NotStarted: node " + linux + " was not started: see condition AzureAccessible",
			"Reconciling":     "True Progressing: Azure did not answer",
			"Stalled":         "",
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
	"former node of the name, before the first start": {
		in: settled(fresh, blocked(&apply.PredecessorError{Node: linux})),
		want: map[string]string{
			"Ready":       "False WaitingForRetirement: node " + linux + " starts once the former node of this name is removed: see condition Retiring",
			"Resolved":    "Unknown ClaimPending: the name of node " + linux + " is not claimed before the former node of this name is removed: see condition Retiring",
			"Reconciling": "True Progressing: node " + linux + " starts once the former node of this name is removed: see condition Retiring",
		},
	},
	"object of a connector that does not ask for it any more": {
		in: settled(fresh, blocked(fmt.Errorf("apply: %w", &apply.NotOwnedError{
			Kind: "Node", Key: client.ObjectKey{Name: linux}, Connector: "other", Leaving: true,
		}))),
		want: map[string]string{
			"Ready": "False WaitingForRetirement: node " + linux +
				" starts once connector other, which does not ask for it any more, has removed its own of this name",
			"Reconciling": "True Progressing: node " + linux +
				" starts once connector other, which does not ask for it any more, has removed its own of this name",
			"Stalled": "",
		},
	},
	"object of a connector that does not ask for it any more, and keeps it": {
		in: settled(fresh, blocked(&apply.NotOwnedError{Kind: "Node", Key: client.ObjectKey{Name: linux}, Connector: "other"})),
		want: map[string]string{
			"Ready":       "False NotOwned: Node " + linux + " belongs to connector other: set another spec.node.namePrefix",
			"Stalled":     "True UserActionNeeded: Node " + linux + " belongs to connector other: set another spec.node.namePrefix",
			"Reconciling": "",
		},
	},
	"object of another connector, of a node that runs": {
		in: settled(blocked(&apply.NotOwnedError{Kind: "Node", Key: client.ObjectKey{Name: linux}, Connector: "other"})),
		want: map[string]string{
			"Ready":          "False NotOwned: Node " + linux + " belongs to connector other: set another spec.node.namePrefix",
			"LinuxNodeReady": "True NodeReady: node " + linux + " is ready",
			"Stalled":        "True UserActionNeeded: Node " + linux + " belongs to connector other: set another spec.node.namePrefix",
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
	"one node retires while the other has a fault": {
		in: settled(problem(v1alpha1.ReasonSecretExpired, true, "expired"),
			retiring(retire.Progress{Node: "former", Reason: v1alpha1.ReasonDraining, Message: "1 pod left on the node"})),
		want: map[string]string{
			"Ready":       "False SecretExpired: expired",
			"Retiring":    "True Draining: node former: 1 pod left on the node",
			"Reconciling": "",
			"Stalled":     "True UserActionNeeded: expired",
		},
	},
	"one node retires, and Azure refuses to be asked": {
		in: settled(retiring(retire.Progress{Node: "former", Reason: v1alpha1.ReasonAzureNotAsked, Message: "can't tell: no rights", Stuck: true})),
		want: map[string]string{
			"Ready":       "True Ready: both virtual nodes are ready",
			"Retiring":    "True AzureNotAsked: node former: can't tell: no rights",
			"Reconciling": "",
			"Stalled":     "True UserActionNeeded: can't tell: no rights",
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
		in: settled(func(in *status.Input) { in.Nodes[0].Changed = true }, func(in *status.Input) { in.Nodes[1].Blocked = notOwned; in.Nodes[1].Observed = nil }),
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

// allConnectorCases are those of all tables.
func allConnectorCases() map[string]connectorCase {
	all := maps.Clone(connectorCases)
	maps.Copy(all, specCases)
	maps.Copy(all, azureCases)
	return all
}

func TestConnectorConditions(t *testing.T) {
	for name, test := range allConnectorCases() {
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
					g.Expect(c.Message).NotTo(Or(ContainSubstring(secret), ContainSubstring(workspaceKey)))
					g.Expect(c.LastTransitionTime.IsZero()).To(BeTrue(), "who stores the status sets the time")
				}
			}
			for _, c := range got.Conditions {
				g.Expect(c.ObservedGeneration).To(Equal(int64(7)))
			}
			always := []string{"Ready", "Resolved", "AzureAccessible"}
			if in.Connector.DeletionTimestamp.IsZero() {
				always = append(always, "ProviderRegistered")
			}
			for _, conditionType := range always {
				g.Expect(meta.FindStatusCondition(got.Conditions, conditionType)).NotTo(BeNil(), conditionType)
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
	for name, test := range allConnectorCases() {
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
	for _, reason := range reasons(t) {
		g.Expect(reached).To(HaveKey(reason))
	}
}

// reasons are those of the API.
func reasons(t *testing.T) []string {
	t.Helper()
	g := NewWithT(t)
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, 0)
	g.Expect(err).NotTo(HaveOccurred())
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		g.Expect(err).NotTo(HaveOccurred())
		found = append(found, reason)
		return true
	})
	g.Expect(len(found)).To(BeNumerically(">", 30))
	return found
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

// An operator that has just started has not asked yet, and must not write over what it knew before.
func TestFindingsAreKeptUntilAzureAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		generation int64
		reason     string
		edit       func(*status.Input)
		kept       bool
	}{
		"by an operator that has just started": {7, v1alpha1.ReasonForbidden, notAsked, true},
		"not for another spec":                 {6, v1alpha1.ReasonForbidden, notAsked, false},
		"not what was not known":               {7, v1alpha1.ReasonNotChecked, notAsked, false},
		"not without a client secret":          {7, v1alpha1.ReasonForbidden, noSecret, false},
		"not for what is known by now":         {7, v1alpha1.ReasonForbidden, checked(), false},
	} {
		for _, conditionType := range []string{v1alpha1.ConditionProviderRegistered, v1alpha1.ConditionAzureAccessible, v1alpha1.ConditionNetworkReady} {
			t.Run(name+"/"+conditionType, func(t *testing.T) {
				g := NewWithT(t)
				in := settled(test.edit)
				in.Connector.Status.Conditions = []metav1.Condition{{
					Type: conditionType, Status: metav1.ConditionFalse, Reason: test.reason, Message: "100% refused", ObservedGeneration: test.generation,
				}}
				computed := status.Compute(in)
				found := meta.FindStatusCondition(computed.Conditions, conditionType)
				if test.kept {
					g.Expect(found).To(And(HaveField("Status", metav1.ConditionFalse), HaveField("Reason", test.reason), HaveField("Message", "100% refused")))
				} else {
					g.Expect(found).NotTo(HaveField("Message", "100% refused"))
				}
			})
		}
	}
}

// What is bad is told at once, and what was told before is not taken back while Azure is still answering.
func TestFindingsAreToldTogether(t *testing.T) {
	g := NewWithT(t)
	partly := func(c *discover.Checks) { c.Region = azure.Answer[azure.Region]{} }
	first := status.Compute(settled(fresh, checked(partly)))
	g.Expect(said(first.Conditions, "NetworkReady")).To(Equal("Unknown NotChecked: waiting for Azure's answer"))

	bad := status.Compute(settled(fresh, checked(partly, subnetFails(v1alpha1.ReasonSubnetNotFound, true, "no subnet"))))
	g.Expect(said(bad.Conditions, "NetworkReady")).To(Equal("False SubnetNotFound: no subnet"))
	g.Expect(said(bad.Conditions, "Ready")).To(Equal("False SubnetNotFound: no subnet"))

	again := settled(checked(partly))
	again.Connector.Status = status.Compute(settled())
	again.Connector.Generation++
	told := status.Compute(again)
	g.Expect(said(told.Conditions, "NetworkReady")).To(HavePrefix("True SubnetUsable: "))
}
