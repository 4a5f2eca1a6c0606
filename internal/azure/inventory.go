// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// How often and how long Azure is asked.
const (
	refreshInterval = 5 * time.Minute
	firstRetry      = 5 * time.Second
	deleteSettle    = 2 * time.Second
	deletePatience  = time.Minute
	requestTimeout  = time.Minute
	inFlight        = 8
)

// Listing is what Azure said of a target's container groups, the last time that it was asked.
type Listing struct {
	// Groups are the container groups of the resource group; meaningless with a Problem.
	Groups []ContainerGroup
	// Problem is why there is no answer.
	Problem *Problem
	// AskedAt is when the request began; zero as long as there was none.
	AskedAt time.Time
	// GoodSince is when the first of an unbroken row of answers without a Problem came.
	GoodSince time.Time
}

func (l Listing) has(name string) bool {
	return slices.ContainsFunc(l.Groups, func(g ContainerGroup) bool { return g.Name == name })
}

// OfNode returns the container groups that carry a node's tag.
func (l Listing) OfNode(node string) []ContainerGroup {
	return slices.DeleteFunc(slices.Clone(l.Groups), func(g ContainerGroup) bool { return g.NodeName != node })
}

// Inventory answers from memory which container groups a target has. It asks Azure in the background,
// so that a slow or dead Azure holds up no caller, and tells its watchers when an answer changes.
//
// A connector watches the targets that it lists, until a Sweep finds that it no longer does; what nobody
// watches is forgotten.
type Inventory struct {
	connect Connector
	clock   clock.WithDelayedExecution
	notify  func(connector string)
	slots   chan struct{}

	mu      sync.Mutex
	ctx     context.Context //nolint:containedctx // the life of the process, given by Start
	entries map[string]*entry
}

type entry struct {
	target Target
	// client keeps its tokens; nil before the first request.
	client *Client
	// watchers are told of changes; true are those that have listed since their last Sweep.
	watchers map[string]bool
	// waiting are told of the next answer, whatever it is.
	waiting map[string]struct{}

	listing Listing
	// failures and refusals are how many requests in a row have failed, to list and to delete.
	failures, refusals int

	timer   clock.Timer
	due     time.Time // when timer fires; zero without one
	running bool
	// deleting are the container groups that Azure has been asked to delete, with the time of it; zero
	// for those that it is being asked for.
	deleting map[string]time.Time
}

// NewInventory returns an Inventory that calls notify, from its own goroutines, with the name of a
// connector for which an answer came or changed.
func NewInventory(connect Connector, clk clock.WithDelayedExecution, notify func(connector string)) *Inventory {
	return &Inventory{
		connect: connect,
		clock:   clk,
		notify:  notify,
		slots:   make(chan struct{}, inFlight),
		entries: map[string]*entry{},
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
	}
}

func (i *Inventory) watched(key string, target Target, connector string) *entry {
	e, ok := i.entries[key]
	if !ok {
		e = &entry{
			target:   target,
			watchers: map[string]bool{},
			waiting:  map[string]struct{}{},
			deleting: map[string]time.Time{},
		}
		i.entries[key] = e
		i.schedule(e, i.clock.Now())
	}
	e.watchers[connector] = true
	return e
}

// List returns the last listing of a target, and whether it was asked for at since or later. Where it
// was not, Azure is asked as soon as since comes, and the connector is told of the answer.
func (i *Inventory) List(connector string, target Target, since time.Time) (Listing, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.watched(target.key(), target, connector)
	if !e.listing.AskedAt.IsZero() && !e.listing.AskedAt.Before(since) {
		return e.listing, true
	}
	e.waiting[connector] = struct{}{}
	if e.listing.Problem == nil {
		i.schedule(e, since)
	}
	return e.listing, false
}

// Delete asks Azure in the background to delete a container group, once guard, called right before,
// has agreed. The connector is told of a new listing after it. As long as Azure lists the container group,
// which is as long as the deletion takes, another Delete of it does nothing for a minute.
func (i *Inventory) Delete(connector string, target Target, group ContainerGroup, guard func(context.Context) (bool, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.watched(target.key(), target, connector)
	if _, ok := e.deleting[group.Name]; ok || i.ctx == nil {
		return
	}
	e.deleting[group.Name] = time.Time{}
	go i.delete(i.ctx, e, connector, group, guard)
}

func (i *Inventory) delete(ctx context.Context, e *entry, connector string, group ContainerGroup, guard func(context.Context) (bool, error)) {
	err := i.withClient(ctx, e, func(ctx context.Context, c *Client) error {
		live, err := c.Get(ctx, group.Name)
		if IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if live.NodeName != group.NodeName || live.PodUID != group.PodUID {
			return nil
		}
		// A guard that can't decide is asked again after the next listing, and is no fault of Azure's.
		if agreed, err := guard(ctx); err != nil || !agreed {
			return nil //nolint:nilerr // see above
		}
		return c.Delete(ctx, group.Name)
	})

	i.mu.Lock()
	defer i.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		delete(e.deleting, group.Name)
		e.refusals++
		e.listing.Problem = Explain(e.target, err)
		e.listing.AskedAt = i.clock.Now()
		i.postpone(e)
		i.tell(connector)
		return
	}
	e.refusals = 0
	e.deleting[group.Name] = i.clock.Now()
	e.waiting[connector] = struct{}{}
	if e.listing.Problem == nil {
		i.schedule(e, i.clock.Now().Add(deleteSettle))
	}
}

