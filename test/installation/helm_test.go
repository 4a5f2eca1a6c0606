// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"context"
	"os/exec"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("with Helm", Ordered, func() {
	s := begin("helm")

	helm := func(ctx context.Context, args ...string) (string, error) {
		GinkgoHelper()
		command := exec.CommandContext(ctx, s.programs.Path("helm"), append(args, "--namespace", namespace, "--kubeconfig", s.Box.Kubeconfig())...)
		command.Dir = s.Root
		output, err := command.CombinedOutput()
		GinkgoWriter.Printf("  $ helm %v\n%s", args, output)
		return string(output), err
	}

	It("is installed and works", func(ctx SpecContext) {
		s.connect(ctx)
		s.run(ctx)
	}, SpecTimeout(storyTimeout))

	It("shows a bad credential", func(ctx SpecContext) {
		s.expectBadCredentialShown(ctx)
	}, SpecTimeout(storyTimeout))

	It("takes other values without a restart of virtual kubelets", func(ctx SpecContext) {
		before := s.virtualKubelets(ctx)
		_, err := helm(ctx, "upgrade", operator, "config/chart", "--set=extraArgs={--workers=4}", "--wait")
		Expect(err).NotTo(HaveOccurred())
		Expect(s.kubectl(ctx, "get", "deployment", operator, "-n", namespace, "-o", "jsonpath={.spec.template.spec.containers[0].args}")).
			To(ContainSubstring("--workers=4"))
		s.expectReady(ctx)
		Expect(s.virtualKubelets(ctx)).To(Equal(before))
	}, SpecTimeout(storyTimeout))

	It("is uninstalled and leaves nothing", func(ctx SpecContext) {
		output, err := helm(ctx, "uninstall", operator, "--debug")
		Expect(err).To(HaveOccurred())
		Expect(output).To(ContainSubstring("its removal needs this"))
		s.kubectl(ctx, "delete", "vkc", "--all")
		s.expectNoNodes(ctx)
		_, err = helm(ctx, "uninstall", operator, "--wait")
		Expect(err).NotTo(HaveOccurred())
		s.kubectl(ctx, "delete", "crd", definition)
		s.kubectl(ctx, "delete", "namespace", namespace)
		Expect(s.left(ctx)).To(BeEmpty())
	}, SpecTimeout(storyTimeout))

	s.isWritten("helm")
})
