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
)

// retainedInterval is how often it is looked whether container groups that were left are still there.
const retainedInterval = 5 * time.Minute

// retain notes container groups that are left in Azure, and tells of them once.
func (p *pass) retain(left *v1alpha1.RetainedContainerGroups) {
	if left == nil {
		return
	}
	i := slices.IndexFunc(p.input.Retained, func(r v1alpha1.RetainedContainerGroups) bool {
		return r.NodeName == left.NodeName && r.SubscriptionID == left.SubscriptionID && r.ResourceGroup == left.ResourceGroup
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
// not have any more.
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
				continue
			case listing.Problem == nil && len(left.Names) == 0 && p.names(left.NodeName):
				continue // what there is by that name now is a living node's, or keeps it from being started
			case listing.Problem == nil:
				left.Message = ""
				left.Names = stillThere(left.Names, listing.OfNode(left.NodeName))
				if len(left.Names) == 0 {
					continue
				}
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

// stillThere returns which of the container groups there still are; where no names are known, all that there are.
func stillThere(names []string, groups []azure.ContainerGroup) []string {
	var found []string
	for _, group := range groups {
		if len(names) == 0 || slices.Contains(names, group.Name) {
			found = append(found, group.Name)
		}
	}
	slices.Sort(found)
	return found
}
