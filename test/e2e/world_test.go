// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/test/world"
)

// Names of the samples.
const (
	connectorName = "virtual-kubelet"
	secretName    = "virtual-kubelet-credentials"
	secretKey     = "clientSecret"
	linuxNode     = "virtual-kubelet-virtual-kubelet-linux-eastus"
	windowsNode   = "virtual-kubelet-virtual-kubelet-windows-eastus"

	connectorLabel = "connector.virtual-kubelet.io/connector"
	userNamespace  = metav1.NamespaceDefault
)

// readyTimeout is how long a connector may take that has all it needs; removalTimeout includes the half
// minute that pods are given to end.
const (
	readyTimeout   = 30 * time.Second
	removalTimeout = 90 * time.Second
)

// kubectl runs what a user would type, and returns what it printed.
func kubectl(ctx context.Context, args ...string) string {
	GinkgoHelper()
	GinkgoWriter.Println("  $ kubectl " + strings.Join(world.Redact(args), " "))
	output, err := tryKubectl(ctx, args...)
	GinkgoWriter.Print(output)
	Expect(err).NotTo(HaveOccurred())
	return output
}

func tryKubectl(ctx context.Context, args ...string) (string, error) {
	return own.Kubectl(ctx, args...)
}

// putSecret makes or replaces the Secret with the credentials.
func putSecret(ctx context.Context, key, value string) {
	GinkgoHelper()
	dropSecret(ctx)
	kubectl(ctx, "create", "secret", "generic", secretName, "-n", namespace, "--from-literal="+key+"="+value)
}

func dropSecret(ctx context.Context) {
	GinkgoHelper()
	Expect(client.IgnoreNotFound(k8s.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName}}))).To(Succeed())
}

// applySample makes the sample connector with its Secret, and waits until it is Ready.
func applySample(ctx context.Context) {
	GinkgoHelper()
	putSecret(ctx, secretKey, azure.DefaultClientSecret)
	kubectl(ctx, "apply", "-k", "config/samples")
	kubectl(ctx, "wait", "vkc/"+connectorName, "--for=condition=Ready", "--timeout="+readyTimeout.String())
}

// workload is the file of a sample workload.
func workload(name string) string {
	return filepath.Join("config", "samples", "workloads", name+".yaml")
}

// runWorkload runs a sample workload that ends sooner than by default, pinned to a node, and returns its
// pod once that runs.
func runWorkload(ctx context.Context, name, node string) *corev1.Pod {
	GinkgoHelper()
	manifest, err := os.ReadFile(filepath.Join(root, workload(name)))
	Expect(err).NotTo(HaveOccurred())
	var deployment appsv1.Deployment
	Expect(yaml.Unmarshal(manifest, &deployment)).To(Succeed())
	deployment.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(1))
	deployment.Spec.Template.Spec.NodeSelector[corev1.LabelHostname] = node
	deployment.Namespace = userNamespace
	Expect(k8s.Create(ctx, &deployment)).To(Succeed())
	return runningPod(ctx, name)
}

// runningPod waits for the pod of a workload to run.
func runningPod(ctx context.Context, app string) *corev1.Pod {
	GinkgoHelper()
	var found corev1.Pod
	Eventually(func(g Gomega) {
		var pods corev1.PodList
		g.Expect(k8s.List(ctx, &pods, client.InNamespace(userNamespace), client.MatchingLabels{"app": app})).To(Succeed())
		g.Expect(pods.Items).To(HaveLen(1))
		found = pods.Items[0]
		g.Expect(found.Status.Phase).To(Equal(corev1.PodRunning), "pod %s: %v", found.Name, found.Status.Conditions)
	}).WithContext(ctx).Should(Succeed())
	return &found
}

// kubeletPod returns the pod of a node's virtual kubelet; there is to be one.
func kubeletPod(ctx context.Context, node string) *corev1.Pod {
	GinkgoHelper()
	var found corev1.Pod
	Eventually(func(g Gomega) {
		pods := kubeletPods(ctx, g, node)
		g.Expect(pods).To(HaveLen(1))
		found = pods[0]
	}).WithContext(ctx).Should(Succeed())
	return &found
}

