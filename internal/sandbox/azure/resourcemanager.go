// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// call is one request to Resource Manager on its way through: who asks for what, and what the answer carries besides.
//
// The SDK's fake servers parse the request and form the answer, one instance for each call: their own memory of
// pagers and pollers is by path and would mix clients up. So pages are linked and operations followed here.
type call struct {
	*Server
	request      *http.Request
	cloud        Cloud
	route        route
	names        map[string]string
	resourceID   string
	principal    principal
	subscription *subscription
	lag          time.Duration
	header       http.Header
}

// serveResourceManager checks a request in Azure's order: token, path, faults, subscription, rights, group, provider.
func (s *Server) serveResourceManager(w http.ResponseWriter, r *http.Request, cloud Cloud) {
	route, names, found := match(r.Method, r.URL.EscapedPath())
	resourceID, operation := r.URL.Path, "Unknown"
	if found {
		resourceID, operation = fill(route.path, names, func(name string) string { return name }), route.operation
	}
	d := s.disturb(r, operation, resourceID)
	if !s.wait(r.Context(), d.delay) {
		return
	}
	id := pseudoUUID("request", s.clock.Now().String(), r.URL.String())
	w.Header().Set("X-Ms-Request-Id", id)
	w.Header().Set("X-Ms-Correlation-Request-Id", id)
	if d.answer != nil {
		s.answerFault(w, d.answer, func(err *apiError) { err.write(w) })
		return
	}
	c := &call{
		Server: s, request: r, cloud: cloud, route: route, names: names, resourceID: resourceID, lag: d.lag, header: http.Header{},
	}
	if err := c.authenticate(); err != nil {
		err.write(w)
		return
	}
	if !found {
		newError(http.StatusNotFound, "InvalidResourceType", "The simulated Azure does not serve %s %s.", r.Method, r.URL.Path).write(w)
		return
	}
	if err := c.admit(); err != nil {
		err.write(w)
		return
	}
	c.answer(w)
}

// maxBody is the largest request that Resource Manager takes.
const maxBody = 4 << 20

func (c *call) authenticate() *apiError {
	kind, token, _ := strings.Cut(c.request.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") || token == "" {
		return unauthorized(c.cloud, "", "AuthenticationFailed",
			"Authentication failed. The 'Authorization' header is missing or not a bearer token.")
	}
	var err *apiError
	c.principal, err = c.checkToken(c.cloud, token)
	return err
}

func (c *call) admit() *apiError {
	if c.request.URL.Query().Get("api-version") == "" {
		return newError(http.StatusBadRequest, "MissingApiVersionParameter",
			"The api-version query parameter (?api-version=) is required for all requests.")
	}
	now := c.lock()
	defer c.mu.Unlock()
	subscriptionID := c.names["subscription"]
	c.subscription = c.world.subscriptions[strings.ToLower(subscriptionID)]
	if c.subscription == nil || c.subscription.cloud != c.cloud {
		return newError(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", subscriptionID)
	}
	if tenantID := c.subscription.tenantID; !strings.EqualFold(tenantID, c.principal.tenantID) {
		return unauthorized(c.cloud, tenantID, "InvalidAuthenticationTokenTenant",
			"The access token is from the wrong issuer '%s'. It must match the tenant '%s' associated with this subscription. "+
				"Please use the authority (URL) 'https://%s/%s' to get the token.",
			issuer(c.principal.tenantID), issuer(tenantID), clouds[c.cloud].login[0], tenantID)
	}
	if err := c.authorize(fill(c.route.action, c.names, func(name string) string { return name }), c.resourceID); err != nil {
		return err
	}
	if name := c.names["resourceGroup"]; c.route.inResourceGroup && c.subscription.resourceGroups[strings.ToLower(name)] == nil {
		return resourceGroupNotFound(name)
	}
	if namespace := c.route.namespace; namespace != "" && c.subscription.registration(namespace, now) != registered {
		return newError(http.StatusConflict, "MissingSubscriptionRegistration",
			"The subscription is not registered to use namespace '%s'. See https://aka.ms/rps-not-found for how to register subscriptions.", namespace)
	}
	return nil
}

// answer has the SDK's fake server form the answer, and writes it with what Azure adds.
func (c *call) answer(w http.ResponseWriter) {
	// The fakes panic where their client leaves in the middle.
	ctx := context.WithValue(context.WithoutCancel(c.request.Context()), runtime.CtxAPINameKey{}, c.route.api)
	r := c.request.Clone(ctx)
	r.URL.RawPath = fakePath(c.route, fill(c.route.path, c.names, url.PathEscape))
	r.URL.Path = fakePath(c.route, c.resourceID)
	body, err := io.ReadAll(http.MaxBytesReader(w, c.request.Body, maxBody))
	if err != nil {
		newError(http.StatusBadRequest, "InvalidRequestContent", "The request content could not be read: '%s'.", err).write(w)
		return
	}
	// The fakes take a body that is not there for nil only, as their requests come from a client and not from a server.
	r.Body = nil
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	response, err := c.route.serve(c).Do(r)
	if err != nil {
		c.writeError(w, err)
		return
	}
	defer response.Body.Close()
	maps.Copy(w.Header(), response.Header)
	maps.Copy(w.Header(), c.header)
	w.Header().Del("Fake-Poller-Status")
	if response.StatusCode == http.StatusNoContent {
		w.Header().Del("Content-Type")
		w.WriteHeader(response.StatusCode)
		return
	}
	w.WriteHeader(response.StatusCode)
	// The client may be gone; there is no one left to tell.
	_, _ = io.Copy(w, response.Body)
}

// fakePath is the path as the SDK's clients of resource groups and permissions write it, which their fakes insist on.
func fakePath(r route, path string) string {
	if client, _, _ := strings.Cut(r.api, "."); client == "ResourceGroupsClient" || client == "PermissionsClient" {
		return strings.Replace(path, "/resourceGroups", "/resourcegroups", 1)
	}
	return path
}

func (c *call) writeError(w http.ResponseWriter, err error) {
	var known *apiError
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &known):
		known.write(w)
	case errors.As(err, &syntax), errors.As(err, &mismatch), strings.Contains(err.Error(), "unmarshalling"):
		newError(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", err).write(w)
	default:
		newError(http.StatusInternalServerError, "InternalServerError", "%s", err).write(w)
	}
}

