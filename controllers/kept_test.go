// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	sandboxazure "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

var _ = Describe("A node that is kept as its successor can't be started", func() {
	key := client.ObjectKey{Namespace: namespace, Name: linuxNode}
	deployment := func(ctx context.Context) *appsv1.Deployment {
		GinkgoHelper()
		var d appsv1.Deployment
		Expect(k8s.Get(ctx, key, &d)).To(Succeed())
		return &d
	}
	// podUID returns the uid of the virtual kubelet's pod; empty while there is none.
	podUID := func(ctx context.Context) func() types.UID {
		return func() types.UID {
			var pods corev1.PodList
			Expect(k8s.List(ctx, &pods, client.InNamespace(namespace))).To(Succeed())
			for i := range pods.Items {
				if pods.Items[i].DeletionTimestamp.IsZero() {
					return pods.Items[i].UID
				}
			}
			return ""
		}
	}

	It("goes on being repaired", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		patchSpec(ctx, `{"spec":{"containerGroups":{"resourceGroup":"nowhere"}}}`)
		Eventually(condition(ctx, v1alpha1.ConditionLinuxNodeReady)).Should(HaveField("Message", ContainSubstring("runs as before")))
		identity := deployment(ctx).Labels["connector.virtual-kubelet.io/identity"]

		By("starting its virtual kubelet anew, whose Node was deleted")
		before := podUID(ctx)()
		Expect(k8s.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: linuxNode}})).To(Succeed())
		Eventually(podUID(ctx)).Should(And(Not(BeEmpty()), Not(Equal(before))))
		again := podUID(ctx)()
		Consistently(podUID(ctx)).WithTimeout(2*time.Second).Should(Equal(again), "once is enough")
		standIn(ctx, linuxNode)

		By("starting its virtual kubelet, which was stopped")
		stopped := deployment(ctx)
		modify(ctx, stopped, func() { stopped.Spec.Replicas = new(int32(0)) })
		Eventually(func() int32 { return *deployment(ctx).Spec.Replicas }).Should(BeEquivalentTo(1))
		standIn(ctx, linuxNode)

		By("handing over the client secret, which was rotated")
		const renewed = "renewed-client-secret"
		Expect(cloud.Client().SetClientSecret(ctx, sandboxazure.DefaultClientID, renewed, time.Time{})).To(Succeed())
		updateSecret(ctx, renewed)
		Eventually(func(g Gomega) {
			var secret corev1.Secret
			g.Expect(k8s.Get(ctx, key, &secret)).To(Succeed())
			g.Expect(string(secret.Data["azure.json"])).To(ContainSubstring(renewed))
		}).Should(Succeed())
		Expect(deployment(ctx).Labels).To(HaveKeyWithValue("connector.virtual-kubelet.io/identity", identity), "it is the same node")
	}, SpecTimeout(3*time.Minute))

	It("is removed for a successor of the same name and place, whatever container groups it has left", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		plantGroup(ctx, "default-web", linuxNode, "00000000-0000-0000-0000-000000000001")
		var pods corev1.PodList
		Expect(k8s.List(ctx, &pods, client.InNamespace(namespace))).To(Succeed())
		Expect(pods.Items).To(HaveLen(1))
		modifyStatus(ctx, &pods.Items[0], func() { pods.Items[0].Status.Conditions[0].Status = corev1.ConditionFalse })
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(HaveField("Status", metav1.ConditionFalse))
		former := deployment(ctx).UID

		patchSpec(ctx, `{"spec":{"credentials":{"type":"ManagedIdentity","servicePrincipal":null,"managedIdentity":{"clientID":"`+sandboxazure.DefaultManagedIdentityID+`"}}}}`)
		Eventually(func(g Gomega) {
			var d appsv1.Deployment
			g.Expect(k8s.Get(ctx, key, &d)).To(Succeed())
			g.Expect(d.UID).NotTo(Equal(former))
		}).WithTimeout(time.Minute).Should(Succeed())
		Expect(cloud.ContainerGroups()).To(BeEmpty())
	}, SpecTimeout(3*time.Minute))
})
