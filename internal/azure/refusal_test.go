// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// deleteAll is a reconcile that wants everything gone that is listed, and another listing soon.
func (s *stock) deleteAll(of Target, guard func(context.Context) (bool, error)) func(connector string) {
	return func(connector string) {
		listing, _ := s.List(connector, of, time.Time{})
		for _, group := range listing.Groups {
			s.Delete(connector, of, group, guard)
		}
		s.List(connector, of, listing.AskedAt.Add(3*time.Second))
	}
}

// second lets a second pass, at whose end a connector looks, as it may for any reason.
func (s *stock) second(connector string, most int) {
	s.rig.clock.Step(time.Second)
	s.quiet(most)
	s.reconcile(connector)
	s.quiet(most)
}

// quiet lets what is due happen, until nothing is under way. It gives up where Azure is asked more often than so
// after a container group.
func (s *stock) quiet(most int) {
	s.g.Eventually(func(g Gomega) {
		s.rig.clock.Step(0)
		if got := s.Requests()["ContainerGroups.Get"]; got > most {
			StopTrying(fmt.Sprintf("asked %d times after container groups, and not %d at most", got, most)).Now()
		}
		s.expectQuiet(g)
	}).WithPolling(time.Millisecond).Should(Succeed())
}

// A connector looks again whenever it is told, and still wants gone what Azure has just refused to delete.
func TestARefusedDeleteIsTriedWithTheBackoffOnly(t *testing.T) {
	const groups, minutes = 3, 5
	for name, test := range map[string]struct {
		fault simulated.Fault
		guard func(context.Context) (bool, error)
		// fewest and most are how often each container group is asked after.
		fewest, most int
	}{
		"a lock":         {fault: simulated.Fault{Operation: "ContainerGroups.Delete", Status: http.StatusConflict, Code: "ScopeLocked"}},
		"a right less":   {fault: simulated.Fault{Operation: "ContainerGroups.Delete", Status: http.StatusForbidden}},
		"no right":       {fault: simulated.Fault{Operation: "ContainerGroups.Get", Status: http.StatusForbidden}},
		"a conflict":     {fault: simulated.Fault{Operation: "ContainerGroups.Delete", Status: http.StatusConflict}},
		"a fault":        {fault: simulated.Fault{Operation: "ContainerGroups.Delete", Status: http.StatusInternalServerError}},
		"not wanted now": {guard: func(context.Context) (bool, error) { return false, nil }, fewest: minutes - 2, most: minutes + 1},
		"a guard that can't tell": {
			guard: func(context.Context) (bool, error) { return false, errors.New("the API server is gone") }, fewest: minutes - 2, most: minutes + 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStock(t)
			refuses := test.guard == nil
			if refuses {
				// After 5, 15, 35, 75 seconds, and then every 40 or as much later as a look is due.
				test.guard, test.fewest, test.most = agree, 8, 11
				s.fault(t, test.fault)
			}
			for i := range groups {
				s.plant(t, "node", fmt.Sprint(i), "uid")
			}
			s.reconcile = s.deleteAll(target(), test.guard)
			s.start(t)
			s.List(alice, target(), time.Time{})
			for range minutes * 60 {
				s.second(alice, groups*test.most)
			}
			asked := s.Requests()["ContainerGroups.Get"]
			t.Logf("in %d minutes %v", minutes, s.Requests())
			s.g.Expect(asked).To(And(BeNumerically(">=", groups*test.fewest), BeNumerically("<=", groups*test.most)))
			listing, _ := s.List(alice, target(), time.Time{})
			s.g.Expect(listing.Problem).To(BeNil())
			s.g.Expect(listing.Refused != nil).To(Equal(refuses))
			if !refuses {
				return
			}

			s.ClearFaults()
			for range 60 {
				s.second(alice, groups*(test.most+2))
			}
			s.g.Expect(s.left()).To(BeEmpty(), "what was mended is seen within a minute")
		})
	}
}

func TestARefusalHoldsUpNothingElse(t *testing.T) {
	s := newStock(t)
	locked, free := s.plant(t, "node", "locked", "uid"), s.plant(t, "node", "free", "uid-2")
	s.fault(t, simulated.Fault{Operation: "ContainerGroups.Delete", Status: http.StatusConflict, Code: "ScopeLocked", Times: 1})
	s.start(t)
	s.List(alice, target(), time.Time{})
	s.settle(1)
	s.takeTold()
	refused := func() *Problem { listing, _ := s.List(alice, target(), time.Time{}); return listing.Refused }
	s.Delete(alice, target(), locked, agree)
	s.g.Eventually(refused).ShouldNot(BeNil())
	s.g.Eventually(s.takeTold).Should(Equal([]string{alice}))

	s.Delete(bob, target(), free, agree)
	s.settle(1)
	s.g.Expect(s.left()).To(ConsistOf(locked.Name))
	s.g.Expect(refused()).NotTo(BeNil(), "it stands, whatever became of the other one")
	s.Delete(bob, target(), locked, agree)
	s.g.Expect(s.toldTo()).To(BeEmpty())
	s.g.Expect(s.step(target())).To(Equal(deleteSettle))
	s.settle(2)
	s.g.Expect(refused()).NotTo(BeNil())
	s.Delete(alice, target(), locked, agree)
	s.settle(2)
	s.g.Expect(s.left()).To(ConsistOf(locked.Name), "that was no listing of after the backoff")

	s.g.Expect(s.SetClientSecret(simulated.DefaultClientID, "renewed", time.Time{})).To(Succeed())
	s.Delete(alice, target(func(t *Target) { t.ClientSecret = "renewed" }), locked, agree)
	s.g.Eventually(s.left).Should(BeEmpty(), "other credentials are tried at once")
}

