// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package preflight_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/preflight"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

const (
	sub     = "11111111-1111-1111-1111-111111111111"
	client  = "33333333-3333-3333-3333-333333333333"
	place   = "resource group virtual-nodes of subscription " + sub
	theNet  = "subnet groups of virtual network virtual-nodes in resource group network"
	linux   = v1alpha1.OSTypeLinux
	windows = v1alpha1.OSTypeWindows
)

// at is when Azure first answered.
var at = time.Unix(1000, 0)

// world is what a report is made of, for a case to change.
type world struct {
	resolve.Resolved
	checks discover.Checks
}

func said[T any](value T) azure.Answer[T] {
	return azure.Answer[T]{Value: value, Have: true, AskedAt: at, GoodSince: at, ChangedAt: at}
}

func failed[T any](reason string, proven bool) azure.Answer[T] {
	return azure.Answer[T]{AskedAt: at, Problem: problem(reason, proven)}
}

func problem(reason string, proven bool) *azure.Problem {
	return &azure.Problem{Reason: reason, Proven: proven, Message: "Azure says " + reason}
}

// good is a connector for both operating systems, in a subnet, that nothing is wrong with.
func good(edits ...func(*world)) world {
	subnet := &azure.SubnetRef{Network: azure.VirtualNetworkRef{ResourceGroup: "network", Name: "virtual-nodes"}, Name: "groups"}
	w := world{
		Resolved: resolve.Resolved{
			Place: discover.Place{
				Target: azure.Target{
					Credential: azure.Credential{
						Cloud: v1alpha1.CloudPublic, Type: v1alpha1.CredentialTypeServicePrincipal, TenantID: "tenant", ClientID: client, ClientSecret: "s3cret",
					},
					SubscriptionID: sub, ResourceGroup: "virtual-nodes",
				},
				Location: "eastus", Provider: v1alpha1.ProviderRegistrationCheck, Subnet: subnet,
			},
			OSTypes: []v1alpha1.OSType{linux, windows}, Networked: true, NetworkOSTypes: []v1alpha1.OSType{linux},
		},
		checks: discover.Checks{
			Token:       said(struct{}{}),
			Groups:      azure.Listing{AskedAt: at, GoodSince: at},
			GroupsKnown: true,
			Rights:      said(azure.Rights{}),
			Provider:    said(azure.Provider{State: azure.ProviderRegistered, Locations: []string{"eastus", "westus"}}),
			Region:      said(azure.Region{OSTypes: []string{"Linux", "Windows"}}),
			Subnet: said(azure.Subnet{
				Location: "eastus", AddressPrefix: "10.241.0.0/24", Delegations: []string{"microsoft.containerinstance/containergroups"},
			}),
		},
	}
	for _, edit := range edits {
		edit(&w)
	}
	return w
}

func (w world) report() preflight.Report { return preflight.Assess(w.Resolved, w.checks) }

// findings are what a report says, by condition: Status Reason: message.
func findings(report preflight.Report) map[string]string {
	all := map[string]string{}
	for _, f := range report.Findings() {
		all[f.Type] = fmt.Sprintf("%s %s: %s", f.Status, f.Reason, f.Message)
	}
	return all
}

func noSecret(w *world) { w.Target.ClientSecret = ""; w.checks = discover.Checks{} }

func notAsked(w *world) { w.checks = discover.Checks{} }

func ignored(w *world) {
	w.Provider = v1alpha1.ProviderRegistrationIgnore
	w.checks.Provider = azure.Answer[azure.Provider]{}
}

func refused(reason string, proven bool) func(*world) {
	return func(w *world) {
		w.checks.Groups.Problem = problem(reason, proven)
		w.checks.Groups.GoodSince = time.Time{}
	}
}

func token(reason string, proven bool) func(*world) {
	return func(w *world) { w.checks.Token = failed[struct{}](reason, proven) }
}

func providerState(state azure.ProviderState) func(*world) {
	return func(w *world) { w.checks.Provider.Value.State = state }
}

func providerFails(reason string, proven bool) func(*world) {
	return func(w *world) { w.checks.Provider = failed[azure.Provider](reason, proven) }
}

func subnetFails(reason string, proven bool) func(*world) {
	return func(w *world) { w.checks.Subnet = failed[azure.Subnet](reason, proven) }
}

