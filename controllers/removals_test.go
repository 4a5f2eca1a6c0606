// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
)

func TestRemovals(t *testing.T) {
	start := time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)
	began := func(node string, at time.Time) OmegaMatcher {
		return Equal(&removal{node: node, since: at, told: sets.New[string]()})
	}
	after := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	linux, windows := &observe.Node{Name: "linux", Hash: "1"}, &observe.Node{Name: "windows", Hash: "2"}
	connector := &v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	both := observe.Snapshot{"1": linux, "2": windows}

	t.Run("last from the first pass until the node is gone", func(t *testing.T) {
		g, r := NewWithT(t), &removals{}
		g.Expect(r.end("a", both)).To(BeEmpty())
		r.begin(connector, linux, after(0))
		r.begin(connector, windows, after(1))
		r.begin(connector, linux, after(2))
		g.Expect(r.end("a", both)).To(BeEmpty())
		g.Expect(r.end("b", observe.Snapshot{})).To(BeEmpty(), "another connector's")
		g.Expect(r.end("a", observe.Snapshot{"2": windows})).To(ConsistOf(began("linux", after(0))))
		g.Expect(r.end("a", observe.Snapshot{})).To(ConsistOf(began("windows", after(1))))
		g.Expect(r.end("a", observe.Snapshot{})).To(BeEmpty(), "once each")
		g.Expect(r.of).To(BeEmpty())
	})

	t.Run("began when the status says so, for an operator that has just started", func(t *testing.T) {
		g, r := NewWithT(t), &removals{}
		told := connector.DeepCopy()
		told.Status.Nodes = []v1alpha1.NodeStatus{
			{Name: "linux", Conditions: []metav1.Condition{{
				Type: v1alpha1.ConditionRetiring, Reason: v1alpha1.ReasonEvictionBlocked, LastTransitionTime: metav1.NewTime(start),
			}}},
			{Name: "windows", Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, LastTransitionTime: metav1.NewTime(start)}}},
		}
		told.Status.RetainedContainerGroups = []v1alpha1.RetainedContainerGroups{{NodeName: "linux"}}
		r.begin(told, linux, after(10))
		r.begin(told, windows, after(10))
		g.Expect(r.end("a", observe.Snapshot{})).To(Equal([]*removal{
			{node: "linux", since: start, told: sets.New(v1alpha1.ReasonDraining), blocked: v1alpha1.ReasonEvictionBlocked, retained: true},
			{node: "windows", since: after(10), told: sets.New[string]()},
		}))
	})

	t.Run("and of a node that another of its name waits for", func(t *testing.T) {
		g, r := NewWithT(t), &removals{}
		told := connector.DeepCopy()
		told.Status.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionRetiring, Reason: v1alpha1.ReasonContainerGroupsRemain, LastTransitionTime: metav1.NewTime(start),
		}}
		told.Status.Nodes = []v1alpha1.NodeStatus{{Name: "linux", Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonWaitingForRetirement},
		}}}
		g.Expect(r.begin(told, linux, after(10))).To(Equal(&removal{
			node: "linux", since: start,
			told: sets.New(v1alpha1.ReasonDraining, eventDrained, v1alpha1.ReasonContainerGroupsRemain),
		}))
	})

	t.Run("are not told of a node that is wanted again", func(t *testing.T) {
		g, r := NewWithT(t), &removals{}
		r.begin(connector, linux, after(0))
		g.Expect(r.cancel("b", "1")).To(BeFalse())
		g.Expect(r.cancel("a", "1")).To(BeTrue())
		g.Expect(r.cancel("a", "1")).To(BeFalse())
		g.Expect(r.end("a", observe.Snapshot{})).To(BeEmpty())
	})
}

func TestWhatAnotherOperatorHasTold(t *testing.T) {
	draining, all := sets.New(v1alpha1.ReasonDraining), sets.New(v1alpha1.ReasonDraining, eventDrained, v1alpha1.ReasonContainerGroupsRemain)
	for name, test := range map[string]struct {
		reason        string
		stalled       bool
		resourceGroup string
		want          removal
	}{
		"draining":                         {reason: v1alpha1.ReasonDraining, want: removal{told: draining}},
		"a budget":                         {reason: v1alpha1.ReasonEvictionBlocked, want: removal{told: draining, blocked: v1alpha1.ReasonEvictionBlocked}},
		"a Node that may not be written":   {reason: v1alpha1.ReasonForbidden, stalled: true, want: removal{told: draining, blocked: v1alpha1.ReasonForbidden}},
		"groups":                           {reason: v1alpha1.ReasonContainerGroupsRemain, want: removal{told: all}},
		"Azure, and what came before":      {reason: v1alpha1.ReasonAzureNotAsked, want: removal{told: all, blocked: v1alpha1.ReasonAzureNotAsked}},
		"a machine that is lost":           {reason: v1alpha1.ReasonStopping, stalled: true, want: removal{told: all, blocked: v1alpha1.ReasonStopping}},
		"a virtual kubelet that may end":   {reason: v1alpha1.ReasonStopping, want: removal{told: all}},
		"the last step":                    {reason: v1alpha1.ReasonRemoving, resourceGroup: "group", want: removal{told: all, settled: true}},
		"the last step of an unknown node": {reason: v1alpha1.ReasonRemoving, want: removal{told: all}},
	} {
		t.Run(name, func(t *testing.T) {
			connector := &v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
			connector.Status.Nodes = []v1alpha1.NodeStatus{{Name: "linux", ResourceGroup: test.resourceGroup, Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionRetiring, Status: metav1.ConditionTrue, Reason: test.reason},
			}}}
			if test.stalled {
				connector.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue}}
			}
			test.want.node = "linux"
			NewWithT(t).Expect((&removals{}).begin(connector, &observe.Node{Name: "linux", Hash: "1"}, time.Now())).To(Equal(&test.want))
		})
	}
}
