// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"
)

// apiError is an error in Resource Manager's form.
type apiError struct {
	status  int
	code    string
	message string
	header  http.Header
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message)
}

func newError(status int, code, format string, args ...any) *apiError {
	return &apiError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func (e *apiError) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), e.header)
	w.Header().Set("X-Ms-Error-Code", e.code)
	writeJSON(w, e.status, map[string]any{"error": map[string]string{"code": e.code, "message": e.message}})
}

// unauthorized is an error about the token; Azure names the authority to get a better one from.
func unauthorized(cloud Cloud, tenantID, code, format string, args ...any) *apiError {
	err := newError(http.StatusUnauthorized, code, format, args...)
	authority := "https://" + clouds[cloud].login[0]
	if tenantID != "" {
		authority += "/" + tenantID
	}
	err.header = http.Header{"Www-Authenticate": {fmt.Sprintf(
		`Bearer authorization_uri=%q, error="invalid_token", error_description=%q`, authority, err.message)}}
	return err
}

func resourceGroupNotFound(name string) *apiError {
	return newError(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", name)
}

func resourceNotFound(resourceType, name, resourceGroup string) *apiError {
	return newError(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
		resourceType, name, resourceGroup)
}

// loginError is an error in the form of the token endpoint.
type loginError struct {
	status int
	kind   string
	number int
	text   string
}

func (e *loginError) write(w http.ResponseWriter, r *http.Request, now time.Time, host string) {
	stamp := now.UTC().Format("2006-01-02 15:04:05Z")
	trace := pseudoUUID("trace", r.URL.Path, stamp)
	correlation := r.Header.Get("Client-Request-Id")
	if correlation == "" {
		correlation = pseudoUUID("correlation", r.URL.Path, stamp)
	}
	body := map[string]any{
		"error": e.kind,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			e.number, e.text, trace, correlation, stamp),
		"error_codes":    []int{e.number},
		"timestamp":      stamp,
		"trace_id":       trace,
		"correlation_id": correlation,
		"error_uri":      fmt.Sprintf("https://%s/error?code=%d", host, e.number),
	}
	writeJSON(w, e.status, body)
}

// pseudoUUID makes a stable identifier in the form of a UUID out of what it names.
func pseudoUUID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	text := hex.EncodeToString(sum[:16])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// The client may be gone; there is no one left to tell.
	_ = json.NewEncoder(w).Encode(body)
}
