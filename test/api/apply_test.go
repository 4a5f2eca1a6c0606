// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// stable are the samples that are applied again and again.
var stable = []string{"minimal", "everything"}

func stored(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("VirtualKubeletConnector"))
	NewWithT(t).Expect(k8s.Get(t.Context(), client.ObjectKey{Name: name}, object)).To(Succeed())
	return object
}

// look stores a status, as an operator does at once. Until then a write stores the default one.
func look(t *testing.T, name string) {
	t.Helper()
	object := stored(t, name)
	g := NewWithT(t)
	g.Expect(unstructured.SetNestedField(object.Object, object.GetGeneration(), "status", "observedGeneration")).To(Succeed())
	g.Expect(k8s.Status().Update(t.Context(), object)).To(Succeed())
}

// removeAfter deletes a connector when the test is over; no operator runs that would have to let it go.
func removeAfter(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() { kubectl(t, "delete", "vkc", name, "--ignore-not-found") })
}

// TestApplyAgain tests that what is applied again, as it was or as it was read, changes nothing.
func TestApplyAgain(t *testing.T) {
	for _, name := range stable {
		file := filepath.Join(samples, name+".yaml")
		for how, flags := range map[string][]string{"client side": {}, "server side": {"--server-side"}} {
			t.Run(name+", "+how, func(t *testing.T) {
				g := NewWithT(t)
				removeAfter(t, name)
				apply := func() { kubectl(t, append([]string{"apply", "-f", file}, flags...)...) }
				apply()
				look(t, name)
				first := stored(t, name)

				output, err := tryKubectl(t, append([]string{"diff", "-f", file}, flags...)...)
				g.Expect(err).NotTo(HaveOccurred(), "kubectl diff: %s", output)
				apply()
				g.Expect(stored(t, name).GetResourceVersion()).To(Equal(first.GetResourceVersion()))

				read := first.DeepCopy()
				g.Expect(k8s.Update(t.Context(), read)).To(Succeed())
				g.Expect(read.GetResourceVersion()).To(Equal(first.GetResourceVersion()), "what was read is written back")
				typed := &v1alpha1.VirtualKubeletConnector{}
				convert(g, first, typed)
				g.Expect(k8s.Update(t.Context(), typed)).To(Succeed())
				g.Expect(typed.ResourceVersion).To(Equal(first.GetResourceVersion()), "what a typed client reads is written back")
				g.Expect(stored(t, name).Object["spec"]).To(Equal(first.Object["spec"]))
			})
		}
	}
}

// TestApplyWithoutAField tests that a field that is taken out of the manifest goes, and that nothing else does.
func TestApplyWithoutAField(t *testing.T) {
	for how, flags := range map[string][]string{"client side": {}, "server side": {"--server-side"}} {
		t.Run(how, func(t *testing.T) {
			g := NewWithT(t)
			removeAfter(t, "everything")
			full := filepath.Join(samples, "everything.yaml")
			kubectl(t, append([]string{"apply", "-f", full}, flags...)...)
			before := stored(t, "everything")

			less := changed(read(t, full), changes{"spec.network": nil, "spec.node.labels": nil})
			file := filepath.Join(t.TempDir(), "less.json")
			write(t, file, less)
			kubectl(t, append([]string{"apply", "-f", file}, flags...)...)
			g.Expect(stored(t, "everything").Object["spec"]).To(Equal(
				changed(before, changes{"spec.network": nil, "spec.node.labels": nil}).Object["spec"]))
		})
	}
}

// firstVersion are the fields that the first version of the schema had.
var firstVersion = []string{"osTypes", "containerGroups", "cloud", "credentials", "virtualKubelet.image", "virtualKubelet.logLevel", "node.namePrefix"}

// TestApplyByAnOlderClient tests that a client which knows nothing but the fields of the first version changes those,
// and leaves the others as they are.
func TestApplyByAnOlderClient(t *testing.T) {
	g := NewWithT(t)
	removeAfter(t, "everything")
	kubectl(t, "apply", "--server-side", "-f", filepath.Join(samples, "everything.yaml"))
	before := stored(t, "everything")

	older := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	older.SetGroupVersionKind(before.GroupVersionKind())
	older.SetName("everything")
	for _, field := range firstVersion {
		path := append([]string{"spec"}, strings.Split(field, ".")...)
		value, found, err := unstructured.NestedFieldCopy(before.Object, path...)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(found).To(BeTrue(), field)
		g.Expect(unstructured.SetNestedField(older.Object, value, path...)).To(Succeed())
	}
	upgrade := changes{"spec.virtualKubelet.image.tag": "1.6.5", "spec.osTypes": []any{"Windows", "Linux"}, "spec.virtualKubelet.logLevel": "debug"}
	apply := func() {
		object := changed(older, upgrade)
		g.Expect(k8s.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("older"), client.ForceOwnership)).To(Succeed())
	}
	apply()
	after := stored(t, "everything")
	g.Expect(after.Object["spec"]).To(Equal(changed(before, upgrade).Object["spec"]))
	apply()
	g.Expect(stored(t, "everything").GetResourceVersion()).To(Equal(after.GetResourceVersion()))
}

// TestOrderOfASet tests that the order of operating systems, which means nothing, is nobody's conflict.
func TestOrderOfASet(t *testing.T) {
	g := NewWithT(t)
	removeAfter(t, "aci")
	object := changed(base("minimal"), changes{"spec.osTypes": both})
	g.Expect(k8s.Create(t.Context(), object.DeepCopy())).To(Succeed())
	turned := changed(object, changes{"spec.osTypes": []any{"Windows", "Linux"}})
	g.Expect(k8s.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(turned), client.FieldOwner("other"))).To(Succeed())
	g.Expect(stored(t, "aci").Object["spec"].(map[string]any)["osTypes"]).To(ConsistOf("Linux", "Windows"))
}
