// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package sandbox

import (
	"os/exec"
	"testing"

	. "github.com/onsi/gomega"
)

// TestKilledIsNotRunning tests that a process is not running from the moment on that it is killed, however long it takes
// to end.
func TestKilledIsNotRunning(t *testing.T) {
	g := NewWithT(t)
	for range 100 {
		command := exec.Command("sleep", "60")
		g.Expect(command.Start()).To(Succeed())
		process, err := identify(command.Process.Pid)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(process.running()).To(BeTrue())
		g.Expect(command.Process.Kill()).To(Succeed())
		g.Expect(process.running()).To(BeFalse())
		g.Expect(command.Wait()).To(MatchError("signal: killed"))
	}
}
