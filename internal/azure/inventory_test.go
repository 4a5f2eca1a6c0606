// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	alice = "alice"
	bob   = "bob"
)

var agree = func(context.Context) (bool, error) { return true, nil }

// stock is an Inventory of a simulated Azure, with a clock that only the test moves, and what it told.
type stock struct {
	*rig
	*Inventory
	g Gomega

	toldMu sync.Mutex
	told   []string
	// reconcile is what a connector does when it is told; nil for nothing.
	reconcile func(connector string)
}

func newStock(t *testing.T, edit ...func(*simulated.Config)) *stock {
	t.Helper()
	s := &stock{rig: newRig(t, edit...), g: NewWithT(t)}
	s.g.SetDefaultEventuallyTimeout(30 * time.Second)
	s.Inventory = NewInventory(s.rig.connect, s.rig.clock, func(connector string) {
		s.toldMu.Lock()
		s.told = append(s.told, connector)
		reconcile := s.reconcile
		s.toldMu.Unlock()
		if reconcile != nil {
			reconcile(connector)
		}
	})
	return s
}

// start runs the inventory until the test ends.
func (s *stock) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		s.g.Eventually(ended).Should(Receive(BeNil()))
	})
	s.g.Eventually(func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.ctx != nil
	}).Should(BeTrue())
}

// takeTold returns who was told since the last call.
func (s *stock) takeTold() []string {
	s.toldMu.Lock()
	defer s.toldMu.Unlock()
	told := s.told
	s.told = nil
	slices.Sort(told)
	return told
}

// toldTo is who was told and not taken yet.
func (s *stock) toldTo() []string {
	s.toldMu.Lock()
	defer s.toldMu.Unlock()
	return slices.Sorted(slices.Values(s.told))
}

func (s *stock) lists() int { return s.Requests()["ContainerGroups.List"] }

// next returns in how much time Azure is asked about a target, and whether it is at all; false while a
// request runs.
func (s *stock) next(of Target) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[of.key()]
	if !ok || e.running || e.due.IsZero() {
		return 0, false
	}
	return e.due.Sub(s.rig.clock.Now()), true
}

// settle lets what is due happen, until Azure has been asked so often and nothing is under way.
func (s *stock) settle(lists int) {
	s.g.Eventually(func(g Gomega) {
		s.rig.clock.Step(0)
		g.Expect(s.lists()).To(Equal(lists))
		s.expectQuiet(g)
	}).Should(Succeed())
}

// expectQuiet expects that nothing is under way, or due.
func (s *stock) expectQuiet(g Gomega) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		g.Expect(e.running).To(BeFalse())
		g.Expect(e.due).To(BeTemporally(">", s.rig.clock.Now()))
		for name, asked := range e.deleting {
			g.Expect(asked).NotTo(BeZero(), name)
		}
	}
}

// step moves the clock to the next request about a target and returns how long that was.
func (s *stock) step(of Target) time.Duration {
	var wait time.Duration
	s.g.Eventually(func() (ok bool) {
		wait, ok = s.next(of)
		return ok
	}).Should(BeTrue())
	s.rig.clock.Step(wait)
	return wait
}

func TestInventoryTellsTheFirstAnswer(t *testing.T) {
	s := newStock(t)
	s.plant(t, "node", "web", "uid")
	s.start(t)

	_, known := s.List(alice, target(), time.Time{})
	s.g.Expect(known).To(BeFalse())
	asked := s.rig.clock.Now()
	s.settle(1)
	s.g.Eventually(s.toldTo).Should(Equal([]string{alice}))

	listing, known := s.List(alice, target(), time.Time{})
	s.g.Expect(known).To(BeTrue())
	s.g.Expect(listing.Problem).To(BeNil())
	s.g.Expect(listing.AskedAt).To(Equal(asked))
	s.g.Expect(listing.GoodSince).To(Equal(asked))
	s.g.Expect(listing.OfNode("node")).To(HaveLen(1))
	s.g.Expect(listing.OfNode("other")).To(BeEmpty())
}

