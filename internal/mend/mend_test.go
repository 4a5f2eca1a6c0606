// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package mend_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
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

// recorder is a client that does what it is told to the objects that it holds, and keeps it.
type recorder struct {
	client.Client
	applied []applied
	patched []string
	deleted []client.DeleteOptions
	fail    error
}

func newRecorder(objects ...client.Object) *recorder {
	r := &recorder{}
	holds := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(objects...).WithReturnManagedFields().Build()
	r.Client = interceptor.NewClient(holds, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			options := client.ApplyOptions{}
			options.ApplyOptions(opts)
			data, err := json.Marshal(object)
			r.applied = append(r.applied, applied{options.FieldManager, string(data)})
			if err := errors.Join(err, r.fail); err != nil {
				return err
			}
			return c.Apply(ctx, object, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, object client.Object, patch client.Patch, opts ...client.PatchOption) error {
			data, err := patch.Data(object)
			r.patched = append(r.patched, string(data))
			if err := errors.Join(err, r.fail); err != nil {
				return err
			}
			return c.Patch(ctx, object, patch, opts...)
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

// node returns the Node that the client holds.
func (r *recorder) node(ctx context.Context, g Gomega) *corev1.Node {
	var held corev1.Node
	g.Expect(r.Get(ctx, client.ObjectKey{Name: desired().Name}, &held)).To(Succeed())
	for i := range held.ManagedFields {
		entry := &held.ManagedFields[i]
		var fields map[string]any
		g.Expect(json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields)).To(Succeed())
		if entry.Manager == owner {
			// The fake client takes what the type writes of a status and a spec for what was applied.
			delete(fields, "f:status")
			delete(fields, "f:spec")
		}
		data, err := json.Marshal(fields)
		g.Expect(err).NotTo(HaveOccurred())
		entry.FieldsV1 = metav1.NewFieldsV1(string(data))
	}
	return &held
}

// mend makes a pass over the Node that the client holds, and forgets what was written before.
func (r *recorder) mend(ctx context.Context, g Gomega, want resolve.Node) *corev1.Node {
	r.applied, r.patched = nil, nil
	g.Expect((&mend.Mender{Client: r}).Mend(ctx, want, &observe.Node{Node: r.node(ctx, g)}, time.Time{}, false)).To(Succeed())
	return r.node(ctx, g)
}

func desired(edits ...func(*resolve.Node)) resolve.Node {
	n := resolve.Node{
		Node: identity.Node{
			Name: "virtual-kubelet-aci-linux-eastus", Connector: "aci", OSType: v1alpha1.OSTypeLinux, Location: "eastus",
		},
		Image: resolve.Image{Version: "1.6.4"},
		Taint: &corev1.Taint{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoSchedule},
	}
	for _, edit := range edits {
		edit(&n)
	}
	return n
}

// made is a Node as a virtual kubelet makes it.
func made(edits ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: desired().Name, UID: "node-uid", Labels: map[string]string{"type": "virtual-kubelet"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{*desired().Taint}},
	}
	for _, edit := range edits {
		edit(n)
	}
	return n
}

const owner = "vk-connector-operator"

// marks is what is applied to a Node for a desired one.
func marks(want resolve.Node) applied {
	labels := want.Labels(want.Version)
	maps.Copy(labels, want.NodeLabels)
	annotations := map[string]string{"connector.virtual-kubelet.io/taint": ""}
	if want.Taint != nil {
		annotations["connector.virtual-kubelet.io/taint"] = want.Taint.ToString()
	}
	maps.Copy(annotations, want.NodeAnnotations)
	data, err := json.Marshal(map[string]any{"kind": "Node", "apiVersion": "v1", "metadata": map[string]any{
		"name": want.Name, "uid": "node-uid", "labels": labels, "annotations": annotations,
	}})
	if err != nil {
		panic(err)
	}
	return applied{owner, string(data)}
}

func (r *recorder) expectApplied(g Gomega, want ...applied) {
	g.Expect(r.applied).To(HaveLen(len(want)))
	for i := range want {
		g.Expect(r.applied[i].Owner).To(Equal(want[i].Owner))
		g.Expect(r.applied[i].Object).To(MatchJSON(want[i].Object))
	}
}

func TestNodesAreMarked(t *testing.T) {
	labelled := desired(func(n *resolve.Node) {
		n.NodeLabels = map[string]string{"example.com/team": "batch"}
		n.NodeAnnotations = map[string]string{"example.com/contact": "batch@example.com"}
	})
	relabelled := desired(func(n *resolve.Node) {
		n.NodeLabels = map[string]string{"example.com/team": "other"}
		n.NodeAnnotations = map[string]string{"example.com/note": ""}
	})
	upgraded := desired(func(n *resolve.Node) { n.Version = "1.6.5" })
	for name, test := range map[string]struct {
		// before is what the Node was mended for; nil where it has just been made.
		before *resolve.Node
		// others is what somebody else has done to it since.
		others func(*corev1.Node)
		want   resolve.Node
		// writes says that the Node is not as it should be.
		writes bool
		// has and lacks are labels and annotations that the Node comes to.
		has   map[string]string
		lacks []string
	}{
		"just made":    {want: desired(), writes: true, has: map[string]string{"type": "virtual-kubelet"}},
		"as it should": {before: new(desired()), want: desired()},
		"another's label": {
			before: new(desired()), want: desired(), others: func(n *corev1.Node) { n.Labels["team"] = "blue" },
			has: map[string]string{"team": "blue"},
		},
		"another's annotation": {
			before: new(desired()), want: desired(), others: func(n *corev1.Node) { n.Annotations["note"] = "blue" },
			has: map[string]string{"note": "blue"},
		},
		"of another version": {
			before: new(desired()), want: upgraded, writes: true, has: map[string]string{"app.kubernetes.io/version": "1.6.5"},
		},
		"a label of ours that is gone": {
			before: new(desired()), want: desired(), others: func(n *corev1.Node) { delete(n.Labels, identity.LabelConnector) }, writes: true,
			has: map[string]string{identity.LabelConnector: "aci"},
		},
		"a label of ours that was changed": {
			before: new(desired()), want: desired(), others: func(n *corev1.Node) { n.Labels[identity.LabelConnector] = "x" }, writes: true,
			has: map[string]string{identity.LabelConnector: "aci"},
		},
		"a label and an annotation are added": {
			before: new(desired()), want: labelled, writes: true,
			has: map[string]string{"example.com/team": "batch", "example.com/contact": "batch@example.com"},
		},
		"a label is changed, and an annotation replaced": {
			before: &labelled, want: relabelled, writes: true,
			has: map[string]string{"example.com/team": "other", "example.com/note": ""}, lacks: []string{"example.com/contact"},
		},
		"a label and an annotation are removed": {
			before: &labelled, want: desired(), others: func(n *corev1.Node) { n.Labels["team"] = "blue" }, writes: true,
			has: map[string]string{"team": "blue"}, lacks: []string{"example.com/team", "example.com/contact"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRecorder(made())
			if test.before != nil {
				r.mend(t.Context(), g, *test.before)
			}
			if test.others != nil {
				changed := r.node(t.Context(), g)
				test.others(changed)
				g.Expect(r.Update(t.Context(), changed, client.FieldOwner("somebody"))).To(Succeed())
			}
			after := r.mend(t.Context(), g, test.want)
			if test.writes {
				r.expectApplied(g, marks(test.want))
			} else {
				r.expectApplied(g)
			}
			all := maps.Clone(after.Labels)
			maps.Copy(all, after.Annotations)
			for key, value := range test.has {
				g.Expect(all).To(HaveKeyWithValue(key, value))
			}
			for _, key := range test.lacks {
				g.Expect(all).NotTo(HaveKey(key))
			}
			r.mend(t.Context(), g, test.want)
			r.expectApplied(g)
			g.Expect(r.patched).To(BeEmpty(), "nothing is written in the second pass")
		})
	}
}

func TestTaints(t *testing.T) {
	unreachable := corev1.Taint{
		Key: "node.kubernetes.io/unreachable", Effect: corev1.TaintEffectNoExecute, TimeAdded: &metav1.Time{Time: time.Unix(1000, 0)},
	}
	usual, custom := *desired().Taint, corev1.Taint{Key: "example.com/aci", Value: "yes", Effect: corev1.TaintEffectNoExecute}
	valued := func(taint corev1.Taint, value string) corev1.Taint { taint.Value = value; return taint }
	effective := func(taint corev1.Taint, effect corev1.TaintEffect) corev1.Taint { taint.Effect = effect; return taint }
	for name, test := range map[string]struct {
		// mended says that the Node has not just been made, former is the taint that was asked for before.
		mended bool
		former *corev1.Taint
		// has are the taints that the Node has now.
		has  []corev1.Taint
		want *corev1.Taint
		// comes are the taints that it comes to.
		comes []corev1.Taint
	}{
		"just made":                    {has: []corev1.Taint{usual}, want: &usual, comes: []corev1.Taint{usual}},
		"just made, and unreachable":   {has: []corev1.Taint{usual, unreachable}, want: &usual, comes: []corev1.Taint{usual, unreachable}},
		"made without a taint":         {want: nil},
		"made without the taint":       {want: &custom, comes: []corev1.Taint{custom}},
		"made with a taint of another": {has: []corev1.Taint{usual}, want: &custom, comes: []corev1.Taint{usual, custom}},
		"taken off by somebody": {
			mended: true, former: &usual, has: []corev1.Taint{unreachable},
			want: &usual, comes: []corev1.Taint{unreachable, usual},
		},
		"changed by somebody": {
			mended: true, former: &usual, has: []corev1.Taint{unreachable, valued(usual, "x")},
			want: &usual, comes: []corev1.Taint{unreachable, usual},
		},
		"of another effect, by somebody": {
			mended: true, former: &usual, has: []corev1.Taint{usual, effective(usual, "NoExecute")},
			want: &usual, comes: []corev1.Taint{usual, effective(usual, "NoExecute")},
		},
		"another key": {
			mended: true, former: &usual, has: []corev1.Taint{usual, unreachable},
			want: &custom, comes: []corev1.Taint{unreachable, custom},
		},
		"another value": {
			mended: true, former: &usual, has: []corev1.Taint{usual},
			want: new(valued(usual, "x")), comes: []corev1.Taint{valued(usual, "x")},
		},
		"the empty value": {
			mended: true, former: &usual, has: []corev1.Taint{usual},
			want: new(valued(usual, "")), comes: []corev1.Taint{valued(usual, "")},
		},
		"from the empty value": {
			mended: true, former: new(valued(usual, "")), has: []corev1.Taint{valued(usual, "")},
			want: &usual, comes: []corev1.Taint{usual},
		},
		"another effect": {
			mended: true, former: &usual, has: []corev1.Taint{usual},
			want: new(effective(usual, "PreferNoSchedule")), comes: []corev1.Taint{effective(usual, "PreferNoSchedule")},
		},
		"none any more": {
			mended: true, former: &usual, has: []corev1.Taint{usual, unreachable},
			want: nil, comes: []corev1.Taint{unreachable},
		},
		"none any more, and none left":   {mended: true, former: &usual, has: []corev1.Taint{usual}, want: nil},
		"none, and one of somebody":      {mended: true, has: []corev1.Taint{usual}, want: nil, comes: []corev1.Taint{usual}},
		"again one":                      {mended: true, want: &usual, comes: []corev1.Taint{usual}},
		"one more, that was somebody's":  {mended: true, has: []corev1.Taint{custom}, want: &custom, comes: []corev1.Taint{custom}},
		"replaced, but gone by somebody": {mended: true, former: &usual, want: &custom, comes: []corev1.Taint{custom}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRecorder(made(func(n *corev1.Node) { n.Spec.Taints = nil }))
			if test.mended {
				r.mend(t.Context(), g, desired(func(n *resolve.Node) { n.Taint = test.former }))
			}
			changed := r.node(t.Context(), g)
			changed.Spec.Taints = test.has
			g.Expect(r.Update(t.Context(), changed, client.FieldOwner("somebody"))).To(Succeed())

			want := desired(func(n *resolve.Node) { n.Taint = test.want })
			after := r.mend(t.Context(), g, want)
			g.Expect(equality.Semantic.DeepEqual(after.Spec.Taints, test.comes)).To(BeTrue(), "%v", after.Spec.Taints)
			g.Expect(r.patched).To(HaveLen(map[bool]int{false: 1}[equality.Semantic.DeepEqual(test.has, test.comes)]))
			r.mend(t.Context(), g, want)
			g.Expect(r.patched).To(BeEmpty(), "nothing is written in the second pass")
			r.expectApplied(g)
		})
	}
}

