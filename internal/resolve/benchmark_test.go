// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// both is a connector for both operating systems.
func both() *v1alpha1.VirtualKubeletConnector {
	return connector(func(c *v1alpha1.VirtualKubeletConnector) {
		c.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows}
	})
}

func BenchmarkResolve(b *testing.B) {
	c := both()
	b.ReportAllocs()
	for b.Loop() {
		resolve.Resolve(c, facts, defaults)
	}
}

// Every pass resolves: what that allocates is to stay what it is.
func TestAllocations(t *testing.T) {
	c := both()
	const most = 24
	NewWithT(t).Expect(testing.AllocsPerRun(100, func() { resolve.Resolve(c, facts, defaults) })).To(BeNumerically("<=", most))
}
