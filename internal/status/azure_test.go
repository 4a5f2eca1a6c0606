// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/status"
)

func edited(edit func(*discover.Checks)) status.Input { return settled(checked(edit)) }

func ready(want string) map[string]string { return map[string]string{"Ready": want} }

func resolved(want string) map[string]string { return map[string]string{"Resolved": want} }

func noGroups(node, conditionType string) string {
	reason := v1alpha1.ReasonContainerGroupsImpossible
	if conditionType == v1alpha1.ConditionAzureAccessible {
		reason = v1alpha1.ReasonAzureNotAccessible
	}
	return "False " + reason + ": node " + node + " can't make container groups: see condition " + conditionType
}

func subnetIs(edit func(*azure.Subnet)) func(*discover.Checks) {
	return func(c *discover.Checks) { edit(&c.Subnet.Value) }
}

// azureCases are of what Azure says, of a connector whose nodes run.
var azureCases = map[string]connectorCase{
	"provider being registered, nodes running": {
		in: edited(registering),
		want: map[string]string{
			"Ready": "False Registering: resource provider Microsoft.ContainerInstance is being registered in subscription " +
				"11111111-1111-1111-1111-111111111111, which takes minutes",
			"LinuxNodeReady":   noGroups(linux, "ProviderRegistered"),
			"WindowsNodeReady": noGroups(windows, "ProviderRegistered"),
			"Reconciling": "True Progressing: resource provider Microsoft.ContainerInstance is being registered in subscription " +
				"11111111-1111-1111-1111-111111111111, which takes minutes",
			"Stalled": "",
		},
	},
	"provider being registered before the first start": {
		in: settled(fresh, checked(registering)),
		want: map[string]string{
			"Ready": "False Registering: resource provider Microsoft.ContainerInstance is being registered in subscription " +
				"11111111-1111-1111-1111-111111111111, which takes minutes",
			"Resolved":       "Unknown ClaimPending: " + unclaimed("ProviderRegistered"),
			"LinuxNodeReady": "False NotStarted: node " + linux + " was not started: see condition ProviderRegistered",
			"Reconciling": "True Progressing: resource provider Microsoft.ContainerInstance is being registered in subscription " +
				"11111111-1111-1111-1111-111111111111, which takes minutes",
			"Stalled": "",
		},
	},
	"provider not registered": {
		in: edited(providerFails(v1alpha1.ReasonProviderNotRegistered, true, "not registered")),
		want: map[string]string{
			"Ready":              "False ProviderNotRegistered: not registered",
			"ProviderRegistered": "False ProviderNotRegistered: not registered",
			"LinuxNodeReady":     noGroups(linux, "ProviderRegistered"),
			"Stalled":            "True UserActionNeeded: not registered",
		},
	},
	"registration forbidden": {
		in:   edited(providerFails(v1alpha1.ReasonRegistrationForbidden, true, "no right")),
		want: map[string]string{"Ready": "False RegistrationForbidden: no right", "Stalled": "True UserActionNeeded: no right"},
	},
	"registration ignored": {
		in: settled(func(in *status.Input) {
			in.Resolved.Provider = v1alpha1.ProviderRegistrationIgnore
			checked(func(c *discover.Checks) { c.Provider = azure.Answer[azure.Provider]{} })(in)
		}),
		want: map[string]string{
			"Ready": "True Ready: both virtual nodes are ready",
			"ProviderRegistered": "Unknown RegistrationIgnored: spec.providerRegistration is Ignore: " +
				"az provider show --namespace Microsoft.ContainerInstance --subscription 11111111-1111-1111-1111-111111111111 " +
				"--query registrationState shows the registration",
		},
	},
	"region without container groups": {
		in: edited(func(c *discover.Checks) { c.Provider.Value.Locations = []string{"westus"} }),
		want: map[string]string{
			"Ready": "False LocationNotAvailable: region eastus does not run container groups in AzurePublicCloud: " +
				"set spec.containerGroups.location to one that does: westus",
			"LinuxNodeReady": noGroups(linux, "ProviderRegistered"),
		},
	},
	"region without Windows": {
		in: edited(func(c *discover.Checks) { c.Region.Value.OSTypes = []string{"Linux"} }),
		want: map[string]string{
			"Ready": "False OSTypeNotAvailable: region eastus runs no container groups of Windows: " +
				"set spec.containerGroups.location to another, or take Windows off spec.osTypes",
			"LinuxNodeReady":   "True NodeReady: node " + linux + " is ready",
			"WindowsNodeReady": noGroups(windows, "ProviderRegistered"),
		},
	},
	"region without Windows before the first start": {
		in: settled(fresh, checked(func(c *discover.Checks) { c.Region.Value.OSTypes = []string{"Linux"} }), func(in *status.Input) {
			in.Nodes[0].Claim.State = discover.Claimed
		}),
		want: map[string]string{
			"LinuxNodeReady":   "False Starting: the virtual kubelet of node " + linux + " is starting",
			"WindowsNodeReady": "False NotStarted: node " + windows + " was not started: see condition ProviderRegistered",
		},
	},
	"tenant unknown":        {in: edited(tokenFails(v1alpha1.ReasonTenantNotFound, true, "no tenant")), want: ready("False TenantNotFound: no tenant")},
	"another cloud":         {in: edited(tokenFails(v1alpha1.ReasonCloudMismatch, true, "a cloud")), want: ready("False CloudMismatch: a cloud")},
	"denied":                {in: edited(groupsFail(v1alpha1.ReasonDenied, true, "denied")), want: ready("False Denied: denied")},
	"subscription disabled": {in: edited(groupsFail(v1alpha1.ReasonSubscriptionDisabled, true, "disabled")), want: ready("False SubscriptionDisabled: disabled")},
	"throttled": {
		in: edited(groupsFail(v1alpha1.ReasonThrottled, false, "throttled")),
		want: map[string]string{
			"Ready": "True Ready: both virtual nodes are ready", "AzureAccessible": "Unknown Throttled: throttled", "Reconciling": "", "Stalled": "",
		},
	},
	"throttled before the first start": {
		in:   settled(fresh, problem(v1alpha1.ReasonThrottled, false, "throttled")),
		want: map[string]string{"Ready": "Unknown Throttled: throttled", "Reconciling": "True Progressing: throttled"},
	},
	"resource group locked": {
		in: settled(func(in *status.Input) { in.Resolved.LockedDown = true; checked()(in) }),
		want: map[string]string{
			"AzureAccessible": "False ResourceGroupLocked: " + place + " is the node resource group of an AKS cluster that lets nobody write to it " +
				"(restriction level ReadOnly): set spec.containerGroups.resourceGroup to another, or az aks update --nrg-lockdown-restriction-level Unrestricted",
			"LinuxNodeReady": noGroups(linux, "AzureAccessible"),
		},
	},
	"quota exhausted": {
		in: edited(func(c *discover.Checks) { c.Region.Value.Exhausted = []azure.Quota{{Name: "StandardCores", Limit: 10}} }),
		want: map[string]string{
			"Ready":           "True Ready: both virtual nodes are ready; " + exhausted,
			"AzureAccessible": "True QuotaExhausted: " + exhausted,
			"Reconciling":     "", "Stalled": "",
		},
	},
	"provider that may not be looked at": {
		in: edited(providerFails(v1alpha1.ReasonLookForbidden, false, "no look")),
		want: map[string]string{
			"Ready": "True Ready: both virtual nodes are ready", "ProviderRegistered": "Unknown LookForbidden: no look", "Reconciling": "", "Stalled": "",
		},
	},
	"subnet that may not be looked at": {
		in: edited(subnetFails(v1alpha1.ReasonLookForbidden, false, "no look")),
		want: map[string]string{
			"Ready": "True Ready: both virtual nodes are ready", "NetworkReady": "Unknown LookForbidden: no look", "Reconciling": "", "Stalled": "",
		},
	},
	"subnet absent": {
		in: edited(subnetFails(v1alpha1.ReasonSubnetNotFound, true, "no subnet")),
		want: map[string]string{
			"Ready":            "False SubnetNotFound: no subnet",
			"NetworkReady":     "False SubnetNotFound: no subnet",
			"LinuxNodeReady":   noGroups(linux, "NetworkReady"),
			"WindowsNodeReady": "True NodeReady: node " + windows + " is ready",
			"Stalled":          "True UserActionNeeded: no subnet",
		},
	},
	"subnet delegated elsewhere": {in: edited(subnetIs(func(s *azure.Subnet) { s.Delegations = []string{"Microsoft.Web/serverFarms"} }))},
	"subnet in another region":   {in: edited(subnetIs(func(s *azure.Subnet) { s.Location = "westus" }))},
	"subnet in use":              {in: edited(subnetIs(func(s *azure.Subnet) { s.UsedBy = []string{"network interfaces"} }))},
	"subnet with a route table":  {in: edited(subnetIs(func(s *azure.Subnet) { s.RouteTable = "/routes" }))},
	"subnet too small":           {in: edited(subnetIs(func(s *azure.Subnet) { s.AddressPrefix = "10.0.0.0/30" }))},
	"subnet not to be joined":    {in: edited(subnetIs(func(s *azure.Subnet) { s.Missing = []string{"join/action"} }))},
}

