// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// hasStrays reports whether a field manager other than the operator owns a field of the spec that the
// operator does not own.
func hasStrays(managers []metav1.ManagedFieldsEntry) (bool, error) {
	ours, theirs := fieldpath.NewSet(), fieldpath.NewSet()
	spec := fieldpath.MakePathOrDie("spec")[0]
	for _, m := range managers {
		if m.FieldsV1 == nil || m.Subresource != "" {
			continue
		}
		fields := fieldpath.NewSet()
		if err := fields.FromJSON(bytes.NewReader(m.FieldsV1.GetRawBytes())); err != nil {
			return false, fmt.Errorf("read the managed fields of %s: %w", m.Manager, err)
		}
		fields = fields.WithPrefix(spec).Leaves()
		if m.Manager == string(FieldOwner) {
			ours = ours.Union(fields)
		} else {
			theirs = theirs.Union(fields)
		}
	}
	return !theirs.Difference(ours).Empty(), nil
}
