// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const governmentScope = "https://management.core.usgovcloudapi.net//.default"

var _ = Describe("clouds", func() {
	var r *rig
	BeforeEach(func() { r = newRig(DefaultConfig()) })

	token := func(ctx SpecContext, credential azcore.TokenCredential, scope string) error {
		_, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
		return err
	}
	list := func(ctx SpecContext, subscriptionID string, credential azcore.TokenCredential) error {
		GinkgoHelper()
		_, err := r.groups(subscriptionID, credential).NewListByResourceGroupPager("virtual-nodes", nil).NextPage(ctx)
		return err
	}

	It("have their own tenants, tokens and subscriptions", func(ctx SpecContext) {
		const otherTenant, otherSubscription = "88888888-8888-8888-8888-888888888888", "99999999-9999-9999-9999-999999999999"
		config := DefaultConfig()
		config.Tenants = append(config.Tenants, Tenant{ID: otherTenant})
		config.Subscriptions = append(config.Subscriptions, Subscription{ID: otherSubscription, TenantID: otherTenant})
		r = newRig(config)
		public := r.principal()
		Expect(list(ctx, DefaultSubscriptionID, public)).To(Succeed())
		Expect(list(ctx, DefaultGovernmentSubscriptionID, public)).To(beAzureError(http.StatusNotFound, "SubscriptionNotFound"))
		Expect(list(ctx, otherSubscription, public)).To(beAzureError(http.StatusUnauthorized, "InvalidAuthenticationTokenTenant"))

		r.cloud = azcloud.AzureGovernment
		government := r.credential(DefaultGovernmentTenantID, DefaultGovernmentClientID, DefaultClientSecret)
		Expect(list(ctx, DefaultGovernmentSubscriptionID, government)).To(Succeed())
		Expect(list(ctx, DefaultSubscriptionID, government)).To(beAzureError(http.StatusNotFound, "SubscriptionNotFound"))
		Expect(list(ctx, DefaultGovernmentSubscriptionID, fixedScope{public})).To(beAzureError(http.StatusUnauthorized, "InvalidAuthenticationTokenAudience"))
		Expect(token(ctx, r.principal(), governmentScope)).To(MatchError(ContainSubstring("AADSTS90002")), "a tenant of the public cloud")
		Expect(token(ctx, government, publicScope)).To(beLoginError(http.StatusBadRequest, "AADSTS500011"))

		r.cloud = azcloud.AzureChina
		Expect(token(ctx, r.principal(), publicScope)).To(MatchError(ContainSubstring("AADSTS90002")))
	})

	It("have their own regions", func(ctx SpecContext) {
		r.cloud = azcloud.AzureGovernment
		government := r.credential(DefaultGovernmentTenantID, DefaultGovernmentClientID, DefaultClientSecret)
		create := func(location string) error {
			_, err := r.groups(DefaultGovernmentSubscriptionID, government).
				BeginCreateOrUpdate(ctx, "virtual-nodes", "web", containerGroupOf(location), nil)
			return err
		}
		err := create("eastus")
		Expect(err).To(beAzureError(http.StatusBadRequest, "LocationNotAvailableForResourceType"))
		Expect(err).To(MatchError(ContainSubstring("List of available regions for the resource type is 'usgovvirginia'.")))
		Expect(create("USGov Virginia")).To(Succeed())

		providers, err := armresources.NewProvidersClient(DefaultGovernmentSubscriptionID, government, r.options())
		Expect(err).NotTo(HaveOccurred())
		for _, namespace := range []string{containerNamespace, networkNamespace} {
			provider, err := providers.Get(ctx, namespace, nil)
			Expect(err).NotTo(HaveOccurred())
			Expect(*provider.RegistrationState).To(Equal(registered))
			Expect(provider.ResourceTypes[0].Locations).To(HaveExactElements(HaveValue(Equal("USGov Virginia"))))
		}
		locations, err := armcontainerinstance.NewLocationClient(DefaultGovernmentSubscriptionID, government, r.options())
		Expect(err).NotTo(HaveOccurred())
		for location, count := range map[string]int{"usgovvirginia": 2, "eastus": 0} {
			capabilities, err := locations.NewListCapabilitiesPager(location, nil).NextPage(ctx)
			Expect(err).NotTo(HaveOccurred())
			Expect(capabilities.Value).To(HaveLen(count), location)
		}
		groups, err := armresources.NewResourceGroupsClient(DefaultGovernmentSubscriptionID, government, r.options())
		Expect(err).NotTo(HaveOccurred())
		_, err = groups.CreateOrUpdate(ctx, "new", armresources.ResourceGroup{Location: new("eastus")}, nil)
		Expect(err).To(beAzureError(http.StatusBadRequest, "LocationNotAvailableForResourceGroup"))

		planted := ContainerGroup{SubscriptionID: DefaultGovernmentSubscriptionID, ResourceGroup: "virtual-nodes", Name: "planted"}
		Expect(r.PutContainerGroup(planted)).To(Succeed())
		planted.Location = "eastus"
		Expect(r.PutContainerGroup(planted)).To(MatchError(ContainSubstring("LocationNotAvailableForResourceType")))
	})

	It("give a managed identity no token of another one", func(ctx SpecContext) {
		identity := r.identity(DefaultManagedIdentityID)
		Expect(token(ctx, identity, governmentScope)).To(beLoginError(http.StatusBadRequest, "AADSTS500011"))
		Expect(token(ctx, identity, publicScope)).To(Succeed())
	})

	It("rotate the secrets of each principal by itself", func(ctx SpecContext) {
		Expect(r.Client().SetClientSecret(ctx, DefaultGovernmentClientID, "rotated", time.Time{})).To(Succeed())
		Expect(token(ctx, r.principal(), publicScope)).To(Succeed())
		r.cloud = azcloud.AzureGovernment
		with := func(secret string) azcore.TokenCredential {
			return r.credential(DefaultGovernmentTenantID, DefaultGovernmentClientID, secret)
		}
		Expect(token(ctx, with("rotated"), governmentScope)).To(Succeed())
		Expect(token(ctx, with(DefaultClientSecret), governmentScope)).To(beLoginError(http.StatusUnauthorized, "AADSTS7000215"))
	})
})

// fixedScope asks for the public cloud's token whatever the client wants.
type fixedScope struct{ azcore.TokenCredential }

func (f fixedScope) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	options.Scopes = []string{publicScope}
	return f.TokenCredential.GetToken(ctx, options)
}
