// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
)

// appliedBy is what a field manager's apply leaves on an object.
func appliedBy(manager client.FieldOwner) []metav1.ManagedFieldsEntry {
	return []metav1.ManagedFieldsEntry{{
		Manager: string(manager), Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1", FieldsType: "FieldsV1",
		Time: &metav1.Time{Time: start}, FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:version":{}}}}`),
	}}
}

// applied by the operator, of a node.
func meta(namespace string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: "node", UID: "uid", Labels: map[string]string{"version": "1"}, ManagedFields: appliedBy(apply.FieldOwner),
	}
}

func ready(status corev1.ConditionStatus) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	}
}

func TestWhatWasMadeForANode(t *testing.T) {
	place := func(group string) string {
		config := started()
		config.ResourceGroup = group
		content, err := json.Marshal(config)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		return string(content)
	}
	hash := hashOf("node", started())
	annotated := func(key, value string) *corev1.ServiceAccount {
		account := &corev1.ServiceAccount{ObjectMeta: meta("system")}
		account.Annotations = map[string]string{key: value}
		return account
	}
	labelled := func(value string) *corev1.ServiceAccount {
		account := &corev1.ServiceAccount{ObjectMeta: meta("system")}
		account.Labels = map[string]string{identity.LabelIdentity: value}
		return account
	}
	selecting := func(value string) *appsv1.Deployment {
		deployment := &appsv1.Deployment{ObjectMeta: meta("system")}
		deployment.Labels = map[string]string{identity.LabelIdentity: hash}
		deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{identity.LabelIdentity: value}}
		return deployment
	}
	by := func(object client.Object, managers ...metav1.ManagedFieldsEntry) client.Object {
		object.SetManagedFields(managers)
		return object
	}
	updated := appliedBy(apply.FieldOwner)
	updated[0].Operation = metav1.ManagedFieldsOperationUpdate
	edited := labelled("edited")
	edited.Annotations = map[string]string{identity.AnnotationPlace: place("group")}
	account, secret := &corev1.ServiceAccount{}, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{identity.AnnotationClaim: hash}}}
	for name, test := range map[string]struct {
		object  client.Object
		account *corev1.ServiceAccount
		secret  *corev1.Secret
		want    bool
	}{
		"by its selector":                        {object: selecting(hash), want: true},
		"another's, by its selector":             {object: selecting("other"), account: account},
		"by its claim":                           {object: annotated(identity.AnnotationClaim, hash), want: true},
		"another's, by its claim":                {object: annotated(identity.AnnotationClaim, "other"), account: account},
		"by its place":                           {object: annotated(identity.AnnotationPlace, place("group")), want: true},
		"another's, by its place":                {object: annotated(identity.AnnotationPlace, place("another")), account: account},
		"by its label":                           {object: labelled(hash), want: true},
		"another's, by its label":                {object: labelled("other"), account: account},
		"by its place, whatever its label":       {object: edited, want: true},
		"by its name, started":                   {object: &corev1.ServiceAccount{ObjectMeta: meta("system")}, account: account, want: true},
		"by its name, claimed":                   {object: &corev1.ServiceAccount{ObjectMeta: meta("system")}, secret: secret, want: true},
		"a name alone":                           {object: &corev1.ServiceAccount{ObjectMeta: meta("system")}},
		"made by somebody else":                  {object: by(labelled(hash)), account: account},
		"applied by somebody else":               {object: by(labelled(hash), appliedBy("kubectl")...), account: account},
		"updated by the operator, never applied": {object: by(labelled(hash), updated...), account: account},
	} {
		t.Run(name, func(t *testing.T) {
			node := &observe.Node{Name: "node", Hash: hash, ServiceAccount: test.account, Secret: test.secret}
			NewWithT(t).Expect(madeFor(node, test.object)).To(Equal(test.want))
		})
	}
}