func subnet(edit func(*azure.Subnet)) func(*world) {
	return func(w *world) { edit(&w.checks.Subnet.Value) }
}

const (
	registered   = "True Registered: resource provider Microsoft.ContainerInstance is registered in subscription " + sub
	unregistered = "resource provider Microsoft.ContainerInstance is not registered in subscription " + sub +
		": az provider register --namespace Microsoft.ContainerInstance --subscription " + sub + ", or set spec.providerRegistration to Register"
	accessible   = "True Accessible: Azure accepts the credentials on " + place
	usable       = "True SubnetUsable: container groups can be placed in " + theNet + ", which has room for 251"
	noneToAsk    = "Unknown NotChecked: there is no client secret to ask Azure with"
	waiting      = "Unknown NotChecked: waiting for Azure's answer"
	seeAccess    = "Unknown NotChecked: Azure could not be asked: see condition AzureAccessible"
	seeProvider  = "Unknown NotChecked: Azure could not be asked: see condition ProviderRegistered"
	seeResolved  = "Unknown NotChecked: it is not known yet what to ask Azure for: see condition Resolved"
	elsewhereNet = "Unknown NotChecked: it is not known which subnet is meant: see condition Resolved"
)

// cases are worlds with what the findings say of them; a finding that a case does not name is as in a good one.
var cases = map[string]struct {
	edit                      func(*world)
	provider, access, network string
}{
	"all is well":          {edit: func(*world) {}},
	"no client secret":     {edit: noSecret, provider: noneToAsk, access: noneToAsk, network: noneToAsk},
	"nothing answered yet": {edit: notAsked, provider: waiting, access: waiting, network: waiting},

	"provider being registered": {
		edit: providerState(azure.ProviderRegistering),
		provider: "False Registering: resource provider Microsoft.ContainerInstance is being registered in subscription " + sub +
			", which takes minutes",
	},
	"provider not registered": {edit: providerState("NotRegistered"), provider: "False ProviderNotRegistered: " + unregistered},
	"provider unregistering":  {edit: providerState("Unregistering"), provider: "False ProviderNotRegistered: " + unregistered},
	"registration forbidden": {
		edit: providerFails(v1alpha1.ReasonRegistrationForbidden, true), provider: "False RegistrationForbidden: Azure says RegistrationForbidden",
	},
	"registration failed": {
		edit: providerFails(v1alpha1.ReasonProviderNotRegistered, true), provider: "False ProviderNotRegistered: Azure says ProviderNotRegistered",
	},
	"registration ignored": {
		edit: ignored,
		provider: "Unknown RegistrationIgnored: spec.providerRegistration is Ignore: " +
			"az provider show --namespace Microsoft.ContainerInstance --subscription " + sub + " --query registrationState shows the registration",
	},
	"registration ignored, and missed by the container groups": {
		edit:     func(w *world) { ignored(w); refused(v1alpha1.ReasonProviderNotRegistered, true)(w) },
		provider: "False ProviderNotRegistered: Azure says ProviderNotRegistered", access: seeProvider,
	},
	"a listing from before the registration": {
		edit: refused(v1alpha1.ReasonProviderNotRegistered, true), provider: registered, access: seeProvider,
	},
	"a listing from before a registration that is under way": {
		edit: func(w *world) {
			refused(v1alpha1.ReasonProviderNotRegistered, true)(w)
			providerState(azure.ProviderRegistering)(w)
		},
		provider: "False Registering: resource provider Microsoft.ContainerInstance is being registered in subscription " + sub +
			", which takes minutes",
		access: seeProvider,
	},
	"a provider that may not be looked at": {
		edit: providerFails(v1alpha1.ReasonLookForbidden, false), provider: "Unknown LookForbidden: Azure says LookForbidden",
	},
	"a provider that Azure is silent about": {
		edit: providerFails(v1alpha1.ReasonAzureUnavailable, false), provider: "Unknown AzureUnavailable: Azure says AzureUnavailable",
	},
	"a provider that Azure throttles": {
		edit: providerFails(v1alpha1.ReasonThrottled, false), provider: "Unknown Throttled: Azure says Throttled",
	},
	"a provider that can't be asked with the credentials": {
		edit: providerFails(v1alpha1.ReasonCredentialsRejected, true), provider: seeAccess,
	},
	"a region without container groups": {
		edit: func(w *world) { w.checks.Provider.Value.Locations = []string{"northeurope", "westus"} },
		provider: "False LocationNotAvailable: region eastus does not run container groups in AzurePublicCloud: " +
			"set spec.containerGroups.location to one that does: northeurope, westus",
	},
	"a provider that tells no regions": {edit: func(w *world) { w.checks.Provider.Value.Locations = nil }},
	"no region yet":                    {edit: func(w *world) { w.Location = "" }},
	"a region without Windows": {
		edit: func(w *world) { w.checks.Region.Value.OSTypes = []string{"linux"} },
		provider: "False OSTypeNotAvailable: region eastus runs no container groups of Windows: " +
			"set spec.containerGroups.location to another, or take Windows off spec.osTypes",
	},
	"a region without Windows, of a provider that is ignored": {
		edit: func(w *world) { ignored(w); w.checks.Region.Value.OSTypes = []string{"Linux"} },
		provider: "False OSTypeNotAvailable: region eastus runs no container groups of Windows: " +
			"set spec.containerGroups.location to another, or take Windows off spec.osTypes",
	},
	"a region that does not tell":         {edit: func(w *world) { w.checks.Region.Value.OSTypes = nil }},
	"a region that Azure is silent about": {edit: func(w *world) { w.checks.Region = failed[azure.Region](v1alpha1.ReasonAzureUnavailable, false) }},
	"a region that may not be looked at":  {edit: func(w *world) { w.checks.Region = failed[azure.Region](v1alpha1.ReasonLookForbidden, false) }},
	"a region whose Windows nobody asks of": {edit: func(w *world) {
		w.OSTypes = []v1alpha1.OSType{linux}
		w.checks.Region.Value.OSTypes = []string{"Linux"}
	}},

	"credentials rejected": {
		edit:   token(v1alpha1.ReasonCredentialsRejected, true),
		access: "False CredentialsRejected: Azure says CredentialsRejected",
	},
	"client secret expired": {edit: token(v1alpha1.ReasonSecretExpired, true), access: "False SecretExpired: Azure says SecretExpired"},
	"tenant unknown":        {edit: token(v1alpha1.ReasonTenantNotFound, true), access: "False TenantNotFound: Azure says TenantNotFound"},
	"another cloud":         {edit: token(v1alpha1.ReasonCloudMismatch, true), access: "False CloudMismatch: Azure says CloudMismatch"},
	"no token now":          {edit: token(v1alpha1.ReasonAzureUnavailable, false), access: "Unknown AzureUnavailable: Azure says AzureUnavailable"},
	"tokens throttled":      {edit: token(v1alpha1.ReasonThrottled, false), access: "Unknown Throttled: Azure says Throttled"},
	"no token yet":          {edit: func(w *world) { w.checks.Token = azure.Answer[struct{}]{} }, access: waiting},
	"not listed yet": {
		edit: func(w *world) { w.checks.Groups, w.checks.GroupsKnown = azure.Listing{}, false }, access: waiting,
	},
	"no rights": {edit: refused(v1alpha1.ReasonForbidden, true), access: "False Forbidden: Azure says Forbidden"},
	"resource group absent": {
		edit:   refused(v1alpha1.ReasonResourceGroupNotFound, true),
		access: "False ResourceGroupNotFound: Azure says ResourceGroupNotFound",
	},
	"subscription absent": {
		edit:   refused(v1alpha1.ReasonSubscriptionNotFound, true),
		access: "False SubscriptionNotFound: Azure says SubscriptionNotFound",
	},
	"subscription disabled": {
		edit:   refused(v1alpha1.ReasonSubscriptionDisabled, true),
		access: "False SubscriptionDisabled: Azure says SubscriptionDisabled",
	},
	"denied":            {edit: refused(v1alpha1.ReasonDenied, true), access: "False Denied: Azure says Denied"},
	"Azure silent":      {edit: refused(v1alpha1.ReasonAzureUnavailable, false), access: "Unknown AzureUnavailable: Azure says AzureUnavailable"},
	"listing throttled": {edit: refused(v1alpha1.ReasonThrottled, false), access: "Unknown Throttled: Azure says Throttled"},
	"the token's fault before the listing's": {
		edit: func(w *world) {
			token(v1alpha1.ReasonSecretExpired, true)(w)
			refused(v1alpha1.ReasonCredentialsRejected, true)(w)
		},
		access: "False SecretExpired: Azure says SecretExpired",
	},
	"what is proven before what is not": {
		edit: func(w *world) {
			token(v1alpha1.ReasonAzureUnavailable, false)(w)
			refused(v1alpha1.ReasonForbidden, true)(w)
		},
		access: "False Forbidden: Azure says Forbidden",
	},
	"resource group locked": {
		edit: func(w *world) { w.LockedDown = true },
		access: "False ResourceGroupLocked: " + place + " is the node resource group of an AKS cluster that lets nobody write to it " +
			"(restriction level ReadOnly): set spec.containerGroups.resourceGroup to another, or az aks update --nrg-lockdown-restriction-level Unrestricted",
	},
	"a right is missing": {
		edit: func(w *world) { w.checks.Rights = said(azure.Rights{Missing: []string{"a/write", "a/delete"}}) },
		access: "False Forbidden: client " + client + " lacks rights on " + place + " (a/write, a/delete): az role assignment create --assignee " +
			client + " --role Contributor --scope /subscriptions/" + sub + "/resourceGroups/virtual-nodes",
	},
	"a right is denied": {
		edit: func(w *world) { w.checks.Rights = said(azure.Rights{DeniedBy: "freeze"}) },
		access: "False Denied: the deny assignment \"freeze\" keeps client " + client + " from making container groups in " + place +
			": remove it, or set spec.containerGroups.resourceGroup to another",
	},
	"rights that may not be looked at": {
		edit:   func(w *world) { w.checks.Rights = failed[azure.Rights](v1alpha1.ReasonForbidden, true) },
		access: accessible + ", but does not tell whether they may write there: Microsoft.Authorization/permissions/read is missing",
	},
	"rights that Azure is silent about": {edit: func(w *world) { w.checks.Rights = failed[azure.Rights](v1alpha1.ReasonAzureUnavailable, false) }},
	"no place yet": {
		edit: func(w *world) {
			w.Undecided, w.Target.ResourceGroup = true, ""
			w.checks.Groups, w.checks.GroupsKnown, w.checks.Rights = azure.Listing{}, false, azure.Answer[azure.Rights]{}
		},
		access: seeResolved,
	},
	"quota exhausted": {
		edit: func(w *world) {
			w.checks.Region.Value.Exhausted = []azure.Quota{{Name: "ContainerGroups", Limit: 100}, {Name: "StandardCores", Limit: 10}}
		},
		access: "True QuotaExhausted: Azure accepts the credentials on " + place + "; nothing is left of the quota ContainerGroups of 100 and " +
			"StandardCores of 10 in region eastus, so that no more container groups start: ask for more in the Azure portal (Quotas)",
	},

	"no subnet known yet": {edit: func(w *world) { w.Subnet = nil }, network: elsewhereNet},
	"subnet absent":       {edit: subnetFails(v1alpha1.ReasonSubnetNotFound, true), network: "False SubnetNotFound: Azure says SubnetNotFound"},
	"Microsoft.Network not registered": {
		edit: subnetFails(v1alpha1.ReasonProviderNotRegistered, true), network: "False ProviderNotRegistered: Azure says ProviderNotRegistered",
	},
	"subnet that may not be looked at": {
		edit:    subnetFails(v1alpha1.ReasonLookForbidden, false),
		network: "Unknown LookForbidden: Azure says LookForbidden",
	},
	"subnet that Azure is silent about": {
		edit:    subnetFails(v1alpha1.ReasonAzureUnavailable, false),
		network: "Unknown AzureUnavailable: Azure says AzureUnavailable",
	},
	"subnet that Azure throttles":         {edit: subnetFails(v1alpha1.ReasonThrottled, false), network: "Unknown Throttled: Azure says Throttled"},
	"subnet that can't be asked for":      {edit: subnetFails(v1alpha1.ReasonCredentialsRejected, true), network: seeAccess},
	"subnet that Azure is silent of now":  {edit: func(w *world) { w.checks.Subnet.Problem = problem(v1alpha1.ReasonAzureUnavailable, false) }},
	"subnet delegated to nobody":          {edit: subnet(func(s *azure.Subnet) { s.Delegations = nil })},
	"subnet of a network that is no help": {edit: subnet(func(s *azure.Subnet) { s.Location = "" })},
	"subnet without a range of its own": {
		edit:    subnet(func(s *azure.Subnet) { s.AddressPrefix = "" }),
		network: "True SubnetUsable: container groups can be placed in " + theNet,
	},
	"subnet of IPv6": {
		edit:    subnet(func(s *azure.Subnet) { s.AddressPrefix = "2001:db8::/64" }),
		network: "True SubnetUsable: container groups can be placed in " + theNet,
	},
	"subnet delegated elsewhere": {
		edit: subnet(func(s *azure.Subnet) { s.Delegations = []string{"Microsoft.Web/serverFarms"} }),
		network: "False SubnetDelegatedElsewhere: " + theNet + " is delegated to Microsoft.Web/serverFarms: " +
			"set spec.network.subnet to one that is delegated to Microsoft.ContainerInstance/containerGroups, or to nothing",
	},
	"subnet in another region": {
		edit: subnet(func(s *azure.Subnet) { s.Location = "westus" }),
		network: "False SubnetInOtherLocation: " + theNet + " is in region westus, and the container groups are in eastus: " +
			"set spec.network.subnet to one in that region",
	},
	"subnet in use": {
		edit: subnet(func(s *azure.Subnet) { s.Delegations, s.UsedBy = nil, []string{"network interfaces"} }),
		network: "False SubnetInUse: " + theNet + " can't be delegated to Microsoft.ContainerInstance/containerGroups, " +
			"as it is used by network interfaces: set spec.network.subnet to one that nothing else is in",
	},
	"subnet with a route table": {
		edit: subnet(func(s *azure.Subnet) { s.RouteTable = "/routes" }),
		network: "False SubnetHasRouteTable: " + theNet + " has the route table /routes, with which the virtual kubelet does not start: " +
			"take it off, or set spec.network.subnet to another",
	},
	"subnet that is too small": {
		edit: subnet(func(s *azure.Subnet) { s.AddressPrefix = "10.241.0.0/30" }),
		network: "False SubnetTooSmall: " + theNet + ", 10.241.0.0/30, has no address left for a container group: " +
			"set spec.network.subnet to a larger one",
	},
	"subnet that has room for three": {
		edit:    subnet(func(s *azure.Subnet) { s.AddressPrefix = "10.241.0.0/29" }),
		network: "True SubnetUsable: container groups can be placed in " + theNet + ", which has room for 3",
	},
	"subnet that may not be joined": {
		edit: subnet(func(s *azure.Subnet) { s.Missing = []string{"join/action"} }),
		network: "False SubnetJoinForbidden: client " + client + " lacks rights on " + theNet + " (join/action): az role assignment create --assignee " +
			client + " --role \"Network Contributor\" --scope /subscriptions/" + sub +
			"/resourceGroups/network/providers/Microsoft.Network/virtualNetworks/virtual-nodes/subnets/groups",
	},
}

