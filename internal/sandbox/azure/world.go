// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// world is Azure's state. Its holder has the Server's lock.
type world struct {
	tenants       []Tenant
	principals    []*ServicePrincipal
	identities    []ManagedIdentity
	roles         []RoleAssignment
	denials       []DenyAssignment
	locations     []Location
	quota         Quota
	timing        Timing
	pageSize      int
	subscriptions map[string]*subscription
	operations    map[string]time.Time
	departed      []departure
	lastIP        uint32
	lastOperation int
}

// subscription and what lies in it, by lower-case name: Azure's names are kept as given and found in any case.
type subscription struct {
	id, tenantID   string
	cloud          Cloud
	providers      map[string]*provider
	resourceGroups map[string]*resourceGroup
}

type provider struct {
	namespace    string
	registeredAt time.Time
}

type resourceGroup struct {
	ResourceGroup
	deletedAt       time.Time
	containerGroups map[string]*containerGroup
	networks        map[string]*VirtualNetwork
	clusters        map[string]*ManagedCluster
}

// departure is a container group that is gone, kept for lists that lag.
type departure struct {
	group *containerGroup
	at    time.Time
}

// principal is who asks.
type principal struct {
	tenantID, clientID, objectID string
}

func newWorld(config Config) (world, error) {
	w := world{
		tenants:       slices.Clone(config.Tenants),
		identities:    slices.Clone(config.ManagedIdentities),
		roles:         slices.Clone(config.RoleAssignments),
		locations:     slices.Clone(config.Locations),
		quota:         config.Quota,
		timing:        config.Timing,
		pageSize:      max(1, config.PageSize),
		subscriptions: map[string]*subscription{},
		operations:    map[string]time.Time{},
	}
	for _, sp := range config.ServicePrincipals {
		sp.Secrets = slices.Clone(sp.Secrets)
		w.principals = append(w.principals, &sp)
	}
	for _, c := range config.Subscriptions {
		w.setSubscription(c)
	}
	for _, c := range config.DenyAssignments {
		if err := w.addDenyAssignment(c); err != nil {
			return world{}, err
		}
	}
	for _, c := range config.ResourceGroups {
		if err := w.setResourceGroup(c); err != nil {
			return world{}, err
		}
	}
	for _, c := range config.VirtualNetworks {
		if err := w.setVirtualNetwork(c); err != nil {
			return world{}, err
		}
	}
	for _, c := range config.ManagedClusters {
		if err := w.setManagedCluster(c); err != nil {
			return world{}, err
		}
	}
	return w, nil
}

func (w *world) setSubscription(c Subscription) {
	s := &subscription{
		id: c.ID, tenantID: c.TenantID, cloud: w.cloudOf(c.TenantID),
		providers: map[string]*provider{}, resourceGroups: map[string]*resourceGroup{},
	}
	for _, namespace := range c.Providers {
		s.providers[strings.ToLower(namespace)] = &provider{namespace: namespace}
	}
	w.subscriptions[strings.ToLower(c.ID)] = s
}

func (w *world) resourceGroup(subscriptionID, name string) (*resourceGroup, error) {
	s := w.subscriptions[strings.ToLower(subscriptionID)]
	if s == nil {
		return nil, fmt.Errorf("subscription %q does not exist", subscriptionID)
	}
	group := s.resourceGroups[strings.ToLower(name)]
	if group == nil {
		return nil, fmt.Errorf("resource group %q does not exist in subscription %s", name, subscriptionID)
	}
	return group, nil
}

func (w *world) setResourceGroup(c ResourceGroup) error {
	s := w.subscriptions[strings.ToLower(c.SubscriptionID)]
	if s == nil {
		return fmt.Errorf("resource group %q: subscription %q does not exist", c.Name, c.SubscriptionID)
	}
	c.Location = normalizeLocation(c.Location)
	if existing := s.resourceGroups[strings.ToLower(c.Name)]; existing != nil {
		existing.ResourceGroup = c
		return nil
	}
	s.resourceGroups[strings.ToLower(c.Name)] = &resourceGroup{
		ResourceGroup:   c,
		containerGroups: map[string]*containerGroup{},
		networks:        map[string]*VirtualNetwork{},
		clusters:        map[string]*ManagedCluster{},
	}
	return nil
}

