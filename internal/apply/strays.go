// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// hasStrays reports whether a field manager other than the operator owns a field of the spec that the
// operator does not own.
func hasStrays(managers []metav1.ManagedFieldsEntry) (bool, error) {
	theirs, err := specFields(managers, func(manager string) bool { return manager != string(FieldOwner) })
	if err != nil || theirs.Empty() {
		return false, err
	}
	ours, err := specFields(managers, func(manager string) bool { return manager == string(FieldOwner) })
	return err == nil && !theirs.Difference(ours).Empty(), err
}

// specFields returns the fields of the spec that some managers own.
func specFields(managers []metav1.ManagedFieldsEntry, some func(manager string) bool) (*fieldpath.Set, error) {
	all := fieldpath.NewSet()
	spec := fieldpath.MakePathOrDie("spec")[0]
	for _, m := range managers {
		if m.Subresource != "" || !some(m.Manager) {
			continue
		}
		fields, err := fieldsOf(m)
		if err != nil {
			return nil, err
		}
		all = all.Union(fields.WithPrefix(spec).Leaves())
	}
	return all, nil
}