func TestFindings(t *testing.T) {
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			report := good(test.edit).report()
			or := func(want, usual string) string {
				if want == "" {
					return usual
				}
				return want
			}
			g.Expect(findings(report)).To(Equal(map[string]string{
				"ProviderRegistered": or(test.provider, registered),
				"AzureAccessible":    or(test.access, accessible),
				"NetworkReady":       or(test.network, usable),
			}))
			for _, f := range report.Findings() {
				g.Expect(f.Message).NotTo(ContainSubstring("s3cret"))
			}
		})
	}
}

// TestEveryReasonIsReached keeps the table complete: the API groups its reasons by condition.
func TestEveryReasonIsReached(t *testing.T) {
	g := NewWithT(t)
	reached := map[string]map[string]bool{}
	for _, test := range cases {
		for _, f := range good(test.edit).report().Findings() {
			if reached[f.Type] == nil {
				reached[f.Type] = map[string]bool{}
			}
			reached[f.Type][f.Reason] = true
		}
	}
	file, err := parser.ParseFile(gotoken.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, parser.ParseComments)
	g.Expect(err).NotTo(HaveOccurred())
	of := regexp.MustCompile(`^Reasons of the conditions? (ProviderRegistered|AzureAccessible|NetworkReady)`)
	count := 0
	for _, declaration := range file.Decls {
		block, ok := declaration.(*ast.GenDecl)
		if !ok || !of.MatchString(block.Doc.Text()) {
			continue
		}
		types := []string{of.FindStringSubmatch(block.Doc.Text())[1]}
		if strings.Contains(block.Doc.Text(), "alike") {
			types = slices.Collect(maps.Keys(reached))
		}
		for _, spec := range block.Specs {
			constant := spec.(*ast.ValueSpec)
			reason, err := strconv.Unquote(constant.Values[0].(*ast.BasicLit).Value)
			g.Expect(err).NotTo(HaveOccurred())
			count++
			if !slices.ContainsFunc(types, func(conditionType string) bool { return reached[conditionType][reason] }) {
				t.Errorf("no case reaches %s in %v", constant.Names[0].Name, types)
			}
		}
	}
	g.Expect(count).To(BeNumerically(">", 25))
}

