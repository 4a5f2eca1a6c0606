// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"
	"strconv"
)

// InstanceMetadata serves the instance metadata endpoint of a machine that carries the managed identities.
func (s *Server) InstanceMetadata() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metadata/identity/oauth2/token", s.identityToken)
	return mux
}

func (s *Server) identityToken(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, code, description string) {
		writeJSON(w, status, map[string]string{"error": code, "error_description": description})
	}
	d := s.disturb(r, "IdentityToken", r.URL.Query().Get("client_id"))
	if !s.wait(r.Context(), d.delay) {
		return
	}
	if d.answer != nil {
		s.answerFault(w, d.answer, func(err *apiError) { fail(err.status, err.code, err.message) })
		return
	}
	if r.Header.Get("Metadata") != "true" {
		fail(http.StatusBadRequest, "invalid_request", "Required metadata header not specified")
		return
	}
	query := r.URL.Query()
	p, cloud, ok := s.identityPrincipal(query.Get("client_id"))
	if !ok {
		fail(http.StatusBadRequest, "invalid_request", "Identity not found")
		return
	}
	resource := query.Get("resource")
	if got, ok := cloudOfAudience(resource); !ok || got != cloud {
		err := unknownResource(resource, p.tenantID)
		fail(err.status, err.kind, "AADSTS500011: "+err.text)
		return
	}
	token, expires, err := s.mintToken(cloud, p)
	if err != nil {
		fail(http.StatusInternalServerError, "server_error", err.Error())
		return
	}
	now := s.clock.Now()
	lifetime := strconv.Itoa(int(expires.Sub(now).Seconds()))
	writeJSON(w, http.StatusOK, map[string]string{
		"access_token":   token,
		"client_id":      p.clientID,
		"expires_in":     lifetime,
		"ext_expires_in": lifetime,
		"expires_on":     strconv.FormatInt(expires.Unix(), 10),
		"not_before":     strconv.FormatInt(now.Unix(), 10),
		"resource":       resource,
		"token_type":     "Bearer",
	})
}
