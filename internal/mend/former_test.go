// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package mend_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/mend"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// started is the Deployment of a virtual kubelet that makes its Node with a taint; with none where it has no key.
func started(taint corev1.Taint, former string) *appsv1.Deployment {
	container := corev1.Container{Name: "virtual-kubelet", Env: []corev1.EnvVar{
		{Name: "VKUBELET_TAINT_KEY", Value: taint.Key}, {Name: "VKUBELET_TAINT_VALUE", Value: taint.Value},
		{Name: "VKUBELET_TAINT_EFFECT", Value: string(taint.Effect)},
	}}
	if taint.Key == "" {
		container.Args, container.Env = []string{"--disable-taint"}, nil
	}
	deployment := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{container}}}}}
	if former != "" {
		deployment.Annotations = map[string]string{identity.AnnotationFormerTaints: former}
	}
	return deployment
}

var (
	azureTaint = corev1.Taint{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoSchedule}
	otherTaint = corev1.Taint{Key: "example.com/aci", Effect: corev1.TaintEffectNoExecute}
)

func TestFormerTaints(t *testing.T) {
	none := func(n *resolve.Node) { n.Taint = nil }
	marked := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{identity.AnnotationTaint: ""}}}
	for name, test := range map[string]struct {
		desired  resolve.Node
		observed *observe.Node
		want     string
	}{
		"nothing yet":                        {desired(), nil, ""},
		"before the first start":             {desired(), &observe.Node{}, ""},
		"as started":                         {desired(), &observe.Node{Deployment: started(azureTaint, "")}, ""},
		"none any more":                      {desired(none), &observe.Node{Deployment: started(azureTaint, "")}, "virtual-kubelet.io/provider=azure:NoSchedule"},
		"none any more, of a Node just made": {desired(none), &observe.Node{Deployment: started(azureTaint, ""), Node: &corev1.Node{}}, "virtual-kubelet.io/provider=azure:NoSchedule"},
		"of a Node that is marked":           {desired(none), &observe.Node{Deployment: started(azureTaint, ""), Node: marked}, ""},
		"changed twice": {
			desired(none), &observe.Node{Deployment: started(otherTaint, "virtual-kubelet.io/provider=azure:NoSchedule")},
			"example.com/aci:NoExecute,virtual-kubelet.io/provider=azure:NoSchedule",
		},
		"and back": {
			desired(), &observe.Node{Deployment: started(corev1.Taint{}, "virtual-kubelet.io/provider=azure:NoSchedule")}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(mend.FormerTaints(test.desired, test.observed)).To(Equal(test.want))
		})
	}
}

// A virtual kubelet makes its Node with the taint of its start; by the time that the operator sees the Node, another may
// be asked for. The taints of others stay.
func TestTheTaintOfAStartThatIsNotAskedForAnyMore(t *testing.T) {
	g := NewWithT(t)
	theirs := corev1.Taint{Key: "example.com/theirs", Effect: corev1.TaintEffectNoSchedule}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: desired().Name, UID: "uid"},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{azureTaint, otherTaint, theirs}},
	}
	r := newRecorder(node)
	want := desired(func(n *resolve.Node) { n.Taint = nil })
	observed := &observe.Node{Node: r.node(t.Context(), g), Deployment: started(otherTaint, "virtual-kubelet.io/provider=azure:NoSchedule")}
	g.Expect((&mend.Mender{Client: r}).Mend(t.Context(), want, observed, time.Time{}, false)).To(Succeed())
	g.Expect(r.node(t.Context(), g).Spec.Taints).To(Equal([]corev1.Taint{theirs}))
}
