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
	// Reason is a reason of the condition that the question is about.
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
	return errors.As(err, &response) && response.StatusCode == http.StatusNotFound && response.ErrorCode != ""
}

// Explain says what an error of asking about a target's container groups means. It returns nil for nil.
func Explain(target Target, err error) *Problem {
	return subject{
		credential:     target.Credential,
		subscriptionID: target.SubscriptionID,
		name:           target.String(),
		absent: Problem{
			Reason: v1alpha1.ReasonResourceGroupNotFound,
			Message: fmt.Sprintf("%s does not exist: check spec.containerGroups.resourceGroup, or az group create --subscription %s --name %s --location LOCATION",
				target, target.SubscriptionID, target.ResourceGroup),
		},
		absence: "ResourceGroupNotFound",
		forbidden: Problem{
			Reason:  v1alpha1.ReasonForbidden,
			Message: fmt.Sprintf("%s lacks rights on %s: %s", target.Credential, target, GrantOnResourceGroup(target)),
		},
		subscription: "spec.containerGroups.subscriptionID",
		proves:       true,
	}.explain(err)
}

// subject is what a question is about, with what the answers mean that are not the same for all.
type subject struct {
	credential     Credential
	subscriptionID string
	// name is how a message names it, subscription the field of the spec that names its subscription.
	name, subscription string
	// namespace is the resource provider of it; empty for the one of container groups.
	namespace string
	// absent is the problem where Azure says that it does not exist, by the code absence or, where that is empty,
	// by any; forbidden where it does not let the identity look.
	absent, forbidden Problem
	absence           string
	// proves says that a look which Azure forbids proves that the connector can't work.
	proves bool
}

func (s subject) explain(err error) *Problem {
	if err == nil {
		return nil
	}
	if elsewhere, ok := errors.AsType[*wrongCloudError](err); ok {
		return &Problem{Reason: v1alpha1.ReasonCloudMismatch, Proven: true, Message: fmt.Sprintf(
			"tenant %s belongs to %s, and the connector to %s: set spec.cloud to %s, or give credentials of %s",
			elsewhere.tenantID, elsewhere.home, s.credential.Cloud, elsewhere.home, s.credential.Cloud)}
	}
	if refused, ok := errors.AsType[*refusal](err); ok {
		problem := s.explainRefusal(refused)
		if errors.As(err, new(refusedBefore)) {
			// How long to wait was said to whoever asked, and then.
			problem.RetryAfter = 0
		}
		return problem
	}
	var response *azcore.ResponseError
	switch {
	case errors.As(err, &response) && response.RawResponse != nil:
		return s.explainResponse(response)
	case errors.Is(err, errNoSubnet):
		s.absent.Proven = true
		return &s.absent
	case s.credential.Type == v1alpha1.CredentialTypeManagedIdentity && isCredentialUnavailable(err):
		return &Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: fmt.Sprintf(
			"the instance metadata endpoint 169.254.169.254 gave no token for managed identity %s: the operator must run on an Azure machine that carries the identity, and its NO_PROXY must name 169.254.169.254 where it has a proxy",
			s.credential.ClientID)}
	}
	if errors.Is(err, errSilent) {
		return &Problem{Reason: v1alpha1.ReasonAzureUnavailable, Message: fmt.Sprintf("Azure takes long to answer for %s", s.name)}
	}
	// The SDK and its library for tokens keep no other trace of it.
	if text := err.Error(); errors.Is(err, errNotAzures) || strings.Contains(text, "unmarshalling type ") || strings.Contains(text, "json decode error") {
		return s.notAzures("with what Azure does not say")
	}
	return &Problem{
		Reason:  v1alpha1.ReasonAzureUnavailable,
		Message: fmt.Sprintf("Azure did not answer for %s: check that the operator can reach it and resolve its names", s.name),
	}
}

// errNotAzures is an answer that Azure would not give.
var errNotAzures = errors.New("not an answer of Azure's")

// notAzures is an answer of somebody else, such as a proxy.
func (s subject) notAzures(how string) *Problem {
	return &Problem{
		Reason:  v1alpha1.ReasonAzureUnavailable,
		Message: fmt.Sprintf("something between the operator and Azure answered %s for %s: check the proxies and firewalls", how, s.name),
	}
}

// isCredentialUnavailable reports whether the SDK got nothing that it could take for an answer to its wish for a token.
func isCredentialUnavailable(err error) bool {
	var unavailable interface{ NonRetriable() }
	return errors.As(err, &unavailable)
}

