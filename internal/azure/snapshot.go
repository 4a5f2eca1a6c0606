// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"maps"
	"slices"
	"time"
)

// kindContainerGroups is the kind of fact that a Placed listing is.
const kindContainerGroups = "containerGroups"

// Snapshot is what an Inventory knows at a moment, for those who look at it from outside.
type Snapshot struct {
	// Facts are what is asked again and again, in no order.
	Facts []Fact
	// Listings are those of container groups that Azure has given, one for each resource group and who watches it.
	Listings []Placed
	// Holds is how many subscriptions are not asked now with a credential, as Azure wants it.
	Holds int
}

// Fact is how far something that is asked again and again is known.
type Fact struct {
	// Kind is one of few, such as token or subnet.
	Kind  string
	State FactState
	// AnsweredAt is when the last request began that Azure has answered, be it by a no; zero before the first.
	AnsweredAt time.Time
}

// FactState says how the last request came out.
type FactState string

// States of facts.
const (
	// FactGood has been answered.
	FactGood FactState = "good"
	// FactBad has been answered by what keeps a connector from working.
	FactBad FactState = "bad"
	// FactUnknown has not been answered, or not the last time.
	FactUnknown FactState = "unknown"
)

// Placed are the container groups of a resource group.
type Placed struct {
	SubscriptionID, ResourceGroup string
	// Connectors are the names of those that watch the listing.
	Connectors []string
	// Groups are those of the last good answer; they are not to be changed.
	Groups []ContainerGroup
}

// Snapshot returns what is known now. It asks nothing.
func (i *Inventory) Snapshot() Snapshot {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out Snapshot
	for _, e := range i.entries {
		if !e.once {
			out.Facts = append(out.Facts, Fact{Kind: e.kind, State: e.state(), AnsweredAt: e.answeredAt})
		}
		if e.kind == kindContainerGroups && e.answer.Have {
			out.Listings = append(out.Listings, Placed{
				SubscriptionID: e.subscriptionID, ResourceGroup: e.resourceGroup,
				Connectors: slices.Sorted(maps.Keys(e.watchers)), Groups: e.groups,
			})
		}
	}
	for _, until := range i.holds {
		if i.clock.Now().Before(until) {
			out.Holds++
		}
	}
	return out
}

func (e *entry) state() FactState {
	switch problem := e.answer.Problem; {
	case problem != nil && problem.Proven:
		return FactBad
	case problem != nil || !e.answer.Known():
		return FactUnknown
	}
	return FactGood
}
