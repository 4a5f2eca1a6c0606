// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package discover reads what a connector's spec points to, from the cluster and from Azure; it decides
// nothing and writes nothing.
package discover

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"sync"

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
	// Pending says that nothing is wrong yet: it is being asked for.
	Pending bool
}

// Facts are what a connector's spec points to.
type Facts struct {
	// ClientSecret is the secret of the service principal; empty where it is Missing, and for a managed identity.
	ClientSecret string
	// ClientCA holds the PEM certificates that client certificates of the API server are signed by.
	ClientCA []byte
	// Workspace is the Log Analytics workspace; nil where none is asked for.
	Workspace *Workspace
	// DNSServiceIP and APIServerURI are the addresses that the cluster gives; empty where it gives none.
	DNSServiceIP, APIServerURI string
	// ManagedCluster and ResourceGroup are asked for only where the spec leaves something to them.
	ManagedCluster azure.Answer[azure.ManagedCluster]
	ResourceGroup  azure.Answer[azure.ResourceGroup]
	// Missing is nil where everything is there that the cluster has to have.
	Missing *Missing
}

// Workspace is a Log Analytics workspace.
type Workspace struct {
	ID string
	// Key is a secret.
	Key []byte
}

// Facts reads what a connector's spec points to.
func (d *Discoverer) Facts(ctx context.Context, connector *v1alpha1.VirtualKubeletConnector) (Facts, error) {
	var facts Facts
	for _, read := range []func(context.Context, *v1alpha1.VirtualKubeletConnector, *Facts) (*Missing, error){
		d.clientSecret, d.clientCA, d.workspace, d.addresses,
	} {
		missing, err := read(ctx, connector, &facts)
		if err != nil {
			return Facts{}, err
		}
		if facts.Missing == nil {
			facts.Missing = missing
		}
	}
	d.defaults(connector, &facts)
	return facts, nil
}

// CredentialOf returns the credential that a spec gives, with a client secret where there is one.
func CredentialOf(spec *v1alpha1.VirtualKubeletConnectorSpec, clientSecret string) azure.Credential {
	credential := azure.Credential{Cloud: cmp.Or(spec.Cloud, v1alpha1.CloudPublic), Type: spec.Credentials.Type}
	if principal := spec.Credentials.ServicePrincipal; principal != nil {
		credential.TenantID, credential.ClientID = string(principal.TenantID), string(principal.ClientID)
		credential.ClientSecret = clientSecret
	}
	if identity := spec.Credentials.ManagedIdentity; identity != nil {
		credential.TenantID, credential.ClientID = string(identity.TenantID), string(identity.ClientID)
	}
	return credential
}

// defaults asks Azure for what the spec leaves to it.
func (d *Discoverer) defaults(connector *v1alpha1.VirtualKubeletConnector, facts *Facts) {
	spec := &connector.Spec
	credential := CredentialOf(spec, facts.ClientSecret)
	if spec.ManagedCluster == nil || !credential.Usable() {
		return
	}
	facts.ManagedCluster = d.Inventory.ManagedCluster(connector.Name, credential, *spec.ManagedCluster)
	if groups := spec.ContainerGroups; groups.ResourceGroup != "" && groups.Location == "" {
		facts.ResourceGroup = d.Inventory.ResourceGroup(connector.Name, azure.Target{
			Credential:     credential,
			SubscriptionID: string(cmp.Or(groups.SubscriptionID, spec.ManagedCluster.SubscriptionID)),
			ResourceGroup:  string(groups.ResourceGroup),
		})
	}
}

func (d *Discoverer) clientCA(ctx context.Context, _ *v1alpha1.VirtualKubeletConnector, facts *Facts) (*Missing, error) {
	var published corev1.ConfigMap
	err := d.Cache.Get(ctx, client.ObjectKey{Namespace: ClientCANamespace, Name: ClientCAConfigMap}, &published)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get ConfigMap %s/%s: %w", ClientCANamespace, ClientCAConfigMap, err)
	}
	facts.ClientCA = []byte(published.Data[clientCAKey])
	if len(facts.ClientCA) > 0 {
		return nil, nil
	}
	return &Missing{Reason: v1alpha1.ReasonClientCANotFound, Message: fmt.Sprintf(
		"ConfigMap %s/%s has no key %s: start the API server with --client-ca-file, so that virtual kubelets can tell it from others",
		ClientCANamespace, ClientCAConfigMap, clientCAKey)}, nil
}

func (d *Discoverer) clientSecret(ctx context.Context, connector *v1alpha1.VirtualKubeletConnector, facts *Facts) (*Missing, error) {
	principal := connector.Spec.Credentials.ServicePrincipal
	if principal == nil {
		return nil, nil
	}
	ref := principal.ClientSecretRef
	value, missing, err := d.secretKey(ctx, string(ref.Name), ref.Key, "the client secret", "spec.credentials.servicePrincipal.clientSecretRef.key")
	facts.ClientSecret = string(value)
	return missing, err
}

// Keys of the Secret of a Log Analytics workspace.
const (
	workspaceIDKey  = "workspaceID"
	workspaceKeyKey = "workspaceKey"
)

func (d *Discoverer) workspace(ctx context.Context, connector *v1alpha1.VirtualKubeletConnector, facts *Facts) (*Missing, error) {
	analytics := connector.Spec.Monitoring.LogAnalytics
	if analytics == nil {
		return nil, nil
	}
	name := string(analytics.SecretRef.Name)
	id, missing, err := d.secretKey(ctx, name, workspaceIDKey, "the id of the Log Analytics workspace", "")
	if missing != nil || err != nil {
		return missing, err
	}
	key, missing, err := d.secretKey(ctx, name, workspaceKeyKey, "a key of the Log Analytics workspace", "")
	if missing != nil || err != nil {
		return missing, err
	}
	facts.Workspace = &Workspace{ID: string(id), Key: key}
	return nil, nil
}

// secretKey reads a key of a user's Secret. what says what it holds, field where the spec names the key.
func (d *Discoverer) secretKey(ctx context.Context, name, key, what, field string) ([]byte, *Missing, error) {
	var secret corev1.Secret
	err := d.Cache.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, &Missing{Reason: v1alpha1.ReasonSecretNotFound, Message: fmt.Sprintf(
			"Secret %s/%s does not exist: kubectl create secret generic %s --namespace %s --from-file=%s=FILE",
			d.Namespace, name, name, d.Namespace, key)}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("get Secret %s/%s: %w", d.Namespace, name, err)
	}
	value, ok := secret.Data[key]
	trouble := ""
	switch {
	case !ok && field != "":
		trouble = fmt.Sprintf("does not exist: put %s there, or name another key in %s", what, field)
	case !ok:
		trouble = fmt.Sprintf("does not exist: put %s there", what)
	case len(bytes.TrimSpace(value)) == 0:
		trouble = fmt.Sprintf("is empty: put %s there", what)
	case !bytes.Equal(bytes.TrimSpace(value), value):
		trouble = "begins or ends with a space or a line break, which it must not: remove it (echo -n, or printf)"
	}
	if trouble != "" {
		return nil, &Missing{Reason: v1alpha1.ReasonSecretIncomplete, Message: fmt.Sprintf("key %s of Secret %s/%s %s", key, d.Namespace, name, trouble)}, nil
	}
	return value, nil, nil
}
