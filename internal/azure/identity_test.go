// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	. "github.com/onsi/gomega/gstruct"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

var lastIdentity atomic.Int32

// newIdentity returns a managed identity that nobody has had before: the SDK keeps the tokens of managed identities for the
// whole process.
func newIdentity() Credential {
	return Credential{
		Cloud: v1alpha1.CloudPublic, Type: v1alpha1.CredentialTypeManagedIdentity,
		ClientID: fmt.Sprintf("88888888-8888-8888-8888-%012d", lastIdentity.Add(1)),
	}
}

// carried makes the simulated machine carry an identity.
func carried(c Credential) func(*simulated.Config) {
	return func(config *simulated.Config) {
		config.ManagedIdentities = append(config.ManagedIdentities, simulated.ManagedIdentity{
			TenantID: simulated.DefaultTenantID, ClientID: c.ClientID, ObjectID: c.ClientID[:34] + "aa",
		})
		config.RoleAssignments = append(config.RoleAssignments, simulated.Contributor(c.ClientID, subscriptionScope))
	}
}

func TestSessionOfAManagedIdentity(t *testing.T) {
	g := NewWithT(t)
	mine := newIdentity()
	r := newRig(t, carried(mine))
	r.plant(t, "node", "web", "uid")
	s, err := r.connect(mine)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.CheckToken(t.Context())).To(Succeed())
	g.Expect(s.ContainerGroups(t.Context(), subscription, rgName)).To(HaveLen(1))
	g.Expect(s.Rights(t.Context(), subscription, rgName)).To(Equal(Rights{}))
	g.Expect(r.SetDenyAssignments(groupScope, simulated.DenyAssignment{
		Name: "mine", Scope: groupScope, Actions: []string{"*/write"}, ClientIDs: []string{mine.ClientID},
	})).To(Succeed())
	g.Expect(s.Rights(t.Context(), subscription, rgName)).To(Equal(Rights{DeniedBy: "mine"}))
	g.Expect(r.Requests()).To(And(HaveKeyWithValue("IdentityToken", 1), Not(HaveKey("Token"))))
}

func TestAnIdentityTakenAwayIsToldThoughATokenHolds(t *testing.T) {
	mine := newIdentity()
	of := target(func(t *Target) { t.Credential = mine })
	s := newStock(t, carried(mine))
	s.start(t)
	s.askAll(alice, of)
	s.idle()
	for name, answer := range s.askAll(alice, of) {
		s.g.Expect(answer.Problem).To(BeNil(), name)
	}
	s.fault(t, simulated.Fault{Operation: "IdentityToken", Status: http.StatusBadRequest, Code: "invalid_request", Message: "Identity not found"})
	s.rig.clock.Step(refreshInterval * 11 / 10)
	s.idle()
	for name, answer := range s.askAll(alice, of) {
		s.g.Expect(answer.AskedAt).To(Equal(s.rig.clock.Now()), name)
		if name == "Token" {
			s.g.Expect(answer.Problem).To(PointTo(MatchFields(IgnoreExtras, Fields{"Reason": Equal(v1alpha1.ReasonCredentialsRejected), "Proven": BeTrue()})))
			continue
		}
		s.g.Expect(answer.Problem).To(BeNil(), name)
	}
}