// The list of taints is patched as a whole: one that somebody else has added since would be lost.
func TestTaintsOfANodeThatHasChanged(t *testing.T) {
	g := NewWithT(t)
	r := newRecorder(made(func(n *corev1.Node) { n.Spec.Taints = nil }))
	outdated := r.node(t.Context(), g)
	other := corev1.Taint{Key: "example.com/other", Effect: corev1.TaintEffectNoSchedule}
	changed := outdated.DeepCopy()
	changed.Spec.Taints = []corev1.Taint{other}
	g.Expect(r.Update(t.Context(), changed)).To(Succeed())

	err := (&mend.Mender{Client: r}).Mend(t.Context(), desired(), &observe.Node{Node: outdated}, time.Time{}, false)
	g.Expect(err).To(MatchError(HavePrefix("taint Node virtual-kubelet-aci-linux-eastus: ")))
	g.Expect(apierrors.IsConflict(err)).To(BeTrue())
	g.Expect(r.node(t.Context(), g).Spec.Taints).To(ConsistOf(other))
}

func TestCordons(t *testing.T) {
	cordon := func(owner client.FieldOwner) func(context.Context, Gomega, *recorder) {
		return func(ctx context.Context, g Gomega, r *recorder) {
			patch := applycorev1.Node(desired().Name).WithSpec(applycorev1.NodeSpec().WithUnschedulable(true))
			g.Expect(r.Apply(ctx, patch, owner, client.ForceOwnership)).To(Succeed())
		}
	}
	for name, test := range map[string]struct {
		owner    client.FieldOwner
		cordoned bool
		want     []applied
	}{
		"of the operator": {owner: "vk-connector-operator-retire", want: []applied{
			{"vk-connector-operator-retire", `{"kind":"Node","apiVersion":"v1","metadata":{"name":"virtual-kubelet-aci-linux-eastus","uid":"node-uid"}}`},
		}},
		"of somebody": {owner: "kubectl-cordon", cordoned: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRecorder(made())
			r.mend(t.Context(), g, desired())
			cordon(test.owner)(t.Context(), g, r)
			after := r.mend(t.Context(), g, desired())
			r.expectApplied(g, test.want...)
			g.Expect(after.Spec.Unschedulable).To(Equal(test.cordoned))
		})
	}
}

