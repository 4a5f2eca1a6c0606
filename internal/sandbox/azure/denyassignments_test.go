// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("deny assignments", func() {
	const (
		subscription = "/subscriptions/" + DefaultSubscriptionID
		group        = subscription + "/resourceGroups/virtual-nodes"
	)
	var r *rig
	BeforeEach(func() { r = newRig(DefaultConfig()) })

	read := func(ctx SpecContext) error {
		_, err := r.groups(DefaultSubscriptionID, r.principal()).NewListByResourceGroupPager("virtual-nodes", nil).NextPage(ctx)
		return err
	}
	list := func(ctx SpecContext, options *armauthorization.DenyAssignmentsClientListForResourceGroupOptions) (found []*armauthorization.DenyAssignment, err error) {
		GinkgoHelper()
		client, err := armauthorization.NewDenyAssignmentsClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		for pager := client.NewListForResourceGroupPager("virtual-nodes", options); pager.More(); {
			page, err := pager.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			found = append(found, page.Value...)
		}
		return found, nil
	}

	It("keep from what roles allow, and from nothing else", func(ctx SpecContext) {
		Expect(r.Client().SetDenyAssignments(ctx, group, DenyAssignment{
			Name: "lockdown", Scope: group, Actions: []string{"*"}, NotActions: []string{"*/read"},
		})).To(Succeed())
		Expect(read(ctx)).To(Succeed())
		err := r.create(ctx, "web")
		Expect(err).To(beAzureError(http.StatusForbidden, "DenyAssignmentAuthorizationFailed"))
		found, listErr := list(ctx, nil)
		Expect(listErr).NotTo(HaveOccurred())
		Expect(err).To(MatchError(ContainSubstring("The client '" + DefaultClientID + "' with object id '33333333-3333-3333-3333-3333333333aa' " +
			"has permission to perform action 'Microsoft.ContainerInstance/containerGroups/write' on scope '" +
			containerGroupID(DefaultSubscriptionID, "virtual-nodes", "web") + "'; however, the access is denied because of the deny assignment " +
			"with name 'lockdown' and Id '" + strings.ReplaceAll(*found[0].Name, "-", "") + "' at scope '" + group + "'.")))

		By("allowing nothing by roles")
		Expect(r.SetRoleAssignments(DefaultClientID)).To(Succeed())
		Expect(r.create(ctx, "web")).To(beAzureError(http.StatusForbidden, "AuthorizationFailed"))

		By("taking it away")
		Expect(r.SetRoleAssignments(DefaultClientID, Contributor(DefaultClientID, subscription))).To(Succeed())
		Expect(r.Client().SetDenyAssignments(ctx, group)).To(Succeed())
		Expect(r.create(ctx, "web")).To(Succeed())
	})

	It("are for those that they name", func(ctx SpecContext) {
		set := func(d DenyAssignment) {
			GinkgoHelper()
			d.Name, d.Scope, d.Actions = "deny", subscription, []string{"*"}
			Expect(r.SetDenyAssignments(subscription, d)).To(Succeed())
		}
		set(DenyAssignment{ClientIDs: []string{DefaultManagedIdentityID}})
		Expect(read(ctx)).To(Succeed())
		set(DenyAssignment{ClientIDs: []string{DefaultManagedIdentityID, strings.ToUpper(DefaultClientID)}})
		Expect(read(ctx)).To(beAzureError(http.StatusForbidden, "DenyAssignmentAuthorizationFailed"))
		set(DenyAssignment{ExcludeClientIDs: []string{DefaultClientID}})
		Expect(read(ctx)).To(Succeed())
	})

	It("keep from joining a subnet", func(ctx SpecContext) {
		const network = group + "/providers/Microsoft.Network/virtualNetworks/virtual-nodes"
		Expect(r.SetDenyAssignments(network, DenyAssignment{Name: "network", Scope: network, Actions: []string{joinAction}})).To(Succeed())
		err := r.create(ctx, "web", inSubnet("container-groups"))
		Expect(err).To(beAzureError(http.StatusForbidden, "LinkedAuthorizationFailed"))
		Expect(err).To(MatchError(ContainSubstring("is blocked by deny assignments on the '1' linked scope(s) '" + network + "/subnets/container-groups'.")))
		Expect(r.create(ctx, "web")).To(Succeed())
	})

	It("are listed for a resource group, page by page", func(ctx SpecContext) {
		const inside, other = group + containersPath + "/web", subscription + "/resourceGroups/clusters"
		config := DefaultConfig()
		config.PageSize = 1
		config.DenyAssignments = []DenyAssignment{
			{Name: "everyone", Scope: group, Actions: []string{"*"}, NotActions: []string{"*/read"}, ExcludeClientIDs: []string{DefaultManagedIdentityID}},
			{Name: "one", Scope: subscription + "/", Actions: []string{"A/b"}, ClientIDs: []string{DefaultClientID}},
			{Name: "inside", Scope: inside, Actions: []string{"A/b"}},
			{Name: "elsewhere", Scope: other, Actions: []string{"A/b"}},
		}
		r = newRig(config)
		found, err := list(ctx, nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(r.Requests()).To(HaveKeyWithValue("DenyAssignments.List", 3))
		byName := map[string]*armauthorization.DenyAssignment{}
		for _, d := range found {
			byName[*d.Properties.DenyAssignmentName] = d
		}
		Expect(byName).To(SatisfyAll(HaveLen(3), HaveKey("inside")))
		everyone, one := byName["everyone"], byName["one"]
		Expect(*everyone.ID).To(Equal(group + "/providers/Microsoft.Authorization/denyAssignments/" + *everyone.Name))
		Expect(*everyone.Properties.Scope).To(Equal(group))
		Expect(*everyone.Properties.Permissions[0].Actions[0]).To(Equal("*"))
		Expect(*everyone.Properties.Permissions[0].NotActions[0]).To(Equal("*/read"))
		Expect(everyone.Properties.Principals).To(HaveExactElements(HaveValue(Equal(
			armauthorization.Principal{ID: new("00000000-0000-0000-0000-000000000000"), Type: new("SystemDefined")}))))
		Expect(everyone.Properties.ExcludePrincipals).To(HaveExactElements(HaveValue(Equal(
			armauthorization.Principal{ID: new("44444444-4444-4444-4444-4444444444aa"), Type: new("ServicePrincipal")}))))
		Expect(*one.Properties.Scope).To(Equal(subscription))
		Expect(one.Properties.Principals).To(HaveExactElements(HaveValue(Equal(
			armauthorization.Principal{ID: new("33333333-3333-3333-3333-3333333333aa"), Type: new("ServicePrincipal")}))))
		Expect(one.Properties.ExcludePrincipals).To(BeEmpty())

		found, err = list(ctx, &armauthorization.DenyAssignmentsClientListForResourceGroupOptions{Filter: new("atScope()")})
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(HaveLen(2), "not inside")
		_, err = list(ctx, &armauthorization.DenyAssignmentsClientListForResourceGroupOptions{Filter: new("denyAssignmentName eq 'one'")})
		Expect(err).To(beAzureError(http.StatusBadRequest, "UnsupportedQuery"))

		By("without the right to read them")
		limited := Contributor(DefaultClientID, subscription)
		limited.NotActions = append(limited.NotActions, "Microsoft.Authorization/denyAssignments/read")
		Expect(r.SetRoleAssignments(DefaultClientID, limited)).To(Succeed())
		_, err = list(ctx, nil)
		Expect(err).To(beAzureError(http.StatusForbidden, "AuthorizationFailed"))
	})

	It("are refused where they point to nothing, and change nothing then", func(ctx SpecContext) {
		good := DenyAssignment{Name: "good", Scope: group, Actions: []string{"A/b"}}
		Expect(r.SetDenyAssignments(group, good)).To(Succeed())
		set := func(scope string, d DenyAssignment) error { return r.Client().SetDenyAssignments(ctx, scope, d) }
		Expect(set(group, DenyAssignment{Scope: group})).To(MatchError(ContainSubstring("has no name")))
		Expect(set("group", good)).To(MatchError(ContainSubstring(`scope "group" is not a resource ID`)))
		Expect(set("/subscriptions/missing", good)).To(MatchError(ContainSubstring(`subscription "missing" does not exist`)))
		Expect(set(subscription, good)).To(MatchError(ContainSubstring(`deny assignment "good" is on "` + group + `", not on "` + subscription + `"`)))
		Expect(set(group, DenyAssignment{Name: "a", Scope: group, ClientIDs: []string{DefaultGovernmentClientID}})).
			To(MatchError(ContainSubstring(`principal "` + DefaultGovernmentClientID + `" does not exist in tenant ` + DefaultTenantID)))
		found, err := list(ctx, nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(HaveLen(1))
	})
})