func TestInventoryAsksOnceForAll(t *testing.T) {
	s := newStock(t)
	s.start(t)
	for range 10 {
		s.List(alice, target(), time.Time{})
		s.List(bob, target(func(t *Target) { t.ResourceGroup = "VIRTUAL-NODES" }), time.Time{})
	}
	s.settle(1)
	s.g.Eventually(s.toldTo).Should(Equal([]string{alice, bob}))
	for range 10 {
		_, known := s.List(alice, target(), time.Time{})
		s.g.Expect(known).To(BeTrue())
	}
	s.settle(1)

	s.List(alice, target(func(t *Target) { t.ResourceGroup = "virtual-nodes-westus" }), time.Time{})
	s.settle(2)
}

func TestInventoryRemembersWhatWasAskedBeforeItsStart(t *testing.T) {
	s := newStock(t)
	_, known := s.List(alice, target(), time.Time{})
	s.g.Expect(known).To(BeFalse())
	s.rig.clock.Step(time.Hour)
	s.g.Expect(s.lists()).To(BeZero())
	s.Delete(alice, target(), s.plant(t, "node", "web", "uid"), agree)

	s.start(t)
	s.settle(1)
	s.g.Eventually(s.toldTo).Should(Equal([]string{alice}))
	s.g.Expect(s.left()).To(ConsistOf("default-web"), "only a leader deletes")
}

func TestInventoryRefreshesInTheBackground(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.List(alice, target(), time.Time{})
	s.settle(1)
	first, _ := s.List(alice, target(), time.Time{})
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))

	s.plant(t, "node", "web", "uid")
	s.g.Expect(s.step(target())).To(And(BeNumerically(">=", refreshInterval), BeNumerically("<=", refreshInterval*6/5)))
	s.settle(2)
	second, known := s.List(alice, target(), time.Time{})
	s.g.Expect(known).To(BeTrue())
	s.g.Expect(second.Groups).To(HaveLen(1))
	s.g.Expect(second.GoodSince).To(Equal(first.GoodSince))
	s.g.Expect(second.AskedAt).To(BeTemporally(">", first.AskedAt))
	s.g.Expect(s.toldTo()).To(BeEmpty(), "container groups come and go; nobody waits for them")
}

func TestInventoryAnswersNothingOlderThanAskedFor(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.List(alice, target(), time.Time{})
	s.settle(1)
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))

	s.rig.clock.Step(time.Minute)
	since := s.rig.clock.Now()
	stale, known := s.List(alice, target(), since)
	s.g.Expect(known).To(BeFalse())
	s.g.Expect(stale.AskedAt).To(Equal(since.Add(-time.Minute)), "what is known comes with it")
	s.settle(2)
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
	fresh, known := s.List(alice, target(), since)
	s.g.Expect(known).To(BeTrue())
	s.g.Expect(fresh.AskedAt).To(Equal(since))

	_, known = s.List(alice, target(), since.Add(3*time.Second))
	s.g.Expect(known).To(BeFalse())
	s.settle(2)
	s.g.Expect(s.step(target())).To(Equal(3*time.Second), "in the future Azure is asked then, and not before")
	s.settle(3)
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))
}

// An answer that was asked for before a moment says nothing of that moment, though it comes after it.
func TestInventoryDoesNotPassOffAnAnswerUnderWayAsNew(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.fault(t, simulated.Fault{Operation: "ContainerGroups.List", Delay: time.Minute, Times: 1})
	s.List(alice, target(), time.Time{})
	s.g.Eventually(func() int { s.rig.clock.Step(0); return s.lists() }).Should(Equal(1))

	s.rig.clock.Step(time.Second)
	since := s.rig.clock.Now()
	_, known := s.List(alice, target(), since)
	s.g.Expect(known).To(BeFalse())
	for _, news := range []string{"that it takes long", "the answer"} {
		s.g.Eventually(func() []string { s.rig.clock.Step(5 * time.Second); return s.takeTold() }).Should(ContainElement(alice), news)
	}
	_, known = s.List(alice, target(), since)
	s.g.Expect(known).To(BeFalse())
	s.settle(2)
	_, known = s.List(alice, target(), since)
	s.g.Expect(known).To(BeTrue())
}

