// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/test/world"
)

// Names of the manifests and samples.
const (
	namespace     = "vk-connector-system"
	operator      = "vk-connector-operator"
	definition    = "virtualkubeletconnectors.connector.virtual-kubelet.io"
	connectorName = "virtual-kubelet"
	secretName    = "virtual-kubelet-credentials"
	linuxNode     = "virtual-kubelet-virtual-kubelet-linux-eastus"
	windowsNode   = "virtual-kubelet-virtual-kubelet-windows-eastus"
	workload      = "aci-helloworld"
)

// kubectl runs what a user would type, and returns what it printed.
func (s *story) kubectl(ctx context.Context, args ...string) string {
	GinkgoHelper()
	GinkgoWriter.Println("  $ kubectl " + strings.Join(world.Redact(args), " "))
	output, err := s.Kubectl(ctx, args...)
	GinkgoWriter.Print(output)
	Expect(err).NotTo(HaveOccurred())
	return output
}

// putSecret makes or replaces the Secret with the credentials.
func (s *story) putSecret(ctx context.Context, value string) {
	GinkgoHelper()
	s.kubectl(ctx, "delete", "secret", secretName, "-n", namespace, "--ignore-not-found")
	s.kubectl(ctx, "create", "secret", "generic", secretName, "-n", namespace, "--from-literal=clientSecret="+value)
}

// connect applies the sample connector, and waits until it is Ready.
func (s *story) connect(ctx context.Context) {
	GinkgoHelper()
	s.putSecret(ctx, azure.DefaultClientSecret)
	s.kubectl(ctx, "apply", "-k", "config/samples")
	s.expectReady(ctx)
}

func (s *story) expectReady(ctx context.Context) {
	GinkgoHelper()
	s.kubectl(ctx, "wait", "vkc/"+connectorName, "--for=condition=Ready", "--timeout=2m")
	Expect(s.nodes(ctx)).To(ConsistOf(linuxNode, windowsNode))
}

// run runs a sample workload on the Linux node, and leaves it there.
func (s *story) run(ctx context.Context) {
	GinkgoHelper()
	s.kubectl(ctx, "apply", "-f", "config/samples/workloads/"+workload+".yaml")
	s.kubectl(ctx, "rollout", "status", "deployment/"+workload, "--timeout=2m")
	Expect(s.Box.Azure().ContainerGroups(ctx)).To(HaveLen(1))
}

// nodes are the names of the virtual nodes.
func (s *story) nodes(ctx context.Context) []string {
	GinkgoHelper()
	return strings.Fields(s.kubectl(ctx, "get", "nodes", "-l", "type=virtual-kubelet", "-o", "jsonpath={.items[*].metadata.name}"))
}

// expectBadCredentialShown gives a secret that Azure refuses, awaits that the connector says so, and takes it back.
func (s *story) expectBadCredentialShown(ctx context.Context) {
	GinkgoHelper()
	s.putSecret(ctx, "not-the-secret")
	s.kubectl(ctx, "wait", "vkc/"+connectorName, "--for=condition=Ready=False", "--timeout=1m")
	// An operator that has just begun waits for Azure's answer first.
	Eventually(func() string {
		return s.kubectl(ctx, "get", "vkc", connectorName, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].message}")
	}).WithContext(ctx).Should(ContainSubstring("client secret"))
	s.putSecret(ctx, azure.DefaultClientSecret)
	s.expectReady(ctx)
}

// expectNoNodes awaits that the connector is gone, with its nodes and what runs in Azure.
func (s *story) expectNoNodes(ctx context.Context) {
	GinkgoHelper()
	Expect(s.nodes(ctx)).To(BeEmpty())
	Expect(s.Box.Azure().ContainerGroups(ctx)).To(BeEmpty())
}

// kinds are those of what is installed, and of what the operator makes.
const kinds = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,services," +
	"deployments,secrets,leases,networkpolicies,validatingadmissionpolicies,validatingadmissionpolicybindings"

// left are the objects that carry a name of the operator, or of what it has made.
func (s *story) left(ctx context.Context) []string {
	GinkgoHelper()
	var left []string
	for line := range strings.Lines(s.kubectl(ctx, "get", kinds, "-A", "-o", "name")) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "vk-connector") || strings.Contains(line, "vkc-") || strings.Contains(line, "virtual-kubelet") {
			left = append(left, line)
		}
	}
	return left
}

// virtualKubelets are the pods of the virtual kubelets, with how often each was restarted.
func (s *story) virtualKubelets(ctx context.Context) string {
	GinkgoHelper()
	pods := s.kubectl(ctx, "get", "pods", "-n", namespace, "-l", "app.kubernetes.io/component=virtual-node", "-o",
		"jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}")
	Expect(strings.Fields(pods)).To(HaveLen(4))
	return pods
}
