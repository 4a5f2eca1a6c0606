// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package version

import (
	"runtime"
	"runtime/debug"
	"testing"

	. "github.com/onsi/gomega"
)

func TestInfo(t *testing.T) {
	recorded := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123abc"}
	at := debug.BuildSetting{Key: "vcs.time", Value: "2026-11-28T06:00:00Z"}
	for name, test := range map[string]struct {
		stamped  Info
		recorded *debug.BuildInfo
		want     Info
	}{
		"what was stamped comes first": {
			Info{Version: "v1.2.3", Commit: "4567def", Date: "2026-11-27T05:00:00Z"}, recorded("v0.0.0-1", revision, at),
			Info{Version: "v1.2.3", Commit: "4567def", Date: "2026-11-27T05:00:00Z"},
		},
		"go install of a release":   {Info{}, recorded("v1.2.3"), Info{Version: "v1.2.3", Commit: unknown, Date: unknown}},
		"go build in a checkout":    {Info{}, recorded("(devel)", revision, at), Info{Version: unknown, Commit: "0123abc", Date: "2026-11-28T06:00:00Z"}},
		"go build without a record": {Info{}, nil, Info{Version: unknown, Commit: unknown, Date: unknown}},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(info(test.stamped, test.recorded)).To(Equal(test.want))
		})
	}
}

func TestString(t *testing.T) {
	got := Info{Version: "v1.2.3", Commit: "0123abc", Date: "2026-11-28T06:00:00Z", Go: "go1.26"}.String()
	NewWithT(t).Expect(got).To(Equal("v1.2.3 (commit 0123abc of 2026-11-28T06:00:00Z, built with go1.26 for " + runtime.GOOS + "/" + runtime.GOARCH + ")"))
}

func TestGet(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Get().Go).To(Equal(runtime.Version()))
	for _, told := range []string{Get().Version, Get().Commit, Get().Date} {
		g.Expect(told).NotTo(BeEmpty())
	}
}
