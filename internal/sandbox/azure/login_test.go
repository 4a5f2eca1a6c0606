// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const publicScope = "https://management.core.windows.net//.default"

var _ = Describe("login", func() {
	var r *rig
	BeforeEach(func() { r = newRig(DefaultConfig()) })

	token := func(ctx SpecContext, c azcore.TokenCredential) error {
		_, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{publicScope}})
		return err
	}

	It("gives a token for the right secret", func(ctx SpecContext) {
		got, err := r.principal().GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{publicScope}})
		Expect(err).NotTo(HaveOccurred())
		Expect(got.ExpiresOn).To(BeTemporally("~", time.Now().Add(time.Hour), time.Minute))
		Expect(r.Requests()).To(Equal(map[string]int{"InstanceDiscovery": 1, "OpenIDConfiguration": 1, "Token": 1}))
	})

	It("names what is wrong as Azure does", func(ctx SpecContext) {
		Expect(token(ctx, r.credential(DefaultTenantID, DefaultClientID, "wrong"))).To(beLoginError(http.StatusUnauthorized, "AADSTS7000215"))
		Expect(token(ctx, r.credential(DefaultTenantID, DefaultManagedIdentityID, "any"))).To(beLoginError(http.StatusBadRequest, "AADSTS700016"))
		Expect(token(ctx, r.credential("99999999-9999-9999-9999-999999999999", DefaultClientID, "any"))).
			To(MatchError(ContainSubstring("AADSTS90002")))

		Expect(r.SetClientSecret(DefaultClientID, "new", r.clock.Now().Add(time.Minute))).To(Succeed())
		Expect(token(ctx, r.credential(DefaultTenantID, DefaultClientID, "new"))).To(Succeed())
		r.clock.Step(time.Minute)
		Expect(token(ctx, r.credential(DefaultTenantID, DefaultClientID, "new"))).To(beLoginError(http.StatusUnauthorized, "AADSTS7000222"))
	})

	It("never answers with the secret", func(ctx SpecContext) {
		err := token(ctx, r.credential(DefaultTenantID, DefaultClientID, "a-wrong-secret"))
		Expect(err).To(HaveOccurred())
		Expect(err.Error()).NotTo(ContainSubstring("a-wrong-secret"))
		Expect(fmt.Sprintf("%v %+v %#v", DefaultConfig(), DefaultConfig(), DefaultConfig())).NotTo(ContainSubstring(DefaultClientSecret))
	})

	It("gives managed identities their tokens, and only those that there are", func(ctx SpecContext) {
		_, err := r.groups(DefaultSubscriptionID, r.identity(DefaultManagedIdentityID)).
			NewListByResourceGroupPager("virtual-nodes", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(token(ctx, r.identity("99999999-9999-9999-9999-999999999999"))).To(beLoginError(http.StatusBadRequest, "Identity not found"))

		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://169.254.169.254/metadata/identity/oauth2/token?resource=x", http.NoBody)
		Expect(err).NotTo(HaveOccurred())
		response, err := r.Transport().Do(request)
		Expect(err).NotTo(HaveOccurred())
		Expect(response.StatusCode).To(Equal(http.StatusBadRequest), "without the Metadata header")
	})
})

var _ = Describe("access tokens", func() {
	list := func(ctx SpecContext, c *armcontainerinstance.ContainerGroupsClient) error {
		_, err := c.NewListByResourceGroupPager("virtual-nodes", nil).NextPage(ctx)
		return err
	}

	It("end, and foreign ones are refused", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		client := r.groups(DefaultSubscriptionID, r.principal())
		Expect(list(ctx, client)).To(Succeed())
		r.clock.Step(time.Hour)
		err := list(ctx, client)
		Expect(err).To(beAzureError(http.StatusUnauthorized, "ExpiredAuthenticationToken"))
		Expect(list(ctx, r.groups(DefaultSubscriptionID, staticToken("foreign")))).
			To(beAzureError(http.StatusUnauthorized, "InvalidAuthenticationToken"))
	})
})

// staticToken is a credential with one token.
type staticToken string

func (t staticToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}