// Of many container groups that are to be deleted, most wait for their turn when Azure first says Retry-After.
func TestWhatWaitsForItsTurnWaitsForAzureToo(t *testing.T) {
	const many, wanted = 100, time.Minute
	for name, operation := range map[string]string{
		"a delete is throttled": "ContainerGroups.Delete",
		"a look is throttled":   "ContainerGroups.Get",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStock(t)
			for i := range many {
				s.plant(t, "node", fmt.Sprint(i), "uid")
			}
			s.fault(t, simulated.Fault{Operation: operation, Status: http.StatusTooManyRequests, RetryAfter: wanted})
			s.reconcile = s.deleteAll(target(), agree)
			s.start(t)
			s.List(alice, target(), time.Time{})
			s.g.Eventually(func() int { s.rig.clock.Step(0); return s.Requests()[operation] }).Should(BeNumerically(">", 0))
			s.quiet(many)
			s.g.Expect(s.Requests()["ContainerGroups.Get"]).To(BeNumerically("<=", deletesInFlight), "%v", s.Requests())
			asked := s.Requests()
			t.Log(asked)
			for range wanted / time.Second {
				s.rig.clock.Step(time.Second - time.Nanosecond)
				s.quiet(many)
				s.reconcile(alice)
			}
			s.g.Expect(s.Requests()).To(Equal(asked), "nothing is asked before it is over")

			s.ClearFaults()
			for range 10 {
				s.second(alice, 2*many)
			}
			s.g.Expect(s.left()).To(BeEmpty())
			s.g.Expect(s.Requests()["ContainerGroups.Delete"]).To(BeNumerically("<=", many+deletesInFlight))
			listing, _ := s.List(alice, target(), time.Time{})
			s.g.Expect(listing.Refused).To(BeNil())
		})
	}
}

func TestALookThatWaitsForItsTurnWaitsForAzureToo(t *testing.T) {
	const many, wanted = 3 * inFlight, time.Minute
	s := newStock(t)
	s.fault(t, simulated.Fault{Operation: "ResourceGroups.Get", Status: http.StatusTooManyRequests, RetryAfter: wanted})
	ask := func() (known int) {
		for i := range many {
			if s.ResourceGroup(alice, target(func(t *Target) { t.ResourceGroup = fmt.Sprintf("group-%d", i) })).Known() {
				known++
			}
		}
		return known
	}
	ask()
	s.start(t)
	s.idle()
	throttled := s.Requests()["ResourceGroups.Get"]
	s.g.Expect(throttled).To(And(BeNumerically(">", 0), BeNumerically("<=", inFlight)))
	s.g.Expect(ask()).To(Equal(throttled), "what was not asked is not known")
	s.pass(wanted - time.Nanosecond)
	s.g.Expect(s.Requests()).To(HaveKeyWithValue("ResourceGroups.Get", throttled))

	s.ClearFaults()
	s.pass(lastRetry)
	s.g.Expect(ask()).To(Equal(many))
}

func TestManyDeletesHoldUpNoLook(t *testing.T) {
	s := newStock(t)
	s.fault(t, simulated.Fault{Operation: "ContainerGroups.Delete", Delay: time.Hour})
	s.start(t)
	for i := range 10 * inFlight {
		s.Delete(alice, target(), s.plant(t, "node", fmt.Sprint(i), "uid"), agree)
	}
	s.g.Eventually(func() int { s.rig.clock.Step(0); return s.Requests()["ContainerGroups.Delete"] }).Should(BeNumerically(">", 0))
	other := target(func(t *Target) { t.ResourceGroup = "virtual-nodes-westus" })
	s.g.Eventually(func() bool {
		s.rig.clock.Step(0)
		_, known := s.List(bob, other, time.Time{})
		return known
	}).WithTimeout(5 * time.Second).Should(BeTrue())
	s.g.Expect(s.Requests()["ContainerGroups.Delete"]).To(BeNumerically("<=", deletesInFlight))
}
