// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// put makes the container group of a pod.
func (w *world) put(pod *corev1.Pod, node string) {
	w.g.Expect(w.cloud.PutContainerGroup(simulated.ContainerGroup{
		SubscriptionID: simulated.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Name: pod.Namespace + "-" + pod.Name,
		Tags: map[string]string{"NodeName": node, "Namespace": pod.Namespace, "PodName": pod.Name, "UID": string(pod.UID)},
	})).To(Succeed())
}

// add makes a pod on the node, for both of the clients that read pods.
func (w *world) add(ctx context.Context, name string, edit ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid"), CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))},
		Spec:       corev1.PodSpec{NodeName: "node"},
	}
	for _, e := range edit {
		e(pod)
	}
	live := pod.DeepCopy()
	if live.DeletionTimestamp != nil && len(live.Finalizers) == 0 {
		live.Finalizers = []string{"only-so/that-the-fake-client-takes-it"}
	}
	w.g.Expect(w.client.Create(ctx, live)).To(Succeed())
	if live.Finalizers != nil && pod.DeletionTimestamp != nil {
		w.g.Expect(w.client.Delete(ctx, live)).To(Succeed())
	}
	_, err := w.pods.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	w.g.Expect(err).NotTo(HaveOccurred())
	return pod
}

func leavingSince(since time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: start.Add(-since)} }
}

// ended are the pods that the operator has ended itself.
func (w *world) ended() []string {
	var names []string
	for _, action := range w.pods.Actions() {
		if deletion, ok := action.(clienttesting.DeleteAction); ok && action.GetResource().Resource == "pods" {
			options := deletion.GetDeleteOptions()
			w.g.Expect(options.GracePeriodSeconds).To(HaveValue(BeEquivalentTo(0)))
			w.g.Expect(options.Preconditions.UID).To(HaveValue(BeEquivalentTo(deletion.GetName() + "-uid")))
			names = append(names, deletion.GetName())
		}
	}
	return names
}

// Where no virtual kubelet runs any more, the operator deletes the container groups of its node, also those that Azure's
// list does not show yet, and ends the pods; it touches nothing of another node, whatever it is called.
func TestTakeOver(t *testing.T) {
	for name, test := range map[string]struct {
		young  bool
		node   string
		lag    time.Duration
		left   []string
		policy v1alpha1.OrphanPolicy
	}{
		"of its node":                         {node: "node", policy: v1alpha1.OrphanPolicyDelete},
		"that the list does not show yet":     {node: "node", young: true, lag: 10 * time.Minute, policy: v1alpha1.OrphanPolicyDelete},
		"of another node, with the same name": {node: "other", left: []string{"default-web"}, policy: v1alpha1.OrphanPolicyDelete},
		"of another node, not in the list":    {node: "other", young: true, lag: 10 * time.Minute, left: []string{"default-web"}, policy: v1alpha1.OrphanPolicyDelete},
		"that is retained":                    {node: "node", left: []string{"default-web"}, policy: v1alpha1.OrphanPolicyRetain},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pod := w.add(t.Context(), "web", leavingSince(time.Second), func(p *corev1.Pod) {
				if test.young {
					p.CreationTimestamp = metav1.NewTime(start.Add(-time.Minute))
				}
			})
			w.put(pod, test.node)
			if test.lag > 0 {
				_, err := w.cloud.AddFault(simulated.Fault{Operation: "ContainerGroups.List*", Lag: test.lag})
				w.g.Expect(err).NotTo(HaveOccurred())
			}
			progress := w.retire(t.Context(), w.spec(test.policy))
			w.g.Expect(progress.Reason).To(Equal(v1alpha1.ReasonRemoving))
			w.g.Expect(w.left()).To(ConsistOf(test.left))
			w.g.Expect(w.ended()).To(ContainElement("web"))
			w.g.Expect(progress.Retained != nil).To(Equal(test.policy == v1alpha1.OrphanPolicyRetain))
		})
	}
}

// bare makes the node one of which nothing but a labelled Node is left, as a virtual kubelet may have labelled it; a spec
// describes it.
func (w *world) bare(ctx context.Context) {
	target := simulatedTarget()
	node := cordonedNode(start.Add(-time.Minute))
	w.node = &observe.Node{Name: "node", Node: node, Hash: identity.Node{
		Name: "node", Cloud: target.Cloud, TenantID: target.TenantID, SubscriptionID: target.SubscriptionID,
		ResourceGroup: target.ResourceGroup, Location: "eastus",
	}.Hash()}
	w.g.Expect(w.client.Create(ctx, node.DeepCopy())).To(Succeed())
	for _, gone := range []client.Object{&corev1.Secret{}, &appsv1.Deployment{}} {
		gone.SetNamespace("system")
		gone.SetName("node")
		w.g.Expect(w.client.Delete(ctx, gone)).To(Succeed())
	}
}

