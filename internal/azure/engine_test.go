// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	. "github.com/onsi/gomega/gstruct"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const otherSubscription = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"

// withOtherSubscription gives the default service principal a second subscription.
func withOtherSubscription(c *simulated.Config) {
	c.Subscriptions = append(c.Subscriptions, simulated.Subscription{
		ID: otherSubscription, TenantID: simulated.DefaultTenantID, Providers: []string{ProviderNamespace},
	})
	c.ResourceGroups = append(c.ResourceGroups, simulated.ResourceGroup{SubscriptionID: otherSubscription, Name: rgName, Location: "westus"})
	c.RoleAssignments = append(c.RoleAssignments, simulated.Contributor(simulated.DefaultClientID, "/subscriptions/"+otherSubscription))
}

func inOtherSubscription(t *Target) { t.SubscriptionID = otherSubscription }

func ofTheGovernment(t *Target) {
	t.Cloud, t.TenantID, t.ClientID = v1alpha1.CloudUSGovernment, simulated.DefaultGovernmentTenantID, simulated.DefaultGovernmentClientID
	t.SubscriptionID = simulated.DefaultGovernmentSubscriptionID
}

// idle lets what is due happen, until nothing is under way.
func (s *stock) idle() {
	s.g.Eventually(func(g Gomega) {
		s.rig.clock.Step(0)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.entries {
			g.Expect(e.running).To(BeFalse(), e.key)
			g.Expect(e.due).To(BeTemporally(">", s.rig.clock.Now()), e.key)
		}
	}).Should(Succeed())
}

// soonest returns in how much time the next question is asked.
func (s *stock) soonest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var soonest time.Duration
	for _, e := range s.entries {
		if wait := e.due.Sub(s.rig.clock.Now()); soonest == 0 || wait < soonest {
			soonest = wait
		}
	}
	return soonest
}

// pass lets time pass, and happen what is due.
func (s *stock) pass(d time.Duration) {
	for d > 0 {
		step := min(d, 5*time.Second)
		s.rig.clock.Step(step)
		s.idle()
		d -= step
	}
}

// askAll asks all that a connector asks.
func (s *stock) askAll(connector string, of Target) map[string]Answer[any] {
	answers := map[string]Answer[any]{}
	for name, q := range inquiries {
		answers[name] = q.ask(s.Inventory, connector, of)
	}
	return answers
}

func TestManyConnectorsAskAsMuchAsOne(t *testing.T) {
	asked := map[int][3]map[string]int{}
	for _, connectors := range []int{1, 50} {
		s := newStock(t)
		s.start(t)
		names := []string{}
		everybody := func() {
			for i := range connectors {
				name := fmt.Sprintf("connector-%02d", i)
				s.askAll(name, target())
				s.List(name, target(), time.Time{})
				s.Sweep(name)
			}
		}
		// Whether the first token is asked for by who looks at it or by who needs it is a matter of chance.
		s.Token("connector-00", target().Credential)
		s.idle()
		s.takeTold()
		for i := range connectors {
			names = append(names, fmt.Sprintf("connector-%02d", i))
		}
		var rounds [3]map[string]int
		everybody()
		s.idle()
		rounds[0] = s.Requests()
		s.g.Eventually(func() []string { return slices.Compact(s.toldTo()) }).Should(Equal(names))
		for round, wait := range []time.Duration{refreshInterval * 11 / 10, refreshInterval - time.Second} {
			everybody()
			s.rig.clock.Step(wait)
			s.idle()
			rounds[round+1] = s.Requests()
		}
		asked[connectors] = rounds
		t.Logf("%d connectors: at first %v, after %s %v", connectors, rounds[0], refreshInterval*11/10, rounds[1])
		s.g.Expect(rounds[2]).To(Equal(rounds[1]), "a refresh is not due sooner")
	}
	g := NewWithT(t)
	g.Expect(asked[50][1]).To(Equal(asked[1][1]))
	for operation, count := range asked[1][1] {
		g.Expect(count).To(Equal(2), operation)
	}
}

