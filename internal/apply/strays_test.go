// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStrays(t *testing.T) {
	entry := func(manager, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	ours := entry(string(FieldOwner), "", `{"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{}}}}}}}`)
	for name, test := range map[string]struct {
		managers []metav1.ManagedFieldsEntry
		strays   bool
	}{
		"nobody else":                {managers: []metav1.ManagedFieldsEntry{ours}},
		"nobody":                     {},
		"the controller's status":    {managers: []metav1.ManagedFieldsEntry{ours, entry("kube-controller-manager", "status", `{"f:status":{"f:replicas":{}}}`)}},
		"metadata of others":         {managers: []metav1.ManagedFieldsEntry{ours, entry("kubectl", "", `{"f:metadata":{"f:annotations":{"f:x":{}}}}`)}},
		"a field that is ours, too":  {managers: []metav1.ManagedFieldsEntry{ours, entry("kubectl", "", `{"f:spec":{"f:replicas":{}}}`)}},
		"an environment variable":    {strays: true, managers: []metav1.ManagedFieldsEntry{ours, entry("kubectl", "", `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{"f:env":{}}}}}}}`)}},
		"a container of their own":   {strays: true, managers: []metav1.ManagedFieldsEntry{ours, entry("injector", "", `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"b\"}":{".":{},"f:image":{}}}}}}}`)}},
		"a paused roll":              {strays: true, managers: []metav1.ManagedFieldsEntry{ours, entry("kubectl-rollout", "", `{"f:spec":{"f:paused":{}}}`)}},
		"through another apply":      {strays: true, managers: []metav1.ManagedFieldsEntry{ours, {Manager: "helm", Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:minReadySeconds":{}}}`)}}},
		"an entry without its field": {managers: []metav1.ManagedFieldsEntry{ours, {Manager: "old"}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			strays, err := hasStrays(test.managers)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(strays).To(Equal(test.strays))
		})
	}
}

func TestStraysOfAnUnreadableEntry(t *testing.T) {
	g := NewWithT(t)
	_, err := hasStrays([]metav1.ManagedFieldsEntry{{Manager: "broken", FieldsV1: metav1.NewFieldsV1("{")}})
	g.Expect(err).To(MatchError(ContainSubstring("broken")))
}
