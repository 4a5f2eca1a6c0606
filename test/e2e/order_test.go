// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	crdName   = "virtualkubeletconnectors.connector.virtual-kubelet.io"
	guardName = "vk-connector-removal-guard"
	// needed is the label of what the policy guards.
	needed = "connector.virtual-kubelet.io/needed-for-removal"

	refusal = "VirtualKubeletConnector " + connectorName + " exists, and its removal needs this: run kubectl delete vkc --all"
)

var _ = Describe("A deletion", func() {
	DescribeTable("of a connector ends well however its dependents are to be treated",
		func(ctx SpecContext, cascade string) {
			applySample(ctx)
			runWorkload(ctx, "aci-helloworld", linuxNode)
			done := stopwatch("kubectl delete vkc --cascade=" + cascade)
			kubectl(ctx, "delete", "vkc", connectorName, "--cascade="+cascade, "--timeout="+removalTimeout.String())
			removed(ctx, linuxNode, windowsNode)
			done()
		},
		Entry("in the foreground", SpecTimeout(3*time.Minute), "foreground"),
		Entry("in the background", SpecTimeout(3*time.Minute), "background"),
		Entry("by orphaning them", SpecTimeout(3*time.Minute), "orphan"),
	)

	It("of a connector ends well after that of the Secret with its credentials", func(ctx SpecContext) {
		applySample(ctx)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		dropSecret(ctx)
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionResolved)).WithContext(ctx).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound))
		done := stopwatch("the Secret, then the connector")
		kubectl(ctx, "delete", "vkc", connectorName, "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
		done()
	}, SpecTimeout(3*time.Minute))

	It("of a connector ends well after that of its Node", func(ctx SpecContext) {
		applySample(ctx)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		done := stopwatch("the Node, then the connector")
		kubectl(ctx, "delete", "node", linuxNode)
		kubectl(ctx, "delete", "vkc", connectorName, "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
		done()
	}, SpecTimeout(3*time.Minute))

	It("of a connector while the operator is down is done when it is up again", func(ctx SpecContext) {
		applySample(ctx)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		stopOperator(ctx)
		kubectl(ctx, "delete", "vkc", connectorName, "--wait=false")
		Expect(leftovers(ctx, linuxNode)).To(ContainElement("*v1.Deployment " + linuxNode))
		done := stopwatch("the operator up again after the connector's deletion")
		startOperator(ctx)
		removed(ctx, linuxNode, windowsNode)
		done()
		expectNoConnectors(ctx)
	}, SpecTimeout(4*time.Minute))

	It("of a connector whose finalizer is taken off while the operator is down is done when it is up again", func(ctx SpecContext) {
		applySample(ctx)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		stopOperator(ctx)
		kubectl(ctx, "patch", "vkc", connectorName, "--type=merge", `--patch={"metadata":{"finalizers":null}}`)
		kubectl(ctx, "delete", "vkc", connectorName, "--timeout=10s")
		Expect(leftovers(ctx, linuxNode)).To(ContainElement("*v1.Deployment " + linuxNode))
		done := stopwatch("the operator up again after the connector is gone")
		startOperator(ctx)
		removed(ctx, linuxNode, windowsNode)
		done()
		expectUnheld(ctx)
	}, SpecTimeout(4*time.Minute))

	It("of the whole installation is refused while there is a connector, and leaves nothing after it", func(ctx SpecContext) {
		DeferCleanup(func(ctx SpecContext) { installAgain(ctx) }, NodeTimeout(3*time.Minute))
		applySample(ctx)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		Eventually(func() error { return tryDelete(ctx, "namespace", namespace, "--dry-run=server") }).WithContext(ctx).
			Should(MatchError(ContainSubstring(refusal)))
		var kept []string
		for _, object := range manifests(ctx, "config/default") {
			if object.GetLabels()[needed] == "true" {
				kept = append(kept, name(object))
			}
		}
		Expect(kept).To(ContainElements("Namespace /"+namespace, "CustomResourceDefinition /"+crdName, "Deployment "+namespace+"/"+operator))
		for range 2 {
			err := tryDelete(ctx, "-k", "config/default", "--ignore-not-found")
			Expect(err).To(MatchError(ContainSubstring(refusal)))
			Expect(strings.Count(err.Error(), refusal)).To(Equal(len(kept)), "refusals for %v: %v", kept, err)
		}
		By("replacing what can't be changed otherwise, which deletes it first")
		deployment := kubectl(ctx, "get", "deployment", operator, "-n", namespace, "-o", "jsonpath={.metadata.uid}")
		_, err := tryKubectl(ctx, "replace", "--force", "-f", "config/manager/deployment.yaml")
		Expect(err).To(MatchError(ContainSubstring(refusal)))
		Expect(kubectl(ctx, "get", "deployment", operator, "-n", namespace, "-o", "jsonpath={.metadata.uid}")).To(Equal(deployment))
		By("an upgrade, and a restart of the operator")
		kubectl(ctx, "apply", "-k", "config/default")
		kubectl(ctx, "delete", "pod", "-n", namespace, "-l", "app.kubernetes.io/component=manager")
		kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")
		Expect(condition(ctx, connectorName, v1alpha1.ConditionReady)(Default)).To(beReady)

		done := stopwatch("kubectl delete vkc --all after a refused kubectl delete -k")
		kubectl(ctx, "delete", "vkc", "--all", "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
		done()
		By("the policy, which was deleted before and is gone with the last connector")
		for _, object := range guards() {
			Expect(apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(object), object))).To(BeTrue())
		}
		done = stopwatch("kubectl delete -k config/default without connectors")
		kubectl(ctx, "delete", "-k", "config/default", "--ignore-not-found", "--timeout="+removalTimeout.String())
		done()
		for _, object := range manifests(ctx, "config/default") {
			Expect(exists(ctx, object)).To(BeFalse(), name(object))
		}
	}, SpecTimeout(6*time.Minute))

	DescribeTable("of an inventory by a tool that retries ends well, whatever its order",
		func(ctx SpecContext, arrange func([]*unstructured.Unstructured)) {
			DeferCleanup(func(ctx SpecContext) { installAgain(ctx) }, NodeTimeout(3*time.Minute))
			applySample(ctx)
			runWorkload(ctx, "aci-helloworld", linuxNode)
			inventory := append(manifests(ctx, "config/default"), manifests(ctx, "config/samples")...)
			secret := &unstructured.Unstructured{}
			secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
			secret.SetNamespace(namespace)
			secret.SetName(secretName)
			inventory = append(inventory, secret)
			arrange(inventory)
			// As it is for whoever prunes a while after the connector was made.
			Eventually(func() error { return tryDelete(ctx, "crd", crdName, "--dry-run=server") }).WithContext(ctx).
				Should(MatchError(ContainSubstring(refusal)))

			done := stopwatch("a prune that retries")
			passes, refused := 0, 0
			Eventually(func(g Gomega) {
				passes++
				var left []string
				for _, object := range inventory {
					err := k8s.Delete(ctx, object.DeepCopy(), client.PropagationPolicy(metav1.DeletePropagationBackground))
					switch {
					case apierrors.IsForbidden(err):
						refused++
						g.Expect(err).To(MatchError(ContainSubstring(refusal)))
					case !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err):
						g.Expect(err).NotTo(HaveOccurred(), name(object))
					}
					if exists(ctx, object) {
						left = append(left, name(object))
					}
				}
				g.Expect(left).To(BeEmpty())
			}).WithContext(ctx).WithTimeout(2 * removalTimeout).WithPolling(time.Second).Should(Succeed())
			removed(ctx, linuxNode, windowsNode)
			done()
			AddReportEntry("passes and refusals of the prune", fmt.Sprintf("%d, %d", passes, refused))
			Expect(refused).To(BeNumerically(">", 0))
		},
		Entry("the reverse of how it was applied", SpecTimeout(6*time.Minute), slices.Reverse[[]*unstructured.Unstructured]),
		Entry("as it was applied", SpecTimeout(6*time.Minute), func([]*unstructured.Unstructured) {}),
		Entry("any", SpecTimeout(6*time.Minute), func(inventory []*unstructured.Unstructured) {
			random := rand.New(rand.NewPCG(uint64(GinkgoRandomSeed()), 0)) //nolint:gosec // an order, no secret
			random.Shuffle(len(inventory), func(i, j int) { inventory[i], inventory[j] = inventory[j], inventory[i] })
		}),
	)

	It("of the CustomResourceDefinition that gets round the guard removes the connectors as it should", func(ctx SpecContext) {
		DeferCleanup(func(ctx SpecContext) { installAgain(ctx) }, NodeTimeout(3*time.Minute))
		applySample(ctx)
		runWorkload(ctx, "aci-helloworld", linuxNode)
		By("taking the label off, for which one has to mean it")
		kubectl(ctx, "label", "crd", crdName, needed+"-")
		done := stopwatch("the CustomResourceDefinition")
		kubectl(ctx, "delete", "crd", crdName, "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
		done()
		expectUnheld(ctx)
	}, SpecTimeout(5*time.Minute))

	DescribeTable("of the operator's namespace that gets round the guard is finished by installing again",
		func(ctx SpecContext, deletedFirst bool) {
			DeferCleanup(func(ctx SpecContext) { installAgain(ctx) }, NodeTimeout(3*time.Minute))
			applySample(ctx)
			runWorkload(ctx, "aci-helloworld", linuxNode)
			By("getting round the guard by deleting it, and its finalizers")
			for _, kind := range []string{"validatingadmissionpolicybinding", "validatingadmissionpolicy"} {
				kubectl(ctx, "delete", kind, guardName, "--wait=false")
				kubectl(ctx, "patch", kind, guardName, "--type=merge", `--patch={"metadata":{"finalizers":null}}`)
			}
			if deletedFirst {
				stopOperator(ctx)
				kubectl(ctx, "delete", "vkc", connectorName, "--wait=false")
			}
			Eventually(func() error { return tryDelete(ctx, "namespace", namespace, "--timeout=60s") }).WithContext(ctx).WithTimeout(time.Minute).Should(Succeed())
			Expect(groupsOf(ctx, linuxNode)).NotTo(BeEmpty(), "this is to be about what nobody deletes")

			done := stopwatch("installing again")
			installAgain(ctx)
			putSecret(ctx, secretKey, azure.DefaultClientSecret)
			if !deletedFirst {
				kubectl(ctx, "delete", "vkc", connectorName, "--wait=false")
			}
			removed(ctx, linuxNode, windowsNode)
			done()
			expectNoConnectors(ctx)
		},
		Entry("where the connector was deleted before", SpecTimeout(6*time.Minute), true),
		Entry("where the connector is deleted afterwards", SpecTimeout(6*time.Minute), false),
	)
})

