// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	. "github.com/onsi/gomega"

	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	subscriptionScope = "/subscriptions/" + subscription
	groupScope        = subscriptionScope + "/resourceGroups/" + rgName
)

type (
	roles   []simulated.RoleAssignment
	denials []simulated.DenyAssignment
)

func role(scope string, actions, notActions []string) simulated.RoleAssignment {
	return simulated.RoleAssignment{ClientID: simulated.DefaultClientID, Scope: scope, Actions: actions, NotActions: notActions}
}

func TestSessionReadsRights(t *testing.T) {
	const (
		read   = "Microsoft.ContainerInstance/containerGroups/read"
		write  = "Microsoft.ContainerInstance/containerGroups/write"
		remove = "Microsoft.ContainerInstance/containerGroups/delete"
	)
	for name, test := range map[string]struct {
		roles roles
		deny  denials
		want  Rights
	}{
		"contributor":                {},
		"contributor on the group":   {roles: roles{simulated.Contributor(simulated.DefaultClientID, groupScope)}},
		"just what it takes":         {roles: roles{role(groupScope, []string{read, write, remove}, nil)}},
		"of two roles":               {roles: roles{role(groupScope, []string{"*/read"}, nil), role(subscriptionScope, []string{write, remove}, nil)}},
		"in any case, by a pattern":  {roles: roles{role(groupScope, []string{"microsoft.containerinstance/*"}, nil)}},
		"one takes, another one has": {roles: roles{role(groupScope, []string{"*"}, []string{write}), role(groupScope, []string{write}, nil)}},
		"nothing": {
			roles: roles{}, want: Rights{Missing: []string{read, write, remove}},
		},
		"reader": {
			roles: roles{simulated.Reader(simulated.DefaultClientID, subscriptionScope)}, want: Rights{Missing: []string{write, remove}},
		},
		"all but to write": {
			roles: roles{role(groupScope, []string{"*"}, []string{"*/containerGroups/write"})}, want: Rights{Missing: []string{write}},
		},
		"elsewhere": {
			roles: roles{simulated.Contributor(simulated.DefaultClientID, subscriptionScope+"/resourceGroups/clusters")},
			want:  Rights{Missing: []string{read, write, remove}},
		},
		"a dot is a dot": {
			roles: roles{role(groupScope, []string{"MicrosoftXContainerInstance/*"}, nil)}, want: Rights{Missing: []string{read, write, remove}},
		},
		"denied to everyone": {
			deny: denials{{Name: "lockdown", Scope: groupScope, Actions: []string{"*"}, NotActions: []string{"*/read"}}},
			want: Rights{DeniedBy: "lockdown"},
		},
		"denied to me": {
			deny: denials{{Name: "mine", Scope: groupScope, Actions: []string{write}, ClientIDs: []string{simulated.DefaultClientID}}},
			want: Rights{DeniedBy: "mine"},
		},
		"denied to others": {
			deny: denials{{Name: "others", Scope: groupScope, Actions: []string{"*"}, ClientIDs: []string{simulated.DefaultManagedIdentityID}}},
		},
		"denied to all but me": {
			deny: denials{{Name: "lockdown", Scope: groupScope, Actions: []string{"*/write"}, ExcludeClientIDs: []string{simulated.DefaultClientID}}},
		},
		"denied what is not needed": {
			deny: denials{{Name: "network", Scope: groupScope, Actions: []string{"Microsoft.Network/*"}}},
		},
		"denied all but what is needed": {
			deny: denials{{
				Name: "rest", Scope: groupScope, Actions: []string{"*"}, NotActions: []string{"Microsoft.ContainerInstance/*", "Microsoft.Authorization/*"},
			}},
		},
		"one of many": {
			deny: denials{
				{Name: "a", Scope: groupScope, Actions: []string{"Microsoft.Network/*"}},
				{Name: "b", Scope: groupScope, Actions: []string{remove}},
				{Name: "c", Scope: groupScope, Actions: []string{"Microsoft.Compute/*"}},
			},
			want: Rights{DeniedBy: "b"},
		},
		"denied a look at the deny assignments": {
			deny: denials{{Name: "lockdown", Scope: groupScope, Actions: []string{"*"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRig(t, func(c *simulated.Config) { c.PageSize = 1 })
			if test.roles != nil {
				g.Expect(r.SetRoleAssignments(simulated.DefaultClientID, test.roles...)).To(Succeed())
			}
			g.Expect(r.SetDenyAssignments(groupScope, test.deny...)).To(Succeed())
			g.Expect(connected(t, r).Rights(t.Context(), subscription, rgName)).To(Equal(test.want))
		})
	}
}

// An answer that comes and goes with every hiccup of Azure's would be told as news each time.
func TestRightsAreUnknownWhereDenyAssignmentsAre(t *testing.T) {
	g := NewWithT(t)
	r := newRig(t)
	r.fault(t, simulated.Fault{Operation: "DenyAssignments.List", Status: http.StatusTooManyRequests})
	_, err := connected(t, r).Rights(t.Context(), subscription, rgName)
	g.Expect(err).To(MatchError(ContainSubstring("list the deny assignments of resource group virtual-nodes: ")))
}

type fixedToken string

func (t fixedToken) GetToken(_ context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(t)}, nil
}

// Nobody promises clients that they can read a token.
func TestATokenThatTellsNothingIsOfNobody(t *testing.T) {
	const ofNobody = "eyJhbGciOiJub25lIn0.e30."
	for _, token := range []string{"", "opaque", "a.b.c", ofNobody} {
		s := &Session{tokens: &tokens{current: fixedToken(token)}}
		s.options.Cloud = configuration(target().Cloud)
		NewWithT(t).Expect(s.objectID(t.Context())).To(BeEmpty(), "%q", token)
	}
}

func TestCovers(t *testing.T) {
	for _, test := range []struct {
		patterns string
		action   string
		want     bool
	}{
		{"", "A/b/read", false},
		{"*", "A/b/read", true},
		{"*/read", "A/b/read", true},
		{"a/B/READ", "A/b/read", true},
		{"A/*/read", "A/b/c/read", true},
		{"A/b", "A/b/read", false},
		{"b/read", "A/b/read", false},
		{"A.b/*", "AXb/read", false},
		{"(/*", "A/b/read", false},
		{"B/*,A/*", "A/b/read", true},
	} {
		var patterns []*string
		for pattern := range strings.SplitSeq(test.patterns, ",") {
			patterns = append(patterns, new(pattern), nil)
		}
		NewWithT(t).Expect(covers(patterns, test.action)).To(Equal(test.want), "%s of %s", test.action, test.patterns)
	}
}
