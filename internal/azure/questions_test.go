// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"maps"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	. "github.com/onsi/gomega/gstruct"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// requests are all that Azure has had.
func (s *stock) requests() int {
	sum := 0
	for _, count := range s.Requests() {
		sum += count
	}
	return sum
}

func TestSilenceIsToldAndTheAnswerTaken(t *testing.T) {
	for question, q := range inquiries {
		for _, first := range []bool{true, false} {
			name := question + "/a later answer"
			if first {
				name = question + "/the first answer"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newStock(t)
				s.start(t)
				ask := func() Answer[any] { return q.ask(s.Inventory, alice, target()) }
				if !first {
					ask()
					s.idle()
					s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
				}
				good, before := ask(), s.requests()
				s.fault(t, simulated.Fault{Operation: q.operation, Delay: time.Minute, Times: 1})
				s.rig.clock.Step(s.soonest())
				asked := s.rig.clock.Now()
				s.g.Eventually(func() int { s.rig.clock.Step(0); return s.rig.clock.Waiters() }).Should(Equal(2), "Azure's delay, and that it takes long")
				s.rig.clock.Step(answerPatience - time.Second)
				s.g.Expect(ask()).To(Equal(good))
				s.rig.clock.Step(time.Second)
				s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
				silent := ask()
				s.g.Expect(silent.Problem).To(PointTo(Equal(Problem{
					Reason: v1alpha1.ReasonAzureUnavailable, Message: "Azure takes long to answer for " + q.name,
				})))
				s.g.Expect(silent.Known()).To(BeTrue())
				s.g.Expect(silent.Have).To(Equal(!first), "what was known is kept")
				s.g.Expect([]any{silent.Value}).To(Equal([]any{good.Value}))
				s.g.Expect(s.requests()).To(BeNumerically(">", before), "it is asked once, and goes on")

				s.rig.clock.Step(time.Minute - answerPatience)
				s.idle()
				s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
				s.g.Expect(ask()).To(MatchFields(IgnoreExtras, Fields{
					"Have": BeTrue(), "Value": Equal(q.want), "Problem": BeNil(), "AskedAt": Equal(asked),
				}))
			})
		}
	}
}

// A question that takes long each time is not told as silent each time.
func TestASlowAzureIsNoNews(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.fault(t, simulated.Fault{Operation: "Providers.Get", Delay: 20 * time.Second})
	s.Provider(alice, target().Credential, subscription, false)
	for range 3 {
		s.g.Eventually(func() int { s.rig.clock.Step(0); return s.rig.clock.Waiters() }).Should(Equal(2))
		s.rig.clock.Step(answerPatience)
		if !s.Provider(alice, target().Credential, subscription, false).Have {
			s.g.Eventually(s.takeTold).Should(Equal([]string{alice}), "that it takes long")
		}
		s.rig.clock.Step(5 * time.Second)
		s.idle()
		s.rig.clock.Step(s.soonest())
	}
	s.g.Expect(s.takeTold()).To(Equal([]string{alice}), "the first answer")
	s.g.Expect(s.Provider(alice, target().Credential, subscription, false).Problem).To(BeNil())
}

