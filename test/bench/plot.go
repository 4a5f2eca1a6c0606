// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"image/color"
	"path/filepath"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// series is one line of a plot: a spread for each number of connectors.
type series struct {
	name string
	of   func(scale) spread
}

var colors = []color.Color{color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}, color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 0xff}}

// plot draws what grows with the number of connectors.
func (r results) plot(folder string) error {
	if len(r.Scales) == 0 {
		return nil
	}
	total := func(costs func(scale) []cost, figure func(cost) float64) func(scale) spread {
		return func(s scale) spread { return spreadOf(of(costs(s), figure)) }
	}
	return errors.Join(
		r.draw(filepath.Join(folder, "converge.svg"), "From kubectl apply until all are Ready", "seconds",
			series{"operator", total(func(s scale) []cost { return s.Converge }, secondsOf)},
			series{"bare writes", total(func(s scale) []cost { return s.FloorConverge }, secondsOf)}),
		r.draw(filepath.Join(folder, "change.svg"), "Another image for all", "seconds",
			series{"operator", total(func(s scale) []cost { return s.Change }, secondsOf)},
			series{"bare writes", total(func(s scale) []cost { return s.FloorChange }, secondsOf)}),
		r.draw(filepath.Join(folder, "memory.svg"), "Memory of a settled operator", "MiB",
			series{"resident", total(func(s scale) []cost { return s.Settled }, func(c cost) float64 { return c.RSS / (1 << 20) })},
			series{"of it, pages of its program", total(func(s scale) []cost { return s.Settled }, func(c cost) float64 { return c.Program / (1 << 20) })}),
		r.draw(filepath.Join(folder, "drift.svg"), "Until what was deleted or edited is back", "milliseconds",
			series{"all kinds", func(s scale) spread {
				all := spreadOf(s.repairs())
				return spread{all.least * 1000, all.median * 1000, all.most * 1000}
			}}),
	)
}

func (r results) draw(path, title, unit string, lines ...series) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, "connectors", unit
	p.X.Min = 0
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	for i, line := range lines {
		points := spreads{}
		for _, s := range r.Scales {
			points = append(points, point{x: float64(s.Connectors), spread: line.of(s)})
		}
		drawn, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		bars, err := plotter.NewYErrorBars(points)
		if err != nil {
			return err
		}
		drawn.Color, marks.Color, bars.Color = colors[i], colors[i], colors[i]
		p.Add(drawn, marks, bars)
		p.Legend.Add(line.name, drawn, marks)
	}
	p.Y.Min = 0
	p.X.Tick.Marker, p.Y.Tick.Marker = labeled(r.Scales), plain{}
	p.X.Max *= 1.05 // the last label needs room
	p.Y.Max *= 1.15 // and so does the legend
	return p.Save(14*vg.Centimeter, 9*vg.Centimeter, path)
}

// labeled are ticks at the numbers of connectors that were measured.
func labeled(scales []scale) plot.ConstantTicks {
	ticks := make(plot.ConstantTicks, 0, len(scales)+1)
	ticks = append(ticks, plot.Tick{Label: "0"})
	for _, s := range scales {
		ticks = append(ticks, plot.Tick{Value: float64(s.Connectors), Label: strconv.Itoa(s.Connectors)})
	}
	return ticks
}

// plain are the ticks that the library would make, with no more digits than they need.
type plain struct{}

// Ticks returns them.
func (plain) Ticks(least, most float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = strconv.FormatFloat(ticks[i].Value, 'g', 6, 64)
		}
	}
	return ticks
}

// spreads are points with what they spread over.
type spreads []point

type point struct {
	x      float64
	spread spread
}

// Len, XY and YError are what the plotting library asks for.
func (s spreads) Len() int { return len(s) }

// XY returns a point.
func (s spreads) XY(i int) (x, y float64) { return s[i].x, s[i].spread.median }

// YError returns how far below and above it reaches.
func (s spreads) YError(i int) (below, above float64) {
	return s[i].spread.median - s[i].spread.least, s[i].spread.most - s[i].spread.median
}
