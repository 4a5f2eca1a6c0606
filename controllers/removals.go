// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
)

// removals remembers since when nodes are being removed, to tell how long it took.
type removals struct {
	mu sync.Mutex
	// since has the nodes by their connector's name and their identity.
	since map[string]map[string]time.Time
}

// begin notes that a node is being removed: since now, unless the stored status knows of it for longer.
func (r *removals) begin(connector *v1alpha1.VirtualKubeletConnector, node *observe.Node, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since == nil {
		r.since = map[string]map[string]time.Time{}
	}
	of := r.since[connector.Name]
	if of == nil {
		of = map[string]time.Time{}
		r.since[connector.Name] = of
	}
	if _, ok := of[node.Hash]; ok {
		return
	}
	of[node.Hash] = now
	for i := range connector.Status.Nodes {
		told := &connector.Status.Nodes[i]
		if retiring := meta.FindStatusCondition(told.Conditions, v1alpha1.ConditionRetiring); told.Name == node.Name && retiring != nil {
			of[node.Hash] = retiring.LastTransitionTime.Time
		}
	}
}

// cancel notes that a node is wanted again.
func (r *removals) cancel(connector, hash string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.since[connector], hash)
}

// end returns how long the removals took of those of a connector's nodes that are gone by now.
func (r *removals) end(connector string, left observe.Snapshot, now time.Time) []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var took []time.Duration
	for hash, since := range r.since[connector] {
		if _, ok := left[hash]; ok {
			continue
		}
		took = append(took, now.Sub(since))
		delete(r.since[connector], hash)
	}
	if len(r.since[connector]) == 0 {
		delete(r.since, connector)
	}
	return took
}
