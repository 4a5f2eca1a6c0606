// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

var _ = Describe("A process that fails", func() {
	// working makes a connector that is Ready and runs a pod.
	working := func(ctx context.Context) (*lane, *corev1.Pod) {
		GinkgoHelper()
		l, err := newLane(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(l.clear(ctx)).To(Succeed()) }, NodeTimeout(2*time.Minute))
		Expect(k8s.Create(ctx, l.connector(v1alpha1.OSTypeLinux))).To(Succeed())
		Expect(until(ctx, recovered, "Ready", l.ready)).To(Succeed())
		pod, err := l.pod(ctx, l.name+"-web", v1alpha1.OSTypeLinux)
		Expect(err).NotTo(HaveOccurred())
		Expect(l.running(ctx, pod)).To(Succeed())
		return l, pod
	}
	kill := func(component string) {
		GinkgoHelper()
		pid, err := own.Component(component)
		Expect(err).NotTo(HaveOccurred())
		Expect(syscall.Kill(pid, syscall.SIGKILL)).To(Succeed())
	}
	// unhurt expects that a connector and its pod are as before.
	unhurt := func(ctx context.Context, l *lane, pod *corev1.Pod) {
		GinkgoHelper()
		groups, err := l.groups(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(groups).To(ConsistOf(HaveField("Tags", HaveKeyWithValue("UID", string(pod.UID)))))
		Expect(until(ctx, recovered, "as before", l.settled)).To(Succeed())
		Expect(l.running(ctx, pod)).To(Succeed())
		Expect(l.rests(ctx, quietTimeout)).To(Succeed())
	}
	remove := func(ctx context.Context, l *lane) {
		GinkgoHelper()
		Expect(l.delete(ctx, metav1.DeletePropagationBackground)).To(Succeed())
	}
	removed := func(ctx context.Context, l *lane, within time.Duration) {
		GinkgoHelper()
		Expect(until(ctx, within, "removed", l.gone)).To(Succeed())
	}
	// answering waits for the API server.
	answering := func(ctx context.Context) {
		GinkgoHelper()
		Expect(until(ctx, recovered, "an API server that answers", func(ctx context.Context) error {
			return k8s.List(ctx, &v1alpha1.VirtualKubeletConnectorList{})
		})).To(Succeed())
	}

	DescribeTable("of the control plane hurts neither what runs nor what is being removed",
		func(ctx SpecContext, component string) {
			stays, pod := working(ctx)
			goes, _ := working(ctx)
			remove(ctx, goes)
			before, err := own.Component(component)
			Expect(err).NotTo(HaveOccurred())
			kill(component)
			Eventually(func() (int, error) { return own.Component(component) }).WithContext(ctx).ShouldNot(Equal(before))
			answering(ctx)
			unhurt(ctx, stays, pod)
			removed(ctx, goes, recovered)
		},
		Entry("the API server", SpecTimeout(12*time.Minute), "kube-apiserver"),
		Entry("etcd", SpecTimeout(12*time.Minute), "etcd"),
		Entry("the controller manager", SpecTimeout(12*time.Minute), "kube-controller-manager"),
		Entry("the kubelet", SpecTimeout(12*time.Minute), "kubelet"),
		Entry("containerd", SpecTimeout(12*time.Minute), "containerd"),
	)

	It("of the operator, again and again, in the middle of a removal, is made good by the next", func(ctx SpecContext) {
		l, _ := working(ctx)
		remove(ctx, l)
		for range 3 {
			Expect(killOperator(ctx)).To(Succeed())
			Eventually(func() ([]int, error) { return own.InPods("/manager") }).WithContext(ctx).Should(HaveLen(1))
		}
		removed(ctx, l, recovered)
	}, SpecTimeout(12*time.Minute))

	It("of two operators that leads is followed by the other, which finishes a removal", func(ctx SpecContext) {
		DeferCleanup(func(ctx SpecContext) { setOperator(ctx, 1, false) }, NodeTimeout(2*time.Minute))
		setOperator(ctx, 2, true)
		leader := func(ctx context.Context) (string, error) {
			var lease coordinationv1.Lease
			err := k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: operator}, &lease)
			if err == nil && (lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "") {
				err = errors.New("nobody leads")
			}
			if err != nil {
				return "", err
			}
			return (*lease.Spec.HolderIdentity)[:len(*lease.Spec.HolderIdentity)-len("_00000000-0000-0000-0000-000000000000")], nil
		}
		l, _ := working(ctx)
		held, err := l.disturb(ctx, azure.Fault{Operation: "ContainerGroups.Delete", Status: 503})
		Expect(err).NotTo(HaveOccurred())
		remove(ctx, l)
		Expect(until(ctx, recovered, "in the middle of its removal", func(ctx context.Context) error {
			c, err := l.get(ctx)
			if err == nil && condition(c, v1alpha1.ConditionRetiring).Status != metav1.ConditionTrue {
				err = errors.New(told(c))
			}
			return err
		})).To(Succeed())
		former, err := leader(ctx)
		Expect(err).NotTo(HaveOccurred())
		pids, err := own.InPods("/manager")
		Expect(err).NotTo(HaveOccurred())
		Expect(pids).To(HaveLen(2))
		By("killing the leader " + former)
		Expect(l.signalOperator(ctx, former, syscall.SIGKILL)).To(Succeed())
		Expect(held(ctx)).To(Succeed())
		start := time.Now()
		removed(ctx, l, 2*time.Minute)
		AddReportEntry("after its leader was killed, a removal was over in", time.Since(start).Round(time.Second).String())
	}, SpecTimeout(12*time.Minute))

	It("of a virtual kubelet that is killed comes back, with its container groups as they were", func(ctx SpecContext) {
		l, pod := working(ctx)
		Expect(l.signal(l.node(v1alpha1.OSTypeLinux), syscall.SIGKILL)).To(Succeed())
		unhurt(ctx, l, pod)
	}, SpecTimeout(12*time.Minute))

	It("for lack of a network to Azure works again when that is back", func(ctx SpecContext) {
		l, pod := working(ctx)
		back, err := l.disturb(ctx, azure.Fault{Operation: "*", Drop: true})
		Expect(err).NotTo(HaveOccurred())
		Expect(until(ctx, recovered, "said that Azure is silent", func(ctx context.Context) error {
			c, err := l.get(ctx)
			if err == nil && condition(c, v1alpha1.ConditionAzureAccessible).Status != metav1.ConditionUnknown {
				err = errors.New(told(c))
			}
			return err
		})).To(Succeed())
		Expect(back(ctx)).To(Succeed())
		unhurt(ctx, l, pod)
	}, SpecTimeout(12*time.Minute))
})

// signalOperator sends a signal to the operator's process in a pod.
func (l *lane) signalOperator(ctx context.Context, pod string, s syscall.Signal) error {
	var found corev1.Pod
	if err := k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: pod}, &found); err != nil {
		return err
	}
	pids, err := own.InPod(string(found.UID), "/manager")
	if err != nil {
		return err
	}
	if len(pids) != 1 {
		return fmt.Errorf("%d operators run in pod %s", len(pids), pod)
	}
	return syscall.Kill(pids[0], s)
}
