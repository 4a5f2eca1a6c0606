// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	// faultLasts is how long a fault is there in each stage of a connector's life.
	faultLasts = 7 * time.Second
	// recovered is how long a connector may take when the fault is gone: Azure is asked at least every 40
	// seconds, and a container that has crashed may wait.
	recovered = 3 * time.Minute
	// A connector that begins asks a dozen questions at once, and again where the connection is dropped. What goes on
	// is no hot loop up to moreRequests a second.
	firstRequests = 48
	moreRequests  = 2
)

// Stages of a connector's life in which Azure fails.
const (
	atStart   = "start"
	atRun     = "run"
	atRemoval = "removal"
)

var wholeLife = []string{atStart, atRun, atRemoval}

// azureFault is an operation that fails in one way.
type azureFault struct {
	azure.Fault
	name   string
	stages []string
	// proven faults prove that no container group can be made, so that a connector must not start.
	proven bool
}

// failing makes the ways in which an operation fails.
func failing(operation string, stages []string, effects ...string) []azureFault {
	var faults []azureFault
	for _, effect := range effects {
		f := azureFault{Fault: azure.Fault{Operation: operation}, name: operation + " " + effect, stages: stages}
		switch effect {
		case "401":
			f.Status = http.StatusUnauthorized
		case "403":
			f.Status = http.StatusForbidden
		case "404":
			f.Status = http.StatusNotFound
		case "409":
			f.Status = http.StatusConflict
		case "429":
			f.Status, f.RetryAfter = http.StatusTooManyRequests, 3*time.Second
		case "500":
			f.Status = http.StatusInternalServerError
		case "dropped":
			f.Drop = true
		case "slow":
			f.Delay = faultLasts
		case "lagging":
			f.Lag = faultLasts
		}
		f.proven = f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden
		faults = append(faults, f)
	}
	return faults
}

func azureFaults() []azureFault {
	all := []string{"401", "403", "404", "409", "429", "500", "dropped", "slow"}
	looking := []string{"403", "429", "500", "dropped"}
	return slices.Concat(
		failing("Token", wholeLife, "401", "429", "500", "dropped", "slow"),
		failing("ContainerGroups.List", wholeLife, append(slices.Clone(all), "lagging")...),
		failing("ContainerGroups.Get", []string{atRun, atRemoval}, all...),
		failing("ContainerGroups.Create", []string{atRun}, all...),
		failing("ContainerGroups.Delete", []string{atRemoval}, all...),
		failing("Permissions.List", []string{atStart}, looking...),
		failing("DenyAssignments.List", []string{atStart}, looking...),
		failing("Providers.Get", []string{atStart}, looking...),
		failing("Location.Capabilities", []string{atStart}, looking...),
		failing("Location.Usages", []string{atStart}, looking...),
		failing("*", wholeLife, "dropped", "500"),
	)
}

// outcome is what a connector does with a fault, stage by stage.
type outcome struct {
	name string
	// said is what the connector says while the fault is there, back how long it takes to be right again.
	said map[string]string
	back map[string]time.Duration
	// own is the rate of the operator's requests a second, and all that of the virtual kubelet's too.
	own, all float64
	err      error
	// world is what there was when it failed.
	world string
}

var _ = Describe("Azure that fails", func() {
	It("is told of, is not asked in a hot loop, and is got over", func(ctx SpecContext) {
		faults := azureFaults()
		outcomes := make([]outcome, len(faults))
		free := make(chan struct{}, setting("LANES", 14))
		var running sync.WaitGroup
		for i, fault := range faults {
			running.Go(func() {
				free <- struct{}{}
				defer func() { <-free }()
				outcomes[i] = live(ctx, fault)
				fmt.Fprintf(GinkgoWriter, "%s %v %v\n", fault.name, outcomes[i].back, outcomes[i].err)
			})
		}
		running.Wait()
		AddReportEntry("faults of Azure", table(outcomes), ReportEntryVisibilityAlways)
		var failed []string
		for _, o := range outcomes {
			if o.err != nil {
				AddReportEntry(o.name, o.world, ReportEntryVisibilityFailureOrVerbose)
				failed = append(failed, o.name+": "+o.err.Error())
			}
		}
		Expect(failed).To(BeEmpty(), "faults that were not got over")
	}, SpecTimeout(25*time.Minute))
})

// live lets a connector live through a fault in each of the stages.
func live(ctx context.Context, fault azureFault) (o outcome) {
	o = outcome{name: fault.name, said: map[string]string{}, back: map[string]time.Duration{}}
	l, err := newLane(ctx)
	if err != nil {
		o.err = err
		return o
	}
	defer func() {
		if o.err != nil {
			o.world = describe(ctx, l.name)
		}
		o.err = errors.Join(o.err, l.clear(context.WithoutCancel(ctx)))
	}()
	for _, stage := range []struct {
		name       string
		begin, end func(context.Context) error
	}{
		{atStart, func(ctx context.Context) error { return k8s.Create(ctx, l.connector(v1alpha1.OSTypeLinux)) }, l.settled},
		{atRun, func(ctx context.Context) error {
			_, err := l.pod(ctx, l.name+"-under", v1alpha1.OSTypeLinux)
			return err
		}, l.settled},
		{atRemoval, func(ctx context.Context) error { return l.delete(ctx, metav1.DeletePropagationBackground) }, l.gone},
	} {
		if o.err = l.stage(ctx, fault, stage.name, stage.begin, stage.end, &o); o.err != nil {
			o.err = fmt.Errorf("%s: %w", stage.name, o.err)
			return o
		}
	}
	return o
}