// refusal is an answer to the wish for a token that brought none. Unlike the SDK's own error, which reads its response
// whenever it is looked at, it can be had by many at once.
type refusal struct {
	statusCode int
	status     string
	// code and description are of an OAuth error response (RFC 6749, section 5.2), and empty in all else.
	code, description string
	retryAfter        time.Duration
}

func (r *refusal) Error() string { return "no token: " + r.text() }

// NonRetriable keeps the SDK from asking again at once.
func (*refusal) NonRetriable() {}

func (r *refusal) text() string { return cmp.Or(r.description, r.status) }

// asRefusal returns a refusal in place of the SDK's error of one, and other errors as they are.
func asRefusal(err error) error {
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) || failed.RawResponse == nil {
		return err
	}
	var body struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	if payload, err := runtime.Payload(failed.RawResponse); err == nil {
		_ = json.Unmarshal(payload, &body) // what is no JSON has no description
	}
	return &refusal{
		statusCode: failed.RawResponse.StatusCode, status: failed.RawResponse.Status,
		code: body.Code, description: stableDescription(body.Description), retryAfter: retryAfter(failed.RawResponse),
	}
}

// tenantUnknown reports whether Microsoft Entra does not know the tenant, in this cloud.
func tenantUnknown(err error) bool {
	var refused *refusal
	return errors.As(err, &refused) && strings.HasPrefix(refused.description, "AADSTS90002")
}

func (s subject) explainRefusal(refused *refusal) *Problem {
	issuer := "Microsoft Entra"
	transient := refused.statusCode == http.StatusTooManyRequests || refused.statusCode >= http.StatusInternalServerError
	if s.credential.Type == v1alpha1.CredentialTypeManagedIdentity {
		issuer = "the instance metadata endpoint 169.254.169.254"
		// It says so while it is being updated.
		transient = transient || refused.statusCode == http.StatusNotFound || refused.statusCode == http.StatusGone
	}
	if transient {
		return &Problem{
			Reason:     throttledOr(v1alpha1.ReasonAzureUnavailable, refused.statusCode),
			Message:    fmt.Sprintf("%s can't issue a token now: %s", issuer, refused.text()),
			RetryAfter: refused.retryAfter,
		}
	}
	if refused.code == "" {
		s.name = "a token of " + s.credential.String()
		return s.notAzures(refused.status)
	}
	if s.credential.Type == v1alpha1.CredentialTypeManagedIdentity {
		return s.explainIdentityRefusal(refused.text())
	}
	problem := &Problem{Reason: v1alpha1.ReasonCredentialsRejected, Proven: true}
	remedy := "check spec.credentials.servicePrincipal and the client secret in its Secret"
	switch {
	case strings.HasPrefix(refused.description, "AADSTS7000222"):
		problem.Reason = v1alpha1.ReasonSecretExpired
		remedy = fmt.Sprintf("make a new client secret (az ad app credential reset --id %s --append) and put it into the Secret", s.credential.ClientID)
	case strings.HasPrefix(refused.description, "AADSTS7000215"):
		remedy = "put the value of the client secret, not its id, into the Secret"
	case strings.HasPrefix(refused.description, "AADSTS700016"):
		remedy = "check spec.credentials.servicePrincipal.clientID and tenantID"
	case strings.HasPrefix(refused.description, "AADSTS90002"):
		problem.Reason = v1alpha1.ReasonTenantNotFound
		remedy = "check spec.credentials.servicePrincipal.tenantID and spec.cloud"
	}
	problem.Message = fmt.Sprintf("Microsoft Entra refused a token for client %s of tenant %s: %s: %s",
		s.credential.ClientID, s.credential.TenantID, strings.TrimSuffix(refused.text(), "."), remedy)
	return problem
}

func (s subject) explainIdentityRefusal(description string) *Problem {
	problem := &Problem{Reason: v1alpha1.ReasonCredentialsRejected, Proven: true}
	remedy := "assign it to the machines that the operator and the virtual kubelets run on (az vmss identity assign), and check spec.credentials.managedIdentity.clientID"
	if strings.Contains(description, "AADSTS500011") {
		problem.Reason = v1alpha1.ReasonCloudMismatch
		remedy = "the machine is not in " + string(s.credential.Cloud) + ": check spec.cloud"
	}
	problem.Message = fmt.Sprintf("the machine gave no token for managed identity %s: %s: %s",
		s.credential.ClientID, strings.TrimSuffix(description, "."), remedy)
	return problem
}

