// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	subscription = simulated.DefaultSubscriptionID
	rgName       = "virtual-nodes"
	otherTenant  = "99999999-9999-9999-9999-999999999999"
)

// rig is a simulated Azure, with the SDK's real clients on it.
type rig struct {
	*simulated.Server
	clock   *clocktesting.FakeClock
	connect Connector
}

func newRig(t *testing.T, edit ...func(*simulated.Config)) *rig {
	t.Helper()
	config := simulated.DefaultConfig()
	for _, e := range edit {
		e(&config)
	}
	clk := clocktesting.NewFakeClock(time.Now().Truncate(time.Second))
	server, err := simulated.NewServer(config, simulated.WithClock(clk))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	connect := NewConnector(patient{server.Transport()}, "test")
	return &rig{Server: server, clock: clk, connect: func(c Credential) (*Session, error) {
		session, err := connect(c)
		if err == nil {
			// The SDK's second attempts are made by the real clock.
			session.options.Retry.RetryDelay = time.Millisecond
		}
		return session, err
	}}
}

// patient lets the simulated Azure finish what its client has left: the SDK's fake servers panic where they are left.
type patient struct{ policy.Transporter }

func (p patient) Do(r *http.Request) (*http.Response, error) {
	type result struct {
		response *http.Response
		err      error
	}
	done := make(chan result, 1)
	go func() {
		response, err := p.Transporter.Do(r.WithContext(context.WithoutCancel(r.Context()))) //nolint:bodyclose // whoever asked closes it
		done <- result{response, err}
	}()
	select {
	case got := <-done:
		return got.response, got.err
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// plant makes a container group as the virtual kubelet of a node would.
func (r *rig) plant(t *testing.T, node, pod, uid string) ContainerGroup {
	t.Helper()
	NewWithT(t).Expect(r.PutContainerGroup(simulated.ContainerGroup{
		SubscriptionID: subscription, ResourceGroup: rgName, Name: "default-" + pod,
		Tags: map[string]string{"NodeName": node, "Namespace": "default", "PodName": pod, "UID": uid},
	})).To(Succeed())
	return ContainerGroup{Name: "default-" + pod, Location: "eastus", NodeName: node, Namespace: "default", PodName: pod, PodUID: uid}
}

func (r *rig) left() []string {
	names := []string{}
	for _, group := range r.ContainerGroups() {
		if !group.Deleting {
			names = append(names, group.Name)
		}
	}
	return names
}

func (r *rig) fault(t *testing.T, fault simulated.Fault) {
	t.Helper()
	_, err := r.AddFault(fault)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
}

func target(edit ...func(*Target)) Target {
	t := Target{
		Credential: Credential{
			Cloud:        v1alpha1.CloudPublic,
			Type:         v1alpha1.CredentialTypeServicePrincipal,
			TenantID:     simulated.DefaultTenantID,
			ClientID:     simulated.DefaultClientID,
			ClientSecret: simulated.DefaultClientSecret,
		},
		SubscriptionID: subscription,
		ResourceGroup:  rgName,
	}
	for _, e := range edit {
		e(&t)
	}
	return t
}

func connected(t *testing.T, r *rig, edit ...func(*Target)) *Session {
	t.Helper()
	s, err := r.connect(target(edit...).Credential)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return s
}

func TestSessionListsContainerGroups(t *testing.T) {
	g := NewWithT(t)
	r := newRig(t, func(c *simulated.Config) { c.PageSize = 2 })
	var want []ContainerGroup
	for i := range 5 {
		want = append(want, r.plant(t, "node", fmt.Sprintf("pod-%d", i), fmt.Sprintf("uid-%d", i)))
	}
	g.Expect(r.PutContainerGroup(simulated.ContainerGroup{
		SubscriptionID: subscription, ResourceGroup: rgName, Name: "untagged",
	})).To(Succeed())
	g.Expect(r.PutContainerGroup(simulated.ContainerGroup{
		SubscriptionID: subscription, ResourceGroup: "virtual-nodes-westus", Name: "elsewhere",
	})).To(Succeed())

	groups, err := connected(t, r).ContainerGroups(t.Context(), subscription, rgName)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(groups).To(ConsistOf(append(want, ContainerGroup{Name: "untagged", Location: "eastus"})))
}

func TestSessionGetsAndDeletesContainerGroups(t *testing.T) {
	g := NewWithT(t)
	r := newRig(t)
	s := connected(t, r)
	want := r.plant(t, "node", "web", "uid")

	got, err := s.ContainerGroup(t.Context(), subscription, rgName, "default-web")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(want))

	g.Expect(s.DeleteContainerGroup(t.Context(), subscription, rgName, "default-web")).To(Succeed())
	r.clock.Step(time.Minute)
	g.Expect(r.ContainerGroups()).To(BeEmpty())

	_, err = s.ContainerGroup(t.Context(), subscription, rgName, "default-web")
	g.Expect(IsNotFound(err)).To(BeTrue(), "%v", err)
	g.Expect(s.DeleteContainerGroup(t.Context(), subscription, rgName, "default-web")).To(Succeed(), "Azure answers 204")
	g.Expect(r.DeleteResourceGroup(subscription, rgName)).To(Succeed())
	g.Expect(s.DeleteContainerGroup(t.Context(), subscription, rgName, "default-web")).To(Succeed(), "Azure answers 404")
}

func TestSessionErrorsNameTheContainerGroup(t *testing.T) {
	g := NewWithT(t)
	r := newRig(t)
	r.fault(t, simulated.Fault{Operation: "ContainerGroups.*", Status: http.StatusConflict})
	s := connected(t, r)
	_, err := s.ContainerGroup(t.Context(), subscription, rgName, "default-web")
	g.Expect(err).To(MatchError(ContainSubstring("get container group default-web: ")))
	g.Expect(IsNotFound(err)).To(BeFalse())
	g.Expect(s.DeleteContainerGroup(t.Context(), subscription, rgName, "default-web")).To(MatchError(ContainSubstring("delete container group default-web: ")))
	_, err = s.ContainerGroups(t.Context(), subscription, rgName)
	g.Expect(err).To(MatchError(ContainSubstring("list container groups: ")))
}

func TestClouds(t *testing.T) {
	for name, cloud := range map[v1alpha1.CloudName]simulated.Cloud{
		v1alpha1.CloudPublic:       simulated.PublicCloud,
		v1alpha1.CloudUSGovernment: simulated.USGovernmentCloud,
		v1alpha1.CloudChina:        simulated.ChinaCloud,
	} {
		t.Run(string(name), func(t *testing.T) {
			g := NewWithT(t)
			r := newRig(t, func(c *simulated.Config) {
				c.Tenants[0].Cloud = cloud
				for i := range c.Locations {
					c.Locations[i].Cloud = cloud
				}
			})
			r.plant(t, "node", "web", "uid")
			groups, err := connected(t, r, func(t *Target) { t.Cloud = name }).ContainerGroups(t.Context(), subscription, rgName)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(groups).To(HaveLen(1))
		})
	}
}

func TestATargetNeverShowsItsSecret(t *testing.T) {
	secret := target()
	within := struct {
		Target  Target
		Pointer *Target
	}{secret, &secret}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("asking", "target", secret, "within", within)
	marshalled, err := json.Marshal(within)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())

	for name, text := range map[string]string{
		"String":    secret.String(),
		"JSON":      string(marshalled),
		"slog":      logged.String(),
		"a problem": Explain(secret, fmt.Errorf("ask %v", secret)).Message,
		"the key":   secret.key(),
	} {
		NewWithT(t).Expect(text).NotTo(ContainSubstring(simulated.DefaultClientSecret), name)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		for _, value := range []any{secret, &secret, []Target{secret}, map[string]Target{"a": secret}, within} {
			NewWithT(t).Expect(fmt.Sprintf(verb, value)).NotTo(ContainSubstring(simulated.DefaultClientSecret), "%s of %T", verb, value)
		}
	}
	NewWithT(t).Expect(secret.String()).To(Equal("resource group virtual-nodes of subscription " + subscription))
}

