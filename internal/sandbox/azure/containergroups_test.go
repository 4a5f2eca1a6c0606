// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/net/websocket"
)

var _ = Describe("container groups", func() {
	var r *rig
	var client *armcontainerinstance.ContainerGroupsClient
	timing := DefaultConfig().Timing

	BeforeEach(func() {
		r = newRig(DefaultConfig())
		client = r.groups(DefaultSubscriptionID, r.principal())
	})
	get := func(ctx SpecContext, name string) armcontainerinstance.ContainerGroup {
		GinkgoHelper()
		got, err := client.Get(ctx, "virtual-nodes", name, nil)
		Expect(err).NotTo(HaveOccurred())
		return got.ContainerGroup
	}
	states := func(ctx SpecContext, name string) [2]string {
		GinkgoHelper()
		p := get(ctx, name).Properties
		return [2]string{*p.ProvisioningState, *p.InstanceView.State}
	}
	names := func(ctx SpecContext) (names []string) {
		GinkgoHelper()
		pager := client.NewListByResourceGroupPager("virtual-nodes", nil)
		for pager.More() {
			page, err := pager.NextPage(ctx)
			Expect(err).NotTo(HaveOccurred())
			for _, g := range page.Value {
				names = append(names, *g.Name)
			}
		}
		return names
	}

	It("come up step by step", func(ctx SpecContext) {
		poller, err := client.BeginCreateOrUpdate(ctx, "virtual-nodes", "default-web", containerGroupOf("East US"), nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(states(ctx, "default-web")).To(Equal([2]string{"Pending", "Pending"}))
		r.clock.Step(timing.ContainerGroupPending)
		Expect(states(ctx, "default-web")).To(Equal([2]string{"Creating", "Pending"}))
		_, err = poller.Poll(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(poller.Done()).To(BeFalse())
		r.clock.Step(timing.ContainerGroupCreating)
		Expect(states(ctx, "default-web")).To(Equal([2]string{"Succeeded", "Running"}))
		_, err = poller.Poll(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(poller.Done()).To(BeTrue())
		result, err := poller.Result(ctx)
		Expect(err).NotTo(HaveOccurred())

		Expect(*result.Location).To(Equal("eastus"))
		Expect(*result.ID).To(Equal(containerGroupID(DefaultSubscriptionID, "virtual-nodes", "default-web")))
		Expect(*result.Properties.IPAddress.IP).To(HavePrefix("20.0.0."))
		Expect(*result.Tags["NodeName"]).To(Equal("node"))
		web := result.Properties.Containers[0].Properties
		Expect(*web.InstanceView.CurrentState.State).To(Equal("Running"))
		Expect(*web.InstanceView.CurrentState.StartTime).To(BeTemporally("==", r.clock.Now()))
		Expect(*web.Command[1]).To(Equal("server.js"))
		Expect(*web.EnvironmentVariables[0].Value).To(Equal("seen"))
		Expect(*web.EnvironmentVariables[1].Name).To(Equal("SECRET"))
		Expect(web.EnvironmentVariables[1].SecureValue).To(BeNil())
	})

	It("are found in any case, and keep their own", func(ctx SpecContext) {
		Expect(r.create(ctx, "default-web")).To(Succeed())
		got, err := r.groups(strings.ToUpper(DefaultSubscriptionID), r.principal()).Get(ctx, "Virtual-Nodes", "DEFAULT-WEB", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(*got.ID).To(Equal(containerGroupID(DefaultSubscriptionID, "virtual-nodes", "default-web")))
	})

	It("are listed without an instance view, page by page", func(ctx SpecContext) {
		config := DefaultConfig()
		config.PageSize = 2
		r = newRig(config)
		client = r.groups(DefaultSubscriptionID, r.principal())
		var want []string
		for i := range 5 {
			want = append(want, fmt.Sprintf("group-%d", i))
			Expect(r.create(ctx, want[i])).To(Succeed())
		}
		Expect(names(ctx)).To(Equal(want))
		Expect(r.Requests()).To(HaveKeyWithValue("ContainerGroups.List", 3))

		By("listing twice at once")
		one, other := client.NewListByResourceGroupPager("virtual-nodes", nil), client.NewListPager(nil)
		first, err := one.NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(first.Value[0].Properties.InstanceView).To(BeNil())
		count := 0
		for other.More() {
			page, err := other.NextPage(ctx)
			Expect(err).NotTo(HaveOccurred())
			count += len(page.Value)
		}
		second, err := one.NextPage(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(count).To(Equal(5))
		Expect(*second.Value[0].Name).To(Equal("group-2"))
	})

	It("go when they are deleted, once the delete has taken its time", func(ctx SpecContext) {
		Expect(r.create(ctx, "default-web")).To(Succeed())
		poller, err := client.BeginDelete(ctx, "virtual-nodes", "default-web", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(names(ctx)).To(ConsistOf("default-web"))
		Expect(r.create(ctx, "default-web")).To(beAzureError(http.StatusConflict, "ContainerGroupTransitioning"))
		_, err = poller.Poll(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(poller.Done()).To(BeFalse())
		r.clock.Step(timing.ContainerGroupDeleting)
		Expect(names(ctx)).To(BeEmpty())
		_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second})
		Expect(err).NotTo(HaveOccurred())
		_, err = client.Get(ctx, "virtual-nodes", "default-web", nil)
		Expect(err).To(beAzureError(http.StatusNotFound, "ResourceNotFound"))

		By("deleting what is not there")
		var response *http.Response
		_, err = client.BeginDelete(policy.WithCaptureResponse(ctx, &response), "virtual-nodes", "default-web", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(response.StatusCode).To(Equal(http.StatusNoContent))

		By("deleting without a delay")
		timing := timing
		timing.ContainerGroupDeleting = 0
		r.SetTiming(timing)
		Expect(r.create(ctx, "default-web")).To(Succeed())
		_, err = client.BeginDelete(policy.WithCaptureResponse(ctx, &response), "virtual-nodes", "default-web", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(response.StatusCode).To(Equal(http.StatusOK))
		Expect(names(ctx)).To(BeEmpty())
	})

	It("stop, start and restart", func(ctx SpecContext) {
		Expect(r.create(ctx, "default-web")).To(Succeed())
		r.clock.Step(time.Minute)
		_, err := client.Stop(ctx, "virtual-nodes", "default-web", nil)
		Expect(err).NotTo(HaveOccurred())
		stopped := get(ctx, "default-web").Properties
		Expect(*stopped.InstanceView.State).To(Equal("Stopped"))
		Expect(*stopped.Containers[0].Properties.InstanceView.CurrentState.State).To(Equal("Terminated"))
		_, err = client.BeginStart(ctx, "virtual-nodes", "default-web", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(states(ctx, "default-web")).To(Equal([2]string{"Pending", "Pending"}))
		r.clock.Step(time.Minute)
		_, err = client.BeginRestart(ctx, "virtual-nodes", "default-web", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(states(ctx, "default-web")).To(Equal([2]string{"Pending", "Pending"}))
	})

	It("keep running through a change of tags, and start anew with another image", func(ctx SpecContext) {
		Expect(r.create(ctx, "default-web")).To(Succeed())
		r.clock.Step(time.Minute)
		Expect(r.create(ctx, "default-web", func(g *armcontainerinstance.ContainerGroup) { g.Tags["NodeName"] = new("other") })).To(Succeed())
		Expect(states(ctx, "default-web")).To(Equal([2]string{"Succeeded", "Running"}))
		Expect(*get(ctx, "default-web").Tags["NodeName"]).To(Equal("other"))
		Expect(r.create(ctx, "default-web", func(g *armcontainerinstance.ContainerGroup) {
			g.Properties.Containers[0].Properties.Image = new("other")
		})).To(Succeed())
		Expect(states(ctx, "default-web")).To(Equal([2]string{"Pending", "Pending"}))
	})

	It("have logs once they run", func(ctx SpecContext) {
		containers, err := armcontainerinstance.NewContainersClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		logs := func(options *armcontainerinstance.ContainersClientListLogsOptions) *string {
			GinkgoHelper()
			got, err := containers.ListLogs(ctx, "virtual-nodes", "default-web", "web", options)
			Expect(err).NotTo(HaveOccurred())
			return got.Content
		}
		Expect(r.create(ctx, "default-web")).To(Succeed())
		Expect(logs(nil)).To(BeNil())
		r.clock.Step(time.Minute)
		Expect(strings.Split(*logs(nil), "\n")[0]).To(Equal("container web of image mcr.microsoft.com/azuredocs/aci-helloworld started"))
		Expect(strings.Count(*logs(&armcontainerinstance.ContainersClientListLogsOptions{Tail: to.Ptr[int32](1)}), "\n")).To(Equal(1))
		Expect(*logs(&armcontainerinstance.ContainersClientListLogsOptions{Timestamps: new(true)})).To(HavePrefix(r.clock.Now().UTC().Format("2006-01-02T")))
		_, err = containers.ListLogs(ctx, "virtual-nodes", "default-web", "other", nil)
		Expect(err).To(beAzureError(http.StatusNotFound, "ContainerNotFound"))
	})

	It("tell once, to who has the password, that a command is simulated", func(ctx SpecContext) {
		containers, err := armcontainerinstance.NewContainersClient(DefaultSubscriptionID, r.principal(), r.options())
		Expect(err).NotTo(HaveOccurred())
		execute := func(container string) (armcontainerinstance.ContainersClientExecuteCommandResponse, error) {
			return containers.ExecuteCommand(ctx, "virtual-nodes", "default-web", container,
				armcontainerinstance.ContainerExecRequest{Command: new("env")}, nil)
		}
		Expect(r.create(ctx, "default-web")).To(Succeed())
		_, err = execute("web")
		Expect(err).To(beAzureError(http.StatusNotFound, "ContainerNotFound"))
		r.clock.Step(time.Minute)
		_, err = execute("other")
		Expect(err).To(beAzureError(http.StatusNotFound, "ContainerNotFound"))

		streams := httptest.NewServer(r.Streams())
		DeferCleanup(streams.Close)
		hear := func(uri, password string) (heard string, err error) {
			GinkgoHelper()
			path, ours := strings.CutPrefix(uri, fmt.Sprintf("wss://%s:%d", streamHost, StreamPort))
			Expect(ours).To(BeTrue(), uri)
			connection, err := websocket.Dial(strings.Replace(streams.URL, "http", "ws", 1)+path, "", streams.URL)
			Expect(err).NotTo(HaveOccurred())
			defer connection.Close()
			Expect(websocket.Message.Send(connection, password)).To(Succeed())
			err = websocket.Message.Receive(connection, &heard)
			return heard, err
		}
		got, err := execute("web")
		Expect(err).NotTo(HaveOccurred())
		Expect(hear(*got.WebSocketURI, *got.Password)).To(Equal("container web is simulated: env is not executed\r\n"))
		_, err = hear(*got.WebSocketURI, *got.Password)
		Expect(err).To(MatchError(io.EOF))
		got, err = execute("web")
		Expect(err).NotTo(HaveOccurred())
		_, err = hear(*got.WebSocketURI, "a guess")
		Expect(err).To(MatchError(io.EOF))
	})

	It("in a subnet get an address of it, and only in one that fits", func(ctx SpecContext) {
		Expect(r.create(ctx, "default-web", inSubnet("container-groups"))).To(Succeed())
		r.clock.Step(time.Minute)
		p := get(ctx, "default-web").Properties
		Expect(*p.IPAddress.IP).To(Equal("10.241.0.4"))
		Expect(*p.SubnetIDs[0].ID).To(HaveSuffix("/subnets/container-groups"))
		Expect(r.create(ctx, "missing", inSubnet("missing"))).To(beAzureError(http.StatusBadRequest, "InvalidResourceReference"))
		Expect(r.create(ctx, "taken", inSubnet("taken"))).To(beAzureError(http.StatusBadRequest, "SubnetMissingRequiredDelegation"))
		limited := Contributor(DefaultClientID, "/subscriptions/"+DefaultSubscriptionID)
		limited.NotActions = append(limited.NotActions, "Microsoft.Network/*/join/action")
		Expect(r.SetRoleAssignments(DefaultClientID, limited)).To(Succeed())
		Expect(r.create(ctx, "may-not", inSubnet("container-groups"))).To(beAzureError(http.StatusForbidden, "LinkedAuthorizationFailed"))
	})

	It("keep what they are asked for, and never show a secret", func(ctx SpecContext) {
		Expect(r.create(ctx, "default-web", inSubnet("container-groups"), func(g *armcontainerinstance.ContainerGroup) {
			g.Properties.Diagnostics = &armcontainerinstance.ContainerGroupDiagnostics{LogAnalytics: &armcontainerinstance.LogAnalytics{
				LogType:     to.Ptr(armcontainerinstance.LogAnalyticsLogTypeContainerInstanceLogs),
				WorkspaceID: new("workspace"), WorkspaceKey: new("hidden-key"),
			}}
			g.Properties.DNSConfig = &armcontainerinstance.DNSConfiguration{
				NameServers: []*string{new("10.96.0.10")}, SearchDomains: new("svc.cluster.local"), Options: new("ndots:5"),
			}
			g.Properties.Extensions = []*armcontainerinstance.DeploymentExtensionSpec{{
				Name: new("kube-proxy"),
				Properties: &armcontainerinstance.DeploymentExtensionSpecProperties{
					ExtensionType: new("kube-proxy"), Version: new("1.0"), Settings: map[string]any{"clusterCidr": "10.240.0.0/16"},
					ProtectedSettings: map[string]any{"kubeConfig": "hidden-config"},
				},
			}}
		})).To(Succeed())
		groups, err := r.Client().ContainerGroups(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(groups).To(HaveLen(1))
		p := groups[0].Resource.Properties
		Expect(*p.Diagnostics.LogAnalytics.WorkspaceID).To(Equal("workspace"))
		Expect(*p.Diagnostics.LogAnalytics.LogType).To(Equal(armcontainerinstance.LogAnalyticsLogTypeContainerInstanceLogs))
		Expect(*p.SubnetIDs[0].ID).To(HaveSuffix("/subnets/container-groups"))
		Expect(p.DNSConfig.NameServers).To(HaveExactElements(HaveValue(Equal("10.96.0.10"))))
		Expect(*p.DNSConfig.SearchDomains).To(Equal("svc.cluster.local"))
		Expect(*p.DNSConfig.Options).To(Equal("ndots:5"))
		Expect(*p.Extensions[0].Properties.ExtensionType).To(Equal("kube-proxy"))
		Expect(p.Extensions[0].Properties.Settings).To(HaveKeyWithValue("clusterCidr", "10.240.0.0/16"))
		for _, shown := range []any{groups, get(ctx, "default-web")} {
			data, err := json.Marshal(shown)
			Expect(err).NotTo(HaveOccurred())
			Expect(string(data)).To(SatisfyAll(ContainSubstring("workspace"), Not(ContainSubstring("hidden"))))
		}
	})

	It("are refused as Azure refuses them", func(ctx SpecContext) {
		for _, name := range []string{"Upper", "under_score", "-a", "a-", "a--b", strings.Repeat("a", 64), "dotted.name"} {
			Expect(r.create(ctx, name)).To(beAzureError(http.StatusBadRequest, "InvalidContainerGroupName"), name)
		}
		Expect(r.create(ctx, strings.Repeat("a", 63))).To(Succeed())

		Expect(r.create(ctx, "here")).To(Succeed())
		r.clock.Step(time.Minute)
		at := func(location string) func(*armcontainerinstance.ContainerGroup) {
			return func(g *armcontainerinstance.ContainerGroup) { g.Location = &location }
		}
		Expect(r.create(ctx, "here", at("westus"))).To(beAzureError(http.StatusConflict, "InvalidResourceLocation"))
		Expect(r.create(ctx, "nowhere", at("mars"))).To(beAzureError(http.StatusBadRequest, "LocationNotAvailableForResourceType"))
		Expect(r.create(ctx, "nowhere", at("usgovvirginia"))).To(beAzureError(http.StatusBadRequest, "LocationNotAvailableForResourceType"))
		Expect(r.create(ctx, "nowhere", at("brazilsoutheast"))).To(beAzureError(http.StatusBadRequest, "LocationNotAvailableForResourceType"))
		Expect(r.create(ctx, "windows", at("jioindiawest"), func(g *armcontainerinstance.ContainerGroup) {
			g.Properties.OSType = to.Ptr(armcontainerinstance.OperatingSystemTypesWindows)
		})).To(beAzureError(http.StatusBadRequest, "UnsupportedOsType"))

		_, err := client.BeginCreateOrUpdate(ctx, "missing", "web", containerGroupOf("eastus"), nil)
		Expect(err).To(beAzureError(http.StatusNotFound, "ResourceGroupNotFound"))
		_, err = client.NewListByResourceGroupPager("missing", nil).NextPage(ctx)
		Expect(err).To(beAzureError(http.StatusNotFound, "ResourceGroupNotFound"))
		_, err = r.groups("99999999-9999-9999-9999-999999999999", r.principal()).Get(ctx, "virtual-nodes", "web", nil)
		Expect(err).To(beAzureError(http.StatusNotFound, "SubscriptionNotFound"))
	})

	It("stay within the quota of a region", func(ctx SpecContext) {
		r.SetQuota(Quota{ContainerGroups: 1})
		Expect(r.create(ctx, "one")).To(Succeed())
		err := r.create(ctx, "two")
		Expect(err).To(beAzureError(http.StatusConflict, "ContainerGroupQuotaReached"))
		Expect(err).To(MatchError(ContainSubstring("quota 'ContainerGroups' exceeded in region 'eastus'. Limit: '1', Usage: '1' Requested: '1'.")))
		Expect(r.create(ctx, "elsewhere", func(g *armcontainerinstance.ContainerGroup) { g.Location = new("westus") })).To(Succeed())
		r.SetQuota(Quota{Cores: 1.5})
		Expect(r.create(ctx, "two")).To(MatchError(ContainSubstring("quota 'StandardCores' exceeded in region 'eastus'. Limit: '1.5', Usage: '1' Requested: '1'.")))
	})

	It("are each client's own when many ask at once", func(ctx SpecContext) {
		timing := timing
		timing.ContainerGroupDeleting = 0
		r.SetTiming(timing)
		var clients sync.WaitGroup
		for i := range 8 {
			clients.Go(func() {
				defer GinkgoRecover()
				name := fmt.Sprintf("group-%d", i)
				for range 10 {
					Expect(r.create(ctx, name)).To(Succeed())
					Expect(*get(ctx, name).Name).To(Equal(name))
					Expect(names(ctx)).To(ContainElement(name))
					_, err := client.BeginDelete(ctx, "virtual-nodes", name, nil)
					Expect(err).NotTo(HaveOccurred())
					Expect(names(ctx)).NotTo(ContainElement(name))
				}
			})
		}
		clients.Wait()
		Expect(r.ContainerGroups()).To(BeEmpty())
		Expect(r.Requests()).To(HaveKeyWithValue("ContainerGroups.List", 160))
	})

	It("answer the API version of azure-aci in its form", func(ctx SpecContext) {
		Expect(r.create(ctx, "default-web", func(g *armcontainerinstance.ContainerGroup) { g.Properties.Containers[0].Properties.Ports = nil })).To(Succeed())
		r.clock.Step(time.Minute)
		// What azure-aci 1.6.4 insists on before it calls a pod running, as it unmarshals it.
		var group struct {
			ID, Name   *string
			Tags       map[string]*string
			Location   *string
			Properties *struct {
				OSType, ProvisioningState *string
				InstanceView              *struct{ State *string }
				IPAddress                 *struct{ IP *string }
				Containers                []struct {
					Name       *string
					Properties *struct {
						Image        *string
						Ports        []any
						InstanceView *struct {
							RestartCount *int32
							Events       []any
							CurrentState *struct {
								State, DetailStatus *string
								StartTime           *time.Time
							}
						}
					}
				}
			}
		}
		token, err := r.principal().GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{publicScope}})
		Expect(err).NotTo(HaveOccurred())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet,
			"https://management.azure.com"+containerGroupID(DefaultSubscriptionID, "virtual-nodes", "default-web")+"?api-version=2022-10-01-preview", http.NoBody)
		Expect(err).NotTo(HaveOccurred())
		request.Header.Set("Authorization", "Bearer "+token.Token)
		response, err := r.Transport().Do(request)
		Expect(err).NotTo(HaveOccurred())
		body, err := io.ReadAll(response.Body)
		Expect(err).NotTo(HaveOccurred())
		Expect(json.Unmarshal(body, &group)).To(Succeed())
		Expect(*group.Properties.InstanceView.State).To(Equal("Running"))
		Expect(*group.Properties.IPAddress.IP).NotTo(BeEmpty())
		web := group.Properties.Containers[0].Properties
		Expect(web.Ports).NotTo(BeNil(), "azure-aci takes a null for a broken group")
		Expect(web.InstanceView.Events).NotTo(BeNil())
		Expect(*web.InstanceView.RestartCount).To(BeZero())
		Expect(*web.InstanceView.CurrentState.State).To(Equal("Running"))
		Expect(web.InstanceView.CurrentState.DetailStatus).NotTo(BeNil())
		Expect(*web.InstanceView.CurrentState.StartTime).To(BeTemporally("<", r.clock.Now()))
	})
})
