// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Client speaks to a Server's control API.
type Client struct {
	http *http.Client
}

// Dial makes a Client for the control API on a Unix socket. It connects with the first call.
func Dial(socketPath string) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socketPath)
		},
		// A client may live as short as one command; no connection shall outlive it.
		DisableKeepAlives: true,
	}}}
}

// Client makes a Client for the Server in the same process.
func (s *Server) Client() *Client {
	return &Client{http: &http.Client{Transport: controlTransport{s.Control()}}}
}

type controlTransport struct{ handler http.Handler }

func (t controlTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return roundTrip(t.handler, r)
}

// ContainerGroups lists every container group that there is.
func (c *Client) ContainerGroups(ctx context.Context) (groups []ContainerGroup, err error) {
	err = c.call(ctx, http.MethodGet, "/container-groups", nil, &groups)
	return groups, err
}

// PutContainerGroup plants a group that runs already, as if another client of Azure had made it.
func (c *Client) PutContainerGroup(ctx context.Context, group ContainerGroup) error {
	return c.call(ctx, http.MethodPut, "/container-groups", group, nil)
}

// DeleteContainerGroup takes a group away at once.
func (c *Client) DeleteContainerGroup(ctx context.Context, subscriptionID, resourceGroup, name string) error {
	return c.call(ctx, http.MethodDelete, "/container-groups",
		ContainerGroup{SubscriptionID: subscriptionID, ResourceGroup: resourceGroup, Name: name}, nil)
}

// Requests returns how many requests came for each operation since the last reset.
func (c *Client) Requests(ctx context.Context) (counts map[string]int, err error) {
	err = c.call(ctx, http.MethodGet, "/requests", nil, &counts)
	return counts, err
}

// RequestsIn returns how many came for what lies in a subscription, by its resource ID, or for tokens of a client, by
// its ID, of the clients whose User-Agent begins with a text; empty is everywhere and everybody.
func (c *Client) RequestsIn(ctx context.Context, scope, userAgent string) (counts map[string]int, err error) {
	err = c.call(ctx, http.MethodGet, "/requests?"+url.Values{"scope": {scope}, "userAgent": {userAgent}}.Encode(), nil, &counts)
	return counts, err
}

// ResetRequests starts the counts anew.
func (c *Client) ResetRequests(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/requests", nil, nil)
}

// AddFault switches a fault on and returns it with its ID.
func (c *Client) AddFault(ctx context.Context, fault Fault) (added Fault, err error) {
	err = c.call(ctx, http.MethodPost, "/faults", fault, &added)
	return added, err
}

// Faults lists the faults that are still on.
func (c *Client) Faults(ctx context.Context) (faults []Fault, err error) {
	err = c.call(ctx, http.MethodGet, "/faults", nil, &faults)
	return faults, err
}

// RemoveFault switches a fault off.
func (c *Client) RemoveFault(ctx context.Context, id int) error {
	return c.call(ctx, http.MethodDelete, fmt.Sprintf("/faults/%d", id), nil, nil)
}

// ClearFaults switches all faults off.
func (c *Client) ClearFaults(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/faults", nil, nil)
}

// SetSubscription makes a subscription with nothing in it, or replaces one.
func (c *Client) SetSubscription(ctx context.Context, subscription Subscription) error {
	return c.call(ctx, http.MethodPut, "/subscriptions", subscription, nil)
}

// SetServicePrincipal makes or replaces a service principal.
func (c *Client) SetServicePrincipal(ctx context.Context, sp ServicePrincipal) error {
	return c.call(ctx, http.MethodPut, "/service-principals", sp, nil)
}

// SetClientSecret makes this the only secret of a service principal; the zero time never expires.
func (c *Client) SetClientSecret(ctx context.Context, clientID, secret string, expires time.Time) error {
	return c.call(ctx, http.MethodPut, "/client-secret", clientSecretBody{clientID, secret, expires}, nil)
}

// SetRoleAssignments makes these the only role assignments of a service principal or managed identity.
func (c *Client) SetRoleAssignments(ctx context.Context, clientID string, assignments ...RoleAssignment) error {
	return c.call(ctx, http.MethodPut, "/role-assignments", roleAssignmentsBody{clientID, assignments}, nil)
}

// SetDenyAssignments makes these the only deny assignments of a scope.
func (c *Client) SetDenyAssignments(ctx context.Context, scope string, assignments ...DenyAssignment) error {
	return c.call(ctx, http.MethodPut, "/deny-assignments", denyAssignmentsBody{scope, assignments}, nil)
}

// SetResourceGroup makes or changes a resource group.
func (c *Client) SetResourceGroup(ctx context.Context, group ResourceGroup) error {
	return c.call(ctx, http.MethodPut, "/resource-groups", group, nil)
}

// DeleteResourceGroup takes a resource group away at once with all that is in it.
func (c *Client) DeleteResourceGroup(ctx context.Context, subscriptionID, name string) error {
	return c.call(ctx, http.MethodDelete, "/resource-groups", ResourceGroup{SubscriptionID: subscriptionID, Name: name}, nil)
}

// SetVirtualNetwork makes or replaces a virtual network with its subnets.
func (c *Client) SetVirtualNetwork(ctx context.Context, network VirtualNetwork) error {
	return c.call(ctx, http.MethodPut, "/virtual-networks", network, nil)
}

// SetManagedCluster makes or replaces a managed cluster.
func (c *Client) SetManagedCluster(ctx context.Context, cluster ManagedCluster) error {
	return c.call(ctx, http.MethodPut, "/managed-clusters", cluster, nil)
}

// DeleteManagedCluster takes a managed cluster away at once; its node resource group stays.
func (c *Client) DeleteManagedCluster(ctx context.Context, subscriptionID, resourceGroup, name string) error {
	return c.call(ctx, http.MethodDelete, "/managed-clusters",
		ManagedCluster{SubscriptionID: subscriptionID, ResourceGroup: resourceGroup, Name: name}, nil)
}

// SetLocation makes or replaces a region.
func (c *Client) SetLocation(ctx context.Context, location Location) error {
	return c.call(ctx, http.MethodPut, "/locations", location, nil)
}

// SetProvider registers a resource provider with a subscription at once, or takes its registration back.
func (c *Client) SetProvider(ctx context.Context, subscriptionID, namespace string, registered bool) error {
	return c.call(ctx, http.MethodPut, "/providers", providerBody{subscriptionID, namespace, registered}, nil)
}

// SetQuota changes what a subscription may run in a region.
func (c *Client) SetQuota(ctx context.Context, quota Quota) error {
	return c.call(ctx, http.MethodPut, "/quota", quota, nil)
}

// SetTiming changes how long what Azure does takes, from now on.
func (c *Client) SetTiming(ctx context.Context, timing Timing) error {
	return c.call(ctx, http.MethodPut, "/timing", timing, nil)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	fail := func(err error) error { return fmt.Errorf("simulated Azure: %s %s: %w", method, path, err) }
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fail(err)
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://control"+path, body)
	if err != nil {
		return fail(err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fail(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		var problem errorBody
		if err := json.NewDecoder(response.Body).Decode(&problem); err != nil || problem.Error == "" {
			return fail(fmt.Errorf("status %s", response.Status))
		}
		return fail(fmt.Errorf("%s", problem.Error))
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fail(err)
	}
	return nil
}