func TestInventoryBacksOffAndRecovers(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.fault(t, simulated.Fault{Operation: "ContainerGroups.List", Status: http.StatusInternalServerError})
	s.List(alice, target(), time.Time{})
	s.List(bob, target(), time.Time{})

	for attempt, wait := range []time.Duration{
		firstRetry, 2 * firstRetry, 4 * firstRetry, 8 * firstRetry, lastRetry, lastRetry, lastRetry, lastRetry,
	} {
		s.settle(attempt + 1)
		listing, known := s.List(alice, target(), time.Time{})
		s.g.Expect(known).To(BeTrue(), "that there is no answer is one")
		s.g.Expect(listing.Problem.Reason).To(Equal(v1alpha1.ReasonAzureUnavailable))
		s.g.Expect(listing.GoodSince).To(BeZero())
		s.List(alice, target(), s.rig.clock.Now())
		s.g.Expect(s.step(target())).To(And(BeNumerically(">=", wait), BeNumerically("<=", wait*6/5)), "attempt %d", attempt)
	}
	s.settle(9)
	s.g.Eventually(s.takeTold).Should(ContainElements(alice, bob))

	s.ClearFaults()
	s.step(target())
	s.settle(10)
	recovered := s.rig.clock.Now()
	s.g.Eventually(s.toldTo).Should(ContainElements(alice, bob), "all who watch learn that it works")
	listing, _ := s.List(alice, target(), time.Time{})
	s.g.Expect(listing.Problem).To(BeNil())
	s.g.Expect(listing.GoodSince).To(Equal(recovered))

	s.fault(t, simulated.Fault{Operation: "ContainerGroups.List", Status: http.StatusInternalServerError})
	s.step(target())
	s.settle(11)
	s.g.Expect(s.step(target())).To(BeNumerically("<=", firstRetry*6/5), "the backoff began anew")
}

func TestInventoryTellsAProblemOnce(t *testing.T) {
	s := newStock(t)
	s.start(t)
	wrong := target(func(t *Target) { t.ClientSecret = "wrong-client-secret" })
	s.List(alice, wrong, time.Time{})
	s.g.Eventually(func() []string { s.rig.clock.Step(0); return s.takeTold() }).Should(Equal([]string{alice}))
	for range 3 {
		tokens := s.Requests()["Token"]
		s.step(wrong)
		s.g.Eventually(func() int { return s.Requests()["Token"] }).Should(Equal(tokens + 1))
	}
	s.g.Eventually(func() bool { _, ok := s.next(wrong); return ok }).Should(BeTrue())
	s.g.Expect(s.toldTo()).To(BeEmpty(), "the same refusal is no news")
	listing, _ := s.List(alice, wrong, time.Time{})
	s.g.Expect(listing.Problem.Reason).To(Equal(v1alpha1.ReasonCredentialsRejected))
	s.g.Expect(fmt.Sprintf("%+v", listing)).NotTo(ContainSubstring("wrong-client-secret"))
}

func TestInventoryWaitsAsLongAsAzureAsks(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.List(alice, target(), time.Time{})
	s.settle(1)

	s.fault(t, simulated.Fault{
		Operation: "ContainerGroups.List", Status: http.StatusTooManyRequests, RetryAfter: 90 * time.Second, Delay: time.Second, Times: 1,
	})
	s.step(target())
	s.g.Eventually(s.lists).Should(Equal(2))
	s.List(alice, target(), s.rig.clock.Now().Add(5*time.Second))
	s.g.Eventually(s.rig.clock.Waiters).Should(Equal(3), "the answer under way, that it takes long, and what alice asks for")
	s.rig.clock.Step(time.Second)
	s.settle(2)
	s.List(alice, target(), s.rig.clock.Now().Add(5*time.Second))
	wait, ok := s.next(target())
	s.g.Expect(ok).To(BeTrue())
	s.g.Expect(wait).To(Equal(90 * time.Second))
}

func TestSweepForgetsWhatIsNotListed(t *testing.T) {
	s := newStock(t)
	s.start(t)
	other := target(func(t *Target) { t.ResourceGroup = "virtual-nodes-westus" })
	s.List(alice, target(), time.Time{})
	s.List(alice, other, time.Time{})
	s.List(bob, other, time.Time{})
	s.Sweep(alice)
	s.settle(2)

	s.List(alice, target(), time.Time{})
	s.Sweep(alice)
	s.Sweep(bob)
	s.g.Expect(s.entries).To(HaveLen(2), "bob has listed it since")
	s.Sweep(bob)
	s.g.Expect(s.entries).To(HaveLen(1))
	s.Sweep(alice)
	s.g.Expect(s.entries).To(BeEmpty())
	s.g.Expect(s.rig.clock.HasWaiters()).To(BeFalse(), "nothing is left that would ask Azure")

	s.takeTold()
	_, known := s.List(alice, target(), time.Time{})
	s.g.Expect(known).To(BeFalse())
	s.settle(3)
}

