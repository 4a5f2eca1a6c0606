// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	kubernetesfake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

var start = time.Unix(1_800_000_000, 0)

// cordonedNode is a Node that the operator has cordoned at a time; one that it has not, at the zero time.
func cordonedNode(at time.Time) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node-uid"}}
	if !at.IsZero() {
		node.ManagedFields = []metav1.ManagedFieldsEntry{{
			Manager: string(retireOwner), Operation: metav1.ManagedFieldsOperationApply, Time: &metav1.Time{Time: at},
			FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:unschedulable":{}}}`),
		}}
	}
	return node
}

func TestForced(t *testing.T) {
	timeout := func(seconds int32) v1alpha1.Removal {
		return v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyDrain, DrainTimeoutSeconds: &seconds}
	}
	for name, test := range map[string]struct {
		removal v1alpha1.Removal
		node    *corev1.Node
		now     bool
		in      time.Duration
	}{
		"Drain":                      {v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyDrain}, cordonedNode(start.Add(-time.Hour)), false, 0},
		"Force":                      {v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyForce}, cordonedNode(start), true, 0},
		"Force, not cordoned yet":    {v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyForce}, nil, true, 0},
		"a timeout to come":          {timeout(60), cordonedNode(start.Add(-20 * time.Second)), false, 40 * time.Second},
		"a timeout that is over":     {timeout(60), cordonedNode(start.Add(-60 * time.Second)), true, 0},
		"a timeout long over":        {timeout(60), cordonedNode(start.Add(-90 * time.Second)), true, -30 * time.Second},
		"a timeout, before a cordon": {timeout(1), cordonedNode(time.Time{}), false, 0},
		"a timeout, without a Node":  {timeout(1), nil, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := &Retirer{Clock: clocktesting.NewFakePassiveClock(start)}
			now, in := r.forced(&observe.Node{Node: test.node}, test.removal)
			g.Expect(now).To(Equal(test.now))
			g.Expect(in).To(Equal(test.in))
		})
	}
}

func TestDrain(t *testing.T) {
	const blocked = "1 pod left on the node, 1 of them can't be evicted yet: pod default/web: held by a budget"
	evict := v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyDrain}
	timeout := v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyDrain, DrainTimeoutSeconds: new(int32(60))}
	for name, test := range map[string]struct {
		removal v1alpha1.Removal
		since   time.Duration
		// budget says that evictions are refused.
		budget bool
		// verb is what the pod comes to.
		verb, reason, message string
	}{
		"Drain":                {evict, time.Hour, false, "create eviction", "Draining", "1 pod left on the node"},
		"Drain, with a budget": {evict, time.Hour, true, "create eviction", "EvictionBlocked", blocked},
		"Force, with a budget": {v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyForce}, 0, true, "delete", "Draining", "1 pod left on the node"},
		"before the timeout":   {timeout, 59 * time.Second, false, "create eviction", "Draining", "1 pod left on the node"},
		"before the timeout, and a budget": {
			timeout, 59 * time.Second, true, "create eviction", "EvictionBlocked",
			blocked + "; they are deleted once spec.removal.drainTimeoutSeconds are over",
		},
		"after the timeout, and a budget": {timeout, 60 * time.Second, true, "delete", "Draining", "1 pod left on the node"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web-uid"},
				Spec:       corev1.PodSpec{NodeName: "node"}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
			}
			cluster := kubernetesfake.NewClientset(pod)
			var verbs []string
			cluster.PrependReactor("*", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
				switch {
				case action.Matches("create", "pods/eviction"):
					verbs = append(verbs, "create eviction")
					if test.budget {
						return true, nil, apierrors.NewTooManyRequests("held by a budget", 0)
					}
				case action.GetVerb() == "delete":
					verbs = append(verbs, "delete")
					options := action.(clienttesting.DeleteAction).GetDeleteOptions()
					g.Expect(options.GracePeriodSeconds).To(BeNil(), "the pod keeps its grace period")
				}
				return false, nil, nil
			})
			node := cordonedNode(start.Add(-test.since))
			v := visitOf(cluster, &observe.Node{Name: "node", Node: node}, test.removal)
			g.Expect(v.drain(t.Context())).To(Succeed())
			progress := *v.progress
			g.Expect(v.pods.waited).To(HaveLen(1))
			g.Expect(v.pods.overdue(start.Add(time.Hour))).To(BeZero(), "it was not asked to end before")
			g.Expect(verbs).To(Equal([]string{test.verb}))
			g.Expect(progress.Reason).To(Equal(test.reason))
			g.Expect(progress.Message).To(Equal(test.message))
			g.Expect(progress.After).To(Equal(min(max(test.since/30, firstDrainInterval), lastDrainInterval)))
		})
	}
}

