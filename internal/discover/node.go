// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// NodeFacts are what a node's own Secret and Azure say of it.
type NodeFacts struct {
	// Claim is how far the node's name is claimed.
	Claim Claim
	// Serving is the certificate that the virtual kubelet serves its API with.
	Serving Certificate
}

// ClaimState says whether a node of the name may be started.
type ClaimState int

const (
	// ClaimPending is a claim that Azure has not been asked about.
	ClaimPending ClaimState = iota
	// ClaimRefused is a claim on a name that container groups of somebody else carry.
	ClaimRefused
	// Claimed is a name that was free before the node's first start.
	Claimed
)

// Claim says whether a node of the name may be started. A virtual kubelet deletes, when it starts,
// every container group of its resource group that carries its name and has no pod in its cluster: in
// a resource group that two clusters share, those of the other. So a name is started only after Azure
// listed no container group of it without a pod here.
type Claim struct {
	State ClaimState
	// Foreign are the names of the container groups in the way, of a ClaimRefused.
	Foreign []string
}

// claimFreshness is how old an answer of Azure's may be to claim a name by; longer than one takes.
const claimFreshness = 2 * time.Minute

// recheck is how soon Azure is asked again whether a refused name is free.
const recheck = 30 * time.Second

// NodeNameField indexes connectors by the names of the nodes that they come to.
const NodeNameField = "nodeNames"

// Rival returns which of the other connectors that come to a node's name has it: the owner, whose node is there already,
// and else the oldest; nil where that is the connector itself. One that is being deleted holds the name until its node
// is gone.
func (d *Discoverer) Rival(
	ctx context.Context, connector *v1alpha1.VirtualKubeletConnector, nodeName, owner string,
) (*v1alpha1.VirtualKubeletConnector, error) {
	if owner == connector.Name {
		return nil, nil
	}
	var list v1alpha1.VirtualKubeletConnectorList
	if err := d.Cache.List(ctx, &list, client.MatchingFields{NodeNameField: nodeName}); err != nil {
		return nil, fmt.Errorf("list the connectors that come to node %s: %w", nodeName, err)
	}
	first := connector
	for i := range list.Items {
		if list.Items[i].Name == owner {
			return &list.Items[i], nil
		}
		if older(&list.Items[i], first) {
			first = &list.Items[i]
		}
	}
	if first.Name == connector.Name {
		return nil, nil
	}
	return first, nil
}

// Leaves reports whether a connector gives up what it has of a node that it does not come to: it is being deleted, removes
// the node, or has not been looked at since its spec changed. One that is suspended does not, nor does one that keeps the
// node, or does not exist.
func (d *Discoverer) Leaves(ctx context.Context, connector, nodeName string) (bool, error) {
	var owner v1alpha1.VirtualKubeletConnector
	err := d.Cache.Get(ctx, client.ObjectKey{Name: connector}, &owner)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("get VirtualKubeletConnector %s: %w", connector, err)
	case !owner.DeletionTimestamp.IsZero():
		return true, nil
	case owner.Spec.Suspend:
		return false, nil
	case owner.Status.ObservedGeneration != owner.Generation:
		return true, nil
	}
	return slices.ContainsFunc(owner.Status.Nodes, func(n v1alpha1.NodeStatus) bool {
		return n.Name == nodeName && meta.IsStatusConditionTrue(n.Conditions, v1alpha1.ConditionRetiring)
	}), nil
}

func older(a, b *v1alpha1.VirtualKubeletConnector) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name < b.Name
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

// Node reads what is known of a node whose container groups are in target. One that was started has its claim, also where
// somebody has deleted the Secret that says so.
func (d *Discoverer) Node(ctx context.Context, node identity.Node, target azure.Target, started bool) (NodeFacts, error) {
	var secret corev1.Secret
	err := d.Cache.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: node.Name}, &secret)
	if client.IgnoreNotFound(err) != nil {
		return NodeFacts{}, fmt.Errorf("get Secret %s/%s: %w", d.Namespace, node.Name, err)
	}
	if secret.Labels[identity.LabelIdentity] != node.Hash() {
		secret = corev1.Secret{}
	}
	// The identity of a node is the same whichever connector it is of.
	if of := secret.Labels[identity.LabelConnector]; of != "" && of != node.Connector && !started {
		secret = corev1.Secret{}
	}

	serving, err := d.serving(node, secret.Data)
	if err != nil {
		return NodeFacts{}, err
	}
	if started || secret.Annotations[identity.AnnotationClaim] == node.Hash() {
		return NodeFacts{Claim: Claim{State: Claimed}, Serving: serving}, nil
	}
	claim, err := d.claim(ctx, node, target)
	return NodeFacts{Claim: claim, Serving: serving}, err
}

// serving returns the node's certificate, and the same new one until the cache shows it: a second one
// would restart the virtual kubelet for nothing.
func (d *Discoverer) serving(node identity.Node, data map[string][]byte) (Certificate, error) {
	now := d.Clock.Now()
	if kept, ok := parseCertificate(data[CertificateKey], data[PrivateKeyKey]); ok && kept.usable(node.Name, now) {
		d.minted.Delete(node.Hash())
		return kept, nil
	}
	if minted, ok := d.minted.Load(node.Hash()); ok {
		if minted, ok := minted.(Certificate); ok && minted.usable(node.Name, now) {
			return minted, nil
		}
	}
	minted, err := newCertificate(node.Name, now)
	if err != nil {
		return Certificate{}, fmt.Errorf("serving certificate of node %s: %w", node.Name, err)
	}
	d.minted.Store(node.Hash(), minted)
	return minted, nil
}

func (d *Discoverer) claim(ctx context.Context, node identity.Node, target azure.Target) (Claim, error) {
	listing, known := d.Inventory.List(node.Connector, target, d.Clock.Now().Add(-claimFreshness))
	if !known || listing.Problem != nil {
		return Claim{State: ClaimPending}, nil
	}
	orphans, err := Orphans(ctx, d.Live, listing.OfNode(node.Name))
	if err != nil {
		return Claim{}, err
	}
	if len(orphans) == 0 {
		return Claim{State: Claimed}, nil
	}
	d.Inventory.List(node.Connector, target, listing.AskedAt.Add(recheck))
	foreign := azure.Names(orphans)
	slices.Sort(foreign)
	return Claim{State: ClaimRefused, Foreign: foreign}, nil
}

// Orphans returns those of container groups whose pods do not exist in this cluster, by live reads.
func Orphans(ctx context.Context, live client.Reader, groups []azure.ContainerGroup) ([]azure.ContainerGroup, error) {
	var orphans []azure.ContainerGroup
	for _, group := range groups {
		lives, err := PodLives(ctx, live, group)
		if err != nil {
			return nil, err
		}
		if !lives {
			orphans = append(orphans, group)
		}
	}
	return orphans, nil
}

// PodLives reports whether the pod that a container group was made for exists in this cluster, by a
// live read.
func PodLives(ctx context.Context, live client.Reader, group azure.ContainerGroup) (bool, error) {
	if group.Namespace == "" || group.PodName == "" || group.PodUID == "" {
		return false, nil
	}
	pod := &metav1.PartialObjectMetadata{}
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	err := live.Get(ctx, client.ObjectKey{Namespace: group.Namespace, Name: group.PodName}, pod)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("get Pod %s/%s: %w", group.Namespace, group.PodName, err)
	}
	return strings.EqualFold(string(pod.UID), group.PodUID), nil
}