func TestNoSubscriptionIsAskedMoreThanOnceASecond(t *testing.T) {
	const groups = 100
	s := newStock(t, func(c *simulated.Config) {
		for i := range groups {
			c.ResourceGroups = append(c.ResourceGroups, simulated.ResourceGroup{
				SubscriptionID: subscription, Name: fmt.Sprintf("group-%d", i), Location: "eastus",
			})
		}
	}, withOtherSubscription)
	s.start(t)
	for i := range groups {
		s.ResourceGroup(alice, target(func(t *Target) { t.ResourceGroup = fmt.Sprintf("group-%d", i) }))
	}
	s.ResourceGroup(alice, target(inOtherSubscription))
	s.idle()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		wait, want := e.due.Sub(s.rig.clock.Now()), groups*perQuestion
		if e.subscriptionID == otherSubscription {
			want = refreshInterval
		}
		s.g.Expect(wait).To(And(BeNumerically(">=", want), BeNumerically("<=", want*11/10)), e.subscriptionID)
	}
}

func TestAWatcherIsToldOnlyOfNews(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.askAll(alice, target())
	s.idle()
	s.g.Eventually(s.toldTo).Should(HaveLen(len(inquiries)))
	s.takeTold()
	s.pass(3 * refreshInterval)
	s.g.Expect(s.takeTold()).To(BeEmpty(), "the same answers")
	changed := s.askAll(alice, target())["Rights"].ChangedAt

	s.askAll(bob, target())
	s.g.Expect(s.SetDenyAssignments(groupScope, simulated.DenyAssignment{Name: "lockdown", Scope: groupScope, Actions: []string{"*/delete"}})).To(Succeed())
	s.pass(refreshInterval * 11 / 10)
	s.g.Eventually(s.toldTo).Should(Equal([]string{alice, bob}))
	rights := s.askAll(alice, target())["Rights"]
	s.g.Expect(rights.Value).To(Equal(Rights{DeniedBy: "lockdown"}))
	s.g.Expect(rights.ChangedAt).To(BeTemporally(">", changed))
	s.g.Expect(rights.GoodSince).To(Equal(changed))
}

func TestTheSameProblemIsNoNews(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.fault(t, simulated.Fault{Operation: "*", Scope: subscriptionScope, Status: http.StatusServiceUnavailable})
	s.askAll(alice, target())
	s.idle()
	s.g.Eventually(s.toldTo).Should(HaveLen(len(inquiries)))
	s.takeTold()
	s.pass(3 * refreshInterval)
	s.g.Expect(s.takeTold()).To(BeEmpty())

	s.ClearFaults()
	s.fault(t, simulated.Fault{Operation: "*", Scope: subscriptionScope, Status: http.StatusTooManyRequests})
	s.pass(lastRetry * 11 / 10)
	s.g.Eventually(s.toldTo).Should(HaveLen(len(inquiries)-1), "another problem is, and Microsoft Entra has none")
	s.takeTold()
}

func TestOneSubscriptionsSilenceHoldsUpNoOthers(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.fault(t, simulated.Fault{Operation: "*", Scope: subscriptionScope, Delay: time.Hour})
	for i := range 2 * inFlight {
		s.ResourceGroup(alice, target(func(t *Target) { t.ResourceGroup = fmt.Sprintf("group-%d", i) }))
	}
	s.g.Eventually(func() int { s.rig.clock.Step(0); return s.Requests()["ResourceGroups.Get"] }).Should(Equal(inFlight), "the others wait for their turn")

	for range 3 {
		s.g.Eventually(func() bool {
			s.rig.clock.Step(0)
			answer := s.ResourceGroup(bob, target(ofTheGovernment))
			return answer.Have && answer.AskedAt.Equal(s.rig.clock.Now())
		}).Should(BeTrue())
		s.rig.clock.Step(refreshInterval * 11 / 10)
	}
	s.g.Eventually(func() *Problem {
		s.rig.clock.Step(0)
		return s.ResourceGroup(bob, target(func(t *Target) { t.SubscriptionID = otherTenant })).Problem
	}).Should(HaveField("Reason", v1alpha1.ReasonSubscriptionNotFound), "with the same credential, of another subscription")
	s.g.Expect(s.Requests()["ResourceGroups.Get"]).To(BeNumerically("<=", inFlight+5))
	s.g.Eventually(func(g Gomega) {
		for i := range 2 * inFlight {
			problem := s.ResourceGroup(alice, target(func(t *Target) { t.ResourceGroup = fmt.Sprintf("group-%d", i) })).Problem
			g.Expect(problem).NotTo(BeNil())
			g.Expect(problem.Message).To(HavePrefix("Azure takes long to answer for resource group group-"))
		}
	}).Should(Succeed(), "whether they wait for Azure or for their turn")
}

