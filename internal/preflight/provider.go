// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// provider is True when the resource provider is registered, and offers what is asked for in the region.
func provider(resolved resolve.Resolved, checks discover.Checks) Finding {
	is := judge{v1alpha1.ConditionProviderRegistered, resolved.OSTypes}
	provider, groups, target := checks.Provider, checks.Groups, resolved.Target
	switch {
	case provider.Have && provider.Value.State == azure.ProviderRegistering:
		return is.bad(v1alpha1.ReasonProviderRegistering, fmt.Sprintf(
			"resource provider %s is being registered in subscription %s, which takes minutes", azure.ProviderNamespace, target.SubscriptionID))
	case provider.Problem != nil && provider.Problem.Proven && slices.Contains(registrationReasons, provider.Problem.Reason):
		return is.bad(provider.Problem.Reason, provider.Problem.Message)
	case groups.Problem != nil && groups.Problem.Reason == v1alpha1.ReasonProviderNotRegistered && !registered(provider):
		return is.bad(groups.Problem.Reason, groups.Problem.Message)
	case !target.Usable():
		return is.unknown(v1alpha1.ReasonNotChecked, "there is no client secret to ask Azure with")
	case provider.Have && provider.Value.State != azure.ProviderRegistered:
		return is.bad(v1alpha1.ReasonProviderNotRegistered, azure.NotRegistered(target.SubscriptionID))
	}
	if finding := region(is, resolved, checks); finding != nil {
		return *finding
	}
	switch {
	case resolved.Provider == v1alpha1.ProviderRegistrationIgnore:
		return is.unknown(v1alpha1.ReasonRegistrationIgnored, fmt.Sprintf(
			"spec.providerRegistration is Ignore: az provider show --namespace %s --subscription %s --query registrationState shows the registration",
			azure.ProviderNamespace, target.SubscriptionID))
	case provider.Problem != nil:
		return is.problem(provider.Problem)
	case !provider.Known():
		return is.unknown(v1alpha1.ReasonNotChecked, Waiting)
	}
	return is.good(v1alpha1.ReasonProviderRegistered, fmt.Sprintf(
		"resource provider %s is registered in subscription %s", azure.ProviderNamespace, target.SubscriptionID))
}

var registrationReasons = []string{v1alpha1.ReasonProviderNotRegistered, v1alpha1.ReasonRegistrationForbidden}

// registered says that a listing which was refused because the provider was not registered is out of date.
func registered(provider azure.Answer[azure.Provider]) bool {
	return provider.Have && provider.Value.State == azure.ProviderRegistered
}

// region returns what is proven of the region: that it does not run container groups, or not those of an operating
// system that is asked for.
func region(is judge, resolved resolve.Resolved, checks discover.Checks) *Finding {
	if offered := checks.Provider.Value.Locations; resolved.Location != "" && len(offered) > 0 && !slices.Contains(offered, resolved.Location) {
		finding := is.bad(v1alpha1.ReasonLocationNotAvailable, fmt.Sprintf(
			"region %s does not run container groups in %s: set spec.containerGroups.location to one that does: %s",
			resolved.Location, resolved.Target.Cloud, azure.Enumerate(offered)))
		return &finding
	}
	runs := checks.Region.Value.OSTypes
	if len(runs) == 0 {
		return nil
	}
	var lacking []v1alpha1.OSType
	for _, os := range resolved.OSTypes {
		if !slices.ContainsFunc(runs, func(r string) bool { return strings.EqualFold(r, string(os)) }) {
			lacking = append(lacking, os)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	is.osTypes = lacking
	finding := is.bad(v1alpha1.ReasonOSTypeNotAvailable, fmt.Sprintf(
		"region %s runs no container groups of %s: set spec.containerGroups.location to another, or take %s off spec.osTypes",
		resolved.Location, lacking[0], lacking[0]))
	return &finding
}
