// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
)

const namespace = "vk-connector-system"

// indexer prepares a client that only reads as Index prepares a cache.
type indexer struct{ builder *fake.ClientBuilder }

func (i indexer) IndexField(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	i.builder.WithIndex(object, field, extract)
	return nil
}

func observer(t *testing.T, objects ...client.Object) *observe.Observer {
	t.Helper()
	builder := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(objects...)
	NewWithT(t).Expect(observe.Index(t.Context(), indexer{builder})).To(Succeed())
	return &observe.Observer{Cache: builder.Build()}
}

func node(connector string) identity.Node {
	return identity.Node{Name: "virtual-kubelet-" + connector + "-linux-eastus", Connector: connector, OSType: v1alpha1.OSTypeLinux, Location: "eastus"}
}

func object(n identity.Node, suffix string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: n.Name + suffix, Labels: n.Labels("1.6.4")}
}

func clusterWide(meta metav1.ObjectMeta) metav1.ObjectMeta {
	meta.Namespace = ""
	return meta
}

// everything is what there is of a living node.
func everything(n identity.Node) []client.Object {
	return []client.Object{
		&corev1.Secret{ObjectMeta: object(n, "")},
		&corev1.ServiceAccount{ObjectMeta: object(n, "")},
		&rbacv1.ClusterRoleBinding{ObjectMeta: clusterWide(object(n, ""))},
		&rbacv1.RoleBinding{ObjectMeta: object(n, "")},
		&appsv1.Deployment{ObjectMeta: object(n, "")},
		&corev1.Pod{ObjectMeta: object(n, "-a")},
		&corev1.Pod{ObjectMeta: object(n, "-b")},
		&corev1.Node{ObjectMeta: clusterWide(object(n, ""))},
	}
}

func TestObserve(t *testing.T) {
	g := NewWithT(t)
	ours, others := node("aci"), node("other")
	foreign := &corev1.Secret{ObjectMeta: object(ours, "-foreign")}
	foreign.Labels[identity.LabelManagedBy] = "Helm"
	former := ours
	former.ResourceGroup = "former"
	objects := append(everything(ours), everything(others)...)
	objects = append(objects, foreign, &corev1.Secret{ObjectMeta: object(former, "-former")})

	snapshot, err := observer(t, objects...).Observe(t.Context(), "aci")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(snapshot).To(HaveLen(2))
	g.Expect(snapshot.Hashes()).To(Equal([]string{ours.Hash(), former.Hash()}), "in the order of their names")

	seen := snapshot[ours.Hash()]
	g.Expect(seen.Name).To(Equal(ours.Name))
	g.Expect(seen.Hash).To(Equal(ours.Hash()))
	for _, found := range []client.Object{seen.Secret, seen.ServiceAccount, seen.ClusterRoleBinding, seen.RoleBinding, seen.Deployment, seen.Node} {
		g.Expect(found.GetName()).To(Equal(ours.Name), "%T", found)
	}
	g.Expect(seen.Pods).To(HaveLen(2))
	g.Expect(snapshot[former.Hash()].Secret).NotTo(BeNil())
	g.Expect(snapshot[former.Hash()].Deployment).To(BeNil())
}

func TestObserveNothing(t *testing.T) {
	g := NewWithT(t)
	snapshot, err := observer(t, everything(node("other"))...).Observe(t.Context(), "aci")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(snapshot).To(BeEmpty())
	g.Expect(snapshot).NotTo(BeNil(), "that nothing is left is an answer")
}

// A virtual kubelet makes its Node without our labels.
func TestNodesThatAreNotLabelledYet(t *testing.T) {
	ours := node("aci")
	for name, test := range map[string]struct {
		labels map[string]string
		seen   bool
	}{
		"just made":           {map[string]string{"type": "virtual-kubelet"}, true},
		"of another identity": {map[string]string{identity.LabelIdentity: "former"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			snapshot, err := observer(t,
				&corev1.Secret{ObjectMeta: object(ours, "")},
				&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: ours.Name, Labels: test.labels}},
			).Observe(t.Context(), "aci")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(snapshot[ours.Hash()].Node != nil).To(Equal(test.seen))
		})
	}
}

// What can't be read is not nothing: a connector that seems to have left nothing loses its finalizer.
func TestObserveFails(t *testing.T) {
	ours := node("aci")
	gone := errors.New("the API server is gone")
	for _, kind := range []client.ObjectList{
		&corev1.SecretList{}, &corev1.ServiceAccountList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleBindingList{},
		&appsv1.DeploymentList{}, &corev1.PodList{}, &corev1.NodeList{},
	} {
		t.Run(fmt.Sprintf("%T", kind), func(t *testing.T) {
			o := observer(t, everything(ours)...)
			o.Cache = interceptor.NewClient(o.Cache.(client.WithWatch), interceptor.Funcs{
				List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
					if fmt.Sprintf("%T", list) == fmt.Sprintf("%T", kind) {
						return gone
					}
					return c.List(ctx, list, opts...)
				},
			})
			snapshot, err := o.Observe(t.Context(), "aci")
			NewWithT(t).Expect(err).To(MatchError(gone))
			NewWithT(t).Expect(snapshot).To(BeNil())
		})
	}
	t.Run("the unlabelled Node", func(t *testing.T) {
		o := observer(t, &corev1.Secret{ObjectMeta: object(ours, "")})
		o.Cache = interceptor.NewClient(o.Cache.(client.WithWatch), interceptor.Funcs{
			Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
				return gone
			},
		})
		_, err := o.Observe(t.Context(), "aci")
		NewWithT(t).Expect(err).To(MatchError("get Node " + ours.Name + ": the API server is gone"))
	})
}
