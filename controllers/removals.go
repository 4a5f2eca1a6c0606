// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
)

// removals remembers which nodes are being removed, to tell how that goes and how long it took.
type removals struct {
	mu sync.Mutex
	// of has them by their connector's name and their identity.
	of map[string]map[string]*removal
	// ended has those of the nodes that are gone, in the same way.
	ended map[string]map[string]*removal
}

// removal is what is remembered of a node that is being removed.
type removal struct {
	node  string
	since time.Time
	// told are the reasons of the events that have told of its steps, blocked is what keeps it from going on.
	told    sets.Set[string]
	blocked string
	// retained says that container groups were left in Azure.
	retained bool
	// settled says that the node was removed after it was known what Azure has of it, and resourceGroup where that was.
	settled       bool
	resourceGroup string
}

// begin notes that a node is being removed: since now, unless the stored status knows of it for longer.
func (r *removals) begin(connector *v1alpha1.VirtualKubeletConnector, node *observe.Node, now time.Time) *removal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[string]map[string]*removal{}
	}
	of := r.of[connector.Name]
	if of == nil {
		of = map[string]*removal{}
		r.of[connector.Name] = of
	}
	if known, ok := of[node.Hash]; ok {
		return known
	}
	begun := &removal{node: node.Name, since: now, told: sets.New[string]()}
	if stored := storedRemoval(connector, node); stored != nil {
		begun.since = stored.LastTransitionTime.Time
		begun.resume(stored.Reason, meta.IsStatusConditionTrue(connector.Status.Conditions, v1alpha1.ConditionStalled))
		begun.settled = wasSettled(connector, node.Name)
		begun.retained = slices.ContainsFunc(connector.Status.RetainedContainerGroups, func(left v1alpha1.RetainedContainerGroups) bool {
			return left.NodeName == node.Name
		})
	}
	of[node.Hash] = begun
	return begun
}

// storedRemoval returns what the stored status tells of a node's removal; nil where it tells of none. Of a node that another
// of its name waits for, only the connector's condition tells.
func storedRemoval(connector *v1alpha1.VirtualKubeletConnector, node *observe.Node) *metav1.Condition {
	for i := range connector.Status.Nodes {
		told := &connector.Status.Nodes[i]
		if told.Name != node.Name {
			continue
		}
		if conditionOf(told.Conditions, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonWaitingForRetirement {
			return meta.FindStatusCondition(connector.Status.Conditions, v1alpha1.ConditionRetiring)
		}
		return meta.FindStatusCondition(told.Conditions, v1alpha1.ConditionRetiring)
	}
	return nil
}

// wasSettled reports whether the stored status says that a node was being removed after Azure was asked: it names the place
// then.
func wasSettled(connector *v1alpha1.VirtualKubeletConnector, node string) bool {
	return slices.ContainsFunc(connector.Status.Nodes, func(told v1alpha1.NodeStatus) bool {
		return told.Name == node && told.ResourceGroup != "" &&
			conditionOf(told.Conditions, v1alpha1.ConditionRetiring).Reason == v1alpha1.ReasonRemoving
	})
}

// resume notes what the operator before this one has told, by what it has left in the status.
func (r *removal) resume(reason string, stalled bool) {
	r.told.Insert(v1alpha1.ReasonDraining)
	switch reason {
	case v1alpha1.ReasonDraining:
		return
	case v1alpha1.ReasonEvictionBlocked, v1alpha1.ReasonForbidden:
		r.blocked = reason
		return
	case v1alpha1.ReasonAzureNotAsked:
		r.blocked = reason
	case v1alpha1.ReasonStopping:
		if stalled { // else it is not told yet what keeps the virtual kubelet from ending
			r.blocked = reason
		}
	}
	r.told.Insert(eventDrained, v1alpha1.ReasonContainerGroupsRemain)
}

// cancel notes that a node is wanted again, and reports whether it was being removed.
func (r *removals) cancel(connector, hash string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, was := r.of[connector][hash]
	delete(r.of[connector], hash)
	delete(r.ended[connector], hash)
	return was
}

// end returns the removals of those of a connector's nodes that are gone by now.
func (r *removals) end(connector string, left observe.Snapshot) []*removal {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ended []*removal
	for _, hash := range slices.Sorted(maps.Keys(r.of[connector])) {
		if _, ok := left[hash]; ok {
			continue
		}
		gone := r.of[connector][hash]
		ended = append(ended, gone)
		delete(r.of[connector], hash)
		if r.ended == nil {
			r.ended = map[string]map[string]*removal{}
		}
		if r.ended[connector] == nil {
			r.ended[connector] = map[string]*removal{}
		}
		r.ended[connector][hash] = gone
	}
	if len(r.of[connector]) == 0 {
		delete(r.of, connector)
	}
	return ended
}

// vanished returns the nodes of a connector that are gone without that it was known what Azure has of them: by what was
// seen of their removals or, where another operator has begun those, by what it has left in the status.
func (r *removals) vanished(connector *v1alpha1.VirtualKubeletConnector) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, settled := sets.New[string](), sets.New[string]()
	for _, gone := range r.ended[connector.Name] {
		if gone.settled {
			settled.Insert(gone.node)
		} else {
			found.Insert(gone.node)
		}
	}
	for i := range connector.Status.Nodes {
		told := &connector.Status.Nodes[i]
		retiring := conditionOf(told.Conditions, v1alpha1.ConditionRetiring).Reason
		existed := told.KubeletVersion != "" || retiring != ""
		if existed && retiring != v1alpha1.ReasonRemoving && !settled.Has(told.Name) {
			found.Insert(told.Name)
		}
	}
	return sets.List(found)
}

// forget drops what is remembered of a connector that is gone.
func (r *removals) forget(connector string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ended, connector)
}