// nodeGone reports whether the Node was removed.
func (w *world) nodeGone(ctx context.Context) bool {
	return apierrors.IsNotFound(w.client.Get(ctx, types.NamespacedName{Name: "node"}, &corev1.Node{}))
}

// A Node of which nothing else is left proves no claim: only the container groups of its own pods are deleted, and others
// that carry its name, which may be another cluster's, neither that nor hold the removal.
func TestWhatABareNodeLeaves(t *testing.T) {
	const unproven = "nothing proves that they are this node's, as only their tags say so"
	own := func(w *world) { w.put(w.add(t.Context(), "web", leavingSince(time.Second)), "node") }
	theirs := func(w *world) { w.orphan("theirs", "node") }
	for name, test := range map[string]struct {
		policy  v1alpha1.OrphanPolicy
		put     func(*world)
		left    []string
		message string
	}{
		"its own pod's":         {put: own},
		"another cluster's":     {put: theirs, left: []string{"default-theirs"}, message: unproven},
		"both":                  {put: func(w *world) { own(w); theirs(w) }, left: []string{"default-theirs"}, message: unproven},
		"its own pod's, kept":   {policy: v1alpha1.OrphanPolicyRetain, put: own, left: []string{"default-web"}},
		"both, kept":            {policy: v1alpha1.OrphanPolicyRetain, put: func(w *world) { own(w); theirs(w) }, left: []string{"default-theirs", "default-web"}, message: unproven},
		"that of a former pod":  {put: func(w *world) { w.add(t.Context(), "web", leavingSince(time.Second), formerGroup(w)) }, left: []string{"default-web"}, message: unproven},
		"that of a pod outside": {put: func(w *world) { w.put(w.add(t.Context(), "web", leavingSince(time.Second), elsewhere), "node") }, left: []string{"default-web"}, message: unproven},
		"a DaemonSet's": {put: func(w *world) {
			w.put(w.add(t.Context(), "web", func(p *corev1.Pod) {
				p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "d", UID: "d", Controller: new(true)}}
			}), "node")
			_, err := w.pods.AppsV1().DaemonSets("default").Create(t.Context(), &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d", UID: "d"}}, metav1.CreateOptions{})
			w.g.Expect(err).NotTo(HaveOccurred())
		}},
		"of a place that nothing tells": {put: func(w *world) { own(w); theirs(w); w.node.Hash = "another" }, left: []string{"default-theirs", "default-web"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.bare(t.Context())
			test.put(w)
			policy := cmp.Or(test.policy, v1alpha1.OrphanPolicyDelete)
			var last Progress
			w.g.Eventually(func() bool {
				progress, err := w.Retire(t.Context(), w.node, w.spec(policy))
				w.g.Expect(err).NotTo(HaveOccurred())
				last = progress
				if len(w.ended()) > 0 {
					w.g.Expect(w.left()).To(ConsistOf(test.left), "a pod ends after its container group")
				}
				w.clock.Step(time.Second)
				return w.nodeGone(t.Context())
			}).Should(BeTrue())
			w.g.Expect(last.Reason).To(Equal(v1alpha1.ReasonRemoving))
			w.g.Expect(last.Settled).To(Equal(w.node.Hash != "another"), "Azure is not asked for an unknown place")
			w.g.Expect(w.left()).To(ConsistOf(test.left))
			if test.message == "" && policy != v1alpha1.OrphanPolicyRetain {
				w.g.Expect(last.Retained).To(BeNil())
				return
			}
			w.g.Expect(last.Retained.Names).To(ConsistOf(test.left))
			w.g.Expect(last.Retained.Message).To(Equal(test.message))
		})
	}
}

// formerGroup puts the container group of a pod that had the name of another before.
func formerGroup(w *world) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		former := p.DeepCopy()
		former.UID = "former-uid"
		w.put(former, "node")
	}
}

func elsewhere(p *corev1.Pod) { p.Spec.NodeName = "elsewhere" }

