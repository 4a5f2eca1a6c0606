// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("with kubectl", Ordered, func() {
	s := begin("kubectl")

	It("is installed and works", func(ctx SpecContext) {
		s.connect(ctx)
		s.run(ctx)
	}, SpecTimeout(storyTimeout))

	It("shows a bad credential", func(ctx SpecContext) {
		s.expectBadCredentialShown(ctx)
	}, SpecTimeout(storyTimeout))

	It("is uninstalled and leaves nothing", func(ctx SpecContext) {
		_, err := s.Kubectl(ctx, "delete", "-k", "config/default", "--wait=false")
		Expect(err).To(MatchError(ContainSubstring("its removal needs this")))
		s.kubectl(ctx, "delete", "vkc", "--all")
		s.expectNoNodes(ctx)
		s.kubectl(ctx, "delete", "-k", "config/default", "--ignore-not-found")
		Expect(s.left(ctx)).To(BeEmpty())
	}, SpecTimeout(storyTimeout))

	s.isWritten("kubectl")
})
