// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package azure knows what Azure has and says: tokens, container groups, and what a connector points to. It is
// the only package of the operator that knows the Azure SDK, and it never touches a Kubernetes API.
package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/golang-jwt/jwt/v5"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// Session asks Azure with one identity.
type Session struct {
	credential Credential
	tokens     *tokens
	options    azcore.ClientOptions
}

// Connector makes the Session of a credential.
type Connector func(Credential) (*Session, error)

// NewConnector returns a Connector whose sessions use a transport, or the SDK's own where it is nil. Who listens is told of
// each of their requests, at once.
func NewConnector(transport policy.Transporter, userAgent string, listeners ...func(Request)) Connector {
	each := []policy.Policy{limit{requestTimeout}}
	for _, tell := range listeners {
		each = append(each, teller{tell})
	}
	return func(c Credential) (*Session, error) {
		session := &Session{credential: c, options: azcore.ClientOptions{
			Cloud:     configuration(c.Cloud),
			Transport: transport,
			Telemetry: policy.TelemetryOptions{ApplicationID: userAgent},
			// Each attempt counts towards Azure's limits.
			PerRetryPolicies: each,
			// The inventory tries again by itself, with a longer breath.
			Retry: policy.RetryOptions{MaxRetries: 1, StatusCodes: []int{
				http.StatusRequestTimeout, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
			}},
		}}
		if _, err := session.identity(); err != nil {
			return nil, err
		}
		session.tokens = &tokens{identity: session.identity, turn: make(chan struct{}, 1)}
		return session, nil
	}
}

// limit bounds how long a request may take. The SDK's own TryTimeout includes what it takes to sign in.
type limit struct{ each time.Duration }

// Do implements policy.Policy. Where it returns, the body of the answer has been read.
func (l limit) Do(r *policy.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Raw().Context(), l.each)
	defer cancel()
	response, err := r.WithContext(ctx).Next()
	if err != nil && ctx.Err() != nil {
		err = overdue{err}
	}
	return response, err
}

// overdue is why a request was given up. The SDK does not try it a second time: who asks does, later.
type overdue struct{ error }

func (e overdue) Unwrap() error { return e.error }

// NonRetriable tells the SDK so.
func (overdue) NonRetriable() {}

// identity returns the SDK's credential, which has no token yet.
func (s *Session) identity() (azcore.TokenCredential, error) {
	if s.credential.Type == v1alpha1.CredentialTypeManagedIdentity {
		identity, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
			ClientOptions: s.options, ID: azidentity.ClientID(s.credential.ClientID),
		})
		if err != nil {
			return nil, fmt.Errorf("managed identity %s: %w", s.credential.ClientID, err)
		}
		return identity, nil
	}
	identity, err := azidentity.NewClientSecretCredential(s.credential.TenantID, s.credential.ClientID, s.credential.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: s.options})
	if err != nil {
		return nil, fmt.Errorf("service principal %s: %w", s.credential.ClientID, err)
	}
	return identity, nil
}

func (s *Session) arm() *arm.ClientOptions {
	return &arm.ClientOptions{ClientOptions: s.options, DisableRPRegistration: true}
}

// scopes are what the SDK asks for before each of its requests: for tokens of another kind, it would ask again.
func (s *Session) scopes() policy.TokenRequestOptions {
	return policy.TokenRequestOptions{
		Scopes: []string{s.options.Cloud.Services[cloud.ResourceManager].Audience + "/.default"}, EnableCAE: true,
	}
}

// CheckToken asks for a new token, whether or not the last one still holds: Azure tells of an expired secret in
// no other way.
func (s *Session) CheckToken(ctx context.Context) error {
	options := s.scopes()
	if s.credential.Type == v1alpha1.CredentialTypeManagedIdentity {
		// The SDK remembers the tokens of managed identities for the whole process, unless it is given claims; the
		// machine does not get to see them.
		options.Claims = "{}"
	}
	err := s.tokens.renew(ctx, options)
	if tenantUnknown(err) {
		looking, cancel := context.WithTimeout(ctx, homePatience)
		defer cancel()
		if home, ok := s.homeCloud(looking); ok {
			return &wrongCloudError{tenantID: s.credential.TenantID, home: home}
		}
	}
	return err
}

// homePatience is for a look at the other clouds: a firewall may let nobody through to them.
const homePatience = 10 * time.Second

