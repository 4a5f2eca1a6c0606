// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// system are the programs that come from the distribution, with Debian's packages. runc needs
// libseccomp and nft the machine's own libraries, and git is no Go program, so none is built here.
var system = []struct{ program, pkg string }{
	{"runc", "runc"},
	{"nft", "nftables"},
	{"mount", "mount"},
	{"umount", "mount"},
	{"git", "git"},
}

// systemFolders are searched after PATH, where an ordinary user's PATH has no sbin.
var systemFolders = []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"}

// AddSystem adds the programs of the distribution to a set. Those that are missing are
// installed where root and apt-get are there.
func AddSystem(ctx context.Context, set Set, progress func(string)) error {
	missing := findSystem(set)
	if len(missing) == 0 {
		return nil
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return missingError(missing)
	}
	progress("installing " + strings.Join(missing, " ") + " with apt-get")
	install := append([]string{"install", "--yes", "--no-install-recommends"}, missing...)
	if err := runApt(ctx, apt, install); err != nil {
		// A fresh machine has no lists of packages, or old ones.
		if err := runApt(ctx, apt, []string{"update"}); err != nil {
			return fmt.Errorf("%w: %w", missingError(missing), err)
		}
		if err := runApt(ctx, apt, install); err != nil {
			return fmt.Errorf("%w: %w", missingError(missing), err)
		}
	}
	if missing := findSystem(set); len(missing) > 0 {
		return missingError(missing)
	}
	return nil
}

// findSystem adds what is there and returns the packages of the rest.
func findSystem(set Set) (missing []string) {
	wanted := map[string]bool{}
	for _, s := range system {
		path, found := lookPath(s.program)
		if found {
			set[s.program] = path
		} else if !wanted[s.pkg] {
			wanted[s.pkg] = true
			missing = append(missing, s.pkg)
		}
	}
	return missing
}

func lookPath(program string) (string, bool) {
	if path, err := exec.LookPath(program); err == nil {
		return path, true
	}
	for _, folder := range systemFolders {
		if path, err := exec.LookPath(filepath.Join(folder, program)); err == nil {
			return path, true
		}
	}
	return "", false
}

func missingError(packages []string) error {
	return fmt.Errorf("programs are missing: install the packages %s (on Debian and Ubuntu: apt-get install %[1]s)", strings.Join(packages, " "))
}

func runApt(ctx context.Context, apt string, args []string) error {
	command := exec.CommandContext(ctx, apt, args...)
	command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, strings.TrimSpace(string(output)))
	}
	return nil
}