func kubeletPods(ctx context.Context, g Gomega, node string) []corev1.Pod {
	var deployment appsv1.Deployment
	g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: node}, &deployment)).To(Succeed())
	var pods corev1.PodList
	g.Expect(k8s.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(deployment.Spec.Selector.MatchLabels))).To(Succeed())
	return pods.Items
}

func getNode(ctx context.Context, name string) *corev1.Node {
	GinkgoHelper()
	var node corev1.Node
	Expect(k8s.Get(ctx, client.ObjectKey{Name: name}, &node)).To(Succeed())
	return &node
}

// condition reads a condition of a connector; it is zero where it is absent.
func condition(ctx context.Context, connector, conditionType string) func(Gomega) metav1.Condition {
	return func(g Gomega) metav1.Condition {
		var c v1alpha1.VirtualKubeletConnector
		g.Expect(k8s.Get(ctx, client.ObjectKey{Name: connector}, &c)).To(Succeed())
		if found := meta.FindStatusCondition(c.Status.Conditions, conditionType); found != nil {
			return *found
		}
		return metav1.Condition{}
	}
}

// be matches a condition by its status and reason, and by what its message contains.
func be(status metav1.ConditionStatus, reason string, contains ...string) gomegatypes.GomegaMatcher {
	matchers := []gomegatypes.GomegaMatcher{HaveField("Status", status), HaveField("Reason", reason)}
	for _, text := range contains {
		matchers = append(matchers, HaveField("Message", ContainSubstring(text)))
	}
	return And(matchers...)
}

var beReady = be(metav1.ConditionTrue, v1alpha1.ReasonReady)

// groupsOf lists the container groups that carry a node's name.
func groupsOf(ctx context.Context, node string) []azure.ContainerGroup {
	GinkgoHelper()
	groups, err := box.Azure().ContainerGroups(ctx)
	Expect(err).NotTo(HaveOccurred())
	return slices.DeleteFunc(groups, func(g azure.ContainerGroup) bool { return g.Tags["NodeName"] != node })
}

// leftovers lists all that there is of nodes of the sample connector, in the cluster and in Azure.
func leftovers(ctx context.Context, nodes ...string) []string {
	GinkgoHelper()
	var found []string
	for _, list := range []client.ObjectList{
		&corev1.SecretList{}, &corev1.ServiceAccountList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleBindingList{},
		&appsv1.DeploymentList{}, &appsv1.ReplicaSetList{}, &corev1.PodList{}, &corev1.NodeList{}, &coordinationv1.LeaseList{},
	} {
		Expect(k8s.List(ctx, list)).To(Succeed())
		Expect(meta.EachListItem(list, func(object runtime.Object) error {
			if what := belongs(object, nodes); what != "" {
				found = append(found, fmt.Sprintf("%T %s", object, what))
			}
			return nil
		})).To(Succeed())
	}
	for _, node := range nodes {
		for _, group := range groupsOf(ctx, node) {
			found = append(found, "container group "+group.Name)
		}
	}
	return found
}

// belongs names an object that was made for one of the nodes, or runs on it.
func belongs(object runtime.Object, nodes []string) string {
	accessor, err := meta.Accessor(object)
	Expect(err).NotTo(HaveOccurred())
	name, labels := accessor.GetName(), accessor.GetLabels()
	for _, node := range nodes {
		osName := "linux"
		if strings.Contains(node, "-windows-") {
			osName = "windows"
		}
		labelled := labels[connectorLabel] == connectorName && labels["connector.virtual-kubelet.io/os"] == osName
		pod, isPod := object.(*corev1.Pod)
		if name == node || strings.HasPrefix(name, node+"-") || labelled || (isPod && pod.Spec.NodeName == node) {
			return name
		}
	}
	return ""
}

// removed waits until nothing is left of nodes.
func removed(ctx context.Context, nodes ...string) {
	GinkgoHelper()
	Eventually(func() []string { return leftovers(ctx, nodes...) }).
		WithContext(ctx).WithTimeout(removalTimeout).Should(BeEmpty())
}

