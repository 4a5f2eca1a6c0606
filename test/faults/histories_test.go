// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/test/history"
)

const (
	// settleTimeout is longer than the slowest way back: a virtual kubelet looks every five minutes for
	// container groups without a pod.
	settleTimeout = 7 * time.Minute
	// slow is what is worth a line in the summary.
	slow = 90 * time.Second
	// historyTimeout is more than a history with all its waits can take.
	historyTimeout = 20 * time.Minute
)

// setting reads a number from the environment.
func setting(name string, standard uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	number, err := strconv.ParseUint(text, 10, 64)
	Expect(err).NotTo(HaveOccurred(), "%s=%s", name, text)
	return number
}

// result is how a history went.
type result struct {
	seed    uint64
	history history.History
	// phases are how long its parts took.
	phases []phase
	// log is what was done when.
	log string
	err error
	// world is what there was when it failed, and shrunk a shorter history that fails as well.
	world  string
	shrunk history.History
}

type phase struct {
	name string
	took time.Duration
}

func (p phase) String() string { return p.name + " " + p.took.String() }

func (r result) took(name string) time.Duration {
	for _, p := range r.phases {
		if p.name == name {
			return p.took
		}
	}
	return 0
}

// Names of phases.
const (
	acting   = "actions"
	settling = "settling"
	probing  = "probing"
	resting  = "resting"
	removing = "removing"
)

var _ = Describe("A random history", Label("histories"), func() {
	It("comes to rest as its connector asks for, and leaves nothing", func(ctx SpecContext) {
		base, count := setting("SEED", 1), setting("HISTORIES", 10)
		tries := int(setting("SHRINK", 0))
		fmt.Fprintf(GinkgoWriter, "SEED=%d HISTORIES=%d\n", base, count)

		begun := time.Now()
		seeds := make(chan uint64)
		results := make(chan result)
		var workers sync.WaitGroup
		for range min(count, setting("LANES", 10)) {
			workers.Go(func() {
				for seed := range seeds {
					results <- play(ctx, seed, history.Generate(seed))
				}
			})
		}
		go func() {
			defer close(results)
			defer workers.Wait()
			defer close(seeds)
			for seed := base; seed < base+count; seed++ {
				select {
				case seeds <- seed:
				case <-ctx.Done():
					return
				}
			}
		}()
		var all []result
		for r := range results {
			all = append(all, r)
			verdict := "ok"
			if r.err != nil {
				verdict = "FAILED: " + r.err.Error()
			}
			fmt.Fprintf(GinkgoWriter, "%4d of %d after %s: seed %d, %v %s\n",
				len(all), count, time.Since(begun).Round(time.Second), r.seed, r.phases, verdict)
		}
		summary := summarise(all, time.Since(begun))
		for i := range all {
			if r := &all[i]; r.err != nil && tries > 0 {
				r.shrunk = history.Shrink(r.history, tries, func(h history.History) bool { return play(ctx, r.seed, h).err != nil })
			}
		}
		AddReportEntry("histories", summary, ReportEntryVisibilityAlways)
		Expect(all).To(HaveLen(int(count)), "histories that were played")
		var failed []string
		for _, r := range all {
			if r.err != nil {
				AddReportEntry(fmt.Sprintf("the history of seed %d", r.seed), r.record(), ReportEntryVisibilityAlways)
				failed = append(failed, fmt.Sprintf("seed %d: %v", r.seed, r.err))
			}
		}
		Expect(failed).To(BeEmpty(), "histories that failed")
	}, SpecTimeout(6*time.Hour))
})

// play runs a history in a lane of its own, lets it come to rest, looks at it, and removes all of it.
func play(ctx context.Context, seed uint64, h history.History) (r result) {
	r = result{seed: seed, history: h}
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	l, err := newLane(ctx)
	if err != nil {
		r.err = err
		return r
	}
	p := &player{lane: l, begun: time.Now()}
	defer func() {
		if r.err != nil {
			r.world = describe(ctx, l.name)
		}
		r.log = p.log.String()
		p.note("clearing away")
		if err := l.clear(context.WithoutCancel(ctx)); err != nil && r.err == nil {
			r.err = err
		}
	}()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{acting, func(ctx context.Context) error { return p.act(ctx, h) }},
		{settling, func(ctx context.Context) error { return until(ctx, settleTimeout, "at rest", l.settled) }},
		{probing, l.runsPods},
		{resting, func(ctx context.Context) error { return l.rests(ctx, quietTimeout) }},
		{removing, func(ctx context.Context) error {
			if err := l.delete(ctx, metav1.DeletePropagationBackground); err != nil {
				return err
			}
			return until(ctx, settleTimeout, "removed", l.gone)
		}},
	} {
		p.note("%s", step.name)
		start := time.Now()
		err := step.do(ctx)
		r.phases = append(r.phases, phase{step.name, time.Since(start).Round(100 * time.Millisecond)})
		if err != nil {
			r.err = fmt.Errorf("%s (%s): %w", step.name, l.name, err)
			return r
		}
	}
	return r
}

// record is all that is known of a history that failed.
func (r result) record() string {
	text := fmt.Sprintf("SEED=%d HISTORIES=1 make chaos\n%v\n%s\n%s\n%s", r.seed, r.err, r.history, r.log, r.world)
	if r.shrunk != nil {
		text += fmt.Sprintf("\nthe shortest part that failed as well:\n%s", r.shrunk)
	}
	return text
}

// summarise is a table of what was done and how long it took.
func summarise(all []result, took time.Duration) string {
	var text strings.Builder
	failed, actions, kinds := 0, 0, map[history.Kind]int{}
	for _, r := range all {
		if r.err != nil {
			failed++
		}
		for _, a := range r.history {
			actions++
			kinds[a.Kind]++
		}
	}
	fmt.Fprintf(&text, "%d histories, %d failed, %d actions, %s, %.1f s for each\n",
		len(all), failed, actions, took.Round(time.Second), took.Seconds()/float64(max(1, len(all))))
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Fprintf(&text, "%6d %s\n", kinds[kind], kind)
	}
	for _, name := range []string{acting, settling, probing, resting, removing} {
		var times []time.Duration
		for _, r := range all {
			times = append(times, r.took(name))
		}
		fmt.Fprintf(&text, "%-10s median %s, longest %s\n", name, median(times), slices.Max(append(times, 0)))
	}
	for _, r := range all {
		if r.took(settling) > slow || r.took(removing) > slow {
			fmt.Fprintf(&text, "slow: seed %d %v\n%s", r.seed, r.phases, r.history)
		}
	}
	return text.String()
}

func median(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}
