// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// How often and how long Azure is asked.
const (
	// A good answer is renewed soon enough that a fault is told within a minute, but no subscription is asked more
	// than once a second on average, however much there is to ask.
	refreshInterval = 40 * time.Second
	perQuestion     = time.Second
	// A bad one is asked for again soon and then less often, but soon enough that what was mended is told within
	// a minute.
	firstRetry = 5 * time.Second
	lastRetry  = 40 * time.Second

	deleteSettle   = 2 * time.Second
	deletePatience = time.Minute
	// Deletes take their turns apart, so that many of them hold up no look.
	inFlight        = 8
	deletesInFlight = inFlight / 2
	// A question that gets no answer for long is told of, and goes on for a while: a slow Azure is not a dead one. To sign
	// in alone takes three requests, one after the other.
	answerPatience  = 15 * time.Second
	requestTimeout  = time.Minute
	questionTimeout = 5 * requestTimeout
)

// Answer is what Azure said, the last time that it was asked.
type Answer[T any] struct {
	// Value is the last answer; Have says that there is one. A problem that proves nothing leaves it.
	Value T
	Have  bool
	// Problem is why there is no newer answer.
	Problem *Problem
	// AskedAt is when the last request began; zero as long as there was none.
	AskedAt time.Time
	// GoodSince is when the first of an unbroken row of answers without a Problem came, ChangedAt when the first came
	// that said what Value says.
	GoodSince, ChangedAt time.Time
}

// Known reports whether Azure has been asked, with whatever result.
func (a Answer[T]) Known() bool { return !a.AskedAt.IsZero() }

// Listing is what Azure said of a target's container groups, the last time that it was asked.
type Listing struct {
	// Groups are the container groups of the resource group; with a Problem, those of the last answer without one.
	Groups []ContainerGroup
	// Problem is why there is no answer.
	Problem *Problem
	// Refused is why Azure did not take the last wish to delete one of them; nil where it did, or where there was none.
	// As long as the wish may not be made again, it stands, whatever Azure says to others.
	Refused *Problem
	// AskedAt is when the request began; zero as long as there was none.
	AskedAt time.Time
	// GoodSince is when the first of an unbroken row of answers without a Problem came.
	GoodSince time.Time
}

// OfNode returns the container groups that carry a node's tag.
func (l Listing) OfNode(node string) []ContainerGroup {
	return slices.DeleteFunc(slices.Clone(l.Groups), func(g ContainerGroup) bool { return g.NodeName != node })
}

// Inventory answers from memory what Azure has and says. It asks Azure in the background, so that a slow or dead
// Azure holds up no caller, and tells its watchers when an answer changes. Of all who ask the same with the same
// credential, Azure hears once.
//
// A connector watches what it asks, until a Sweep finds that it no longer does; what nobody watches is forgotten.
type Inventory struct {
	connect Connector
	clock   clock.WithDelayedExecution
	notify  func(connector string)

	mu       sync.Mutex
	ctx      context.Context //nolint:containedctx // the life of the process, given by Start
	entries  map[string]*entry
	sessions map[string]*session
	// holds are until when a subscription is not asked with a credential, as Azure wants it.
	holds map[string]time.Time
}

// session is what the questions with one credential share.
type session struct {
	*Session
	slots map[lane]chan struct{}
}

// lane is where requests wait for each other: those of one subscription, so that its slow Azure holds up no other's.
type lane struct {
	subscriptionID string
	// most is how many are under way at once.
	most int
}

