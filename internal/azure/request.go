// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// Request is what became of a request to Azure. The SDK's second attempt is a request of its own.
type Request struct {
	// Operation is one of few: GetToken, GetTenant, those of the resource manager, or Other.
	Operation string
	Result    Result
	// Duration is the time until the answer was there as a whole.
	Duration time.Duration
}

// Result is the kind of an answer.
type Result string

// Results of requests.
const (
	// ResultSuccess is an answer to what was asked.
	ResultSuccess Result = "success"
	// ResultNotFound is that there is no such thing, which is an answer, too.
	ResultNotFound Result = "not_found"
	// ResultRefused is that the identity may not, or is not accepted.
	ResultRefused Result = "refused"
	// ResultThrottled is that Azure wants to be asked less.
	ResultThrottled Result = "throttled"
	// ResultInvalid is that Azure does not take the request for another reason.
	ResultInvalid Result = "invalid"
	// ResultServerError is a fault of Azure's, or of what is between.
	ResultServerError Result = "server_error"
	// ResultTimeout is that no answer came in time.
	ResultTimeout Result = "timeout"
	// ResultUnreachable is that nobody answered.
	ResultUnreachable Result = "unreachable"
	// ResultCanceled is that nobody waits for an answer any more.
	ResultCanceled Result = "canceled"
)

// Operations that the SDK does not name, and the one that stands for those that are not known.
const (
	operationToken  = "GetToken"
	operationTenant = "GetTenant"
	operationOther  = "Other"
)

// operations are what the SDK's names of its requests are called.
var operations = map[string]string{
	"ContainerGroupsClient.BeginDelete":                  "DeleteContainerGroup",
	"ContainerGroupsClient.Get":                          "GetContainerGroup",
	"ContainerGroupsClient.NewListByResourceGroupPager":  "ListContainerGroups",
	"DenyAssignmentsClient.NewListForResourceGroupPager": "ListDenyAssignments",
	"LocationClient.NewListCapabilitiesPager":            "ListCapabilities",
	"LocationClient.NewListUsagePager":                   "ListUsage",
	"ManagedClustersClient.Get":                          "GetManagedCluster",
	"PermissionsClient.NewListForResourceGroupPager":     "ListPermissions",
	"PermissionsClient.NewListForResourcePager":          "ListPermissions",
	"ProvidersClient.Get":                                "GetProvider",
	"ProvidersClient.Register":                           "RegisterProvider",
	"ResourceGroupsClient.Get":                           "GetResourceGroup",
	"SubnetsClient.Get":                                  "GetSubnet",
	"VirtualNetworksClient.Get":                          "GetVirtualNetwork",
}

// teller is a step in the SDK's way to Azure that tells of each request.
type teller struct{ tell func(Request) }

// Do sends a request, and tells what became of it.
func (t teller) Do(request *policy.Request) (*http.Response, error) {
	began := time.Now()
	response, err := request.Next()
	t.tell(Request{Operation: operation(request.Raw()), Result: result(response, err), Duration: time.Since(began)})
	return response, err
}

// operation names what a request is for. Those for tokens are made on behalf of others, whose name they carry.
func operation(request *http.Request) string {
	path := request.URL.Path
	switch {
	case strings.HasSuffix(path, "/oauth2/v2.0/token"), strings.HasSuffix(path, "/oauth2/token"):
		return operationToken
	case strings.HasSuffix(path, "/.well-known/openid-configuration"), strings.HasSuffix(path, "/discovery/instance"):
		return operationTenant
	}
	name, _ := request.Context().Value(runtime.CtxAPINameKey{}).(string)
	if known, ok := operations[name]; ok {
		return known
	}
	return operationOther
}

func result(response *http.Response, err error) Result {
	switch {
	case errors.Is(err, context.Canceled):
		return ResultCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return ResultTimeout
	case err != nil || response == nil:
		return ResultUnreachable
	}
	switch status := response.StatusCode; {
	case status < http.StatusBadRequest:
		return ResultSuccess
	case status == http.StatusNotFound:
		return ResultNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ResultRefused
	case status == http.StatusTooManyRequests:
		return ResultThrottled
	case status < http.StatusInternalServerError:
		return ResultInvalid
	}
	return ResultServerError
}
