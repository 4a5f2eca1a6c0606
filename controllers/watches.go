// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// secretRefField indexes connectors by the Secrets that they point to.
const secretRefField = "secrets"

// networkField indexes the connectors that place container groups in a subnet, as networked.
const (
	networkField = "network"
	networked    = "subnet"
)

// indexConnectors lets connectors be found by what they point to and come to.
func indexConnectors(ctx context.Context, indexer client.FieldIndexer) error {
	for field, of := range map[string]func(*v1alpha1.VirtualKubeletConnector) []string{
		secretRefField:         secretRefs,
		discover.NodeNameField: identity.NodeNames,
		networkField: func(c *v1alpha1.VirtualKubeletConnector) []string {
			if c.Spec.Network == nil {
				return nil
			}
			return []string{networked}
		},
	} {
		err := indexer.IndexField(ctx, &v1alpha1.VirtualKubeletConnector{}, field, func(o client.Object) []string {
			if connector, ok := o.(*v1alpha1.VirtualKubeletConnector); ok {
				return of(connector)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("index connectors by %s: %w", field, err)
		}
	}
	return nil
}

func secretRefs(connector *v1alpha1.VirtualKubeletConnector) []string {
	var names []string
	if principal := connector.Spec.Credentials.ServicePrincipal; principal != nil {
		names = append(names, string(principal.ClientSecretRef.Name))
	}
	if analytics := connector.Spec.Monitoring.LogAnalytics; analytics != nil {
		names = append(names, string(analytics.SecretRef.Name))
	}
	return names
}

// mapper tells which connectors an object matters to.
type mapper struct {
	cache     client.Reader
	namespace string
}

// byLabel maps an object that was made for a connector to it.
func (mapper) byLabel(_ context.Context, object client.Object) []reconcile.Request {
	if labels := object.GetLabels(); labels[identity.LabelManagedBy] == identity.ManagedBy {
		return []reconcile.Request{request(labels[identity.LabelConnector])}
	}
	return nil
}

// bySecret maps a generated Secret to its connector, and a user's to those that refer to it.
func (m mapper) bySecret(ctx context.Context, object client.Object) []reconcile.Request {
	if requests := m.byLabel(ctx, object); requests != nil {
		return requests
	}
	return m.connectors(ctx, client.MatchingFields{secretRefField: object.GetName()})
}

// byNode maps a virtual node to its connector. One that has just been made is not labelled yet, and another's labels may
// have been edited: the Deployment of its name tells, too.
func (m mapper) byNode(ctx context.Context, object client.Object) []reconcile.Request {
	requests := m.byLabel(ctx, object)
	var deployment appsv1.Deployment
	if err := m.cache.Get(ctx, client.ObjectKey{Namespace: m.namespace, Name: object.GetName()}, &deployment); err != nil {
		return requests
	}
	return append(requests, m.byLabel(ctx, &deployment)...)
}

// rivals maps a connector to the others that come to the same name of a node.
func (m mapper) rivals(ctx context.Context, object client.Object) []reconcile.Request {
	connector, ok := object.(*v1alpha1.VirtualKubeletConnector)
	if !ok {
		return nil
	}
	var requests []reconcile.Request
	for _, name := range identity.NodeNames(connector) {
		requests = append(requests, m.connectors(ctx, client.MatchingFields{discover.NodeNameField: name})...)
	}
	return slices.DeleteFunc(requests, func(r reconcile.Request) bool { return r.Name == connector.Name })
}

// byNetwork maps an object of the cluster's network to the connectors that need it.
func (m mapper) byNetwork(ctx context.Context, _ client.Object) []reconcile.Request {
	return m.connectors(ctx, client.MatchingFields{networkField: networked})
}

// all maps an object that matters to every connector.
func (m mapper) all(ctx context.Context, _ client.Object) []reconcile.Request {
	return m.connectors(ctx)
}

func (m mapper) connectors(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	var list v1alpha1.VirtualKubeletConnectorList
	if err := m.cache.List(ctx, &list, options...); err != nil {
		logf.FromContext(ctx).Error(err, "list connectors")
		return nil
	}
	requests := make([]reconcile.Request, 0, len(list.Items))
	for i := range list.Items {
		requests = append(requests, request(list.Items[i].Name))
	}
	return requests
}

func request(connector string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: connector}}
}

func named(connector string) client.Object {
	return &v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: connector}}
}

// changed lets updates pass that are not the same to the controller, and all else.
func changed[T client.Object](same func(before, after T) bool) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(T)
		if !ok {
			return true
		}
		after, ok := e.ObjectNew.(T)
		return !ok || !same(before, after)
	}}
}

// sameNodeNames looks at what makes connectors rivals.
func sameNodeNames(before, after *v1alpha1.VirtualKubeletConnector) bool {
	return slices.Equal(identity.NodeNames(before), identity.NodeNames(after))
}

func sameMeta(before, after client.Object) bool {
	return before.GetUID() == after.GetUID() &&
		before.GetDeletionTimestamp().Equal(after.GetDeletionTimestamp()) &&
		maps.Equal(before.GetLabels(), after.GetLabels())
}

// sameDeployment leaves out the steps of a roll that change nothing for the controller.
func sameDeployment(before, after *appsv1.Deployment) bool {
	return sameMeta(before, after) && before.Generation == after.Generation &&
		maps.Equal(before.Annotations, after.Annotations) && apply.Same(before, after) &&
		(before.Status.ObservedGeneration < before.Generation) == (after.Status.ObservedGeneration < after.Generation) &&
		before.Status.Replicas == after.Status.Replicas &&
		before.Status.UpdatedReplicas == after.Status.UpdatedReplicas &&
		before.Status.AvailableReplicas == after.Status.AvailableReplicas &&
		replicaFailure(before) == replicaFailure(after)
}

func replicaFailure(deployment *appsv1.Deployment) string {
	for _, c := range deployment.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c.Message
		}
	}
	return ""
}

// samePod looks at what keeps a pod from running, and not at its way there.
func samePod(before, after *corev1.Pod) bool {
	return sameMeta(before, after) &&
		before.Status.Phase == after.Status.Phase &&
		equality.Semantic.DeepEqual(before.Status.ContainerStatuses, after.Status.ContainerStatuses) &&
		scheduling(before) == scheduling(after)
}

func scheduling(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Message
		}
	}
	return ""
}

// sameNode leaves out heartbeats.
func sameNode(before, after *corev1.Node) bool {
	return sameMeta(before, after) &&
		maps.Equal(before.Annotations, after.Annotations) && apply.Same(before, after) &&
		equality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints) &&
		before.Spec.Unschedulable == after.Spec.Unschedulable &&
		before.Status.NodeInfo.KubeletVersion == after.Status.NodeInfo.KubeletVersion &&
		readiness(before) == readiness(after)
}

func readiness(node *corev1.Node) corev1.NodeCondition {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return corev1.NodeCondition{Status: c.Status, Reason: c.Reason, Message: c.Message}
		}
	}
	return corev1.NodeCondition{}
}