// stopwatch reports, when the function that it returns is called, how long it took until nothing was left.
func stopwatch(action string) func() {
	start := time.Now()
	return func() {
		AddReportEntry("until nothing is left: "+action, time.Since(start).Round(100*time.Millisecond).String())
	}
}

func tryDelete(ctx context.Context, args ...string) error {
	_, err := tryKubectl(ctx, append([]string{"delete"}, args...)...)
	return err
}

// manifests are the objects of a kustomization, as it is applied.
func manifests(ctx context.Context, folder string) []*unstructured.Unstructured {
	GinkgoHelper()
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(kubectlQuietly(ctx, "kustomize", folder)), 4096); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		Expect(err).NotTo(HaveOccurred())
		objects = append(objects, object)
	}
}

func kubectlQuietly(ctx context.Context, args ...string) string {
	GinkgoHelper()
	output, err := tryKubectl(ctx, args...)
	Expect(err).NotTo(HaveOccurred())
	return output
}

func name(object *unstructured.Unstructured) string {
	return object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
}

func exists(ctx context.Context, object *unstructured.Unstructured) bool {
	GinkgoHelper()
	err := k8s.Get(ctx, client.ObjectKeyFromObject(object), object.DeepCopy())
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return false
	}
	Expect(err).NotTo(HaveOccurred())
	return true
}

