// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// known are the sets of fields that were read last, by what they are written as: what is owned of the objects of one kind
// is mostly the same, and to read it costs more than to look it up.
var known = struct {
	sync.RWMutex
	sets map[string]*fieldpath.Set
}{sets: map[string]*fieldpath.Set{}}

const maxKnown = 64

// fieldsOf returns the fields of an entry; nobody may change the set.
func fieldsOf(entry metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	if entry.FieldsV1 == nil {
		return fieldpath.NewSet(), nil
	}
	written := entry.FieldsV1.GetRawBytes()
	known.RLock()
	fields, ok := known.sets[string(written)]
	known.RUnlock()
	if ok {
		return fields, nil
	}
	fields = fieldpath.NewSet()
	if err := fields.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
		return nil, fmt.Errorf("read the managed fields of %s: %w", entry.Manager, err)
	}
	known.Lock()
	defer known.Unlock()
	if len(known.sets) >= maxKnown {
		clear(known.sets)
	}
	known.sets[string(written)] = fields
	return fields, nil
}
