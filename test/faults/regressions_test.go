// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// Random histories have found each of these.
var _ = Describe("A history that once ended badly", func() {
	var l *lane
	BeforeEach(func(ctx SpecContext) {
		var err error
		l, err = newLane(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(l.clear(ctx)).To(Succeed()) }, NodeTimeout(time.Minute))
	}, NodeTimeout(time.Minute))

	// starting makes a connector, and returns its virtual kubelets as soon as there are any.
	starting := func(ctx context.Context) (pods []corev1.Pod) {
		GinkgoHelper()
		Expect(k8s.Create(ctx, l.connector(v1alpha1.OSTypeLinux))).To(Succeed())
		Expect(until(ctx, recovered, "a virtual kubelet", func(ctx context.Context) (err error) {
			pods, err = l.kubelets(ctx)
			if err == nil && len(pods) == 0 {
				err = errors.New("there is none")
			}
			return err
		})).To(Succeed())
		return pods
	}

	It("has the taint taken off that a virtual kubelet made before the operator saw the Node", func(ctx SpecContext) {
		starting(ctx)
		Expect(signalOperators(syscall.SIGSTOP)).To(Succeed())
		DeferCleanup(func() { Expect(signalOperators(syscall.SIGCONT)).To(Succeed()) })
		var node corev1.Node
		Expect(until(ctx, recovered, "a Node", func(ctx context.Context) error {
			return k8s.Get(ctx, client.ObjectKey{Name: l.node(v1alpha1.OSTypeLinux)}, &node)
		})).To(Succeed())
		Expect(node.Annotations).NotTo(HaveKey(identity.AnnotationTaint), "the operator was too fast")
		Expect(node.Spec.Taints).To(ContainElement(HaveField("Key", defaultTaint)))
		Expect(l.change(ctx, func(spec *v1alpha1.VirtualKubeletConnectorSpec) {
			spec.Node.Taint.Policy = v1alpha1.TaintPolicyNone
		})).To(Succeed())
		Expect(killOperator(ctx)).To(Succeed())
		Expect(until(ctx, recovered, "without a taint", l.settled)).To(Succeed())
	}, SpecTimeout(12*time.Minute))

	It("has a virtual kubelet with a token that counts, after its ServiceAccount was deleted while it started", func(ctx SpecContext) {
		pods := starting(ctx)
		// What was made in the same second can't be told apart.
		Eventually(func() time.Duration { return time.Since(pods[0].CreationTimestamp.Time) }).WithContext(ctx).Should(BeNumerically(">", time.Second))
		Expect((&player{lane: l}).dropChild(ctx, "ServiceAccount")).To(Succeed())
		Expect(until(ctx, recovered, "at work", l.settled)).To(Succeed())
		Expect(l.runs(ctx, l.name+"-after")).To(Succeed())
	}, SpecTimeout(12*time.Minute))
})