func TestAThrottledQuestionHoldsTheOthersOfItsSubscription(t *testing.T) {
	s := newStock(t, withOtherSubscription)
	s.start(t)
	ask := func() (held, free map[string]time.Time) {
		listing, _ := s.List(alice, target(), time.Time{})
		mine := target().Credential
		return map[string]time.Time{
				"region":   s.Region(alice, mine, subscription, "eastus").AskedAt,
				"rights":   s.Rights(alice, target()).AskedAt,
				"group":    s.ResourceGroup(alice, target()).AskedAt,
				"provider": s.Provider(alice, mine, subscription, true).AskedAt,
				"listing":  listing.AskedAt,
			}, map[string]time.Time{
				"token":    s.Token(alice, mine).AskedAt,
				"provider": s.Provider(alice, mine, otherSubscription, true).AskedAt,
				"group":    s.ResourceGroup(alice, target(inOtherSubscription)).AskedAt,
			}
	}
	ask()
	s.idle()
	group := s.plant(t, "node", "web", "uid")
	s.fault(t, simulated.Fault{Operation: "Location.Capabilities", Status: http.StatusTooManyRequests, RetryAfter: 90 * time.Second, Times: 1})
	s.rig.clock.Step(refreshInterval * 11 / 10)
	s.idle()
	held, free := ask()
	throttled := s.rig.clock.Now()
	s.g.Expect(s.Region(alice, target().Credential, subscription, "eastus").Problem.RetryAfter).To(Equal(90 * time.Second))
	s.g.Expect(s.Region(alice, target().Credential, subscription, "eastus").Have).To(BeTrue())

	s.List(alice, target(), throttled.Add(time.Second))
	s.Provider(alice, target().Credential, subscription, false)
	s.Delete(alice, target(), group, agree)
	s.pass(90*time.Second - time.Nanosecond)
	stillHeld, notHeld := ask()
	s.g.Expect(stillHeld).To(Equal(held))
	s.g.Expect(s.Provider(alice, target().Credential, subscription, false).Known()).To(BeFalse(), "nor is what was never asked")
	s.g.Expect(s.Requests()).NotTo(HaveKey("ContainerGroups.Get"), "nor is anything deleted")
	for name, at := range notHeld {
		s.g.Expect(at).To(BeTemporally(">", free[name]), name)
	}

	s.takeTold()
	s.rig.clock.Step(time.Nanosecond)
	s.idle()
	after, _ := ask()
	for name, at := range after {
		s.g.Expect(at).To(Equal(throttled.Add(90*time.Second)), name)
	}
	s.g.Eventually(s.toldTo).Should(ContainElement(alice), "who wanted to delete decides anew")
	s.Delete(alice, target(), group, agree)
	s.g.Eventually(s.left).Should(BeEmpty())
}

func TestAnExpiredSecretIsToldThoughATokenHolds(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.g.Expect(s.SetClientSecret(simulated.DefaultClientID, simulated.DefaultClientSecret, s.rig.clock.Now().Add(10*time.Second))).To(Succeed())
	s.askAll(alice, target())
	s.idle()
	for name, answer := range s.askAll(alice, target()) {
		s.g.Expect(answer.Problem).To(BeNil(), name)
	}
	s.g.Eventually(s.toldTo).Should(HaveLen(len(inquiries)))
	s.takeTold()

	s.rig.clock.Step(44 * time.Second)
	s.idle()
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
	for name, answer := range s.askAll(alice, target()) {
		s.g.Expect(answer.AskedAt).To(Equal(s.rig.clock.Now()), name)
		if name == "Token" {
			s.g.Expect(answer.Problem).To(PointTo(MatchFields(IgnoreExtras, Fields{"Reason": Equal(v1alpha1.ReasonSecretExpired), "Proven": BeTrue()})))
			continue
		}
		s.g.Expect(answer.Problem).To(BeNil(), "%s: Azure takes the token until it ends", name)
	}
}

func TestAMendedSecretHasAllAskedAgain(t *testing.T) {
	s := newStock(t)
	s.start(t)
	next := target(func(t *Target) { t.ClientSecret = "next-client-secret" })
	ask := func() map[string]Answer[any] {
		answers := map[string]Answer[any]{}
		for name, q := range inquiries {
			if name != "Token" {
				answers[name] = q.ask(s.Inventory, alice, next)
			}
		}
		return answers
	}
	ask()
	s.idle()
	for range 3 {
		s.rig.clock.Step(lastRetry * 11 / 10)
		s.idle()
	}
	for name, answer := range ask() {
		s.g.Expect(answer.Problem.Reason).To(Equal(v1alpha1.ReasonCredentialsRejected), name)
	}
	s.Token(alice, next.Credential)
	s.idle()
	s.takeTold()
	tokens := s.Requests()["Token"]

	s.g.Expect(s.SetClientSecret(simulated.DefaultClientID, "next-client-secret", time.Time{})).To(Succeed())
	s.rig.clock.Step(firstRetry * 11 / 10)
	s.idle()
	for name, answer := range ask() {
		s.g.Expect(answer.Problem).To(BeNil(), name)
		s.g.Expect(answer.AskedAt).To(Equal(s.rig.clock.Now()), name)
	}
	s.g.Expect(s.Requests()).To(HaveKeyWithValue("Token", tokens+1), "one asks Microsoft Entra for all")
	s.g.Eventually(s.toldTo).Should(HaveLen(len(inquiries)))
}

