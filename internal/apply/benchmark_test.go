// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// heartbeat is a Node as its virtual kubelet has just written its status.
func heartbeat() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "virtual-kubelet-aci-linux-eastus", Labels: map[string]string{"app.kubernetes.io/name": "virtual-kubelet", "type": "virtual-kubelet"},
			Annotations: map[string]string{"connector.virtual-kubelet.io/taint": "virtual-kubelet.io/provider=azure:NoSchedule"},
			ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: string(FieldOwner), Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:connector.virtual-kubelet.io/taint":{}},"f:labels":{"f:app.kubernetes.io/name":{}}}}`),
			}},
		},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

// A cache is told of each heartbeat of each node.
func BenchmarkSlim(b *testing.B) {
	b.ReportAllocs()
	node := heartbeat()
	managers := node.ManagedFields
	for b.Loop() {
		node.ManagedFields = managers
		if err := Slim(node); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSlimAllocates(t *testing.T) {
	const most = 60
	node := heartbeat()
	managers := node.ManagedFields
	NewWithT(t).Expect(testing.AllocsPerRun(100, func() {
		node.ManagedFields = managers
		if err := Slim(node); err != nil {
			t.Fatal(err)
		}
	})).To(BeNumerically("<=", most))
}
