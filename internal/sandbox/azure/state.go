// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
)

// ContainerGroup is a container group as the control API tells of it, and as it plants one.
type ContainerGroup struct {
	SubscriptionID    string            `json:"subscriptionID"`
	ResourceGroup     string            `json:"resourceGroup"`
	Name              string            `json:"name"`
	Location          string            `json:"location,omitempty"`
	OSType            string            `json:"osType,omitempty"`
	ProvisioningState string            `json:"provisioningState,omitempty"`
	State             string            `json:"state,omitempty"`
	IP                string            `json:"ip,omitempty"`
	Tags              map[string]string `json:"tags,omitempty"`
	Images            []string          `json:"images,omitempty"`
	Created           time.Time         `json:"created,omitzero"`
	Deleting          bool              `json:"deleting,omitempty"`
	// Resource is the group as Azure shows it; it is not read when one is planted.
	Resource *armcontainerinstance.ContainerGroup `json:"resource,omitempty"`
}

// ContainerGroups lists every container group that there is, sorted by its resource ID.
func (s *Server) ContainerGroups() []ContainerGroup {
	now := s.lock()
	defer s.mu.Unlock()
	groups := []ContainerGroup{}
	for _, sub := range s.world.subscriptions {
		for _, rg := range sub.resourceGroups {
			for _, g := range rg.containerGroups {
				groups = append(groups, g.report(now, s.world.timing))
			}
		}
	}
	slices.SortFunc(groups, func(a, b ContainerGroup) int {
		return cmp.Or(cmp.Compare(a.SubscriptionID, b.SubscriptionID), cmp.Compare(a.ResourceGroup, b.ResourceGroup), cmp.Compare(a.Name, b.Name))
	})
	return groups
}

func (g *containerGroup) report(now time.Time, t Timing) ContainerGroup {
	provisioning, state := g.states(now, t)
	report := ContainerGroup{
		SubscriptionID: g.subscriptionID, ResourceGroup: g.resourceGroup, Name: g.name(), Location: g.location(),
		OSType: g.osType(), ProvisioningState: provisioning, State: state, IP: g.ip, Tags: map[string]string{},
		Created: g.createdAt, Deleting: !g.deletedAt.IsZero(), Resource: g.view(now, t),
	}
	for key, value := range g.written.Tags {
		if value != nil {
			report.Tags[key] = *value
		}
	}
	for _, c := range g.written.Properties.Containers {
		report.Images = append(report.Images, *c.Properties.Image)
	}
	return report
}

// PutContainerGroup plants a group that runs already, as if another client of Azure had made it. Location, OS type and
// image have defaults. A group of that name is replaced.
func (s *Server) PutContainerGroup(c ContainerGroup) error {
	now := s.lock()
	defer s.mu.Unlock()
	rg, err := s.world.resourceGroup(c.SubscriptionID, c.ResourceGroup)
	if err != nil {
		return fmt.Errorf("container group %q: %w", c.Name, err)
	}
	osType := armcontainerinstance.OperatingSystemTypes(cmp.Or(c.OSType, string(armcontainerinstance.OperatingSystemTypesLinux)))
	group := armcontainerinstance.ContainerGroup{
		Location:   new(cmp.Or(c.Location, rg.Location)),
		Tags:       map[string]*string{},
		Properties: &armcontainerinstance.ContainerGroupPropertiesProperties{OSType: &osType},
	}
	for key, value := range c.Tags {
		group.Tags[key] = new(value)
	}
	images := c.Images
	if len(images) == 0 {
		images = []string{"mcr.microsoft.com/azuredocs/aci-helloworld"}
	}
	for i, image := range images {
		group.Properties.Containers = append(group.Properties.Containers, &armcontainerinstance.Container{
			Name: new(fmt.Sprintf("container-%d", i)),
			Properties: &armcontainerinstance.ContainerProperties{
				Image: new(image),
				Resources: &armcontainerinstance.ResourceRequirements{
					Requests: &armcontainerinstance.ResourceRequests{CPU: new(1.0), MemoryInGB: new(1.5)},
				},
			},
		})
	}
	cloud := s.world.subscriptions[strings.ToLower(c.SubscriptionID)].cloud
	if fail := s.world.checkContainerGroup(cloud, c.Name, group); fail != nil {
		return fail
	}
	complete(&group, c.Name)
	started := now.Add(-s.world.timing.ContainerGroupPending - s.world.timing.ContainerGroupCreating)
	rg.containerGroups[strings.ToLower(c.Name)] = newContainerGroup(rg, group, now, started)
	return nil
}

// DeleteContainerGroup takes a group away at once, as if another client of Azure had.
func (s *Server) DeleteContainerGroup(subscriptionID, resourceGroup, name string) error {
	now := s.lock()
	defer s.mu.Unlock()
	rg, err := s.world.resourceGroup(subscriptionID, resourceGroup)
	if err != nil {
		return fmt.Errorf("container group %q: %w", name, err)
	}
	if g := rg.containerGroups[strings.ToLower(name)]; g != nil {
		g.deletedAt = now
		s.world.settle(now)
	}
	return nil
}

// SetSubscription makes a subscription with nothing in it, or replaces one.
func (s *Server) SetSubscription(c Subscription) {
	s.lock()
	defer s.mu.Unlock()
	s.world.setSubscription(c)
}