func TestSweepWhileAzureIsAsked(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.fault(t, simulated.Fault{Operation: "ContainerGroups.List", Delay: time.Minute, Times: 1})
	s.List(alice, target(), time.Time{})
	s.g.Eventually(func() int { s.rig.clock.Step(0); return s.lists() }).Should(Equal(1))
	s.Sweep(alice)
	s.Sweep(alice)
	s.g.Expect(s.entries).To(BeEmpty())
	s.g.Eventually(func() bool { s.rig.clock.Step(time.Hour); return s.rig.clock.HasWaiters() }).Should(BeFalse())
	s.g.Expect(s.lists()).To(Equal(1), "nobody watches any more")
}

func TestInventoryDeletes(t *testing.T) {
	s := newStock(t)
	s.start(t)
	group := s.plant(t, "node", "web", "uid")
	s.plant(t, "node", "api", "uid-2")
	s.List(alice, target(), time.Time{})
	s.settle(1)
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))

	for range 5 {
		s.Delete(alice, target(), group, agree)
	}
	s.settle(1)
	s.g.Expect(s.left()).To(ConsistOf("default-api"))
	s.Delete(alice, target(), group, agree)
	s.settle(1)
	s.g.Expect(s.Requests()).To(HaveKeyWithValue("ContainerGroups.Delete", 1), "Azure lists it for a while; to ask again does not help")

	s.step(target())
	s.settle(2)
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}), "a delete is followed by a new listing")
	listing, _ := s.List(alice, target(), time.Time{})
	s.g.Expect(listing.OfNode("node")).To(HaveLen(1))

	s.Delete(alice, target(), group, agree)
	s.settle(2)
	s.g.Expect(s.Requests()).To(HaveKeyWithValue("ContainerGroups.Delete", 1), "it is gone")
}

// Azure limits deletions, and lists a container group for as long as one takes.
func TestInventoryDoesNotRepeatADeleteThatTakesLong(t *testing.T) {
	s := newStock(t)
	slow := simulated.DefaultConfig().Timing
	slow.ContainerGroupDeleting = time.Hour
	s.SetTiming(slow)
	s.start(t)
	group := s.plant(t, "node", "web", "uid")
	s.List(alice, target(), time.Time{})
	s.settle(1)
	s.Delete(alice, target(), group, agree)
	s.settle(1)
	for lists := 2; lists < 5; lists++ {
		s.List(alice, target(), s.rig.clock.Now().Add(3*time.Second))
		s.step(target())
		s.settle(lists)
		s.Delete(alice, target(), group, agree)
		s.settle(lists)
	}
	s.g.Expect(s.Requests()).To(HaveKeyWithValue("ContainerGroups.Delete", 1))

	s.rig.clock.Step(deletePatience + time.Second)
	s.List(alice, target(), s.rig.clock.Now())
	s.settle(5)
	s.Delete(alice, target(), group, agree)
	s.settle(5)
	s.g.Expect(s.Requests()).To(HaveKeyWithValue("ContainerGroups.Delete", 2))
}