// Where Azure can't be asked, a bare Node is held by pods only, whose container groups would be its own.
func TestABareNodeWhereAzureRefuses(t *testing.T) {
	for name, pods := range map[string]int{"with a pod": 1, "without": 0} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.bare(t.Context())
			w.g.Expect(w.cloud.SetRoleAssignments(simulated.DefaultClientID)).To(Succeed())
			if pods > 0 {
				w.add(t.Context(), "web", leavingSince(time.Second))
			}
			var last Progress
			w.g.Eventually(func() bool {
				progress, err := w.Retire(t.Context(), w.node, w.spec(v1alpha1.OrphanPolicyDelete))
				w.g.Expect(err).NotTo(HaveOccurred())
				last = progress
				w.clock.Step(0)
				return progress.Reason == v1alpha1.ReasonAzureNotAsked || w.nodeGone(t.Context())
			}).Should(BeTrue())
			w.g.Expect(w.nodeGone(t.Context())).To(Equal(pods == 0))
			if pods > 0 {
				w.g.Expect(last.Message).To(HavePrefix("container group default-web may be left in " + groupsPlace))
				w.g.Expect(last.Retained).To(BeNil())
				return
			}
			w.g.Expect(last.Retained.Message).NotTo(BeEmpty())
		})
	}
}

const keepComing = "; pods keep coming in spite of the cordon, and are not waited for: 1"

// cordoned gives the world a Node that was cordoned a minute ago.
func (w *world) cordoned(ctx context.Context) {
	w.node.Node = cordonedNode(start.Add(-time.Minute))
	w.g.Expect(w.client.Create(ctx, w.node.Node.DeepCopy())).To(Succeed())
}

// comesNow makes a pod one that has just been made, and is leaving.
func (w *world) comesNow(p *corev1.Pod) {
	p.CreationTimestamp = metav1.NewTime(w.clock.Now())
	p.DeletionTimestamp = &metav1.Time{Time: w.clock.Now().Add(30 * time.Second)}
}

// Pods that tolerate a cordon come as fast as they go: the virtual kubelet is stopped, so that they get no container
// groups any more, and the node is removed.
func TestPodsThatKeepComing(t *testing.T) {
	for name, policy := range map[string]v1alpha1.RemovalPolicy{"Drain": v1alpha1.RemovalPolicyDrain, "Force": v1alpha1.RemovalPolicyForce} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.cordoned(t.Context())
			serves(w)
			_, err := w.cloud.AddFault(simulated.Fault{Operation: "ContainerGroups.List*", Lag: 10 * time.Minute})
			w.g.Expect(err).NotTo(HaveOccurred())
			spec := w.spec(v1alpha1.OrphanPolicyDelete)
			spec.Removal.Policy = policy
			w.put(w.add(t.Context(), "late", w.comesNow), "node")
			progress, err := w.Retire(t.Context(), w.node, spec)
			w.g.Expect(err).NotTo(HaveOccurred())
			w.g.Expect(progress.Message).To(Equal("stopping the virtual kubelet" + keepComing))
			w.g.Expect(w.stopped(t.Context())).To(BeTrue())
			w.g.Expect(progress.After).To(Equal(firstDrainInterval))

			w.node.Deployment.Spec.Replicas = new(int32(0))
			last, passes := "late", 0
			w.g.Eventually(func() bool {
				w.g.Expect(w.pods.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), "default", last)).To(Succeed())
				last, passes = fmt.Sprintf("late-%d", passes), passes+1
				w.add(t.Context(), last, w.comesNow)
				progress, err = w.Retire(t.Context(), w.node, spec)
				w.g.Expect(err).NotTo(HaveOccurred())
				w.clock.Step(time.Second)
				return w.nodeGone(t.Context())
			}).WithTimeout(10 * time.Second).Should(BeTrue())
			w.g.Expect(progress.Message).To(Equal("removing the Node and what was made for it" + keepComing))
			w.g.Expect(w.left()).To(BeEmpty())
			w.g.Expect(w.ended()).To(Equal([]string{last}), "a pod does not stay behind on a Node that is gone")
		})
	}
}

