// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package faults breaks what the operator and its virtual kubelets depend on, in a sandbox of its own, and
// looks whether all comes to rest as it was asked for. Many connectors run at once, each in a lane: with a
// subscription, a service principal and names of its own. It touches nothing but that sandbox.
package faults

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

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/test/world"
)

const (
	namespace     = "vk-connector-system"
	userNamespace = "default"
	operator      = "vk-connector-operator"

	// buildTimeout is for the first time, when the sandbox's programs are built.
	buildTimeout = 45 * time.Minute
	// sandboxPrefix begins the names of the suite's sandboxes; the number of its process ends them.
	sandboxPrefix = "faults-"
	// period is long enough that a dozen connectors can be looked at all the time.
	period = 400 * time.Millisecond
)

var (
	own *world.World
	k8s client.Client
)

func cloud() *azure.Client { return own.Box.Azure() }

func TestFaults(t *testing.T) {
	RegisterFailHandler(Fail)
	format.MaxLength = 0
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(period)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "faults", Label("faults"))
}

var _ = BeforeSuite(func(ctx SpecContext) {
	if os.Geteuid() != 0 {
		Fail("the faults are made in a sandbox, which needs root: run them with sudo")
	}
	ctrl.SetLogger(GinkgoLogr)
	Expect(world.ClearOrphans(ctx, sandboxPrefix, progress)).To(Succeed())
	By("bringing up the sandbox")
	var err error
	own, err = world.Up(ctx, sandboxPrefix, progress)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func(ctx SpecContext) {
		By("taking down the sandbox " + own.Box.Name())
		Expect(own.Down(ctx)).To(Succeed())
	}, NodeTimeout(time.Minute))
	k8s = own.Client
	// Azure takes no time here: what is slow is so by a fault.
	Expect(cloud().SetTiming(ctx, azure.Timing{TokenLifetime: time.Hour})).To(Succeed())

	By("installing the operator from config/default")
	_, err = own.Box.Load(ctx, progress)
	Expect(err).NotTo(HaveOccurred())
	kubectl(ctx, "apply", "-k", "config/default")
	// A leader that is killed keeps the others waiting for 15 seconds.
	setOperator(ctx, 1, false)
}, NodeTimeout(buildTimeout))

// setOperator runs so many replicas of the operator, with or without the election of a leader.
func setOperator(ctx context.Context, replicas int, election bool) {
	GinkgoHelper()
	kubectl(ctx, "patch", "deployment", operator, "-n", namespace, "--type=json", "-p", fmt.Sprintf(
		`[{"op":"add","path":"/spec/replicas","value":%d},{"op":"add","path":"/spec/template/spec/containers/0/args","value":["--leader-elect=%t"]}]`,
		replicas, election))
	kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=90s")
}

func kubectl(ctx context.Context, args ...string) string {
	GinkgoHelper()
	output, err := own.Kubectl(ctx, args...)
	Expect(err).NotTo(HaveOccurred())
	return output
}

func progress(line string) { GinkgoWriter.Println("  " + line) }

var _ = JustAfterEach(func(ctx SpecContext) {
	if CurrentSpecReport().Failed() {
		AddReportEntry("the world", describe(ctx, ""), ReportEntryVisibilityFailureOrVerbose)
	}
}, NodeTimeout(time.Minute))

// describe reports all that a person would look at, of what has a part in its name.
func describe(ctx context.Context, part string) string {
	var text strings.Builder
	for _, args := range [][]string{
		{"get", "vkc", "-o", "yaml"},
		{"get", "nodes", "--show-labels", "--no-headers"},
		{"get", "pods", "-A", "-o", "wide", "--no-headers"},
		{"get", "deployments,secrets,serviceaccounts", "-n", namespace, "--no-headers"},
		{"get", "leases", "-A", "--no-headers"},
		{"get", "events", "-A", "--sort-by=.metadata.creationTimestamp", "--no-headers"},
		{"logs", "deployment/" + operator, "-n", namespace, "--tail=2000"},
		{"logs", "-l", "app.kubernetes.io/component=virtual-node", "-n", namespace, "--tail=60", "--prefix", "--max-log-requests=100"},
	} {
		if part != "" && args[1] == "vkc" {
			args = []string{"get", "vkc", part, "-o", "yaml", "--ignore-not-found"}
		}
		output, err := own.Kubectl(ctx, args...)
		if err != nil {
			output += err.Error() + "\n"
		}
		fmt.Fprintf(&text, "$ kubectl %s\n", strings.Join(args, " "))
		for line := range strings.Lines(output) {
			if args[1] == "vkc" || strings.Contains(line, part) {
				text.WriteString(line)
			}
		}
	}
	groups, err := cloud().ContainerGroups(ctx)
	if err != nil {
		text.WriteString(err.Error())
	}
	for _, g := range groups {
		if strings.Contains(g.Tags["NodeName"]+g.Name, part) {
			fmt.Fprintf(&text, "container group %s/%s %s %s deleting=%t %v\n", g.ResourceGroup, g.Name, g.OSType, g.State, g.Deleting, g.Tags)
		}
	}
	fmt.Fprintf(&text, "logs of the sandbox: %s\n", filepath.Join(own.Box.Dir, "logs"))
	return text.String()
}
