// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// run runs a program in a folder, and returns what it printed.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-11-28T08:00:00+02:00", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	output, err := command.CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "%s %q: %s", name, args, output)
	return string(output)
}

// TestManagerSaysWhichBuildItIs tests that it says the same as one that the Makefile builds.
func TestManagerSaysWhichBuildItIs(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "go.mod"), "module "+projectModule+"\n\ngo 1.26.0\n")
	write(t, filepath.Join(root, ".gitignore"), "/bin/\n")
	write(t, filepath.Join(root, "internal/version/version.go"),
		"package version\n\nvar version, commit, date string\n\nfunc String() string { return version + \" \" + commit + \" \" + date }\n")
	write(t, filepath.Join(root, "cmd/manager/main.go"),
		"package main\n\nimport (\n\t\"fmt\"\n\n\t\""+projectModule+"/internal/version\"\n)\n\nfunc main() { fmt.Print(version.String()) }\n")
	makefile, err := filepath.Abs("../../../Makefile")
	g.Expect(err).NotTo(HaveOccurred())
	says := func() string {
		program := filepath.Join(t.TempDir(), "manager")
		g.Expect(BuildManager(t.Context(), Options{Root: root}, program)).To(Succeed())
		run(t, root, "make", "--file="+makefile, "bin/manager")
		said := run(t, root, program)
		g.Expect(said).To(Equal(run(t, root, filepath.Join(root, "bin/manager"))))
		return said
	}
	g.Expect(says()).To(Equal("  "), "what is no checkout tells nothing")

	run(t, root, "git", "init", "--quiet")
	run(t, root, "git", "add", ".")
	run(t, root, "git", "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=Begin")
	run(t, root, "git", "tag", "v1.2.3")
	commit := run(t, root, "git", "rev-parse", "HEAD")[:40]
	g.Expect(says()).To(Equal("v1.2.3 " + commit + " 2026-11-28T06:00:00Z"))
	write(t, filepath.Join(root, "go.mod"), "module "+projectModule+"\n\ngo 1.26\n")
	g.Expect(says()).To(Equal("v1.2.3-dirty " + commit + " 2026-11-28T06:00:00Z"))
}
