// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/guard"
)

// The admission policy that guards a removal is held, and let go.
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,resourceNames=vk-connector-removal-guard,verbs=get;list;watch;patch

// guardReconciler holds the guard of removals while there is a connector.
type guardReconciler struct {
	guard *guard.Guard
}

// Reconcile looks whether there is a connector.
func (r *guardReconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	return ctrl.Result{}, r.guard.Sync(ctx)
}

// setupGuard adds the guard's controller to a manager.
func setupGuard(mgr manager.Manager, g *guard.Guard) error {
	toGuard := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{request(guard.Name)}
	})
	changes := builder.WithPredicates(changed(sameHold))
	return ctrl.NewControllerManagedBy(mgr).
		Named("removalguard").
		WatchesMetadata(&admissionv1.ValidatingAdmissionPolicy{}, toGuard, changes).
		WatchesMetadata(&admissionv1.ValidatingAdmissionPolicyBinding{}, toGuard, changes).
		Watches(&v1alpha1.VirtualKubeletConnector{}, toGuard, changes).
		Complete(&guardReconciler{guard: g})
}

// sameHold looks at what keeps an object from going.
func sameHold(before, after client.Object) bool {
	return before.GetUID() == after.GetUID() &&
		before.GetDeletionTimestamp().Equal(after.GetDeletionTimestamp()) &&
		slices.Equal(before.GetFinalizers(), after.GetFinalizers())
}