type entry struct {
	question
	// watchers are told of changes; true are those that have asked since their last Sweep.
	watchers map[string]bool
	// waiting are told of the next answer, whatever it is.
	waiting map[string]struct{}

	answer Answer[any]
	// answeredAt is when the last request began that Azure has answered, be it by a no; zero before the first.
	answeredAt time.Time
	// failures are how many requests in a row have failed, refusals how many rounds of those to delete, and refused
	// why the last one of these has.
	failures, refusals int
	refused            *Problem
	refusedGroup       string
	// putOff are the container groups that Azure would not delete. They are let alone until it has listed them, asked
	// at retryAt or later.
	putOff  map[string]struct{}
	retryAt time.Time
	// groups are those of the last good listing.
	groups []ContainerGroup
	// unsettledFor is how many answers in a row were unsettled.
	unsettledFor int

	timer   clock.Timer
	due     time.Time // when timer fires; zero without one
	running bool
	// took is how long the last answer took.
	took time.Duration
	// deleting are the container groups that Azure has been asked to delete, with the time of it; zero
	// for those that it is being asked for.
	deleting map[string]time.Time
}

// errSilent is that Azure has not answered yet, errHeld that it wants not to be asked now.
var (
	errSilent = errors.New("no answer yet")
	errHeld   = errors.New("not asked yet")
)

// NewInventory returns an Inventory that calls notify, from its own goroutines, with the name of a
// connector for which an answer came or changed.
func NewInventory(connect Connector, clk clock.WithDelayedExecution, notify func(connector string)) *Inventory {
	return &Inventory{
		connect:  connect,
		clock:    clk,
		notify:   notify,
		entries:  map[string]*entry{},
		sessions: map[string]*session{},
		holds:    map[string]time.Time{},
	}
}

// Start lets the inventory ask Azure until ctx ends.
func (i *Inventory) Start(ctx context.Context) error {
	i.mu.Lock()
	i.ctx = ctx
	for _, e := range i.entries {
		i.schedule(e, i.clock.Now())
	}
	i.mu.Unlock()

	<-ctx.Done()

	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.entries {
		if e.timer != nil {
			e.timer.Stop()
		}
	}
	return nil
}

// Sweep ends a connector's watch of the targets that it has not listed since the last Sweep.
func (i *Inventory) Sweep(connector string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for key, e := range i.entries {
		listed, watches := e.watchers[connector]
		if !watches {
			continue
		}
		if listed {
			e.watchers[connector] = false
			continue
		}
		delete(e.watchers, connector)
		delete(e.waiting, connector)
		if len(e.watchers) > 0 {
			continue
		}
		if e.timer != nil {
			e.timer.Stop()
		}
		delete(i.entries, key)
		i.dropSession(e.who)
	}
}

// dropSession forgets the session of a credential that nothing is asked with any more; i.mu is held.
func (i *Inventory) dropSession(who string) {
	for _, e := range i.entries {
		if e.who == who {
			return
		}
	}
	delete(i.sessions, who)
	maps.DeleteFunc(i.holds, func(limits string, _ time.Time) bool { return strings.HasPrefix(limits, who) })
}

// dropIfUnwatched forgets what a request has brought back for which a Sweep came in between; i.mu is held.
func (i *Inventory) dropIfUnwatched(e *entry) {
	if len(e.watchers) == 0 {
		i.dropSession(e.who)
	}
}

// watched returns the entry of a question, and notes who asks it; i.mu is held.
func (i *Inventory) watched(q question, connector string) *entry {
	e, ok := i.entries[q.key]
	if !ok {
		e = &entry{
			question: q,
			watchers: map[string]bool{},
			waiting:  map[string]struct{}{},
			putOff:   map[string]struct{}{},
			deleting: map[string]time.Time{},
		}
		i.entries[q.key] = e
	}
	e.watchers[connector] = true
	if !ok {
		i.schedule(e, i.clock.Now())
	}
	return e
}

// look returns the last answer to a question. The connector is told of the first and of every other one.
func look[T any](i *Inventory, connector string, q question) Answer[T] {
	i.mu.Lock()
	defer i.mu.Unlock()
	last := i.watched(q, connector).answer
	answer := Answer[T]{Problem: last.Problem, AskedAt: last.AskedAt, GoodSince: last.GoodSince, ChangedAt: last.ChangedAt}
	answer.Value, answer.Have = last.Value.(T)
	return answer
}