// wrongCloudError says that a tenant is another cloud's.
type wrongCloudError struct {
	tenantID string
	home     v1alpha1.CloudName
}

func (e *wrongCloudError) Error() string {
	return fmt.Sprintf("tenant %s is one of %s", e.tenantID, e.home)
}

// homeCloud finds the other cloud that knows the tenant, by the document that every tenant has for everybody
// (https://openid.net/specs/openid-connect-discovery-1_0.html).
func (s *Session) homeCloud(ctx context.Context) (v1alpha1.CloudName, bool) {
	pipeline := runtime.NewPipeline("homeCloud", "v1", runtime.PipelineOptions{}, &s.options)
	for _, name := range []v1alpha1.CloudName{v1alpha1.CloudPublic, v1alpha1.CloudUSGovernment, v1alpha1.CloudChina} {
		if name == s.credential.Cloud {
			continue
		}
		address := runtime.JoinPaths(configuration(name).ActiveDirectoryAuthorityHost, s.credential.TenantID, "v2.0/.well-known/openid-configuration")
		request, err := runtime.NewRequest(ctx, http.MethodGet, address)
		if err != nil {
			continue
		}
		response, err := pipeline.Do(request)
		if err != nil {
			continue
		}
		_ = response.Body.Close() // the status says it all
		if response.StatusCode == http.StatusOK {
			return name, true
		}
	}
	return "", false
}

// objectID returns the identity's object id, which Azure knows principals by; nothing where the token does not tell.
func (s *Session) objectID(ctx context.Context) (string, error) {
	token, err := s.tokens.GetToken(ctx, s.scopes())
	if err != nil {
		return "", err
	}
	claims := struct {
		jwt.RegisteredClaims
		ObjectID string `json:"oid"`
	}{}
	if _, _, err := jwt.NewParser().ParseUnverified(token.Token, &claims); err != nil {
		return "", nil //nolint:nilerr // Microsoft Entra promises nobody but the resource a form of it.
	}
	return claims.ObjectID, nil
}

// tokens gives out the tokens of an identity. Of many that ask at once, one asks Microsoft Entra; and once that has
// refused, nobody but renew asks again, unless nobody would.
type tokens struct {
	identity func() (azcore.TokenCredential, error)
	// turn is had by who asks Microsoft Entra. A token that holds is given out without: another one may be long in coming.
	turn chan struct{}
	// unattended says that nobody calls renew again and again.
	unattended atomic.Bool

	mu sync.Mutex
	// current has had a token; nil before the first one. refused is why there is none.
	current azcore.TokenCredential
	refused error
}

// refusedBefore is a refusal of Microsoft Entra's that came to somebody else's request.
type refusedBefore struct{ error }

func (e refusedBefore) Unwrap() error { return e.error }

// GetToken returns a token that holds.
func (t *tokens) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	current, refused := t.last()
	if current == nil && refused == nil {
		if err := t.enter(ctx); err != nil {
			return azcore.AccessToken{}, err
		}
		defer t.leave()
		if current, refused = t.last(); current == nil && refused == nil {
			return t.acquire(ctx, options)
		}
	}
	if refused != nil {
		return azcore.AccessToken{}, refused
	}
	return give(ctx, current, options)
}

// last returns what has had a token, or why nothing has; neither where Microsoft Entra is to be asked.
func (t *tokens) last() (azcore.TokenCredential, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil || t.refused == nil || t.unattended.Load() {
		return t.current, nil
	}
	return nil, refusedBefore{t.refused}
}

func (t *tokens) renew(ctx context.Context, options policy.TokenRequestOptions) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer t.leave()
	_, err := t.acquire(ctx, options)
	return err
}

func (t *tokens) acquire(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	fresh, err := t.identity()
	if err != nil {
		return azcore.AccessToken{}, err
	}
	token, err := give(ctx, fresh, options)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.current, t.refused = fresh, nil
	case errors.As(err, new(*refusal)):
		t.refused = err
	}
	return token, err
}

func give(ctx context.Context, identity azcore.TokenCredential, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := identity.GetToken(ctx, options)
	return token, asRefusal(err)
}

func (t *tokens) enter(ctx context.Context) error {
	select {
	case t.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *tokens) leave() { <-t.turn }
