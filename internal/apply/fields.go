// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/lru"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// known are the sets of fields that were read last, by what they are written as: what is owned of the objects of one kind
// is mostly the same, and to read it costs more than to look it up.
var known = lru.New(64)

// fieldsOf returns the fields of an entry; nobody may change the set.
func fieldsOf(entry metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	if entry.FieldsV1 == nil {
		return fieldpath.NewSet(), nil
	}
	written := entry.FieldsV1.GetRawString()
	if found, ok := known.Get(written); ok {
		if fields, ok := found.(*fieldpath.Set); ok {
			return fields, nil
		}
	}
	fields := fieldpath.NewSet()
	if err := fields.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
		return nil, fmt.Errorf("read the managed fields of %s: %w", entry.Manager, err)
	}
	known.Add(written, fields)
	return fields, nil
}
