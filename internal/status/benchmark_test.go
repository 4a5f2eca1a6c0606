// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/status"
)

func BenchmarkCompute(b *testing.B) {
	in := settled()
	b.ReportAllocs()
	for b.Loop() {
		status.Compute(in)
	}
}

// Every pass computes the status: what that allocates is to stay what it is.
func TestAllocations(t *testing.T) {
	in := settled()
	const most = 55
	NewWithT(t).Expect(testing.AllocsPerRun(100, func() { status.Compute(in) })).To(BeNumerically("<=", most))
}
