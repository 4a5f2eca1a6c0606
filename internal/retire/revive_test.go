// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"encoding/json"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// Pods wait for a virtual kubelet that does not run: it gets its time, and then they go without it.
func TestAVirtualKubeletThatStaysDownIsStopped(t *testing.T) {
	g := NewWithT(t)
	clock := clocktesting.NewFakeClock(time.Unix(1_800_000_000, 0))
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "node"},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(1))},
	}
	kubernetes := fake.NewClientBuilder().WithObjects(deployment).Build()
	retirer := &Retirer{
		Client: kubernetes, Clock: clock,
		Inventory: azure.NewInventory(azure.NewConnector(nil, ""), clock, func(string) {}),
	}
	relieve := func(ends time.Time) (Progress, int32) {
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
		if !ends.IsZero() {
			pod.DeletionTimestamp = &metav1.Time{Time: ends}
		}
		v := visit{
			Retirer: retirer, node: &observe.Node{Name: "node", Hash: "hash", Deployment: deployment}, claimed: true, config: started(),
			spec:     resolve.Resolved{Namespace: "system"},
			progress: &Progress{Reason: v1alpha1.ReasonDraining, Message: "1 pod left on the node"},
			pods:     leaving{waited: []corev1.Pod{pod}},
		}
		g.Expect(v.relieve(t.Context())).To(Succeed())
		var now appsv1.Deployment
		g.Expect(kubernetes.Get(t.Context(), client.ObjectKeyFromObject(deployment), &now)).To(Succeed())
		return *v.progress, *now.Spec.Replicas
	}

	progress, replicas := relieve(clock.Now().Add(-time.Second))
	g.Expect(replicas).To(BeEquivalentTo(1), "it has only just been found down")
	g.Expect(progress.Message).To(Equal("1 pod left on the node, and its virtual kubelet does not run: " +
		"kubectl describe pods -n system -l connector.virtual-kubelet.io/identity=hash"))

	clock.Step(downtime + time.Second)
	_, replicas = relieve(time.Time{})
	g.Expect(replicas).To(BeEquivalentTo(1), "a pod has not been asked to end")
	_, replicas = relieve(clock.Now().Add(time.Second))
	g.Expect(replicas).To(BeEquivalentTo(1), "a pod has still time to end")
	progress, replicas = relieve(clock.Now().Add(-time.Second))
	g.Expect(replicas).To(BeZero())
	g.Expect(progress.Reason).To(Equal(v1alpha1.ReasonStopping))
}

func TestReviveHandsOverCredentials(t *testing.T) {
	g := NewWithT(t)
	clock := clocktesting.NewFakeClock(time.Unix(1_800_000_000, 0))
	cloud, err := simulated.NewServer(simulated.DefaultConfig())
	g.Expect(err).NotTo(HaveOccurred())
	target := simulatedTarget()
	answered := make(chan string, 1)
	inventory := azure.NewInventory(azure.NewConnector(cloud.Transport(), ""), clock, func(connector string) { answered <- connector })
	go func() { _ = inventory.Start(t.Context()) }()
	inventory.List("aci", target, time.Time{})
	g.Eventually(func() chan string { clock.Step(0); return answered }).WithTimeout(30 * time.Second).Should(Receive())

	former := render.AzureConfigOf(target, "eastus", nil)
	former.ClientID, former.ClientSecret = "former", "refused"
	content, err := json.Marshal(former)
	g.Expect(err).NotTo(HaveOccurred())
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "node"},
		Data:       map[string][]byte{render.AzureKey: content, "key.pem": []byte("key")},
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "node-1", UID: "uid"}}
	kubernetes := fake.NewClientBuilder().WithObjects(secret, pod).Build()
	g.Expect(kubernetes.Get(t.Context(), client.ObjectKeyFromObject(secret), secret)).To(Succeed())
	retirer := &Retirer{Client: kubernetes, Clock: clock, Inventory: inventory}
	node := &observe.Node{Name: "node", Hash: "hash", Secret: secret, Pods: []corev1.Pod{*pod}}
	v := visit{
		Retirer: retirer, node: node, config: former, target: target, progress: &Progress{Reason: v1alpha1.ReasonDraining},
		spec: resolve.Resolved{Connector: "aci", Namespace: "system"},
	}
	g.Expect(v.revive(t.Context())).To(Succeed())

	g.Expect(kubernetes.Get(t.Context(), client.ObjectKeyFromObject(secret), secret)).To(Succeed())
	var handed render.AzureConfig
	g.Expect(json.Unmarshal(secret.Data[render.AzureKey], &handed)).To(Succeed())
	g.Expect(handed).To(Equal(render.AzureConfigOf(target, "eastus", nil)))
	g.Expect(secret.Data).To(HaveKey("key.pem"))
	g.Expect(client.IgnoreNotFound(kubernetes.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))).To(Succeed())
	g.Expect(kubernetes.Get(t.Context(), client.ObjectKeyFromObject(pod), pod)).NotTo(Succeed(), "it is restarted")
}
