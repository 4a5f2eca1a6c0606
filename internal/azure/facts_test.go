// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	. "github.com/onsi/gomega/gstruct"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	me           = "client " + simulated.DefaultClientID
	unreachable  = "check that the operator can reach it and resolve its names"
	between      = "something between the operator and Azure answered "
	checkProxies = ": check the proxies and firewalls"
	forbidden    = "403"
	notFound     = "404"
)

// inquiry is one of the questions that a connector asks.
type inquiry struct {
	// operation is the request that it makes of Azure, or the first of them.
	operation string
	// name is how messages call it.
	name string
	ask  func(i *Inventory, connector string, of Target) Answer[any]
	want any
	// special are the problems that are its own, by fault.
	special map[string]Problem
}

func plain[T any](a Answer[T]) Answer[any] {
	answer := Answer[any]{Have: a.Have, Problem: a.Problem, AskedAt: a.AskedAt, GoodSince: a.GoodSince, ChangedAt: a.ChangedAt}
	if a.Have {
		answer.Value = a.Value
	}
	return answer
}

func refusedToken(text string) Problem {
	return Problem{Reason: v1alpha1.ReasonCredentialsRejected, Proven: true, Message: "Microsoft Entra refused a token for " + me + " of tenant " +
		simulated.DefaultTenantID + ": AADSTS90033: " + text + ": check spec.credentials.servicePrincipal and the client secret in its Secret"}
}

var groupProblems = map[string]Problem{
	forbidden: {Reason: v1alpha1.ReasonForbidden, Proven: true, Message: me + " lacks rights on " + place +
		": az role assignment create --assignee " + simulated.DefaultClientID + " --role Contributor --scope " + groupScope},
	notFound: {Reason: v1alpha1.ReasonResourceGroupNotFound, Proven: true, Message: place +
		" does not exist: check spec.containerGroups.resourceGroup, or az group create --subscription " + subscription +
		" --name virtual-nodes --location LOCATION"},
}