func throttledOr(reason string, status int) string {
	if status == http.StatusTooManyRequests {
		return v1alpha1.ReasonThrottled
	}
	return reason
}

func (s subject) explainResponse(err *azcore.ResponseError) *Problem {
	status := err.RawResponse.Status
	switch {
	case err.StatusCode == http.StatusTooManyRequests || err.StatusCode >= http.StatusInternalServerError:
		who := "Azure"
		if err.ErrorCode == "" {
			who = "Azure, or a proxy before it,"
		}
		return &Problem{
			Reason:     throttledOr(v1alpha1.ReasonAzureUnavailable, err.StatusCode),
			Message:    fmt.Sprintf("%s answered %d %s for %s", who, err.StatusCode, cmp.Or(err.ErrorCode, http.StatusText(err.StatusCode)), s.name),
			RetryAfter: retryAfter(err.RawResponse),
		}
	case err.ErrorCode == "" || err.ErrorCode == status:
		return s.notAzures(status)
	case err.ErrorCode == "SubscriptionNotFound" || err.ErrorCode == "InvalidSubscriptionId":
		return &Problem{Reason: v1alpha1.ReasonSubscriptionNotFound, Proven: true, Message: fmt.Sprintf(
			"subscription %s does not exist in the tenant of the credentials, or is not visible to them: check %s", s.subscriptionID, s.subscription)}
	case err.ErrorCode == "ReadOnlyDisabledSubscription" || err.ErrorCode == "DisabledSubscription":
		return &Problem{Reason: v1alpha1.ReasonSubscriptionDisabled, Proven: true, Message: fmt.Sprintf(
			"subscription %s is disabled (%s): enable it, or set another %s", s.subscriptionID, err.ErrorCode, s.subscription)}
	case err.ErrorCode == "MissingSubscriptionRegistration":
		return s.notRegistered()
	case err.ErrorCode == "DenyAssignmentAuthorizationFailed" || err.ErrorCode == "RequestDisallowedByPolicy" || err.ErrorCode == "ScopeLocked":
		return &Problem{Reason: v1alpha1.ReasonDenied, Proven: s.proves, Message: fmt.Sprintf(
			"Azure forbids %s to use %s (%s): check the deny assignments, policies and locks there", s.credential, s.name, err.ErrorCode)}
	case err.StatusCode == http.StatusForbidden:
		problem := s.forbidden
		problem.Proven = s.proves
		if err.ErrorCode != "AuthorizationFailed" {
			problem.Message = fmt.Sprintf("Azure forbids %s to use %s (%s): check the policies, deny assignments and locks there",
				s.credential, s.name, err.ErrorCode)
		}
		return &problem
	case err.StatusCode == http.StatusNotFound && s.absent.Reason != "" && (s.absence == "" || s.absence == err.ErrorCode):
		problem := s.absent
		problem.Proven = true
		return &problem
	case err.StatusCode == http.StatusUnauthorized:
		return &Problem{Reason: v1alpha1.ReasonCredentialsRejected, Proven: true, Message: fmt.Sprintf(
			"Azure refused the token of %s for %s (%s): check that the subscription belongs to tenant %s",
			s.credential, s.name, err.ErrorCode, cmp.Or(s.credential.TenantID, "of the identity"))}
	}
	return &Problem{
		Reason:  v1alpha1.ReasonAzureUnavailable,
		Message: fmt.Sprintf("Azure answered %d %s for %s", err.StatusCode, err.ErrorCode, s.name),
	}
}

func (s subject) notRegistered() *Problem {
	namespace := cmp.Or(s.namespace, ProviderNamespace)
	return &Problem{Reason: v1alpha1.ReasonProviderNotRegistered, Proven: true, Message: notRegistered(namespace, s.subscriptionID)}
}

// NotRegistered says that the resource provider of container groups is not registered, and the remedy.
func NotRegistered(subscriptionID string) string {
	return notRegistered(ProviderNamespace, subscriptionID)
}

func notRegistered(namespace, subscriptionID string) string {
	message := fmt.Sprintf("resource provider %s is not registered in subscription %s: az provider register --namespace %s --subscription %s",
		namespace, subscriptionID, namespace, subscriptionID)
	if namespace == ProviderNamespace {
		message += ", or set spec.providerRegistration to Register"
	}
	return message
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
