// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"
)

// applied is a Deployment of which the operator owns the replicas, and others what they manage.
func applied(others ...metav1.ManagedFieldsEntry) *appsv1.Deployment {
	ours := metav1.ManagedFieldsEntry{
		Manager: string(FieldOwner), Operation: metav1.ManagedFieldsOperationApply, APIVersion: "apps/v1", FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`), Time: &metav1.Time{Time: time.Unix(1, 0)},
	}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "namespace", Name: "name", ManagedFields: append([]metav1.ManagedFieldsEntry{ours}, others...)},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](1), MinReadySeconds: 5},
	}
}

func wanted(replicas int32) *applyappsv1.DeploymentApplyConfiguration {
	return applyappsv1.Deployment("name", "namespace").WithSpec(applyappsv1.DeploymentSpec().WithReplicas(replicas))
}

// What a cache keeps tells as much as the object: whether it is what is wanted, and what others have put beside it.
func TestSlim(t *testing.T) {
	stray := metav1.ManagedFieldsEntry{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "apps/v1",
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:minReadySeconds":{}}}`)}
	status := metav1.ManagedFieldsEntry{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "apps/v1",
		FieldsType: "FieldsV1", Subresource: "status", FieldsV1: metav1.NewFieldsV1(`{"f:status":{"f:replicas":{}}}`)}
	for name, test := range map[string]struct {
		others []metav1.ManagedFieldsEntry
		strays bool
	}{
		"nobody else":             {},
		"the controller's status": {others: []metav1.ManagedFieldsEntry{status}},
		"a field of others":       {others: []metav1.ManagedFieldsEntry{status, stray}, strays: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			whole, slim := applied(test.others...), applied(test.others...)
			g.Expect(Slim(slim)).To(Succeed())
			twice := slim.DeepCopy()
			g.Expect(Slim(twice)).To(Succeed())
			for _, object := range []*appsv1.Deployment{whole, slim, twice} {
				_, strays, err := owned(object)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(strays).To(Equal(test.strays))
				g.Expect(Applied(object)).To(BeTrue())
				g.Expect(Owns(object, wanted(1))).To(BeTrue())
				g.Expect(Owns(object, wanted(2))).To(BeFalse())
				g.Expect(Same(whole, object)).To(BeTrue())
			}
			g.Expect(twice).To(Equal(slim))
			g.Expect(slim.ManagedFields).NotTo(ContainElement(HaveField("Manager", BeElementOf("kubectl", "kube-controller-manager"))))
		})
	}
}

// What others put into a field that is owned without anything in it is no part of what is wanted, and a stray.
func TestOwnedAsAWhole(t *testing.T) {
	g := NewWithT(t)
	object := applied()
	object.ManagedFields[0].FieldsV1 = metav1.NewFieldsV1(`{"f:spec":{"f:template":{"f:spec":{"f:volumes":{"k:{\"name\":\"a\"}":{".":{},"f:emptyDir":{},"f:name":{}}}}}}}`)
	object.Spec.Template.Spec.Volumes = []corev1.Volume{
		{Name: "a", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, {Name: "others"},
	}
	wanted := applyappsv1.Deployment("name", "namespace").WithSpec(applyappsv1.DeploymentSpec().WithTemplate(applycorev1.PodTemplateSpec().
		WithSpec(applycorev1.PodSpec().WithVolumes(applycorev1.Volume().WithName("a").WithEmptyDir(applycorev1.EmptyDirVolumeSource())))))
	g.Expect(Owns(object, wanted)).To(BeTrue())

	object.Spec.Template.Spec.Volumes[0].EmptyDir.Medium = corev1.StorageMediumMemory
	object.ManagedFields = append(object.ManagedFields, metav1.ManagedFieldsEntry{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate,
		FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:template":{"f:spec":{"f:volumes":{"k:{\"name\":\"a\"}":{"f:emptyDir":{"f:medium":{}}}}}}}}`)})
	_, strays, err := owned(object)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strays).To(BeTrue())
	g.Expect(Owns(object, wanted)).To(BeFalse())
}

func TestSame(t *testing.T) {
	g := NewWithT(t)
	before, after := applied(), applied()
	after.Spec.MinReadySeconds = 7
	after.Status.Replicas = 1
	g.Expect(Same(before, after)).To(BeTrue(), "what is not the operator's")
	after.Spec.Replicas = ptr.To[int32](0)
	g.Expect(Same(before, after)).To(BeFalse(), "what is")
	g.Expect(Slim(before)).To(Succeed())
	g.Expect(Same(before, after)).To(BeFalse(), "what is, and one of a cache")
}

// A cordon is told by when the operator has applied it.
func TestSlimKeepsWhenSomethingWasApplied(t *testing.T) {
	g := NewWithT(t)
	at := &metav1.Time{Time: time.Unix(1, 0)}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", ManagedFields: []metav1.ManagedFieldsEntry{{
		Manager: string(FieldOwner) + "-retire", Operation: metav1.ManagedFieldsOperationApply, Time: at, FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:unschedulable":{}}}`),
	}, {Manager: "virtual-kubelet", Operation: metav1.ManagedFieldsOperationUpdate, Time: at}}}}
	g.Expect(Slim(node)).To(Succeed())
	g.Expect(node.ManagedFields).To(ConsistOf(metav1.ManagedFieldsEntry{
		Manager: string(FieldOwner) + "-retire", Operation: metav1.ManagedFieldsOperationApply, Time: at,
	}))
	g.Expect(Applied(node)).To(BeFalse())
}