var inquiries = map[string]inquiry{
	"Token": {
		operation: "Token", name: "a token of " + me,
		ask: func(i *Inventory, connector string, of Target) Answer[any] {
			return plain(i.Token(connector, of.Credential))
		},
		want: struct{}{},
		special: map[string]Problem{
			"401":     refusedToken("The access token is invalid"),
			forbidden: refusedToken("The client does not have authorization to perform the action"),
			notFound:  refusedToken("Resource group 'x' could not be found"),
			"409":     refusedToken("The request conflicts with the state of the resource"),
			"429": {Reason: v1alpha1.ReasonThrottled, RetryAfter: 17 * time.Second, Message: "Microsoft Entra can't issue a token now: " +
				"AADSTS90033: The request is being throttled as the limit has been reached for operation type."},
			"500": {Reason: v1alpha1.ReasonAzureUnavailable, Message: "Microsoft Entra can't issue a token now: " +
				"AADSTS90033: Encountered internal server error."},
			"a page with 502": {Reason: v1alpha1.ReasonAzureUnavailable, Message: "Microsoft Entra can't issue a token now: 502 Bad Gateway"},
		},
	},
	"ManagedCluster": {
		operation: "ManagedClusters.Get", name: "managed cluster cluster in resource group clusters of subscription " + subscription,
		ask: func(i *Inventory, connector string, of Target) Answer[any] {
			return plain(i.ManagedCluster(connector, of.Credential, clusterRef))
		},
		want: defaultCluster(),
		special: map[string]Problem{
			forbidden: {Reason: v1alpha1.ReasonManagedClusterForbidden, Proven: true, Message: me +
				" may not read managed cluster cluster in resource group clusters of subscription " + subscription + ": az role assignment create --assignee " +
				simulated.DefaultClientID + " --role Reader --scope " + defaultCluster().ID},
			notFound: {Reason: v1alpha1.ReasonManagedClusterNotFound, Proven: true, Message: "managed cluster cluster in resource group clusters of subscription " +
				subscription + " does not exist: check spec.managedCluster; az aks list --subscription " + subscription + " -o table shows those that do"},
		},
	},
	"ResourceGroup": {
		operation: "ResourceGroups.Get", name: place,
		ask: func(i *Inventory, connector string, of Target) Answer[any] {
			return plain(i.ResourceGroup(connector, of))
		},
		want:    ResourceGroup{Location: "eastus"},
		special: groupProblems,
	},
	"Provider": {
		operation: "Providers.Get", name: "resource provider Microsoft.ContainerInstance of subscription " + subscription,
		ask: func(i *Inventory, connector string, of Target) Answer[any] {
			return plain(i.Provider(connector, of.Credential, of.SubscriptionID, true))
		},
		want: Provider{State: ProviderRegistered, Locations: []string{"eastus", "eastus2", "jioindiawest", "northeurope", "westeurope", "westus", "westus2"}},
		special: map[string]Problem{
			forbidden: {Reason: v1alpha1.ReasonLookForbidden, Message: me + " may not look whether resource provider Microsoft.ContainerInstance is registered: " +
				"az provider show --namespace Microsoft.ContainerInstance --subscription " + subscription + " --query registrationState shows it"},
		},
	},
	"Region": {
		operation: "Location.Capabilities", name: "region eastus of subscription " + subscription,
		ask: func(i *Inventory, connector string, of Target) Answer[any] {
			return plain(i.Region(connector, of.Credential, of.SubscriptionID, "eastus"))
		},
		want: Region{OSTypes: []string{"Linux", "Windows"}},
		special: map[string]Problem{
			forbidden: {Reason: v1alpha1.ReasonLookForbidden, Message: me + " may not look what region eastus offers"},
		},
	},
	"Rights": {
		operation: "Permissions.List", name: place,
		ask:     func(i *Inventory, connector string, of Target) Answer[any] { return plain(i.Rights(connector, of)) },
		want:    Rights{},
		special: groupProblems,
	},
	"Subnet": {
		operation: "*[kt]s.Get", name: subnetRef("container-groups").String(),
		ask: func(i *Inventory, connector string, of Target) Answer[any] {
			return plain(i.Subnet(connector, of.Credential, of.SubscriptionID, subnetRef("container-groups")))
		},
		want: Subnet{Location: "eastus", AddressPrefix: "10.241.0.0/16", Delegations: []string{"Microsoft.ContainerInstance/containerGroups"}},
		special: map[string]Problem{
			notFound: {Reason: v1alpha1.ReasonSubnetNotFound, Proven: true, Message: "subnet container-groups of virtual network virtual-nodes in resource group " +
				"virtual-nodes does not exist: check spec.network.subnet, or az network vnet subnet create --subscription " + subscription +
				" --resource-group virtual-nodes --vnet-name virtual-nodes --name container-groups --delegations Microsoft.ContainerInstance/containerGroups " +
				"--address-prefixes PREFIX"},
			forbidden: {Reason: v1alpha1.ReasonLookForbidden, Message: me + " may not read subnet container-groups of virtual network virtual-nodes " +
				"in resource group virtual-nodes: az role assignment create --assignee " + simulated.DefaultClientID +
				" --role \"Network Contributor\" --scope " + networkScope + "/subnets/container-groups"},
		},
	},
}

// problemOf is what most questions get to say of a fault.
func problemOf(name string) map[string]Problem {
	unavailable := func(message string) Problem {
		return Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: message}
	}
	return map[string]Problem{
		"401": {Reason: v1alpha1.ReasonCredentialsRejected, Proven: true, Message: "Azure refused the token of " + me + " for " + name +
			" (InvalidAuthenticationToken): check that the subscription belongs to tenant " + simulated.DefaultTenantID},
		notFound:               unavailable("Azure answered 404 ResourceGroupNotFound for " + name),
		"409":                  unavailable("Azure answered 409 Conflict for " + name),
		"429":                  {Reason: v1alpha1.ReasonThrottled, RetryAfter: 17 * time.Second, Message: "Azure answered 429 TooManyRequests for " + name},
		"500":                  unavailable("Azure answered 500 InternalServerError for " + name),
		"a dropped connection": unavailable("Azure did not answer for " + name + ": " + unreachable),
		"garbage":              unavailable(between + "with what Azure does not say for " + name + checkProxies),
		"a page with 200":      unavailable(between + "with what Azure does not say for " + name + checkProxies),
		"a page with 401":      unavailable(between + "401 Unauthorized for " + name + checkProxies),
		"a page with 403":      unavailable(between + "403 Forbidden for " + name + checkProxies),
		"a page with 404":      unavailable(between + "404 Not Found for " + name + checkProxies),
		"a page with 502":      unavailable("Azure, or a proxy before it, answered 502 Bad Gateway for " + name),
	}
}