// stage begins a stage of the connector's life, with the fault if that is for it, and waits for its end.
func (l *lane) stage(ctx context.Context, fault azureFault, name string, begin, end func(context.Context) error, o *outcome) error {
	if name == atRemoval {
		// Something has to be there that can be left.
		if err := l.runs(ctx, l.name+"-before"); err != nil {
			return err
		}
	}
	if !slices.Contains(fault.stages, name) {
		if err := begin(ctx); err != nil {
			return err
		}
		return until(ctx, recovered, "without a fault", end)
	}
	over, err := l.disturb(ctx, fault.Fault)
	if err != nil {
		return err
	}
	before, err := l.requests(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := begin(ctx); err != nil {
		return err
	}
	if err := l.watch(ctx, fault, name, o); err != nil {
		return errors.Join(err, over(ctx))
	}
	after, err := l.requests(ctx)
	if err != nil {
		return err
	}
	lasted := time.Since(begun).Seconds()
	asked := since(before.own, after.own)
	own := float64(total(asked))
	o.own, o.all = max(o.own, own/lasted), max(o.all, float64(total(since(before.all, after.all)))/lasted)
	switch {
	case own > firstRequests+moreRequests*lasted:
		return errors.Join(fmt.Errorf("the operator asked Azure %.0f times in %.1f s: %v", own, lasted, asked), over(ctx))
	case own == 0 && name == atStart:
		return errors.Join(fmt.Errorf("no request of the operator's was counted in %.1f s", lasted), over(ctx))
	}
	if err := over(ctx); err != nil {
		return err
	}
	start := time.Now()
	err = until(ctx, recovered, "after the fault", end)
	o.back[name] = time.Since(start).Round(100 * time.Millisecond)
	if err == nil && name == atRun {
		return l.runs(ctx, l.name+"-after")
	}
	return err
}

// watch looks at the connector as long as the fault lasts.
func (l *lane) watch(ctx context.Context, fault azureFault, stage string, o *outcome) error {
	timer := time.NewTimer(faultLasts)
	defer timer.Stop()
	for {
		c, err := l.get(ctx)
		switch {
		case apierrors.IsNotFound(err):
			o.said[stage] = "gone"
			if err := l.clean(ctx); err != nil {
				return fmt.Errorf("the connector is gone, and not all that was made for it: %w", err)
			}
		case err != nil:
			return err
		default:
			o.said[stage] = verdict(c)
			if ready := condition(c, v1alpha1.ConditionReady); stage == atStart && fault.proven && blocking(fault) && ready.Status == metav1.ConditionTrue {
				return fmt.Errorf("the connector is Ready, and Azure refuses %s: %s", fault.Operation, told(c))
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-time.After(period):
		}
	}
}

// blocking operations are those without which there are no container groups.
func blocking(f azureFault) bool {
	return f.Operation == "Token" || strings.HasPrefix(f.Operation, "ContainerGroups.")
}

// verdict is what a connector says in one word or two.
func verdict(c *v1alpha1.VirtualKubeletConnector) string {
	if retiring := condition(c, v1alpha1.ConditionRetiring); retiring.Status == metav1.ConditionTrue {
		return "Retiring " + retiring.Reason
	}
	ready := condition(c, v1alpha1.ConditionReady)
	return "Ready=" + cmp.Or(string(ready.Status), "nothing") + " " + ready.Reason
}

// requests are how many came by operation, from the operator and from all.
type requests struct{ own, all map[string]int }

// requests counts what was asked of the lane's Azure so far.
func (l *lane) requests(ctx context.Context) (requests, error) {
	own, ownErr := l.requestsOf(ctx, operator)
	all, allErr := l.requestsOf(ctx, "")
	return requests{own, all}, errors.Join(ownErr, allErr)
}

func (l *lane) requestsOf(ctx context.Context, userAgent string) (map[string]int, error) {
	sum := map[string]int{}
	for _, scope := range []string{l.scope(), l.client} {
		counts, err := cloud().RequestsIn(ctx, scope, userAgent)
		if err != nil {
			return nil, err
		}
		for operation, count := range counts {
			sum[operation] += count
		}
	}
	return sum, nil
}

// since is what was counted after another count.
func since(before, after map[string]int) map[string]int {
	more := map[string]int{}
	for operation, count := range after {
		if count > before[operation] {
			more[operation] = count - before[operation]
		}
	}
	return more
}

func total(counts map[string]int) (sum int) {
	for _, count := range counts {
		sum += count
	}
	return sum
}

// runs makes a pod and waits until it runs.
func (l *lane) runs(ctx context.Context, name string) error {
	pod, err := l.pod(ctx, name, v1alpha1.OSTypeLinux)
	if err != nil {
		return err
	}
	return l.running(ctx, pod)
}

func (l *lane) running(ctx context.Context, pod *corev1.Pod) error {
	return until(ctx, recovered, "a running pod", func(ctx context.Context) error {
		if err := k8s.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("pod %s on node %q is %s %s", pod.Name, pod.Spec.NodeName, pod.Status.Phase, pod.Status.Message)
		}
		return nil
	})
}

func table(outcomes []outcome) string {
	var text strings.Builder
	for _, o := range outcomes {
		fmt.Fprintf(&text, "%-32s %3.1f requests/s, %3.1f of the operator", o.name, o.all, o.own)
		for _, stage := range slices.Sorted(maps.Keys(o.back)) {
			fmt.Fprintf(&text, "; at %s %s, right after %s", stage, o.said[stage], o.back[stage])
		}
		text.WriteString("\n")
	}
	return text.String()
}
