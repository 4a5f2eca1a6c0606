// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// reservedAddresses are those that Azure keeps of every subnet
// (https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq).
const reservedAddresses = 5

// network is True when container groups can be placed in the subnet.
func network(resolved resolve.Resolved, answer azure.Answer[azure.Subnet]) Finding {
	is := judge{v1alpha1.ConditionNetworkReady, resolved.NetworkOSTypes}
	switch {
	case resolved.Subnet == nil:
		return is.unknown(v1alpha1.ReasonNotChecked, "it is not known which subnet is meant: see condition "+v1alpha1.ConditionResolved)
	case !resolved.Target.Usable():
		return is.unknown(v1alpha1.ReasonNotChecked, "there is no client secret to ask Azure with")
	case answer.Problem != nil && !answer.Have:
		return is.problem(answer.Problem, v1alpha1.ReasonSubnetNotFound, v1alpha1.ReasonProviderNotRegistered)
	case !answer.Known():
		return is.unknown(v1alpha1.ReasonNotChecked, Waiting)
	}
	ref, found := *resolved.Subnet, answer.Value
	room := capacity(found.AddressPrefix)
	switch {
	case len(found.Delegations) > 0 && !found.Delegated():
		return is.bad(v1alpha1.ReasonSubnetDelegatedElsewhere, fmt.Sprintf(
			"%s is delegated to %s: set spec.network.subnet to one that is delegated to %s, or to nothing",
			ref, strings.Join(found.Delegations, ", "), azure.ContainerGroupDelegation))
	case found.Location != "" && resolved.Location != "" && found.Location != resolved.Location:
		return is.bad(v1alpha1.ReasonSubnetInOtherLocation, fmt.Sprintf(
			"%s is in region %s, and the container groups are in %s: set spec.network.subnet to one in that region", ref, found.Location, resolved.Location))
	case len(found.UsedBy) > 0:
		return is.bad(v1alpha1.ReasonSubnetInUse, fmt.Sprintf(
			"%s can't be delegated to %s, as it is used by %s: set spec.network.subnet to one that nothing else is in",
			ref, azure.ContainerGroupDelegation, strings.Join(found.UsedBy, ", ")))
	case found.RouteTable != "":
		return is.bad(v1alpha1.ReasonSubnetHasRouteTable, fmt.Sprintf(
			"%s has the route table %s, with which the virtual kubelet does not start: take it off, or set spec.network.subnet to another", ref, found.RouteTable))
	case room == 0:
		return is.bad(v1alpha1.ReasonSubnetTooSmall, fmt.Sprintf(
			"%s, %s, has no address left for a container group: set spec.network.subnet to a larger one", ref, found.AddressPrefix))
	case len(found.Missing) > 0:
		return is.bad(v1alpha1.ReasonSubnetJoinForbidden, fmt.Sprintf("%s lacks rights on %s (%s): %s",
			resolved.Target.Credential, ref, strings.Join(found.Missing, ", "),
			azure.GrantOnSubnet(resolved.Target.Credential, resolved.Target.SubscriptionID, ref)))
	}
	message := fmt.Sprintf("container groups can be placed in %s", ref)
	if room > 0 {
		message += fmt.Sprintf(", which has room for %d", room)
	}
	return is.good(v1alpha1.ReasonNetworkReady, message)
}

// capacity is how many container groups a range has addresses for; negative where it is not known.
func capacity(prefix string) int {
	parsed, err := netip.ParsePrefix(prefix)
	if err != nil || !parsed.Addr().Is4() {
		return -1
	}
	return max(0, 1<<(parsed.Addr().BitLen()-parsed.Bits())-reservedAddresses)
}
