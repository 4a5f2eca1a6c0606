// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/cgroup"
)

func TestCreateAndRemove(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("control groups need root: run the tests with sudo to see this one")
	}
	g := NewWithT(t)
	g.Expect(cgroup.Missing()).To(BeEmpty())
	name := "connector-sandbox-test-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() { g.Expect(cgroup.Remove(name)).To(Succeed()) })
	g.Expect(cgroup.Create(name)).To(Succeed())
	made := find(t, name)
	g.Expect(made).NotTo(BeEmpty())
	for _, dir := range made {
		g.Expect(os.Mkdir(filepath.Join(dir, "child"), 0o755)).To(Succeed())
	}
	g.Expect(cgroup.Create(name)).To(MatchError(os.ErrExist))
	g.Expect(cgroup.Remove(name)).To(Succeed())
	g.Expect(find(t, name)).To(BeEmpty())
	g.Expect(cgroup.Remove(name)).To(Succeed())
}

func find(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/*/" + name, "/sys/fs/cgroup/" + name} {
		dirs, err := filepath.Glob(pattern)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		found = append(found, dirs...)
	}
	return found
}
