// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestAzure(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Simulated Azure")
}

// rig is a simulated Azure with a clock that stands still, and the SDK's real clients that speak to it.
type rig struct {
	*Server
	clock *clocktesting.FakeClock
	cloud azcloud.Configuration
}

func newRig(config Config) *rig {
	GinkgoHelper()
	clock := clocktesting.NewFakeClock(time.Now().Truncate(time.Second))
	server, err := NewServer(config, WithClock(clock))
	Expect(err).NotTo(HaveOccurred())
	return &rig{Server: server, clock: clock, cloud: azcloud.AzurePublic}
}

func (r *rig) core() policy.ClientOptions {
	return policy.ClientOptions{Cloud: r.cloud, Transport: r.Transport(), Retry: policy.RetryOptions{MaxRetries: -1}}
}

func (r *rig) options() *arm.ClientOptions {
	return &arm.ClientOptions{ClientOptions: r.core(), DisableRPRegistration: true}
}

func (r *rig) credential(tenant, client, secret string) azcore.TokenCredential {
	GinkgoHelper()
	credential, err := azidentity.NewClientSecretCredential(tenant, client, secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: r.core()})
	Expect(err).NotTo(HaveOccurred())
	return credential
}

func (r *rig) principal() azcore.TokenCredential {
	GinkgoHelper()
	return r.credential(DefaultTenantID, DefaultClientID, DefaultClientSecret)
}

func (r *rig) identity(clientID string) azcore.TokenCredential {
	GinkgoHelper()
	credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
		ID: azidentity.ClientID(clientID), ClientOptions: r.core(),
	})
	Expect(err).NotTo(HaveOccurred())
	return credential
}

func (r *rig) groups(subscriptionID string, credential azcore.TokenCredential) *armcontainerinstance.ContainerGroupsClient {
	GinkgoHelper()
	client, err := armcontainerinstance.NewContainerGroupsClient(subscriptionID, credential, r.options())
	Expect(err).NotTo(HaveOccurred())
	return client
}

// create makes a group and leaves it at what Azure has just begun with.
func (r *rig) create(ctx SpecContext, name string, edit ...func(*armcontainerinstance.ContainerGroup)) error {
	GinkgoHelper()
	_, err := r.groups(DefaultSubscriptionID, r.principal()).
		BeginCreateOrUpdate(ctx, "virtual-nodes", name, containerGroupOf("eastus", edit...), nil)
	return err
}

func containerGroupOf(location string, edit ...func(*armcontainerinstance.ContainerGroup)) armcontainerinstance.ContainerGroup {
	group := armcontainerinstance.ContainerGroup{
		Location: new(location),
		Tags:     map[string]*string{"NodeName": new("node"), "UID": new("uid")},
		Properties: &armcontainerinstance.ContainerGroupPropertiesProperties{
			OSType: to.Ptr(armcontainerinstance.OperatingSystemTypesLinux),
			Containers: []*armcontainerinstance.Container{{
				Name: new("web"),
				Properties: &armcontainerinstance.ContainerProperties{
					Image:   new("mcr.microsoft.com/azuredocs/aci-helloworld"),
					Command: []*string{new("node"), new("server.js")},
					EnvironmentVariables: []*armcontainerinstance.EnvironmentVariable{
						{Name: new("PLAIN"), Value: new("seen")},
						{Name: new("SECRET"), SecureValue: new("hidden-value")},
					},
					Ports: []*armcontainerinstance.ContainerPort{{Port: to.Ptr[int32](80)}},
					Resources: &armcontainerinstance.ResourceRequirements{
						Requests: &armcontainerinstance.ResourceRequests{CPU: new(1.0), MemoryInGB: new(1.5)},
					},
				},
			}},
			IPAddress: &armcontainerinstance.IPAddress{
				Type:  to.Ptr(armcontainerinstance.ContainerGroupIPAddressTypePublic),
				Ports: []*armcontainerinstance.Port{{Port: to.Ptr[int32](80)}},
			},
		},
	}
	for _, e := range edit {
		e(&group)
	}
	return group
}

// inSubnet puts a group in a subnet of the default network.
func inSubnet(name string) func(*armcontainerinstance.ContainerGroup) {
	return func(g *armcontainerinstance.ContainerGroup) {
		id := "/subscriptions/" + DefaultSubscriptionID + "/resourceGroups/virtual-nodes/providers/Microsoft.Network/virtualNetworks/virtual-nodes/subnets/" + name
		g.Properties.IPAddress = nil
		g.Properties.SubnetIDs = []*armcontainerinstance.ContainerGroupSubnetID{{ID: &id}}
	}
}

// beAzureError matches an error that the SDK has read out of an answer, by status and code.
func beAzureError(status int, code string) types.GomegaMatcher {
	return WithTransform(func(err error) [2]any {
		var response *azcore.ResponseError
		if !errors.As(err, &response) {
			return [2]any{0, err}
		}
		return [2]any{response.StatusCode, response.ErrorCode}
	}, Equal([2]any{status, code}))
}

// beLoginError matches an error of a token endpoint by status and text.
func beLoginError(status int, text string) types.GomegaMatcher {
	return SatisfyAll(
		WithTransform(func(err error) int {
			var failed *azidentity.AuthenticationFailedError
			if !errors.As(err, &failed) || failed.RawResponse == nil {
				return 0
			}
			return failed.RawResponse.StatusCode
		}, Equal(status)),
		MatchError(ContainSubstring(text)),
	)
}

var _ = Describe("hosts", func() {
	It("refuses a host that is not Azure's", func() {
		server, err := NewServer(DefaultConfig())
		Expect(err).NotTo(HaveOccurred())
		request, err := http.NewRequest(http.MethodGet, "https://example.com/", http.NoBody)
		Expect(err).NotTo(HaveOccurred())
		response, err := server.Transport().Do(request)
		Expect(err).NotTo(HaveOccurred())
		Expect(response.StatusCode).To(Equal(http.StatusMisdirectedRequest))
	})
})
