// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"context"
	"maps"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// scanInterval is how long a virtual kubelet has to be down before its container groups are looked through for those
// whose pods are gone, and how often that is done: as often as one that runs does it itself.
const scanInterval = 5 * time.Minute

// Orphaned are container groups of a node whose pods are gone, but for those that are retained.
type Orphaned struct {
	Connector, Node string
	// Groups are their names, as they were last found.
	Groups []string
}

// Orphaned returns the container groups that were found without their pods, and that nothing has been heard of since.
func (r *Retirer) Orphaned() []Orphaned {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.orphaned))
}

// note remembers which container groups of a node were found without their pods.
func (r *Retirer) note(node *observe.Node, connector string, orphans []azure.ContainerGroup) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(orphans) == 0 {
		delete(r.orphaned, node.Hash)
		return
	}
	if r.orphaned == nil {
		r.orphaned = map[string]Orphaned{}
	}
	r.orphaned[node.Hash] = Orphaned{Connector: connector, Node: node.Name, Groups: azure.Names(orphans)}
}

// Orphans looks through the container groups of a node that stays, whose virtual kubelet has been down for long, and deletes
// those whose pods are gone, or says which they are, as the connector asks for. It returns when to look again.
func (r *Retirer) Orphans(ctx context.Context, node *observe.Node, spec resolve.Resolved) (*v1alpha1.RetainedContainerGroups, time.Duration, error) {
	if node == nil || node.Secret == nil {
		return nil, 0, nil
	}
	if serving(node) {
		r.forget(node.Hash, availability, scan)
		r.note(node, spec.Connector, nil)
		return nil, 0, nil
	}
	if down := r.Clock.Since(r.since(node.Hash, availability)); down < scanInterval {
		return nil, scanInterval - down, nil
	}
	config, claimed, err := record(node, spec)
	if err != nil || !claimed {
		return nil, 0, err
	}
	target := r.target(config, spec)
	if !target.Usable() {
		return nil, scanInterval, nil
	}
	// What Azure has is read first, and the pods then: a container group whose pod is gone by then has none.
	due := r.since(node.Hash, scan)
	listing, known := r.Inventory.List(spec.Connector, target, due)
	if listing.Problem != nil || !known {
		return nil, scanInterval, nil
	}
	orphans, err := discover.Orphans(ctx, r.Live, listing.OfNode(node.Name))
	if err != nil {
		return nil, 0, err
	}
	if r.Clock.Since(due) >= scanInterval {
		r.forget(node.Hash, scan)
	}
	if len(orphans) > 0 && spec.Removal.OrphanedContainerGroups == v1alpha1.OrphanPolicyRetain {
		r.note(node, spec.Connector, nil)
		return &v1alpha1.RetainedContainerGroups{
			NodeName: node.Name, SubscriptionID: target.SubscriptionID, ResourceGroup: target.ResourceGroup, Names: azure.Names(orphans),
		}, scanInterval, nil
	}
	r.note(node, spec.Connector, orphans)
	key := client.ObjectKey{Namespace: spec.Namespace, Name: node.Name}
	for _, group := range orphans {
		r.Inventory.Delete(spec.Connector, target, group, func(ctx context.Context) (bool, error) {
			if stands, err := r.claimStands(ctx, key, node.Hash); err != nil || !stands {
				return false, err
			}
			lives, err := discover.PodLives(ctx, r.Live, group)
			return !lives, err
		})
	}
	return nil, scanInterval, nil
}
