// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	sandboxazure "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	// one is the name of the connector of most specs.
	one        = "one"
	secretName = "virtual-kubelet-credentials"
)

// connector returns one that is as small as it can be.
func connector(osTypes ...v1alpha1.OSType) *v1alpha1.VirtualKubeletConnector {
	return &v1alpha1.VirtualKubeletConnector{
		ObjectMeta: metav1.ObjectMeta{Name: one},
		Spec: v1alpha1.VirtualKubeletConnectorSpec{
			OSTypes: osTypes,
			ContainerGroups: v1alpha1.ContainerGroups{
				SubscriptionID: sandboxazure.DefaultSubscriptionID,
				ResourceGroup:  "virtual-nodes",
				Location:       "East US",
			},
			Credentials: v1alpha1.Credentials{
				Type: v1alpha1.CredentialTypeServicePrincipal,
				ServicePrincipal: &v1alpha1.ServicePrincipal{
					TenantID:        sandboxazure.DefaultTenantID,
					ClientID:        sandboxazure.DefaultClientID,
					ClientSecretRef: v1alpha1.SecretKeyReference{Name: secretName},
				},
			},
		},
	}
}

func createSecret(ctx context.Context, data map[string]string) {
	GinkgoHelper()
	Expect(k8s.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName},
		StringData: data,
	})).To(Succeed())
}

func goodSecret() map[string]string {
	return map[string]string{"clientSecret": sandboxazure.DefaultClientSecret}
}

// condition reads a condition of the connector; zero where it is absent.
func condition(ctx context.Context, conditionType string) func(Gomega) metav1.Condition {
	return conditionOf(ctx, one, conditionType)
}

func conditionOf(ctx context.Context, name, conditionType string) func(Gomega) metav1.Condition {
	return func(g Gomega) metav1.Condition {
		var c v1alpha1.VirtualKubeletConnector
		g.Expect(k8s.Get(ctx, client.ObjectKey{Name: name}, &c)).To(Succeed())
		if found := meta.FindStatusCondition(c.Status.Conditions, conditionType); found != nil {
			return *found
		}
		return metav1.Condition{}
	}
}

func beCondition(status metav1.ConditionStatus, reason string) OmegaMatcher {
	return And(HaveField("Status", status), HaveField("Reason", reason))
}

// children lists everything that exists of the connector, as kind/name.
func children(ctx context.Context) []string {
	GinkgoHelper()
	var found []string
	for kind, list := range map[string]client.ObjectList{
		"Secret":             &corev1.SecretList{},
		"ServiceAccount":     &corev1.ServiceAccountList{},
		"ClusterRoleBinding": &rbacv1.ClusterRoleBindingList{},
		"RoleBinding":        &rbacv1.RoleBindingList{},
		"Deployment":         &appsv1.DeploymentList{},
		"Node":               &corev1.NodeList{},
	} {
		Expect(k8s.List(ctx, list, client.MatchingLabels{"connector.virtual-kubelet.io/connector": one})).To(Succeed())
		Expect(meta.EachListItem(list, func(o runtime.Object) error {
			accessor, err := meta.Accessor(o)
			found = append(found, kind+"/"+accessor.GetName())
			return err
		})).To(Succeed())
	}
	return found
}

// standIn does, for one node, what a kubelet and a virtual kubelet do: its pod becomes ready, and the Node
// is made.
func standIn(ctx context.Context, name string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		var pods corev1.PodList
		g.Expect(k8s.List(ctx, &pods, client.InNamespace(namespace))).To(Succeed())
		ready := 0
		for i := range pods.Items {
			pod := &pods.Items[i]
			if !strings.HasPrefix(pod.Name, name+"-") || !pod.DeletionTimestamp.IsZero() {
				continue
			}
			pod.Status.Phase = corev1.PodRunning
			pod.Status.Conditions = []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()},
			}
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "virtual-kubelet", Ready: true,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
			}}
			g.Expect(k8s.Status().Update(ctx, pod)).To(Succeed())
			ready++
		}
		g.Expect(ready).To(Equal(1))
	}).Should(Succeed())
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"type": "virtual-kubelet", "kubernetes.io/role": "agent"}},
	}
	Expect(client.IgnoreAlreadyExists(k8s.Create(ctx, node))).To(Succeed())
	modifyStatus(ctx, node, func() {
		node.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
			LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}}
		node.Status.NodeInfo.KubeletVersion = "v1.25.0-vk-azure-aci-1.6.4"
	})
}