// Pods that keep coming do not take the time of the others.
func TestPodsThatKeepComingBesideOthers(t *testing.T) {
	for name, test := range map[string]struct {
		other  func(*corev1.Pod)
		stops  bool
		deploy func(*world)
	}{
		"with time":                         {other: leavingSince(-time.Minute), deploy: serves},
		"over time":                         {other: leavingSince(time.Second), deploy: serves},
		"long over time":                    {other: leavingSince(podPatience + time.Second), deploy: serves, stops: true},
		"of a virtual kubelet that is down": {other: leavingSince(-time.Minute), deploy: func(w *world) { serves(w); w.node.Deployment.Status.AvailableReplicas = 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.cordoned(t.Context())
			test.deploy(w)
			w.add(t.Context(), "web", test.other)
			w.add(t.Context(), "late", w.comesNow)
			progress, err := w.Retire(t.Context(), w.node, w.spec(v1alpha1.OrphanPolicyDelete))
			w.g.Expect(err).NotTo(HaveOccurred())
			w.g.Expect(w.stopped(t.Context())).To(Equal(test.stops))
			w.g.Expect(progress.Message).To(HaveSuffix(keepComing))
		})
	}
}

// What is asked for by name does not grow with each pod that comes while a removal is held for long.
func TestWhatIsRememberedOfYoungPods(t *testing.T) {
	w := newWorld(t)
	pod := func(name string, age time.Duration) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: metav1.NewTime(w.clock.Now().Add(-age))}}
	}
	names := func() []string { return azure.Names(w.remembered("hash")) }
	w.remember(w.node, []corev1.Pod{pod("young", lag), pod("old", lag+time.Second)})
	w.g.Expect(names()).To(Equal([]string{"default-young"}))
	w.clock.Step(2 * lag)
	w.remember(w.node, []corev1.Pod{pod("younger", 0)})
	w.g.Expect(names()).To(Equal([]string{"default-young", "default-younger"}))
	w.clock.Step(time.Second)
	w.g.Expect(names()).To(Equal([]string{"default-younger"}))
}

// Pods that have time, and pods that somebody holds, keep a node; those that are held do not where the removal is forced.
func TestPodsThatKeepANode(t *testing.T) {
	for name, test := range map[string]struct {
		pod     func(*corev1.Pod)
		force   bool
		removed bool
		message string
	}{
		"with time":                 {leavingSince(-time.Hour), false, false, "1 pod left on the node"},
		"held":                      {held, false, false, "1 pod left on the node, held by finalizers: pod default/web: example.com/held, and its container group is gone: whoever set them has to take them off"},
		"held, of a forced removal": {held, true, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t.Context(), "web", test.pod)
			spec := w.spec(v1alpha1.OrphanPolicyDelete)
			if test.force {
				spec.Removal.Policy = v1alpha1.RemovalPolicyForce
			}
			if test.removed {
				w.retire(t.Context(), spec)
				return
			}
			w.g.Eventually(func() string {
				progress, err := w.Retire(t.Context(), w.node, spec)
				w.g.Expect(err).NotTo(HaveOccurred())
				w.clock.Step(0)
				return progress.Message
			}).Should(Equal(test.message))
			w.g.Expect(w.client.Get(t.Context(), types.NamespacedName{Namespace: "system", Name: "node"}, &corev1.Secret{})).To(Succeed())
		})
	}
}

// A virtual kubelet's pod on a lost machine makes no event: it is looked again when its time is long over.
func TestALostMachine(t *testing.T) {
	const hint = "waiting for the virtual kubelet's pod to end, whose time is long over: if machine m1 is lost, kubectl delete node m1, " +
		"or kubectl delete pod --force -n system node-1"
	w := newWorld(t)
	w.node.Pods = []corev1.Pod{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "node-1", DeletionTimestamp: &metav1.Time{Time: start.Add(20 * time.Second)}},
		Spec:       corev1.PodSpec{NodeName: "m1"},
	}}
	look := func() Progress {
		progress, err := w.Retire(t.Context(), w.node, w.spec(v1alpha1.OrphanPolicyDelete))
		w.g.Expect(err).NotTo(HaveOccurred())
		w.g.Expect(progress.Reason).To(Equal(v1alpha1.ReasonStopping))
		return progress
	}
	first := look()
	w.g.Expect(first.Message).To(Equal("waiting for the virtual kubelet's pod to end"))
	w.g.Expect(first.After).To(Equal(20*time.Second + downtime))
	w.clock.Step(first.After)
	second := look()
	w.g.Expect(second.Message).To(Equal(hint))
	w.g.Expect(second.Stuck).To(BeTrue())
	w.g.Expect(second.After).To(BeZero(), "nothing more is to come")
}

func held(p *corev1.Pod) {
	leavingSince(time.Minute)(p)
	p.Finalizers = []string{"example.com/held"}
}