func TestWhichNodeIsItsOwn(t *testing.T) {
	up := &appsv1.Deployment{}
	down := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: new(int32(0))}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{identity.AnnotationClaim: "hash"}}}
	cordoned := func(n *corev1.Node) { n.ManagedFields = appliedBy(retireOwner) }
	machine := func(n *corev1.Node) { n.Spec.ProviderID = "azure:///machine" }
	for name, test := range map[string]struct {
		deployment *appsv1.Deployment
		pods       []corev1.Pod
		edit       []func(*corev1.Node)
		want       bool
	}{
		"while it is served":                  {deployment: up, edit: []func(*corev1.Node){ready("True")}, want: true},
		"while its virtual kubelet ends":      {deployment: down, pods: make([]corev1.Pod, 1), edit: []func(*corev1.Node){ready("True")}, want: true},
		"kept Ready by somebody else":         {deployment: down, edit: []func(*corev1.Node){ready("True")}},
		"not heard of":                        {deployment: down, edit: []func(*corev1.Node){ready("Unknown")}, want: true},
		"Ready still, cordoned by us":         {deployment: down, edit: []func(*corev1.Node){ready("True"), cordoned}, want: true},
		"a machine":                           {deployment: up, edit: []func(*corev1.Node){ready("Unknown"), machine}},
		"a machine, cordoned":                 {deployment: up, edit: []func(*corev1.Node){ready("Unknown"), machine, cordoned}},
		"of a name that was claimed only":     {edit: []func(*corev1.Node){ready("Unknown")}},
		"of such a name, labelled":            {edit: []func(*corev1.Node){ready("Unknown"), func(n *corev1.Node) { n.Labels = map[string]string{identity.LabelIdentity: "hash"} }}, want: true},
		"of such a name, applied":             {edit: []func(*corev1.Node){ready("Unknown"), func(n *corev1.Node) { n.ManagedFields = appliedBy(apply.FieldOwner) }}, want: true},
		"of such a name, labelled, and Ready": {edit: []func(*corev1.Node){ready("True"), func(n *corev1.Node) { n.Labels = map[string]string{identity.LabelIdentity: "hash"} }}},
	} {
		t.Run(name, func(t *testing.T) {
			virtual := &corev1.Node{}
			for _, edit := range test.edit {
				edit(virtual)
			}
			node := &observe.Node{Name: "node", Hash: "hash", Secret: secret, Deployment: test.deployment, Pods: test.pods}
			NewWithT(t).Expect(itsNode(node, virtual)).To(Equal(test.want))
		})
	}
}

// relabelled is a world in which the API server has everything of a node that runs, while its cache shows what remains
// of it.
type relabelled struct {
	*world
	lease *coordinationv1.Lease
	all   []client.Object
	// reads are the live ones, and hanging the writes after which the cache would be waited for in vain.
	reads, hanging []string
}

