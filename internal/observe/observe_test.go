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
	return &observe.Observer{Cache: builder.Build(), Namespace: namespace}
}

func node(connector string) identity.Node {
	return identity.Node{Name: "virtual-kubelet-" + connector + "-linux-eastus", Connector: connector, OSType: v1alpha1.OSTypeLinux, Location: "eastus"}
}

func object(n identity.Node, suffix string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: n.Name + suffix, Labels: n.Labels("1.6.4")}
}

func inLeases(meta metav1.ObjectMeta) metav1.ObjectMeta {
	meta.Namespace = corev1.NamespaceNodeLease
	return meta
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
		&rbacv1.RoleBinding{ObjectMeta: inLeases(object(n, ""))},
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

// A virtual kubelet makes its Node without our labels, and may write those of any Node: what was made for a node tells
// which Node is its own.
func TestWhichNodeIsWhose(t *testing.T) {
	ours, others := node("aci"), node("other")
	labelled := func(name string, labels map[string]string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	secret := &corev1.Secret{ObjectMeta: object(ours, "")}
	account := &corev1.ServiceAccount{ObjectMeta: object(ours, "")}
	for name, test := range map[string]struct {
		objects []client.Object
		// node is the Node that is seen of the identity; empty for none. identities are how many are seen at all.
		node       string
		identities int
	}{
		"just made":                          {[]client.Object{secret, account, labelled(ours.Name, nil)}, ours.Name, 1},
		"just made, its Secret deleted":      {[]client.Object{account, labelled(ours.Name, nil)}, ours.Name, 1},
		"relabelled by somebody":             {[]client.Object{secret, account, labelled(ours.Name, others.Labels("1"))}, ours.Name, 1},
		"not labelled, before a start":       {[]client.Object{secret, labelled(ours.Name, nil)}, "", 1},
		"another's, before a start":          {[]client.Object{secret, labelled(ours.Name, map[string]string{identity.LabelIdentity: "other"})}, "", 1},
		"labelled, before a start":           {[]client.Object{secret, labelled(ours.Name, ours.Labels("1"))}, ours.Name, 1},
		"of another name, labelled as ours":  {[]client.Object{secret, account, labelled("worker", ours.Labels("1"))}, "", 1},
		"all that is left":                   {[]client.Object{is(labelled(ours.Name, ours.Labels("1")), corev1.ConditionUnknown)}, ours.Name, 1},
		"a machine, labelled as ours":        {[]client.Object{machine(labelled("worker", ours.Labels("1")))}, "", 0},
		"all that is left, and kept Ready":   {[]client.Object{is(labelled("worker", ours.Labels("1")), corev1.ConditionTrue)}, "", 0},
		"another connector's, labelled ours": {append(everything(others)[:5], is(labelled(others.Name, ours.Labels("1")), corev1.ConditionUnknown)), "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			snapshot, err := observer(t, test.objects...).Observe(t.Context(), "aci")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(snapshot).To(HaveLen(test.identities))
			if test.node == "" {
				g.Expect(snapshot).NotTo(ContainElement(HaveField("Node", Not(BeNil()))))
				return
			}
			g.Expect(snapshot[ours.Hash()].Node).To(HaveField("Name", test.node))
		})
	}
}

// Somebody who edits labels makes no other node of an object, and takes none from another connector.
func TestEditedLabels(t *testing.T) {
	ours := node("aci")
	for _, kind := range []string{"Secret", "ServiceAccount", "ClusterRoleBinding", "RoleBinding", "Deployment"} {
		for label, value := range map[string]string{
			identity.LabelIdentity: "another", identity.LabelConnector: "other", identity.LabelOS: "windows",
		} {
			for _, edited := range []string{value, ""} {
				t.Run(kind+" "+label+"="+edited, func(t *testing.T) {
					g := NewWithT(t)
					objects := everything(ours)
					for _, o := range objects {
						labels := o.GetLabels()
						if deployment, ok := o.(*appsv1.Deployment); ok {
							deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: ours.Selector()}
						}
						if secret, ok := o.(*corev1.Secret); ok {
							secret.Annotations = map[string]string{identity.AnnotationClaim: ours.Hash()}
						}
						if fmt.Sprintf("%T", o) != "*v1."+kind {
							continue
						}
						labels[label] = edited
						if edited == "" {
							delete(labels, label)
						}
						o.SetLabels(labels)
					}
					o := observer(t, objects...)
					snapshot, err := o.Observe(t.Context(), "aci")
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(snapshot.Hashes()).To(Equal([]string{ours.Hash()}))
					seen := snapshot[ours.Hash()]
					g.Expect(seen.Secret).NotTo(BeNil())
					g.Expect(seen.Children()).To(HaveLen(4))
					g.Expect(seen.Node).NotTo(BeNil())
					for _, object := range objects[:5] {
						g.Expect(seen.Has(object)).To(BeTrue())
					}

					others, err := o.Observe(t.Context(), "other")
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(others).To(BeEmpty())
				})
			}
		}
	}
}

// A Secret of somebody else's of the same name is nobody's node.
func TestASecretOfSomebodyElse(t *testing.T) {
	g := NewWithT(t)
	ours := node("aci")
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: ours.Name}}
	snapshot, err := observer(t, theirs, &corev1.ServiceAccount{ObjectMeta: object(ours, "")}).Observe(t.Context(), "aci")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(snapshot[ours.Hash()].Secret).To(BeNil())
	g.Expect(snapshot[ours.Hash()].ServiceAccount).NotTo(BeNil())
}

// is gives a Node a condition Ready.
func is(node *corev1.Node, ready corev1.ConditionStatus) *corev1.Node {
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	return node
}

// machine makes a Node one of a cloud, that is not Ready.
func machine(node *corev1.Node) *corev1.Node {
	node.Spec.ProviderID = "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/worker"
	return is(node, corev1.ConditionFalse)
}

func TestWhatTellsOfAStart(t *testing.T) {
	g := NewWithT(t)
	ours := node("aci")
	var none *observe.Node
	g.Expect(none.Started()).To(BeFalse())
	for _, n := range []*observe.Node{
		{Secret: &corev1.Secret{}}, {Node: &corev1.Node{ObjectMeta: object(ours, "")}},
	} {
		g.Expect(n.Started()).To(BeFalse())
	}
	for _, n := range []*observe.Node{
		{ServiceAccount: &corev1.ServiceAccount{}}, {ClusterRoleBinding: &rbacv1.ClusterRoleBinding{}},
		{RoleBinding: &rbacv1.RoleBinding{}}, {Deployment: &appsv1.Deployment{}},
	} {
		g.Expect(n.Started()).To(BeTrue())
		g.Expect(n.Children()).To(HaveLen(1))
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
	t.Run("one by its name", func(t *testing.T) {
		o := observer(t, &corev1.Secret{ObjectMeta: object(ours, "")})
		o.Cache = interceptor.NewClient(o.Cache.(client.WithWatch), interceptor.Funcs{
			Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
				return gone
			},
		})
		_, err := o.Observe(t.Context(), "aci")
		NewWithT(t).Expect(err).To(MatchError("get *v1.Secret " + ours.Name + ": the API server is gone"))
	})
}