func TestANodeThatIsNotThereIsNotMade(t *testing.T) {
	g := NewWithT(t)
	r := newRecorder()
	g.Expect((&mend.Mender{Client: r}).Mend(t.Context(), desired(), &observe.Node{}, time.Time{}, false)).To(Succeed())
	r.expectApplied(g)
	g.Expect(r.patched).To(BeEmpty())
}

func TestNothingObservedIsNothingToMend(t *testing.T) {
	g := NewWithT(t)
	g.Expect((&mend.Mender{}).Mend(t.Context(), desired(), nil, time.Time{}, false)).To(Succeed())
}

func TestAWaitForARestartEndsWhenItsReasonIsGone(t *testing.T) {
	crash := time.Unix(1000, 0)
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(crash)}}
	good := crash.Add(time.Second)
	for name, test := range map[string]struct {
		container corev1.ContainerStatus
		edit      func(*corev1.Pod)
		goodSince time.Time
		deleted   bool
	}{
		"good since the crash": {
			container: corev1.ContainerStatus{State: waiting, LastTerminationState: ended}, goodSince: good, deleted: true,
		},
		"good before the crash": {
			container: corev1.ContainerStatus{State: waiting, LastTerminationState: ended},
			goodSince: crash.Add(-time.Second),
		},
		"good since the very moment": {
			container: corev1.ContainerStatus{State: waiting, LastTerminationState: ended}, goodSince: crash,
		},
		"bad, or not known": {
			container: corev1.ContainerStatus{State: waiting, LastTerminationState: ended},
		},
		"running again": {
			container: corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastTerminationState: ended},
			goodSince: good,
		},
		"waiting for its image": {
			container: corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}},
			goodSince: good,
		},
		"leaving": {
			container: corev1.ContainerStatus{State: waiting, LastTerminationState: ended}, goodSince: good,
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
			g.Expect((&mend.Mender{Client: r}).Mend(t.Context(), desired(), &observe.Node{Pods: []corev1.Pod{pod}}, test.goodSince, false)).To(Succeed())
			if !test.deleted {
				g.Expect(r.deleted).To(BeEmpty())
				return
			}
			g.Expect(r.deleted).To(HaveLen(1))
			g.Expect(*r.deleted[0].Preconditions.UID).To(Equal(types.UID("pod-uid")), "its successor is not meant")

			g.Expect((&mend.Mender{Client: r}).Mend(t.Context(), desired(), &observe.Node{Pods: []corev1.Pod{pod}}, test.goodSince, false)).To(Succeed(),
				"a pod that is gone already is as good")
		})
	}
}

