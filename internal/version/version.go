// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package version says which build a program is; it knows only what the build has put into it.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// What a build stamps, by -ldflags "-X …/internal/version.version=…".
var version, commit, date string

// unknown stands for what neither the build nor Go's own record of it tells.
const unknown = "unknown"

// Info says which build a program is.
type Info struct {
	// Version is the release, or what git describes a commit between two by.
	Version string
	// Commit is the commit in full, Date when it was made: a build of the same commit is the same.
	Commit, Date string
	// Go is the version of Go that the program was built with.
	Go string
}

// Get returns which build this program is.
func Get() Info {
	recorded, _ := debug.ReadBuildInfo()
	return info(Info{Version: version, Commit: commit, Date: date, Go: runtime.Version()}, recorded)
}

// info completes what was stamped by what Go has recorded, if it has.
func info(stamped Info, recorded *debug.BuildInfo) Info {
	if recorded != nil {
		if recorded.Main.Version != "(devel)" {
			stamped.Version = cmp.Or(stamped.Version, recorded.Main.Version)
		}
		for _, setting := range recorded.Settings {
			switch setting.Key {
			case "vcs.revision":
				stamped.Commit = cmp.Or(stamped.Commit, setting.Value)
			case "vcs.time":
				stamped.Date = cmp.Or(stamped.Date, setting.Value)
			}
		}
	}
	stamped.Version = cmp.Or(stamped.Version, unknown)
	stamped.Commit = cmp.Or(stamped.Commit, unknown)
	stamped.Date = cmp.Or(stamped.Date, unknown)
	return stamped
}

// String says it in one line.
func (i Info) String() string {
	return fmt.Sprintf("%s (commit %s of %s, built with %s for %s/%s)", i.Version, i.Commit, i.Date, i.Go, runtime.GOOS, runtime.GOARCH)
}