func TestTargetKeys(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*Target)
		same bool
	}{
		"nothing":               {func(*Target) {}, true},
		"cloud":                 {func(t *Target) { t.Cloud = v1alpha1.CloudChina }, false},
		"tenant":                {func(t *Target) { t.TenantID = otherTenant }, false},
		"client":                {func(t *Target) { t.ClientID = otherTenant }, false},
		"secret":                {func(t *Target) { t.ClientSecret = "other" }, false},
		"secret's case":         {func(t *Target) { t.ClientSecret = "SANDBOX-client-secret" }, false},
		"subscription":          {func(t *Target) { t.SubscriptionID = otherTenant }, false},
		"resource group":        {func(t *Target) { t.ResourceGroup = "other" }, false},
		"resource group's case": {func(t *Target) { t.ResourceGroup = "Virtual-Nodes" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if test.same {
				g.Expect(target(test.edit).key()).To(Equal(target().key()))
			} else {
				g.Expect(target(test.edit).key()).NotTo(Equal(target().key()))
			}
		})
	}
}

func TestARefusedTokenIsNotAskedForAgainAtOnce(t *testing.T) {
	g := NewWithT(t)
	r := newRig(t)
	s := connected(t, r, func(t *Target) { t.ClientSecret = "wrong-client-secret" })
	s.tokens.unattended.Store(true)
	for asked := range 3 {
		_, err := s.ContainerGroups(t.Context(), subscription, rgName)
		g.Expect(err).To(HaveOccurred())
		g.Expect(r.Requests()).To(HaveKeyWithValue("Token", asked+1), "the SDK makes no second attempt")
	}
	s.tokens.unattended.Store(false)
	_, err := s.ContainerGroups(t.Context(), subscription, rgName)
	g.Expect(err).To(MatchError(ContainSubstring("AADSTS7000215")))
	g.Expect(r.Requests()).To(HaveKeyWithValue("Token", 3), "somebody else asks")
}