var faults = map[string]simulated.Fault{
	"401":                  {Status: http.StatusUnauthorized},
	forbidden:              {Status: http.StatusForbidden},
	notFound:               {Status: http.StatusNotFound, Code: "ResourceGroupNotFound", Message: "Resource group 'x' could not be found."},
	"409":                  {Status: http.StatusConflict},
	"429":                  {Status: http.StatusTooManyRequests, RetryAfter: 17 * time.Second},
	"500":                  {Status: http.StatusInternalServerError},
	"a dropped connection": {Drop: true},
	"garbage":              {Status: http.StatusOK, Body: `{"value": [`},
	"a page with 200":      {Status: http.StatusOK, Body: "<html>proxy</html>"},
	"a page with 401":      {Status: http.StatusUnauthorized, Body: "<html>proxy</html>"},
	"a page with 403":      {Status: http.StatusForbidden, Body: "<html>proxy</html>"},
	"a page with 404":      {Status: http.StatusNotFound, Body: "<html>proxy</html>"},
	"a page with 502":      {Status: http.StatusBadGateway, Body: "<html>proxy</html>"},
}

// TestAnswersAndFaults breaks Azure for each question that had a good answer, and mends it.
func TestAnswersAndFaults(t *testing.T) {
	for question, q := range inquiries {
		common := problemOf(q.name)
		for trouble, fault := range faults {
			want, special := q.special[trouble]
			if !special {
				want = common[trouble]
			}
			t.Run(question+"/"+trouble, func(t *testing.T) {
				t.Parallel()
				s := newStock(t)
				s.start(t)
				s.g.Expect(q.ask(s.Inventory, alice, target()).Known()).To(BeFalse())
				s.idle()
				s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
				good := q.ask(s.Inventory, alice, target())
				s.g.Expect(good).To(MatchFields(IgnoreExtras, Fields{"Have": BeTrue(), "Value": Equal(q.want), "Problem": BeNil()}))

				fault.Operation = q.operation
				s.fault(t, fault)
				s.rig.clock.Step(s.soonest())
				s.idle()
				s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
				bad := q.ask(s.Inventory, alice, target())
				s.g.Expect(bad.Problem).To(PointTo(Equal(want)))
				s.g.Expect(bad.AskedAt).To(BeTemporally(">", good.AskedAt))
				s.g.Expect(bad.GoodSince).To(BeZero())
				s.g.Expect(bad.Have).To(Equal(!want.Proven), "what is proven bad leaves nothing of what was")
				if !want.Proven {
					s.g.Expect(bad.Value).To(Equal(q.want))
				}
				wait := s.soonest()
				s.g.Expect(wait).To(And(BeNumerically(">=", max(firstRetry, want.RetryAfter)), BeNumerically("<=", max(firstRetry*11/10, want.RetryAfter))))

				s.ClearFaults()
				s.rig.clock.Step(wait)
				s.idle()
				s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
				mended := q.ask(s.Inventory, alice, target())
				s.g.Expect(mended).To(MatchFields(IgnoreExtras, Fields{"Have": BeTrue(), "Value": Equal(q.want), "Problem": BeNil()}))
				s.g.Expect(mended.GoodSince).To(Equal(s.rig.clock.Now()))
			})
		}
	}
}
