// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tells the users' stories in a sandbox of its own: a real cluster, with the operator installed
// as a user installs it, and a simulated Azure. It touches nothing but that sandbox.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/format"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/test/world"
)

const (
	namespace = "vk-connector-system"
	operator  = "vk-connector-operator"

	// buildTimeout is for the first time, when the sandbox's programs are built.
	buildTimeout = 45 * time.Minute
	// sandboxPrefix begins the names of the suite's sandboxes; the number of its process ends them.
	sandboxPrefix = "e2e-"
)

var (
	own      *world.World
	root     string
	programs binaries.Set
	box      sandbox.Sandbox
	k8s      client.Client
)

func TestE2E(t *testing.T) {
	RegisterFailHandler(Fail)
	format.MaxLength = 0
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(200 * time.Millisecond)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "e2e", Label("e2e"))
}

var _ = BeforeSuite(func(ctx SpecContext) {
	if os.Geteuid() != 0 {
		Fail("the stories run in a sandbox, which needs root: run them with sudo")
	}
	ctrl.SetLogger(GinkgoLogr)
	Expect(world.ClearOrphans(ctx, sandboxPrefix, progress)).To(Succeed())
	bringUp(ctx)

	installed := false
	DeferCleanup(func(ctx SpecContext) {
		if !installed {
			describeWorld(ctx)
		}
	}, NodeTimeout(time.Minute))
	By("installing the operator from config/default")
	_, err := box.Load(ctx, progress)
	Expect(err).NotTo(HaveOccurred())
	kubectl(ctx, "apply", "-k", "config/default")
	kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")
	installed = true
}, NodeTimeout(buildTimeout))

// bringUp brings up the sandbox of this run, and takes it down when the run ends, however it ends.
func bringUp(ctx context.Context) {
	GinkgoHelper()
	By("bringing up the sandbox")
	var err error
	own, err = world.Up(ctx, sandboxPrefix, progress)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func(ctx SpecContext) {
		By("taking down the sandbox " + box.Name())
		Expect(own.Down(ctx)).To(Succeed())
	}, NodeTimeout(time.Minute))
	root, programs, box, k8s = own.Root, own.Programs, own.Box, own.Client
	DeferCleanup(func(ctx SpecContext) { reportRights(ctx) }, NodeTimeout(2*time.Minute))
}

func progress(line string) { GinkgoWriter.Println("  " + line) }

// Every spec finds the world as it was installed, and leaves it so even when it fails.
var _ = BeforeEach(func() {
	DeferCleanup(func(ctx SpecContext) { restoreWorld(ctx) }, NodeTimeout(3*time.Minute))
}, OncePerOrdered)

var _ = JustAfterEach(func(ctx SpecContext) {
	if CurrentSpecReport().Failed() {
		describeWorld(ctx)
	}
}, NodeTimeout(time.Minute))

// describeWorld reports all that a person would look at after a failure.
func describeWorld(ctx context.Context) {
	for _, args := range [][]string{
		{"get", "vkc", "-o", "yaml"},
		{"get", "nodes", "-o", "wide", "--show-labels"},
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "deployments,secrets,serviceaccounts,leases", "-n", namespace},
		{"get", "events", "-A", "--sort-by=.metadata.creationTimestamp"},
		{"logs", "deployment/" + operator, "-n", namespace, "--tail=100"},
		{"logs", "-l", "app.kubernetes.io/component=virtual-node", "-n", namespace, "--tail=40", "--prefix"},
	} {
		output, err := tryKubectl(ctx, args...)
		if err != nil {
			output += err.Error()
		}
		AddReportEntry("kubectl "+strings.Join(args, " "), output, ReportEntryVisibilityFailureOrVerbose)
	}
	groups, err := box.Azure().ContainerGroups(ctx)
	var lines strings.Builder
	for _, group := range groups {
		fmt.Fprintf(&lines, "%s/%s %s %s deleting=%t %v\n", group.ResourceGroup, group.Name, group.OSType, group.State, group.Deleting, group.Tags)
	}
	if err != nil {
		lines.WriteString(err.Error())
	}
	AddReportEntry("container groups", lines.String(), ReportEntryVisibilityFailureOrVerbose)
	AddReportEntry("logs of the sandbox", filepath.Join(box.Dir, "logs"), ReportEntryVisibilityFailureOrVerbose)
}