// TestWhatAzureSays are the codes of Azure's that mean something by themselves.
func TestWhatAzureSays(t *testing.T) {
	absent := "subscription " + subscription + " does not exist in the tenant of the credentials, or is not visible to them: check "
	denied := "Azure forbids " + me + " to use "
	proven := func(reason, message string) Problem {
		return Problem{Reason: reason, Proven: true, Message: message}
	}
	for question, q := range inquiries {
		if question == "Token" {
			continue
		}
		field, namespace, register := containerGroupsField, ProviderNamespace, ", or set spec.providerRegistration to Register"
		switch question {
		case "ManagedCluster":
			field, namespace, register = managedClusterField, "Microsoft.ContainerService", ""
		case "Subnet":
			namespace, register = "Microsoft.Network", ""
		}
		proves := question == "ManagedCluster" || question == "ResourceGroup" || question == "Rights"
		for code, test := range map[string]struct {
			status int
			want   Problem
		}{
			"SubscriptionNotFound":  {http.StatusNotFound, proven(v1alpha1.ReasonSubscriptionNotFound, absent+field)},
			"InvalidSubscriptionId": {http.StatusBadRequest, proven(v1alpha1.ReasonSubscriptionNotFound, absent+field)},
			"ReadOnlyDisabledSubscription": {http.StatusConflict, proven(v1alpha1.ReasonSubscriptionDisabled,
				"subscription "+subscription+" is disabled (ReadOnlyDisabledSubscription): enable it, or set another "+field)},
			"MissingSubscriptionRegistration": {http.StatusConflict, proven(v1alpha1.ReasonProviderNotRegistered,
				"resource provider "+namespace+" is not registered in subscription "+subscription+
					": az provider register --namespace "+namespace+" --subscription "+subscription+register)},
			"DenyAssignmentAuthorizationFailed": {http.StatusForbidden, Problem{Reason: v1alpha1.ReasonDenied, Proven: proves, Message: denied + q.name +
				" (DenyAssignmentAuthorizationFailed): check the deny assignments, policies and locks there"}},
			"ScopeLocked": {http.StatusConflict, Problem{Reason: v1alpha1.ReasonDenied, Proven: proves, Message: denied + q.name +
				" (ScopeLocked): check the deny assignments, policies and locks there"}},
			"SomethingElse": {http.StatusForbidden, Problem{Proven: proves, Message: denied + q.name +
				" (SomethingElse): check the policies, deny assignments and locks there"}},
			"NeverHeardOf": {http.StatusBadRequest, Problem{
				Reason: v1alpha1.ReasonAzureUnavailable, Message: "Azure answered 400 NeverHeardOf for " + q.name,
			}},
		} {
			t.Run(question+"/"+code, func(t *testing.T) {
				t.Parallel()
				s := newStock(t)
				s.start(t)
				s.fault(t, simulated.Fault{Operation: q.operation, Status: test.status, Code: code})
				q.ask(s.Inventory, alice, target())
				s.idle()
				problem := q.ask(s.Inventory, alice, target()).Problem
				s.g.Expect(problem).NotTo(BeNil())
				if code == "SomethingElse" {
					s.g.Expect(problem.Reason).To(Equal(q.forbiddenReason()))
					test.want.Reason = problem.Reason
				}
				s.g.Expect(*problem).To(Equal(test.want))
			})
		}
	}
}

func (q inquiry) forbiddenReason() string { return q.special[forbidden].Reason }

// An empty answer is a proxy's, and must not pass for a resource group without container groups.
func TestEmptyAnswersAreNotAzures(t *testing.T) {
	ask := maps.Clone(inquiries)
	maps.DeleteFunc(ask, func(name string, _ inquiry) bool {
		return name != "ManagedCluster" && name != "ResourceGroup" && name != "Provider"
	})
	ask["List"] = inquiry{operation: "ContainerGroups.List", name: place, ask: func(i *Inventory, connector string, of Target) Answer[any] {
		listing, _ := i.List(connector, of, time.Time{})
		return Answer[any]{Problem: listing.Problem}
	}}
	for question, q := range ask {
		for _, body := range []string{"{}", "null", `{"status": "blocked"}`} {
			t.Run(question+"/"+body, func(t *testing.T) {
				s := newStock(t)
				s.start(t)
				s.fault(t, simulated.Fault{Operation: q.operation, Status: http.StatusOK, Body: body})
				q.ask(s.Inventory, alice, target())
				s.idle()
				s.g.Expect(q.ask(s.Inventory, alice, target()).Problem).To(PointTo(Equal(problemOf(q.name)["garbage"])))
			})
		}
	}
}

func TestSubnetsThatAreNotThere(t *testing.T) {
	for name, ref := range map[string]SubnetRef{
		"the subnet":         subnetRef("missing"),
		"the network":        {Network: VirtualNetworkRef{ResourceGroup: rgName, Name: "missing"}, Name: "free"},
		"the resource group": {Network: VirtualNetworkRef{ResourceGroup: "missing", Name: "virtual-nodes"}, Name: "free"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStock(t)
			s.start(t)
			s.Subnet(alice, target().Credential, subscription, ref)
			s.idle()
			s.g.Expect(s.Subnet(alice, target().Credential, subscription, ref).Problem).To(PointTo(Equal(Problem{
				Reason: v1alpha1.ReasonSubnetNotFound, Proven: true,
				Message: "subnet " + ref.Name + " of virtual network " + ref.Network.Name + " in resource group " + ref.Network.ResourceGroup +
					" does not exist: check spec.network.subnet, or az network vnet subnet create --subscription " + subscription +
					" --resource-group " + ref.Network.ResourceGroup + " --vnet-name " + ref.Network.Name + " --name " + ref.Name +
					" --delegations Microsoft.ContainerInstance/containerGroups --address-prefixes PREFIX",
			})))
		})
	}
}

