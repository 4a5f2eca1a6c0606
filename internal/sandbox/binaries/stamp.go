// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"context"
	"os"
	"os/exec"
	"strings"
)

// versionPackage holds what a build of the operator says of itself.
const versionPackage = projectModule + "/internal/version"

// stamp returns the flags of the linker by which the operator of a checkout says which build it is, as the Makefile does.
// What git can't tell, such as where there is none, the operator does not know.
func stamp(ctx context.Context, root string) string {
	told := map[string]string{
		"version": git(ctx, root, "describe", "--tags", "--always", "--dirty"),
		"commit":  git(ctx, root, "rev-parse", "HEAD"),
		"date":    git(ctx, root, "log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd"),
	}
	var flags []string
	for _, name := range []string{"version", "commit", "date"} {
		if told[name] != "" {
			flags = append(flags, "-X "+versionPackage+"."+name+"="+told[name])
		}
	}
	return strings.Join(flags, " ")
}

// git returns what git tells of a checkout; empty where it tells nothing.
func git(ctx context.Context, root string, args ...string) string {
	command := exec.CommandContext(ctx, "git", append([]string{"-c", "safe.directory=*"}, args...)...)
	command.Dir = root
	// To look at a checkout of another user leaves no file of root's in it.
	command.Env = append(os.Environ(), "TZ=UTC", "GIT_OPTIONAL_LOCKS=0")
	output, err := command.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(output))
}
