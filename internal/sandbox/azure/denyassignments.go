// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2/fake"
)

// everyone is the principal by which a deny assignment names all principals.
var everyone = &armauthorization.Principal{ID: new("00000000-0000-0000-0000-000000000000"), Type: new("SystemDefined")}

func (d DenyAssignment) denies(clientID, action, resourceID string) bool {
	is := func(id string) bool { return strings.EqualFold(id, clientID) }
	return inScope(resourceID, d.Scope) &&
		(len(d.ClientIDs) == 0 || slices.ContainsFunc(d.ClientIDs, is)) && !slices.ContainsFunc(d.ExcludeClientIDs, is) &&
		matchesAction(d.Actions, action) && !matchesAction(d.NotActions, action)
}

func (d DenyAssignment) uuid() string {
	return pseudoUUID("deny assignment", strings.ToLower(d.Scope), d.Name)
}

func (d DenyAssignment) id() string {
	return d.Scope + denyPath + "/" + d.uuid()
}

// denial finds the deny assignment that keeps a principal from an action on a resource.
func (w *world) denial(clientID, action, resourceID string) (DenyAssignment, bool) {
	i := slices.IndexFunc(w.denials, func(d DenyAssignment) bool { return d.denies(clientID, action, resourceID) })
	if i < 0 {
		return DenyAssignment{}, false
	}
	return w.denials[i], true
}

// subscriptionOf finds the subscription that a scope is or lies in.
func (w *world) subscriptionOf(scope string) (*subscription, error) {
	id, err := arm.ParseResourceID(scope)
	if err != nil {
		return nil, fmt.Errorf("scope %q is not a resource ID", scope)
	}
	s := w.subscriptions[strings.ToLower(id.SubscriptionID)]
	if s == nil {
		return nil, fmt.Errorf("subscription %q does not exist", id.SubscriptionID)
	}
	return s, nil
}

// objectID is a service principal's or managed identity's ID in its tenant.
func (w *world) objectID(tenantID, clientID string) (string, bool) {
	if sp := w.servicePrincipal(tenantID, clientID); sp != nil {
		return sp.ObjectID, true
	}
	for _, id := range w.identities {
		if strings.EqualFold(id.ClientID, clientID) && strings.EqualFold(id.TenantID, tenantID) {
			return id.ObjectID, true
		}
	}
	return "", false
}

// sameScope tells whether two resource IDs name the same.
func sameScope(one, other string) bool {
	return inScope(one, other) && inScope(other, one)
}

// addDenyAssignment refuses one that points to nothing.
func (w *world) addDenyAssignment(d DenyAssignment) error {
	if d.Name == "" {
		return fmt.Errorf("deny assignment on %q has no name", d.Scope)
	}
	s, err := w.subscriptionOf(d.Scope)
	if err != nil {
		return fmt.Errorf("deny assignment %q: %w", d.Name, err)
	}
	for _, clientID := range slices.Concat(d.ClientIDs, d.ExcludeClientIDs) {
		if _, ok := w.objectID(s.tenantID, clientID); !ok {
			return fmt.Errorf("deny assignment %q: principal %q does not exist in tenant %s", d.Name, clientID, s.tenantID)
		}
	}
	d.Scope = strings.TrimRight(d.Scope, "/")
	w.denials = append(w.denials, d)
	return nil
}

// setDenyAssignments changes all of a scope, or on an error nothing.
func (w *world) setDenyAssignments(scope string, assignments []DenyAssignment) error {
	if _, err := w.subscriptionOf(scope); err != nil {
		return fmt.Errorf("deny assignments: %w", err)
	}
	before := w.denials
	w.denials = slices.DeleteFunc(slices.Clone(before), func(d DenyAssignment) bool { return sameScope(d.Scope, scope) })
	for _, d := range assignments {
		err := w.addDenyAssignment(d)
		if err == nil && !sameScope(d.Scope, scope) {
			err = fmt.Errorf("deny assignment %q is on %q, not on %q", d.Name, d.Scope, scope)
		}
		if err != nil {
			w.denials = before
			return err
		}
	}
	return nil
}

func (w *world) denyAssignmentView(d DenyAssignment, tenantID string) *armauthorization.DenyAssignment {
	principals := func(clientIDs []string) []*armauthorization.Principal {
		list := []*armauthorization.Principal{}
		for _, clientID := range clientIDs {
			// It was there when the deny assignment was made, and principals stay.
			objectID, _ := w.objectID(tenantID, clientID)
			list = append(list, &armauthorization.Principal{ID: &objectID, Type: new("ServicePrincipal")})
		}
		return list
	}
	view := &armauthorization.DenyAssignment{
		ID: new(d.id()), Name: new(d.uuid()), Type: new("Microsoft.Authorization/denyAssignments"),
		Properties: &armauthorization.DenyAssignmentProperties{
			DenyAssignmentName:      new(d.Name),
			DoNotApplyToChildScopes: new(false),
			ExcludePrincipals:       principals(d.ExcludeClientIDs),
			IsSystemProtected:       new(true),
			Permissions: []*armauthorization.DenyAssignmentPermission{{
				Actions: to.SliceOfPtrs(d.Actions...), NotActions: to.SliceOfPtrs(d.NotActions...),
				DataActions: []*string{}, NotDataActions: []*string{},
			}},
			Principals: principals(d.ClientIDs),
			Scope:      new(d.Scope),
		},
	}
	if len(d.ClientIDs) == 0 {
		view.Properties.Principals = []*armauthorization.Principal{everyone}
	}
	return view
}

func (c *call) denyAssignments() doer {
	return fake.NewDenyAssignmentsServerTransport(&fake.DenyAssignmentsServer{
		NewListForResourceGroupPager: c.listDenyAssignments,
	})
}

// listDenyAssignments has those at the group, above it and in it; the filter atScope() leaves out those in it.
func (c *call) listDenyAssignments(_ string, options *armauthorization.DenyAssignmentsClientListForResourceGroupOptions) (
	resp azfake.PagerResponder[armauthorization.DenyAssignmentsClientListForResourceGroupResponse],
) {
	c.lock()
	defer c.mu.Unlock()
	filtered := options != nil && options.Filter != nil
	if filtered && *options.Filter != "atScope()" {
		resp.AddError(newError(http.StatusBadRequest, "UnsupportedQuery", "The simulated Azure does not know the filter '%s'.", *options.Filter))
		return resp
	}
	scope := strings.TrimSuffix(c.resourceID, denyPath)
	var found []DenyAssignment
	for _, d := range c.world.denials {
		if inScope(scope, d.Scope) || (!filtered && inScope(d.Scope, scope)) {
			found = append(found, d)
		}
	}
	key := func(d DenyAssignment) string { return strings.ToLower(d.id()) }
	slices.SortFunc(found, func(a, b DenyAssignment) int { return strings.Compare(key(a), key(b)) })
	assignments, next := page(c, found, key)
	list := armauthorization.DenyAssignmentListResult{NextLink: next, Value: []*armauthorization.DenyAssignment{}}
	for _, d := range assignments {
		list.Value = append(list.Value, c.world.denyAssignmentView(d, c.subscription.tenantID))
	}
	resp.AddPage(http.StatusOK, armauthorization.DenyAssignmentsClientListForResourceGroupResponse{DenyAssignmentListResult: list}, nil)
	return resp
}
