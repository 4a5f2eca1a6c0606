// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("config", func() {
	It("is the same after JSON", func() {
		data, err := json.Marshal(DefaultConfig())
		Expect(err).NotTo(HaveOccurred())
		var read Config
		Expect(json.Unmarshal(data, &read)).To(Succeed())
		Expect(read).To(Equal(DefaultConfig()))
	})

	It("is refused where it points to nothing", func() {
		for _, edit := range []func(*Config){
			func(c *Config) { c.ResourceGroups[0].SubscriptionID = "missing" },
			func(c *Config) { c.VirtualNetworks[0].ResourceGroup = "missing" },
			func(c *Config) { c.ManagedClusters[0].ResourceGroup = "missing" },
			func(c *Config) { c.DenyAssignments = []DenyAssignment{{Name: "a", Scope: "/subscriptions/missing"}} },
		} {
			config := DefaultConfig()
			edit(&config)
			_, err := NewServer(config)
			Expect(err).To(MatchError(ContainSubstring(`"missing" does not exist`)))
		}
	})
})

var _ = Describe("the control API", func() {
	It("shows and changes the world", func(ctx SpecContext) {
		r := newRig(DefaultConfig())
		control := r.Client()
		Expect(control.PutContainerGroup(ctx, ContainerGroup{
			SubscriptionID: DefaultSubscriptionID, ResourceGroup: "Virtual-Nodes", Name: "default-foreign",
			OSType: "Windows", Tags: map[string]string{"NodeName": "node"},
		})).To(Succeed())
		groups, err := control.ContainerGroups(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(groups).To(HaveLen(1))
		Expect(groups[0].ResourceGroup).To(Equal("virtual-nodes"))
		Expect(groups[0].OSType).To(Equal("Windows"))
		Expect(groups[0].State).To(Equal("Running"))
		Expect(groups[0].Tags).To(HaveKeyWithValue("NodeName", "node"))
		Expect(*groups[0].Resource.Properties.Containers[0].Properties.Image).To(Equal(groups[0].Images[0]))
		got, err := r.groups(DefaultSubscriptionID, r.principal()).Get(ctx, "virtual-nodes", "default-foreign", nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(*got.Properties.InstanceView.State).To(Equal("Running"))
		Expect(control.DeleteContainerGroup(ctx, DefaultSubscriptionID, "virtual-nodes", "default-foreign")).To(Succeed())
		Expect(control.ContainerGroups(ctx)).To(BeEmpty())

		Expect(control.Requests(ctx)).To(HaveKeyWithValue("ContainerGroups.Get", 1))
		Expect(control.RequestsIn(ctx, "/subscriptions/"+DefaultSubscriptionID, "")).To(Equal(map[string]int{"ContainerGroups.Get": 1}))
		Expect(control.RequestsIn(ctx, DefaultClientID, "")).To(HaveKeyWithValue("Token", 1))
		Expect(control.RequestsIn(ctx, DefaultClientID, "azsdk-go-")).To(HaveKeyWithValue("Token", 1))
		Expect(control.RequestsIn(ctx, DefaultClientID, "another")).To(BeEmpty())
		Expect(control.RequestsIn(ctx, "/subscriptions/"+DefaultGovernmentSubscriptionID, "")).To(BeEmpty())
		Expect(control.ResetRequests(ctx)).To(Succeed())
		Expect(control.Requests(ctx)).To(BeEmpty())

		added, err := control.AddFault(ctx, Fault{Operation: "*", Delay: time.Second})
		Expect(err).NotTo(HaveOccurred())
		Expect(control.Faults(ctx)).To(HaveExactElements(added))
		other, err := control.AddFault(ctx, Fault{Operation: "Token", Drop: true})
		Expect(err).NotTo(HaveOccurred())
		Expect(control.RemoveFault(ctx, added.ID)).To(Succeed())
		Expect(control.Faults(ctx)).To(HaveExactElements(other))
		Expect(control.ClearFaults(ctx)).To(Succeed())
		Expect(control.Faults(ctx)).To(BeEmpty())
		_, err = control.AddFault(ctx, Fault{Operation: "*"})
		Expect(err).To(MatchError(ContainSubstring("give a status")))

		Expect(control.SetResourceGroup(ctx, ResourceGroup{SubscriptionID: DefaultSubscriptionID, Name: "more", Location: "eastus"})).To(Succeed())
		Expect(control.SetVirtualNetwork(ctx, VirtualNetwork{SubscriptionID: DefaultSubscriptionID, ResourceGroup: "more", Name: "net", Location: "eastus"})).To(Succeed())
		Expect(control.SetManagedCluster(ctx, ManagedCluster{SubscriptionID: DefaultSubscriptionID, ResourceGroup: "more", Name: "aks"})).To(Succeed())
		Expect(control.DeleteResourceGroup(ctx, DefaultSubscriptionID, "more")).To(Succeed())
		Expect(control.DeleteResourceGroup(ctx, DefaultSubscriptionID, "more")).To(MatchError(ContainSubstring(`"more" does not exist`)))
		Expect(control.SetClientSecret(ctx, DefaultClientID, "rotated", time.Time{})).To(Succeed())
		_, err = r.credential(DefaultTenantID, DefaultClientID, "rotated").GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{publicScope}})
		Expect(err).NotTo(HaveOccurred())
		const subscription, application = "88888888-8888-8888-8888-888888888888", "99999999-9999-9999-9999-999999999999"
		Expect(control.SetSubscription(ctx, Subscription{ID: subscription, TenantID: DefaultTenantID})).To(Succeed())
		Expect(control.SetResourceGroup(ctx, ResourceGroup{SubscriptionID: subscription, Name: "more", Location: "eastus"})).To(Succeed())
		Expect(control.SetServicePrincipal(ctx, ServicePrincipal{
			TenantID: DefaultTenantID, ClientID: application, ObjectID: application, Secrets: []ClientSecret{{Value: "its-own"}},
		})).To(Succeed())
		_, err = r.credential(DefaultTenantID, application, "its-own").GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{publicScope}})
		Expect(err).NotTo(HaveOccurred())
		Expect(control.SetRoleAssignments(ctx, DefaultClientID)).To(Succeed())
		Expect(control.SetProvider(ctx, DefaultSubscriptionID, containerNamespace, true)).To(Succeed())
		Expect(control.SetQuota(ctx, Quota{ContainerGroups: 1})).To(Succeed())
		Expect(control.SetTiming(ctx, DefaultConfig().Timing)).To(Succeed())
	})
})

