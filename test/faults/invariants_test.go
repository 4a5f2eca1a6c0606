// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// What looks whether a world is right has to notice one that is wrong.
var _ = Describe("What is looked for", func() {
	It("is found where no connector is: objects, a Node, a Lease, a container group", func(ctx SpecContext) {
		l, err := newLane(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(l.clear(ctx)).To(Succeed()) }, NodeTimeout(time.Minute))
		Expect(l.settled(ctx)).To(Succeed())

		name := l.node(v1alpha1.OSTypeLinux)
		inNamespace := metav1.ObjectMeta{Namespace: namespace, Name: name}
		role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
		for kind, object := range map[string]client.Object{
			"Secret":             &corev1.Secret{ObjectMeta: inNamespace},
			"ServiceAccount":     &corev1.ServiceAccount{ObjectMeta: inNamespace},
			"ClusterRoleBinding": &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: role},
			"RoleBinding":        &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}, RoleRef: role},
			"Lease":              leaseOf(name),
			"Node":               &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}},
		} {
			Expect(k8s.Create(ctx, object)).To(Succeed())
			Expect(l.settled(ctx)).To(MatchError(ContainSubstring("there are "+kind+"s ["+name+"], and not []")), kind)
			Expect(k8s.Delete(ctx, object)).To(Succeed())
			Eventually(l.settled).WithContext(ctx).Should(Succeed(), kind)
		}
		Expect(cloud().PutContainerGroup(ctx, azure.ContainerGroup{SubscriptionID: l.subscription, ResourceGroup: second, Name: "default-web"})).To(Succeed())
		Expect(l.settled(ctx)).To(MatchError(ContainSubstring("container group default-web is left")))
	}, SpecTimeout(2*time.Minute))

	It("is found of a connector that is there: what is missing, changed or too much, and what is written", func(ctx SpecContext) {
		l, err := newLane(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(l.clear(ctx)).To(Succeed()) }, NodeTimeout(time.Minute))
		Expect(k8s.Create(ctx, l.connector(v1alpha1.OSTypeLinux))).To(Succeed())
		Expect(l.settled(ctx)).To(MatchError(ContainSubstring("not Ready")))
		Expect(until(ctx, recovered, "Ready", l.settled)).To(Succeed())
		Expect(l.runsPods(ctx)).To(Succeed())

		c, err := l.get(ctx)
		Expect(err).NotTo(HaveOccurred())
		says := func(text string, change func(*v1alpha1.VirtualKubeletConnector)) {
			GinkgoHelper()
			other := c.DeepCopy()
			change(other)
			Expect(l.complete(ctx, other)).To(MatchError(ContainSubstring(text)))
		}
		says("virtual kubelets of", func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.OSTypes = append(c.Spec.OSTypes, v1alpha1.OSTypeWindows)
		})
		says("taints", func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Node.Taint.Policy = v1alpha1.TaintPolicyNone })
		says("label", func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.Node.Labels = map[string]v1alpha1.LabelValue{userLabel: "b"}
		})
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: l.node(v1alpha1.OSTypeLinux)}}
		Expect(k8s.Patch(ctx, node, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"unschedulable":true}}`)))).To(Succeed())
		Expect(l.complete(ctx, c)).To(MatchError(ContainSubstring("cordoned")))
		Expect(k8s.Patch(ctx, node, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"unschedulable":false}}`)))).To(Succeed())
		Expect(cloud().PutContainerGroup(ctx, azure.ContainerGroup{SubscriptionID: l.subscription, ResourceGroup: second, Name: "default-web"})).To(Succeed())
		Expect(l.settled(ctx)).To(MatchError(ContainSubstring("default-web of node  has no pod")))

		p := &player{lane: l}
		writing, stop := context.WithCancel(ctx)
		edits := make(chan struct{})
		go func() {
			defer close(edits)
			for writing.Err() == nil {
				_ = p.edit(writing, "taint") // what the operator makes good is what it writes
				select {
				case <-writing.Done():
				case <-time.After(period):
				}
			}
		}()
		DeferCleanup(func() { stop(); <-edits })
		Expect(l.rests(ctx, quiet)).To(MatchError(ContainSubstring("patch nodes")))
	}, SpecTimeout(12*time.Minute))
})
