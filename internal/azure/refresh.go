// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"
)

// schedule makes sure that Azure is asked at a time or before; i.mu is held.
func (i *Inventory) schedule(e *entry, at time.Time) {
	if i.ctx == nil || i.ctx.Err() != nil || len(e.watchers) == 0 {
		return
	}
	if now := i.clock.Now(); at.Before(now) {
		at = now
	}
	if hold := i.holds[e.limits()]; at.Before(hold) {
		at = hold
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

// limits names whose limits a question counts towards.
func (q question) limits() string { return q.who + "/" + q.subscriptionID }

// postpone puts off the next request, whenever it was to be, as long as the failures ask for; i.mu is
// held.
func (i *Inventory) postpone(e *entry) {
	if e.timer != nil {
		e.timer.Stop()
	}
	e.due = time.Time{}
	i.schedule(e, i.clock.Now().Add(i.wait(e)))
}

func (i *Inventory) refresh(e *entry) {
	i.mu.Lock()
	e.due = time.Time{}
	if e.running || len(e.watchers) == 0 {
		// Those for whom the answer under way is too old ask again when they are told of it.
		i.mu.Unlock()
		return
	}
	if i.held(e) {
		i.schedule(e, i.clock.Now())
		i.mu.Unlock()
		return
	}
	e.running = true
	ctx := i.ctx
	due := i.clock.Now()
	watchdog := i.clock.AfterFunc(max(answerPatience, 2*e.took), func() { go i.tellSilence(e, due) })
	defer watchdog.Stop()
	i.mu.Unlock()

	askedAt := due
	var value any
	err := i.withSession(ctx, e, inFlight, func(ctx context.Context, s *Session) (err error) {
		askedAt = i.clock.Now()
		value, err = e.ask(ctx, s)
		return err
	})

	i.mu.Lock()
	defer i.mu.Unlock()
	defer i.dropIfUnwatched(e)
	e.running = false
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, errHeld) {
		i.schedule(e, i.clock.Now())
		return
	}
	before := e.answer
	e.took = i.clock.Since(askedAt)
	e.take(value, e.explain(err), askedAt, i.clock.Now())
	if err == nil {
		maps.DeleteFunc(e.deleting, func(name string, asked time.Time) bool {
			return !asked.IsZero() && (i.clock.Since(asked) > deletePatience || !e.lists(name))
		})
		if e.refused != nil && !e.lists(e.refusedGroup) {
			e.refusals, e.refused = 0, nil
		}
		if !askedAt.Before(e.retryAt) {
			clear(e.putOff)
		}
	}
	names := slices.Collect(maps.Keys(e.waiting))
	if e.differs(before) {
		names = slices.Collect(maps.Keys(e.watchers))
	}
	clear(e.waiting)
	switch {
	case len(e.watchers) == 0:
	case err != nil:
		i.postpone(e)
	default:
		if !e.once {
			i.schedule(e, i.clock.Now().Add(i.wait(e)))
		}
		if len(e.putOff) > 0 {
			// Somebody has wanted this listing sooner.
			i.schedule(e, e.retryAt)
		}
		if before.Problem != nil {
			i.retryOthers(e)
		}
	}
	i.tell(names...)
}

// tellSilence notes that a question has had no answer for long; the answer may still come.
func (i *Inventory) tellSilence(e *entry, since time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !e.running || i.ctx.Err() != nil || e.answer.Problem != nil {
		return
	}
	e.answer.Problem = e.explain(errSilent)
	if !e.answer.Known() {
		e.answer.AskedAt = since
	}
	i.tell(slices.Collect(maps.Keys(e.watchers))...)
}

// take notes an answer. One that proves nothing leaves the last value in place.
func (e *entry) take(value any, problem *Problem, askedAt, now time.Time) {
	e.answer.Problem, e.answer.AskedAt = problem, askedAt
	if problem == nil || problem.Proven {
		e.answeredAt = askedAt
	}
	switch {
	case problem == nil:
		e.failures = 0
		if e.unsettled != nil && e.unsettled(value) {
			e.unsettledFor++
		} else {
			e.unsettledFor = 0
		}
		if !e.answer.Have || !reflect.DeepEqual(e.answer.Value, value) {
			e.answer.ChangedAt = now
		}
		e.answer.Value, e.answer.Have = value, true
		if groups, ok := value.([]ContainerGroup); ok {
			e.groups = groups
		}
		if e.answer.GoodSince.IsZero() {
			e.answer.GoodSince = now
		}
		return
	case problem.Proven:
		e.answer.Value, e.answer.Have = nil, false
	}
	e.failures++
	e.answer.GoodSince = time.Time{}
}

// differs reports whether the answer says something else than before to those who only watch.
func (e *entry) differs(before Answer[any]) bool {
	now := e.answer
	switch {
	case before.Known() != now.Known(), (before.Problem == nil) != (now.Problem == nil):
		return true
	case now.Problem != nil:
		return before.Problem.Message != now.Problem.Message || before.Problem.Reason != now.Problem.Reason
	}
	return !e.quiet && !before.ChangedAt.Equal(now.ChangedAt)
}

// retryOthers asks again what has failed with the credential of an entry that works again: it most likely had the
// same cause. i.mu is held.
func (i *Inventory) retryOthers(mended *entry) {
	for _, e := range i.entries {
		if e != mended && e.answer.Problem != nil && e.who == mended.who {
			i.schedule(e, i.clock.Now())
		}
	}
}

// tell calls notify outside of the lock.
func (i *Inventory) tell(names ...string) {
	go func() {
		for _, name := range names {
			i.notify(name)
		}
	}()
}

// wait returns how long to wait for the next request, with jitter so that not all is asked at once; i.mu is held.
func (i *Inventory) wait(e *entry) time.Duration {
	wait := i.interval(e)
	failures := e.unsettledFor
	if e.answer.Problem != nil || e.refused != nil {
		failures = max(e.failures, e.refusals)
	}
	if failures > 0 {
		wait = min(firstRetry<<min(failures-1, 10), lastRetry)
	}
	wait += rand.N(wait / 10)
	return max(wait, e.retryAfter())
}

// retryAfter is how long Azure asked to wait, with the last answer to a look or to a wish to delete.
func (e *entry) retryAfter() time.Duration {
	var wanted time.Duration
	for _, problem := range []*Problem{e.answer.Problem, e.refused} {
		if problem != nil {
			wanted = max(wanted, problem.RetryAfter)
		}
	}
	return wanted
}

func (i *Inventory) interval(e *entry) time.Duration {
	asked := 0
	for _, other := range i.entries {
		if other.limits() == e.limits() && !other.once {
			asked++
		}
	}
	return max(refreshInterval, time.Duration(asked)*perQuestion)
}
