// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"fmt"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// place decides where container groups are made: what the spec says, else what the managed cluster and the resource
// group have. What they have been is known from the status as long as the spec is the same, so that a silent Azure
// does not stop what works.
func place(connector *v1alpha1.VirtualKubeletConnector, facts discover.Facts) (discover.Place, *discover.Missing) {
	spec, groups := &connector.Spec, connector.Spec.ContainerGroups
	cluster := facts.ManagedCluster.Value
	var before v1alpha1.VirtualKubeletConnectorStatus
	// A deletion counts as a generation, and leaves the spec as it is.
	deleted := !connector.DeletionTimestamp.IsZero()
	if observed := connector.Status.ObservedGeneration; observed == connector.Generation || (deleted && observed == connector.Generation-1) {
		before = connector.Status
	}
	place := discover.Place{
		Target: azure.Target{
			Credential:     discover.CredentialOf(spec, facts.ClientSecret),
			SubscriptionID: string(groups.SubscriptionID),
		},
		Location: identity.NormalizeLocation(groups.Location),
		Provider: cmp.Or(spec.ProviderRegistration, v1alpha1.ProviderRegistrationCheck),
		Subnet:   subnet(spec, cluster),
	}
	if spec.Suspend && place.Provider == v1alpha1.ProviderRegistrationRegister {
		place.Provider = v1alpha1.ProviderRegistrationCheck
	}
	if place.Target.SubscriptionID == "" && spec.ManagedCluster != nil {
		place.Target.SubscriptionID = string(spec.ManagedCluster.SubscriptionID)
	}
	place.Target.ResourceGroup = cmp.Or(string(groups.ResourceGroup), cluster.NodeResourceGroup, before.ResourceGroup)
	if place.Location == "" {
		place.Location = cmp.Or(location(groups, facts), before.Location)
	}
	switch {
	case !place.Target.Usable():
		return place, nil // what is missing is told already
	case place.Target.ResourceGroup == "":
		return place, unanswered("spec.containerGroups.resourceGroup", facts.ManagedCluster.Problem)
	case place.Location == "":
		return place, unanswered("spec.containerGroups.location", cmp.Or(facts.ResourceGroup.Problem, facts.ManagedCluster.Problem))
	}
	return place, nil
}

// location is the resource group's where the spec names one, else the cluster's, in whose location AKS makes the
// node resource group.
func location(groups v1alpha1.ContainerGroups, facts discover.Facts) string {
	if groups.ResourceGroup == "" {
		return facts.ManagedCluster.Value.Location
	}
	if problem := facts.ResourceGroup.Problem; problem != nil && problem.Proven && problem.Reason == v1alpha1.ReasonForbidden {
		return facts.ManagedCluster.Value.Location
	}
	return facts.ResourceGroup.Value.Location
}

// unanswered says why the default of a field is not known.
func unanswered(field string, problem *azure.Problem) *discover.Missing {
	switch {
	case problem == nil:
		return &discover.Missing{Reason: v1alpha1.ReasonDefaultsPending, Pending: true, Message: fmt.Sprintf(
			"waiting for Azure to tell the default of %s", field)}
	case !problem.Proven:
		return &discover.Missing{Reason: v1alpha1.ReasonDefaultsPending, Pending: true, Message: fmt.Sprintf(
			"the default of %s is not known: %s", field, problem.Message)}
	}
	return &discover.Missing{Reason: problem.Reason, Message: fmt.Sprintf("%s; or set %s", problem.Message, field)}
}

func subnet(spec *v1alpha1.VirtualKubeletConnectorSpec, cluster azure.ManagedCluster) *azure.SubnetRef {
	if spec.Network == nil {
		return nil
	}
	ref := azure.SubnetRef{
		Name: spec.Network.Subnet.Name,
		Network: azure.VirtualNetworkRef{
			ResourceGroup: string(spec.Network.Subnet.ResourceGroup), Name: spec.Network.Subnet.VirtualNetworkName,
		},
	}
	if ref.Network == (azure.VirtualNetworkRef{}) {
		ref.Network = cluster.Network
	}
	if ref.Network == (azure.VirtualNetworkRef{}) {
		return nil
	}
	return &ref
}
