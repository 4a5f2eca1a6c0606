// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/metrics"
	"github.com/virtual-kubelet/connector-operator/internal/version"
)

// costs counts what the operator has asked the API server for since it was made, by what that is.
type costs struct{ from int }

func countCosts() costs {
	GinkgoHelper()
	return costs{from: len(requests())}
}

func (c costs) now() map[string]int {
	GinkgoHelper()
	found := map[string]int{}
	for _, r := range requests()[c.from:] {
		if strings.HasPrefix(r.agent, "operator") && r.counts() {
			found[r.verb+" "+r.kind]++
		}
	}
	return found
}

// counts leaves out what is no connector's: events, which tell of it, the lists and watches of caches, the API server's
// table of contents, and the guard that the first connector sets up.
func (r request) counts() bool {
	return r.verb != "list" && r.verb != "watch" && r.kind != "events" && r.kind != "" &&
		!strings.HasPrefix(r.kind, "validatingadmissionpolic")
}

// atRest waits until the operator has made no pass over a connector for a while: by then it has seen everything.
func atRest() {
	GinkgoHelper()
	before := -1.0
	Eventually(func() bool {
		now := passes()
		rests := now == before
		before = now
		return rests
	}).WithPolling(2*time.Second).WithTimeout(time.Minute).Should(BeTrue(), "the operator does not come to rest")
}

// passes is how often connectors were reconciled by the operators of this process.
func passes() float64 {
	GinkgoHelper()
	families, err := ctrlmetrics.Registry.Gather()
	Expect(err).NotTo(HaveOccurred())
	total := 0.0
	for _, family := range families {
		if family.GetName() != "controller_runtime_reconcile_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "controller" && label.GetValue() == "virtualkubeletconnector" {
					total += metric.GetCounter().GetValue()
				}
			}
		}
	}
	return total
}

