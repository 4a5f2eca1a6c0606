// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"
	"slices"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2/fake"
)

// authorize checks a right, by roles and then by deny assignments; an empty action is everyone's.
func (c *call) authorize(action, resourceID string) *apiError {
	if action == "" {
		return nil
	}
	if !c.world.allows(c.principal.clientID, action, resourceID) {
		return newError(http.StatusForbidden, "AuthorizationFailed",
			"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. "+
				"If access was recently granted, please refresh your credentials.",
			c.principal.clientID, c.principal.objectID, action, resourceID)
	}
	if d, denied := c.world.denial(c.principal.clientID, action, resourceID); denied {
		return newError(http.StatusForbidden, "DenyAssignmentAuthorizationFailed",
			"The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; "+
				"however, the access is denied because of the deny assignment with name '%s' and Id '%s' at scope '%s'.",
			c.principal.clientID, c.principal.objectID, action, resourceID, d.Name, strings.ReplaceAll(d.uuid(), "-", ""), d.Scope)
	}
	return nil
}

// authorizeLinked checks the right that an action on one resource takes on another one that it refers to.
func (c *call) authorizeLinked(action, resourceID, linkedAction, linkedID string) *apiError {
	if !c.world.allows(c.principal.clientID, linkedAction, linkedID) {
		return newError(http.StatusForbidden, "LinkedAuthorizationFailed",
			"The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; "+
				"however, it does not have permission to perform action(s) '%s' on the linked scope(s) '%s' (respectively) or the linked scope(s) are invalid.",
			c.principal.clientID, c.principal.objectID, action, resourceID, linkedAction, linkedID)
	}
	if _, denied := c.world.denial(c.principal.clientID, linkedAction, linkedID); denied {
		return newError(http.StatusForbidden, "LinkedAuthorizationFailed",
			"The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; "+
				"however, it does not have permission to perform action '%s' on the '0' linked scope(s) '' or the linked scope(s) are invalid "+
				"and is blocked by deny assignments on the '1' linked scope(s) '%s'.",
			c.principal.clientID, c.principal.objectID, action, resourceID, linkedAction, linkedID)
	}
	return nil
}

// allows tells whether a principal may do an action on a resource.
func (w *world) allows(clientID, action, resourceID string) bool {
	for _, role := range w.roles {
		if strings.EqualFold(role.ClientID, clientID) && inScope(resourceID, role.Scope) &&
			matchesAction(role.Actions, action) && !matchesAction(role.NotActions, action) {
			return true
		}
	}
	return false
}

func matchesAction(patterns []string, action string) bool {
	action = strings.ToLower(action)
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		rest := action
		first := true
		for part := range strings.SplitSeq(strings.ToLower(pattern), "*") {
			i := strings.Index(rest, part)
			if i < 0 || (first && i > 0) {
				return false
			}
			rest, first = rest[i+len(part):], false
		}
		return rest == "" || strings.HasSuffix(pattern, "*")
	})
}

func (c *call) permissions() doer {
	return fake.NewPermissionsServerTransport(&fake.PermissionsServer{
		NewListForResourceGroupPager: c.listPermissions, NewListForResourcePager: c.listResourcePermissions,
	})
}

func (c *call) listPermissions(string, *armauthorization.PermissionsClientListForResourceGroupOptions) (
	resp azfake.PagerResponder[armauthorization.PermissionsClientListForResourceGroupResponse],
) {
	resp.AddPage(http.StatusOK, armauthorization.PermissionsClientListForResourceGroupResponse{PermissionGetResult: c.permissionsOfScope()}, nil)
	return resp
}

// listResourcePermissions answers for any resource in the group, whether it is there or not.
func (c *call) listResourcePermissions(string, string, string, string, string, *armauthorization.PermissionsClientListForResourceOptions) (
	resp azfake.PagerResponder[armauthorization.PermissionsClientListForResourceResponse],
) {
	resp.AddPage(http.StatusOK, armauthorization.PermissionsClientListForResourceResponse{PermissionGetResult: c.permissionsOfScope()}, nil)
	return resp
}

// permissionsOfScope are what the principal's roles give it on the scope of the request; deny assignments do not show.
func (c *call) permissionsOfScope() armauthorization.PermissionGetResult {
	c.lock()
	defer c.mu.Unlock()
	list := armauthorization.PermissionGetResult{Value: []*armauthorization.Permission{}}
	scope := strings.TrimSuffix(c.resourceID, permissionsPath)
	for _, role := range c.world.roles {
		if strings.EqualFold(role.ClientID, c.principal.clientID) && inScope(scope, role.Scope) {
			list.Value = append(list.Value, &armauthorization.Permission{
				Actions: to.SliceOfPtrs(role.Actions...), NotActions: to.SliceOfPtrs(role.NotActions...),
				DataActions: []*string{}, NotDataActions: []*string{},
			})
		}
	}
	return list
}