func TestInventoryDeletesOnlyWhatItMay(t *testing.T) {
	for name, test := range map[string]struct {
		live  func(*testing.T, *stock)
		guard func(context.Context) (bool, error)
		calls int
	}{
		"the guard disagrees": {
			guard: func(context.Context) (bool, error) { return false, nil }, calls: 1,
		},
		"the guard can't tell": {
			guard: func(context.Context) (bool, error) { return false, errors.New("the API server is gone") }, calls: 1,
		},
		"another pod's": {
			live: func(t *testing.T, s *stock) { t.Helper(); s.plant(t, "node", "web", "another uid") }, guard: agree,
		},
		"another node's": {
			live: func(t *testing.T, s *stock) { t.Helper(); s.plant(t, "another node", "web", "uid") }, guard: agree,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStock(t)
			s.start(t)
			group := s.plant(t, "node", "web", "uid")
			s.List(alice, target(), time.Time{})
			s.settle(1)
			s.takeTold()
			if test.live != nil {
				test.live(t, s)
			}
			var mu sync.Mutex
			calls := 0
			s.Delete(alice, target(), group, func(ctx context.Context) (bool, error) {
				mu.Lock()
				calls++
				mu.Unlock()
				return test.guard(ctx)
			})
			s.settle(1)
			s.step(target())
			s.settle(2)
			s.g.Expect(s.Requests()).NotTo(HaveKey("ContainerGroups.Delete"))
			s.g.Expect(s.left()).To(ConsistOf("default-web"))
			s.g.Expect(calls).To(Equal(test.calls))
			s.g.Eventually(s.toldTo).Should(ContainElement(alice), "the connector decides anew")
			listing, _ := s.List(alice, target(), time.Time{})
			s.g.Expect(listing.Problem).To(BeNil(), "that is not Azure's fault")
		})
	}
}

func TestInventoryBacksOffFromRefusedDeletes(t *testing.T) {
	s := newStock(t)
	s.start(t)
	group := s.plant(t, "node", "web", "uid")
	s.List(alice, target(), time.Time{})
	s.settle(1)
	s.takeTold()
	s.become(simulated.Reader)

	lists := 1
	for attempt, wait := range []time.Duration{firstRetry, 2 * firstRetry, 4 * firstRetry} {
		s.Delete(alice, target(), group, agree)
		s.g.Eventually(func(g Gomega) {
			listing, known := s.List(alice, target(), time.Time{})
			g.Expect(known).To(BeTrue())
			g.Expect(listing.Problem).To(BeNil(), "the target's other nodes are well")
			g.Expect(listing.Refused).NotTo(BeNil())
			g.Expect(listing.Refused.Reason).To(Equal(v1alpha1.ReasonForbidden))
			s.mu.Lock()
			defer s.mu.Unlock()
			g.Expect(s.entries[target().key()].refusals).To(Equal(attempt + 1))
		}).Should(Succeed())
		s.g.Eventually(s.takeTold).Should(ContainElement(alice))
		s.g.Expect(s.step(target())).To(And(BeNumerically(">=", wait), BeNumerically("<=", wait*6/5)), "attempt %d", attempt)
		lists++
		s.settle(lists)
	}

	s.become(simulated.Contributor)
	s.Delete(alice, target(), group, agree)
	s.g.Eventually(s.left).Should(BeEmpty())
	s.g.Eventually(func() *Problem { listing, _ := s.List(alice, target(), time.Time{}); return listing.Refused }).Should(BeNil())
}

// A refusal is no news any more once somebody else has deleted the container group.
func TestInventoryForgetsARefusalWithTheContainerGroup(t *testing.T) {
	s := newStock(t)
	s.start(t)
	group := s.plant(t, "node", "web", "uid")
	s.List(alice, target(), time.Time{})
	s.settle(1)
	s.become(simulated.Reader)
	s.Delete(alice, target(), group, agree)
	refused := func() *Problem { listing, _ := s.List(alice, target(), time.Time{}); return listing.Refused }
	s.g.Eventually(refused).ShouldNot(BeNil())
	s.settle(1)
	s.g.Expect(s.DeleteContainerGroup(target().SubscriptionID, target().ResourceGroup, group.Name)).To(Succeed())
	s.step(target())
	s.g.Eventually(refused).Should(BeNil())
}

// What Azure listed last is known as long as it is asked in vain.
func TestInventoryRemembersTheLastListing(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.plant(t, "node", "web", "uid")
	s.List(alice, target(), time.Time{})
	s.settle(1)
	s.g.Expect(s.SetRoleAssignments(simulated.DefaultClientID)).To(Succeed())
	s.step(target())
	s.g.Eventually(func(g Gomega) {
		listing, _ := s.List(alice, target(), time.Time{})
		g.Expect(listing.Problem).NotTo(BeNil())
		g.Expect(listing.OfNode("node")).To(ConsistOf(HaveField("Name", "default-web")))
	}).Should(Succeed())
}

