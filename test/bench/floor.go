// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// writes are what the operator has written for one connector, as far as it has to be written.
type writes struct {
	// made are its objects and labels, in their order.
	made []*unstructured.Unstructured
	// status is its status in the end.
	status *unstructured.Unstructured
}

// fieldOwner is the field manager that the operator writes with.
const fieldOwner = "vk-connector-operator"

// capture reads what the operator has written for a connector, by what it owns.
func (w *bench) capture(ctx context.Context, name string) (*writes, error) {
	out := &writes{}
	add := func(object any, err error) error {
		if err != nil {
			return err
		}
		made, err := unstructuredOf(object)
		out.made = append(out.made, made)
		return err
	}
	hold := &unstructured.Unstructured{}
	hold.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("VirtualKubeletConnector"))
	hold.SetName(name)
	hold.SetFinalizers([]string{v1alpha1.Finalizer})
	out.made = append(out.made, hold)
	for _, node := range nodeNames(name) {
		var (
			secret         corev1.Secret
			account        corev1.ServiceAccount
			clusterBinding rbacv1.ClusterRoleBinding
			binding        rbacv1.RoleBinding
			deployment     appsv1.Deployment
		)
		for object, in := range map[client.Object]string{
			&secret: namespace, &account: namespace, &clusterBinding: "", &binding: corev1.NamespaceNodeLease, &deployment: namespace,
		} {
			if err := w.client.Get(ctx, client.ObjectKey{Namespace: in, Name: node}, object); err != nil {
				return nil, err
			}
		}
		for _, err := range []error{
			add(applycorev1.ExtractSecret(&secret, fieldOwner)),
			add(applycorev1.ExtractServiceAccount(&account, fieldOwner)),
			add(applyrbacv1.ExtractClusterRoleBinding(&clusterBinding, fieldOwner)),
			add(applyrbacv1.ExtractRoleBinding(&binding, fieldOwner)),
			add(applyappsv1.ExtractDeployment(&deployment, fieldOwner)),
		} {
			if err != nil {
				return nil, err
			}
		}
	}
	for _, name := range nodeNames(name) {
		var node corev1.Node
		if err := w.client.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
			return nil, err
		}
		if err := add(applycorev1.ExtractNode(&node, fieldOwner)); err != nil {
			return nil, err
		}
	}
	var connector v1alpha1.VirtualKubeletConnector
	if err := w.client.Get(ctx, client.ObjectKey{Name: name}, &connector); err != nil {
		return nil, err
	}
	status, err := unstructuredOf(&v1alpha1.VirtualKubeletConnector{TypeMeta: connectorOf(0, 1).TypeMeta, Status: connector.Status})
	if err != nil {
		return nil, err
	}
	status.SetName(name)
	unstructured.RemoveNestedField(status.Object, "spec")
	out.status = status
	return out, nil
}

// captureAll captures what is not captured yet of n connectors.
func (w *bench) captureAll(ctx context.Context, n int, into map[string]*writes) error {
	var mu sync.Mutex
	return each(ctx, n, func(ctx context.Context, i int) error {
		name := connectorName(i)
		mu.Lock()
		known := into[name]
		mu.Unlock()
		if known != nil {
			return nil
		}
		found, err := w.capture(ctx, name)
		mu.Lock()
		defer mu.Unlock()
		into[name] = found
		return err
	})
}

func unstructuredOf(object any) (*unstructured.Unstructured, error) {
	content, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	out := &unstructured.Unstructured{}
	if err := json.Unmarshal(content, &out.Object); err != nil {
		return nil, err
	}
	return out, nil
}

func applyBare(ctx context.Context, c client.Client, object *unstructured.Unstructured) error {
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object.DeepCopy()), client.FieldOwner(fieldOwner), client.ForceOwnership)
}

func applyStatus(ctx context.Context, c client.Client, status *unstructured.Unstructured, observed, missing int64) error {
	status = status.DeepCopy()
	if err := unstructured.SetNestedField(status.Object, observed, "status", "observedGeneration"); err != nil {
		return err
	}
	// Each status differs from the one before, or it would be none.
	if err := unstructured.SetNestedField(status.Object, int64(len(osTypes))-missing, "status", "readyNodes"); err != nil {
		return err
	}
	return c.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(status), client.FieldOwner(fieldOwner+"-status"), client.ForceOwnership)
}

