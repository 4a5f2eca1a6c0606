// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/guard"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/mend"
	"github.com/virtual-kubelet/connector-operator/internal/metrics"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
	"github.com/virtual-kubelet/connector-operator/internal/version"
)

// Options are what the operator's process decides about its controller.
type Options struct {
	Defaults resolve.Defaults
	// Connect makes clients of Azure.
	Connect azure.Connector
	// Workers is how many connectors are reconciled at once.
	Workers int
	// Metrics are told of what is done, and of all connectors; nobody reads them where it is nil.
	Metrics *metrics.Metrics
	// Clock is the machine's where it is nil.
	Clock clock.WithDelayedExecution
}

// Setup adds the controller to a manager whose cache was made with CacheOptions.
func Setup(ctx context.Context, mgr manager.Manager, options Options) error {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.Metrics == nil {
		options.Metrics = metrics.New(version.Get())
	}
	pods, err := corev1client.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make a client of pods: %w", err)
	}
	if err := observe.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	if err := indexConnectors(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}

	answers := make(chan event.GenericEvent)
	inventory := azure.NewInventory(options.Connect, options.Clock, func(connector string) {
		select {
		case answers <- event.GenericEvent{Object: named(connector)}:
		case <-ctx.Done():
		}
	})
	if err := mgr.Add(inventory); err != nil {
		return fmt.Errorf("add the inventory of Azure: %w", err)
	}

	cached, live := mgr.GetClient(), mgr.GetAPIReader()
	removalGuard := &guard.Guard{Client: cached, Live: live}
	if err := setupGuard(mgr, removalGuard); err != nil {
		return fmt.Errorf("set up the guard of removals: %w", err)
	}
	reconciler := &Reconciler{
		Client:    cached,
		Recorder:  mgr.GetEventRecorder(identity.ManagedBy),
		Clock:     options.Clock,
		Inventory: inventory,
		Defaults:  options.Defaults,
		Discoverer: &discover.Discoverer{
			Cache: cached, Live: live, Inventory: inventory, Namespace: options.Defaults.Namespace, Clock: options.Clock,
		},
		Applier:  &apply.Applier{Client: cached, Live: live},
		Observer: &observe.Observer{Cache: cached, Namespace: options.Defaults.Namespace},
		Mender:   &mend.Mender{Client: cached, Clock: options.Clock},
		Retirer: &retire.Retirer{
			Client: cached, Live: live, Pods: pods, Inventory: inventory, Clock: options.Clock,
		},
		Guard:   removalGuard,
		Metrics: options.Metrics,
	}
	counted := &failures{Reconciler: reconciler}
	connectors := &fleet{
		cache: mgr.GetCache(), inventory: inventory, retirer: reconciler.Retirer, failures: counted,
		namespace: options.Defaults.Namespace, clock: options.Clock, elected: mgr.Elected(),
	}
	options.Metrics.Watch(connectors.source(ctx))
	maps := mapper{cache: cached, namespace: options.Defaults.Namespace}
	byLabel := handler.EnqueueRequestsFromMapFunc(maps.byLabel)
	return ctrl.NewControllerManagedBy(mgr).
		Named("virtualkubeletconnector").
		For(&v1alpha1.VirtualKubeletConnector{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(maps.bySecret)).
		Watches(&corev1.ServiceAccount{}, byLabel).
		Watches(&rbacv1.ClusterRoleBinding{}, byLabel).
		Watches(&rbacv1.RoleBinding{}, byLabel).
		Watches(&appsv1.Deployment{}, byLabel, builder.WithPredicates(changed(sameDeployment))).
		Watches(&corev1.Pod{}, byLabel, builder.WithPredicates(changed(samePod))).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(maps.byNode), builder.WithPredicates(changed(sameNode))).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(maps.all)).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(maps.byNetwork)).
		Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(maps.byNetwork)).
		Watches(&v1alpha1.VirtualKubeletConnector{}, handler.EnqueueRequestsFromMapFunc(maps.rivals), builder.WithPredicates(changed(sameNodeNames))).
		WatchesRawSource(source.Channel(answers, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: options.Workers}).
		Complete(counted)
}

// CacheOptions limits the manager's cache to what is the operator's: its memory does not grow with the
// cluster's other pods, nodes and Secrets.
func CacheOptions(namespace string) cache.Options {
	ours := labels.SelectorFromSet(labels.Set{identity.LabelManagedBy: identity.ManagedBy})
	here := map[string]cache.Config{namespace: {}}
	slim := &slimmer{}
	removalGuard := cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", guard.Name)}
	return cache.Options{
		ReaderFailOnMissingInformer: true,
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.VirtualKubeletConnector{}:             {Transform: slim.connector},
			&admissionv1.ValidatingAdmissionPolicy{}:        removalGuard,
			&admissionv1.ValidatingAdmissionPolicyBinding{}: removalGuard,
			// The users' Secrets carry no label of ours, and stand beside the generated ones.
			&corev1.Secret{}:             {Namespaces: here, Transform: transform(slim.secret)},
			&corev1.ServiceAccount{}:     {Namespaces: here, Label: ours, Transform: transform(slim.serviceAccount)},
			&appsv1.Deployment{}:         {Namespaces: here, Label: ours, Transform: transform(slim.deployment)},
			&corev1.Pod{}:                {Namespaces: here, Label: ours, Transform: slim.pod},
			&rbacv1.ClusterRoleBinding{}: {Label: ours, Transform: transform(slim.clusterRoleBinding)},
			&rbacv1.RoleBinding{}: {
				Namespaces: map[string]cache.Config{render.LeaseNamespace: {}}, Label: ours, Transform: transform(slim.roleBinding),
			},
			&corev1.Node{}: {
				Label:     labels.SelectorFromSet(labels.Set{identity.LabelVirtualNode: identity.VirtualNode}),
				Transform: transform(slim.node),
			},
			&corev1.ConfigMap{}: {
				Namespaces: map[string]cache.Config{discover.ClientCANamespace: {}},
				Field:      fields.OneTermEqualSelector("metadata.name", discover.ClientCAConfigMap),
			},
			&corev1.Service{}: {
				Namespaces: map[string]cache.Config{discover.DNSNamespace: {}},
				Field:      fields.OneTermEqualSelector("metadata.name", discover.DNSService),
			},
			&discoveryv1.EndpointSlice{}: {
				Namespaces: map[string]cache.Config{discover.APIServerNamespace: {}},
				Field:      fields.OneTermEqualSelector("metadata.name", discover.APIServerEndpoints),
			},
		},
	}
}

// ClientOptions makes the manager's client read what it has written: a pass over an outdated cache would
// write, and tell, things twice.
func ClientOptions() client.Options {
	return client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: new(true)}}
}
