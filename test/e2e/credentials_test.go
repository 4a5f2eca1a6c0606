// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	wrongSecret = "not-the-secret-of-anybody"
	newSecret   = "the-secret-after-the-rotation"
)

var _ = Describe("Credentials", func() {
	It("that Azure refuses are named, never shown, and mended at once", func(ctx SpecContext) {
		putSecret(ctx, secretKey, wrongSecret)
		kubectl(ctx, "apply", "-k", "config/samples")
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionAzureAccessible)).WithContext(ctx).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected, "AADSTS7000215", "put the value of the client secret"))
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionStalled)).WithContext(ctx).
			Should(be(metav1.ConditionTrue, v1alpha1.ReasonUserActionNeeded, "AADSTS7000215"))
		Eventually(func() string { return kubectlEvents(ctx) }).WithContext(ctx).
			Should(ContainSubstring(v1alpha1.ReasonCredentialsRejected))
		expectUnseen(ctx, wrongSecret)

		mend(ctx, azure.DefaultClientSecret)
		expectUnseen(ctx, azure.DefaultClientSecret)
	}, SpecTimeout(2*time.Minute))

	It("that are not there are asked for by name", func(ctx SpecContext) {
		By("applying the connector without its Secret")
		kubectl(ctx, "apply", "-k", "config/samples")
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionResolved)).WithContext(ctx).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound, namespace+"/"+secretName, "kubectl create secret generic"))

		By("making the Secret with another key")
		putSecret(ctx, "password", azure.DefaultClientSecret)
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionResolved)).WithContext(ctx).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonSecretIncomplete, "key "+secretKey+" of Secret "+namespace+"/"+secretName))
		Expect(condition(ctx, connectorName, v1alpha1.ConditionReady)(Default)).
			To(be(metav1.ConditionFalse, v1alpha1.ReasonSecretIncomplete))

		mend(ctx, azure.DefaultClientSecret)
	}, SpecTimeout(2*time.Minute))

	It("that were rotated crash a virtual kubelet, which is told, and mended without a wait for its backoff", func(ctx SpecContext) {
		applySample(ctx)
		By("rotating the secret in Azure, and starting the Linux virtual kubelet anew")
		Expect(box.Azure().SetClientSecret(ctx, azure.DefaultClientID, newSecret, time.Time{})).To(Succeed())
		before := kubeletPod(ctx, linuxNode)
		kubectl(ctx, "delete", "pod", before.Name, "-n", namespace, "--now")

		Eventually(condition(ctx, connectorName, v1alpha1.ConditionLinuxNodeReady)).WithContext(ctx).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonCrashLoop,
				"a panic, which it answers most faults of credentials or network with", "kubectl logs --previous -n "+namespace+" deployment/"+linuxNode))
		Eventually(kubeletState(ctx, linuxNode)).WithContext(ctx).Should(And(
			HaveField("RestartCount", BeNumerically(">=", 2)),
			HaveField("State.Waiting", HaveValue(HaveField("Reason", "CrashLoopBackOff")))))
		expectUnseen(ctx, azure.DefaultClientSecret)
		Expect(condition(ctx, connectorName, v1alpha1.ConditionWindowsNodeReady)(Default)).To(HaveField("Type", Not(BeEmpty())))

		mend(ctx, newSecret)
		Expect(kubeletState(ctx, linuxNode)(Default)).To(HaveField("RestartCount", BeZero()))
		expectUnseen(ctx, newSecret)
	}, SpecTimeout(3*time.Minute))
})

// mend puts the right client secret into the Secret, and waits until the connector is Ready.
func mend(ctx context.Context, secret string) {
	GinkgoHelper()
	By("mending the Secret")
	start := time.Now()
	putSecret(ctx, secretKey, secret)
	Eventually(condition(ctx, connectorName, v1alpha1.ConditionAzureAccessible)).WithContext(ctx).WithTimeout(readyTimeout).
		Should(be(metav1.ConditionTrue, v1alpha1.ReasonAccessible))
	Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(readyTimeout).Should(beReady)
	AddReportEntry("from the mended Secret to Ready", time.Since(start).Round(time.Millisecond).String())
}

func kubectlEvents(ctx context.Context) string {
	GinkgoHelper()
	output, err := tryKubectl(ctx, "get", "events", "-A", "-o", "yaml")
	Expect(err).NotTo(HaveOccurred())
	return output
}

// expectUnseen looks for a secret where it must not be: in the connector, in any event, in the log of the
// operator, in the pods.
func expectUnseen(ctx context.Context, secret string) {
	GinkgoHelper()
	By("looking for the secret where it must not be")
	for _, args := range [][]string{
		{"get", "vkc", connectorName, "-o", "yaml"},
		{"get", "events", "-A", "-o", "yaml"},
		{"logs", "deployment/" + operator, "-n", namespace},
		{"get", "pods,deployments", "-n", namespace, "-o", "yaml"},
	} {
		output, err := tryKubectl(ctx, args...)
		Expect(err).NotTo(HaveOccurred())
		Expect(output).NotTo(BeEmpty(), "%v", args)
		Expect(output).NotTo(ContainSubstring(secret), "%v", args)
	}
}

// kubeletState reads how the container of a node's virtual kubelet is.
func kubeletState(ctx context.Context, node string) func(Gomega) corev1.ContainerStatus {
	return func(g Gomega) corev1.ContainerStatus {
		pods := kubeletPods(ctx, g, node)
		g.Expect(pods).To(HaveLen(1))
		g.Expect(pods[0].Status.ContainerStatuses).To(HaveLen(1), fmt.Sprint(pods[0].Status))
		return pods[0].Status.ContainerStatuses[0]
	}
}