func TestARefusedSecretIsTriedByOneQuestion(t *testing.T) {
	s := newStock(t)
	s.start(t)
	wrong := target(func(t *Target) { t.ClientSecret = "wrong-client-secret" })
	s.Token(alice, wrong.Credential)
	s.idle()
	s.askAll(alice, wrong)
	s.idle()
	s.g.Expect(s.Requests()).To(HaveKeyWithValue("Token", 1))
	s.pass(5 * lastRetry)
	s.g.Expect(s.Requests()["Token"]).To(BeNumerically("<=", 8), "in 200 seconds: after 5, 10, 20 and then 40 each")
	for name, answer := range s.askAll(alice, wrong) {
		s.g.Expect(answer.Problem.Reason).To(Equal(v1alpha1.ReasonCredentialsRejected), name)
	}
	s.g.Expect(s.Requests()).To(HaveLen(3), "only tokens, and what leads to them: %v", s.Requests())
}

// Whoever asks right before the end of the wait that Microsoft Entra wanted is told of the same refusal, and
// shall not wait as long again.
func TestAThrottledTokenIsWaitedForOnce(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.fault(t, simulated.Fault{Operation: "Token", Status: http.StatusTooManyRequests, RetryAfter: 40 * time.Second, For: 39 * time.Second})
	s.Token(alice, target().Credential)
	s.idle()
	s.rig.clock.Step(35 * time.Second)
	s.askAll(alice, target())
	s.idle()
	for name, answer := range s.askAll(alice, target()) {
		s.g.Expect(answer.Problem.Reason).To(Equal(v1alpha1.ReasonThrottled), name)
	}
	s.g.Expect(s.Requests()).To(HaveKeyWithValue("Token", 1))
	s.rig.clock.Step(5*time.Second + firstRetry/10)
	s.idle()
	for name, answer := range s.askAll(alice, target()) {
		s.g.Expect(answer.Problem).To(BeNil(), name)
	}
}

func TestASilentTokenEndpointHoldsUpNobodyWhoHasAToken(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.askAll(alice, target())
	s.idle()
	tokens := s.Requests()["Token"]
	s.fault(t, simulated.Fault{Operation: "Token", Delay: time.Hour})
	s.rig.clock.Step(refreshInterval * 11 / 10)
	s.g.Eventually(func(g Gomega) {
		s.rig.clock.Step(0)
		for name, answer := range s.askAll(alice, target()) {
			if name != "Token" {
				g.Expect(answer.AskedAt).To(Equal(s.rig.clock.Now()), name)
			}
		}
		g.Expect(s.Requests()["Token"]).To(Equal(tokens + 1))
	}).Should(Succeed())
	s.rig.clock.Step(answerPatience)
	s.g.Eventually(func() *Problem { return s.Token(alice, target().Credential).Problem }).Should(PointTo(Equal(Problem{
		Reason: v1alpha1.ReasonAzureUnavailable, Message: "Azure takes long to answer for a token of " + me,
	})))
}