var _ = Describe("serving", func() {
	It("works over TLS and a Unix socket, and ends with its context", func(ctx SpecContext) {
		server, err := NewServer(DefaultConfig())
		Expect(err).NotTo(HaveOccurred())
		certificate, pool := certificateFor(Hosts())
		api, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
		Expect(err).NotTo(HaveOccurred())
		socket := filepath.Join(GinkgoT().TempDir(), "control.sock")
		control, err := net.Listen("unix", socket)
		Expect(err).NotTo(HaveOccurred())
		serving, stop := context.WithCancel(ctx)
		served := make(chan error, 1)
		go func() { served <- server.Serve(serving, Listeners{TLS: api, Control: control}) }()
		DeferCleanup(stop)

		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", api.Addr().String())
			},
		}
		DeferCleanup(transport.CloseIdleConnections)
		options := policy.ClientOptions{
			Cloud: azcloud.AzurePublic, Transport: &http.Client{Transport: transport}, Retry: policy.RetryOptions{MaxRetries: -1},
		}
		credential, err := azidentity.NewClientSecretCredential(DefaultTenantID, DefaultClientID, DefaultClientSecret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options})
		Expect(err).NotTo(HaveOccurred())
		client, err := armcontainerinstance.NewContainerGroupsClient(DefaultSubscriptionID, credential, &arm.ClientOptions{ClientOptions: options})
		Expect(err).NotTo(HaveOccurred())
		poller, err := client.BeginCreateOrUpdate(ctx, "virtual-nodes", "web", containerGroupOf("eastus"), nil)
		Expect(err).NotTo(HaveOccurred())
		_, err = poller.PollUntilDone(ctx, nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(Dial(socket).ContainerGroups(ctx)).To(HaveExactElements(HaveField("State", "Running")))

		_, err = Dial(socket).AddFault(ctx, Fault{Operation: "ContainerGroups.Get", Drop: true})
		Expect(err).NotTo(HaveOccurred())
		_, err = client.Get(ctx, "virtual-nodes", "web", nil)
		Expect(err).To(MatchError(ContainSubstring("EOF")))

		stop()
		Eventually(served).WithContext(ctx).Should(Receive(BeNil()))
		_, err = Dial(socket).Faults(ctx)
		Expect(err).To(HaveOccurred())
	}, NodeTimeout(time.Minute))
})

func certificateFor(hosts []string) (tls.Certificate, *x509.CertPool) {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "simulated Azure"}, DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	Expect(err).NotTo(HaveOccurred())
	parsed, err := x509.ParseCertificate(der)
	Expect(err).NotTo(HaveOccurred())
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