func newRelabelled(t *testing.T, hidden ...client.Object) *relabelled {
	t.Helper()
	w := &relabelled{world: newWorld(t), lease: &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: render.LeaseNamespace, Name: "node"}}}
	w.node.Secret.Labels, w.node.Secret.ManagedFields = map[string]string{"version": "1"}, appliedBy(apply.FieldOwner)
	deployment := &appsv1.Deployment{
		ObjectMeta: meta("system"), Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{identity.LabelIdentity: "hash"}},
		},
		Status: appsv1.DeploymentStatus{AvailableReplicas: 1},
	}
	deployment.ManagedFields[0].APIVersion = "apps/v1"
	node := cordonedNode(time.Time{})
	ready(corev1.ConditionTrue)(node)
	w.node = &observe.Node{
		Name: "node", Hash: "hash", Secret: w.node.Secret, Deployment: deployment, Node: node,
		ServiceAccount:     &corev1.ServiceAccount{ObjectMeta: meta("system")},
		ClusterRoleBinding: &rbacv1.ClusterRoleBinding{ObjectMeta: meta("")},
		RoleBinding:        &rbacv1.RoleBinding{ObjectMeta: meta(render.LeaseNamespace)},
	}
	w.all = []client.Object{w.node.Secret, deployment, w.node.ServiceAccount, w.node.ClusterRoleBinding, w.node.RoleBinding, node}
	unseen := func(o client.Object) bool {
		return slices.ContainsFunc(hidden, func(h client.Object) bool { return fmt.Sprintf("%T", h) == fmt.Sprintf("%T", o) })
	}
	builder := fake.NewClientBuilder().WithReturnManagedFields().WithObjects(w.lease)
	for _, object := range w.all {
		builder.WithObjects(object)
	}
	holds := builder.Build()
	uncached := func(o client.Object, disabled bool) {
		if _, lease := o.(*coordinationv1.Lease); unseen(o) != disabled && !lease {
			w.hanging = append(w.hanging, fmt.Sprintf("%T", o))
		}
	}
	w.client = interceptor.NewClient(holds, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			uncached(o, (&client.PatchOptions{}).ApplyOptions(options).DisableReadYourWritesConsistency)
			return c.Patch(ctx, o, p, options...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			uncached(o, (&client.DeleteOptions{}).ApplyOptions(options).DisableReadYourWritesConsistency)
			return c.Delete(ctx, o, options...)
		},
	})
	w.Client = w.client
	w.Live = interceptor.NewClient(holds, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			w.reads = append(w.reads, fmt.Sprintf("%T", o))
			return c.Get(ctx, key, o, options...)
		},
	})
	for _, h := range hidden {
		switch h.(type) {
		case *corev1.Secret:
			w.node.Secret = nil
		case *appsv1.Deployment:
			w.node.Deployment = nil
		case *corev1.ServiceAccount:
			w.node.ServiceAccount = nil
		case *rbacv1.ClusterRoleBinding:
			w.node.ClusterRoleBinding = nil
		case *rbacv1.RoleBinding:
			w.node.RoleBinding = nil
		case *corev1.Node:
			w.node.Node = nil
		}
	}
	return w
}

// stays are the kinds of what there still is.
func (w *relabelled) stays(ctx context.Context) []string {
	var kinds []string
	for _, object := range append(slices.Clone(w.all), w.lease) {
		if !apierrors.IsNotFound(w.client.Get(ctx, client.ObjectKeyFromObject(object), object.DeepCopyObject().(client.Object))) {
			kinds = append(kinds, fmt.Sprintf("%T", object))
		}
	}
	return kinds
}

