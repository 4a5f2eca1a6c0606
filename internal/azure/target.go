// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// Credential is an identity to reach a cloud with.
type Credential struct {
	Cloud    v1alpha1.CloudName
	Type     v1alpha1.CredentialType
	TenantID string
	ClientID string
	// ClientSecret is a service principal's; empty where it is not known.
	ClientSecret string `json:"-"`
}

// Usable reports whether there is what it takes to ask for a token.
func (c Credential) Usable() bool {
	return c.ClientSecret != "" || c.Type == v1alpha1.CredentialTypeManagedIdentity
}

// SameIdentity reports whether two credentials are of one identity, whatever their secrets are.
func (c Credential) SameIdentity(other Credential) bool {
	return c.Cloud == other.Cloud && c.Type == other.Type &&
		strings.EqualFold(c.TenantID, other.TenantID) && strings.EqualFold(c.ClientID, other.ClientID)
}

// String names the identity without its secret.
func (c Credential) String() string {
	if c.Type == v1alpha1.CredentialTypeManagedIdentity {
		return "managed identity " + c.ClientID
	}
	return "client " + c.ClientID
}

// Format prints String, so that no verb prints the secret.
func (c Credential) Format(state fmt.State, _ rune) { fmt.Fprint(state, c.String()) }

// key tells credentials apart without keeping the secret readable.
func (c Credential) key() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(c.Cloud), string(c.Type), strings.ToLower(c.TenantID), strings.ToLower(c.ClientID), c.ClientSecret,
	}, "\n")))
	return hex.EncodeToString(sum[:])
}

// Target is a resource group and the identity to reach it with.
type Target struct {
	Credential
	SubscriptionID string
	ResourceGroup  string
}

// String names the target without its secret.
func (t Target) String() string {
	return fmt.Sprintf("resource group %s of subscription %s", t.ResourceGroup, t.SubscriptionID)
}

// SamePlace reports whether two targets are the same resource group, whatever the credentials.
func (t Target) SamePlace(other Target) bool {
	return t.Cloud == other.Cloud && strings.EqualFold(t.SubscriptionID, other.SubscriptionID) && strings.EqualFold(t.ResourceGroup, other.ResourceGroup)
}

// Format prints String, so that no verb prints the secret.
func (t Target) Format(state fmt.State, _ rune) { fmt.Fprint(state, t.String()) }

// key tells targets apart without keeping the secret readable.
func (t Target) key() string { return listing(t).key }

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
