// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"time"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
)

// Place is what Azure is asked about.
type Place struct {
	Target   azure.Target
	Location string
	// Subnet is nil where none is asked for.
	Subnet   *azure.SubnetRef
	Provider v1alpha1.ProviderRegistration
}

// Checks are what Azure says of a place, as far as is known.
type Checks struct {
	// Token says whether Microsoft Entra accepts the credentials.
	Token azure.Answer[struct{}]
	// Groups is the listing of the container groups, and GroupsKnown whether there has been one.
	Groups      azure.Listing
	GroupsKnown bool
	Rights      azure.Answer[azure.Rights]
	Provider    azure.Answer[azure.Provider]
	Region      azure.Answer[azure.Region]
	Subnet      azure.Answer[azure.Subnet]
}

// Checks says what Azure says of a place. Nothing is asked without credentials, and of what is left open.
func (d *Discoverer) Checks(connector string, place Place) Checks {
	var checks Checks
	target := place.Target
	if !target.Usable() {
		return checks
	}
	checks.Token = d.Inventory.Token(connector, target.Credential)
	if target.SubscriptionID == "" {
		return checks
	}
	if place.Provider != v1alpha1.ProviderRegistrationIgnore {
		checks.Provider = d.Inventory.Provider(connector, target.Credential, target.SubscriptionID,
			place.Provider == v1alpha1.ProviderRegistrationRegister)
	}
	if place.Location != "" {
		checks.Region = d.Inventory.Region(connector, target.Credential, target.SubscriptionID, place.Location)
	}
	if place.Subnet != nil {
		checks.Subnet = d.Inventory.Subnet(connector, target.Credential, target.SubscriptionID, *place.Subnet)
	}
	if target.ResourceGroup != "" {
		checks.Groups, checks.GroupsKnown = d.Inventory.List(connector, target, time.Time{})
		checks.Rights = d.Inventory.Rights(connector, target)
	}
	return checks
}
