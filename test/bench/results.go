// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// results are all that was measured.
type results struct {
	Machine  string `json:"machine"`
	Operator string `json:"operator"`
	Repeats  int    `json:"repeats"`
	// Window is how long it was looked what a settled operator does, in seconds.
	Window  float64    `json:"window"`
	Scales  []scale    `json:"scales"`
	Azure   []azureRun `json:"azure"`
	Foreign *foreign   `json:"foreign"`
}

// machine says what was measured on.
func machine() string {
	model := "unknown processor"
	if content, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(content)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	memory, _ := pairs("/proc/meminfo")
	return fmt.Sprintf("%d cores of %s, %.0f GiB, %s %s, %s", runtime.NumCPU(), model, memory["MemTotal"]/1024/1024, runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// spread is the least, the middle and the most of what was measured.
type spread struct{ least, median, most float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		middle = (middle + sorted[len(sorted)/2-1]) / 2
	}
	return spread{least: sorted[0], median: middle, most: sorted[len(sorted)-1]}
}

// text writes a spread as its median, with the least and the most where they differ from it.
func (s spread) text(unit func(float64) string) string {
	if unit(s.least) == unit(s.most) {
		return unit(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", unit(s.median), unit(s.least), unit(s.most))
}

func seconds(v float64) string {
	if v < 1 {
		return fmt.Sprintf("%.0f ms", v*1000)
	}
	return fmt.Sprintf("%.1f s", v)
}

func milliseconds(v float64) string { return fmt.Sprintf("%.1f ms", v*1000) }

func number(v float64) string { return fmt.Sprintf("%.1f", v) }

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }

func mebibytes(v float64) string { return fmt.Sprintf("%.1f MiB", v/(1<<20)) }

func kibibytes(v float64) string { return fmt.Sprintf("%.0f KiB", v/(1<<10)) }

func ratio(v float64) string { return fmt.Sprintf("%.2f", v) }

func percent(v float64) string { return fmt.Sprintf("%.2f %%", v*100) }

func (m memory) String() string {
	return fmt.Sprintf("%s resident, %s of heap", mebibytes(m.RSS), mebibytes(m.Heap))
}

func (c cost) String() string {
	return fmt.Sprintf("%s: %d requests, %d of them writes, %d events, %d reconciles; CPU %.2f s operator, %.1f s API server, %.1f s etcd; %s in, %s out; %s resident; %d requests of others",
		seconds(c.Seconds), c.Requests, c.Writes, c.Events, c.Reconciles, c.OperatorCPU, c.APIServerCPU, c.EtcdCPU,
		mebibytes(c.Read), mebibytes(c.Written), mebibytes(c.RSS), c.Others)
}

// of reads one figure of each cost.
func of(costs []cost, figure func(cost) float64) []float64 {
	out := make([]float64, 0, len(costs))
	for _, c := range costs {
		out = append(out, figure(c))
	}
	return out
}

func secondsOf(c cost) float64 { return c.Seconds }

// ratios compares each round of the operator with the bare writes of the same round.
func ratios(costs, floors []cost) []float64 {
	var out []float64
	for i := range min(len(costs), len(floors)) {
		out = append(out, costs[i].Seconds/floors[i].Seconds)
	}
	return out
}

// table writes rows in Markdown.
func table(head []string, rows [][]string) string {
	var out strings.Builder
	line := func(cells []string) { fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = "---:"
	}
	rule[0] = "---"
	line(rule)
	for _, row := range rows {
		line(row)
	}
	return out.String()
}

// tables writes all that was measured.
func (r results) tables() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured on %s; %s. Figures are medians, with the least and the most; rounds: %d.\n", r.Machine, r.Operator, r.Repeats)
	if len(r.Scales) > 0 {
		out.WriteString(r.scaleTables())
	}
	if r.Foreign != nil {
		out.WriteString(r.Foreign.table())
	}
	if len(r.Azure) > 0 {
		out.WriteString(azureTable(r.Azure))
	}
	return out.String()
}

func (r results) scaleTables() string {
	head := []string{"connectors"}
	for _, s := range r.Scales {
		head = append(head, fmt.Sprint(s.Connectors))
	}
	rows := [][]string{}
	row := func(name string, of func(scale) string) {
		cells := []string{name}
		for _, s := range r.Scales {
			cells = append(cells, of(s))
		}
		rows = append(rows, cells)
	}
	per := func(costs func(scale) []cost, unit func(float64) string, figure func(cost) float64) func(scale) string {
		return func(s scale) string {
			return spreadOf(of(costs(s), func(c cost) float64 { return figure(c) / float64(s.Connectors) })).text(unit)
		}
	}
	total := func(costs func(scale) []cost, unit func(float64) string, figure func(cost) float64) func(scale) string {
		return func(s scale) string { return spreadOf(of(costs(s), figure)).text(unit) }
	}
	converge := func(s scale) []cost { return s.Converge }
	floorConverge := func(s scale) []cost { return s.FloorConverge }
	change := func(s scale) []cost { return s.Change }
	floorChange := func(s scale) []cost { return s.FloorChange }
	restart := func(s scale) []cost { return s.Restart }
	remove := func(s scale) []cost { return s.Remove }
	requests := func(c cost) float64 { return float64(c.Requests) }
	writes := func(c cost) float64 { return float64(c.Writes) }
	events := func(c cost) float64 { return float64(c.Events) }
	writesAndEvents := func(c cost) float64 { return float64(c.Writes + c.Events) }
	passes := func(c cost) float64 { return float64(c.Reconciles) }
	operatorCPU := func(c cost) float64 { return c.OperatorCPU }
	apiServerCPU := func(c cost) float64 { return c.APIServerCPU }
	read := func(c cost) float64 { return c.Read }
	written := func(c cost) float64 { return c.Written }

	var out strings.Builder
	section := func(title string) {
		if len(rows) > 0 {
			out.WriteString(table(head, rows))
		}
		rows = nil
		if title != "" {
			fmt.Fprintf(&out, "\n**%s**\n\n", title)
		}
	}
	compared := func(title string, costs, floors func(scale) []cost) {
		section(title)
		row("operator", total(costs, seconds, secondsOf))
		row("bare writes", total(floors, seconds, secondsOf))
		row("ratio", func(s scale) string { return spreadOf(ratios(costs(s), floors(s))).text(ratio) })
		row("requests per connector", per(costs, number, requests))
		row("writes per connector", per(costs, number, writes))
		row("bare writes per connector", per(floors, number, writes))
		row("events per connector", per(costs, number, events))
		row("reconciles per connector", per(costs, number, passes))
		row("read per connector", per(costs, kibibytes, read))
		row("written per connector", per(costs, kibibytes, written))
		row("operator's CPU per connector", per(costs, milliseconds, operatorCPU))
		row("API server's CPU per connector", per(costs, milliseconds, apiServerCPU))
		row("the same of bare writes", per(floors, milliseconds, apiServerCPU))
	}
	compared("Converge: from kubectl apply until all are Ready", converge, floorConverge)
	compared("Change: another image for all", change, floorChange)
	section("Drift: until what was deleted or edited is back")
	var kinds []string
	for _, s := range r.Scales {
		for kind := range s.Drift {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	for _, kind := range slices.Compact(kinds) {
		row(kind, func(s scale) string { return spreadOf(s.Drift[kind]).text(seconds) })
	}
	section(fmt.Sprintf("Settled: %.0f s of heartbeats", r.Window))
	settled := func(s scale) []cost { return s.Settled }
	windows := func(name string, costs func(scale) []cost) {
		row("requests"+name, total(costs, whole, requests))
		row("writes and events"+name, total(costs, whole, writesAndEvents))
		row("reconciles"+name, total(costs, whole, passes))
		row("CPU of a core"+name, total(costs, percent, func(c cost) float64 { return c.OperatorCPU / c.Seconds }))
		row("requests of the stand-ins"+name, total(costs, whole, func(c cost) float64 { return float64(c.Others) }))
	}
	windows("", settled)
	windows(", with a status of each Node every 10 s", func(s scale) []cost { return []cost{s.Beaten} })
	row("resident memory", total(settled, mebibytes, func(c cost) float64 { return c.RSS }))
	row("resident memory, pages of its program", total(settled, mebibytes, func(c cost) float64 { return c.Program }))
	section("Restart: until it has come to rest")
	row("operator", total(restart, seconds, secondsOf))
	row("requests", total(restart, whole, requests))
	row("writes and events", total(restart, whole, writesAndEvents))
	row("reconciles per connector", per(restart, number, passes))
	row("operator's CPU", total(restart, seconds, operatorCPU))
	section("Remove: until all are gone")
	row("operator", total(remove, seconds, secondsOf))
	row("requests per connector", per(remove, number, requests))
	row("writes per connector", per(remove, number, writes))
	row("events per connector", per(remove, number, events))
	row("reconciles per connector", per(remove, number, passes))
	row("operator's CPU per connector", per(remove, milliseconds, operatorCPU))
	section("")
	return out.String()
}

func (f *foreign) table() string {
	rows := [][]string{}
	row := func(name string, of func(memory, cost) string) {
		rows = append(rows, []string{name, of(f.Before, f.AtRest), of(f.Loaded, f.WithLoad), of(f.Churned, f.WhileChurning)})
	}
	row("resident memory", func(m memory, _ cost) string { return mebibytes(m.RSS) })
	row("heap", func(m memory, _ cost) string { return mebibytes(m.Heap) })
	row("CPU of a core", func(_ memory, c cost) string { return percent(c.OperatorCPU / c.Seconds) })
	row("reconciles", func(_ memory, c cost) string { return fmt.Sprint(c.Reconciles) })
	row("requests", func(_ memory, c cost) string { return fmt.Sprint(c.Requests) })
	row("read", func(_ memory, c cost) string { return kibibytes(c.Read) })
	return fmt.Sprintf("\n**Foreign load: %d connectors beside %d nodes, %d pods and %d Secrets of others, %d changes of them in the last window**\n\n%s\nAn operator that starts with all of it has %s.\n",
		f.Connectors, f.Nodes, f.Pods, f.Secrets, f.Changes, table([]string{"", "before", "with it", "while it changes"}, rows), f.Restarted)
}

func azureTable(runs []azureRun) string {
	var rows [][]string
	for _, r := range runs {
		hourly := "not looked at"
		if r.Hourly != nil {
			hourly = whole(sum(r.Hourly))
		}
		rows = append(rows, []string{
			fmt.Sprintf("%d, %s", r.Subscriptions, seconds(r.Latency)), seconds(r.First), seconds(r.Converge.Seconds),
			spreadOf(r.Drift).text(seconds), hourly,
		})
	}
	return fmt.Sprintf("\n**Azure: %d connectors**\n\n%s", runs[0].Connectors,
		table([]string{"subscriptions, latency", "first connectors Ready", "all others Ready", "drift repaired", "requests an hour"}, rows))
}

// write writes the results and the plots into a folder.
func (r results) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(folder, "results.json"), append(content, '\n'), 0o644), r.plot(folder))
}

// Marks of the part of a page that is written anew.
const (
	pageBegin = "<!-- BEGIN make bench -->\n"
	pageEnd   = "<!-- END make bench -->"
)

// writePage puts the tables into a page, between its marks.
func (r results) writePage(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(content), pageBegin)
	_, after, ended := strings.Cut(rest, pageEnd)
	if !ok || !ended {
		return fmt.Errorf("%s lacks the marks %q and %q", path, strings.TrimSpace(pageBegin), pageEnd)
	}
	return os.WriteFile(path, []byte(before+pageBegin+"\n"+r.tables()+"\n"+pageEnd+after), 0o644)
}
