// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/render"
)

func BenchmarkNode(b *testing.B) {
	r := resolved(func(*input) {})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := render.Node(r, r.Nodes[0], serving); err != nil {
			b.Fatal(err)
		}
	}
}

// Every pass renders: what that allocates is to stay what it is.
func TestAllocations(t *testing.T) {
	g := NewWithT(t)
	r := resolved(func(*input) {})
	const most = 330
	g.Expect(testing.AllocsPerRun(100, func() {
		_, err := render.Node(r, r.Nodes[0], serving)
		g.Expect(err).NotTo(HaveOccurred())
	})).To(BeNumerically("<=", most))
}
