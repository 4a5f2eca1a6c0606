// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"math"
	"net/http"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2/fake"
)

// What Azure grants one container group, and a subscription for which no quota is set.
const (
	maxCPU                = 4
	maxMemoryInGB         = 16
	unlimitedQuotaInUsage = 5000
)

func (c *call) locations() doer {
	return fake.NewLocationServerTransport(&fake.LocationServer{
		NewListCapabilitiesPager: c.listCapabilities, NewListUsagePager: c.listUsages,
	})
}

func (c *call) listCapabilities(string, *armcontainerinstance.LocationClientListCapabilitiesOptions) (
	resp azfake.PagerResponder[armcontainerinstance.LocationClientListCapabilitiesResponse],
) {
	c.lock()
	defer c.mu.Unlock()
	location, _ := c.world.location(c.cloud, c.names["location"])
	list := armcontainerinstance.CapabilitiesListResult{Value: []*armcontainerinstance.Capabilities{}}
	for _, osType := range location.OSTypes {
		list.Value = append(list.Value, &armcontainerinstance.Capabilities{
			ResourceType: new("containerGroups"), OSType: new(osType), Location: new(location.DisplayName),
			IPAddressType: new("Public"), Gpu: new("None"),
			Capabilities: &armcontainerinstance.CapabilitiesCapabilities{
				MaxCPU: to.Ptr[float32](maxCPU), MaxMemoryInGB: to.Ptr[float32](maxMemoryInGB), MaxGpuCount: to.Ptr[float32](0),
			},
		})
	}
	resp.AddPage(http.StatusOK, armcontainerinstance.LocationClientListCapabilitiesResponse{CapabilitiesListResult: list}, nil)
	return resp
}

func (c *call) listUsages(string, *armcontainerinstance.LocationClientListUsageOptions) (
	resp azfake.PagerResponder[armcontainerinstance.LocationClientListUsageResponse],
) {
	c.lock()
	defer c.mu.Unlock()
	location := normalizeLocation(c.names["location"])
	groups, cores := c.world.usage(c.subscription.id, location)
	usage := func(name, localized string, current, limit int32) *armcontainerinstance.Usage {
		if limit == 0 {
			limit = unlimitedQuotaInUsage
		}
		return &armcontainerinstance.Usage{
			ID:   new("/subscriptions/" + c.subscription.id + "/providers/" + containerNamespace + "/locations/" + location + "/usages/" + name),
			Name: &armcontainerinstance.UsageName{Value: &name, LocalizedValue: &localized},
			Unit: new("Count"), CurrentValue: &current, Limit: &limit,
		}
	}
	list := armcontainerinstance.UsageListResult{Value: []*armcontainerinstance.Usage{
		usage("ContainerGroups", "Container Groups", int32(groups), int32(c.world.quota.ContainerGroups)),
		usage("StandardCores", "Standard Cores", int32(math.Ceil(cores)), int32(c.world.quota.Cores)),
	}}
	resp.AddPage(http.StatusOK, armcontainerinstance.LocationClientListUsageResponse{UsageListResult: list}, nil)
	return resp
}
