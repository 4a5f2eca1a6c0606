// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	. "github.com/onsi/gomega/gstruct"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const place = "resource group virtual-nodes of subscription " + subscription

// TestExplain asks a simulated Azure with the SDK's real clients, so that the errors are those that the
// SDK makes out of Azure's real bodies.
func TestExplain(t *testing.T) {
	refused := "Microsoft Entra refused a token for client " + simulated.DefaultClientID + " of tenant " + simulated.DefaultTenantID + ": "
	for name, test := range map[string]struct {
		azure   func(*testing.T, *rig)
		target  func(*Target)
		problem Problem
	}{
		"wrong client secret": {
			target: func(t *Target) { t.ClientSecret = "wrong-client-secret" },
			problem: Problem{Reason: v1alpha1.ReasonCredentialsRejected, Proven: true, Message: refused +
				"AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, " +
				"not the client secret ID, for a secret added to app '" + simulated.DefaultClientID + "'" +
				": put the value of the client secret, not its id, into the Secret"},
		},
		"expired client secret": {
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				NewWithT(t).Expect(r.SetClientSecret(simulated.DefaultClientID, simulated.DefaultClientSecret, r.clock.Now().Add(-time.Hour))).To(Succeed())
			},
			problem: Problem{Reason: v1alpha1.ReasonSecretExpired, Proven: true, Message: refused +
				"AADSTS7000222: The provided client secret keys for app '" + simulated.DefaultClientID + "' are expired. Visit the Azure portal to create new keys for your app: " +
				"https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds" +
				": make a new client secret (az ad app credential reset --id " + simulated.DefaultClientID + " --append) and put it into the Secret"},
		},
		"unknown client": {
			target: func(t *Target) { t.ClientID = otherTenant },
			problem: Problem{Reason: v1alpha1.ReasonCredentialsRejected, Proven: true, Message: "Microsoft Entra refused a token for client " + otherTenant +
				" of tenant " + simulated.DefaultTenantID + ": AADSTS700016: Application with identifier '" + otherTenant + "' was not found in the directory '" + simulated.DefaultTenantID + "'. " +
				"This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. " +
				"You may have sent your authentication request to the wrong tenant: check spec.credentials.servicePrincipal.clientID and tenantID"},
		},
		"unknown tenant": {
			target: func(t *Target) { t.TenantID = otherTenant },
			problem: Problem{Reason: v1alpha1.ReasonTenantNotFound, Proven: true, Message: "Microsoft Entra refused a token for client " + simulated.DefaultClientID +
				" of tenant " + otherTenant + ": AADSTS90002: Tenant '" + otherTenant + "' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. " +
				"Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant" +
				": check spec.credentials.servicePrincipal.tenantID and spec.cloud"},
		},
		"tenant of another cloud": {
			target: func(t *Target) { t.Cloud = v1alpha1.CloudChina },
			problem: Problem{Reason: v1alpha1.ReasonTenantNotFound, Proven: true, Message: refused +
				"AADSTS90002: Tenant '" + simulated.DefaultTenantID + "' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. " +
				"Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant" +
				": check spec.credentials.servicePrincipal.tenantID and spec.cloud"},
		},
		"throttled token endpoint": {
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				r.fault(t, simulated.Fault{Operation: "Token", Status: http.StatusTooManyRequests, RetryAfter: 40 * time.Second})
			},
			problem: Problem{Reason: v1alpha1.ReasonThrottled, RetryAfter: 40 * time.Second, Message: "Microsoft Entra can't issue a token now: " +
				"AADSTS90033: The request is being throttled as the limit has been reached for operation type."},
		},
		"broken token endpoint": {
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				r.fault(t, simulated.Fault{Operation: "Token", Status: http.StatusInternalServerError, Body: "<html>oops</html>"})
			},
			problem: Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: "Microsoft Entra can't issue a token now: 500 Internal Server Error"},
		},
		"no rights": {
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				NewWithT(t).Expect(r.SetRoleAssignments(simulated.DefaultClientID)).To(Succeed())
			},
			problem: Problem{Reason: v1alpha1.ReasonForbidden, Proven: true, Message: "client " + simulated.DefaultClientID + " lacks rights on " + place +
				": az role assignment create --assignee " + simulated.DefaultClientID + " --role Contributor" +
				" --scope /subscriptions/" + subscription + "/resourceGroups/virtual-nodes"},
		},
		"unknown resource group": {
			target: func(t *Target) { t.ResourceGroup = "missing" },
			problem: Problem{Reason: v1alpha1.ReasonResourceGroupNotFound, Proven: true, Message: "resource group missing of subscription " + subscription +
				" does not exist: check spec.containerGroups.resourceGroup, or az group create --subscription " + subscription + " --name missing --location LOCATION"},
		},
		"unknown subscription": {
			target: func(t *Target) { t.SubscriptionID = otherTenant },
			problem: Problem{Reason: v1alpha1.ReasonSubscriptionNotFound, Proven: true, Message: "subscription " + otherTenant +
				" does not exist in the tenant of the credentials, or is not visible to them: check spec.containerGroups.subscriptionID"},
		},
		"subscription of another tenant": {
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				r.fault(t, simulated.Fault{Operation: "ContainerGroups.List", Status: http.StatusUnauthorized, Code: "InvalidAuthenticationTokenTenant"})
			},
			problem: Problem{Reason: v1alpha1.ReasonCredentialsRejected, Proven: true, Message: "Azure refused the token of client " + simulated.DefaultClientID +
				" for " + place + " (InvalidAuthenticationTokenTenant): check that the subscription belongs to tenant " + simulated.DefaultTenantID},
		},
		"throttled": {
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				r.fault(t, simulated.Fault{Operation: "ContainerGroups.List", Status: http.StatusTooManyRequests, RetryAfter: 17 * time.Second})
			},
			problem: Problem{Reason: v1alpha1.ReasonThrottled, RetryAfter: 17 * time.Second, Message: "Azure answered 429 TooManyRequests for " + place},
		},
		"broken": {
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				r.fault(t, simulated.Fault{Operation: "ContainerGroups.List", Status: http.StatusInternalServerError})
			},
			problem: Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: "Azure answered 500 InternalServerError for " + place},
		},
		"a proxy's page": {
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				r.fault(t, simulated.Fault{Operation: "ContainerGroups.List", Status: http.StatusInternalServerError, Body: "<html>wrong</html>"})
			},
			problem: Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: "Azure, or a proxy before it, answered 500 Internal Server Error for " + place},
		},
		"cut connections": {
			azure: func(t *testing.T, r *rig) {
				t.Helper()
				r.fault(t, simulated.Fault{Operation: "*", Drop: true})
			},
			problem: Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: "Azure did not answer for " + place + ": check that the operator can reach it and resolve its names"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			r := newRig(t)
			if test.azure != nil {
				test.azure(t, r)
			}
			asked := target()
			if test.target != nil {
				test.target(&asked)
			}
			s, err := r.connect(asked.Credential)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = s.ContainerGroups(t.Context(), asked.SubscriptionID, asked.ResourceGroup)
			g.Expect(err).To(HaveOccurred())
			g.Expect(Explain(asked, err)).To(PointTo(Equal(test.problem)))
		})
	}
}