// visitOf is a visit of a node in a cluster that is simulated.
func visitOf(cluster kubernetes.Interface, node *observe.Node, removal v1alpha1.Removal) *visit {
	return &visit{
		Retirer: &Retirer{Pods: cluster.CoreV1(), Clock: clocktesting.NewFakePassiveClock(start)},
		node:    node, spec: resolve.Resolved{Removal: removal}, progress: &Progress{},
	}
}

// A pod that is on its way is left alone, whatever the policy is.
func TestDrainLeavesLeavingPodsAlone(t *testing.T) {
	for name, test := range map[string]struct {
		ends           time.Time
		finalizers     []string
		waited, held   int
		overdue        time.Duration
		reason, detail string
	}{
		"in time":                      {start.Add(time.Minute), nil, 1, 0, 0, "Draining", "1 pod left on the node"},
		"in time, with a finalizer":    {start.Add(time.Minute), []string{"example.com/held"}, 1, 0, 0, "Draining", "1 pod left on the node"},
		"over its time":                {start.Add(-time.Minute), nil, 1, 0, time.Minute, "Draining", "1 pod left on the node"},
		"held by somebody's finalizer": {start.Add(-time.Minute), []string{"example.com/held"}, 0, 1, 0, "Draining", "1 pod left on the node, held by finalizers: pod default/web: example.com/held"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "default", Name: "web", DeletionTimestamp: &metav1.Time{Time: test.ends}, Finalizers: test.finalizers,
				},
				Spec: corev1.PodSpec{NodeName: "node"},
			}
			cluster := kubernetesfake.NewClientset(pod)
			v := visitOf(cluster, &observe.Node{Name: "node"}, v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyForce})
			g.Expect(v.drain(t.Context())).To(Succeed())
			g.Expect(v.pods.waited).To(HaveLen(test.waited))
			g.Expect(v.pods.held).To(HaveLen(test.held))
			g.Expect(v.pods.overdue(start)).To(Equal(test.overdue))
			g.Expect(v.progress.Reason).To(Equal(test.reason))
			g.Expect(v.progress.Message).To(Equal(test.detail))
			for _, action := range cluster.Actions() {
				g.Expect(action.GetVerb()).To(Equal("list"))
			}
		})
	}
}

