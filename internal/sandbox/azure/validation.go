// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
)

var containerGroupName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

const maxContainerGroupName = 63

// checkContainerGroup refuses what Azure refuses of a group by itself.
func (w *world) checkContainerGroup(cloud Cloud, name string, group armcontainerinstance.ContainerGroup) *apiError {
	if len(name) > maxContainerGroupName || !containerGroupName.MatchString(name) || strings.Contains(name, "--") {
		return newError(http.StatusBadRequest, "InvalidContainerGroupName",
			"The container group name '%s' is invalid. It must contain no more than 63 characters, only lower-case letters, digits and hyphens, "+
				"no hyphen at its start or end and no two in a row.", name)
	}
	if group.Location == nil || *group.Location == "" {
		return newError(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
	}
	p := group.Properties
	if p == nil || p.OSType == nil || len(p.Containers) == 0 {
		return newError(http.StatusBadRequest, "InvalidRequestContent",
			"The container group '%s' needs properties with an osType and at least one container.", name)
	}
	if !slices.Contains(armcontainerinstance.PossibleOperatingSystemTypesValues(), *p.OSType) {
		return newError(http.StatusBadRequest, "InvalidOsType", "The OS type '%s' in the container group '%s' is invalid.", *p.OSType, name)
	}
	if err := w.checkContainerGroupLocation(cloud, *group.Location, string(*p.OSType)); err != nil {
		return err
	}
	for i, c := range p.Containers {
		if c == nil || c.Name == nil || *c.Name == "" || c.Properties == nil {
			return newError(http.StatusBadRequest, "InvalidContainerName", "Container %d of the container group '%s' has no name or no properties.", i, name)
		}
		if c.Properties.Image == nil || *c.Properties.Image == "" {
			return newError(http.StatusBadRequest, "InvalidImageName", "The image of container '%s' in the container group '%s' is missing.", *c.Name, name)
		}
		if r := c.Properties.Resources; r == nil || r.Requests == nil || r.Requests.CPU == nil || r.Requests.MemoryInGB == nil {
			return newError(http.StatusBadRequest, "ResourceRequestsMissing",
				"The resource requests of container '%s' in the container group '%s' are missing.", *c.Name, name)
		}
	}
	for i, c := range p.InitContainers {
		if c == nil || c.Name == nil || c.Properties == nil {
			return newError(http.StatusBadRequest, "InvalidContainerName", "Init container %d of the container group '%s' has no name or no properties.", i, name)
		}
	}
	if slices.ContainsFunc(p.SubnetIDs, func(id *armcontainerinstance.ContainerGroupSubnetID) bool { return id == nil || id.ID == nil }) {
		return newError(http.StatusBadRequest, "InvalidRequestContent", "A subnet of the container group '%s' has no id.", name)
	}
	return nil
}

func (w *world) checkContainerGroupLocation(cloud Cloud, name, osType string) *apiError {
	var available []string
	for _, l := range w.locationsOf(cloud) {
		if len(l.OSTypes) > 0 {
			available = append(available, l.Name)
		}
	}
	location, ok := w.location(cloud, name)
	if !ok || len(location.OSTypes) == 0 {
		return newError(http.StatusBadRequest, "LocationNotAvailableForResourceType",
			"The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is '%s'.",
			name, containerGroupDelegation, strings.Join(available, ","))
	}
	if !slices.Contains(location.OSTypes, osType) {
		return newError(http.StatusBadRequest, "UnsupportedOsType",
			"The OS type '%s' is not supported in the location '%s'.", osType, location.Name)
	}
	return nil
}

// joinAction is the right that a subnet takes of who puts something into it.
const joinAction = networkNamespace + "/virtualNetworks/subnets/join/action"

// checkSubnets refuses subnets that are not the principal's to join, not there, not near or not delegated.
func (c *call) checkSubnets(group armcontainerinstance.ContainerGroup, id string) *apiError {
	for _, ref := range group.Properties.SubnetIDs {
		if err := c.authorizeLinked(containerGroupDelegation+"/write", id, joinAction, *ref.ID); err != nil {
			return err
		}
		subnet, network, ok := c.world.subnet(*ref.ID)
		if !ok || network.Location != normalizeLocation(*group.Location) {
			return newError(http.StatusBadRequest, "InvalidResourceReference",
				"Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.",
				*ref.ID, id)
		}
		if !strings.EqualFold(subnet.DelegatedTo, containerGroupDelegation) {
			return newError(http.StatusBadRequest, "SubnetMissingRequiredDelegation",
				"Subnet %s referenced by resource %s must be delegated to %s.", *ref.ID, id, containerGroupDelegation)
		}
	}
	return nil
}

// usage is what a subscription runs in a region.
func (w *world) usage(subscriptionID, location string) (groups int, cores float64) {
	for _, group := range w.subscriptions[strings.ToLower(subscriptionID)].resourceGroups {
		for _, g := range group.containerGroups {
			if g.location() == location {
				groups++
				cores += g.cores()
			}
		}
	}
	return groups, cores
}

func (w *world) checkQuota(g *containerGroup) *apiError {
	groups, cores := w.usage(g.subscriptionID, g.location())
	exceeded := func(quota string, limit, used, requested float64) *apiError {
		text := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
		return newError(http.StatusConflict, "ContainerGroupQuotaReached",
			"Resource type '%s' container group quota '%s' exceeded in region '%s'. Limit: '%s', Usage: '%s' Requested: '%s'.",
			containerGroupDelegation, quota, g.location(), text(limit), text(used), text(requested))
	}
	if limit := w.quota.ContainerGroups; limit > 0 && groups+1 > limit {
		return exceeded("ContainerGroups", float64(limit), float64(groups), 1)
	}
	if limit := w.quota.Cores; limit > 0 && cores+g.cores() > limit {
		return exceeded("StandardCores", limit, cores, g.cores())
	}
	return nil
}
