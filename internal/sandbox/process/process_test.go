// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/process"
)

const (
	atMost = 20 * time.Second
	period = 20 * time.Millisecond
)

func shell(t *testing.T, script string) process.Spec {
	t.Helper()
	return process.Spec{Name: "script", Path: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log")}
}

func TestEndIsToldWithTheLog(t *testing.T) {
	g := NewWithT(t)
	p, err := process.Start(shell(t, "echo what went wrong; exit 3"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(p.Done()).WithTimeout(atMost).Should(BeClosed())
	g.Expect(p.Err()).To(MatchError(And(ContainSubstring("exit status 3"), ContainSubstring("what went wrong"))))
}

func TestStopAsksThenKills(t *testing.T) {
	g := NewWithT(t)
	for _, script := range []string{"exec sleep 600", "trap '' TERM; echo ready; while :; do sleep 0.1; done"} {
		spec := shell(t, script)
		p, err := process.Start(spec)
		g.Expect(err).NotTo(HaveOccurred())
		if strings.Contains(script, "ready") {
			g.Eventually(func() string { return process.Tail(spec.Log) }, atMost, period).Should(ContainSubstring("ready"))
		}
		p.Stop(200 * time.Millisecond)
		g.Expect(p.Done()).To(BeClosed())
		g.Expect(p.Err()).NotTo(HaveOccurred())
	}
}

func TestRestart(t *testing.T) {
	g := NewWithT(t)
	spec := shell(t, "echo started $$; exec sleep 600")
	spec.Restart = true
	p, err := process.Start(spec)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { p.Stop(time.Second) })
	starts := func() []string { return strings.Fields(strings.ReplaceAll(process.Tail(spec.Log), "started", "")) }
	g.Eventually(starts, atMost, period).Should(HaveLen(1))
	pid, err := strconv.Atoi(starts()[0])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(syscall.Kill(pid, syscall.SIGKILL)).To(Succeed())
	g.Eventually(starts, atMost, period).Should(HaveLen(2))
	g.Expect(p.Err()).NotTo(HaveOccurred())
}

func TestStartFails(t *testing.T) {
	g := NewWithT(t)
	_, err := process.Start(process.Spec{Name: "nothing", Path: "/no/such/program", Log: filepath.Join(t.TempDir(), "log")})
	g.Expect(err).To(And(MatchError(ContainSubstring("starting nothing")), MatchError(os.ErrNotExist)))
}

func TestTailOfALongLog(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "log")
	g.Expect(os.WriteFile(path, []byte(strings.Repeat("a line of a log\n", 10000)+"the last\n"), 0o600)).To(Succeed())
	g.Expect(strings.Split(process.Tail(path), "\n")).To(HaveLen(15))
	g.Expect(process.Tail(path)).To(HaveSuffix("the last"))
	g.Expect(process.Tail(path + "x")).To(ContainSubstring("no such file"))
}