const exhausted = "Azure accepts the credentials on " + place + "; nothing is left of the quota StandardCores of 10 in region eastus, " +
	"so that no more container groups start: ask for more in the Azure portal (Quotas)"

// Of several faults, the one that the others may come from is told first; one that passes by itself comes last.
func TestWhichFaultIsToldFirst(t *testing.T) {
	stopped := func(in *status.Input) {
		in.Nodes[0].Observed.Deployment.Status.AvailableReplicas = 0
		in.Nodes[0].Observed.Pods = nil
	}
	crashing := func(in *status.Input) { crashed(1, "Error", "")(&in.Nodes[0]) }
	for name, test := range map[string]struct {
		edits []func(*status.Input)
		want  string
	}{
		"the spec before Azure": {
			[]func(*status.Input){missing(v1alpha1.ReasonSecretNotFound, "no Secret"), problem(v1alpha1.ReasonForbidden, true, "no rights")},
			"False SecretNotFound: no Secret",
		},
		"the provider before the credentials": {
			[]func(*status.Input){checked(
				providerFails(v1alpha1.ReasonRegistrationForbidden, true, "no right"),
				groupsFail(v1alpha1.ReasonForbidden, true, "no rights"),
			)},
			"False RegistrationForbidden: no right",
		},
		"the credentials before the subnet": {
			[]func(*status.Input){checked(
				groupsFail(v1alpha1.ReasonForbidden, true, "no rights"),
				subnetFails(v1alpha1.ReasonSubnetNotFound, true, "no subnet"),
			)},
			"False Forbidden: no rights",
		},
		"the subnet before the node": {
			[]func(*status.Input){checked(subnetFails(v1alpha1.ReasonSubnetNotFound, true, "no subnet")), crashing}, "False SubnetNotFound: no subnet",
		},
		"the credentials before a registration that is under way": {
			[]func(*status.Input){checked(registering, groupsFail(v1alpha1.ReasonForbidden, true, "no rights"))}, "False Forbidden: no rights",
		},
		"a node that crashes before a registration that is under way": {
			[]func(*status.Input){checked(registering), crashing},
			"False CrashLoop: " + ended + "1" + logs,
		},
		"a registration that is under way before a node that starts": {
			[]func(*status.Input){checked(registering), stopped},
			"False Registering: resource provider Microsoft.ContainerInstance is being registered in subscription " +
				"11111111-1111-1111-1111-111111111111, which takes minutes",
		},
		"a node that starts before what is not known": {
			[]func(*status.Input){problem(v1alpha1.ReasonAzureUnavailable, false, "Azure did not answer"), stopped},
			"False Starting: " + starting,
		},
		"what is proven before what is not known": {
			[]func(*status.Input){checked(
				groupsFail(v1alpha1.ReasonAzureUnavailable, false, "silent"),
				subnetFails(v1alpha1.ReasonSubnetNotFound, true, "no subnet"),
			)},
			"False SubnetNotFound: no subnet",
		},
		"a deletion before all": {
			[]func(*status.Input){deleted, problem(v1alpha1.ReasonForbidden, true, "no rights")}, "False Deleting: the nodes are being removed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := status.Compute(settled(test.edits...))
			NewWithT(t).Expect(said(got.Conditions, "Ready")).To(Equal(test.want))
		})
	}
}

