// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package kills

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

var _ = Describe("A machine that is lost with its virtual kubelets", func() {
	It("costs no pod: they are started elsewhere before the pods on their nodes have to leave", func(ctx SpecContext) {
		l, err := newLane(ctx, "lost-machine", GinkgoT().TempDir(), programs)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(l.clear(ctx)).To(Succeed()) }, NodeTimeout(2*stepTimeout))
		Expect(l.begin(ctx)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			if CurrentSpecReport().Failed() {
				l.describe(ctx)
			}
		}, NodeTimeout(time.Minute))
		install := scenario[0]
		Expect(install.do(ctx, l)).To(Succeed())
		Expect(l.await(ctx, func() (bool, error) { return install.done(ctx, l) })).To(Succeed())
		before, groups := l.userPods(ctx), l.cloud.ContainerGroups()
		Expect(before).To(HaveLen(2))

		By("losing the machine that all of it is on, beside an empty one")
		_, err = l.addMachine("second")
		Expect(err).NotTo(HaveOccurred())
		l.tally.reset()
		l.loseFirst()
		lost := time.Now()
		Eventually(l.linuxReady).WithContext(ctx).WithTimeout(90 * time.Second).Should(Equal(metav1.ConditionFalse))
		told := time.Since(lost)
		Eventually(l.linuxReady).WithContext(ctx).WithTimeout(2 * time.Minute).Should(Equal(metav1.ConditionTrue))
		served := time.Since(lost)
		AddReportEntry("a lost machine", "told after "+told.Round(time.Second).String()+", serves again after "+served.Round(time.Second).String())
		Expect(served).To(BeNumerically("<", 2*time.Minute), "the pods are evicted about 350 s after the loss")

		Eventually(func() (bool, error) { return install.done(ctx, l) }).WithContext(ctx).WithTimeout(stepTimeout).Should(BeTrue())
		Expect(l.userPods(ctx)).To(Equal(before))
		after := l.cloud.ContainerGroups()
		Expect(after).To(HaveLen(len(groups)))
		for i := range groups {
			Expect(after[i].Created).To(Equal(groups[i].Created))
		}
		starts, puts := l.tally.counts()
		Expect(puts).To(BeEmpty())
		Expect(starts).To(Equal(map[string]int{linuxNode: 1, windowsNode: 1}))

		By("giving the lost machine up, as a cloud does")
		Expect(l.k8s.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: machinePrefix + "first"}})).To(Succeed())
		Expect(l.k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(func(g Gomega) {
			left, err := l.state(ctx)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(left).To(BeEmpty())
		}).WithContext(ctx).WithTimeout(2 * time.Minute).Should(Succeed())
	}, SpecTimeout(8*time.Minute))
})

// describe reports what a failure is understood by.
func (l *lane) describe(ctx context.Context) {
	var nodes corev1.NodeList
	if err := l.k8s.List(ctx, &nodes); err == nil {
		for i := range nodes.Items {
			AddReportEntry("node "+nodes.Items[i].Name, fmt.Sprint(nodes.Items[i].Spec.Taints, nodes.Items[i].Status.Conditions))
		}
	}
	var pods corev1.PodList
	if err := l.k8s.List(ctx, &pods); err == nil {
		for i := range pods.Items {
			p := &pods.Items[i]
			AddReportEntry("pod "+p.Name, fmt.Sprint(p.DeletionTimestamp, p.Spec.NodeName, p.Spec.Tolerations, p.Status))
		}
	}
	if world, err := l.state(ctx); err == nil {
		AddReportEntry("world", world.String())
	}
}

// userPods returns the pods that run on virtual nodes.
func (l *lane) userPods(ctx context.Context) map[types.UID]corev1.PodPhase {
	GinkgoHelper()
	var pods corev1.PodList
	Expect(l.k8s.List(ctx, &pods, client.InNamespace(metav1.NamespaceDefault))).To(Succeed())
	found := map[types.UID]corev1.PodPhase{}
	for i := range pods.Items {
		Expect(pods.Items[i].DeletionTimestamp).To(BeNil())
		found[pods.Items[i].UID] = pods.Items[i].Status.Phase
	}
	return found
}

// linuxReady is what the connector says of its Linux node.
func (l *lane) linuxReady(ctx context.Context) (metav1.ConditionStatus, error) {
	var c v1alpha1.VirtualKubeletConnector
	if err := l.k8s.Get(ctx, client.ObjectKey{Name: connectorName}, &c); err != nil {
		return "", err
	}
	found := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionLinuxNodeReady)
	if found == nil {
		return "", nil
	}
	return found.Status, nil
}
