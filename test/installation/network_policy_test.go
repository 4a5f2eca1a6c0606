// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"context"
	"maps"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("with NetworkPolicies that are enforced", Ordered, func() {
	s := &policed{story: begin("kubectl")}
	BeforeAll(s.enforce, NodeTimeout(buildTimeout))

	It("has what enforces them, for connections to pods and to the node", func(ctx SpecContext) {
		reached := outcomes{s.at(listener, "8080"): open, s.node + ":6443": open}
		s.expect(ctx, visitor, reached)
		s.deny(ctx, "Ingress", listener)
		s.expect(ctx, visitor, outcomes{s.at(listener, "8080"): silent, s.node + ":6443": open})
		s.deny(ctx, "Egress", visitor)
		s.expect(ctx, visitor, outcomes{s.at(listener, "8080"): silent, s.node + ":6443": silent})
		s.kubectl(ctx, "delete", "networkpolicies", "--all", "-n", visitor.namespace)
		s.expect(ctx, visitor, reached)
	}, SpecTimeout(storyTimeout))

	It("reaches all and is reached by all before", func(ctx SpecContext) {
		s.connect(ctx)
		s.lookInside(ctx)
		for _, from := range s.inside() {
			s.expect(ctx, from, merge(s.needed(), s.anyHTTPS(closed), s.streams(open), s.needless(open, closed)))
		}
		for _, from := range []place{visitor, scraper, agent} {
			s.expect(ctx, from, s.ports(open, open, open))
		}
		s.expect(ctx, outside, s.ports(open, open, open))
	}, SpecTimeout(storyTimeout))

	It("works under the policies, with connections that it has made since", func(ctx SpecContext) {
		s.kubectl(ctx, "apply", "-k", s.overlay(""))
		s.expectWorks(ctx)
	}, SpecTimeout(storyTimeout))

	It("reaches what it needs", func(ctx SpecContext) {
		s.lookInside(ctx)
		for _, from := range s.inside() {
			s.expect(ctx, from, merge(s.needed(), s.anyHTTPS(closed), s.streamsOf(from), s.needless(silent, silent)))
			s.expectNames(ctx, from)
		}
	}, SpecTimeout(storyTimeout))

	It("is reached by those who scrape, and on the port of virtual kubelets", func(ctx SpecContext) {
		for _, from := range []place{visitor, agent, outside} {
			s.expect(ctx, from, s.ports(silent, open, silent))
		}
		s.expect(ctx, scraper, s.ports(open, open, silent))
		s.expectScraped(ctx)
	}, SpecTimeout(storyTimeout))

	It("works where the blocks are those of the control plane and of Azure", func(ctx SpecContext) {
		s.kubectl(ctx, "apply", "-k", s.overlay(s.node))
		s.expectWorks(ctx)
		s.lookInside(ctx)
		for _, from := range s.inside() {
			s.expect(ctx, from, merge(s.needed(), s.anyHTTPS(silent), s.streamsOf(from), s.needless(silent, silent)))
			s.expectNames(ctx, from)
		}
		for _, from := range []place{visitor, outside} {
			s.expect(ctx, from, s.ports(silent, silent, silent))
		}
		s.expect(ctx, scraper, s.ports(open, silent, silent))
		s.expect(ctx, agent, s.ports(silent, open, silent))
	}, SpecTimeout(storyTimeout))

	It("is reached by a control plane that is elsewhere", func(ctx SpecContext) {
		s.kubectl(ctx, "apply", "-k", s.overlay(s.host))
		s.expect(ctx, outside, s.ports(silent, open, silent))
		s.expect(ctx, visitor, s.ports(silent, silent, silent))
	}, SpecTimeout(storyTimeout))

	It("is uninstalled and leaves nothing", func(ctx SpecContext) {
		s.kubectl(ctx, "delete", "vkc", "--all")
		s.expectNoNodes(ctx)
		s.kubectl(ctx, "delete", "-f", "config/components/prometheus/reader.yaml", "--ignore-not-found")
		s.kubectl(ctx, "delete", "-k", s.overlay(""), "--ignore-not-found")
		Expect(s.left(ctx)).To(BeEmpty())
	}, SpecTimeout(storyTimeout))
})

// expectWorks has all pods made anew, so that none keeps a connection that it may not make, and specifies that the operator
// reaches Azure, that virtual kubelets do, and that they are reached.
func (s *policed) expectWorks(ctx context.Context) {
	GinkgoHelper()
	s.kubectl(ctx, "delete", "-f", "config/samples/workloads/"+workload+".yaml", "--ignore-not-found")
	s.kubectl(ctx, "rollout", "restart", "deployment/"+operator, "-n", namespace)
	s.kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=2m")
	s.kubectl(ctx, "delete", "pods", "-l", virtualNodes, "-n", namespace)
	s.kubectl(ctx, "rollout", "status", "deployment", "-l", virtualNodes, "-n", namespace, "--timeout=2m")
	s.expectBadCredentialShown(ctx)
	Eventually(func(g Gomega) { g.Expect(s.Box.Azure().ContainerGroups(ctx)).To(BeEmpty()) }).WithContext(ctx).Should(Succeed())
	s.run(ctx)
	Expect(s.kubectl(ctx, "logs", "deployment/"+workload)).To(ContainSubstring("image microsoft/aci-helloworld started"))
	Expect(s.kubectl(ctx, "exec", "deployment/"+workload, "--", "env")).To(ContainSubstring("simulated: env is not executed"))
}

// expectNames specifies that names are resolved, over UDP too.
func (s *policed) expectNames(ctx context.Context, from place) {
	GinkgoHelper()
	Eventually(func() (string, error) { return s.greeter(ctx, from, "lookup", "management.azure.com") }).WithContext(ctx).
		Should(ContainSubstring(s.azure))
}

func (s *policed) expectScraped(ctx context.Context) {
	GinkgoHelper()
	s.kubectl(ctx, "apply", "-f", "config/components/prometheus/reader.yaml")
	Eventually(func() (string, error) {
		return s.greeter(ctx, scraper, "scrape", "https://"+operator+"-metrics."+namespace+".svc:8443/metrics")
	}).WithContext(ctx).Should(And(HavePrefix("200"), ContainSubstring("\nvkc_build_info")))
}

// expect specifies what becomes of attempts to connect. Policies take effect a moment after they were applied.
func (s *policed) expect(ctx context.Context, from place, want outcomes) {
	GinkgoHelper()
	addresses := slices.Sorted(maps.Keys(want))
	Eventually(func() (outcomes, error) { return s.dial(ctx, from, addresses...) }).WithContext(ctx).Should(Equal(want), "from %s", from)
}
