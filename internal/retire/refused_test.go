// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"context"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// A removal that the API server forbids waits for somebody, who has to know for what; what fails otherwise is tried again.
func TestRefusedRemoval(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node-uid"}}
	forbidden := apierrors.NewForbidden(corev1.Resource("nodes"), "node", errors.New("it is a machine"))
	for name, test := range map[string]struct {
		refusal error
		want    Progress
		err     OmegaMatcher
	}{
		"forbidden": {
			refusal: forbidden, err: BeNil(),
			want: Progress{
				Node: "node", Location: "eastus", ResourceGroup: "virtual-nodes", Stuck: true, After: 30 * time.Second, Reason: v1alpha1.ReasonForbidden,
				Message: `the API server refuses what the removal needs: cordon Node node: nodes "node" is forbidden: it is a machine`,
			},
		},
		"else": {
			refusal: errors.New("the API server is gone"), err: MatchError("cordon Node node: the API server is gone"),
			want: Progress{
				Node: "node", Location: "eastus", ResourceGroup: "virtual-nodes", Reason: v1alpha1.ReasonDraining,
				Message: "looking at what is left of the node",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.node.Node = node
			w.Client = interceptor.NewClient(fake.NewClientBuilder().WithObjects(node).Build(), interceptor.Funcs{
				Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
					return test.refusal
				},
			})
			progress, err := w.Retire(t.Context(), w.node, w.spec(v1alpha1.OrphanPolicyDelete))
			w.g.Expect(err).To(test.err)
			w.g.Expect(progress).To(Equal(test.want))
		})
	}
}