// What can't be looked at is no reason to distrust what works.
func TestWhatIsNotKnownLeavesAReadyConnectorReady(t *testing.T) {
	reasons := []string{v1alpha1.ReasonLookForbidden, v1alpha1.ReasonAzureUnavailable, v1alpha1.ReasonThrottled}
	for _, reason := range reasons {
		for name, edit := range map[string]func(*discover.Checks){
			"token":    tokenFails(reason, false, "unknown"),
			"groups":   groupsFail(reason, false, "unknown"),
			"provider": providerFails(reason, false, "unknown"),
			"subnet":   subnetFails(reason, false, "unknown"),
			"rights": func(c *discover.Checks) {
				c.Rights = azure.Answer[azure.Rights]{AskedAt: goodChecks().Token.AskedAt, Problem: &azure.Problem{Reason: reason}}
			},
			"region": func(c *discover.Checks) {
				c.Region = azure.Answer[azure.Region]{AskedAt: goodChecks().Token.AskedAt, Problem: &azure.Problem{Reason: reason}}
			},
			"nothing answered": func(c *discover.Checks) { *c = discover.Checks{} },
		} {
			t.Run(reason+"/"+name, func(t *testing.T) {
				g := NewWithT(t)
				got := status.Compute(edited(edit))
				g.Expect(said(got.Conditions, "Ready")).To(Equal("True Ready: both virtual nodes are ready"))
				g.Expect(meta.FindStatusCondition(got.Conditions, "Reconciling")).To(BeNil())
				g.Expect(meta.FindStatusCondition(got.Conditions, "Stalled")).To(BeNil())
				g.Expect(*got.ReadyNodes).To(BeEquivalentTo(2))
			})
		}
	}
}

func TestNetworkReadyIsThereOnlyWithASubnet(t *testing.T) {
	g := NewWithT(t)
	in := settled(func(in *status.Input) { in.Resolved.Networked, in.Resolved.Subnet = false, nil; checked()(in) })
	g.Expect(meta.FindStatusCondition(status.Compute(in).Conditions, "NetworkReady")).To(BeNil())
	g.Expect(meta.FindStatusCondition(status.Compute(settled()).Conditions, "NetworkReady")).NotTo(BeNil())
	g.Expect(meta.FindStatusCondition(status.Compute(settled(deleted)).Conditions, "NetworkReady")).To(BeNil())
	g.Expect(meta.FindStatusCondition(status.Compute(settled(deleted)).Conditions, "ProviderRegistered")).To(BeNil())
}
