// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	. "github.com/onsi/gomega/gstruct"

	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// look lets what is due begin, and returns what is known.
func (s *stock) look() Snapshot {
	s.rig.clock.Step(0)
	return s.Snapshot()
}

func TestSnapshot(t *testing.T) {
	s := newStock(t)
	group := s.plant(t, "node", "web", "uid")
	s.g.Expect(s.Snapshot()).To(BeZero())

	of := target()
	s.Token(alice, of.Credential)
	s.List(alice, of, time.Time{})
	s.List(bob, of, time.Time{})
	s.Named(alice, of, group.Name, time.Time{})
	unknown := Fact{Kind: "token", State: FactUnknown}
	listingUnknown := Fact{Kind: kindContainerGroups, State: FactUnknown}
	s.g.Expect(s.Snapshot()).To(MatchAllFields(Fields{
		"Facts":    ConsistOf(unknown, listingUnknown),
		"Listings": BeEmpty(),
		"Holds":    BeZero(),
	}), "before it is started")

	asked := s.rig.clock.Now()
	s.start(t)
	s.g.Eventually(s.look).Should(MatchAllFields(Fields{
		"Facts": ConsistOf(
			Fact{Kind: "token", State: FactGood, AnsweredAt: asked}, Fact{Kind: kindContainerGroups, State: FactGood, AnsweredAt: asked}),
		"Listings": ConsistOf(Placed{
			SubscriptionID: subscription, ResourceGroup: rgName, Connectors: []string{alice, bob}, Groups: []ContainerGroup{group},
		}),
		"Holds": BeZero(),
	}))

	// Azure wants to be asked less: what it has said stands, and grows old.
	s.fault(t, simulated.Fault{Operation: "*", Status: http.StatusTooManyRequests, Code: "TooManyRequests", RetryAfter: 10 * time.Minute})
	s.rig.clock.Step(time.Minute)
	s.g.Eventually(s.look).Should(MatchFields(IgnoreExtras, Fields{
		"Facts":    ContainElement(Fact{Kind: kindContainerGroups, State: FactUnknown, AnsweredAt: asked}),
		"Listings": HaveLen(1),
		"Holds":    BeNumerically(">", 0),
	}))

	s.Sweep(alice)
	s.Sweep(alice)
	s.Sweep(bob)
	s.Sweep(bob)
	s.g.Expect(s.Snapshot()).To(BeZero())
}

func TestSnapshotOfWhatIsBad(t *testing.T) {
	s := newStock(t)
	of := target(func(t *Target) { t.ResourceGroup = "nowhere" })
	asked := s.rig.clock.Now()
	s.start(t)
	s.List(alice, of, time.Time{})
	s.g.Eventually(s.look).Should(MatchAllFields(Fields{
		"Facts":    ConsistOf(Fact{Kind: kindContainerGroups, State: FactBad, AnsweredAt: asked}),
		"Listings": BeEmpty(),
		"Holds":    BeZero(),
	}))
}