func (w *world) setVirtualNetwork(c VirtualNetwork) error {
	group, err := w.resourceGroup(c.SubscriptionID, c.ResourceGroup)
	if err != nil {
		return fmt.Errorf("virtual network %q: %w", c.Name, err)
	}
	c.Location = normalizeLocation(c.Location)
	c.Subnets = slices.Clone(c.Subnets)
	group.networks[strings.ToLower(c.Name)] = &c
	return nil
}

func (w *world) setManagedCluster(c ManagedCluster) error {
	group, err := w.resourceGroup(c.SubscriptionID, c.ResourceGroup)
	if err != nil {
		return fmt.Errorf("managed cluster %q: %w", c.Name, err)
	}
	c.TenantID = cmp.Or(c.TenantID, w.subscriptions[strings.ToLower(c.SubscriptionID)].tenantID)
	group.clusters[strings.ToLower(c.Name)] = &c
	return nil
}

func (w *world) servicePrincipal(tenantID, clientID string) *ServicePrincipal {
	for _, sp := range w.principals {
		if strings.EqualFold(sp.ClientID, clientID) && strings.EqualFold(sp.TenantID, tenantID) {
			return sp
		}
	}
	return nil
}

// identityPrincipal finds a managed identity and its tenant's cloud.
func (s *Server) identityPrincipal(clientID string) (principal, Cloud, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.world.identities {
		if strings.EqualFold(id.ClientID, clientID) {
			return principal{tenantID: id.TenantID, clientID: id.ClientID, objectID: id.ObjectID}, s.world.cloudOf(id.TenantID), true
		}
	}
	return principal{}, "", false
}

// operationRetention is how long the end of an operation can be asked for.
const operationRetention = time.Hour

// settle lets what takes time come to its end.
func (w *world) settle(now time.Time) {
	w.departed = slices.DeleteFunc(w.departed, func(d departure) bool { return now.Sub(d.at) > maxLag })
	maps.DeleteFunc(w.operations, func(_ string, done time.Time) bool { return now.Sub(done) > operationRetention })
	for _, s := range w.subscriptions {
		for name, group := range s.resourceGroups {
			groupGone := !group.deletedAt.IsZero() && !now.Before(group.deletedAt)
			for cg, g := range group.containerGroups {
				switch {
				case !g.deletedAt.IsZero() && !now.Before(g.deletedAt):
					w.departed = append(w.departed, departure{group: g, at: g.deletedAt})
				case groupGone:
					w.departed = append(w.departed, departure{group: g, at: group.deletedAt})
				default:
					continue
				}
				delete(group.containerGroups, cg)
			}
			if groupGone {
				delete(s.resourceGroups, name)
			}
		}
	}
}

// lock takes the state as it is now; the caller unlocks it.
func (s *Server) lock() (now time.Time) {
	s.mu.Lock()
	now = s.clock.Now()
	s.world.settle(now)
	return now
}

// cloudOf is the cloud of a tenant.
func (w *world) cloudOf(tenantID string) Cloud {
	for _, t := range w.tenants {
		if strings.EqualFold(t.ID, tenantID) {
			return t.Cloud.orPublic()
		}
	}
	return PublicCloud
}

// locationsOf are the regions of a cloud.
func (w *world) locationsOf(cloud Cloud) []Location {
	return slices.DeleteFunc(slices.Clone(w.locations), func(l Location) bool { return l.Cloud.orPublic() != cloud })
}

// location finds a region of a cloud by any spelling of its name.
func (w *world) location(cloud Cloud, name string) (Location, bool) {
	name = normalizeLocation(name)
	for _, l := range w.locationsOf(cloud) {
		if l.Name == name {
			return l, true
		}
	}
	return Location{}, false
}

// normalizeLocation makes "East US" eastus.
func normalizeLocation(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, " ", ""))
}

// startOperation notes a long-running operation that is done after a while, and returns its ID.
func (w *world) startOperation(done time.Time) string {
	w.lastOperation++
	id := pseudoUUID("operation", fmt.Sprint(w.lastOperation))
	w.operations[id] = done
	return id
}

// sorted gives a map's values in the order of their keys.
func sorted[T any](m map[string]T) []T {
	values := make([]T, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[key])
	}
	return values
}
