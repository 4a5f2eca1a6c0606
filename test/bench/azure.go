// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// azureRun is what connectors cost Azure, and what a slow Azure costs them.
type azureRun struct {
	Connectors    int `json:"connectors"`
	Subscriptions int `json:"subscriptions"`
	// Latency is that of every answer, in seconds.
	Latency float64 `json:"latency"`
	// First is after how many seconds the first connector of each subscription was Ready, with nothing known of Azure.
	First float64 `json:"first"`
	// Converge is of the others, of whose place there are facts.
	Converge cost `json:"converge"`
	// Drift is how long what somebody has deleted or edited took to be back, in seconds.
	Drift []float64 `json:"drift"`
	// Hourly are the requests in an hour, by what they ask; only where it was looked at.
	Hourly map[string]float64 `json:"hourly,omitempty"`
}

// latencies are how long Azure takes for every answer.
var latencies = []time.Duration{0, 200 * time.Millisecond, 30 * time.Second}

func (w *bench) azures(ctx context.Context, n int, window time.Duration) ([]azureRun, error) {
	var out []azureRun
	for _, spread := range []int{1, len(subscriptions)} {
		for _, latency := range latencies {
			w.progress("%d connectors in %d subscriptions, an Azure that takes %s", n, spread, latency)
			run, err := w.azureRun(ctx, n, spread, latency, window)
			if err != nil {
				return nil, fmt.Errorf("%d subscriptions, %s: %w", spread, latency, err)
			}
			out = append(out, run)
			w.progress("  first after %s; converge %s; drift repaired in %s; requests an hour %v",
				seconds(run.First), run.Converge, spreadOf(run.Drift).text(seconds), run.Hourly)
		}
	}
	return out, nil
}

func (w *bench) azureRun(ctx context.Context, n, spread int, latency, window time.Duration) (run azureRun, err error) {
	run = azureRun{Connectors: n, Subscriptions: spread, Latency: latency.Seconds()}
	if latency > 0 {
		if _, err := w.cloud.AddFault(azure.Fault{Operation: "*", Delay: latency}); err != nil {
			return run, err
		}
	}
	o, err := w.startOperator(ctx, false)
	if err != nil {
		return run, err
	}
	defer o.stop()
	user, err := w.clientAs(userUser)
	if err != nil {
		return run, err
	}
	began := time.Now()
	for i := range spread {
		if err := applyConnector(ctx, user, connectorOf(i, spread)); err != nil {
			return run, err
		}
	}
	at, err := w.watched.ready(ctx, spread)
	if err != nil {
		return run, err
	}
	run.First = at.Sub(began).Seconds()
	if err := pause(ctx, breather); err != nil {
		return run, err
	}
	run.Converge, err = w.during(ctx, o, func() (time.Time, error) {
		err := each(ctx, n-spread, func(ctx context.Context, i int) error {
			return applyConnector(ctx, user, connectorOf(spread+i, spread))
		})
		if err != nil {
			return time.Time{}, err
		}
		return w.watched.ready(ctx, n)
	})
	if err != nil {
		return run, err
	}
	if err := pause(ctx, breather); err != nil {
		return run, err
	}
	s := scale{Drift: map[string][]float64{}}
	if err := w.drift(ctx, &s, n); err != nil {
		return run, err
	}
	run.Drift = s.repairs()
	if latency == 0 {
		w.cloud.ResetRequests()
		looked := 4 * window // several times over, as what is known of Azure is asked for again each 40 s
		if err := pause(ctx, looked); err != nil {
			return run, err
		}
		run.Hourly = map[string]float64{}
		for operation, count := range w.cloud.Requests() {
			run.Hourly[operation] = float64(count) * float64(time.Hour) / float64(looked)
		}
	}
	w.cloud.ClearFaults()
	if err := each(ctx, n, func(ctx context.Context, i int) error { return user.Delete(ctx, connectorOf(i, spread)) }); err != nil {
		return run, err
	}
	if _, err := w.watched.wait(ctx, "gone", 0, func(seen) bool { return false }); err != nil {
		return run, err
	}
	return run, w.clearLeases(ctx)
}

func sum(counts map[string]float64) (total float64) {
	for _, count := range counts {
		total += count
	}
	return total
}
