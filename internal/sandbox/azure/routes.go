// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"
	"net/url"
	"strings"
)

// route is one operation of Resource Manager: where it is, who may do it, and which of the SDK's fake servers speaks it.
type route struct {
	method string
	// path as the SDK writes it; what is asked for in another case is brought into this one.
	path string
	// operation is the name in request counts and faults.
	operation string
	// api is the SDK's name of the method, by which its fake servers dispatch.
	api string
	// action is the right that it takes.
	action string
	// namespace of the resource provider that has to be registered; empty for Resource Manager's own.
	namespace string
	// inResourceGroup operations need the group that the path names.
	inResourceGroup bool
	serve           func(*call) doer
}

// doer is what the SDK's fake servers are.
type doer interface {
	Do(*http.Request) (*http.Response, error)
}

type doerFunc func(*http.Request) (*http.Response, error)

func (f doerFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

const (
	subscriptionPath   = "/subscriptions/{subscription}"
	groupsPath         = subscriptionPath + "/resourceGroups"
	groupPath          = subscriptionPath + "/resourceGroups/{resourceGroup}"
	containerNamespace = "Microsoft.ContainerInstance"
	networkNamespace   = "Microsoft.Network"
	clusterNamespace   = "Microsoft.ContainerService"
	containersPath     = "/providers/" + containerNamespace + "/containerGroups"
	containerPath      = groupPath + containersPath + "/{name}"
	locationPath       = subscriptionPath + "/providers/" + containerNamespace + "/locations/{location}"
	networksPath       = groupPath + "/providers/" + networkNamespace + "/virtualNetworks"
	subnetsPath        = networksPath + "/{network}/subnets"
	clustersPath       = "/providers/" + clusterNamespace + "/managedClusters"
	providerPath       = subscriptionPath + "/providers/{namespace}"
	childResourcePath  = groupPath + "/providers/{namespace}/{parentType}/{parent}/{type}/{name}"
	authorizationPath  = "/providers/Microsoft.Authorization"
	permissionsPath    = authorizationPath + "/permissions"
	denyPath           = authorizationPath + "/denyAssignments"
)

var routes = concat(containerGroupRoutes, networkRoutes, clusterRoutes, resourceRoutes, authorizationRoutes)

func concat(tables ...[]route) (all []route) {
	for _, table := range tables {
		for _, r := range table {
			for _, namespace := range []string{containerNamespace, networkNamespace, clusterNamespace} {
				if strings.Contains(r.path, "/providers/"+namespace+"/") {
					r.namespace = namespace
				}
			}
			r.inResourceGroup = strings.HasPrefix(r.path, groupPath+"/")
			all = append(all, r)
		}
	}
	return all
}

var containerGroupRoutes = []route{
	{method: http.MethodPut, path: containerPath, operation: "ContainerGroups.Create", api: "ContainerGroupsClient.BeginCreateOrUpdate", action: containerGroupDelegation + "/write", serve: (*call).containerGroups},
	{method: http.MethodPatch, path: containerPath, operation: "ContainerGroups.Update", api: "ContainerGroupsClient.Update", action: containerGroupDelegation + "/write", serve: (*call).containerGroups},
	{method: http.MethodGet, path: containerPath, operation: "ContainerGroups.Get", api: "ContainerGroupsClient.Get", action: containerGroupDelegation + "/read", serve: (*call).containerGroups},
	{method: http.MethodDelete, path: containerPath, operation: "ContainerGroups.Delete", api: "ContainerGroupsClient.BeginDelete", action: containerGroupDelegation + "/delete", serve: (*call).containerGroups},
	{method: http.MethodGet, path: groupPath + containersPath, operation: "ContainerGroups.List", api: "ContainerGroupsClient.NewListByResourceGroupPager", action: containerGroupDelegation + "/read", serve: (*call).containerGroups},
	{method: http.MethodGet, path: subscriptionPath + containersPath, operation: "ContainerGroups.ListBySubscription", api: "ContainerGroupsClient.NewListPager", action: containerGroupDelegation + "/read", serve: (*call).containerGroups},
	{method: http.MethodPost, path: containerPath + "/start", operation: "ContainerGroups.Start", api: "ContainerGroupsClient.BeginStart", action: containerGroupDelegation + "/start/action", serve: (*call).containerGroups},
	{method: http.MethodPost, path: containerPath + "/restart", operation: "ContainerGroups.Restart", api: "ContainerGroupsClient.BeginRestart", action: containerGroupDelegation + "/restart/action", serve: (*call).containerGroups},
	{method: http.MethodPost, path: containerPath + "/stop", operation: "ContainerGroups.Stop", api: "ContainerGroupsClient.Stop", action: containerGroupDelegation + "/stop/action", serve: (*call).containerGroups},
	{method: http.MethodGet, path: containerPath + "/containers/{container}/logs", operation: "Containers.Logs", api: "ContainersClient.ListLogs", action: containerGroupDelegation + "/containers/logs/read", serve: (*call).containers},
	{method: http.MethodPost, path: containerPath + "/containers/{container}/exec", operation: "Containers.Execute", api: "ContainersClient.ExecuteCommand", action: containerGroupDelegation + "/containers/exec/action", serve: (*call).containers},
	{method: http.MethodGet, path: locationPath + "/capabilities", operation: "Location.Capabilities", api: "LocationClient.NewListCapabilitiesPager", action: containerNamespace + "/locations/capabilities/read", serve: (*call).locations},
	{method: http.MethodGet, path: locationPath + "/usages", operation: "Location.Usages", api: "LocationClient.NewListUsagePager", action: containerNamespace + "/locations/usages/read", serve: (*call).locations},
	{method: http.MethodGet, path: locationPath + "/operations/{id}", operation: "Operations.Get", action: containerNamespace + "/locations/operations/read", serve: (*call).operationStatus},
	{method: http.MethodGet, path: locationPath + "/operationresults/{id}", operation: "Operations.Get", action: containerNamespace + "/locations/operations/read", serve: (*call).operationResult},
}

var networkRoutes = []route{
	{method: http.MethodGet, path: networksPath, operation: "VirtualNetworks.List", api: "VirtualNetworksClient.NewListPager", action: networkNamespace + "/virtualNetworks/read", serve: (*call).virtualNetworks},
	{method: http.MethodGet, path: networksPath + "/{network}", operation: "VirtualNetworks.Get", api: "VirtualNetworksClient.Get", action: networkNamespace + "/virtualNetworks/read", serve: (*call).virtualNetworks},
	{method: http.MethodGet, path: subnetsPath, operation: "Subnets.List", api: "SubnetsClient.NewListPager", action: networkNamespace + "/virtualNetworks/subnets/read", serve: (*call).subnets},
	{method: http.MethodGet, path: subnetsPath + "/{subnet}", operation: "Subnets.Get", api: "SubnetsClient.Get", action: networkNamespace + "/virtualNetworks/subnets/read", serve: (*call).subnets},
	{method: http.MethodPut, path: subnetsPath + "/{subnet}", operation: "Subnets.Create", api: "SubnetsClient.BeginCreateOrUpdate", action: networkNamespace + "/virtualNetworks/subnets/write", serve: (*call).subnets},
}

var clusterRoutes = []route{
	{method: http.MethodGet, path: groupPath + clustersPath, operation: "ManagedClusters.List", api: "ManagedClustersClient.NewListByResourceGroupPager", action: clusterNamespace + "/managedClusters/read", serve: (*call).managedClusters},
	{method: http.MethodGet, path: groupPath + clustersPath + "/{cluster}", operation: "ManagedClusters.Get", api: "ManagedClustersClient.Get", action: clusterNamespace + "/managedClusters/read", serve: (*call).managedClusters},
}

const resourceGroupAction = "Microsoft.Resources/subscriptions/resourceGroups"

var resourceRoutes = []route{
	{method: http.MethodGet, path: groupsPath, operation: "ResourceGroups.List", api: "ResourceGroupsClient.NewListPager", action: resourceGroupAction + "/read", serve: (*call).resourceGroups},
	{method: http.MethodGet, path: groupPath, operation: "ResourceGroups.Get", api: "ResourceGroupsClient.Get", action: resourceGroupAction + "/read", serve: (*call).resourceGroups},
	{method: http.MethodHead, path: groupPath, operation: "ResourceGroups.Exists", api: "ResourceGroupsClient.CheckExistence", action: resourceGroupAction + "/read", serve: (*call).resourceGroups},
	{method: http.MethodPut, path: groupPath, operation: "ResourceGroups.Create", api: "ResourceGroupsClient.CreateOrUpdate", action: resourceGroupAction + "/write", serve: (*call).resourceGroups},
	{method: http.MethodDelete, path: groupPath, operation: "ResourceGroups.Delete", api: "ResourceGroupsClient.BeginDelete", action: resourceGroupAction + "/delete", serve: (*call).resourceGroups},
	{method: http.MethodGet, path: subscriptionPath + "/operationresults/{id}", operation: "Operations.Get", action: "", serve: (*call).operationResult},
	{method: http.MethodGet, path: subscriptionPath + "/providers", operation: "Providers.List", api: "ProvidersClient.NewListPager", action: "Microsoft.Resources/subscriptions/providers/read", serve: (*call).providers},
	{method: http.MethodGet, path: providerPath, operation: "Providers.Get", api: "ProvidersClient.Get", action: "Microsoft.Resources/subscriptions/providers/read", serve: (*call).providers},
	{method: http.MethodPost, path: providerPath + "/register", operation: "Providers.Register", api: "ProvidersClient.Register", action: "{namespace}/register/action", serve: (*call).providers},
	{method: http.MethodPost, path: providerPath + "/unregister", operation: "Providers.Unregister", api: "ProvidersClient.Unregister", action: "{namespace}/unregister/action", serve: (*call).providers},
}

var authorizationRoutes = []route{
	{method: http.MethodGet, path: groupPath + permissionsPath, operation: "Permissions.List", api: "PermissionsClient.NewListForResourceGroupPager", action: "", serve: (*call).permissions},
	{method: http.MethodGet, path: childResourcePath + permissionsPath, operation: "Permissions.ListForResource", api: "PermissionsClient.NewListForResourcePager", action: "", serve: (*call).permissions},
	{method: http.MethodGet, path: groupPath + denyPath, operation: "DenyAssignments.List", api: "DenyAssignmentsClient.NewListForResourceGroupPager", action: "Microsoft.Authorization/denyAssignments/read", serve: (*call).denyAssignments},
}

// match finds the route of a request and what its path names.
func match(method, escapedPath string) (route, map[string]string, bool) {
	segments := strings.Split(strings.Trim(escapedPath, "/"), "/")
	for _, r := range routes {
		if r.method != method {
			continue
		}
		if names, ok := r.match(segments); ok {
			return r, names, true
		}
	}
	return route{}, nil, false
}

func (r route) match(segments []string) (map[string]string, bool) {
	pattern := strings.Split(strings.Trim(r.path, "/"), "/")
	if len(pattern) != len(segments) {
		return nil, false
	}
	names := map[string]string{}
	for i, part := range pattern {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			value, err := url.PathUnescape(segments[i])
			if err != nil || value == "" {
				return nil, false
			}
			names[strings.TrimSuffix(name, "}")] = value
		} else if !strings.EqualFold(part, segments[i]) {
			return nil, false
		}
	}
	return names, true
}

// fill puts names into a path or an action.
func fill(pattern string, names map[string]string, escape func(string) string) string {
	for name, value := range names {
		pattern = strings.ReplaceAll(pattern, "{"+name+"}", escape(value))
	}
	return pattern
}
