// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("faults", func() {
	var r *rig
	var client *armcontainerinstance.ContainerGroupsClient

	BeforeEach(func(ctx SpecContext) {
		r = newRig(DefaultConfig())
		client = r.groups(DefaultSubscriptionID, r.principal())
		Expect(r.create(ctx, "web")).To(Succeed())
		r.ResetRequests()
	})
	add := func(f Fault) {
		GinkgoHelper()
		_, err := r.AddFault(f)
		Expect(err).NotTo(HaveOccurred())
	}
	get := func(ctx context.Context) error {
		_, err := client.Get(ctx, "virtual-nodes", "web", nil)
		return err
	}
	list := func(ctx SpecContext) int {
		GinkgoHelper()
		page, err := client.NewListByResourceGroupPager("virtual-nodes", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		return len(page.Value)
	}

	It("hit the operations that they name, as often as they say, and are counted", func(ctx SpecContext) {
		add(Fault{Operation: "containergroups.get", Status: http.StatusTooManyRequests, RetryAfter: 7 * time.Second, Times: 2})
		var response *http.Response
		Expect(get(policy.WithCaptureResponse(ctx, &response))).To(beAzureError(http.StatusTooManyRequests, "TooManyRequests"))
		Expect(response.Header.Get("Retry-After")).To(Equal("7"))
		Expect(list(ctx)).To(Equal(1))
		Expect(r.Faults()).To(HaveLen(1))
		Expect(get(ctx)).To(beAzureError(http.StatusTooManyRequests, "TooManyRequests"))
		Expect(get(ctx)).To(Succeed())
		Expect(r.Faults()).To(BeEmpty())
		Expect(r.Requests()).To(HaveKeyWithValue("ContainerGroups.Get", 3))
	})

	It("end with their time, and with a clear", func(ctx SpecContext) {
		add(Fault{Operation: "ContainerGroups.*", Status: http.StatusInternalServerError, For: time.Minute})
		Expect(get(ctx)).To(beAzureError(http.StatusInternalServerError, "InternalServerError"))
		r.clock.Step(time.Minute)
		Expect(get(ctx)).To(Succeed())
		add(Fault{Operation: "*", Status: http.StatusForbidden, Code: "Own", Message: "own words"})
		Expect(get(ctx)).To(SatisfyAll(beAzureError(http.StatusForbidden, "Own"), MatchError(ContainSubstring("own words"))))
		r.ClearFaults()
		Expect(get(ctx)).To(Succeed())
	})

	It("can be limited to a scope", func(ctx SpecContext) {
		add(Fault{Operation: "*", Status: http.StatusInternalServerError, Scope: "/subscriptions/" + DefaultSubscriptionID + "/resourceGroups/virtual-nodes-westus"})
		Expect(get(ctx)).To(Succeed())
		_, err := client.Get(ctx, "virtual-nodes-westus", "web", nil)
		Expect(err).To(beAzureError(http.StatusInternalServerError, "InternalServerError"))
	})

	It("answer with a proxy's page, or not at all", func(ctx SpecContext) {
		add(Fault{Operation: "ContainerGroups.Get", Status: http.StatusBadGateway, Body: "<html><body>proxy</body></html>", Times: 1})
		err := get(ctx)
		var response *azcore.ResponseError
		Expect(errors.As(err, &response)).To(BeTrue())
		Expect(response.StatusCode).To(Equal(http.StatusBadGateway))
		Expect(err).To(MatchError(ContainSubstring("proxy")))
		add(Fault{Operation: "ContainerGroups.Get", Drop: true, Times: 1})
		Expect(get(ctx)).To(MatchError(io.ErrUnexpectedEOF))
		Expect(get(ctx)).To(Succeed())
	})

	It("hold requests back until their time has come or the client has left", func(ctx SpecContext) {
		add(Fault{Operation: "ContainerGroups.Get", Delay: time.Minute})
		done := make(chan error, 1)
		go func() { done <- get(ctx) }()
		Eventually(r.clock.HasWaiters).WithContext(ctx).Should(BeTrue())
		Consistently(done).WithTimeout(50 * time.Millisecond).ShouldNot(Receive())
		r.clock.Step(time.Minute)
		Eventually(done).WithContext(ctx).Should(Receive(BeNil()))

		left, cancel := context.WithCancel(ctx)
		go func() { done <- get(left) }()
		Eventually(r.clock.HasWaiters).WithContext(ctx).Should(BeTrue())
		cancel()
		Eventually(done).WithContext(ctx).Should(Receive(MatchError(context.Canceled)))
	}, NodeTimeout(30*time.Second))

	It("make lists lag behind", func(ctx SpecContext) {
		r.clock.Step(time.Minute)
		add(Fault{Operation: "ContainerGroups.List", Lag: 10 * time.Second})
		Expect(r.create(ctx, "new")).To(Succeed())
		Expect(r.DeleteContainerGroup(DefaultSubscriptionID, "virtual-nodes", "web")).To(Succeed())
		Expect(get(ctx)).To(beAzureError(http.StatusNotFound, "ResourceNotFound"))
		page, err := client.NewListByResourceGroupPager("virtual-nodes", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(page.Value).To(HaveLen(1))
		Expect(*page.Value[0].Name).To(Equal("web"))
		r.clock.Step(10 * time.Second)
		page, err = client.NewListByResourceGroupPager("virtual-nodes", nil).NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(page.Value).To(HaveLen(1))
		Expect(*page.Value[0].Name).To(Equal("new"))
	})

	It("reach login and instance metadata", func(ctx SpecContext) {
		add(Fault{Operation: "Token", Status: http.StatusServiceUnavailable, Times: 1})
		_, err := r.principal().GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{publicScope}})
		Expect(err).To(beLoginError(http.StatusServiceUnavailable, "AADSTS90033"))
		_, err = r.principal().GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{publicScope}})
		Expect(err).NotTo(HaveOccurred())
	})

	It("can be limited to the tokens of a client", func(ctx SpecContext) {
		add(Fault{Operation: "Token", Status: http.StatusServiceUnavailable, Scope: DefaultGovernmentClientID})
		_, err := r.principal().GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{publicScope}})
		Expect(err).NotTo(HaveOccurred())
		add(Fault{Operation: "Token", Status: http.StatusServiceUnavailable, Scope: DefaultClientID})
		_, err = r.principal().GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{publicScope}, EnableCAE: true})
		Expect(err).To(beLoginError(http.StatusServiceUnavailable, "AADSTS90033"))
	})

	DescribeTable("are refused where they make no sense",
		func(f Fault, says string) {
			_, err := r.AddFault(f)
			Expect(err).To(MatchError(ContainSubstring(says)))
		},
		Entry("no operation", Fault{Status: 500}, "operation"),
		Entry("no glob", Fault{Operation: "[", Status: 500}, "operation"),
		Entry("no effect", Fault{Operation: "*"}, "give a status"),
		Entry("no status of HTTP", Fault{Operation: "*", Status: 42}, "status 42"),
		Entry("too much lag", Fault{Operation: "*", Lag: time.Hour}, "lag"),
		Entry("a body alone", Fault{Operation: "*", Body: "x"}, "status"),
	)
})