// A pod that came after the cordon is asked to end as others are, and not waited for once it has been.
func TestPodsThatComeAfterTheCordon(t *testing.T) {
	const after, before = time.Second, -time.Second
	leaves := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: start.Add(time.Minute)} }
	isHeld := func(p *corev1.Pod) {
		p.DeletionTimestamp, p.Finalizers = &metav1.Time{Time: start.Add(-time.Second)}, []string{"example.com/held"}
	}
	for name, test := range map[string]struct {
		made       time.Duration
		edit       func(*corev1.Pod)
		budget     bool
		uncordoned bool
		waited     int
		held       int
		late       int
		reason     string
	}{
		"evicted":                  {made: after, late: 1, reason: "Draining"},
		"leaving already":          {made: after, edit: leaves, late: 1, reason: "Draining"},
		"leaving, and held":        {made: after, edit: isHeld, late: 1, reason: "Draining"},
		"refused by a budget":      {made: after, budget: true, waited: 1, reason: "EvictionBlocked"},
		"of the same second":       {made: 0, waited: 1, reason: "Draining"},
		"of before":                {made: before, waited: 1, reason: "Draining"},
		"of before, leaving":       {made: before, edit: leaves, waited: 1, reason: "Draining"},
		"of before, held":          {made: before, edit: isHeld, held: 1, reason: "Draining"},
		"of a Node not cordoned":   {made: after, uncordoned: true, waited: 1, reason: "Draining"},
		"of before, and a budget":  {made: before, budget: true, waited: 1, reason: "EvictionBlocked"},
		"leaving, whatever budget": {made: after, edit: leaves, budget: true, late: 1, reason: "Draining"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cordoned := start.Add(-time.Minute)
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", CreationTimestamp: metav1.NewTime(cordoned.Add(test.made))},
				Spec:       corev1.PodSpec{NodeName: "node"},
			}
			if test.edit != nil {
				test.edit(pod)
			}
			cluster := kubernetesfake.NewClientset(pod)
			cluster.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
				if test.budget && action.GetSubresource() == "eviction" {
					return true, nil, apierrors.NewTooManyRequests("held by a budget", 0)
				}
				return false, nil, nil
			})
			if test.uncordoned {
				cordoned = time.Time{}
			}
			v := visitOf(cluster, &observe.Node{Name: "node", Node: cordonedNode(cordoned)}, v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyDrain})
			v.Client = fake.NewClientBuilder().WithObjects(cordonedNode(time.Time{})).Build()
			g.Expect(v.drain(t.Context())).To(Succeed())
			g.Expect(v.pods.waited).To(HaveLen(test.waited))
			g.Expect(v.pods.held).To(HaveLen(test.held))
			g.Expect(v.pods.late).To(HaveLen(test.late))
			g.Expect(v.pods.all()).To(HaveLen(1))
			g.Expect(v.progress.Reason).To(Equal(test.reason))
			g.Expect(v.progress.After).To(BeNumerically(">", 0))
		})
	}
}

func simulatedTarget() azure.Target {
	return azure.Target{
		Credential: azure.Credential{
			Cloud: v1alpha1.CloudPublic, Type: v1alpha1.CredentialTypeServicePrincipal,
			TenantID: simulated.DefaultTenantID, ClientID: simulated.DefaultClientID, ClientSecret: simulated.DefaultClientSecret,
		},
		SubscriptionID: simulated.DefaultSubscriptionID, ResourceGroup: "virtual-nodes",
	}
}

// world is a Retirer whose node is stopped, with container groups in a simulated Azure.
type world struct {
	*Retirer
	g      Gomega
	cloud  *simulated.Server
	clock  *clocktesting.FakeClock
	client client.Client
	pods   *kubernetesfake.Clientset
	node   *observe.Node
}

func newWorld(t *testing.T, groups ...string) *world {
	t.Helper()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(30 * time.Second)
	clock := clocktesting.NewFakeClock(start)
	cloud, err := simulated.NewServer(simulated.DefaultConfig(), simulated.WithClock(clock))
	g.Expect(err).NotTo(HaveOccurred())
	for _, name := range groups {
		g.Expect(cloud.PutContainerGroup(simulated.ContainerGroup{
			SubscriptionID: simulated.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Name: name, Tags: map[string]string{"NodeName": "node"},
		})).To(Succeed())
	}
	inventory := azure.NewInventory(azure.NewConnector(cloud.Transport(), ""), clock, func(string) {})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- inventory.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		g.Eventually(ended).Should(Receive(BeNil()))
	})

	content, err := json.Marshal(render.AzureConfigOf(simulatedTarget(), "eastus", nil))
	g.Expect(err).NotTo(HaveOccurred())
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "node", UID: "secret-uid", Annotations: map[string]string{identity.AnnotationClaim: "hash"}},
		Data:       map[string][]byte{render.AzureKey: content},
	}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "node", UID: "deployment-uid"},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(0))},
	}
	pods := kubernetesfake.NewClientset()
	holds := fake.NewClientBuilder().WithObjects(secret, deployment).Build()
	return &world{
		Retirer: &Retirer{Client: holds, Live: holds, Pods: pods.CoreV1(), Inventory: inventory, Clock: clock},
		g:       g, cloud: cloud, clock: clock, client: holds, pods: pods,
		node: &observe.Node{Name: "node", Hash: "hash", Secret: secret, Deployment: deployment},
	}
}