// installAgain installs the operator, whatever there still is of it.
func installAgain(ctx context.Context) {
	GinkgoHelper()
	By("installing the operator again")
	Eventually(func() error {
		_, err := tryKubectl(ctx, "apply", "-k", "config/default")
		return err
	}).WithContext(ctx).Should(Succeed())
	kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")
	kubectl(ctx, "wait", "crd/"+crdName, "--for=condition=Established", "--timeout=30s")
	Eventually(func() error { return k8s.List(ctx, &v1alpha1.VirtualKubeletConnectorList{}) }).WithContext(ctx).Should(Succeed())
}

func stopOperator(ctx context.Context) {
	GinkgoHelper()
	DeferCleanup(func(ctx SpecContext) { installAgain(ctx) }, NodeTimeout(3*time.Minute))
	kubectl(ctx, "scale", "deployment/"+operator, "-n", namespace, "--replicas=0")
	kubectl(ctx, "wait", "pod", "-n", namespace, "-l", "app.kubernetes.io/component=manager", "--for=delete", "--timeout=60s")
}

func startOperator(ctx context.Context) {
	GinkgoHelper()
	kubectl(ctx, "scale", "deployment/"+operator, "-n", namespace, "--replicas=1")
}

func expectNoConnectors(ctx context.Context) {
	GinkgoHelper()
	Eventually(func(g Gomega) []string { return namesOf(ctx, g, &v1alpha1.VirtualKubeletConnectorList{}) }).WithContext(ctx).Should(BeEmpty())
	expectUnheld(ctx)
}

// expectUnheld waits until the guard can be deleted, and no finalizer is left behind on it.
func expectUnheld(ctx context.Context) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		for _, object := range guards() {
			g.Expect(client.IgnoreNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(object), object))).To(Succeed())
			g.Expect(object.GetFinalizers()).To(BeEmpty())
		}
	}).WithContext(ctx).Should(Succeed())
}

func guards() []client.Object {
	named := metav1.ObjectMeta{Name: guardName}
	return []client.Object{
		&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: named}, &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: named},
	}
}
