// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"fmt"
	"net/http"
	"strings"
)

// loginHandler serves Microsoft Entra ID of a cloud, as far as a client credential needs it.
func (s *Server) loginHandler(cloud Cloud) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /common/discovery/instance", s.login(cloud, "InstanceDiscovery", s.discoverInstance))
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.login(cloud, "OpenIDConfiguration", s.openIDConfiguration))
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.login(cloud, "Token", s.token))
	return mux
}

type loginFunc func(r *http.Request, cloud Cloud) (any, *loginError)

// login counts and disturbs a login request, and writes its answer.
func (s *Server) login(cloud Cloud, operation string, serve loginFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fail := func(err *loginError) { err.write(w, r, s.clock.Now(), clouds[cloud].login[0]) }
		d := s.disturb(r, operation, r.PostFormValue("client_id"))
		if !s.wait(r.Context(), d.delay) {
			return
		}
		if d.answer != nil {
			s.answerFault(w, d.answer, func(err *apiError) {
				fail(&loginError{status: err.status, kind: err.code, number: 90033, text: err.message})
			})
			return
		}
		body, err := serve(r, cloud)
		if err != nil {
			fail(err)
			return
		}
		writeJSON(w, http.StatusOK, body)
	}
}

func (s *Server) discoverInstance(_ *http.Request, cloud Cloud) (any, *loginError) {
	host := clouds[cloud].login[0]
	metadata := make([]map[string]any, 0, len(clouds))
	for _, name := range []Cloud{PublicCloud, ChinaCloud, USGovernmentCloud} {
		e := clouds[name]
		metadata = append(metadata, map[string]any{
			"preferred_network": e.login[0], "preferred_cache": e.login[0], "aliases": e.login,
		})
	}
	return map[string]any{
		"tenant_discovery_endpoint": fmt.Sprintf("https://%s/common/v2.0/.well-known/openid-configuration", host),
		"api-version":               "1.1",
		"metadata":                  metadata,
	}, nil
}

func (s *Server) openIDConfiguration(r *http.Request, cloud Cloud) (any, *loginError) {
	tenant, err := s.tenant(r.PathValue("tenant"), cloud)
	if err != nil {
		return nil, err
	}
	base := fmt.Sprintf("https://%s/%s", clouds[cloud].login[0], tenant)
	return map[string]any{
		"issuer":                                base + "/v2.0",
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"subject_types_supported":               []string{"pairwise"},
	}, nil
}

func (s *Server) tenant(id string, cloud Cloud) (string, *loginError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.world.tenants {
		if strings.EqualFold(t.ID, id) && t.Cloud.orPublic() == cloud {
			return t.ID, nil
		}
	}
	return "", &loginError{status: http.StatusBadRequest, kind: "invalid_request", number: 90002, text: fmt.Sprintf(
		"Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. "+
			"Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.", id)}
}

func (s *Server) token(r *http.Request, cloud Cloud) (any, *loginError) {
	tenant, fail := s.tenant(r.PathValue("tenant"), cloud)
	if fail != nil {
		return nil, fail
	}
	if err := r.ParseForm(); err != nil {
		return nil, &loginError{http.StatusBadRequest, "invalid_request", 900144, "The request body could not be read."}
	}
	if grant := r.PostForm.Get("grant_type"); grant != "client_credentials" {
		return nil, &loginError{http.StatusBadRequest, "unsupported_grant_type", 70003,
			fmt.Sprintf("The app requested an unsupported grant type '%s'.", grant)}
	}
	p, fail := s.clientSecretPrincipal(tenant, r.PostForm.Get("client_id"), Secret(r.PostForm.Get("client_secret")))
	if fail != nil {
		return nil, fail
	}
	// MSAL also asks for openid, offline_access and profile.
	resource := ""
	for scope := range strings.FieldsSeq(r.PostForm.Get("scope")) {
		if strings.Contains(scope, "://") {
			resource = scope
		}
	}
	if got, ok := cloudOfAudience(resource); !ok || got != cloud {
		return nil, unknownResource(resource, tenant)
	}
	token, expires, err := s.mintToken(cloud, p)
	if err != nil {
		return nil, &loginError{http.StatusInternalServerError, "server_error", 90033, err.Error()}
	}
	seconds := int(expires.Sub(s.clock.Now()).Seconds())
	return map[string]any{
		"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token,
	}, nil
}

func unknownResource(resource, tenant string) *loginError {
	return &loginError{http.StatusBadRequest, "invalid_resource", 500011, fmt.Sprintf(
		"The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed "+
			"by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.",
		strings.TrimSuffix(resource, "/.default"), tenant)}
}

// clientSecretPrincipal finds the service principal of a client secret.
func (s *Server) clientSecretPrincipal(tenantID, clientID string, secret Secret) (principal, *loginError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.world.servicePrincipal(tenantID, clientID)
	if sp == nil {
		return principal{}, &loginError{http.StatusBadRequest, "unauthorized_client", 700016, fmt.Sprintf(
			"Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed "+
				"by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
			clientID, tenantID)}
	}
	if secret == "" {
		return principal{}, &loginError{http.StatusUnauthorized, "invalid_client", 7000218,
			"The request body must contain the following parameter: 'client_assertion' or 'client_secret'."}
	}
	for _, known := range sp.Secrets {
		if known.Value != secret {
			continue
		}
		if !known.Expires.IsZero() && !s.clock.Now().Before(known.Expires) {
			return principal{}, &loginError{http.StatusUnauthorized, "invalid_client", 7000222, fmt.Sprintf(
				"The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app: "+
					"https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.", sp.ClientID)}
		}
		return principal{tenantID: sp.TenantID, clientID: sp.ClientID, objectID: sp.ObjectID}, nil
	}
	return principal{}, &loginError{http.StatusUnauthorized, "invalid_client", 7000215, fmt.Sprintf(
		"Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "+
			"not the client secret ID, for a secret added to app '%s'.", sp.ClientID)}
}