// A virtual kubelet makes its Node when it starts, and never again.
func TestANodeThatSomebodyDeletedIsMadeAnew(t *testing.T) {
	for name, test := range map[string]struct {
		hadNode  bool
		observed observe.Node
		deleted  int
	}{
		"a Node that is gone":          {hadNode: true, deleted: 1},
		"a Node that is not there yet": {},
		"a Node that is there":         {hadNode: true, observed: observe.Node{Node: made()}},
		"a pod that is on its way already": {
			hadNode: true, observed: observe.Node{Pods: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: new(metav1.Now())}}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "vk-connector-system", Name: "pod", UID: "pod-uid"}}
			r := newRecorder(pod.DeepCopy(), made())
			if len(test.observed.Pods) == 0 {
				test.observed.Pods = []corev1.Pod{pod}
			}
			g.Expect((&mend.Mender{Client: r}).Mend(t.Context(), desired(), &test.observed, time.Time{}, test.hadNode)).To(Succeed())
			g.Expect(r.deleted).To(HaveLen(test.deleted))
		})
	}
}

func TestANodeThatIsKept(t *testing.T) {
	at := func(seconds int64) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "vk-connector-system", Name: "node", UID: "uid", CreationTimestamp: metav1.Unix(seconds, 0)}
	}
	pod := corev1.Pod{ObjectMeta: at(100)}
	for name, test := range map[string]struct {
		replicas int32
		node     *corev1.Node
		hadNode  bool
		account  metav1.ObjectMeta
		deleted  int
		patched  []string
	}{
		"that runs":                         {replicas: 1, node: made(), hadNode: true, account: at(99)},
		"that was stopped":                  {node: made(), hadNode: true, account: at(99), patched: []string{`{"spec":{"replicas":1}}`}},
		"whose Node is gone":                {replicas: 1, hadNode: true, account: at(99), deleted: 1},
		"whose Node was never there":        {replicas: 1, account: at(99)},
		"whose ServiceAccount is made anew": {replicas: 1, node: made(), hadNode: true, account: at(101), deleted: 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			deployment := &appsv1.Deployment{ObjectMeta: at(99), Spec: appsv1.DeploymentSpec{Replicas: &test.replicas}}
			r := newRecorder(pod.DeepCopy(), deployment)
			observed := &observe.Node{
				Deployment: deployment, ServiceAccount: &corev1.ServiceAccount{ObjectMeta: test.account}, Node: test.node, Pods: []corev1.Pod{pod},
			}
			g.Expect((&mend.Mender{Client: r}).Keep(t.Context(), observed, test.hadNode)).To(Succeed())
			g.Expect(r.deleted).To(HaveLen(test.deleted))
			g.Expect(r.patched).To(Equal(test.patched))
			r.expectApplied(g)
		})
	}
}

