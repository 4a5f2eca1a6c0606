// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"time"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3/fake"
)

func (c *call) resourceGroups() doer {
	return fake.NewResourceGroupsServerTransport(&fake.ResourceGroupsServer{
		Get:            c.getResourceGroup,
		CheckExistence: c.checkResourceGroup,
		CreateOrUpdate: c.createResourceGroup,
		BeginDelete:    c.deleteResourceGroup,
		NewListPager:   c.listResourceGroups,
	})
}

var resourceGroupName = regexp.MustCompile(`^[-\w.()]{0,89}[-\w()]$`)

func (c *call) resourceGroup() (*resourceGroup, *apiError) {
	if group := c.subscription.resourceGroups[strings.ToLower(c.names["resourceGroup"])]; group != nil {
		return group, nil
	}
	return nil, resourceGroupNotFound(c.names["resourceGroup"])
}

func (g *resourceGroup) view() armresources.ResourceGroup {
	state := "Succeeded"
	if !g.deletedAt.IsZero() {
		state = "Deleting"
	}
	view := armresources.ResourceGroup{
		ID:         new("/subscriptions/" + g.SubscriptionID + "/resourceGroups/" + g.Name),
		Name:       new(g.Name),
		Type:       new("Microsoft.Resources/resourceGroups"),
		Location:   new(g.Location),
		Properties: &armresources.ResourceGroupProperties{ProvisioningState: &state},
		Tags:       map[string]*string{},
	}
	if g.ManagedBy != "" {
		view.ManagedBy = new(g.ManagedBy)
	}
	for key, value := range g.Tags {
		view.Tags[key] = new(value)
	}
	return view
}

func (c *call) getResourceGroup(context.Context, string, *armresources.ResourceGroupsClientGetOptions) (
	resp azfake.Responder[armresources.ResourceGroupsClientGetResponse], fail azfake.ErrorResponder,
) {
	c.lock()
	defer c.mu.Unlock()
	group, err := c.resourceGroup()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	resp.SetResponse(http.StatusOK, armresources.ResourceGroupsClientGetResponse{ResourceGroup: group.view()}, nil)
	return resp, fail
}

func (c *call) checkResourceGroup(context.Context, string, *armresources.ResourceGroupsClientCheckExistenceOptions) (
	resp azfake.Responder[armresources.ResourceGroupsClientCheckExistenceResponse], fail azfake.ErrorResponder,
) {
	c.lock()
	defer c.mu.Unlock()
	status := http.StatusNoContent
	if _, err := c.resourceGroup(); err != nil {
		status = http.StatusNotFound
	}
	resp.SetResponse(status, armresources.ResourceGroupsClientCheckExistenceResponse{}, nil)
	return resp, fail
}

