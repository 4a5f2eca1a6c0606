// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/mend"
	"github.com/virtual-kubelet/connector-operator/internal/metrics"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/internal/status"
	"github.com/virtual-kubelet/connector-operator/internal/version"
)

// texts is a recorder that keeps the reasons and the notes that it is told.
type texts []string

func (t *texts) Eventf(_, _ runtime.Object, eventType, reason, _, note string, args ...any) {
	*t = append(*t, eventType+" "+reason+": "+fmt.Sprintf(note, args...))
}

var beginning = time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)

func aConnector() *v1alpha1.VirtualKubeletConnector {
	return &v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: "one", UID: "1"}}
}

// A node whose objects somebody deletes by hand is not told of as one of which Azure has nothing left.
func TestHowARemovalEnds(t *testing.T) {
	const (
		notAsked = "whether Azure has container groups of node, which would be billed, is not known"
		vanished = "Warning Vanished: the objects of node node are gone before it was removed: " + notAsked
		gone     = "Normal Removed: nothing of the connector is left, neither in the cluster nor in Azure"
	)
	stuck := retire.Progress{Reason: v1alpha1.ReasonAzureNotAsked, ResourceGroup: "group", Message: "may be left", Stuck: true}
	removing := retire.Progress{Reason: v1alpha1.ReasonRemoving, ResourceGroup: "group", Settled: true}
	left := &v1alpha1.RetainedContainerGroups{NodeName: "node", ResourceGroup: "group", Names: []string{"web"}}
	for name, test := range map[string]struct {
		passes           []retire.Progress
		retained         bool
		retired, removed string
		measured         int
	}{
		"after Azure was asked": {
			[]retire.Progress{stuck, removing}, false, "Normal Retired: node node is removed, and nothing of it is left in Azure", gone, 1,
		},
		"after a pass over what a finalizer holds": {
			[]retire.Progress{removing, {Reason: v1alpha1.ReasonRemoving}}, false,
			"Normal Retired: node node is removed, and nothing of it is left in Azure", gone, 1,
		},
		"with what was retained": {
			[]retire.Progress{{Reason: v1alpha1.ReasonRemoving, Settled: true, Retained: left}}, true,
			"Normal Retired: node node is removed, but for the container groups that were left in Azure",
			"Normal Removed: nothing of the connector is left, but for the container groups that were left in Azure", 1,
		},
		"by hand, while Azure is not asked": {
			[]retire.Progress{stuck}, false, vanished + "; look in resource group group for those with the tag NodeName=node",
			"Normal Removed: nothing of the connector is left in the cluster; " + notAsked, 0,
		},
		"by hand, with others that were retained": {
			[]retire.Progress{stuck}, true, vanished + "; look in resource group group for those with the tag NodeName=node",
			"Normal Removed: nothing of the connector is left in the cluster; " + notAsked + ", and others were left there", 0,
		},
		"where nothing tells where it was": {
			[]retire.Progress{{Reason: v1alpha1.ReasonRemoving}}, false, vanished, "Normal Removed: nothing of the connector is left in the cluster; " + notAsked, 0,
		},
		"before the first pass": {nil, false, vanished, "Normal Removed: nothing of the connector is left in the cluster; " + notAsked, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var got texts
			r := &Reconciler{Recorder: &got, Metrics: metrics.New(version.Info{}), Clock: clocktesting.NewFakeClock(beginning)}
			connector := aConnector()
			removal := r.removals.begin(connector, &observe.Node{Name: "node", Hash: "1"}, beginning)
			for _, progress := range test.passes {
				progress.Node = "node"
				r.tellRemoval(connector, removal, progress)
			}
			if test.retained {
				connector.Status.RetainedContainerGroups = []v1alpha1.RetainedContainerGroups{*left}
			}
			got = nil
			r.endRemovals(connector, observe.Snapshot{})
			r.tellRemoved(connector)
			g.Expect(got).To(Equal(texts{test.retired, test.removed}))
			g.Expect(testutil.CollectAndFormat(r.Metrics, expfmt.TypeTextPlain, "vkc_node_removal_duration_seconds")).To(
				ContainSubstring("vkc_node_removal_duration_seconds_count %d\n", test.measured))

			r.removals.forget(connector.Name)
			g.Expect(r.removals.vanished(aConnector())).To(BeEmpty(), "another connector of the name")
		})
	}
}

// An operator that was not there when a node's objects were deleted goes by what the one before it has left in the status.
func TestWhatIsGoneWhileNoOperatorRuns(t *testing.T) {
	retiring := func(reason string) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ConditionRetiring, Status: metav1.ConditionTrue, Reason: reason}}
	}
	for name, test := range map[string]struct {
		node v1alpha1.NodeStatus
		want OmegaMatcher
	}{
		"a node that ran":                {v1alpha1.NodeStatus{KubeletVersion: "v1"}, ConsistOf("node")},
		"one that was being removed":     {v1alpha1.NodeStatus{Conditions: retiring(v1alpha1.ReasonAzureNotAsked)}, ConsistOf("node")},
		"one that was almost removed":    {v1alpha1.NodeStatus{Conditions: retiring(v1alpha1.ReasonRemoving)}, BeEmpty()},
		"one that was not started":       {v1alpha1.NodeStatus{}, BeEmpty()},
		"one that was removed meanwhile": {v1alpha1.NodeStatus{Name: "settled", KubeletVersion: "v1"}, BeEmpty()},
	} {
		t.Run(name, func(t *testing.T) {
			r := &removals{ended: map[string]map[string]*removal{"one": {"2": {node: "settled", settled: true}}}}
			connector := aConnector()
			if test.node.Name == "" {
				test.node.Name = "node"
			}
			connector.Status.Nodes = []v1alpha1.NodeStatus{test.node}
			NewWithT(t).Expect(r.vanished(connector)).To(test.want)
		})
	}
}

