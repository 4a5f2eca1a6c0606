// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package azure asks Azure for tokens and container groups; it is the only package of the operator
// that knows the Azure SDK, and it never touches a Kubernetes API.
package azure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	"k8s.io/utils/ptr"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// Target is a resource group and the identity to reach it with.
type Target struct {
	Cloud          v1alpha1.CloudName
	TenantID       string
	ClientID       string
	ClientSecret   string `json:"-"`
	SubscriptionID string
	ResourceGroup  string
}

// String names the target without its secret.
func (t Target) String() string {
	return fmt.Sprintf("resource group %s of subscription %s", t.ResourceGroup, t.SubscriptionID)
}

// Format prints String, so that no verb prints the secret.
func (t Target) Format(state fmt.State, _ rune) { fmt.Fprint(state, t.String()) }

// key tells targets apart without keeping the secret readable.
func (t Target) key() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(t.Cloud), strings.ToLower(t.TenantID), strings.ToLower(t.ClientID), t.ClientSecret,
		strings.ToLower(t.SubscriptionID), strings.ToLower(t.ResourceGroup),
	}, "\n")))
	return hex.EncodeToString(sum[:])
}

// ContainerGroup is a container group as far as the operator reads it. The tags are those that the
// azure-aci virtual kubelet sets.
type ContainerGroup struct {
	Name      string
	Location  string
	NodeName  string
	Namespace string
	PodName   string
	PodUID    string
}

// Enumerate lists the names of container groups, as many as a person wants to read.
func Enumerate(names []string) string {
	const most = 5
	text := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// Client asks Azure about the container groups of one target.
type Client struct {
	groups        *armcontainerinstance.ContainerGroupsClient
	resourceGroup string
}

// Connector makes the Client of a target.
type Connector func(Target) (*Client, error)

// NewConnector returns a Connector whose clients use a transport, or the SDK's own where it is nil.
func NewConnector(transport policy.Transporter, userAgent string) Connector {
	return func(t Target) (*Client, error) {
		options := azcore.ClientOptions{
			Cloud:     configuration(t.Cloud),
			Transport: transport,
			Telemetry: policy.TelemetryOptions{ApplicationID: userAgent},
			// The inventory tries again by itself, with a longer breath.
			Retry: policy.RetryOptions{MaxRetries: 1, StatusCodes: []int{
				http.StatusRequestTimeout, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
			}},
		}
		credential, err := azidentity.NewClientSecretCredential(t.TenantID, t.ClientID, t.ClientSecret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options})
		if err != nil {
			return nil, fmt.Errorf("service principal %s: %w", t.ClientID, err)
		}
		groups, err := armcontainerinstance.NewContainerGroupsClient(t.SubscriptionID, credential,
			&arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true})
		if err != nil {
			return nil, fmt.Errorf("subscription %s: %w", t.SubscriptionID, err)
		}
		return &Client{groups: groups, resourceGroup: t.ResourceGroup}, nil
	}
}

// List returns the container groups of the resource group.
func (c *Client) List(ctx context.Context) ([]ContainerGroup, error) {
	var groups []ContainerGroup
	pager := c.groups.NewListByResourceGroupPager(c.resourceGroup, nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list container groups: %w", err)
		}
		for _, group := range page.Value {
			if group != nil && group.Name != nil {
				groups = append(groups, newContainerGroup(*group.Name, ptr.Deref(group.Location, ""), group.Tags))
			}
		}
	}
	return groups, nil
}

// Get returns a container group; IsNotFound tells that there is none.
func (c *Client) Get(ctx context.Context, name string) (ContainerGroup, error) {
	response, err := c.groups.Get(ctx, c.resourceGroup, name, nil)
	if err != nil {
		return ContainerGroup{}, fmt.Errorf("get container group %s: %w", name, err)
	}
	return newContainerGroup(name, ptr.Deref(response.Location, ""), response.Tags), nil
}

// Delete asks Azure to delete a container group, and does not wait until it is gone. A container
// group that does not exist is no error.
func (c *Client) Delete(ctx context.Context, name string) error {
	if _, err := c.groups.BeginDelete(ctx, c.resourceGroup, name, nil); err != nil && !IsNotFound(err) {
		return fmt.Errorf("delete container group %s: %w", name, err)
	}
	return nil
}

func newContainerGroup(name, location string, tags map[string]*string) ContainerGroup {
	return ContainerGroup{
		Name:      name,
		Location:  location,
		NodeName:  ptr.Deref(tags["NodeName"], ""),
		Namespace: ptr.Deref(tags["Namespace"], ""),
		PodName:   ptr.Deref(tags["PodName"], ""),
		PodUID:    ptr.Deref(tags["UID"], ""),
	}
}

func configuration(name v1alpha1.CloudName) cloud.Configuration {
	switch name {
	case v1alpha1.CloudUSGovernment:
		return cloud.AzureGovernment
	case v1alpha1.CloudChina:
		return cloud.AzureChina
	default:
		return cloud.AzurePublic
	}
}