// Counts, and never times: what a connector costs the API server is to stay what it needs.
var _ = Describe("What the operator costs", func() {
	// costly makes a connector of both operating systems while the clock stands, so that nothing that only passes lasts
	// long enough to be told.
	costly := func(ctx context.Context) {
		operatorClock.stand()
		createSecret(ctx, goodSecret())
		Expect(k8s.Create(ctx, connector(v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows))).To(Succeed())
		for _, name := range []string{linuxNode, windowsNode} {
			deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
			Eventually(func() error { return k8s.Get(ctx, client.ObjectKeyFromObject(deployment), deployment) }).Should(Succeed())
			// With its taint, as a virtual kubelet makes it.
			Expect(k8s.Create(ctx, &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"type": "virtual-kubelet"}},
				Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoSchedule}}},
			})).To(Succeed())
			standIn(ctx, name)
		}
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
		atRest()
	}

	It("is a write for each object and label, and two of the status", func(ctx SpecContext) {
		counted := countCosts()
		costly(ctx)
		found := counted.now()
		Expect(found["patch virtualkubeletconnectors/status"]).To(And(BeNumerically(">=", 1), BeNumerically("<=", 2)), "%v", found)
		delete(found, "patch virtualkubeletconnectors/status")
		Expect(found).To(Equal(map[string]int{
			"patch virtualkubeletconnectors": 1, // the finalizer
			"patch secrets":                  2, "patch serviceaccounts": 2, "patch clusterrolebindings": 2, "patch rolebindings": 2, "patch deployments": 2,
			"patch nodes": 2, // labels and annotations
			"get nodes":   2, // whether a machine has the name
		}))
	}, SpecTimeout(2*time.Minute))

	It("is what has changed", func(ctx SpecContext) {
		costly(ctx)

		By("another image")
		counted := countCosts()
		patchSpec(ctx, `{"spec":{"virtualKubelet":{"image":{"tag":"1.6.5"}}}}`)
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(HaveField("ObservedGeneration", int64(2)))
		standIn(ctx, linuxNode)
		standIn(ctx, windowsNode)
		Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
		atRest()
		// The version is in a label of each.
		Expect(counted.now()).To(Equal(map[string]int{
			"patch secrets": 2, "patch serviceaccounts": 2, "patch clusterrolebindings": 2, "patch rolebindings": 2, "patch deployments": 2,
			"patch nodes": 2, "patch virtualkubeletconnectors/status": 2,
		}))

		By("what somebody has deleted")
		counted = countCosts()
		binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: linuxNode}}
		Expect(k8s.Delete(ctx, binding)).To(Succeed())
		Eventually(func() error { return k8s.Get(ctx, client.ObjectKeyFromObject(binding), binding) }).Should(Succeed())
		atRest()
		Expect(counted.now()).To(Equal(map[string]int{"patch rolebindings": 1}))

		By("what somebody has edited")
		counted = countCosts()
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: windowsNode}}
		modify(ctx, account, func() { account.AutomountServiceAccountToken = new(true) })
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(account), account)).To(Succeed())
			g.Expect(account.AutomountServiceAccountToken).To(HaveValue(BeFalse()))
		}).Should(Succeed())
		atRest()
		Expect(counted.now()).To(Equal(map[string]int{"patch serviceaccounts": 1}))
	}, SpecTimeout(3*time.Minute))

	It("is nothing for heartbeats, nor when an operator starts, and what others have is in no cache", func(ctx SpecContext) {
		costly(ctx)
		counted := countCosts()
		before := passes()

		By("sending heartbeats")
		for beat := range 5 {
			for _, name := range []string{linuxNode, windowsNode} {
				node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
				modifyStatus(ctx, node, func() {
					node.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(time.Now().Add(time.Duration(beat+1) * time.Minute))
				})
				modify(ctx, node, func() {
					metav1.SetMetaDataAnnotation(&node.ObjectMeta, "virtual-kubelet.io/last-applied-node-status", fmt.Sprint(beat))
				})
			}
		}
		atRest()
		Expect(passes()).To(Equal(before))
		Expect(counted.now()).To(BeEmpty())

		By("starting another operator beside it, among what is others'")
		others := foreign(ctx)
		held := startOperator(scheme, "second", metrics.New(version.Get()))
		atRest()
		found := map[string]int{}
		for _, r := range requests() {
			if r.agent == "second" && r.counts() {
				found[r.verb+" "+r.kind]++
			}
		}
		Expect(found).To(BeEmpty())
		Expect(passes()).To(BeNumerically(">", before), "the second operator has done nothing")
		for _, list := range []client.ObjectList{
			&corev1.PodList{}, &corev1.NodeList{}, &corev1.ServiceAccountList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleBindingList{},
			&appsv1.DeploymentList{}, &corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.ServiceList{},
		} {
			Expect(held.List(ctx, list)).To(Succeed())
			Expect(meta.EachListItem(list, func(item runtime.Object) error {
				object, err := meta.Accessor(item)
				Expect(others).NotTo(ContainElement(object.GetName()), "%T", item)
				return err
			})).To(Succeed())
		}
	}, SpecTimeout(3*time.Minute))
})

// foreign makes objects of others, of every kind that the operator caches, and returns their names.
func foreign(ctx context.Context) []string {
	GinkgoHelper()
	name := "foreign"
	elsewhere := metav1.ObjectMeta{Namespace: "default", Name: name}
	here := metav1.ObjectMeta{Namespace: namespace, Name: name}
	pod := corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/main"}}, RestartPolicy: corev1.RestartPolicyAlways}
	objects := map[string]client.Object{
		"a machine":               &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}},
		"a pod":                   &corev1.Pod{ObjectMeta: elsewhere, Spec: pod},
		"a Secret":                &corev1.Secret{ObjectMeta: elsewhere},
		"a ConfigMap":             &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: name}},
		"a Service":               &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}},
		"a ServiceAccount":        &corev1.ServiceAccount{ObjectMeta: here},
		"a binding":               &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}},
		"a binding in kube-node-": &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}},
	}
	for _, what := range slices.Sorted(maps.Keys(objects)) {
		Expect(k8s.Create(ctx, objects[what])).To(Succeed(), what)
		DeferCleanup(func(ctx SpecContext) {
			Expect(client.IgnoreNotFound(k8s.Delete(ctx, objects[what], client.GracePeriodSeconds(0)))).To(Succeed())
		})
	}
	return []string{name}
}