func TestConditionsOfAReport(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*world)
		want []string
	}{
		"a connector in a subnet": {func(*world) {}, []string{"ProviderRegistered", "AzureAccessible", "NetworkReady"}},
		"a connector in none":     {func(w *world) { w.Networked, w.Subnet = false, nil }, []string{"ProviderRegistered", "AzureAccessible"}},
		"a deleted connector":     {func(w *world) { w.OSTypes = nil }, []string{"AzureAccessible"}},
	} {
		t.Run(name, func(t *testing.T) {
			var types []string
			for _, f := range good(test.edit).report().Findings() {
				types = append(types, f.Type)
			}
			NewWithT(t).Expect(types).To(Equal(test.want))
		})
	}
}

func TestBlocking(t *testing.T) {
	for name, test := range map[string]struct {
		edit           func(*world)
		linux, windows string
	}{
		"nothing":                  {edit: func(*world) {}},
		"nothing known":            {edit: notAsked},
		"nothing proven":           {edit: refused(v1alpha1.ReasonAzureUnavailable, false)},
		"an exhausted quota":       {edit: func(w *world) { w.checks.Region.Value.Exhausted = []azure.Quota{{Name: "StandardCores"}} }},
		"an ignored provider":      {edit: ignored},
		"credentials":              {edit: token(v1alpha1.ReasonSecretExpired, true), linux: "SecretExpired", windows: "SecretExpired"},
		"the provider":             {edit: providerState(azure.ProviderRegistering), linux: "Registering", windows: "Registering"},
		"a region without Windows": {edit: func(w *world) { w.checks.Region.Value.OSTypes = []string{"Linux"} }, windows: "OSTypeNotAvailable"},
		"a region without either": {
			edit:  func(w *world) { w.checks.Region.Value.OSTypes = []string{"Plan9"} },
			linux: "OSTypeNotAvailable", windows: "OSTypeNotAvailable",
		},
		"a subnet for Linux": {edit: subnetFails(v1alpha1.ReasonSubnetNotFound, true), linux: "SubnetNotFound"},
		"a subnet for both": {
			edit:  func(w *world) { w.NetworkOSTypes = w.OSTypes; subnetFails(v1alpha1.ReasonSubnetNotFound, true)(w) },
			linux: "SubnetNotFound", windows: "SubnetNotFound",
		},
		"credentials before all": {
			edit:  func(w *world) { token(v1alpha1.ReasonSecretExpired, true)(w); providerState("")(w) },
			linux: "SecretExpired", windows: "SecretExpired",
		},
		"the provider before a subnet": {
			edit:  func(w *world) { providerState("")(w); subnetFails(v1alpha1.ReasonSubnetNotFound, true)(w) },
			linux: "ProviderNotRegistered", windows: "ProviderNotRegistered",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			report := good(test.edit).report()
			for os, want := range map[v1alpha1.OSType]string{linux: test.linux, windows: test.windows} {
				finding := report.Blocking(os)
				if want == "" {
					g.Expect(finding).To(BeNil(), string(os))
					continue
				}
				g.Expect(finding).To(HaveField("Reason", want), string(os))
				g.Expect(finding.Status).To(Equal(metav1.ConditionFalse))
				g.Expect(report.Withholding(os)).To(Equal(finding), "what blocks withholds")
			}
		})
	}
}

