// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// slow is an Azure that takes its time for each answer.
type slow struct {
	policy.Transporter
	takes time.Duration
}

func (s slow) Do(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(s.takes):
		return s.Transporter.Do(r)
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func TestASlowAzureIsHeardInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		server, err := simulated.NewServer(simulated.DefaultConfig())
		g.Expect(err).NotTo(HaveOccurred())
		connect := NewConnector(slow{patient{server.Transport()}, 35 * time.Second}, "test")
		inventory := NewInventory(connect, clock.RealClock{}, func(string) {})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- inventory.Start(ctx) }()

		var answer Answer[ResourceGroup]
		began := time.Now()
		for (!answer.Have || answer.Problem != nil) && time.Since(began) < time.Hour {
			answer = inventory.ResourceGroup("aci", target())
			<-time.After(time.Second)
		}
		g.Expect(time.Since(began)).To(BeNumerically("<", 5*time.Minute), "%v", answer.Problem)
		cancel()
		g.Expect(<-ended).To(Succeed())
	})
}

// A request that nobody answers is given up once, so that what is mended is found out soon.
func TestARequestWithoutAnswerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		server, err := simulated.NewServer(simulated.DefaultConfig())
		g.Expect(err).NotTo(HaveOccurred())
		session, err := NewConnector(slow{patient{server.Transport()}, time.Hour}, "test")(target().Credential)
		g.Expect(err).NotTo(HaveOccurred())
		began := time.Now()
		g.Expect(session.CheckToken(t.Context())).To(MatchError(ContainSubstring(context.DeadlineExceeded.Error())))
		g.Expect(time.Since(began)).To(Equal(requestTimeout), "by one attempt")
	})
}
