// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the operator costs: on a real API server, with a simulated Azure and with stand-ins for
// virtual kubelets, beside the least that the same writes cost in the same run. It judges nothing.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// options are what the command line says.
type options struct {
	manager string
	out     string
	page    string
	scales  []int
	repeats int
	window  time.Duration
	phases  string
	profile string
	from    string
}

func main() {
	o := options{scales: []int{25, 100, 500}}
	flag.StringVar(&o.manager, "manager", "bin/manager", "the operator's program")
	flag.StringVar(&o.out, "out", "", "the folder that the results and the plots are written to; nothing is written unless given")
	flag.StringVar(&o.page, "page", "", "the page whose tables are written anew; none unless given")
	flag.Func("scales", "how many connectors there are, separated by commas (default 25,100,500)", func(value string) (err error) {
		o.scales, err = numbers(value)
		return err
	})
	flag.IntVar(&o.repeats, "repeats", 3, "how often what is compared is repeated")
	flag.DurationVar(&o.window, "window", time.Minute, "how long it is looked what a settled operator does")
	flag.StringVar(&o.phases, "phases", "scale,foreign,azure", "which parts to run")
	flag.StringVar(&o.profile, "profile", "", "the folder that profiles of the operator are written to; none unless given")
	flag.StringVar(&o.from, "from", "", "a results.json that tables and plots are written from, with nothing measured anew")
	flag.Parse()
	// What is measured is told by the table; the libraries have nothing to add.
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr), zap.UseDevMode(false)))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func numbers(list string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(list, ",") {
		number, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || number < 1 {
			return nil, fmt.Errorf("%q is no number of connectors", part)
		}
		out = append(out, number)
	}
	return out, nil
}

func run(ctx context.Context, o options) (err error) {
	if o.from != "" {
		return rewrite(o)
	}
	began := time.Now()
	progress := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	manager, err := filepath.Abs(o.manager)
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer func() {
		if errors.Is(err, context.Canceled) {
			err = context.Cause(ctx)
		}
		fail(nil)
	}()
	w, err := newBench(ctx, fail, manager, o.profile, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()

	results := results{Machine: machine(), Operator: w.version, Repeats: o.repeats, Window: o.window.Seconds()}
	if err := w.parts(ctx, o, &results); err != nil {
		fmt.Println(results.tables()) // what was measured until then took its time, too
		return err
	}
	progress("done")
	return results.publish(o)
}

// rewrite publishes what was measured before.
func rewrite(o options) error {
	content, err := os.ReadFile(o.from)
	if err != nil {
		return err
	}
	var results results
	if err := json.Unmarshal(content, &results); err != nil {
		return fmt.Errorf("read %s: %w", o.from, err)
	}
	return results.publish(o)
}

// publish prints the tables, and writes what is wanted.
func (r results) publish(o options) error {
	fmt.Println(r.tables())
	if o.out != "" {
		if err := r.write(o.out); err != nil {
			return err
		}
	}
	if o.page != "" {
		return r.writePage(o.page)
	}
	return nil
}

// parts runs those that are asked for.
func (w *bench) parts(ctx context.Context, o options, results *results) (err error) {
	if strings.Contains(o.phases, "scale") {
		for _, n := range o.scales {
			w.progress("%d connectors", n)
			scale, err := w.scale(ctx, n, o.repeats, o.window)
			if err != nil {
				return fmt.Errorf("with %d connectors: %w", n, err)
			}
			results.Scales = append(results.Scales, scale)
		}
	}
	// The middle one says as much of Azure, of which connectors share what is asked, and takes a fifth of the time.
	middle, largest := o.scales[len(o.scales)/2], o.scales[len(o.scales)-1]
	if strings.Contains(o.phases, "azure") {
		if results.Azure, err = w.azures(ctx, middle, o.window); err != nil {
			return fmt.Errorf("with a slow Azure: %w", err)
		}
	}
	if strings.Contains(o.phases, "foreign") {
		if results.Foreign, err = w.foreign(ctx, largest, o.window); err != nil {
			return fmt.Errorf("with a foreign load: %w", err)
		}
	}
	return nil
}