func (i *Inventory) withClient(ctx context.Context, e *entry, do func(context.Context, *Client) error) error {
	select {
	case i.slots <- struct{}{}:
		defer func() { <-i.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	client, err := i.client(e)
	if err != nil {
		return err
	}
	return do(ctx, client)
}

func (i *Inventory) client(e *entry) (*Client, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if e.client == nil {
		client, err := i.connect(e.target)
		if err != nil {
			return nil, err
		}
		e.client = client
	}
	return e.client, nil
}

// schedule makes sure that Azure is asked at a time or before; i.mu is held.
func (i *Inventory) schedule(e *entry, at time.Time) {
	if i.ctx == nil || i.ctx.Err() != nil {
		return
	}
	if now := i.clock.Now(); at.Before(now) {
		at = now
	}
	if !e.due.IsZero() && !e.due.After(at) {
		return
	}
	if e.timer != nil {
		e.timer.Stop()
	}
	e.due = at
	e.timer = i.clock.AfterFunc(max(0, at.Sub(i.clock.Now())), func() { go i.refresh(e) })
}

// postpone puts off the next request, whenever it was to be, as long as the failures ask for; i.mu is
// held.
func (i *Inventory) postpone(e *entry) {
	if e.timer != nil {
		e.timer.Stop()
	}
	e.due = time.Time{}
	i.schedule(e, i.clock.Now().Add(e.backoff()))
}

func (i *Inventory) refresh(e *entry) {
	i.mu.Lock()
	e.due = time.Time{}
	if e.running {
		// Those for whom the answer under way is too old ask again when they are told of it.
		i.mu.Unlock()
		return
	}
	e.running = true
	ctx := i.ctx
	askedAt := i.clock.Now()
	i.mu.Unlock()

	var groups []ContainerGroup
	err := i.withClient(ctx, e, func(ctx context.Context, c *Client) (err error) {
		askedAt = i.clock.Now()
		groups, err = c.List(ctx)
		return err
	})

	i.mu.Lock()
	defer i.mu.Unlock()
	e.running = false
	if ctx.Err() != nil {
		return
	}
	before := e.listing
	e.listing = Listing{Groups: groups, Problem: Explain(e.target, err), AskedAt: askedAt, GoodSince: before.GoodSince}
	if err != nil {
		e.failures++
		e.listing.GoodSince = time.Time{}
	} else {
		e.failures = 0
		maps.DeleteFunc(e.deleting, func(name string, asked time.Time) bool {
			return !asked.IsZero() && (i.clock.Since(asked) > deletePatience || !e.listing.has(name))
		})
		if before.GoodSince.IsZero() {
			e.listing.GoodSince = i.clock.Now()
		}
	}
	names := slices.Collect(maps.Keys(e.waiting))
	if !sameAnswer(before, e.listing) {
		names = slices.Collect(maps.Keys(e.watchers))
	}
	clear(e.waiting)
	switch {
	case len(e.watchers) == 0:
	case err != nil:
		i.postpone(e)
	default:
		i.schedule(e, i.clock.Now().Add(e.backoff()))
	}
	i.tell(names...)
}

// tell calls notify outside of the lock.
func (i *Inventory) tell(names ...string) {
	go func() {
		for _, name := range names {
			i.notify(name)
		}
	}()
}

// backoff returns how long to wait for the next request, with jitter so that the connectors of a
// cluster don't ask all at once.
func (e *entry) backoff() time.Duration {
	wait := refreshInterval
	if failures := max(e.failures, e.refusals); failures > 0 {
		wait = min(firstRetry<<min(failures-1, 10), refreshInterval)
	}
	wait += rand.N(wait / 5)
	if e.listing.Problem != nil {
		wait = max(wait, e.listing.Problem.RetryAfter)
	}
	return wait
}

// sameAnswer reports whether two listings say the same to those who only watch: whether there is a
// problem, and why.
func sameAnswer(a, b Listing) bool {
	if a.AskedAt.IsZero() != b.AskedAt.IsZero() || (a.Problem == nil) != (b.Problem == nil) {
		return false
	}
	return a.Problem == nil || a.Problem.Message == b.Problem.Message
}