// floorConverge makes n connectors and writes what the operator would, by bare server-side apply, and as many statuses.
func (w *bench) floorConverge(ctx context.Context, n, statuses int) (cost, error) {
	return w.floor(ctx, n, func(ctx context.Context, user, bare client.Client, i int) error {
		if err := applyConnector(ctx, user, connectorOf(i, 1)); err != nil {
			return err
		}
		body := w.bodies[connectorName(i)]
		for _, object := range body.made {
			if err := applyBare(ctx, bare, object); err != nil {
				return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
			}
		}
		return applyStatuses(ctx, bare, body.status, 1, statusesOf(i, n, statuses))
	})
}

// statusesOf spreads statuses over n connectors: at least one for each.
func statusesOf(i, n, statuses int) int {
	return max(1, (statuses+n-1-i)/n)
}

func applyStatuses(ctx context.Context, c client.Client, status *unstructured.Unstructured, observed int64, times int) error {
	for left := times; left > 0; left-- {
		if err := applyStatus(ctx, c, status, observed, int64(left-1)); err != nil {
			return fmt.Errorf("status of %s: %w", status.GetName(), err)
		}
	}
	return nil
}

// floorChange gives n connectors another image, and writes what the operator would.
func (w *bench) floorChange(ctx context.Context, n, statuses int) (cost, error) {
	return w.floor(ctx, n, func(ctx context.Context, user, bare client.Client, i int) error {
		if err := changeImage(ctx, user, i); err != nil {
			return err
		}
		body := w.changed[connectorName(i)]
		for _, object := range body.made[1:] { // the finalizer stays
			if err := applyBare(ctx, bare, object); err != nil {
				return err
			}
		}
		return applyStatuses(ctx, bare, body.status, 2, statusesOf(i, n, statuses))
	})
}

// floor measures bare writes, until the stand-ins have done their part, too.
func (w *bench) floor(ctx context.Context, n int, do func(ctx context.Context, user, bare client.Client, i int) error) (cost, error) {
	user, err := w.clientAs(userUser)
	if err != nil {
		return cost{}, err
	}
	bare, err := w.clientAs(floorUser)
	if err != nil {
		return cost{}, err
	}
	m, err := w.measure(ctx, nil)
	if err != nil {
		return cost{}, err
	}
	if err := each(ctx, n, func(ctx context.Context, i int) error { return do(ctx, user, bare, i) }); err != nil {
		return cost{}, err
	}
	if err := w.kubelets.wait(ctx, len(osTypes)*n); err != nil {
		return cost{}, err
	}
	return m.stop(ctx, time.Now())
}

// wait returns once so many stand-ins run, as their Deployments say it.
func (s *standIns) wait(ctx context.Context, count int) error {
	return wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		if s.ready() != count {
			return false, nil
		}
		var list appsv1.DeploymentList
		if err := s.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return false, err
		}
		settled := 0
		for i := range list.Items {
			d := &list.Items[i]
			if d.Status.ObservedGeneration == d.Generation && d.Status.AvailableReplicas == ptr.Deref(d.Spec.Replicas, 1) {
				settled++
			}
		}
		return settled == count && len(list.Items) == count, nil
	})
}

// clear removes what bare writes have made.
func (w *bench) clear(ctx context.Context, n int) error {
	err := each(ctx, n, func(ctx context.Context, i int) error {
		connector := &v1alpha1.VirtualKubeletConnector{}
		connector.Name = connectorName(i)
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
		if err := w.client.Patch(ctx, connector, patch); err != nil {
			return client.IgnoreNotFound(err)
		}
		if err := client.IgnoreNotFound(w.client.Delete(ctx, connector)); err != nil {
			return err
		}
		for _, node := range nodeNames(connector.Name) {
			for _, object := range childrenOf(node) {
				if err := client.IgnoreNotFound(w.client.Delete(ctx, object)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := w.watched.wait(ctx, "gone", 0, func(seen) bool { return false }); err != nil {
		return err
	}
	if err := w.kubelets.wait(ctx, 0); err != nil {
		return err
	}
	// After the last heartbeat, which would make a Lease anew.
	if err := w.client.DeleteAllOf(ctx, &corev1.Node{}, client.MatchingLabels{"type": "virtual-kubelet"}); err != nil {
		return err
	}
	return w.clearLeases(ctx)
}