func TestAProcessThatHangsIsEnded(t *testing.T) {
	start := time.Unix(1000, 0)
	heard, silent := start.Add(time.Hour), start.Add(time.Hour+40*time.Second)
	for name, test := range map[string]struct {
		edit    func(*corev1.Node, *corev1.Pod)
		after   time.Duration
		looks   time.Duration
		deleted int
	}{
		"silent for long":    {after: 2 * time.Minute, deleted: 1},
		"silent not so long": {after: 110 * time.Second, looks: 10 * time.Second},
		"heard of": {after: time.Hour, edit: func(n *corev1.Node, _ *corev1.Pod) {
			n.Status.Conditions[0].Status = corev1.ConditionTrue
		}},
		"not ready by its own account": {after: time.Hour, edit: func(n *corev1.Node, _ *corev1.Pod) {
			n.Status.Conditions[0].Status = corev1.ConditionFalse
		}},
		"heard of in the second that it started in, and never again": {after: 2 * time.Minute, deleted: 1, edit: func(_ *corev1.Node, p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State.Running.StartedAt = metav1.NewTime(heard)
		}},
		"starting since the last heartbeat": {after: time.Hour, edit: func(_ *corev1.Node, p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State.Running.StartedAt = metav1.NewTime(heard.Add(time.Second))
		}},
		"on a machine that is lost": {after: time.Hour, edit: func(_ *corev1.Node, p *corev1.Pod) {
			p.Status.Conditions[0].Status = corev1.ConditionFalse
		}},
		"crashing": {after: time.Hour, edit: func(_ *corev1.Node, p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		}},
		"not created yet": {after: time.Hour, edit: func(_ *corev1.Node, p *corev1.Pod) { p.Status.ContainerStatuses = nil }},
		"going already": {after: time.Hour, edit: func(_ *corev1.Node, p *corev1.Pod) {
			p.DeletionTimestamp = new(metav1.NewTime(silent))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			n := made(func(n *corev1.Node) {
				n.Status.Conditions = []corev1.NodeCondition{{
					Type: corev1.NodeReady, Status: corev1.ConditionUnknown,
					LastHeartbeatTime: metav1.NewTime(heard), LastTransitionTime: metav1.NewTime(silent),
				}}
			})
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "vk-connector-system", Name: "pod", UID: "pod-uid"},
				Status: corev1.PodStatus{
					Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
					ContainerStatuses: []corev1.ContainerStatus{{
						State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(start)}},
					}},
				},
			}
			r := newRecorder(pod.DeepCopy())
			if test.edit != nil {
				test.edit(n, pod)
			}
			m := &mend.Mender{Client: r, Clock: clocktesting.NewFakePassiveClock(silent.Add(test.after))}
			looks, err := m.EndHang(t.Context(), &observe.Node{Node: n, Pods: []corev1.Pod{*pod}})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(looks).To(Equal(test.looks))
			g.Expect(r.deleted).To(HaveLen(test.deleted))
			for _, how := range r.deleted {
				g.Expect(how.GracePeriodSeconds).To(HaveValue(BeEquivalentTo(1)))
				g.Expect(how.Preconditions.UID).To(HaveValue(BeEquivalentTo("pod-uid")))
			}
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
	bare := made(func(n *corev1.Node) { n.Spec.Taints = nil })
	cordoned := func(g Gomega) *corev1.Node {
		r := newRecorder(made())
		r.mend(t.Context(), g, desired())
		patch := applycorev1.Node(desired().Name).WithSpec(applycorev1.NodeSpec().WithUnschedulable(true))
		g.Expect(r.Apply(t.Context(), patch, client.FieldOwner("vk-connector-operator-retire"))).To(Succeed())
		return r.node(t.Context(), g)
	}
	for want, observed := range map[string]*observe.Node{
		"label Node virtual-kubelet-aci-linux-eastus: ":    {Node: made()},
		"taint Node virtual-kubelet-aci-linux-eastus: ":    {Node: bare},
		"uncordon Node virtual-kubelet-aci-linux-eastus: ": {Node: cordoned(NewWithT(t))},
		"delete Pod vk-connector-system/pod: ":             {Pods: []corev1.Pod{waits}},
	} {
		g := NewWithT(t)
		r := newRecorder(waits.DeepCopy())
		r.fail = gone
		err := (&mend.Mender{Client: r}).Mend(t.Context(), desired(), observed, time.Now(), false)
		g.Expect(err).To(MatchError(gone))
		g.Expect(err).To(MatchError(HavePrefix(want)))
	}
}