// restoreWorld ends what a spec has left, whatever state it is in.
func restoreWorld(ctx context.Context) {
	GinkgoHelper()
	By("restoring the world")
	cloud := box.Azure()
	restoreAzure(ctx)
	if connectors := namesOf(ctx, Default, &v1alpha1.VirtualKubeletConnectorList{}); len(connectors) > 0 {
		putSecret(ctx, secretKey, azure.DefaultClientSecret) // a removal needs credentials that work
	}
	inNamespace := client.InNamespace(userNamespace)
	Expect(k8s.DeleteAllOf(ctx, &policyv1.PodDisruptionBudget{}, inNamespace)).To(Succeed())
	Expect(k8s.DeleteAllOf(ctx, &appsv1.Deployment{}, inNamespace, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	Expect(k8s.DeleteAllOf(ctx, &appsv1.ReplicaSet{}, inNamespace)).To(Succeed())
	Expect(k8s.DeleteAllOf(ctx, &v1alpha1.VirtualKubeletConnector{})).To(Succeed())
	Eventually(func(g Gomega) {
		g.Expect(k8s.DeleteAllOf(ctx, &corev1.Pod{}, inNamespace, client.GracePeriodSeconds(0))).To(Succeed())
		g.Expect(namesOf(ctx, g, &v1alpha1.VirtualKubeletConnectorList{})).To(BeEmpty(), "connectors")
		g.Expect(namesOf(ctx, g, &corev1.PodList{}, inNamespace)).To(BeEmpty(), "pods")
	}).WithContext(ctx).WithTimeout(removalTimeout).Should(Succeed())
	dropSecret(ctx)
	groups, err := cloud.ContainerGroups(ctx)
	Expect(err).NotTo(HaveOccurred())
	for _, group := range groups {
		Expect(cloud.DeleteContainerGroup(ctx, group.SubscriptionID, group.ResourceGroup, group.Name)).To(Succeed())
	}
}

// restoreAzure makes Azure what it is at first, but for what is additional in it.
func restoreAzure(ctx context.Context) {
	GinkgoHelper()
	cloud, first := box.Azure(), azure.DefaultConfig()
	Expect(cloud.ClearFaults(ctx)).To(Succeed())
	for _, p := range first.ServicePrincipals {
		Expect(cloud.SetClientSecret(ctx, p.ClientID, azure.DefaultClientSecret, time.Time{})).To(Succeed())
	}
	for _, s := range first.Subscriptions {
		for _, provider := range s.Providers {
			Expect(cloud.SetProvider(ctx, s.ID, provider, true)).To(Succeed())
		}
	}
	for _, r := range first.RoleAssignments {
		Expect(cloud.SetRoleAssignments(ctx, r.ClientID, r)).To(Succeed())
	}
	for _, g := range first.ResourceGroups {
		Expect(cloud.SetResourceGroup(ctx, g)).To(Succeed())
		Expect(cloud.SetDenyAssignments(ctx, "/subscriptions/"+g.SubscriptionID+"/resourceGroups/"+g.Name)).To(Succeed())
	}
	for _, n := range first.VirtualNetworks {
		Expect(cloud.SetVirtualNetwork(ctx, n)).To(Succeed())
	}
	for _, c := range first.ManagedClusters {
		Expect(cloud.SetManagedCluster(ctx, c)).To(Succeed())
	}
	for _, l := range first.Locations {
		Expect(cloud.SetLocation(ctx, l)).To(Succeed())
	}
	Expect(cloud.SetQuota(ctx, first.Quota)).To(Succeed())
}

func namesOf(ctx context.Context, g Gomega, list client.ObjectList, options ...client.ListOption) []string {
	var names []string
	g.Expect(k8s.List(ctx, list, options...)).To(Succeed())
	g.Expect(meta.EachListItem(list, func(item runtime.Object) error {
		accessor, err := meta.Accessor(item)
		names = append(names, accessor.GetName())
		return err
	})).To(Succeed())
	return names
}