func TestWithholding(t *testing.T) {
	unanswered := func(forget func(*discover.Checks)) func(*world) { return func(w *world) { forget(&w.checks) } }
	for name, test := range map[string]struct {
		edit func(*world)
		// want is the condition that is to be looked at; empty where nothing is withheld.
		want string
	}{
		"nothing":              {edit: func(*world) {}},
		"nothing proven":       {edit: refused(v1alpha1.ReasonAzureUnavailable, false)},
		"no client secret":     {edit: noSecret},
		"an ignored provider":  {edit: ignored},
		"nothing answered":     {edit: notAsked, want: "ProviderRegistered"},
		"the token":            {edit: unanswered(func(c *discover.Checks) { c.Token = azure.Answer[struct{}]{} }), want: "AzureAccessible"},
		"the container groups": {edit: unanswered(func(c *discover.Checks) { c.GroupsKnown = false }), want: "AzureAccessible"},
		"the rights":           {edit: unanswered(func(c *discover.Checks) { c.Rights = azure.Answer[azure.Rights]{} }), want: "AzureAccessible"},
		"the provider": {
			edit: unanswered(func(c *discover.Checks) { c.Provider = azure.Answer[azure.Provider]{} }), want: "ProviderRegistered",
		},
		"the region":               {edit: unanswered(func(c *discover.Checks) { c.Region = azure.Answer[azure.Region]{} }), want: "AzureAccessible"},
		"the subnet":               {edit: unanswered(func(c *discover.Checks) { c.Subnet = azure.Answer[azure.Subnet]{} }), want: "NetworkReady"},
		"no subnet that is asked":  {edit: func(w *world) { w.Subnet = nil; w.checks.Subnet = azure.Answer[azure.Subnet]{} }},
		"a deleted connector":      {edit: func(w *world) { w.OSTypes = nil; w.checks = discover.Checks{} }},
		"a problem, not the value": {edit: func(w *world) { w.checks.Rights = failed[azure.Rights](v1alpha1.ReasonAzureUnavailable, false) }},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			report := good(test.edit).report()
			g.Expect(report.Pending).To(Equal(test.want != ""))
			finding := report.Withholding(windows)
			if test.want == "" {
				g.Expect(finding).To(BeNil())
				return
			}
			g.Expect(finding).To(And(HaveField("Type", test.want), HaveField("Status", metav1.ConditionUnknown)))
			g.Expect(report.Blocking(windows)).To(BeNil(), "nothing is proven")
		})
	}
}