// A Node that is gone by now is made by the virtual kubelet alone.
func TestTaintsOfANodeThatIsGone(t *testing.T) {
	g := NewWithT(t)
	r := newRecorder()
	gone := apierrors.NewNotFound(corev1.Resource("nodes"), desired().Name)
	observed := made(func(n *corev1.Node) { n.Spec.Taints = nil })
	r.fail = gone
	err := (&mend.Mender{Client: r}).Mend(t.Context(), desired(), &observe.Node{Node: observed}, time.Time{}, false)
	g.Expect(r.patched).To(HaveLen(1))
	g.Expect(err).To(MatchError(HavePrefix("label Node")), "the taint is no error")
}

// A ServiceAccount that was made anew is another one: the tokens of the former are of no use any more.
func TestPodsWithTokensOfAFormerServiceAccount(t *testing.T) {
	at := func(seconds int64) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "system", Name: "node-1", UID: "uid", CreationTimestamp: metav1.Unix(seconds, 0)}
	}
	for name, test := range map[string]struct {
		account *corev1.ServiceAccount
		deletes int
	}{
		"older than the pod":      {&corev1.ServiceAccount{ObjectMeta: at(99)}, 0},
		"as old as the pod":       {&corev1.ServiceAccount{ObjectMeta: at(100)}, 0},
		"made anew":               {&corev1.ServiceAccount{ObjectMeta: at(101)}, 1},
		"gone, and not made anew": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			pod := &corev1.Pod{ObjectMeta: at(100)}
			r := newRecorder(pod)
			observed := &observe.Node{ServiceAccount: test.account, Pods: []corev1.Pod{*pod}}
			g.Expect((&mend.Mender{Client: r}).Mend(t.Context(), desired(), observed, time.Time{}, false)).To(Succeed())
			g.Expect(r.deleted).To(HaveLen(test.deletes))
		})
	}
}
