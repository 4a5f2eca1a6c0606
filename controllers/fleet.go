// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/metrics"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
)

// fleet knows what the metrics tell of all connectors. It asks nobody: all of it is in memory.
type fleet struct {
	cache     client.Reader
	inventory *azure.Inventory
	retirer   *retire.Retirer
	failures  *failures
	namespace string
	clock     clock.PassiveClock
	mu        sync.Mutex
	// expiries are when the certificates of Secrets expire, by the versions of those: to read one takes longer than all else.
	expiries map[versionOf]time.Time
	// elected is closed once this operator leads: others would tell the same once more, and of Azure nothing.
	elected <-chan struct{}
}

// versionOf is one of a Secret; no two objects have the same resourceVersion.
type versionOf struct{ name, resourceVersion string }

// source returns a source for metrics as long as ctx lasts.
func (f *fleet) source(ctx context.Context) metrics.Source {
	return func() (metrics.Fleet, bool) {
		select {
		case <-f.elected:
		default:
			return metrics.Fleet{}, false
		}
		found, err := f.look(ctx)
		if err != nil {
			logf.FromContext(ctx).Error(err, "the metrics lack what is known of connectors")
			return metrics.Fleet{}, false
		}
		return found, true
	}
}

func (f *fleet) look(ctx context.Context) (metrics.Fleet, error) {
	found := metrics.Fleet{
		Now: f.clock.Now(), Failures: f.failures.now(), Azure: f.inventory.Snapshot(), Orphaned: f.retirer.Orphaned(),
	}
	var connectors v1alpha1.VirtualKubeletConnectorList
	// Nothing of it is changed, so none of it has to be copied.
	if err := f.cache.List(ctx, &connectors, client.UnsafeDisableDeepCopy); err != nil {
		return found, fmt.Errorf("list connectors: %w", err)
	}
	found.Connectors = connectors.Items
	var secrets corev1.SecretList
	if err := f.cache.List(ctx, &secrets, client.UnsafeDisableDeepCopy,
		client.InNamespace(f.namespace), client.MatchingLabels{identity.LabelManagedBy: identity.ManagedBy}); err != nil {
		return found, fmt.Errorf("list the Secrets of nodes: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	expiries := make(map[versionOf]time.Time, len(secrets.Items))
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		of := versionOf{secret.Name, secret.ResourceVersion}
		expiry, ok := f.expiries[of]
		if !ok {
			expiry, ok = discover.CertificateExpiry(secret.Data)
		}
		if ok {
			expiries[of] = expiry
			found.Certificates = append(found.Certificates, metrics.Certificate{
				Connector: secret.Labels[identity.LabelConnector], Node: secret.Name, Expiry: expiry,
			})
		}
	}
	f.expiries = expiries
	return found, nil
}