func TestExplainOfManagedIdentities(t *testing.T) {
	const endpoint = "the instance metadata endpoint 169.254.169.254 "
	for name, test := range map[string]struct {
		absent bool
		fault  simulated.Fault
		cloud  v1alpha1.CloudName
		want   func(clientID string) Problem
	}{
		"not assigned": {
			absent: true,
			want: func(clientID string) Problem {
				return Problem{Reason: v1alpha1.ReasonCredentialsRejected, Proven: true, Message: "the machine gave no token for managed identity " + clientID +
					": Identity not found: assign it to the machines that the operator and the virtual kubelets run on (az vmss identity assign), " +
					"and check spec.credentials.managedIdentity.clientID"}
			},
		},
		"of another cloud": {
			cloud: v1alpha1.CloudUSGovernment,
			want: func(clientID string) Problem {
				return Problem{Reason: v1alpha1.ReasonCloudMismatch, Proven: true, Message: "the machine gave no token for managed identity " + clientID +
					": AADSTS500011: The resource principal named https://management.core.usgovcloudapi.net/ was not found in the tenant named " +
					simulated.DefaultTenantID + ". This can happen if the application has not been installed by the administrator of the tenant or consented to " +
					"by any user in the tenant. You might have sent your authentication request to the wrong tenant: " +
					"the machine is not in AzureUSGovernmentCloud: check spec.cloud"}
			},
		},
		"nobody there": {
			fault: simulated.Fault{Drop: true},
			want: func(clientID string) Problem {
				return Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: endpoint + "gave no token for managed identity " + clientID +
					": the operator must run on an Azure machine that carries the identity, and its NO_PROXY must name 169.254.169.254 where it has a proxy"}
			},
		},
		"a proxy's page": {
			fault: simulated.Fault{Status: http.StatusOK, Body: "<html>proxy</html>"},
			want: func(clientID string) Problem {
				return Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: endpoint + "gave no token for managed identity " + clientID +
					": the operator must run on an Azure machine that carries the identity, and its NO_PROXY must name 169.254.169.254 where it has a proxy"}
			},
		},
		"a proxy's refusal": {
			fault: simulated.Fault{Status: http.StatusForbidden, Body: "<html>proxy</html>"},
			want: func(clientID string) Problem {
				return Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: "something between the operator and Azure answered " +
					"403 Forbidden for a token of managed identity " + clientID + ": check the proxies and firewalls"}
			},
		},
		"a proxy's way of being unreachable": {
			fault: simulated.Fault{Status: http.StatusForbidden, Body: "connecting to 169.254.169.254:80: dial tcp: host is unreachable"},
			want: func(clientID string) Problem {
				return Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: endpoint + "gave no token for managed identity " + clientID +
					": the operator must run on an Azure machine that carries the identity, and its NO_PROXY must name 169.254.169.254 where it has a proxy"}
			},
		},
		"throttled": {
			fault: simulated.Fault{Status: http.StatusTooManyRequests, RetryAfter: 9 * time.Second},
			want: func(string) Problem {
				return Problem{Reason: v1alpha1.ReasonThrottled, RetryAfter: 9 * time.Second, Message: endpoint +
					"can't issue a token now: The request is being throttled as the limit has been reached for operation type."}
			},
		},
		"being updated": {
			fault: simulated.Fault{Status: http.StatusGone, Message: "The service is being updated."},
			want: func(string) Problem {
				return Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: endpoint + "can't issue a token now: The service is being updated."}
			},
		},
		"broken": {
			fault: simulated.Fault{Status: http.StatusBadGateway, Body: "<html>"},
			want: func(string) Problem {
				return Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: endpoint + "can't issue a token now: 502 Bad Gateway"}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			asked := target(func(t *Target) { t.Credential = newIdentity() })
			if test.cloud != "" {
				asked.Cloud = test.cloud
			}
			var r *rig
			if test.absent {
				r = newRig(t)
			} else {
				r = newRig(t, carried(asked.Credential))
			}
			if test.fault != (simulated.Fault{}) {
				test.fault.Operation = "IdentityToken"
				r.fault(t, test.fault)
			}
			s, err := r.connect(asked.Credential)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(Explain(asked, s.CheckToken(t.Context()))).To(PointTo(Equal(test.want(asked.ClientID))))
			_, err = s.ContainerGroups(t.Context(), subscription, rgName)
			problem := Explain(asked, err)
			want := test.want(asked.ClientID)
			want.RetryAfter = 0
			g.Expect(problem).To(PointTo(Equal(want)), "and for all that needs a token")
		})
	}
}
