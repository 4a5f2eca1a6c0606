// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"regexp"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/test/pages"
)

// languages are those of blocks; what is typed into a shell is sh or console, so that none escapes its test.
var languages = []string{"sh", "console", "yaml", "json", "mermaid", "text", "lua"}

// signs are what commands have in them, or at their beginning, if they need what they are marked with.
var signs = map[string]*regexp.Regexp{
	"needs-azure":    regexp.MustCompile(`(?m)(^|[\s("])az [a-z]`),
	"needs-checkout": regexp.MustCompile(`(?m)^(.*=\S* )?(make|go|bin/sandbox) `),
	"needs-proxy":    regexp.MustCompile(`\bHTTPS_PROXY=`),
}

// TestEveryCommandIsTried tests that each block of commands is run by a test in a sandbox, or says what it would need, and
// that this is so.
func TestEveryCommandIsTried(t *testing.T) {
	tried := 0
	for _, page := range all(t) {
		for _, block := range page.Blocks {
			t.Run(block.String(), func(t *testing.T) {
				g := NewWithT(t)
				g.Expect(languages).To(ContainElement(block.Language), "the language of a block")
				if !block.IsCommands() {
					g.Expect(block.Mark).To(MatchRegexp(`^([a-z-]+\.(yaml|json))?$`), "the file that a block is put into")
					return
				}
				if block.Mark == pages.Sandbox || block.Mark == pages.Installation {
					tried++
					g.Expect(block.Commands()).NotTo(BeEmpty())
					for need, sign := range signs {
						g.Expect(block.Text).NotTo(MatchRegexp(sign.String()), "it has the sign of "+need)
					}
					return
				}
				g.Expect(pages.Needs).To(HaveKey(block.Mark), "mark commands with %s or %s, or with what they need beyond a sandbox",
					pages.Sandbox, pages.Installation)
				if sign, ok := signs[block.Mark]; ok {
					g.Expect(block.Text).To(MatchRegexp(sign.String()), "it does not need what it says")
				}
			})
		}
	}
	NewWithT(t).Expect(tried).To(BeNumerically(">", 0))
}

// TestEveryNeedIsOne tests that no mark is left over.
func TestEveryNeedIsOne(t *testing.T) {
	used := map[string]bool{}
	for _, page := range all(t) {
		for _, block := range page.Blocks {
			used[block.Mark] = true
		}
	}
	for need := range pages.Needs {
		NewWithT(t).Expect(used).To(HaveKey(need))
	}
}