func listing(target Target) question {
	q := target.question(kindContainerGroups, target.SubscriptionID, target.ResourceGroup)
	q.resourceGroup = target.ResourceGroup
	q.ask = func(ctx context.Context, s *Session) (any, error) {
		return s.ContainerGroups(ctx, target.SubscriptionID, target.ResourceGroup)
	}
	q.explain = func(err error) *Problem { return Explain(target, err) }
	q.quiet = true
	return q
}

func (e *entry) listing() Listing {
	return Listing{
		Groups: e.groups, Problem: e.answer.Problem, Refused: e.refused, AskedAt: e.answer.AskedAt, GoodSince: e.answer.GoodSince,
	}
}

func (e *entry) lists(name string) bool {
	return slices.ContainsFunc(e.listing().Groups, func(g ContainerGroup) bool { return g.Name == name })
}

// NamedGroup is what Azure said of a container group that it was asked for by name: that does not lag as lists do.
type NamedGroup struct {
	ContainerGroup
	// Exists says whether there is one of the name.
	Exists bool
	// Problem is why there is no answer.
	Problem *Problem
	// AskedAt is when the request began; zero as long as there was none.
	AskedAt time.Time
}

// List returns the last listing of a target, and whether it was asked for at since or later. Where it
// was not, Azure is asked as soon as since comes, and the connector is told of the answer.
func (i *Inventory) List(connector string, target Target, since time.Time) (Listing, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.watched(listing(target), connector)
	return e.listing(), i.asked(e, connector, since)
}

// asked reports whether an answer was asked for at since or later, and otherwise has it asked for; i.mu is held.
func (i *Inventory) asked(e *entry, connector string, since time.Time) bool {
	if e.answer.Known() && !e.answer.AskedAt.Before(since) {
		return true
	}
	e.waiting[connector] = struct{}{}
	if e.answer.Problem == nil {
		i.schedule(e, since)
	}
	return false
}

// Named returns what Azure said of a container group by its name, as List does of all of a target.
func (i *Inventory) Named(connector string, target Target, name string, since time.Time) (NamedGroup, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.watched(naming(target, name), connector)
	known := i.asked(e, connector, since)
	named, _ := e.answer.Value.(NamedGroup)
	named.Problem, named.AskedAt = e.answer.Problem, e.answer.AskedAt
	return named, known
}

func naming(target Target, name string) question {
	q := target.question("containerGroup", target.SubscriptionID, target.ResourceGroup, name)
	q.ask = func(ctx context.Context, s *Session) (any, error) {
		group, err := s.ContainerGroup(ctx, target.SubscriptionID, target.ResourceGroup, name)
		if IsNotFound(err) {
			return NamedGroup{}, nil
		}
		return NamedGroup{ContainerGroup: group, Exists: true}, err
	}
	q.explain = func(err error) *Problem { return Explain(target, err) }
	q.quiet, q.once = true, true
	return q
}

