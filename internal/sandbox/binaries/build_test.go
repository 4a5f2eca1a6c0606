// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

const tinyMain = "package main\n\nfunc main() { print(version) }\n\nvar version = \"none\"\n"

// tiny is a checkout with one module of one program.
func tiny(t *testing.T) Options {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "hack/sandbox/tiny/go.mod"), "module example.com/tiny\n\ngo 1.26.0\n")
	write(t, filepath.Join(root, "hack/sandbox/tiny/main.go"), tinyMain)
	return Options{
		Root:    root,
		Cache:   filepath.Join(t.TempDir(), "cache"),
		Modules: []Module{{Name: "tiny", Programs: []Program{{Name: "tiny", Package: "."}}}},
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(path, []byte(content), 0o644)).To(Succeed())
}

func recorder(lines *[]string) func(string) {
	var mu sync.Mutex
	return func(line string) {
		mu.Lock()
		defer mu.Unlock()
		*lines = append(*lines, line)
	}
}

func TestBuildOncePerContent(t *testing.T) {
	g := NewWithT(t)
	options := tiny(t)
	var lines []string
	options.Progress = recorder(&lines)

	set, err := Build(t.Context(), options)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(set.Path("tiny")).To(BeARegularFile())
	g.Expect(set.Folders()).To(ConsistOf(filepath.Dir(set.Path("tiny"))))
	g.Expect(lines).To(ConsistOf("building 1 of 1: tiny", HavePrefix("building 1 of 1: tiny: done in")))

	lines = nil
	again, err := Build(t.Context(), options)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(Equal(set))
	g.Expect(lines).To(BeEmpty())

	write(t, filepath.Join(options.Root, "hack/sandbox/tiny/main.go"), strings.Replace(tinyMain, "none", "other", 1))
	changed, err := Build(t.Context(), options)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(changed.Path("tiny")).NotTo(Equal(set.Path("tiny")))

	options.Modules[0].Flags = []string{"-ldflags", "-X main.version=flag"}
	flagged, err := Build(t.Context(), options)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(flagged.Path("tiny")).NotTo(Equal(changed.Path("tiny")))
}

func TestBuildLeavesNoHalfProgram(t *testing.T) {
	g := NewWithT(t)
	options := tiny(t)
	stale := filepath.Join(options.Cache, temporaryPrefix+"stale", "half")
	write(t, stale, "half a program")
	main := filepath.Join(options.Root, "hack/sandbox/tiny/main.go")
	write(t, main, "package main\n\nfunc main() { undefined() }\n")

	_, err := Build(t.Context(), options)
	g.Expect(err).To(MatchError(And(ContainSubstring("building 1 of 1: tiny"), ContainSubstring("undefined"))))
	g.Expect(filepath.Glob(filepath.Join(options.Cache, "*", "*"))).To(BeEmpty())
	g.Expect(stale).NotTo(BeAnExistingFile())

	write(t, main, tinyMain)
	ctx, cancel := context.WithCancel(t.Context())
	options.Progress = func(string) { cancel() }
	_, err = Build(ctx, options)
	g.Expect(err).To(MatchError(context.Canceled))
	g.Expect(filepath.Glob(filepath.Join(options.Cache, "*", "*"))).To(BeEmpty())
}

func TestProgramsOfOldAreCleared(t *testing.T) {
	g := NewWithT(t)
	options := tiny(t)
	old, recent := filepath.Join(options.Cache, "tiny-old", "tiny"), filepath.Join(options.Cache, "tiny-recent", "tiny")
	write(t, old, "old")
	write(t, recent, "recent")
	long := time.Now().Add(-2 * keepUnused)
	g.Expect(os.Chtimes(filepath.Dir(old), long, long)).To(Succeed())
	set, err := Build(t.Context(), options)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(old).NotTo(BeAnExistingFile())
	g.Expect(recent).To(BeARegularFile())

	g.Expect(os.Chtimes(filepath.Dir(set.Path("tiny")), long, long)).To(Succeed())
	_, err = Build(t.Context(), options)
	g.Expect(err).NotTo(HaveOccurred())
	info, err := os.Stat(filepath.Dir(set.Path("tiny")))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.ModTime()).To(BeTemporally("~", time.Now(), time.Hour))
}

func TestBuildsAtOnce(t *testing.T) {
	g := NewWithT(t)
	options := tiny(t)
	g.Expect(os.MkdirAll(options.Cache, 0o755)).To(Succeed())
	release, err := lock(t.Context(), filepath.Join(options.Cache, "lock"), func() {})
	g.Expect(err).NotTo(HaveOccurred())

	waiting := make(chan struct{}, 2)
	options.Progress = func(line string) {
		if strings.Contains(line, "waiting for it") {
			waiting <- struct{}{}
		}
	}
	results := make(chan error, 2)
	for range 2 {
		go func() {
			set, err := Build(t.Context(), options)
			if err == nil {
				_, err = os.Stat(set.Path("tiny"))
			}
			results <- err
		}()
	}
	for range 2 {
		g.Eventually(waiting).WithTimeout(waitAtMost).Should(Receive())
	}
	release()
	for range 2 {
		g.Eventually(results).WithTimeout(waitAtMost).Should(Receive(BeNil()))
	}
}

const waitAtMost = 2 * time.Minute

func TestMissingPrograms(t *testing.T) {
	g := NewWithT(t)
	g.Expect(missingError([]string{"runc", "nftables"})).To(MatchError(
		"programs are missing: install the packages runc nftables (on Debian and Ubuntu: apt-get install runc nftables)"))
}

// What hack/sandbox has is what is built, and the other way round.
func TestEveryModuleIsBuilt(t *testing.T) {
	g := NewWithT(t)
	root, err := FindRoot()
	g.Expect(err).NotTo(HaveOccurred())
	found, err := filepath.Glob(filepath.Join(root, "hack", "sandbox", "*", "go.mod"))
	g.Expect(err).NotTo(HaveOccurred())
	var there, built []string
	for _, file := range found {
		there = append(there, filepath.Base(filepath.Dir(file)))
	}
	for _, module := range slices.Concat(Modules(), Flux(), OLM(), NetworkPolicies()) {
		g.Expect(filepath.Join(module.folder(root), "go.mod")).To(BeARegularFile())
		if module.Folder == "" {
			built = append(built, module.Name)
		}
		expanded, err := module.expand(module.folder(root))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(expanded.Flags).NotTo(ContainElement(ContainSubstring("${")))
	}
	g.Expect(there).To(ConsistOf(built))
}