func TestExplainOfErrorsThatAreNotAzures(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Explain(target(), nil)).To(BeNil())
	for _, err := range []error{errors.New("anything"), context.DeadlineExceeded} {
		problem := Explain(target(), err)
		g.Expect(problem.Reason).To(Equal(v1alpha1.ReasonAzureUnavailable))
		g.Expect(problem.Proven).To(BeFalse())
		g.Expect(problem.Message).NotTo(ContainSubstring("anything"))
	}
}

// A message with an id or a time in it would make every look at Azure a change of the status.
func TestExplainIsStable(t *testing.T) {
	g := NewWithT(t)
	r := newRig(t)
	wrong := target(func(t *Target) { t.ClientSecret = "wrong-client-secret" })
	ask := func() *Problem {
		s, err := r.connect(wrong.Credential)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = s.ContainerGroups(t.Context(), subscription, rgName)
		r.clock.Step(time.Hour)
		return Explain(wrong, err)
	}
	first := ask()
	g.Expect(ask()).To(Equal(first))
	g.Expect(first.Message).NotTo(MatchRegexp(regexp.QuoteMeta("Trace ID") + `|Timestamp|Correlation|\d{2}:\d{2}:\d{2}`))
	g.Expect(first.Message).NotTo(ContainSubstring("wrong-client-secret"))
}

// Microsoft Entra has sent both forms.
func TestDescriptionsEndBeforeTheirIDs(t *testing.T) {
	for _, description := range []string{
		"AADSTS1: No. Trace ID: a Correlation ID: b Timestamp: 2026-01-01 00:00:00Z",
		"AADSTS1: No.\r\nTrace ID: a\r\nCorrelation ID: b\r\nTimestamp: 2026-01-01 00:00:00Z",
	} {
		NewWithT(t).Expect(stableDescription(description)).To(Equal("AADSTS1: No."))
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "Fri, 31 Dec 1999 23:59:59 GMT": 0,
	} {
		NewWithT(t).Expect(retryAfter(&http.Response{Header: http.Header{"Retry-After": {value}}})).To(Equal(want), value)
	}
}