func TestGoodSince(t *testing.T) {
	later := at.Add(time.Minute)
	for name, test := range map[string]struct {
		edit func(*world)
		want time.Time
	}{
		"all at once":                   {func(*world) {}, at},
		"the token last":                {func(w *world) { w.checks.Token.GoodSince = later }, later},
		"the container groups last":     {func(w *world) { w.checks.Groups.GoodSince = later }, later},
		"the subnet last":               {func(w *world) { w.checks.Subnet.GoodSince = later }, later},
		"a subnet that changed":         {func(w *world) { w.checks.Subnet.ChangedAt = later }, later},
		"a subnet that nobody asks for": {func(w *world) { w.Networked, w.checks.Subnet = false, azure.Answer[azure.Subnet]{} }, at},
		"no token":                      {func(w *world) { w.checks.Token.GoodSince = time.Time{} }, time.Time{}},
		"no container groups":           {refused(v1alpha1.ReasonAzureUnavailable, false), time.Time{}},
		"no subnet":                     {subnetFails(v1alpha1.ReasonAzureUnavailable, false), time.Time{}},
		"a provider that is bad":        {providerState(azure.ProviderRegistering), time.Time{}},
		"a provider that is not known":  {providerFails(v1alpha1.ReasonAzureUnavailable, false), at},
		"rights that are missing":       {func(w *world) { w.checks.Rights = said(azure.Rights{Missing: []string{"a/write"}}) }, time.Time{}},
		"nothing answered":              {notAsked, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(good(test.edit).report().GoodSince).To(Equal(test.want))
		})
	}
}
