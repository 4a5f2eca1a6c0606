// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"k8s.io/client-go/applyconfigurations"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// kinds has, for each kind that is applied, the object and what it is applied with.
var kinds = map[string]func() (client.Object, any){
	"Secret": func() (client.Object, any) { return &corev1.Secret{}, &applycorev1.SecretApplyConfiguration{} },
	"ServiceAccount": func() (client.Object, any) {
		return &corev1.ServiceAccount{}, &applycorev1.ServiceAccountApplyConfiguration{}
	},
	"Node":       func() (client.Object, any) { return &corev1.Node{}, &applycorev1.NodeApplyConfiguration{} },
	"Deployment": func() (client.Object, any) { return &appsv1.Deployment{}, &applyappsv1.DeploymentApplyConfiguration{} },
	"RoleBinding": func() (client.Object, any) {
		return &rbacv1.RoleBinding{}, &applyrbacv1.RoleBindingApplyConfiguration{}
	},
	"ClusterRoleBinding": func() (client.Object, any) {
		return &rbacv1.ClusterRoleBinding{}, &applyrbacv1.ClusterRoleBindingApplyConfiguration{}
	},
}

// server merges what is applied as the API server does.
func server(kind *unstructured.Unstructured) managedfieldstest.TestFieldManager {
	return managedfieldstest.NewTestFieldManager(applyconfigurations.NewTypeConverter(scheme.Scheme), kind.GroupVersionKind())
}

// live is the object that a server has, and what is to be applied.
func live(g Gomega, of managedfieldstest.TestFieldManager, wanted *unstructured.Unstructured) (client.Object, any) {
	object, desired := kinds[wanted.GetKind()]()
	merged, err := runtime.DefaultUnstructuredConverter.ToUnstructured(of.Live())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(merged, object)).To(Succeed())
	encoded, err := json.Marshal(wanted)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(json.Unmarshal(encoded, desired)).To(Succeed())
	return object, desired
}

// What is read of an object, by the fields that its manager owns, is what was applied, whatever else it holds.
func TestWhatIsOwnedIsWhatWasApplied(t *testing.T) {
	folder := filepath.Join("..", "render", "testdata")
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(files).NotTo(BeEmpty())
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			g := NewWithT(t)
			content, err := os.ReadFile(file)
			g.Expect(err).NotTo(HaveOccurred())
			for document := range strings.SplitSeq(string(content), "\n---\n") {
				wanted := &unstructured.Unstructured{}
				g.Expect(yaml.Unmarshal([]byte(document), &wanted.Object)).To(Succeed())
				if wanted.GetKind() == "" {
					continue
				}
				if decoded, ok := wanted.Object["(data, decoded)"].(map[string]any); ok {
					delete(wanted.Object, "(data, decoded)")
					for key, text := range decoded {
						g.Expect(unstructured.SetNestedField(wanted.Object, base64.StdEncoding.EncodeToString(fmt.Append(nil, text)), "data", key)).To(Succeed())
					}
				}
				cluster := server(wanted)
				g.Expect(cluster.Apply(wanted.DeepCopy(), string(FieldOwner), true)).To(Succeed())
				marked := wanted.DeepCopy()
				marked.Object = map[string]any{"apiVersion": wanted.GetAPIVersion(), "kind": wanted.GetKind(), "metadata": map[string]any{
					"name": wanted.GetName(), "labels": map[string]any{"example.com/other": "label"},
				}}
				g.Expect(cluster.Apply(marked, "somebody", true)).To(Succeed())
				object, desired := live(g, cluster, wanted)
				g.Expect(object.GetLabels()).To(HaveKey("example.com/other"))
				g.Expect(Owns(object, desired)).To(BeTrue(), wanted.GetKind())
				g.Expect(Slim(object)).To(Succeed())
				g.Expect(Owns(object, desired)).To(BeTrue(), wanted.GetKind())
			}
		})
	}
}