func TestNoSecretIsSaidOrKept(t *testing.T) {
	const secret = "wrong-client-secret"
	for trouble, fault := range faults {
		t.Run(trouble, func(t *testing.T) {
			t.Parallel()
			s := newStock(t)
			s.start(t)
			for _, operation := range []string{"Token", "*"} {
				fault.Operation = operation
				s.fault(t, fault)
			}
			for _, of := range []Target{target(), target(func(t *Target) { t.ClientSecret = secret })} {
				s.askAll(alice, of)
				s.idle()
				for name, answer := range s.askAll(alice, of) {
					if answer.Problem == nil {
						s.g.Expect(answer.Known()).To(BeFalse(), "%s is held back", name)
						continue
					}
					s.g.Expect(fmt.Sprintf("%+v %+v", answer, *answer.Problem)).NotTo(ContainSubstring(of.ClientSecret), name)
				}
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for key := range maps.Keys(s.entries) {
				s.g.Expect(strings.ToLower(key)).NotTo(Or(ContainSubstring(secret), ContainSubstring(simulated.DefaultClientSecret)))
			}
			for _, keys := range [][]string{slices.Collect(maps.Keys(s.sessions)), slices.Collect(maps.Keys(s.holds))} {
				s.g.Expect(strings.ToLower(fmt.Sprint(keys))).NotTo(Or(ContainSubstring(secret), ContainSubstring(simulated.DefaultClientSecret)))
			}
		})
	}
}

func TestSweepForgetsSessionsAndHolds(t *testing.T) {
	s := newStock(t, withOtherSubscription)
	s.start(t)
	s.fault(t, simulated.Fault{Operation: "ResourceGroups.Get", Scope: subscriptionScope, Status: http.StatusTooManyRequests, RetryAfter: time.Hour})
	s.askAll(alice, target())
	s.askAll(bob, target(ofTheGovernment))
	s.ResourceGroup(bob, target(inOtherSubscription))
	s.idle()
	s.g.Expect(s.sessions).To(HaveLen(2))
	s.g.Expect(s.holds).To(HaveLen(1))

	s.Sweep(alice)
	s.Sweep(alice)
	s.g.Expect(s.sessions).To(HaveLen(2), "bob uses it, too")
	s.Sweep(bob)
	s.ResourceGroup(bob, target(ofTheGovernment))
	s.Sweep(bob)
	s.g.Expect(s.entries).To(HaveLen(1))
	s.g.Expect(s.sessions).To(HaveLen(1))
	s.g.Expect(s.holds).To(BeEmpty())
	s.Sweep(bob)
	s.g.Expect(s.entries).To(BeEmpty())
	s.g.Expect(s.sessions).To(BeEmpty())
	s.g.Expect(s.rig.clock.HasWaiters()).To(BeFalse())
}

func TestSweepForgetsTheSessionOfARequestUnderWay(t *testing.T) {
	s := newStock(t)
	s.start(t)
	group := s.plant(t, "node", "web", "uid")
	s.fault(t, simulated.Fault{Operation: "ContainerGroups.Get", Status: http.StatusTooManyRequests, RetryAfter: time.Hour, Delay: time.Minute, Times: 1})
	s.fault(t, simulated.Fault{Operation: "ResourceGroups.Get", Delay: time.Minute, Times: 1})
	s.Delete(alice, target(), group, agree)
	s.ResourceGroup(alice, target())
	s.g.Eventually(func() map[string]int { s.rig.clock.Step(0); return s.Requests() }).Should(
		And(HaveKey("ContainerGroups.Get"), HaveKey("ResourceGroups.Get")))
	s.Sweep(alice)
	s.Sweep(alice)
	s.g.Expect(s.entries).To(BeEmpty())
	s.rig.clock.Step(time.Minute)
	s.g.Eventually(s.rig.clock.HasWaiters).Should(BeFalse())
	s.g.Eventually(func(g Gomega) {
		s.mu.Lock()
		defer s.mu.Unlock()
		g.Expect(s.sessions).To(BeEmpty())
		g.Expect(s.holds).To(BeEmpty())
	}).Should(Succeed())
}

// TestQuestionsUnderLoad is for the race detector.
func TestQuestionsUnderLoad(t *testing.T) {
	s := newStock(t, withOtherSubscription)
	s.start(t)
	targets := []Target{
		target(), target(inOtherSubscription), target(ofTheGovernment),
		target(func(t *Target) { t.ClientSecret = "wrong-client-secret" }), target(func(t *Target) { t.TenantID = otherTenant }),
	}
	var connectors sync.WaitGroup
	for i := range 8 {
		connectors.Go(func() {
			connector := fmt.Sprintf("connector-%d", i)
			for round := range 40 {
				for name, answer := range s.askAll(connector, targets[(i+round)%len(targets)]) {
					if answer.Problem != nil && answer.Problem.Message == "" {
						t.Errorf("%s: a problem without a message", name)
					}
				}
				s.rig.clock.Step(time.Second)
				s.Sweep(connector)
			}
		})
	}
	connectors.Wait()
	s.g.Eventually(func() *Problem {
		s.rig.clock.Step(time.Second)
		return s.Token(alice, targets[3].Credential).Problem
	}).Should(PointTo(HaveField("Reason", v1alpha1.ReasonCredentialsRejected)))
}