// What is asked by name is asked when somebody wants to know, and slows nothing else down.
func TestInventoryAsksByNameOnce(t *testing.T) {
	s := newStock(t)
	s.start(t)
	s.List(alice, target(), time.Time{})
	s.settle(1)
	const many = 100
	for n := range many {
		s.Named(alice, target(), fmt.Sprint("default-", n), time.Time{})
	}
	s.g.Eventually(func() int { s.rig.clock.Step(0); return s.Requests()["ContainerGroups.Get"] }).Should(Equal(many))
	s.g.Expect(s.step(target())).To(BeNumerically("<=", refreshInterval*11/10), "the list is renewed as before")
	s.g.Eventually(s.lists).Should(Equal(2))
	s.g.Eventually(func() bool { _, ok := s.next(target()); return ok }).Should(BeTrue())
	s.rig.clock.Step(10 * time.Minute)
	s.g.Eventually(s.lists).Should(Equal(3))
	s.g.Expect(s.Requests()["ContainerGroups.Get"]).To(Equal(many))
}

func TestInventoryAsksByName(t *testing.T) {
	s := newStock(t)
	s.start(t)
	group := s.plant(t, "node", "web", "uid")
	named := func(name string, since time.Time) func() NamedGroup {
		return func() NamedGroup {
			s.rig.clock.Step(0)
			answer, known := s.Named(alice, target(), name, since)
			if !known {
				return NamedGroup{}
			}
			answer.AskedAt = time.Time{}
			return answer
		}
	}
	s.g.Eventually(named(group.Name, time.Time{})).Should(Equal(NamedGroup{ContainerGroup: group, Exists: true}))
	_, known := s.Named(alice, target(), "default-other", s.rig.clock.Now())
	s.g.Expect(known).To(BeFalse())
	s.g.Eventually(func() bool {
		s.rig.clock.Step(0)
		_, known := s.Named(alice, target(), "default-other", time.Time{})
		return known
	}).Should(BeTrue())
	s.g.Expect(named("default-other", time.Time{})()).To(Equal(NamedGroup{}))

	s.g.Expect(s.DeleteContainerGroup(target().SubscriptionID, target().ResourceGroup, group.Name)).To(Succeed())
	s.rig.clock.Step(time.Second)
	since := s.rig.clock.Now()
	s.g.Expect(named(group.Name, since)()).To(Equal(NamedGroup{}), "what was said before is too old")
	s.g.Eventually(func() bool {
		s.rig.clock.Step(0)
		_, known := s.Named(alice, target(), group.Name, since)
		return known
	}).Should(BeTrue())
	s.g.Expect(named(group.Name, since)().Exists).To(BeFalse())
}

// TestInventoryUnderLoad is for the race detector: many connectors, targets, deletes and sweeps at once.
func TestInventoryUnderLoad(t *testing.T) {
	s := newStock(t)
	s.start(t)
	var groups []ContainerGroup
	for i := range 20 {
		groups = append(groups, s.plant(t, "node", fmt.Sprintf("pod-%d", i), fmt.Sprintf("uid-%d", i)))
	}
	var connectors sync.WaitGroup
	for i := range 8 {
		connectors.Go(func() {
			connector := fmt.Sprintf("connector-%d", i)
			for round := range 50 {
				listing, _ := s.List(connector, target(), s.rig.clock.Now())
				_ = listing.OfNode("node")
				s.List(connector, target(func(t *Target) { t.ResourceGroup = fmt.Sprintf("missing-%d", round%3) }), time.Time{})
				s.Delete(connector, target(), groups[(i+round)%len(groups)], agree)
				s.rig.clock.Step(time.Second)
				s.Sweep(connector)
			}
		})
	}
	connectors.Wait()
	s.g.Eventually(func() []string { s.rig.clock.Step(time.Second); return s.left() }).Should(BeEmpty())
}

func TestInventoryEndsWithItsContext(t *testing.T) {
	s := newStock(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ctx) }()
	s.g.Eventually(func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.ctx != nil }).Should(BeTrue())
	s.List(alice, target(), time.Time{})
	s.settle(1)
	cancel()
	s.g.Eventually(ended).Should(Receive(BeNil()))

	s.rig.clock.Step(time.Hour)
	s.List(alice, target(), s.rig.clock.Now())
	s.g.Expect(s.rig.clock.HasWaiters()).To(BeFalse())
	s.g.Expect(s.lists()).To(Equal(1))
}
