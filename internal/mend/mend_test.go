// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package mend_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/mend"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// applied is one server-side apply, as it would be sent.
type applied struct {
	Owner  string
	Object string
}

// recorder is a client that keeps what is applied, and deletes for real from what it holds.
type recorder struct {
	client.Client
	applied []applied
	deleted []client.DeleteOptions
	fail    error
}

func newRecorder(objects ...client.Object) *recorder {
	r := &recorder{}
	r.Client = interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(objects...).Build(), interceptor.Funcs{
		Apply: func(_ context.Context, _ client.WithWatch, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			options := client.ApplyOptions{}
			options.ApplyOptions(opts)
			data, err := json.Marshal(object)
			r.applied = append(r.applied, applied{options.FieldManager, string(data)})
			return errors.Join(err, r.fail)
		},
		Delete: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.DeleteOption) error {
			options := client.DeleteOptions{}
			options.ApplyOptions(opts)
			r.deleted = append(r.deleted, options)
			return errors.Join(r.fail, c.Delete(ctx, object))
		},
	})
	return r
}

func desired() resolve.Node {
	return resolve.Node{
		Node: identity.Node{
			Name: "virtual-kubelet-aci-linux-eastus", Connector: "aci", OSType: v1alpha1.OSTypeLinux, Location: "eastus",
		},
		Version: "1.6.4",
	}
}

func node(labels map[string]string, managers ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: desired().Name, UID: "node-uid", Labels: labels}}
	for _, manager := range managers {
		n.ManagedFields = append(n.ManagedFields, metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply})
	}
	return n
}

var labelled = `{"kind":"Node","apiVersion":"v1","metadata":{"name":"virtual-kubelet-aci-linux-eastus","uid":"node-uid","labels":{` +
	`"app.kubernetes.io/component":"virtual-node","app.kubernetes.io/instance":"aci","app.kubernetes.io/managed-by":"vk-connector-operator",` +
	`"app.kubernetes.io/name":"virtual-kubelet","app.kubernetes.io/version":"1.6.4","connector.virtual-kubelet.io/connector":"aci",` +
	`"connector.virtual-kubelet.io/identity":"` + desired().Hash() + `","connector.virtual-kubelet.io/os":"linux"}}}`

func TestNodesAreLabelledAndUncordoned(t *testing.T) {
	own := desired().Labels("1.6.4")
	for name, test := range map[string]struct {
		node *corev1.Node
		want []applied
	}{
		"no Node":      {nil, nil},
		"as it should": {node(own), nil},
		"with more labels": {
			func() *corev1.Node {
				n := node(desired().Labels("1.6.4"))
				n.Labels["team"] = "blue"
				return n
			}(), nil,
		},
		"just made": {
			node(map[string]string{"type": "virtual-kubelet"}), []applied{{"vk-connector-operator", labelled}},
		},
		"of another version": {
			node(desired().Labels("1.6.3")), []applied{{"vk-connector-operator", labelled}},
		},
		"cordoned by the operator": {
			node(own, "vk-connector-operator-retire"), []applied{
				{"vk-connector-operator-retire", `{"kind":"Node","apiVersion":"v1","metadata":{"name":"virtual-kubelet-aci-linux-eastus","uid":"node-uid"}}`},
			},
		},
		"cordoned by somebody": {
			func() *corev1.Node {
				n := node(own, "kubectl-cordon")
				n.Spec.Unschedulable = true
				return n
			}(), nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRecorder()
			g.Expect((&mend.Mender{Client: r}).Mend(t.Context(), desired(), &observe.Node{Node: test.node}, discover.Access{}, false)).To(Succeed())
			g.Expect(r.applied).To(HaveLen(len(test.want)))
			for i, want := range test.want {
				g.Expect(r.applied[i].Owner).To(Equal(want.Owner))
				g.Expect(r.applied[i].Object).To(MatchJSON(want.Object))
			}
		})
	}
}

func TestNothingObservedIsNothingToMend(t *testing.T) {
	g := NewWithT(t)
	g.Expect((&mend.Mender{}).Mend(t.Context(), desired(), nil, discover.Access{}, false)).To(Succeed())
}

func TestAWaitForARestartEndsWhenItsReasonIsGone(t *testing.T) {
	crash := time.Unix(1000, 0)
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(crash)}}
	good := discover.Access{Known: true, GoodSince: crash.Add(time.Second)}
	for name, test := range map[string]struct {
		container corev1.ContainerStatus
		edit      func(*corev1.Pod)
		access    discover.Access
		deleted   bool
	}{
		"good since the crash": {
			container: corev1.ContainerStatus{State: waiting, LastTerminationState: ended}, access: good, deleted: true,
		},
		"good before the crash": {
			container: corev1.ContainerStatus{State: waiting, LastTerminationState: ended},
			access:    discover.Access{Known: true, GoodSince: crash.Add(-time.Second)},
		},
		"bad": {
			container: corev1.ContainerStatus{State: waiting, LastTerminationState: ended},
			access:    discover.Access{Known: true, Problem: &azure.Problem{Reason: v1alpha1.ReasonForbidden}, GoodSince: crash.Add(time.Second)},
		},
		"not known": {
			container: corev1.ContainerStatus{State: waiting, LastTerminationState: ended},
		},
		"running again": {
			container: corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastTerminationState: ended}, access: good,
		},
		"waiting for its image": {
			container: corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}, access: good,
		},
		"leaving": {
			container: corev1.ContainerStatus{State: waiting, LastTerminationState: ended}, access: good,
			edit: func(p *corev1.Pod) {
				p.DeletionTimestamp = &metav1.Time{Time: crash}
				p.Finalizers = []string{"example.com/held"}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			pod := corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "vk-connector-system", Name: "pod", UID: "pod-uid"},
				Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{test.container}},
			}
			if test.edit != nil {
				test.edit(&pod)
			}
			r := newRecorder(pod.DeepCopy())
			g.Expect((&mend.Mender{Client: r}).Mend(t.Context(), desired(), &observe.Node{Pods: []corev1.Pod{pod}}, test.access, false)).To(Succeed())
			if !test.deleted {
				g.Expect(r.deleted).To(BeEmpty())
				return
			}
			g.Expect(r.deleted).To(HaveLen(1))
			g.Expect(*r.deleted[0].Preconditions.UID).To(Equal(types.UID("pod-uid")), "its successor is not meant")

			g.Expect((&mend.Mender{Client: r}).Mend(t.Context(), desired(), &observe.Node{Pods: []corev1.Pod{pod}}, test.access, false)).To(Succeed(),
				"a pod that is gone already is as good")
		})
	}
}

func TestErrorsNameTheObject(t *testing.T) {
	gone := errors.New("the API server is gone")
	waits := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "vk-connector-system", Name: "pod", UID: "pod-uid"},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}},
		}}},
	}
	for want, observed := range map[string]*observe.Node{
		"label Node virtual-kubelet-aci-linux-eastus: ":    {Node: node(nil)},
		"uncordon Node virtual-kubelet-aci-linux-eastus: ": {Node: node(desired().Labels("1.6.4"), "vk-connector-operator-retire")},
		"delete Pod vk-connector-system/pod: ":             {Pods: []corev1.Pod{waits}},
	} {
		g := NewWithT(t)
		r := newRecorder(waits.DeepCopy())
		r.fail = gone
		err := (&mend.Mender{Client: r}).Mend(t.Context(), desired(), observed, discover.Access{Known: true, GoodSince: time.Now()}, false)
		g.Expect(err).To(MatchError(gone))
		g.Expect(err).To(MatchError(HavePrefix(want)))
	}
}