// The container groups that may be left are named also while Azure refuses to list them.
func TestContainerGroupsAreNamedWhileAzureRefuses(t *testing.T) {
	w := newWorld(t, "default-a")
	spec := w.spec(v1alpha1.OrphanPolicyDelete)
	w.g.Eventually(func() []string {
		w.clock.Step(0)
		listing, _ := w.Inventory.List("aci", simulatedTarget(), time.Time{})
		return azure.Names(listing.Groups)
	}).Should(ConsistOf("default-a"))
	w.g.Expect(w.cloud.SetRoleAssignments(simulated.DefaultClientID)).To(Succeed())
	w.add(t.Context(), "b", leavingSince(time.Second))
	w.g.Eventually(func() string {
		progress, err := w.Retire(t.Context(), w.node, spec)
		w.g.Expect(err).NotTo(HaveOccurred())
		w.clock.Step(time.Second)
		return progress.Message
	}).Should(And(HavePrefix("2 container groups: default-a, default-b may be left in "+groupsPlace+", and billed: "), ContainSubstring("az role assignment create")))
	w.g.Expect(w.ended()).To(BeEmpty(), "what keeps a container group is not ended before that is gone")
}

// orphan makes a container group whose pod is gone, of the node's own or of another.
func (w *world) orphan(name, node string) {
	w.put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid")}}, node)
}

// A virtual kubelet that is down for long has its container groups looked through: those whose pods are gone go.
func TestOrphans(t *testing.T) {
	for name, test := range map[string]struct {
		policy  v1alpha1.OrphanPolicy
		edit    func(*world)
		left    []string
		retains []string
	}{
		"Delete": {policy: v1alpha1.OrphanPolicyDelete, left: []string{"default-lives", "default-theirs"}},
		"Retain": {policy: v1alpha1.OrphanPolicyRetain, left: []string{"default-gone", "default-lives", "default-theirs"}, retains: []string{"default-gone"}},
		"of a name that is another node's by now": {policy: v1alpha1.OrphanPolicyDelete, edit: replaced, left: []string{"default-gone", "default-lives", "default-theirs"}},
		"of one that runs":                        {policy: v1alpha1.OrphanPolicyDelete, edit: serves, left: []string{"default-gone", "default-lives", "default-theirs"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put(w.add(t.Context(), "lives"), "node")
			w.orphan("gone", "node")
			w.orphan("theirs", "other")
			if test.edit != nil {
				test.edit(w)
			}
			look := func() *v1alpha1.RetainedContainerGroups {
				retained, _, err := w.Orphans(t.Context(), w.node, w.spec(test.policy))
				w.g.Expect(err).NotTo(HaveOccurred())
				return retained
			}
			w.g.Expect(look()).To(BeNil())
			w.clock.Step(scanInterval - time.Second)
			w.g.Expect(look()).To(BeNil(), "it may come back")
			w.g.Expect(w.left()).To(HaveLen(3))
			w.clock.Step(time.Second)
			w.g.Eventually(func(g Gomega) {
				retained := look()
				w.clock.Step(time.Second)
				g.Expect(w.left()).To(ConsistOf(test.left))
				if len(test.retains) > 0 {
					g.Expect(retained).NotTo(BeNil())
					g.Expect(retained.Names).To(Equal(test.retains))
					g.Expect(w.Orphaned()).To(BeEmpty(), "they are told of as retained")
				}
			}).Should(Succeed())
			w.g.Consistently(func() []string { look(); w.clock.Step(time.Second); return w.left() }).
				WithTimeout(200 * time.Millisecond).Should(ConsistOf(test.left))
		})
	}
}

