// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestGenerate(t *testing.T) {
	g := NewWithT(t)
	taken := map[string]int{}
	for seed := range uint64(2000) {
		h := Generate(seed)
		g.Expect(Generate(seed)).To(Equal(h), "a seed is a history")
		g.Expect(h[0].Kind).To(Equal(Create))
		g.Expect(len(h)).To(And(BeNumerically(">", fewest), BeNumerically("<=", most+2)))
		for _, a := range h {
			taken[string(a.Kind)+" "+a.What]++
			g.Expect(a.Pause).To(BeNumerically("<=", longestPause))
			fault := a.Kind == Azure || a.Kind == StopKubelet
			if fault {
				g.Expect(a.For).To(BeNumerically(">=", time.Second), "%s", a)
			} else {
				g.Expect(a.For).To(BeNumerically("<", time.Second), "%s", a)
			}
		}
	}
	for _, c := range choices {
		for _, what := range c.what {
			g.Expect(taken[string(c.kind)+" "+what]).To(BeNumerically(">", 0), "%s %s never happens", c.kind, what)
		}
	}
	g.Expect(Generate(1)).NotTo(Equal(Generate(2)))
}

func TestString(t *testing.T) {
	g := NewWithT(t)
	h := History{{Kind: Create}, {Kind: Azure, What: "Token 401", For: 2 * time.Second, Pause: 300 * time.Millisecond}}
	g.Expect(h.String()).To(Equal("  1. create\n  2. azure Token 401 for 2s, then 300ms of nothing\n"))
}

func TestShrink(t *testing.T) {
	h := History{{Kind: Create}, {Kind: Pod}, {Kind: Secret}, {Kind: DropNode}, {Kind: Change}, {Kind: Delete}, {Kind: Azure}}
	has := func(h History, kinds ...Kind) bool {
		at := 0
		for _, a := range h {
			if at < len(kinds) && a.Kind == kinds[at] {
				at++
			}
		}
		return at == len(kinds)
	}
	for name, culprits := range map[string][]Kind{
		"one":           {DropNode},
		"two":           {Create, Azure},
		"the last":      {Azure},
		"three in line": {Pod, Secret, DropNode},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			before := slices.Clone(h)
			shrunk := Shrink(h, 1000, func(h History) bool { return has(h, culprits...) })
			g.Expect(shrunk).To(HaveLen(len(culprits)))
			g.Expect(has(shrunk, culprits...)).To(BeTrue())
			g.Expect(h).To(Equal(before), "what is shrunk stays")
		})
	}
	t.Run("within its bound", func(t *testing.T) {
		g := NewWithT(t)
		tried := 0
		shrunk := Shrink(h, 3, func(h History) bool { tried++; return has(h, Create, Azure) })
		g.Expect(tried).To(Equal(3))
		g.Expect(has(shrunk, Create, Azure)).To(BeTrue())
	})
	t.Run("what does not fail again stays whole", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(Shrink(h, 1000, func(History) bool { return false })).To(Equal(h))
	})
}
