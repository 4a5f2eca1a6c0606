// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("roles", func() {
	const subscription = "/subscriptions/" + DefaultSubscriptionID

	It("limit a principal to scopes and actions", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		Expect(r.SetRoleAssignments(DefaultClientID,
			Reader(DefaultClientID, subscription+"/resourceGroups/virtual-nodes"),
			Contributor(DefaultClientID, subscription+"/resourceGroups/virtual-nodes-westus"))).To(Succeed())
		client := r.groups(DefaultSubscriptionID, r.principal())

		_, err := client.NewListByResourceGroupPager("virtual-nodes", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		err = r.create(ctx, "web")
		Expect(err).To(beAzureError(http.StatusForbidden, "AuthorizationFailed"))
		Expect(err).To(MatchError(ContainSubstring("The client '" + DefaultClientID + "' with object id '33333333-3333-3333-3333-3333333333aa' " +
			"does not have authorization to perform action 'Microsoft.ContainerInstance/containerGroups/write' over scope '" +
			containerGroupID(DefaultSubscriptionID, "virtual-nodes", "web") + "' or the scope is invalid. If access was recently granted, please refresh your credentials.")))
		_, err = client.BeginCreateOrUpdate(ctx, "virtual-nodes-westus", "web", containerGroupOf("westus"), nil)
		Expect(err).NotTo(HaveOccurred())
		_, err = client.NewListPager(nil).NextPage(ctx)
		Expect(err).To(beAzureError(http.StatusForbidden, "AuthorizationFailed"), "the whole subscription")
		_, err = client.Get(ctx, "missing", "web", nil)
		Expect(err).To(beAzureError(http.StatusForbidden, "AuthorizationFailed"), "what it may not see it may not miss")

		permissions, err := armauthorization.NewPermissionsClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		page, err := permissions.NewListForResourceGroupPager("virtual-nodes", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(page.Value).To(HaveLen(1))
		Expect(page.Value[0].Actions).To(HaveExactElements(HaveValue(Equal("*/read"))))
	})

	It("reach from their scope down to a subnet", func(ctx SpecContext) {
		const network = subscription + "/resourceGroups/virtual-nodes/providers/Microsoft.Network/virtualNetworks/virtual-nodes"
		r := newRig(DefaultConfig())
		role := func(scope, action string) RoleAssignment {
			return RoleAssignment{ClientID: DefaultClientID, Scope: scope, Actions: []string{action}}
		}
		Expect(r.SetRoleAssignments(DefaultClientID,
			role(subscription, "A/a"), role(subscription+"/resourceGroups/VIRTUAL-NODES", "A/b"), role(network, "A/c"),
			role(network+"/subnets/container-groups", joinAction), role(network+"/subnets/free", "A/e"),
			Contributor(DefaultClientID, subscription+"/resourceGroups/virtual-nodes"+containersPath+"/web"),
		)).To(Succeed())
		permissions, err := armauthorization.NewPermissionsClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		actions := func(subnet string) (actions []string) {
			GinkgoHelper()
			pager := permissions.NewListForResourcePager("virtual-nodes", networkNamespace, "virtualNetworks/virtual-nodes", "subnets", subnet, nil)
			for pager.More() {
				page, err := pager.NextPage(ctx)
				Expect(err).NotTo(HaveOccurred())
				for _, p := range page.Value {
					actions = append(actions, *p.Actions[0])
				}
			}
			return actions
		}
		Expect(actions("container-groups")).To(Equal([]string{"A/a", "A/b", "A/c", joinAction}))
		Expect(actions("free")).To(Equal([]string{"A/a", "A/b", "A/c", "A/e"}))
		Expect(r.Requests()).To(HaveKeyWithValue("Permissions.ListForResource", 2))
		_, err = permissions.NewListForResourcePager("missing", networkNamespace, "virtualNetworks/n", "subnets", "s", nil).NextPage(ctx)
		Expect(err).To(beAzureError(http.StatusNotFound, "ResourceGroupNotFound"))

		By("joining the one subnet and not the other")
		Expect(r.create(ctx, "web", inSubnet("container-groups"))).To(Succeed())
		Expect(r.create(ctx, "web", inSubnet("free"))).To(beAzureError(http.StatusForbidden, "LinkedAuthorizationFailed"))
	})

	DescribeTable("match actions by glob",
		func(pattern, action string, want bool) {
			Expect(matchesAction([]string{pattern}, action)).To(Equal(want))
		},
		Entry(nil, "*", "A/b/read", true),
		Entry(nil, "*/read", "A/b/Read", true),
		Entry(nil, "*/read", "A/b/write", false),
		Entry(nil, "*/read", "A/read/write", false),
		Entry(nil, "A/*/Write", "a/b/write", true),
		Entry(nil, "A/*/Write", "b/a/c/write", false),
		Entry(nil, "A/b/write", "A/b/write", true),
		Entry(nil, "A/b/write", "A/b/write/more", false),
		Entry(nil, "A/*", "A/b/c", true),
	)
})
