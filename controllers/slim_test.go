// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"fmt"
	"reflect"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/controllers"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// kept returns what a cache keeps of an object.
func kept[T client.Object](g Gomega, options cache.Options, object T) T {
	for of, by := range options.ByObject {
		if reflect.TypeOf(of) != reflect.TypeOf(object) {
			continue
		}
		slim, err := by.Transform(object)
		g.Expect(err).NotTo(HaveOccurred())
		is, ok := slim.(T)
		g.Expect(ok).To(BeTrue())
		return is
	}
	g.Expect(object).To(BeNil(), "no cache holds it")
	return object
}

// A removal names the machine that a pod was lost with, and the image that can't be pulled is named, too.
func TestTheCacheKeepsWhatIsToldOfAPod(t *testing.T) {
	g := NewWithT(t)
	waiting := corev1.ContainerStatus{
		Name: "virtual-kubelet", Image: "registry.example/virtual-kubelet:1",
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}},
	}
	slim := kept(g, controllers.CacheOptions(namespace), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "pod", Namespace: namespace, DeletionTimestamp: new(metav1.Now()), DeletionGracePeriodSeconds: new(int64(30)),
		},
		Spec: corev1.PodSpec{NodeName: "machine", Containers: []corev1.Container{{Name: "virtual-kubelet", Command: []string{"long"}}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{waiting},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady}, {Type: corev1.PodScheduled}, {Type: corev1.PodInitialized}},
		},
	})
	g.Expect(slim.Spec.NodeName).To(Equal("machine"))
	g.Expect(slim.Spec.Containers).To(BeEmpty())
	g.Expect(slim.Status.Phase).To(Equal(corev1.PodRunning))
	g.Expect(slim.Status.ContainerStatuses).To(ConsistOf(waiting))
	g.Expect(slim.Status.Conditions).To(ConsistOf(HaveField("Type", corev1.PodReady), HaveField("Type", corev1.PodScheduled)))
	g.Expect(slim.DeletionTimestamp).NotTo(BeNil())
	g.Expect(slim.DeletionGracePeriodSeconds).NotTo(BeNil())
}

// The objects of a node say the same of it, and hold that once; those of other nodes, and what somebody has edited, differ.
func TestTheCacheHoldsOnceWhatObjectsHaveInCommon(t *testing.T) {
	g := NewWithT(t)
	options := controllers.CacheOptions(namespace)
	meta := func(node string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Name: node, Namespace: namespace, Annotations: map[string]string{identity.AnnotationPlace: "place of " + node},
			Labels: map[string]string{
				identity.LabelManagedBy: identity.ManagedBy, identity.LabelIdentity: node, identity.LabelConnector: "aci", "example.com/other": "label",
			},
		}
	}
	wanted := func(node string) map[string]string {
		return map[string]string{identity.LabelManagedBy: identity.ManagedBy, identity.LabelIdentity: node, identity.LabelConnector: "aci"}
	}
	same := func(one, other map[string]string) bool {
		return reflect.ValueOf(one).Pointer() == reflect.ValueOf(other).Pointer()
	}
	for i := range 3 {
		node := fmt.Sprintf("node-%d", i)
		account := kept(g, options, &corev1.ServiceAccount{ObjectMeta: meta(node)})
		binding := kept(g, options, &rbacv1.RoleBinding{ObjectMeta: meta(node)})
		for _, object := range []client.Object{account, binding} {
			g.Expect(object.GetName()).To(Equal(node))
			g.Expect(object.GetLabels()).To(Equal(wanted(node)))
			g.Expect(object.GetAnnotations()).To(Equal(map[string]string{identity.AnnotationPlace: "place of " + node}))
		}
		g.Expect(same(account.Labels, binding.Labels)).To(BeTrue())
		g.Expect(same(account.Annotations, binding.Annotations)).To(BeTrue())

		edited := meta(node)
		edited.Labels[identity.LabelConnector] = "somebody's"
		edited.Annotations[identity.AnnotationPlace] = "elsewhere"
		changed := kept(g, options, &rbacv1.ClusterRoleBinding{ObjectMeta: edited})
		g.Expect(changed.Labels).To(HaveKeyWithValue(identity.LabelConnector, "somebody's"))
		g.Expect(changed.Annotations).To(HaveKeyWithValue(identity.AnnotationPlace, "elsewhere"))
		g.Expect(account.Labels).To(Equal(wanted(node)))
	}
}