func (w *world) spec(policy v1alpha1.OrphanPolicy) resolve.Resolved {
	return resolve.Resolved{
		Connector: "aci", Namespace: "system", Place: discover.Place{Target: simulatedTarget(), Location: "eastus"},
		Removal: v1alpha1.Removal{OrphanedContainerGroups: policy},
	}
}

// retire makes passes until the record of the node is gone, and returns what the last one said.
func (w *world) retire(ctx context.Context, spec resolve.Resolved) Progress {
	var last Progress
	w.g.Eventually(func() bool {
		progress, err := w.Retire(ctx, w.node, spec)
		w.g.Expect(err).NotTo(HaveOccurred())
		last = progress
		w.clock.Step(time.Second)
		return apierrors.IsNotFound(w.client.Get(ctx, client.ObjectKeyFromObject(w.node.Secret), &corev1.Secret{}))
	}).Should(BeTrue())
	return last
}

func (w *world) left() []string {
	var names []string
	for _, group := range w.cloud.ContainerGroups() {
		names = append(names, group.Name)
	}
	return names
}

const groupsPlace = "resource group virtual-nodes of subscription " + simulated.DefaultSubscriptionID

func TestOrphanedContainerGroups(t *testing.T) {
	for name, test := range map[string]struct {
		policy   v1alpha1.OrphanPolicy
		groups   []string
		left     []string
		retained *v1alpha1.RetainedContainerGroups
	}{
		"Delete": {policy: v1alpha1.OrphanPolicyDelete, groups: []string{"default-a", "default-b"}},
		"Retain": {
			v1alpha1.OrphanPolicyRetain, []string{"default-a", "default-b"}, []string{"default-a", "default-b"},
			&v1alpha1.RetainedContainerGroups{NodeName: "node", SubscriptionID: simulated.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Names: []string{"default-a", "default-b"}},
		},
		"Retain, of nothing": {policy: v1alpha1.OrphanPolicyRetain},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.groups...)
			progress := w.retire(t.Context(), w.spec(test.policy))
			w.g.Expect(progress.Reason).To(Equal(v1alpha1.ReasonRemoving))
			w.g.Expect(progress.Retained).To(Equal(test.retained))
			w.g.Expect(progress.Settled).To(BeTrue())
			w.g.Expect(w.left()).To(ConsistOf(test.left))
		})
	}
}

// Retain removes the node even where Azure can't say what is left; Delete would wait for somebody.
func TestOrphansThatAzureDoesNotTellOf(t *testing.T) {
	for name, edit := range map[string]func(*world, *resolve.Resolved){
		"no rights": func(w *world, _ *resolve.Resolved) {
			w.g.Expect(w.cloud.SetRoleAssignments(simulated.DefaultClientID)).To(Succeed())
		},
		"no credentials": func(w *world, spec *resolve.Resolved) {
			config := render.AzureConfigOf(simulatedTarget(), "eastus", nil)
			config.ClientSecret = ""
			content, err := json.Marshal(config)
			w.g.Expect(err).NotTo(HaveOccurred())
			w.node.Secret.Data[render.AzureKey] = content
			spec.Target.ClientSecret = ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "default-a")
			spec := w.spec(v1alpha1.OrphanPolicyDelete)
			edit(w, &spec)
			w.g.Eventually(func() string {
				progress, err := w.Retire(t.Context(), w.node, spec)
				w.g.Expect(err).NotTo(HaveOccurred())
				w.g.Expect(progress.Retained).To(BeNil())
				if progress.Reason == v1alpha1.ReasonAzureNotAsked {
					w.g.Expect(progress.Message).To(And(HavePrefix("container groups may be left in "+groupsPlace+", and billed: "),
						HaveSuffix("; mend that, or set spec.removal.orphanedContainerGroups to Retain to leave them there")))
				}
				w.clock.Step(0)
				return progress.Reason
			}).Should(Equal(v1alpha1.ReasonAzureNotAsked))

			spec.Removal.OrphanedContainerGroups = v1alpha1.OrphanPolicyRetain
			progress := w.retire(t.Context(), spec)
			w.g.Expect(progress.Reason).To(Equal(v1alpha1.ReasonRemoving))
			w.g.Expect(progress.Stuck).To(BeFalse())
			w.g.Expect(progress.Retained.Names).To(BeEmpty())
			w.g.Expect(progress.Retained.Message).NotTo(BeEmpty())
			w.g.Expect(Describe(*progress.Retained)).To(HavePrefix("container groups of node node in " + groupsPlace + ", as far as is known: "))
			w.g.Expect(w.left()).To(ConsistOf("default-a"))
		})
	}
}

