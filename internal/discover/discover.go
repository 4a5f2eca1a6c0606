// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package discover reads what a connector's spec points to, from the cluster and from Azure; it decides
// nothing and writes nothing.
package discover

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
)

// The cluster publishes the CA of the API server's client certificates in this ConfigMap
// (https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/).
const (
	ClientCANamespace = "kube-system"
	ClientCAConfigMap = "extension-apiserver-authentication"
	clientCAKey       = "client-ca-file"
)

// Discoverer reads facts.
type Discoverer struct {
	// Cache reads from memory, Live from the API server.
	Cache, Live client.Reader
	// Inventory knows what Azure says.
	Inventory *azure.Inventory
	// Namespace is where virtual kubelets run and their Secrets are.
	Namespace string
	Clock     clock.PassiveClock

	minted sync.Map // certificates by the hash of their node, until the cache shows them
}

// Missing is something that the spec points to and that is not there or not usable: what it is
// becomes the condition Resolved.
type Missing struct {
	// Reason is a reason of the condition Resolved.
	Reason string
	// Message names what is missing and the remedy.
	Message string
}

// Facts are what a connector's spec points to in the cluster.
type Facts struct {
	// ClientSecret is the secret of the service principal; empty where it is Missing.
	ClientSecret string
	// ClientCA holds the PEM certificates that client certificates of the API server are signed by.
	ClientCA []byte
	// Missing is nil where everything is there.
	Missing *Missing
}

// Facts reads what a connector's spec points to in the cluster.
func (d *Discoverer) Facts(ctx context.Context, connector *v1alpha1.VirtualKubeletConnector) (Facts, error) {
	secret, missing, err := d.clientSecret(ctx, connector.Spec.Credentials.ServicePrincipal)
	if err != nil || missing != nil {
		return Facts{Missing: missing}, err
	}
	facts := Facts{ClientSecret: secret}

	var published corev1.ConfigMap
	err = d.Cache.Get(ctx, client.ObjectKey{Namespace: ClientCANamespace, Name: ClientCAConfigMap}, &published)
	if client.IgnoreNotFound(err) != nil {
		return Facts{}, fmt.Errorf("get ConfigMap %s/%s: %w", ClientCANamespace, ClientCAConfigMap, err)
	}
	facts.ClientCA = []byte(published.Data[clientCAKey])
	if len(facts.ClientCA) == 0 {
		facts.Missing = &Missing{v1alpha1.ReasonClientCANotFound, fmt.Sprintf(
			"ConfigMap %s/%s has no key %s: start the API server with --client-ca-file, so that virtual kubelets can tell it from others",
			ClientCANamespace, ClientCAConfigMap, clientCAKey)}
	}
	return facts, nil
}

func (d *Discoverer) clientSecret(ctx context.Context, principal *v1alpha1.ServicePrincipal) (string, *Missing, error) {
	if principal == nil {
		return "", &Missing{v1alpha1.ReasonInvalidSpec, "spec.credentials.servicePrincipal is not set"}, nil
	}
	ref := principal.ClientSecretRef
	var secret corev1.Secret
	err := d.Cache.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: ref.Name}, &secret)
	if apierrors.IsNotFound(err) {
		return "", &Missing{v1alpha1.ReasonSecretNotFound, fmt.Sprintf(
			"Secret %s/%s does not exist: kubectl create secret generic %s --namespace %s --from-file=%s=FILE",
			d.Namespace, ref.Name, ref.Name, d.Namespace, ref.Key)}, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("get Secret %s/%s: %w", d.Namespace, ref.Name, err)
	}
	value, ok := secret.Data[ref.Key]
	incomplete := func(what string) *Missing {
		return &Missing{v1alpha1.ReasonSecretIncomplete, fmt.Sprintf("key %s of Secret %s/%s %s", ref.Key, d.Namespace, ref.Name, what)}
	}
	switch {
	case !ok:
		return "", incomplete("does not exist: put the client secret there, or name another key in spec.credentials.servicePrincipal.clientSecretRef.key"), nil
	case len(bytes.TrimSpace(value)) == 0:
		return "", incomplete("is empty: put the client secret there"), nil
	case !bytes.Equal(bytes.TrimSpace(value), value):
		return "", incomplete("begins or ends with a space or a line break, which no client secret does: remove it (echo -n, or printf)"), nil
	}
	return string(value), nil, nil
}

// Access says whether Azure accepts the credentials on a target.
type Access struct {
	// Known is false before the first answer.
	Known bool
	// Problem is nil where the credentials work.
	Problem *azure.Problem
	// GoodSince is when Azure began to accept them.
	GoodSince time.Time
}

// Access says whether Azure accepts the credentials on a target, as far as is known.
func (d *Discoverer) Access(connector string, target azure.Target) Access {
	listing, known := d.Inventory.List(connector, target, time.Time{})
	return Access{Known: known, Problem: listing.Problem, GoodSince: listing.GoodSince}
}