// modify changes an object as it is now, whoever else writes to it.
func modify(ctx context.Context, object client.Object, change func()) {
	GinkgoHelper()
	modifyBy(ctx, object, change, func() error { return k8s.Update(ctx, object) })
}

// modifyStatus changes the status of an object as it is now.
func modifyStatus(ctx context.Context, object client.Object, change func()) {
	GinkgoHelper()
	modifyBy(ctx, object, change, func() error { return k8s.Status().Update(ctx, object) })
}

func modifyBy(ctx context.Context, object client.Object, change func(), update func() error) {
	GinkgoHelper()
	Expect(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := k8s.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		change()
		return update()
	})).To(Succeed())
}

// ready makes a connector with its Secret, and waits until it is ready.
func ready(ctx context.Context, c *v1alpha1.VirtualKubeletConnector, nodes ...string) {
	GinkgoHelper()
	createSecret(ctx, goodSecret())
	Expect(k8s.Create(ctx, c)).To(Succeed())
	for _, node := range nodes {
		standIn(ctx, node)
	}
	Eventually(condition(ctx, v1alpha1.ConditionReady)).Should(beCondition(metav1.ConditionTrue, v1alpha1.ReasonReady))
}

// hold makes a budget that lets a pod not be evicted.
func hold(ctx context.Context, pod *corev1.Pod) *policyv1.PodDisruptionBudget {
	GinkgoHelper()
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: "web"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
		},
	}
	Expect(k8s.Create(ctx, budget)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, budget))).To(Succeed()) })
	return budget
}

// plantGroup makes a container group as the virtual kubelet of a node would for a pod.
func plantGroup(ctx context.Context, name, node, uid string) {
	GinkgoHelper()
	plantGroupIn(ctx, "virtual-nodes", name, node, uid)
}

func plantGroupIn(ctx context.Context, resourceGroup, name, node, uid string) {
	GinkgoHelper()
	Expect(cloud.Client().PutContainerGroup(ctx, sandboxazure.ContainerGroup{
		SubscriptionID: sandboxazure.DefaultSubscriptionID, ResourceGroup: resourceGroup, Name: name, Location: "eastus", OSType: "Linux",
		Tags: map[string]string{"NodeName": node, "Namespace": "default", "PodName": strings.TrimPrefix(name, "default-"), "UID": uid},
	})).To(Succeed())
}

// writes are the requests of the operator that change something, but for events, as the API server logged them.
func writes() []string {
	GinkgoHelper()
	var found []string
	for _, r := range requests() {
		if !r.reads() && !strings.Contains(r.uri, "/events") {
			found = append(found, r.verb+" "+r.uri)
		}
	}
	return found
}

// request is one that an operator has made.
type request struct{ verb, uri, kind, agent string }

func (r request) reads() bool { return slices.Contains([]string{"get", "list", "watch"}, r.verb) }

// requests are all of the operator, and of those that run with its rights, that the API server has answered.
func requests() []request {
	GinkgoHelper()
	file, err := os.Open(auditLog)
	Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	var found []request
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Stage            string `json:"stage"`
			Verb             string `json:"verb"`
			RequestURI       string `json:"requestURI"`
			UserAgent        string `json:"userAgent"`
			ImpersonatedUser struct {
				Username string `json:"username"`
			} `json:"impersonatedUser"`
			ObjectRef struct {
				Resource    string `json:"resource"`
				Subresource string `json:"subresource"`
			} `json:"objectRef"`
		}
		Expect(json.Unmarshal(lines.Bytes(), &event)).To(Succeed())
		// A watch has answered when it has begun; it ends with the operator.
		if event.ImpersonatedUser.Username != operatorUser || (event.Stage != "ResponseComplete" && event.Verb != "watch") {
			continue
		}
		kind := event.ObjectRef.Resource
		if event.ObjectRef.Subresource != "" {
			kind += "/" + event.ObjectRef.Subresource
		}
		found = append(found, request{verb: event.Verb, uri: event.RequestURI, kind: kind, agent: event.UserAgent})
	}
	Expect(lines.Err()).NotTo(HaveOccurred())
	return found
}
