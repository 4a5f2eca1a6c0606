// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
)

func TestRemovals(t *testing.T) {
	began := time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)
	after := func(minutes int) time.Time { return began.Add(time.Duration(minutes) * time.Minute) }
	linux, windows := &observe.Node{Name: "linux", Hash: "1"}, &observe.Node{Name: "windows", Hash: "2"}
	connector := &v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	both := observe.Snapshot{"1": linux, "2": windows}

	t.Run("take from the first pass until the node is gone", func(t *testing.T) {
		g, r := NewWithT(t), &removals{}
		g.Expect(r.end("a", both, after(0))).To(BeEmpty())
		r.begin(connector, linux, after(0))
		r.begin(connector, windows, after(1))
		r.begin(connector, linux, after(2))
		g.Expect(r.end("a", both, after(3))).To(BeEmpty())
		g.Expect(r.end("b", observe.Snapshot{}, after(3))).To(BeEmpty(), "another connector's")
		g.Expect(r.end("a", observe.Snapshot{"2": windows}, after(4))).To(ConsistOf(4 * time.Minute))
		g.Expect(r.end("a", observe.Snapshot{}, after(5))).To(ConsistOf(4 * time.Minute))
		g.Expect(r.end("a", observe.Snapshot{}, after(6))).To(BeEmpty(), "once each")
		g.Expect(r.since).To(BeEmpty())
	})

	t.Run("began when the status says so, for an operator that has just started", func(t *testing.T) {
		g, r := NewWithT(t), &removals{}
		told := connector.DeepCopy()
		told.Status.Nodes = []v1alpha1.NodeStatus{
			{Name: "linux", Conditions: []metav1.Condition{{Type: v1alpha1.ConditionRetiring, LastTransitionTime: metav1.NewTime(began)}}},
			{Name: "windows", Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, LastTransitionTime: metav1.NewTime(began)}}},
		}
		r.begin(told, linux, after(10))
		r.begin(told, windows, after(10))
		g.Expect(r.end("a", observe.Snapshot{}, after(15))).To(ConsistOf(15*time.Minute, 5*time.Minute))
	})

	t.Run("are not told of a node that is wanted again", func(t *testing.T) {
		g, r := NewWithT(t), &removals{}
		r.begin(connector, linux, after(0))
		r.cancel("a", "1")
		r.cancel("b", "1")
		g.Expect(r.end("a", observe.Snapshot{}, after(1))).To(BeEmpty())
	})
}
