// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"context"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/test/pages"
	"github.com/virtual-kubelet/connector-operator/test/terminal"
)

// section is a part of a page.
type section struct{ page, heading string }

// written are the sections that tell how to install in each way, and to uninstall.
var written = map[string][]section{
	"kubectl": {{"docs/install.md", "kubectl"}},
	"helm":    {{"docs/install.md", "Helm"}},
	"olm":     {{"docs/install.md", "OLM"}},
	"flux":    {{"docs/gitops.md", "Flux"}, {"docs/gitops.md", "Take everything away"}},
	connector: {{"docs/install.md", "Install and uninstall"}},
}

// connector is what all ways but GitOps have in common: the client secret and a connector.
const connector = "connector"

// blocks are those of the documentation that tests of installations run, by way and in their order.
var blocks = func() map[string][]pages.Block {
	all, err := pages.All("../..")
	if err != nil {
		panic(err)
	}
	found := map[string][]pages.Block{}
	for _, page := range all {
		for _, block := range page.Blocks {
			if block.Mark != pages.Installation {
				continue
			}
			way := ""
			for name, sections := range written {
				if slices.Contains(sections, section{block.Page, block.Section}) {
					way = name
				}
			}
			if way == "" {
				panic(block.String() + ": no test follows this section")
			}
			found[way] = append(found[way], block)
		}
	}
	return found
}()

// isWritten specifies that what is told of a way is all that it takes: the first block installs, and the last uninstalls.
// It begins and ends with no operator.
func (s *story) isWritten(way string) {
	It("is installed and uninstalled as it is written", func(ctx SpecContext) {
		all := blocks[way]
		last := len(all) - 1
		Expect(last).To(BeNumerically(">", 0))
		s.follow(ctx, all[:last]...)
		if way != "flux" {
			s.follow(ctx, blocks[connector]...)
		}
		s.expectReady(ctx)
		s.run(ctx)
		s.follow(ctx, all[last])
		s.expectNoNodes(ctx)
		Eventually(func() []string { return s.left(ctx) }).WithContext(ctx).Should(BeEmpty())
	}, SpecTimeout(storyTimeout))
}

func (s *story) follow(ctx context.Context, blocks ...pages.Block) {
	GinkgoHelper()
	shell := terminal.Terminal{Folder: s.Root, Programs: s.programs, Kubeconfig: s.Box.Kubeconfig(), Out: GinkgoWriter}
	for _, block := range blocks {
		By(block.String())
		Expect(shell.Follow(ctx, block)).To(Succeed())
	}
}
