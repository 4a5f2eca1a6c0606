// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"maps"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

func TestCheckOwner(t *testing.T) {
	node := identity.Node{Name: "node", Connector: "aci"}
	without := func(keys ...string) map[string]string {
		labels := node.Labels("1")
		maps.DeleteFunc(labels, func(key, _ string) bool { return slices.Contains(keys, key) })
		return labels
	}
	with := func(key, value string) map[string]string {
		labels := node.Labels("1")
		labels[key] = value
		return labels
	}
	ours := []metav1.ManagedFieldsEntry{{Manager: string(FieldOwner), Operation: metav1.ManagedFieldsOperationApply}}
	updated := []metav1.ManagedFieldsEntry{{Manager: string(FieldOwner), Operation: metav1.ManagedFieldsOperationUpdate}}
	var notOwned *NotOwnedError
	var predecessor *PredecessorError
	for name, test := range map[string]struct {
		labels   map[string]string
		managers []metav1.ManagedFieldsEntry
		want     OmegaMatcher
	}{
		"ours":                             {node.Labels("1"), ours, Succeed()},
		"ours, with no labels left":        {nil, ours, Succeed()},
		"ours, with one taken off":         {without(identity.LabelManagedBy), ours, Succeed()},
		"ours, without its identity":       {without(identity.LabelIdentity), ours, Succeed()},
		"somebody's":                       {nil, nil, BeAssignableToTypeOf(notOwned)},
		"not applied":                      {nil, updated, BeAssignableToTypeOf(notOwned)},
		"of another connector":             {with(identity.LabelConnector, "other"), ours, BeAssignableToTypeOf(notOwned)},
		"of another tool":                  {with(identity.LabelManagedBy, "Helm"), ours, BeAssignableToTypeOf(notOwned)},
		"of the former node":               {with(identity.LabelIdentity, "former"), ours, BeAssignableToTypeOf(predecessor)},
		"of the former node, without more": {map[string]string{identity.LabelIdentity: "former"}, ours, BeAssignableToTypeOf(notOwned)},
	} {
		t.Run(name, func(t *testing.T) {
			object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: test.labels, ManagedFields: test.managers}}
			NewWithT(t).Expect(checkOwner(node, "Secret", object)).To(test.want)
		})
	}
}
