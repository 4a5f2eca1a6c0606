// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"fmt"
	"strings"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// access is True when Azure accepted the credentials on the resource group.
func access(resolved resolve.Resolved, checks discover.Checks) Finding {
	is := judge{v1alpha1.ConditionAzureAccessible, resolved.OSTypes}
	target := resolved.Target
	token, groups, rights := checks.Token, checks.Groups, checks.Rights
	unregistered := groups.Problem != nil && groups.Problem.Reason == v1alpha1.ReasonProviderNotRegistered
	switch {
	case !target.Usable():
		return is.unknown(v1alpha1.ReasonNotChecked, "there is no client secret to ask Azure with")
	case token.Problem != nil && token.Problem.Proven:
		return is.bad(token.Problem.Reason, token.Problem.Message)
	case groups.Problem != nil && groups.Problem.Proven && !unregistered:
		return is.bad(groups.Problem.Reason, groups.Problem.Message)
	case resolved.LockedDown:
		return is.bad(v1alpha1.ReasonResourceGroupLocked, fmt.Sprintf(
			"%s is the node resource group of an AKS cluster that lets nobody write to it (restriction level ReadOnly): set spec.containerGroups.resourceGroup to another, or az aks update --nrg-lockdown-restriction-level Unrestricted", target))
	case len(rights.Value.Missing) > 0:
		return is.bad(v1alpha1.ReasonForbidden, fmt.Sprintf(
			"%s lacks rights on %s (%s): %s",
			target.Credential, target, strings.Join(rights.Value.Missing, ", "), azure.GrantOnResourceGroup(target)))
	case rights.Value.DeniedBy != "":
		return is.bad(v1alpha1.ReasonDenied, fmt.Sprintf(
			"the deny assignment %q keeps %s from making container groups in %s: remove it, or set spec.containerGroups.resourceGroup to another",
			rights.Value.DeniedBy, target.Credential, target))
	case token.Problem != nil:
		return is.unknown(token.Problem.Reason, token.Problem.Message)
	case groups.Problem != nil && !unregistered:
		return is.unknown(groups.Problem.Reason, groups.Problem.Message)
	case resolved.Undecided:
		return is.unknown(v1alpha1.ReasonNotChecked, "it is not known yet what to ask Azure for: see condition "+v1alpha1.ConditionResolved)
	case unregistered:
		return is.unknown(v1alpha1.ReasonNotChecked, "Azure could not be asked: see condition "+v1alpha1.ConditionProviderRegistered)
	case !token.Known() || !checks.GroupsKnown:
		return is.unknown(v1alpha1.ReasonNotChecked, Waiting)
	}
	accepted := fmt.Sprintf("Azure accepts the credentials on %s", target)
	if exhausted := checks.Region.Value.Exhausted; len(exhausted) > 0 {
		limits := make([]string, len(exhausted))
		for i, quota := range exhausted {
			limits[i] = fmt.Sprintf("%s of %d", quota.Name, quota.Limit)
		}
		return is.good(v1alpha1.ReasonQuotaExhausted, fmt.Sprintf(
			"%s; nothing is left of the quota %s in region %s, so that no more container groups start: ask for more in the Azure portal (Quotas)",
			accepted, strings.Join(limits, " and "), resolved.Location))
	}
	if rights.Problem != nil && rights.Problem.Reason == v1alpha1.ReasonForbidden {
		accepted += ", but does not tell whether they may write there: Microsoft.Authorization/permissions/read is missing"
	}
	return is.good(v1alpha1.ReasonAccessible, accepted)
}
