// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	sandboxazure "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

var _ = Describe("A connector with every field set", func() {
	It("is not written to when nothing changes", func(ctx SpecContext) {
		everything := sample(ctx, "everything")
		everything.Name, everything.Spec.Node.NamePrefix = one, ""
		everything.Spec.VirtualKubelet.Image = v1alpha1.Image{Tag: "1.6.4", PullSecrets: []v1alpha1.LocalSecretReference{{Name: "registry"}}}
		createSecret(ctx, goodSecret())
		Expect(k8s.Create(ctx, everything)).To(Succeed())
		standIn(ctx, linuxNode)
		standIn(ctx, windowsNode)
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
		settled(ctx, func() {})
	})
})

// sample reads a sample connector, and makes the Secrets that it points to but for the one of all.
func sample(ctx context.Context, name string) *v1alpha1.VirtualKubeletConnector {
	GinkgoHelper()
	content, err := os.ReadFile("../config/samples/" + name + ".yaml")
	Expect(err).NotTo(HaveOccurred())
	var connector v1alpha1.VirtualKubeletConnector
	Expect(yaml.Unmarshal(content, &connector)).To(Succeed())
	connector.Spec.Credentials.ServicePrincipal.ClientSecretRef = v1alpha1.SecretKeyReference{Name: secretName}
	if analytics := connector.Spec.Monitoring.LogAnalytics; analytics != nil {
		Expect(k8s.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: string(analytics.SecretRef.Name)},
			StringData: map[string]string{"workspaceID": "workspace", "workspaceKey": "key"},
		})).To(Succeed())
	}
	return &connector
}

var _ = Describe("A node that Azure has not been asked about", func() {
	It("does not start before everything is answered, and starts although an answer does not come", func(ctx SpecContext) {
		Expect(cloud.AddFault(sandboxazure.Fault{Operation: "Permissions.*", Delay: 5 * time.Second})).NotTo(BeZero())
		createSecret(ctx, goodSecret())
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionUnknown, v1alpha1.ReasonClaimPending))
		Consistently(func() []string { return children(ctx) }).WithTimeout(2 * time.Second).Should(BeEmpty())
		standIn(ctx, linuxNode)
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
	})
})

var _ = Describe("Two connectors that come to one node name", func() {
	const younger = "younger"
	youngerNode := "virtual-kubelet-younger-linux-eastus"
	other := func() *v1alpha1.VirtualKubeletConnector {
		c := connector()
		c.Name = younger
		c.Spec.ContainerGroups.ResourceGroup = "virtual-nodes-westus"
		return c
	}
	// ownedBy waits until a node is a connector's.
	ownedBy := func(ctx context.Context, node, connector string) {
		GinkgoHelper()
		Eventually(func(g Gomega) {
			deletePods(ctx, g, namespace)
			var deployment appsv1.Deployment
			g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: node}, &deployment)).To(Succeed())
			g.Expect(deployment.Labels).To(HaveKeyWithValue("connector.virtual-kubelet.io/connector", connector))
		}).WithTimeout(time.Minute).Should(Succeed())
	}
	conflicts := func(with string) gomegatypes.GomegaMatcher {
		return And(beCondition(metav1.ConditionFalse, v1alpha1.ReasonConflictingConnector), HaveField("Message", ContainSubstring("connector "+with)))
	}

	It("leave it to the one whose node is there already, however young it is", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		Expect(k8s.Create(ctx, other())).To(Succeed())
		standIn(ctx, youngerNode)
		Eventually(conditionOf(ctx, younger, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
		var kept, taken appsv1.Deployment
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &kept)).To(Succeed())
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: youngerNode}, &taken)).To(Succeed())

		By("giving the older one the younger's name")
		older := &v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: one}}
		modify(ctx, older, func() { older.Spec.Node.NamePrefix = "virtual-kubelet-younger" })
		Eventually(condition(ctx, v1alpha1.ConditionResolved)).Should(conflicts(younger))
		Consistently(func(g Gomega) {
			for _, deployment := range []*appsv1.Deployment{&kept, &taken} {
				var now appsv1.Deployment
				g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployment), &now)).To(Succeed())
				g.Expect(now.UID).To(Equal(deployment.UID))
				g.Expect(now.Spec.Replicas).To(HaveValue(BeEquivalentTo(1)))
			}
		}).WithTimeout(2 * time.Second).Should(Succeed())
		Eventually(conditionOf(ctx, younger, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))

		By("deleting the younger one")
		Expect(k8s.Delete(ctx, &v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: younger}})).To(Succeed())
		ownedBy(ctx, youngerNode, one)
	}, SpecTimeout(3*time.Minute))

	It("leave it to the older one while there is no node, and to the other one after it", func(ctx SpecContext) {
		first, second := connector(), other()
		first.Spec.Node.NamePrefix, second.Spec.Node.NamePrefix = "virtual-kubelet-younger", "virtual-kubelet-younger"
		createSecret(ctx, goodSecret())
		Expect(k8s.Create(ctx, first)).To(Succeed())
		Expect(k8s.Create(ctx, second)).To(Succeed())
		Eventually(conditionOf(ctx, younger, v1alpha1.ConditionResolved)).Should(conflicts(one))
		ownedBy(ctx, youngerNode, one)
		Expect(k8s.Delete(ctx, first)).To(Succeed())
		ownedBy(ctx, youngerNode, younger)
	}, SpecTimeout(3*time.Minute))
})

var _ = Describe("A removal", func() {
	It("with the policy Force, or after its time is over, does not ask the budgets", func(ctx SpecContext) {
		ready(ctx, connector(), linuxNode)
		pod := runPod(ctx)
		hold(ctx, pod)
		c := &v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: one}}
		Expect(k8s.Delete(ctx, c)).To(Succeed())
		Eventually(condition(ctx, v1alpha1.ConditionRetiring)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonEvictionBlocked))
		By("giving it a time while it is under way")
		modify(ctx, c, func() { c.Spec.Removal.DrainTimeoutSeconds = new(int32(2)) })
		Eventually(func(g Gomega) {
			err := k8s.Get(ctx, client.ObjectKeyFromObject(pod), pod)
			g.Expect(apierrors.IsNotFound(err) || !pod.DeletionTimestamp.IsZero()).To(BeTrue())
		}).Should(Succeed())
	}, SpecTimeout(2*time.Minute))
})