func TestAManagedClusterThatComesBack(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.g.Expect(s.DeleteManagedCluster(subscription, "clusters", "cluster")).To(Succeed())
	ask := func() Answer[ManagedCluster] { return s.ManagedCluster(alice, target().Credential, clusterRef) }
	ask()
	s.idle()
	s.g.Expect(ask().Problem.Reason).To(Equal(v1alpha1.ReasonManagedClusterNotFound))
	s.g.Expect(s.SetManagedCluster(simulated.DefaultConfig().ManagedClusters[0])).To(Succeed())
	s.rig.clock.Step(s.soonest())
	s.idle()
	s.g.Expect(ask().Value).To(Equal(defaultCluster()))
}

func TestInventoryRegistersTheProvider(t *testing.T) {
	s := newStock(t)
	timing := simulated.DefaultConfig().Timing
	timing.ProviderRegistering = 20 * time.Second
	s.SetTiming(timing)
	s.g.Expect(s.SetProvider(subscription, ProviderNamespace, false)).To(Succeed())
	s.start(t)
	ask := func(register bool) Answer[Provider] {
		return s.Provider(alice, target().Credential, subscription, register)
	}

	ask(false)
	s.idle()
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
	s.g.Expect(ask(false).Value.State).To(BeEquivalentTo("NotRegistered"))
	s.g.Expect(s.Requests()).NotTo(HaveKey("Providers.Register"), "nobody has asked for it")
	s.Sweep(alice)
	s.Sweep(alice)

	ask(true)
	s.idle()
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
	s.g.Expect(ask(true).Value.State).To(Equal(ProviderRegistering))
	for _, wait := range []time.Duration{firstRetry, 2 * firstRetry} {
		s.g.Expect(s.soonest()).To(And(BeNumerically(">=", wait), BeNumerically("<=", wait*11/10)))
		s.rig.clock.Step(s.soonest())
		s.idle()
		s.g.Expect(ask(true).Value.State).To(Equal(ProviderRegistering))
	}
	s.g.Expect(s.takeTold()).To(BeEmpty(), "nothing has changed")
	s.rig.clock.Step(s.soonest())
	s.idle()
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
	s.g.Expect(ask(true).Value.State).To(Equal(ProviderRegistered))
	s.g.Expect(s.soonest()).To(BeNumerically(">=", refreshInterval))
	s.g.Expect(s.Requests()).To(HaveKeyWithValue("Providers.Register", 1))

	s.g.Expect(s.SetProvider(subscription, ProviderNamespace, false)).To(Succeed())
	s.rig.clock.Step(s.soonest())
	s.idle()
	s.g.Expect(ask(true).Value.State).To(Equal(ProviderRegistering), "it is registered again")
}

func TestRegistrationsThatFail(t *testing.T) {
	notRegistered := func(why string) Problem {
		return Problem{Reason: v1alpha1.ReasonProviderNotRegistered, Proven: true, Message: "resource provider Microsoft.ContainerInstance is not registered, " +
			"and could not be: " + why}
	}
	throttled := notRegistered("Azure answered 429 TooManyRequests for resource provider Microsoft.ContainerInstance of subscription " + subscription)
	throttled.RetryAfter = 30 * time.Second
	unregistered := "resource provider Microsoft.ContainerInstance is not registered, and "
	name := "resource provider Microsoft.ContainerInstance of subscription " + subscription
	for trouble, test := range map[string]struct {
		fault simulated.Fault
		want  Problem
	}{
		"for want of a right": {
			want: Problem{Reason: v1alpha1.ReasonRegistrationForbidden, Proven: true, Message: unregistered + me +
				" may not register it: az provider register --namespace Microsoft.ContainerInstance --subscription " + subscription},
		},
		"for a throttled Azure": {
			fault: simulated.Fault{Status: http.StatusTooManyRequests, RetryAfter: 30 * time.Second},
			want:  throttled,
		},
		"for a proxy": {
			fault: simulated.Fault{Status: http.StatusForbidden, Body: "<html>"},
			want:  notRegistered(between + "403 Forbidden for " + name + checkProxies),
		},
		"for a cut connection": {
			fault: simulated.Fault{Drop: true},
			want:  notRegistered("Azure did not answer for " + name + ": " + unreachable),
		},
		"for a disabled subscription": {
			fault: simulated.Fault{Status: http.StatusConflict, Code: "ReadOnlyDisabledSubscription"},
			want: notRegistered("subscription " + subscription +
				" is disabled (ReadOnlyDisabledSubscription): enable it, or set another spec.containerGroups.subscriptionID"),
		},
	} {
		t.Run(trouble, func(t *testing.T) {
			s := newStock(t)
			s.start(t)
			s.g.Expect(s.SetProvider(subscription, ProviderNamespace, false)).To(Succeed())
			if test.fault == (simulated.Fault{}) {
				s.become(simulated.Reader)
			} else {
				test.fault.Operation = "Providers.Register"
				s.fault(t, test.fault)
			}
			ask := func() Answer[Provider] { return s.Provider(alice, target().Credential, subscription, true) }
			ask()
			s.idle()
			s.g.Expect(ask().Problem).To(PointTo(Equal(test.want)))
			s.g.Expect(ask().Have).To(BeFalse())

			s.ClearFaults()
			s.become(simulated.Contributor)
			s.rig.clock.Step(s.soonest())
			s.idle()
			s.g.Expect(ask().Value.State).To(Equal(ProviderRegistering))
		})
	}
}

