// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package installation tests each way to install the operator from its beginning to its end, in a sandbox of its own and with
// the programs that users have: what is installed works, says what is wrong, and goes without leaving anything.
package installation

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/format"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/install"
	"github.com/virtual-kubelet/connector-operator/test/world"
)

const (
	// buildTimeout is for the first time, when all programs are built.
	buildTimeout = 90 * time.Minute
	storyTimeout = 10 * time.Minute
	// sandboxPrefix begins the names of the suite's sandboxes; the number of its process ends them.
	sandboxPrefix = "install-"
)

func TestInstallation(t *testing.T) {
	RegisterFailHandler(Fail)
	format.MaxLength = 0
	SetDefaultEventuallyTimeout(3 * time.Minute)
	SetDefaultEventuallyPollingInterval(500 * time.Millisecond)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "installation", Label("installation"))
}

var _ = BeforeSuite(func(ctx SpecContext) {
	if os.Geteuid() != 0 {
		Fail("what is installed runs in a sandbox, which needs root: run the tests with sudo")
	}
	ctrl.SetLogger(GinkgoLogr)
	Expect(world.ClearOrphans(ctx, sandboxPrefix, progress)).To(Succeed())
}, NodeTimeout(time.Minute))

func progress(line string) { GinkgoWriter.Println("  " + line) }

// story is one way to install the operator, in its sandbox.
type story struct {
	*world.World
	installation *install.Installation
	// programs are those of the sandbox and of the way.
	programs binaries.Set
}

// begin brings a sandbox up for the specs of a container, and installs the operator in it.
func begin(way string) *story {
	s := &story{}
	BeforeAll(func(ctx SpecContext) {
		By("bringing up a sandbox")
		var err error
		s.World, err = world.Up(ctx, sandboxPrefix, progress)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(s.Down(ctx)).To(Succeed()) }, NodeTimeout(time.Minute))
		installed := false
		DeferCleanup(func(ctx SpecContext) {
			if !installed {
				s.describe(ctx)
			}
		}, NodeTimeout(time.Minute))
		By("installing the operator with " + way)
		s.programs, err = install.Build(ctx, way, progress)
		Expect(err).NotTo(HaveOccurred())
		s.installation, err = install.New(ctx, s.Box, way, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		Expect(s.installation.Run(ctx)).To(Succeed())
		installed = true
	}, NodeTimeout(buildTimeout))
	JustAfterEach(func(ctx SpecContext) {
		if CurrentSpecReport().Failed() {
			s.describe(ctx)
		}
	}, NodeTimeout(time.Minute))
	return s
}

// describe reports all that a person would look at after a failure.
func (s *story) describe(ctx context.Context) {
	for _, args := range [][]string{
		{"get", "vkc", "-o", "yaml"},
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "gitrepositories,kustomizations", "-A", "-o", "yaml"},
		{"get", "catalogsources,subscriptions,installplans,clusterserviceversions", "-A", "-o", "yaml"},
		{"get", "events", "-A", "--sort-by=.metadata.creationTimestamp"},
		{"logs", "deployment/" + operator, "-n", namespace, "--tail=100"},
		{"logs", "deployment/kustomize-controller", "-n", "flux-system", "--tail=50"},
		{"logs", "deployment/catalog-operator", "-n", "olm", "--tail=50"},
		{"logs", "deployment/olm-operator", "-n", "olm", "--tail=50"},
	} {
		output, err := s.Kubectl(ctx, args...)
		if err != nil {
			output += err.Error()
		}
		AddReportEntry("kubectl "+strings.Join(args, " "), output, ReportEntryVisibilityFailureOrVerbose)
	}
	AddReportEntry("logs of the sandbox", filepath.Join(s.Box.Dir, "logs"), ReportEntryVisibilityFailureOrVerbose)
}