func TestAKeptNodeIsNotRemovedAnyMore(t *testing.T) {
	g := NewWithT(t)
	var got texts
	clock := clocktesting.NewFakeClock(beginning)
	holds := fake.NewClientBuilder().Build()
	r := &Reconciler{
		Recorder: &got, Clock: clock, Mender: &mend.Mender{Client: holds, Clock: clock},
		Retirer: &retire.Retirer{Client: holds, Live: holds, Clock: clock},
	}
	kept := &observe.Node{Name: "node", Hash: "1"}
	p := pass{reconciler: r, input: &status.Input{Connector: aConnector(), Kept: []*observe.Node{kept}}}
	r.removals.begin(p.input.Connector, kept, beginning)
	p.mend(t.Context())
	p.mend(t.Context())
	g.Expect(p.err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(texts{
		"Normal RetirementCanceled: node node stays, as the one that is to replace it can't be started",
	}))
	g.Expect(r.removals.end("one", observe.Snapshot{})).To(BeEmpty())
}

// What was left is gone where Azure says so by its list and by name, and where it was known what it was.
func TestWhatWasLeftIsGone(t *testing.T) {
	const place = " of node node in resource group virtual-nodes of subscription " + simulated.DefaultSubscriptionID
	for name, test := range map[string]struct {
		names   []string
		message string
		desired bool
		there   []string
		lags    bool
		left    []string
		told    texts
	}{
		"by its name": {names: []string{"web"}, told: texts{"Normal ContainerGroupsGone: not in Azure any more: container group web" + place}},
		"with several": {
			names: []string{"api", "web"}, told: texts{"Normal ContainerGroupsGone: not in Azure any more: 2 container groups: api, web" + place},
		},
		"but for one":                         {names: []string{"api", "web"}, there: []string{"web"}, left: []string{"web"}},
		"not where the list lags":             {names: []string{"web"}, there: []string{"web"}, lags: true, left: []string{"web"}},
		"not where it was not known":          {message: "Azure was silent"},
		"nor where its node is wanted again":  {message: "Azure was silent", desired: true, there: []string{"web"}},
		"where what was not known is there":   {message: "Azure was silent", there: []string{"web"}, left: []string{"web"}},
		"where more is there than was known":  {message: "Azure was silent", names: []string{"api"}, there: []string{"web"}, left: []string{"web"}},
		"where only a living node's is there": {message: "Azure was silent", names: []string{"api"}, there: []string{"web"}, desired: true, told: texts{"Normal ContainerGroupsGone: not in Azure any more: container group api" + place}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			clock := clocktesting.NewFakeClock(beginning)
			cloud, err := simulated.NewServer(simulated.DefaultConfig(), simulated.WithClock(clock))
			g.Expect(err).NotTo(HaveOccurred())
			inventory := azure.NewInventory(azure.NewConnector(cloud.Transport(), ""), clock, func(string) {})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- inventory.Start(ctx) }()
			t.Cleanup(func() {
				cancel()
				g.Eventually(ended).Should(Receive(BeNil()))
			})
			if test.lags {
				_, err := cloud.AddFault(simulated.Fault{Operation: "ContainerGroups.List*", Lag: 10 * time.Minute})
				g.Expect(err).NotTo(HaveOccurred())
			}
			for _, name := range test.there {
				g.Expect(cloud.PutContainerGroup(simulated.ContainerGroup{
					SubscriptionID: simulated.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Name: name, Tags: map[string]string{"NodeName": "node"},
				})).To(Succeed())
			}

			var got texts
			r := &Reconciler{Recorder: &got, Clock: clock, Inventory: inventory}
			connector := aConnector()
			connector.Status.RetainedContainerGroups = []v1alpha1.RetainedContainerGroups{{
				NodeName: "node", SubscriptionID: simulated.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Names: test.names, Message: test.message,
			}}
			target := azure.Target{Credential: azure.Credential{
				Cloud: v1alpha1.CloudPublic, Type: v1alpha1.CredentialTypeServicePrincipal,
				TenantID: simulated.DefaultTenantID, ClientID: simulated.DefaultClientID, ClientSecret: simulated.DefaultClientSecret,
			}}
			resolved := resolve.Resolved{Place: discover.Place{Target: target}}
			if test.desired {
				resolved.Nodes = []resolve.Node{{}}
				resolved.Nodes[0].Name = "node"
			}
			// Passes go on until Azure has answered everything.
			var left []string
			g.Eventually(func(g Gomega) {
				got = nil
				p := pass{reconciler: r, input: &status.Input{Connector: connector, Resolved: resolved}}
				p.recall()
				p.tellDisappeared()
				clock.Step(0)
				left = nil
				for _, noted := range p.input.Retained {
					g.Expect(noted.Message).To(BeEmpty())
					left = append(left, noted.Names...)
				}
				g.Expect(left).To(ConsistOf(test.left))
				g.Expect(got).To(Equal(test.told))
				g.Expect(cloud.Requests()).To(HaveKey("ContainerGroups.List"))
				g.Expect(!test.lags || cloud.Requests()["ContainerGroups.Get"] > 0).To(BeTrue())
			}).WithTimeout(10 * time.Second).Should(Succeed())
			g.Consistently(func(g Gomega) {
				p := pass{reconciler: r, input: &status.Input{Connector: connector, Resolved: resolved}}
				p.recall()
				clock.Step(0)
				g.Expect(p.input.Retained).To(HaveLen(min(len(test.left), 1)))
			}).WithTimeout(200 * time.Millisecond).Should(Succeed())
		})
	}
}