// become gives the default service principal a role on the subscription in place of all that it has.
func (s *stock) become(role func(clientID, scope string) simulated.RoleAssignment) {
	s.g.Expect(s.SetRoleAssignments(simulated.DefaultClientID, role(simulated.DefaultClientID, subscriptionScope))).To(Succeed())
}

// What somebody may mend is asked again as often as what has failed.
func TestWhatMayBeMendedIsAskedSooner(t *testing.T) {
	mine := target().Credential
	for name, test := range map[string]struct {
		azure func(*testing.T, *stock)
		ask   func(*stock)
		mend  func(*testing.T, *stock)
	}{
		"rights": {
			azure: func(_ *testing.T, s *stock) { s.become(simulated.Reader) },
			ask:   func(s *stock) { s.Rights(alice, target()) },
			mend:  func(_ *testing.T, s *stock) { s.become(simulated.Contributor) },
		},
		"a deny assignment": {
			azure: func(t *testing.T, s *stock) {
				t.Helper()
				deny := simulated.DenyAssignment{Name: "deny", Scope: groupScope, Actions: []string{"*/write"}}
				NewWithT(t).Expect(s.SetDenyAssignments(groupScope, deny)).To(Succeed())
			},
			ask: func(s *stock) { s.Rights(alice, target()) },
			mend: func(t *testing.T, s *stock) {
				t.Helper()
				NewWithT(t).Expect(s.SetDenyAssignments(groupScope)).To(Succeed())
			},
		},
		"a provider": {
			azure: func(t *testing.T, s *stock) {
				t.Helper()
				NewWithT(t).Expect(s.SetProvider(subscription, ProviderNamespace, false)).To(Succeed())
			},
			ask: func(s *stock) { s.Provider(alice, mine, subscription, false) },
			mend: func(t *testing.T, s *stock) {
				t.Helper()
				NewWithT(t).Expect(s.SetProvider(subscription, ProviderNamespace, true)).To(Succeed())
			},
		},
		"a quota": {
			azure: func(t *testing.T, s *stock) {
				t.Helper()
				s.plant(t, "node", "web", "uid")
				s.SetQuota(simulated.Quota{ContainerGroups: 1})
			},
			ask:  func(s *stock) { s.Region(alice, mine, subscription, "eastus") },
			mend: func(_ *testing.T, s *stock) { s.SetQuota(simulated.Quota{}) },
		},
		"a route table": {
			azure: func(t *testing.T, s *stock) {
				t.Helper()
				s.addSubnet(t, simulated.Subnet{
					Name: "routed", AddressPrefix: "10.244.0.0/24", DelegatedTo: ContainerGroupDelegation, RouteTableID: "firewall",
				})
			},
			ask: func(s *stock) { s.Subnet(alice, mine, subscription, subnetRef("routed")) },
			mend: func(t *testing.T, s *stock) {
				t.Helper()
				s.addSubnet(t, simulated.Subnet{Name: "routed", AddressPrefix: "10.244.0.0/24", DelegatedTo: ContainerGroupDelegation})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStock(t)
			s.start(t)
			test.azure(t, s)
			test.ask(s)
			for _, wait := range []time.Duration{firstRetry, 2 * firstRetry, 4 * firstRetry, lastRetry, lastRetry} {
				s.idle()
				s.g.Expect(s.soonest()).To(And(BeNumerically(">=", wait), BeNumerically("<=", wait*11/10)))
				s.rig.clock.Step(s.soonest())
			}
			s.idle()
			test.mend(t, s)
			s.rig.clock.Step(s.soonest())
			s.idle()
			s.g.Expect(s.soonest()).To(BeNumerically(">=", refreshInterval))
			s.g.Eventually(s.toldTo).Should(Equal([]string{alice, alice}), "at first, and when it is mended")
			test.azure(t, s)
			s.rig.clock.Step(s.soonest())
			s.idle()
			s.g.Expect(s.soonest()).To(BeNumerically("<=", firstRetry*11/10), "it begins anew")
		})
	}
}
