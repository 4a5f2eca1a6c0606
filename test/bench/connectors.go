// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	secretName    = "virtual-kubelet-credentials" //nolint:gosec // it is a name
	resourceGroup = "virtual-nodes"
	location      = "eastus"
	// writers is how many write at once, where writes are bare or a user's.
	writers = 16
	// patience is how long anything may take.
	patience = 15 * time.Minute
)

// osTypes are those of every connector.
var osTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows}

func connectorName(i int) string { return fmt.Sprintf("bench-%04d", i) }

// nodeNames are the names of the nodes of a connector.
func nodeNames(connector string) []string {
	return []string{
		fmt.Sprintf("virtual-kubelet-%s-linux-%s", connector, location), fmt.Sprintf("virtual-kubelet-%s-windows-%s", connector, location),
	}
}

// connectorOf is the i-th connector, in one of so many subscriptions.
func connectorOf(i, spread int) *v1alpha1.VirtualKubeletConnector {
	return &v1alpha1.VirtualKubeletConnector{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VirtualKubeletConnector"},
		ObjectMeta: metav1.ObjectMeta{Name: connectorName(i)},
		Spec: v1alpha1.VirtualKubeletConnectorSpec{
			OSTypes: osTypes,
			ContainerGroups: v1alpha1.ContainerGroups{
				SubscriptionID: v1alpha1.GUID(subscriptions[i%spread]), ResourceGroup: resourceGroup, Location: location,
			},
			Credentials: v1alpha1.Credentials{
				Type: v1alpha1.CredentialTypeServicePrincipal,
				ServicePrincipal: &v1alpha1.ServicePrincipal{
					TenantID: azure.DefaultTenantID, ClientID: azure.DefaultClientID,
					ClientSecretRef: v1alpha1.SecretKeyReference{Name: secretName, Key: "clientSecret"},
				},
			},
		},
	}
}

// connectors are all of them, as a user sees them who watches.
type connectors struct {
	mu   sync.Mutex
	seen map[string]seen
	// changed is closed, and made anew, with every change.
	changed chan struct{}
}

type seen struct {
	generation, observed int64
	ready                bool
	uid                  string
}

// current reports whether a connector is Ready for what its spec is now.
func (s seen) current() bool { return s.ready && s.generation == s.observed }

func (w *bench) watchConnectors(ctx context.Context) error {
	config, err := w.configAs(userUser)
	if err != nil {
		return err
	}
	watch, err := cache.New(config, cache.Options{Scheme: w.scheme})
	if err != nil {
		return err
	}
	informer, err := watch.GetInformer(ctx, &v1alpha1.VirtualKubeletConnector{})
	if err != nil {
		return err
	}
	c := &connectors{seen: map[string]seen{}, changed: make(chan struct{})}
	note := func(object any) {
		connector, ok := object.(*v1alpha1.VirtualKubeletConnector)
		if !ok {
			return
		}
		c.set(connector.Name, &seen{
			generation: connector.Generation, observed: connector.Status.ObservedGeneration, uid: string(connector.UID),
			ready: meta.IsStatusConditionTrue(connector.Status.Conditions, v1alpha1.ConditionReady),
		})
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: note, UpdateFunc: func(_, object any) { note(object) },
		DeleteFunc: func(object any) {
			if key, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
				c.set(key, nil)
			}
		},
	})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- watch.Start(running) }()
	w.watched = c
	w.end = append(w.end, func() error {
		cancel()
		return <-ended
	})
	return nil
}

func (c *connectors) set(name string, is *seen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is == nil {
		delete(c.seen, name)
	} else {
		c.seen[name] = *is
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait returns when all that exist are as wanted, and how many those are; it tells when that was.
func (c *connectors) wait(ctx context.Context, what string, count int, wanted func(seen) bool) (time.Time, error) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		met := 0
		for _, is := range c.seen {
			if wanted(is) {
				met++
			}
		}
		all, changed := len(c.seen), c.changed
		c.mu.Unlock()
		if met == count && all == count {
			return time.Now(), nil
		}
		select {
		case <-changed:
		case <-deadline.C:
			return time.Time{}, fmt.Errorf("after %s, %d of %d connectors are %s, and %d exist", patience, met, count, what, all)
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

func (c *connectors) ready(ctx context.Context, count int) (time.Time, error) {
	return c.wait(ctx, "Ready", count, seen.current)
}

// each calls a function for each of n connectors, so many of them at once.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// applyConnector applies a connector as kubectl apply --server-side does.
func applyConnector(ctx context.Context, c client.Client, connector *v1alpha1.VirtualKubeletConnector) error {
	object, err := unstructuredOf(connector)
	if err != nil {
		return err
	}
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("kubectl"), client.ForceOwnership)
}