// A virtual kubelet that works is stopped by Retain where Azure can't be asked any more; where it can, a virtual kubelet
// has its time to delete the container groups of pods that are gone.
func TestRetainStopsAVirtualKubeletThatWorks(t *testing.T) {
	for name, test := range map[string]struct {
		policy  v1alpha1.OrphanPolicy
		refused bool
		stopped bool
		reason  string
	}{
		"Retain, no rights": {v1alpha1.OrphanPolicyRetain, true, true, v1alpha1.ReasonStopping},
		"Retain":            {v1alpha1.OrphanPolicyRetain, false, false, v1alpha1.ReasonContainerGroupsRemain},
		"Delete, no rights": {v1alpha1.OrphanPolicyDelete, true, false, v1alpha1.ReasonAzureNotAsked},
		"Delete":            {v1alpha1.OrphanPolicyDelete, false, false, v1alpha1.ReasonContainerGroupsRemain},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "default-a")
			serves(w)
			if test.refused {
				w.g.Expect(w.cloud.SetRoleAssignments(simulated.DefaultClientID)).To(Succeed())
			}
			w.g.Eventually(func(g Gomega) {
				progress, err := w.Retire(t.Context(), w.node, w.spec(test.policy))
				w.g.Expect(err).NotTo(HaveOccurred())
				w.clock.Step(0)
				g.Expect(progress.Reason).To(Equal(test.reason))
				if test.reason == v1alpha1.ReasonContainerGroupsRemain {
					g.Expect(progress.Message).To(HavePrefix("the pods are gone; Azure still has container group default-a in "))
				}
			}).WithTimeout(10 * time.Second).Should(Succeed())
			w.g.Expect(w.stopped(t.Context())).To(Equal(test.stopped))
		})
	}
}

// A node outlives the credentials that it was started with: those that the spec gives now find what is left of it.
func TestCredentialsOfTheSpecWhereThoseOfTheNodeAreRefused(t *testing.T) {
	managed := azure.Credential{Cloud: v1alpha1.CloudPublic, Type: v1alpha1.CredentialTypeManagedIdentity, ClientID: simulated.DefaultManagedIdentityID}
	other := managed
	other.TenantID = "55555555-5555-5555-5555-555555555555"
	for name, test := range map[string]struct {
		spec azure.Credential
		want azure.Credential
	}{
		"a managed identity, without a tenant": {managed, managed},
		"an identity of another tenant":        {other, azure.Credential{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.g.Expect(w.cloud.SetClientSecret(simulated.DefaultClientID, "renewed", time.Time{})).To(Succeed())
			spec := w.spec(v1alpha1.OrphanPolicyDelete)
			spec.Target.Credential = test.spec
			config := render.AzureConfigOf(simulatedTarget(), "eastus", nil)
			look := func() azure.Target { w.clock.Step(0); return w.target(config, spec) }
			w.g.Expect(look().Credential).To(Equal(simulatedTarget().Credential), "as long as they are not refused")
			if test.want == (azure.Credential{}) {
				test.want = simulatedTarget().Credential
			}
			w.g.Eventually(func() bool {
				listing, _ := w.Inventory.List("aci", simulatedTarget(), time.Time{})
				return look().Credential == test.want && listing.Problem != nil
			}).Should(BeTrue())
			w.g.Expect(config.With(look().Credential).Target()).To(Equal(look()), "what is handed to the virtual kubelet is handed once")
		})
	}
}
