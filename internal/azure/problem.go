// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// Problem is why Azure could not be used, in words for a condition: without secrets, request ids and
// times.
type Problem struct {
	// Reason is a reason of the condition AzureAccessible.
	Reason string
	// Message names the fault and the remedy.
	Message string
	// Proven is false where Azure did not answer, or in a way that proves nothing.
	Proven bool
	// RetryAfter is how long Azure asked to wait; zero where it did not.
	RetryAfter time.Duration
}

// IsNotFound reports whether Azure says that there is no such resource.
func IsNotFound(err error) bool {
	var response *azcore.ResponseError
	return errors.As(err, &response) && response.StatusCode == http.StatusNotFound
}

// Explain says what an error of a target's client means. It returns nil for nil.
func Explain(target Target, err error) *Problem {
	if err == nil {
		return nil
	}
	var refused *azidentity.AuthenticationFailedError
	if errors.As(err, &refused) && refused.RawResponse != nil {
		return explainRefusal(target, refused.RawResponse)
	}
	var response *azcore.ResponseError
	if errors.As(err, &response) && response.RawResponse != nil {
		return explainResponse(target, response)
	}
	return &Problem{
		Reason:  v1alpha1.ReasonAzureUnavailable,
		Message: fmt.Sprintf("Azure did not answer for %s: check that the operator can reach it and resolve its names", target),
	}
}

// refusal is the body of an OAuth error response (RFC 6749, section 5.2).
type refusal struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func explainRefusal(target Target, response *http.Response) *Problem {
	var body refusal
	if payload, err := runtime.Payload(response); err == nil {
		_ = json.Unmarshal(payload, &body) // what is no JSON has no description
	}
	description := stableDescription(body.Description)
	if description == "" {
		description = response.Status
	}
	if response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= http.StatusInternalServerError {
		return &Problem{
			Reason:     v1alpha1.ReasonAzureUnavailable,
			Message:    fmt.Sprintf("Microsoft Entra can't issue a token now: %s", description),
			RetryAfter: retryAfter(response),
		}
	}
	problem := &Problem{Reason: v1alpha1.ReasonCredentialsRejected, Proven: true}
	remedy := "check spec.credentials.servicePrincipal and the client secret in its Secret"
	switch {
	case strings.HasPrefix(description, "AADSTS7000222"):
		problem.Reason = v1alpha1.ReasonSecretExpired
		remedy = fmt.Sprintf("make a new client secret (az ad app credential reset --id %s --append) and put it into the Secret", target.ClientID)
	case strings.HasPrefix(description, "AADSTS7000215"):
		remedy = "put the value of the client secret, not its id, into the Secret"
	case strings.HasPrefix(description, "AADSTS700016"):
		remedy = "check spec.credentials.servicePrincipal.clientID and tenantID"
	case strings.HasPrefix(description, "AADSTS90002"):
		remedy = "check spec.credentials.servicePrincipal.tenantID and spec.cloud"
	}
	problem.Message = fmt.Sprintf("Microsoft Entra refused a token for client %s of tenant %s: %s: %s",
		target.ClientID, target.TenantID, strings.TrimSuffix(description, "."), remedy)
	return problem
}

func explainResponse(target Target, err *azcore.ResponseError) *Problem {
	switch {
	case err.StatusCode == http.StatusForbidden && err.ErrorCode != "AuthorizationFailed":
		return &Problem{
			Reason: v1alpha1.ReasonForbidden,
			Proven: true,
			Message: fmt.Sprintf("Azure forbids client %s to use %s (%s): check the policies, deny assignments and locks there",
				target.ClientID, target, cmp.Or(err.ErrorCode, err.RawResponse.Status)),
		}
	case err.StatusCode == http.StatusForbidden:
		return &Problem{
			Reason: v1alpha1.ReasonForbidden,
			Proven: true,
			Message: fmt.Sprintf("client %s lacks rights on %s (%s): az role assignment create --assignee %s --role Contributor --scope /subscriptions/%s/resourceGroups/%s",
				target.ClientID, target, err.ErrorCode, target.ClientID, target.SubscriptionID, target.ResourceGroup),
		}
	case err.ErrorCode == "SubscriptionNotFound" || err.ErrorCode == "InvalidSubscriptionId":
		return &Problem{
			Reason: v1alpha1.ReasonSubscriptionNotFound,
			Proven: true,
			Message: fmt.Sprintf("subscription %s does not exist in the tenant of the credentials, or is not visible to them: check spec.containerGroups.subscriptionID",
				target.SubscriptionID),
		}
	case err.ErrorCode == "ResourceGroupNotFound":
		return &Problem{
			Reason: v1alpha1.ReasonResourceGroupNotFound,
			Proven: true,
			Message: fmt.Sprintf("%s does not exist: check spec.containerGroups.resourceGroup, or az group create --subscription %s --name %s --location LOCATION",
				target, target.SubscriptionID, target.ResourceGroup),
		}
	case err.StatusCode == http.StatusUnauthorized:
		return &Problem{
			Reason: v1alpha1.ReasonCredentialsRejected,
			Proven: true,
			Message: fmt.Sprintf("Azure refused the token of client %s for %s (%s): check that the subscription belongs to tenant %s",
				target.ClientID, target, err.ErrorCode, target.TenantID),
		}
	}
	return &Problem{
		Reason:     v1alpha1.ReasonAzureUnavailable,
		Message:    fmt.Sprintf("Azure answered %d %s for %s", err.StatusCode, cmp.Or(err.ErrorCode, http.StatusText(err.StatusCode)), target),
		RetryAfter: retryAfter(err.RawResponse),
	}
}

// stableDescription returns the first sentence of an error of Microsoft Entra, without the ids and the
// time that follow.
func stableDescription(description string) string {
	description, _, _ = strings.Cut(description, "\n")
	description, _, _ = strings.Cut(description, " Trace ID:")
	return strings.TrimSpace(description)
}

func retryAfter(response *http.Response) time.Duration {
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
