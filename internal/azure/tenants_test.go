// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	. "github.com/onsi/gomega"
	. "github.com/onsi/gomega/gstruct"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

func TestTenantsOfNoAndOtherClouds(t *testing.T) {
	const public, government, china = simulated.DefaultTenantID, simulated.DefaultGovernmentTenantID, "99999999-9999-9999-9999-999999999986"
	mismatch := func(tenant string, home, wanted v1alpha1.CloudName) Problem {
		return Problem{Reason: v1alpha1.ReasonCloudMismatch, Proven: true, Message: "tenant " + tenant + " belongs to " + string(home) +
			", and the connector to " + string(wanted) + ": set spec.cloud to " + string(home) + ", or give credentials of " + string(wanted)}
	}
	nowhere := func(tenant string) Problem {
		return Problem{Reason: v1alpha1.ReasonTenantNotFound, Proven: true, Message: "Microsoft Entra refused a token for " + me + " of tenant " + tenant +
			": AADSTS90002: Tenant '" + tenant + "' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. " +
			"Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant" +
			": check spec.credentials.servicePrincipal.tenantID and spec.cloud"}
	}
	for name, test := range map[string]struct {
		tenant string
		cloud  v1alpha1.CloudName
		want   Problem
	}{
		"the government's, as the public cloud's": {government, v1alpha1.CloudPublic, mismatch(government, v1alpha1.CloudUSGovernment, v1alpha1.CloudPublic)},
		"the public cloud's, as the government's": {public, v1alpha1.CloudUSGovernment, mismatch(public, v1alpha1.CloudPublic, v1alpha1.CloudUSGovernment)},
		"the public cloud's, as China's":          {public, v1alpha1.CloudChina, mismatch(public, v1alpha1.CloudPublic, v1alpha1.CloudChina)},
		"China's, as the public cloud's":          {china, v1alpha1.CloudPublic, mismatch(china, v1alpha1.CloudChina, v1alpha1.CloudPublic)},
		"nobody's, as the public cloud's":         {otherTenant, v1alpha1.CloudPublic, nowhere(otherTenant)},
		"nobody's, as China's":                    {otherTenant, v1alpha1.CloudChina, nowhere(otherTenant)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStock(t, func(c *simulated.Config) {
				c.Tenants = append(c.Tenants, simulated.Tenant{ID: china, Cloud: simulated.ChinaCloud})
			})
			s.start(t)
			of := target(func(t *Target) { t.TenantID, t.Cloud = test.tenant, test.cloud })
			s.askAll(alice, of)
			s.idle()
			for question, answer := range s.askAll(alice, of) {
				want := nowhere(test.tenant)
				if question == "Token" {
					want = test.want
				}
				s.g.Expect(answer.Problem).To(PointTo(Equal(want)), question)
			}
		})
	}
}

// walled lets nobody through to the other clouds, and notes who tried.
type walled struct {
	policy.Transporter

	mu    sync.Mutex
	tried []string
}

func (w *walled) Do(r *http.Request) (*http.Response, error) {
	if host := r.URL.Hostname(); !strings.HasSuffix(host, "microsoftonline.com") {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.tried = append(w.tried, host)
		return nil, errors.New("no route to host")
	}
	return w.Transporter.Do(r)
}

func TestATenantIsNobodysWhereNobodyCanBeAsked(t *testing.T) {
	g := NewWithT(t)
	wall := &walled{Transporter: newRig(t).Transport()}
	asked := target(func(t *Target) { t.TenantID = otherTenant })
	s, err := NewConnector(wall, "test")(asked.Credential)
	g.Expect(err).NotTo(HaveOccurred())
	s.options.Retry.MaxRetries = -1
	g.Expect(Explain(asked, s.CheckToken(t.Context())).Reason).To(Equal(v1alpha1.ReasonTenantNotFound))
	g.Expect(slices.Compact(wall.tried)).To(Equal([]string{"login.microsoftonline.us", "login.chinacloudapi.cn"}))
}

func TestCredentialsThatTheSDKRefuses(t *testing.T) {
	r := newRig(t)
	for name, edit := range map[string]func(*Target){
		"a tenant that is no tenant": func(t *Target) { t.TenantID = "not/a tenant" },
		"no secret":                  func(t *Target) { t.ClientSecret = "" },
	} {
		_, err := r.connect(target(edit).Credential)
		NewWithT(t).Expect(err).To(MatchError(HavePrefix("service principal "+simulated.DefaultClientID+": ")), name)
	}
}
