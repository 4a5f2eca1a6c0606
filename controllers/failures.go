// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"sync"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// failures counts how many passes over each connector have failed in a row: controller-runtime does not tell them apart.
type failures struct {
	reconcile.Reconciler

	mu    sync.Mutex
	inRow map[string]int
}

// Reconcile makes a pass, and notes how it ended.
func (f *failures) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	failed := true // as a pass that panics has
	defer func() { f.note(req.Name, failed) }()
	result, err := f.Reconciler.Reconcile(ctx, req)
	failed = err != nil
	return result, err
}

func (f *failures) note(connector string, failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !failed:
		delete(f.inRow, connector)
	case f.inRow == nil:
		f.inRow = map[string]int{connector: 1}
	default:
		f.inRow[connector]++
	}
}

// now returns the counts, by the names of connectors; those whose last pass has not failed have none.
func (f *failures) now() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.inRow)
}