// What somebody has taken the operator's labels off is stopped and removed as what has them, and what is somebody else's of
// the same name is not. A removal that misses nothing reads nothing more.
func TestRelabelledObjects(t *testing.T) {
	for name, test := range map[string]struct {
		hidden []client.Object
		edit   func(*relabelled)
		stays  []string
		reads  []string
	}{
		"none":                {},
		"a Deployment":        {hidden: []client.Object{&appsv1.Deployment{}}, reads: []string{"*v1.Deployment"}},
		"a ServiceAccount":    {hidden: []client.Object{&corev1.ServiceAccount{}}, reads: []string{"*v1.ServiceAccount"}},
		"both bindings":       {hidden: []client.Object{&rbacv1.ClusterRoleBinding{}, &rbacv1.RoleBinding{}}, reads: []string{"*v1.ClusterRoleBinding", "*v1.RoleBinding"}},
		"the Node":            {hidden: []client.Object{&corev1.Node{}}, reads: []string{"*v1.Node"}},
		"all but the Secret":  {hidden: []client.Object{&appsv1.Deployment{}, &corev1.ServiceAccount{}, &rbacv1.ClusterRoleBinding{}, &rbacv1.RoleBinding{}, &corev1.Node{}}},
		"all but the Binding": {hidden: []client.Object{&corev1.Secret{}, &appsv1.Deployment{}, &corev1.ServiceAccount{}, &rbacv1.ClusterRoleBinding{}, &corev1.Node{}}},
		"somebody else's ServiceAccount": {
			hidden: []client.Object{&corev1.ServiceAccount{}}, stays: []string{"*v1.ServiceAccount"},
			edit: func(w *relabelled) {
				var account corev1.ServiceAccount
				key := client.ObjectKey{Namespace: "system", Name: "node"}
				w.g.Expect(w.client.Get(t.Context(), key, &account)).To(Succeed())
				account.ManagedFields = appliedBy("somebody")
				w.g.Expect(w.client.Update(t.Context(), &account)).To(Succeed())
			},
		},
		"a machine of a cloud": {
			hidden: []client.Object{&corev1.Node{}}, stays: []string{"*v1.Node"},
			edit: func(w *relabelled) {
				var node corev1.Node
				w.g.Expect(w.client.Get(t.Context(), client.ObjectKey{Name: "node"}, &node)).To(Succeed())
				node.Spec.ProviderID = "azure:///machine"
				w.g.Expect(w.client.Update(t.Context(), &node)).To(Succeed())
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRelabelled(t, test.hidden...)
			if test.edit != nil {
				test.edit(w)
			}
			spec := w.spec(v1alpha1.OrphanPolicyDelete)
			w.g.Eventually(func() int32 {
				_, err := w.Retire(t.Context(), w.node, spec)
				w.g.Expect(err).NotTo(HaveOccurred())
				w.clock.Step(time.Second)
				var deployment appsv1.Deployment
				w.g.Expect(w.client.Get(t.Context(), client.ObjectKey{Namespace: "system", Name: "node"}, &deployment)).To(Succeed())
				return *deployment.Spec.Replicas
			}).WithTimeout(10*time.Second).Should(BeZero(), "a virtual kubelet that works ends in order")
			if w.node.Deployment != nil {
				w.node.Deployment.Spec.Replicas = new(int32(0))
			}
			w.g.Eventually(func() []string {
				_, err := w.Retire(t.Context(), w.node, spec)
				w.g.Expect(err).NotTo(HaveOccurred())
				w.clock.Step(time.Second)
				return w.stays(t.Context())
			}).WithTimeout(10 * time.Second).Should(Equal(test.stays))
			w.g.Expect(w.hanging).To(BeEmpty())
			if test.edit == nil && test.reads != nil || len(test.hidden) == 0 {
				w.g.Expect(slices.Compact(slices.Sorted(slices.Values(w.reads)))).To(Equal(test.reads))
			}
		})
	}
}

// A Deployment that the cache does not show makes no event.
func TestARelabelledDeploymentIsLookedAtAgain(t *testing.T) {
	w := newRelabelled(t, &appsv1.Deployment{})
	spec := w.spec(v1alpha1.OrphanPolicyDelete)
	var deployment appsv1.Deployment
	key := client.ObjectKey{Namespace: "system", Name: "node"}
	w.node.Pods = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "node-1"}}}
	for _, message := range []string{"stopping the virtual kubelet", "waiting for the virtual kubelet's pod to end"} {
		w.g.Eventually(func(g Gomega) {
			progress, err := w.Retire(t.Context(), w.node, spec)
			w.g.Expect(err).NotTo(HaveOccurred())
			w.clock.Step(0)
			g.Expect(progress.Message).To(Equal(message))
			g.Expect(progress.After).To(Equal(firstDrainInterval))
		}).WithTimeout(10 * time.Second).Should(Succeed())
		w.g.Expect(w.client.Get(t.Context(), key, &deployment)).To(Succeed())
		w.g.Expect(running(&deployment)).To(BeFalse())
	}
}

func TestALiveReadThatFails(t *testing.T) {
	w := newRelabelled(t, &appsv1.Deployment{})
	w.Live = interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return apierrors.NewServiceUnavailable("busy")
		},
	})
	progress, err := w.Retire(t.Context(), w.node, w.spec(v1alpha1.OrphanPolicyDelete))
	w.g.Expect(err).To(MatchError("get *v1.Deployment node: busy"))
	w.g.Expect(progress.Node).To(Equal("node"))
	w.g.Expect(w.stays(t.Context())).To(HaveLen(7), "what is not known is not nothing")
}
