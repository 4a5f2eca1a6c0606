// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package kills ends the operator, or its connections, at each of its writes, and sees that what it began is finished.
package kills

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
)

func TestKills(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Killed at every write")
}

// laneCount is how many worlds are there side by side: their runs wait most of the time.
const laneCount = 4

var (
	lanes    []*lane
	programs binaries.Set
)

var _ = BeforeSuite(func(ctx SpecContext) {
	// Errors only: an operator that is killed has many, and one that is started says much.
	ctrl.SetLogger(funcr.New(func(prefix, args string) { GinkgoWriter.Println(prefix, args) }, funcr.Options{Verbosity: -1}))
	var err error
	programs, err = binaries.Build(ctx, binaries.Options{Progress: func(line string) { GinkgoWriter.Println(line) }})
	Expect(err).NotTo(HaveOccurred())
	dir := GinkgoT().TempDir()
	lanes = make([]*lane, laneCount)
	var group errgroup.Group
	for i := range lanes {
		group.Go(func() (err error) {
			lanes[i], err = newLane(ctx, fmt.Sprint("lane-", i), dir, programs)
			return err
		})
	}
	Expect(group.Wait()).To(Succeed())
}, NodeTimeout(45*time.Minute))

var _ = AfterSuite(func() {
	for _, l := range lanes {
		if l != nil {
			Expect(l.killOperator()).To(Succeed())
		}
	}
})

var _ = Describe("An operator that is killed at a write", func() {
	It("is followed by one that finishes what it began, whichever write it was", func(ctx SpecContext) {
		undisturbed, err := measure(ctx, lanes[0])
		Expect(err).NotTo(HaveOccurred())
		Expect(undisturbed.states[len(scenario)-1]).To(BeEmpty(), "an undisturbed run leaves something")
		for i, s := range scenario {
			AddReportEntry(s.name, fmt.Sprintf("%d writes undisturbed", undisturbed.writes[i]))
		}

		cuts := []cut{answered, lost, unheard}
		dealer := &dealer{cuts: cuts, k: 1}
		start := time.Now()
		var group sync.WaitGroup
		for _, l := range lanes {
			group.Go(func() {
				defer GinkgoRecover()
				dealer.play(ctx, l, undisturbed)
			})
		}
		group.Wait()
		AddReportEntry("kills", fmt.Sprintf("%d in %d runs, %s", dealer.kills, dealer.runs, time.Since(start).Round(time.Second)))
		Expect(errors.Join(dealer.failures...)).NotTo(HaveOccurred())
		// How often the status is written is not the same in any two runs.
		Expect(dealer.kills).To(BeNumerically(">=", len(cuts)*total(undisturbed.writes)*8/10), "there are writes that no operator was killed at")
	}, SpecTimeout(15*time.Minute))
})

func total(counts []int) int {
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}

// dealer hands the writes out to the lanes, until there is no step with so many.
type dealer struct {
	mu          sync.Mutex
	cuts        []cut
	k           int
	kills, runs int
	failures    []error
}

// maxFailures ends a suite that has told enough.
const maxFailures = 5

func (d *dealer) next() (c cut, k int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.cuts) == 0 || len(d.failures) >= maxFailures {
		return "", 0, false
	}
	d.k++
	return d.cuts[0], d.k - 1, true
}

// ended notes a run. One in which nobody was killed was the last for the answers that are cut so.
func (d *dealer) ended(c cut, kills []kill, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs++
	d.kills += len(kills)
	if err != nil {
		d.failures = append(d.failures, err)
	} else if len(kills) == 0 && len(d.cuts) > 0 && d.cuts[0] == c {
		d.cuts, d.k = d.cuts[1:], 1
	}
}

func (d *dealer) play(ctx context.Context, l *lane, undisturbed reference) {
	for ctx.Err() == nil {
		c, k, ok := d.next()
		if !ok {
			return
		}
		start := time.Now()
		kills, err := disturb(ctx, l, undisturbed, k, c)
		GinkgoWriter.Printf("RUN %s: %s at write %d, %s: %v: %v\n", l.name, c, k, time.Since(start).Round(time.Millisecond), kills, err)
		if err != nil {
			if cleared := l.clear(ctx); cleared != nil {
				d.ended(c, kills, errors.Join(err, fmt.Errorf("clearing %s: %w", l.name, cleared)))
				return
			}
		}
		d.ended(c, kills, err)
	}
}