// SetServicePrincipal makes or replaces a service principal.
func (s *Server) SetServicePrincipal(sp ServicePrincipal) {
	s.lock()
	defer s.mu.Unlock()
	s.world.principals = slices.DeleteFunc(s.world.principals, func(known *ServicePrincipal) bool {
		return strings.EqualFold(known.ClientID, sp.ClientID) && strings.EqualFold(known.TenantID, sp.TenantID)
	})
	s.world.principals = append(s.world.principals, &sp)
}

// SetClientSecret makes this the only secret of a service principal; the zero time never expires.
func (s *Server) SetClientSecret(clientID, secret string, expires time.Time) error {
	s.lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.world.principals, func(sp *ServicePrincipal) bool { return strings.EqualFold(sp.ClientID, clientID) })
	if i < 0 {
		return fmt.Errorf("service principal %q does not exist", clientID)
	}
	s.world.principals[i].Secrets = []ClientSecret{{Value: Secret(secret), Expires: expires}}
	return nil
}

// SetRoleAssignments makes these the only role assignments of a service principal or managed identity.
func (s *Server) SetRoleAssignments(clientID string, assignments ...RoleAssignment) error {
	for _, a := range assignments {
		if !strings.EqualFold(a.ClientID, clientID) {
			return fmt.Errorf("role assignment on %q is of %q, not of %q", a.Scope, a.ClientID, clientID)
		}
		if !strings.HasPrefix(a.Scope, "/") {
			return fmt.Errorf("role assignment of %q: scope %q is not a resource ID", clientID, a.Scope)
		}
	}
	s.lock()
	defer s.mu.Unlock()
	s.world.roles = slices.DeleteFunc(s.world.roles, func(a RoleAssignment) bool { return strings.EqualFold(a.ClientID, clientID) })
	s.world.roles = append(s.world.roles, assignments...)
	return nil
}

// SetDenyAssignments makes these the only deny assignments of a scope.
func (s *Server) SetDenyAssignments(scope string, assignments ...DenyAssignment) error {
	s.lock()
	defer s.mu.Unlock()
	return s.world.setDenyAssignments(scope, assignments)
}

// SetResourceGroup makes or changes a resource group.
func (s *Server) SetResourceGroup(c ResourceGroup) error {
	s.lock()
	defer s.mu.Unlock()
	return s.world.setResourceGroup(c)
}

// DeleteResourceGroup takes a resource group away at once with all that is in it.
func (s *Server) DeleteResourceGroup(subscriptionID, name string) error {
	now := s.lock()
	defer s.mu.Unlock()
	rg, err := s.world.resourceGroup(subscriptionID, name)
	if err != nil {
		return err
	}
	rg.deletedAt = now
	s.world.settle(now)
	return nil
}

// SetVirtualNetwork makes or replaces a virtual network with its subnets.
func (s *Server) SetVirtualNetwork(c VirtualNetwork) error {
	s.lock()
	defer s.mu.Unlock()
	return s.world.setVirtualNetwork(c)
}

// SetManagedCluster makes or replaces a managed cluster.
func (s *Server) SetManagedCluster(c ManagedCluster) error {
	s.lock()
	defer s.mu.Unlock()
	return s.world.setManagedCluster(c)
}

// DeleteManagedCluster takes a managed cluster away at once; its node resource group stays.
func (s *Server) DeleteManagedCluster(subscriptionID, resourceGroup, name string) error {
	s.lock()
	defer s.mu.Unlock()
	rg, err := s.world.resourceGroup(subscriptionID, resourceGroup)
	if err != nil {
		return fmt.Errorf("managed cluster %q: %w", name, err)
	}
	delete(rg.clusters, strings.ToLower(name))
	return nil
}

// SetLocation makes or replaces a region.
func (s *Server) SetLocation(location Location) {
	s.lock()
	defer s.mu.Unlock()
	location.Name = normalizeLocation(location.Name)
	location.DisplayName = cmp.Or(location.DisplayName, location.Name)
	i := slices.IndexFunc(s.world.locations, func(l Location) bool { return l.Name == location.Name })
	if i < 0 {
		s.world.locations = append(s.world.locations, location)
		return
	}
	s.world.locations[i] = location
}

// SetProvider registers a resource provider with a subscription at once, or takes its registration back.
func (s *Server) SetProvider(subscriptionID, namespace string, registered bool) error {
	now := s.lock()
	defer s.mu.Unlock()
	sub := s.world.subscriptions[strings.ToLower(subscriptionID)]
	if sub == nil {
		return fmt.Errorf("provider %q: subscription %q does not exist", namespace, subscriptionID)
	}
	delete(sub.providers, strings.ToLower(namespace))
	if registered {
		sub.providers[strings.ToLower(namespace)] = &provider{namespace: namespace, registeredAt: now}
	}
	return nil
}

// SetQuota changes what a subscription may run in a region.
func (s *Server) SetQuota(quota Quota) {
	s.lock()
	defer s.mu.Unlock()
	s.world.quota = quota
}

// SetTiming changes how long what Azure does takes, from now on.
func (s *Server) SetTiming(timing Timing) {
	s.lock()
	defer s.mu.Unlock()
	s.world.timing = timing
}
