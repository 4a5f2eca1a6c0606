// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
)

// retainedInterval is how often it is looked whether container groups that were left are still there.
const retainedInterval = 5 * time.Minute

// retain notes container groups that are left in Azure, and tells of them once.
func (p *pass) retain(left *v1alpha1.RetainedContainerGroups) {
	if left == nil {
		return
	}
	i := slices.IndexFunc(p.input.Retained, func(r v1alpha1.RetainedContainerGroups) bool {
		return samePlace(r, *left)
	})
	if i < 0 {
		p.input.Retained = append(p.input.Retained, *left)
	} else {
		noted := sets.New(p.input.Retained[i].Names...)
		if noted.HasAll(left.Names...) {
			return
		}
		p.input.Retained[i].Names = sets.List(noted.Insert(left.Names...))
	}
	p.reconciler.tellRetained(p.input.Connector, *left)
}

// recall takes over from the stored status the container groups that were left in Azure, but for those that Azure does
// not have any more. Those whose names are known are told of when the last of them is gone.
func (p *pass) recall() {
	for _, left := range p.input.Connector.Status.RetainedContainerGroups {
		left = *left.DeepCopy()
		target := azure.Target{
			Credential: p.input.Resolved.Target.Credential, SubscriptionID: left.SubscriptionID, ResourceGroup: left.ResourceGroup,
		}
		if target.Usable() {
			listing, known := p.reconciler.Inventory.List(p.input.Connector.Name, target, time.Time{})
			switch {
			case !known:
			case listing.Problem != nil && listing.Problem.Reason == v1alpha1.ReasonResourceGroupNotFound:
				p.disappeared = append(p.disappeared, left) // Azure deletes a resource group with everything in it
				continue
			case listing.Problem == nil && len(left.Names) == 0 && p.names(left.NodeName):
				continue // what there is by that name now is a living node's, or keeps it from being started
			case listing.Problem == nil:
				before := left
				if left = p.compare(left, target, listing); len(left.Names) > 0 {
					break
				}
				if len(before.Names) > 0 {
					p.disappeared = append(p.disappeared, before)
				}
				continue
			}
		}
		p.input.Retained = append(p.input.Retained, left)
		p.lookAgain(retainedInterval)
	}
}

// names reports whether a desired node has a name.
func (p *pass) names(node string) bool {
	return slices.ContainsFunc(p.input.Resolved.Nodes, func(n resolve.Node) bool { return n.Name == node })
}

// compare returns what of container groups that were left is still there, by Azure's list and, as that may lag, by the
// names of those that it lacks. Where not all was known, it has what the list has, unless that may be a living node's.
func (p *pass) compare(left v1alpha1.RetainedContainerGroups, target azure.Target, listing azure.Listing) v1alpha1.RetainedContainerGroups {
	listed := sets.New(azure.Names(listing.OfNode(left.NodeName))...)
	still := sets.New[string]()
	for _, name := range left.Names {
		if listed.Has(name) || !p.absent(left.NodeName, target, name, listing.AskedAt) {
			still.Insert(name)
		}
	}
	if left.Message != "" && !p.names(left.NodeName) {
		still = still.Union(listed)
	}
	left.Names, left.Message = sets.List(still), ""
	return left
}

// absent reports whether Azure, asked at since or later for a container group by its name, has none of a node's.
func (p *pass) absent(node string, target azure.Target, name string, since time.Time) bool {
	named, asked := p.reconciler.Inventory.Named(p.input.Connector.Name, target, name, since)
	return asked && named.Problem == nil && (!named.Exists || named.NodeName != node)
}

// tellDisappeared records which of the container groups that were left in Azure are not there any more.
func (p *pass) tellDisappeared() {
	for _, left := range p.disappeared {
		if slices.ContainsFunc(p.input.Retained, func(r v1alpha1.RetainedContainerGroups) bool { return samePlace(r, left) }) {
			continue // others were found meanwhile
		}
		left.Message = ""
		p.reconciler.record(p.input.Connector, left.NodeName, eventContainerGroupsGone, actionRetire,
			"not in Azure any more: "+retire.Describe(left))
	}
}

// samePlace reports whether two notes are of the same node in the same place.
func samePlace(a, b v1alpha1.RetainedContainerGroups) bool {
	return a.NodeName == b.NodeName && a.SubscriptionID == b.SubscriptionID && a.ResourceGroup == b.ResourceGroup
}
