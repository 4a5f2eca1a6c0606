// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"k8s.io/utils/ptr"
)

// groupActions are the rights without which a virtual node can't work.
var groupActions = []string{
	ProviderNamespace + "/containerGroups/read",
	ProviderNamespace + "/containerGroups/write",
	ProviderNamespace + "/containerGroups/delete",
}

// Rights say what an identity may not do in a resource group that a virtual node needs.
type Rights struct {
	// Missing are the actions that no role of the identity allows.
	Missing []string
	// DeniedBy is the name of a deny assignment that takes one of them away; empty where there is none.
	DeniedBy string
}

// Rights asks what the identity may do in a resource group.
func (s *Session) Rights(ctx context.Context, subscriptionID, resourceGroup string) (Rights, error) {
	client, err := armauthorization.NewPermissionsClient(subscriptionID, s.tokens, s.arm())
	if err != nil {
		return Rights{}, fmt.Errorf("subscription %s: %w", subscriptionID, err)
	}
	var permissions []*armauthorization.Permission
	pager := client.NewListForResourceGroupPager(resourceGroup, nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return Rights{}, fmt.Errorf("list the permissions on resource group %s: %w", resourceGroup, err)
		}
		permissions = append(permissions, page.Value...)
	}
	rights := Rights{Missing: missing(permissions, groupActions)}
	if len(rights.Missing) == 0 {
		var err error
		rights.DeniedBy, err = s.deniedBy(ctx, subscriptionID, resourceGroup)
		// A right to look at deny assignments is none that a virtual node needs.
		if ignoreForbidden(err) != nil {
			return Rights{}, err
		}
	}
	return rights, nil
}

func missing(permissions []*armauthorization.Permission, actions []string) []string {
	var missing []string
	for _, action := range actions {
		allowed := slices.ContainsFunc(permissions, func(p *armauthorization.Permission) bool {
			return p != nil && covers(p.Actions, action) && !covers(p.NotActions, action)
		})
		if !allowed {
			missing = append(missing, action)
		}
	}
	return missing
}

// covers reports whether one of the patterns, in which * stands for any text, is an action's.
func covers(patterns []*string, action string) bool {
	return slices.ContainsFunc(patterns, func(p *string) bool {
		if p == nil {
			return false
		}
		pattern := "(?i)^" + strings.ReplaceAll(regexp.QuoteMeta(*p), `\*`, ".*") + "$"
		matched, err := regexp.MatchString(pattern, action)
		return err == nil && matched
	})
}

// everyone is the principal of deny assignments that are for all.
const everyone = "00000000-0000-0000-0000-000000000000"

func (s *Session) deniedBy(ctx context.Context, subscriptionID, resourceGroup string) (string, error) {
	me, err := s.objectID(ctx)
	if err != nil || me == "" {
		return "", err
	}
	client, err := armauthorization.NewDenyAssignmentsClient(subscriptionID, s.tokens, s.arm())
	if err != nil {
		return "", fmt.Errorf("subscription %s: %w", subscriptionID, err)
	}
	pager := client.NewListForResourceGroupPager(resourceGroup, &armauthorization.DenyAssignmentsClientListForResourceGroupOptions{
		Filter: new("atScope()"),
	})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("list the deny assignments of resource group %s: %w", resourceGroup, err)
		}
		for _, assignment := range page.Value {
			if assignment != nil && assignment.Properties != nil && denies(assignment.Properties, me) {
				return ptr.Deref(assignment.Properties.DenyAssignmentName, "without a name"), nil
			}
		}
	}
	return "", nil
}

func denies(assignment *armauthorization.DenyAssignmentProperties, me string) bool {
	has := func(principals []*armauthorization.Principal, ids ...string) bool {
		return slices.ContainsFunc(principals, func(p *armauthorization.Principal) bool {
			return p != nil && slices.Contains(ids, strings.ToLower(ptr.Deref(p.ID, "")))
		})
	}
	me = strings.ToLower(me)
	if !has(assignment.Principals, me, everyone) || has(assignment.ExcludePrincipals, me) {
		return false
	}
	return slices.ContainsFunc(assignment.Permissions, func(p *armauthorization.DenyAssignmentPermission) bool {
		return p != nil && slices.ContainsFunc(groupActions, func(action string) bool {
			return covers(p.Actions, action) && !covers(p.NotActions, action)
		})
	})
}