func (c *call) createResourceGroup(_ context.Context, name string, wanted armresources.ResourceGroup, _ *armresources.ResourceGroupsClientCreateOrUpdateOptions) (
	resp azfake.Responder[armresources.ResourceGroupsClientCreateOrUpdateResponse], fail azfake.ErrorResponder,
) {
	c.lock()
	defer c.mu.Unlock()
	if !resourceGroupName.MatchString(name) {
		fail.SetError(newError(http.StatusBadRequest, "InvalidResourceGroupName",
			"The provided resource group name '%s' has these invalid characters or ends with a period, or is longer than 90 characters.", name))
		return resp, fail
	}
	if wanted.Location == nil {
		fail.SetError(newError(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition."))
		return resp, fail
	}
	location, known := c.world.location(c.cloud, *wanted.Location)
	if !known {
		fail.SetError(newError(http.StatusBadRequest, "LocationNotAvailableForResourceGroup",
			"The provided location '%s' is not available for resource group.", *wanted.Location))
		return resp, fail
	}
	status := http.StatusCreated
	if existing, err := c.resourceGroup(); err == nil {
		if existing.Location != location.Name {
			fail.SetError(newError(http.StatusConflict, "InvalidResourceGroupLocation",
				"Invalid resource group location '%s'. The Resource group already exists in location '%s'.", location.Name, existing.Location))
			return resp, fail
		}
		status, name = http.StatusOK, existing.Name
	}
	group := ResourceGroup{SubscriptionID: c.subscription.id, Name: name, Location: location.Name, Tags: map[string]string{}}
	if wanted.ManagedBy != nil {
		group.ManagedBy = *wanted.ManagedBy
	}
	for key, value := range wanted.Tags {
		if value != nil {
			group.Tags[key] = *value
		}
	}
	if err := c.world.setResourceGroup(group); err != nil {
		fail.SetError(err)
		return resp, fail
	}
	made := c.subscription.resourceGroups[strings.ToLower(name)]
	resp.SetResponse(status, armresources.ResourceGroupsClientCreateOrUpdateResponse{ResourceGroup: made.view()}, nil)
	return resp, fail
}

func (c *call) deleteResourceGroup(context.Context, string, *armresources.ResourceGroupsClientBeginDeleteOptions) (
	resp azfake.PollerResponder[armresources.ResourceGroupsClientDeleteResponse], fail azfake.ErrorResponder,
) {
	now := c.lock()
	defer c.mu.Unlock()
	group, err := c.resourceGroup()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	if group.deletedAt.IsZero() {
		group.deletedAt = now.Add(c.world.timing.ResourceGroupDeleting)
	}
	c.follow("Location", "/subscriptions/"+c.subscription.id+"/operationresults/"+c.world.startOperation(group.deletedAt))
	resp.SetTerminalResponse(http.StatusAccepted, armresources.ResourceGroupsClientDeleteResponse{}, nil)
	return resp, fail
}

func (c *call) listResourceGroups(*armresources.ResourceGroupsClientListOptions) (
	resp azfake.PagerResponder[armresources.ResourceGroupsClientListResponse],
) {
	c.lock()
	defer c.mu.Unlock()
	groups, next := page(c, sorted(c.subscription.resourceGroups), func(g *resourceGroup) string { return strings.ToLower(g.Name) })
	list := armresources.ResourceGroupListResult{NextLink: next, Value: []*armresources.ResourceGroup{}}
	for _, g := range groups {
		list.Value = append(list.Value, new(g.view()))
	}
	resp.AddPage(http.StatusOK, armresources.ResourceGroupsClientListResponse{ResourceGroupListResult: list}, nil)
	return resp
}

func (c *call) providers() doer {
	return fake.NewProvidersServerTransport(&fake.ProvidersServer{
		Get:          c.getProvider,
		Register:     c.registerProvider,
		Unregister:   c.unregisterProvider,
		NewListPager: c.listProviders,
	})
}

// States of a provider's registration.
const (
	notRegistered = "NotRegistered"
	registering   = "Registering"
	registered    = "Registered"
)

func (s *subscription) registration(namespace string, now time.Time) string {
	switch p := s.providers[strings.ToLower(namespace)]; {
	case p == nil:
		return notRegistered
	case now.Before(p.registeredAt):
		return registering
	default:
		return registered
	}
}

// resourceTypes are the providers that there are, and what they offer.
var resourceTypes = map[string][]string{
	containerNamespace: {"containerGroups", "locations", "locations/capabilities", "locations/usages", "locations/operations", "operations"},
	networkNamespace:   {"virtualNetworks", "virtualNetworks/subnets", "operations"},
	clusterNamespace:   {"managedClusters", "locations", "operations"},
}

func (c *call) providerView(namespace string, now time.Time) *armresources.Provider {
	provider := &armresources.Provider{
		ID:                new("/subscriptions/" + c.subscription.id + "/providers/" + namespace),
		Namespace:         new(namespace),
		RegistrationState: new(c.subscription.registration(namespace, now)),
	}
	for _, name := range resourceTypes[namespace] {
		resourceType := &armresources.ProviderResourceType{
			ResourceType: new(name),
			APIVersions:  []*string{new("2023-05-01"), new("2022-10-01-preview")},
			Locations:    []*string{},
		}
		for _, l := range c.world.locationsOf(c.cloud) {
			if len(l.OSTypes) > 0 || namespace != containerNamespace {
				resourceType.Locations = append(resourceType.Locations, new(l.DisplayName))
			}
		}
		provider.ResourceTypes = append(provider.ResourceTypes, resourceType)
	}
	return provider
}

// providerNamespace finds a provider by its name in any case.
func (c *call) providerNamespace() (string, *apiError) {
	for namespace := range resourceTypes {
		if strings.EqualFold(namespace, c.names["namespace"]) {
			return namespace, nil
		}
	}
	return "", newError(http.StatusNotFound, "InvalidResourceNamespace",
		"The resource namespace '%s' is invalid.", c.names["namespace"])
}

func (c *call) getProvider(context.Context, string, *armresources.ProvidersClientGetOptions) (
	resp azfake.Responder[armresources.ProvidersClientGetResponse], fail azfake.ErrorResponder,
) {
	now := c.lock()
	defer c.mu.Unlock()
	namespace, err := c.providerNamespace()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	resp.SetResponse(http.StatusOK, armresources.ProvidersClientGetResponse{Provider: *c.providerView(namespace, now)}, nil)
	return resp, fail
}

func (c *call) registerProvider(context.Context, string, *armresources.ProvidersClientRegisterOptions) (
	resp azfake.Responder[armresources.ProvidersClientRegisterResponse], fail azfake.ErrorResponder,
) {
	now := c.lock()
	defer c.mu.Unlock()
	namespace, err := c.providerNamespace()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	if c.subscription.registration(namespace, now) == notRegistered {
		c.subscription.providers[strings.ToLower(namespace)] = &provider{
			namespace: namespace, registeredAt: now.Add(c.world.timing.ProviderRegistering),
		}
	}
	resp.SetResponse(http.StatusOK, armresources.ProvidersClientRegisterResponse{Provider: *c.providerView(namespace, now)}, nil)
	return resp, fail
}

func (c *call) unregisterProvider(context.Context, string, *armresources.ProvidersClientUnregisterOptions) (
	resp azfake.Responder[armresources.ProvidersClientUnregisterResponse], fail azfake.ErrorResponder,
) {
	now := c.lock()
	defer c.mu.Unlock()
	namespace, err := c.providerNamespace()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	delete(c.subscription.providers, strings.ToLower(namespace))
	resp.SetResponse(http.StatusOK, armresources.ProvidersClientUnregisterResponse{Provider: *c.providerView(namespace, now)}, nil)
	return resp, fail
}

func (c *call) listProviders(*armresources.ProvidersClientListOptions) (
	resp azfake.PagerResponder[armresources.ProvidersClientListResponse],
) {
	now := c.lock()
	defer c.mu.Unlock()
	list := armresources.ProviderListResult{}
	for _, namespace := range []string{containerNamespace, clusterNamespace, networkNamespace} {
		list.Value = append(list.Value, c.providerView(namespace, now))
	}
	resp.AddPage(http.StatusOK, armresources.ProvidersClientListResponse{ProviderListResult: list}, nil)
	return resp
}
