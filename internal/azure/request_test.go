// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	simulated "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// ear hears of requests.
type ear struct {
	mu    sync.Mutex
	heard map[string]map[Result]int
}

func (e *ear) hear(r Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heard == nil {
		e.heard = map[string]map[Result]int{}
	}
	if e.heard[r.Operation] == nil {
		e.heard[r.Operation] = map[Result]int{}
	}
	e.heard[r.Operation][r.Result]++
}

// take returns what was heard since the last call.
func (e *ear) take() map[string]map[Result]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	heard := e.heard
	e.heard = nil
	return heard
}

// listened returns a session of a simulated Azure, and who listens to it.
func listened(t *testing.T, edit ...func(*simulated.Config)) (*rig, *Session, *ear) {
	t.Helper()
	r, e := newRig(t, edit...), &ear{}
	session, err := NewConnector(patient{r.Transport()}, "test", e.hear)(target().Credential)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	session.options.Retry.RetryDelay = time.Millisecond
	return r, session, e
}

// TestEveryOperationIsNamed asks all that the operator asks: nothing of it may be told of as Other, and no name may be one
// of something that is not asked.
func TestEveryOperationIsNamed(t *testing.T) {
	g := NewWithT(t)
	ctx := context.Background()
	r, session, e := listened(t)
	group := r.plant(t, "node", "web", "uid")
	network := SubnetRef{Network: VirtualNetworkRef{ResourceGroup: rgName, Name: "none"}, Name: "none"}
	asked := []error{session.CheckToken(ctx)}
	ask := func(_ any, err error) { asked = append(asked, err) }
	ask(session.ContainerGroups(ctx, subscription, rgName))
	ask(session.ContainerGroup(ctx, subscription, rgName, group.Name))
	ask(session.ResourceGroup(ctx, subscription, rgName))
	ask(session.ManagedCluster(ctx, v1alpha1.ManagedCluster{SubscriptionID: subscription, ResourceGroup: rgName, Name: "none"}))
	ask(session.Provider(ctx, subscription))
	ask(session.Region(ctx, subscription, "eastus"))
	ask(session.Rights(ctx, subscription, rgName))
	ask(session.Subnet(ctx, subscription, network))
	ask(session.subnetAlone(ctx, subscription, network))
	asked = append(asked, session.RegisterProvider(ctx, subscription), session.DeleteContainerGroup(ctx, subscription, rgName, group.Name))
	session.homeCloud(ctx)
	g.Expect(asked).To(HaveLen(12))

	named := slices.Sorted(maps.Values(operations))
	named = append(named, operationToken, operationTenant)
	slices.Sort(named)
	g.Expect(slices.Sorted(maps.Keys(e.take()))).To(Equal(slices.Compact(named)))
}

func TestResults(t *testing.T) {
	ctx := context.Background()
	for name, test := range map[string]struct {
		fault simulated.Fault
		want  map[Result]int
	}{
		"throttled":              {simulated.Fault{Operation: "ContainerGroups.*", Status: http.StatusTooManyRequests, Code: "TooManyRequests"}, map[Result]int{ResultThrottled: 1}},
		"refused":                {simulated.Fault{Operation: "ContainerGroups.*", Status: http.StatusForbidden, Code: "AuthorizationFailed"}, map[Result]int{ResultRefused: 1}},
		"not found":              {simulated.Fault{Operation: "ContainerGroups.*", Status: http.StatusNotFound, Code: "ResourceGroupNotFound"}, map[Result]int{ResultNotFound: 1}},
		"invalid":                {simulated.Fault{Operation: "ContainerGroups.*", Status: http.StatusConflict, Code: "Conflict"}, map[Result]int{ResultInvalid: 1}},
		"a fault, tried twice":   {simulated.Fault{Operation: "ContainerGroups.*", Status: http.StatusServiceUnavailable, Code: "Unavailable"}, map[Result]int{ResultServerError: 2}},
		"a fault that is not so": {simulated.Fault{Operation: "ContainerGroups.*", Status: http.StatusInternalServerError, Code: "Internal"}, map[Result]int{ResultServerError: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, session, e := listened(t)
			g.Expect(session.CheckToken(ctx)).To(Succeed())
			g.Expect(e.take()).To(HaveKeyWithValue(operationToken, map[Result]int{ResultSuccess: 1}))
			r.fault(t, test.fault)
			_, err := session.ContainerGroups(ctx, subscription, rgName)
			g.Expect(err).To(HaveOccurred())
			g.Expect(e.take()).To(HaveKeyWithValue("ListContainerGroups", test.want))
		})
	}
}

func TestResultWithoutAnAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want Result
	}{
		"nobody waits for it": {context.Canceled, ResultCanceled},
		"it took too long":    {fmt.Errorf("get: %w", context.DeadlineExceeded), ResultTimeout},
		"nobody is there":     {errors.New("connection refused"), ResultUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := &ear{}
			silent := transport(func(*http.Request) (*http.Response, error) { return nil, test.err })
			session, err := NewConnector(silent, "test", e.hear)(target().Credential)
			g.Expect(err).NotTo(HaveOccurred())
			session.options.Retry.RetryDelay = time.Millisecond
			session.homeCloud(context.Background())
			g.Expect(e.take()[operationTenant]).To(HaveKey(test.want))
		})
	}
}

// transport is one function.
type transport func(*http.Request) (*http.Response, error)

func (t transport) Do(r *http.Request) (*http.Response, error) { return t(r) }