// follow points the client of a long-running operation to where it is told of the end.
func (c *call) follow(headerName, path string) {
	c.header.Set(headerName, fmt.Sprintf("https://%s%s?api-version=%s",
		c.request.Host, path, url.QueryEscape(c.request.URL.Query().Get("api-version"))))
	c.header.Set("Retry-After", "1")
}

func (c *call) operationDone() (bool, *apiError) {
	now := c.lock()
	defer c.mu.Unlock()
	done, ok := c.world.operations[c.names["id"]]
	if !ok {
		return false, newError(http.StatusNotFound, "NotFound", "The operation '%s' was not found.", c.names["id"])
	}
	return !now.Before(done), nil
}

// operationStatus answers as Azure-AsyncOperation has it: with a status.
func (c *call) operationStatus() doer {
	return doerFunc(func(r *http.Request) (*http.Response, error) {
		done, err := c.operationDone()
		if err != nil {
			return nil, err
		}
		status := "InProgress"
		if done {
			status = "Succeeded"
		} else {
			c.header.Set("Retry-After", "1")
		}
		c.header.Set("Content-Type", "application/json; charset=utf-8")
		body, _ := json.Marshal(map[string]string{"id": c.resourceID, "name": c.names["id"], "status": status})
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
	})
}

// operationResult answers as Location has it: 202 until the end, then 204.
func (c *call) operationResult() doer {
	return doerFunc(func(r *http.Request) (*http.Response, error) {
		done, err := c.operationDone()
		if err != nil {
			return nil, err
		}
		status := http.StatusNoContent
		if !done {
			status = http.StatusAccepted
			c.follow("Location", c.resourceID)
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}, nil
	})
}

// page cuts a list that is sorted by key into the page that the request asks for, and links the next.
func page[T any](c *call, items []T, key func(T) string) ([]T, *string) {
	if token, err := base64.RawURLEncoding.DecodeString(c.request.URL.Query().Get("$skiptoken")); err == nil && len(token) > 0 {
		for len(items) > 0 && key(items[0]) <= string(token) {
			items = items[1:]
		}
	}
	if len(items) <= c.world.pageSize {
		return items, nil
	}
	items = items[:c.world.pageSize]
	query := c.request.URL.Query()
	query.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(key(items[len(items)-1]))))
	next := url.URL{Scheme: "https", Host: c.request.Host, Path: c.request.URL.Path, RawQuery: query.Encode()}
	link := next.String()
	return items, &link
}