// What Azure refuses to delete is tried again only once Azure has listed it anew, however often the node is looked at.
func TestRefusedDeletesWaitForAListing(t *testing.T) {
	for name, pass := range map[string]func(*world) error{
		"of a node that goes": func(w *world) error {
			_, err := w.Retire(context.Background(), w.node, w.spec(v1alpha1.OrphanPolicyDelete))
			return err
		},
		"of pods that are gone": func(w *world) error {
			_, _, err := w.Orphans(context.Background(), w.node, w.spec(v1alpha1.OrphanPolicyDelete))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "default-a")
			_, err := w.cloud.AddFault(simulated.Fault{Operation: "ContainerGroups.Delete", Status: http.StatusConflict, Code: "ScopeLocked"})
			w.g.Expect(err).NotTo(HaveOccurred())
			w.g.Expect(pass(w)).To(Succeed())
			w.clock.Step(scanInterval)
			w.g.Eventually(func() int {
				w.g.Expect(pass(w)).To(Succeed())
				w.clock.Step(time.Second)
				return w.cloud.Requests()["ContainerGroups.List"]
			}).WithPolling(time.Millisecond).Should(BeNumerically(">=", 20))
			t.Log(w.cloud.Requests())
			w.g.Expect(w.cloud.Requests()["ContainerGroups.Delete"]).To(And(BeNumerically(">=", 3), BeNumerically("<=", 20)))
			w.g.Expect(w.left()).To(ConsistOf("default-a"))
			w.g.Expect(w.Orphaned()).To(ConsistOf(Orphaned{Connector: "aci", Node: "node", Groups: []string{"default-a"}}))

			w.cloud.ClearFaults()
			w.g.Eventually(func(g Gomega) {
				g.Expect(pass(w)).To(Succeed())
				w.clock.Step(time.Second)
				g.Expect(w.left()).To(BeEmpty())
				g.Expect(w.Orphaned()).To(BeEmpty())
			}).WithPolling(time.Millisecond).Should(Succeed())
		})
	}
}

// replaced is a node whose Secret is another node's by now, as another operator may have made it.
func replaced(w *world) {
	other := w.node.Secret.DeepCopy()
	other.Annotations[identity.AnnotationClaim] = "another"
	w.g.Expect(w.client.Update(context.Background(), other)).To(Succeed())
}

// serves makes the virtual kubelet one that works.
func serves(w *world) {
	w.node.Deployment.Spec.Replicas = new(int32(1))
	w.node.Deployment.Status = appsv1.DeploymentStatus{AvailableReplicas: 1}
	w.g.Expect(w.client.Patch(context.Background(), w.node.Deployment.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":1}}`)))).To(Succeed())
}

// stopped reports whether the virtual kubelet is to have no pod.
func (w *world) stopped(ctx context.Context) bool {
	var deployment appsv1.Deployment
	w.g.Expect(w.client.Get(ctx, client.ObjectKeyFromObject(w.node.Deployment), &deployment)).To(Succeed())
	return !running(&deployment)
}

// Credentials are tried in turn: the user's live ones, those of the node's own record, and the spec's of another identity.
func TestWhichCredentials(t *testing.T) {
	const renewed = "the-renewed-secret"
	for name, test := range map[string]struct {
		valid, live, recorded string
		want                  string
	}{
		"the live secret": {renewed, renewed, simulated.DefaultClientSecret, renewed},
		"that of the record, where there is no other":   {renewed, "", renewed, renewed},
		"that of the record, where the live is refused": {renewed, "wrong", renewed, renewed},
		"the live one, where both are refused":          {renewed, "wrong", "wrong, too", "wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.g.Expect(w.cloud.SetClientSecret(simulated.DefaultClientID, test.valid, time.Time{})).To(Succeed())
			target := simulatedTarget()
			target.ClientSecret = test.recorded
			config := render.AzureConfigOf(target, "eastus", nil)
			spec := w.spec(v1alpha1.OrphanPolicyDelete)
			spec.Target.ClientSecret = test.live
			w.g.Eventually(func() bool {
				w.clock.Step(0)
				got := w.target(config, spec)
				_, known := w.Inventory.List("aci", got, time.Time{})
				return known && got.ClientSecret == test.want
			}).Should(BeTrue())
			w.g.Consistently(func() string { w.clock.Step(0); return w.target(config, spec).ClientSecret }).
				WithTimeout(200 * time.Millisecond).Should(Equal(test.want))
		})
	}
}

// What is kept of a node says nothing of a secret.
func TestProgressNamesNoSecret(t *testing.T) {
	w := newWorld(t, "default-a")
	w.g.Expect(w.cloud.SetClientSecret(simulated.DefaultClientID, "another", time.Time{})).To(Succeed())
	w.g.Eventually(func(g Gomega) {
		progress, err := w.Retire(t.Context(), w.node, w.spec(v1alpha1.OrphanPolicyDelete))
		g.Expect(err).NotTo(HaveOccurred())
		w.clock.Step(0)
		g.Expect(progress.Reason).To(Equal(v1alpha1.ReasonAzureNotAsked))
		content, err := json.Marshal(progress)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(content)).NotTo(ContainSubstring(simulated.DefaultClientSecret))
	}).Should(Succeed())
}