// Delete asks Azure in the background to delete a container group, once guard, called right before,
// has agreed. The connector is told of a new listing after it. As long as Azure lists the container group,
// which is as long as the deletion takes, another Delete of it does nothing for a minute; nor does one of a container
// group that Azure has refused to delete, until Azure is asked again for the listing.
func (i *Inventory) Delete(connector string, target Target, group ContainerGroup, guard func(context.Context) (bool, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.watched(listing(target), connector)
	if _, ok := e.deleting[group.Name]; ok || i.ctx == nil {
		return
	}
	if _, ok := e.putOff[group.Name]; ok {
		e.waiting[connector] = struct{}{}
		return
	}
	if i.held(e) {
		i.await(e, connector)
		return
	}
	e.deleting[group.Name] = time.Time{}
	go i.delete(i.ctx, e, connector, target, group, guard)
}

// await lets a connector decide anew with the listing that comes when Azure may be asked again; i.mu is held.
func (i *Inventory) await(e *entry, connector string) {
	e.waiting[connector] = struct{}{}
	i.schedule(e, i.clock.Now())
}

func (i *Inventory) delete(ctx context.Context, e *entry, connector string, target Target, group ContainerGroup, guard func(context.Context) (bool, error)) {
	err := i.withSession(ctx, e, deletesInFlight, func(ctx context.Context, s *Session) error {
		live, err := s.ContainerGroup(ctx, target.SubscriptionID, target.ResourceGroup, group.Name)
		if IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if live.NodeName != group.NodeName || live.PodUID != group.PodUID {
			return nil
		}
		// A guard that can't decide is no fault of Azure's. Like one that disagrees, it is asked again in a minute.
		if agreed, err := guard(ctx); err != nil || !agreed {
			return nil //nolint:nilerr // see above
		}
		if i.mustWait(e) {
			return errHeld
		}
		return s.DeleteContainerGroup(ctx, target.SubscriptionID, target.ResourceGroup, group.Name)
	})

	i.mu.Lock()
	defer i.mu.Unlock()
	defer i.dropIfUnwatched(e)
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, errHeld) {
		delete(e.deleting, group.Name)
		i.await(e, connector)
		return
	}
	if err != nil {
		// With the next listing, the connector decides anew.
		delete(e.deleting, group.Name)
		if len(e.putOff) == 0 || e.refusals == 0 {
			e.refusals++
		}
		e.refused, e.refusedGroup = e.explain(err), group.Name
		e.waiting[connector] = struct{}{}
		i.postpone(e)
		e.putOff[group.Name], e.retryAt = struct{}{}, e.due
		i.tell(connector)
		return
	}
	if _, ok := e.putOff[e.refusedGroup]; !ok {
		e.refusals, e.refused = 0, nil
	}
	e.deleting[group.Name] = i.clock.Now()
	e.waiting[connector] = struct{}{}
	if e.answer.Problem == nil {
		i.schedule(e, i.clock.Now().Add(deleteSettle))
	}
}

// withSession has one of the requests of a credential made, once fewer than so many are under way.
func (i *Inventory) withSession(ctx context.Context, e *entry, most int, do func(context.Context, *Session) error) error {
	session, slots, err := i.session(e.question, most)
	if err != nil {
		return err
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if i.mustWait(e) {
		return errHeld
	}
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	err = do(ctx, session)
	// Whoever has the slot next is to know.
	i.hold(e, e.explain(err))
	return err
}

// hold notes that Azure wants to be left alone: it throttles whoever asks, not what is asked.
func (i *Inventory) hold(e *entry, problem *Problem) {
	if problem == nil || problem.RetryAfter == 0 {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if until := i.clock.Now().Add(problem.RetryAfter); until.After(i.holds[e.limits()]) {
		i.holds[e.limits()] = until
	}
}

// held reports whether Azure wants to be left alone; i.mu is held.
func (i *Inventory) held(e *entry) bool { return i.clock.Now().Before(i.holds[e.limits()]) }

func (i *Inventory) mustWait(e *entry) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.held(e)
}

// session returns what a question is asked with, and the slots that it takes one of.
func (i *Inventory) session(q question, most int) (*Session, chan struct{}, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found, ok := i.sessions[q.who]
	if !ok {
		connected, err := i.connect(q.credential)
		if err != nil {
			return nil, nil, err
		}
		found = &session{Session: connected, slots: map[lane]chan struct{}{}}
		i.sessions[q.who] = found
	}
	in := lane{q.subscriptionID, most}
	slots, ok := found.slots[in]
	if !ok {
		slots = make(chan struct{}, most)
		found.slots[in] = slots
	}
	_, attended := i.entries[q.credential.token().key]
	found.tokens.unattended.Store(!attended)
	return found.Session, slots, nil
}
