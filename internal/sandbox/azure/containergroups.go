// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2/fake"
)

func (c *call) containerGroups() doer {
	return fake.NewContainerGroupsServerTransport(&fake.ContainerGroupsServer{
		BeginCreateOrUpdate:         c.createContainerGroup,
		Update:                      c.updateContainerGroup,
		Get:                         c.getContainerGroup,
		BeginDelete:                 c.deleteContainerGroup,
		NewListByResourceGroupPager: c.listContainerGroups,
		NewListPager:                c.listAllContainerGroups,
		BeginStart:                  c.startContainerGroup,
		BeginRestart:                c.restartContainerGroup,
		Stop:                        c.stopContainerGroup,
	})
}

// containerGroup finds the group that the call names.
func (c *call) containerGroup() (*containerGroup, *apiError) {
	group := c.subscription.resourceGroups[strings.ToLower(c.names["resourceGroup"])]
	if group == nil {
		return nil, resourceGroupNotFound(c.names["resourceGroup"])
	}
	if g := group.containerGroups[strings.ToLower(c.names["name"])]; g != nil {
		return g, nil
	}
	return nil, resourceNotFound(containerGroupDelegation, c.names["name"], c.names["resourceGroup"])
}

func (c *call) getContainerGroup(context.Context, string, string, *armcontainerinstance.ContainerGroupsClientGetOptions) (
	resp azfake.Responder[armcontainerinstance.ContainerGroupsClientGetResponse], fail azfake.ErrorResponder,
) {
	now := c.lock()
	defer c.mu.Unlock()
	g, err := c.containerGroup()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	resp.SetResponse(http.StatusOK, armcontainerinstance.ContainerGroupsClientGetResponse{ContainerGroup: *g.view(now, c.world.timing)}, nil)
	return resp, fail
}

func (c *call) createContainerGroup(_ context.Context, _ string, name string, wanted armcontainerinstance.ContainerGroup,
	_ *armcontainerinstance.ContainerGroupsClientBeginCreateOrUpdateOptions,
) (resp azfake.PollerResponder[armcontainerinstance.ContainerGroupsClientCreateOrUpdateResponse], fail azfake.ErrorResponder) {
	now := c.lock()
	defer c.mu.Unlock()
	g, created, err := c.putContainerGroup(now, name, wanted)
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	id := c.world.startOperation(g.runningAt(c.world.timing))
	c.follow("Azure-Asyncoperation", "/subscriptions/"+c.subscription.id+"/providers/"+containerNamespace+"/locations/"+g.location()+"/operations/"+id)
	resp.SetTerminalResponse(status, armcontainerinstance.ContainerGroupsClientCreateOrUpdateResponse{
		ContainerGroup: *g.view(now, c.world.timing),
	}, nil)
	return resp, fail
}

// putContainerGroup makes a group or changes one; a change of more than tags starts it anew.
func (c *call) putContainerGroup(now time.Time, name string, wanted armcontainerinstance.ContainerGroup) (g *containerGroup, created bool, err *apiError) {
	group := c.subscription.resourceGroups[strings.ToLower(c.names["resourceGroup"])]
	if group == nil {
		return nil, false, resourceGroupNotFound(c.names["resourceGroup"])
	}
	if err := c.world.checkContainerGroup(c.cloud, name, wanted); err != nil {
		return nil, false, err
	}
	existing := group.containerGroups[strings.ToLower(name)]
	if existing != nil && existing.location() != normalizeLocation(*wanted.Location) {
		return nil, false, newError(http.StatusConflict, "InvalidResourceLocation",
			"The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in location '%s'. Please select a new resource name.",
			existing.name(), existing.location(), group.Name, normalizeLocation(*wanted.Location))
	}
	if err := c.checkSubnets(wanted, containerGroupID(c.subscription.id, group.Name, name)); err != nil {
		return nil, false, err
	}
	if existing != nil {
		name = existing.name()
	}
	wanted = clone(wanted)
	complete(&wanted, name)
	if existing != nil {
		if existing.transitioning(now, c.world.timing) {
			return nil, false, transitioning(existing.name())
		}
		changed := !reflect.DeepEqual(existing.written.Properties, wanted.Properties)
		existing.written = wanted
		if changed {
			existing.startedAt, existing.stoppedAt = now, time.Time{}
		}
		return existing, false, nil
	}
	g = newContainerGroup(group, wanted, now, now)
	if err := c.world.checkQuota(g); err != nil {
		return nil, false, err
	}
	g.ip = c.world.allotIP(wanted)
	group.containerGroups[strings.ToLower(name)] = g
	return g, true, nil
}

func transitioning(name string) *apiError {
	return newError(http.StatusConflict, "ContainerGroupTransitioning",
		"The container group '%s' is still transitioning, please retry later.", name)
}

func (c *call) updateContainerGroup(_ context.Context, _, _ string, wanted armcontainerinstance.Resource,
	_ *armcontainerinstance.ContainerGroupsClientUpdateOptions,
) (resp azfake.Responder[armcontainerinstance.ContainerGroupsClientUpdateResponse], fail azfake.ErrorResponder) {
	now := c.lock()
	defer c.mu.Unlock()
	g, err := c.containerGroup()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	g.written.Tags = maps.Clone(wanted.Tags)
	resp.SetResponse(http.StatusOK, armcontainerinstance.ContainerGroupsClientUpdateResponse{ContainerGroup: *g.view(now, c.world.timing)}, nil)
	return resp, fail
}

// deleteContainerGroup answers 204 for a group that is not there, else 202 until it is gone.
func (c *call) deleteContainerGroup(context.Context, string, string, *armcontainerinstance.ContainerGroupsClientBeginDeleteOptions) (
	resp azfake.PollerResponder[armcontainerinstance.ContainerGroupsClientDeleteResponse], fail azfake.ErrorResponder,
) {
	now := c.lock()
	defer c.mu.Unlock()
	g, err := c.containerGroup()
	if err != nil {
		resp.SetTerminalResponse(http.StatusNoContent, armcontainerinstance.ContainerGroupsClientDeleteResponse{}, nil)
		return resp, fail
	}
	if g.deletedAt.IsZero() {
		g.deletedAt = now.Add(c.world.timing.ContainerGroupDeleting)
	}
	if c.world.timing.ContainerGroupDeleting <= 0 {
		resp.SetTerminalResponse(http.StatusOK, armcontainerinstance.ContainerGroupsClientDeleteResponse{
			ContainerGroup: *g.view(now, c.world.timing),
		}, nil)
		return resp, fail
	}
	id := c.world.startOperation(g.deletedAt)
	c.follow("Location", "/subscriptions/"+c.subscription.id+"/providers/"+containerNamespace+"/locations/"+g.location()+"/operationresults/"+id)
	// Without a body: a client would take a provisioning state in it for the end of the delete.
	resp.SetTerminalResponse(http.StatusAccepted, armcontainerinstance.ContainerGroupsClientDeleteResponse{}, nil)
	return resp, fail
}

func (c *call) listContainerGroups(string, *armcontainerinstance.ContainerGroupsClientListByResourceGroupOptions) (
	resp azfake.PagerResponder[armcontainerinstance.ContainerGroupsClientListByResourceGroupResponse],
) {
	scope := "/subscriptions/" + c.subscription.id + "/resourceGroups/" + c.names["resourceGroup"]
	resp.AddPage(http.StatusOK, armcontainerinstance.ContainerGroupsClientListByResourceGroupResponse{
		ContainerGroupListResult: c.pageOfContainerGroups(scope),
	}, nil)
	return resp
}

func (c *call) listAllContainerGroups(*armcontainerinstance.ContainerGroupsClientListOptions) (
	resp azfake.PagerResponder[armcontainerinstance.ContainerGroupsClientListResponse],
) {
	resp.AddPage(http.StatusOK, armcontainerinstance.ContainerGroupsClientListResponse{
		ContainerGroupListResult: c.pageOfContainerGroups("/subscriptions/" + c.subscription.id),
	}, nil)
	return resp
}

func (c *call) pageOfContainerGroups(scope string) armcontainerinstance.ContainerGroupListResult {
	now := c.lock()
	defer c.mu.Unlock()
	groups, next := page(c, c.world.asOf(scope, now.Add(-c.lag)), func(g *containerGroup) string { return g.key })
	list := armcontainerinstance.ContainerGroupListResult{NextLink: next, Value: []*armcontainerinstance.ContainerGroup{}}
	for _, g := range groups {
		list.Value = append(list.Value, g.summary(now, c.world.timing))
	}
	return list
}

// run starts the containers anew and gives the operation to follow.
func (c *call) run() *apiError {
	now := c.lock()
	defer c.mu.Unlock()
	g, err := c.containerGroup()
	if err != nil {
		return err
	}
	if g.transitioning(now, c.world.timing) {
		return transitioning(g.name())
	}
	g.startedAt, g.stoppedAt = now, time.Time{}
	return nil
}

func (c *call) startContainerGroup(context.Context, string, string, *armcontainerinstance.ContainerGroupsClientBeginStartOptions) (
	resp azfake.PollerResponder[armcontainerinstance.ContainerGroupsClientStartResponse], fail azfake.ErrorResponder,
) {
	if err := c.run(); err != nil {
		fail.SetError(err)
		return resp, fail
	}
	resp.SetTerminalResponse(http.StatusNoContent, armcontainerinstance.ContainerGroupsClientStartResponse{}, nil)
	return resp, fail
}

func (c *call) restartContainerGroup(context.Context, string, string, *armcontainerinstance.ContainerGroupsClientBeginRestartOptions) (
	resp azfake.PollerResponder[armcontainerinstance.ContainerGroupsClientRestartResponse], fail azfake.ErrorResponder,
) {
	if err := c.run(); err != nil {
		fail.SetError(err)
		return resp, fail
	}
	resp.SetTerminalResponse(http.StatusNoContent, armcontainerinstance.ContainerGroupsClientRestartResponse{}, nil)
	return resp, fail
}

func (c *call) stopContainerGroup(context.Context, string, string, *armcontainerinstance.ContainerGroupsClientStopOptions) (
	resp azfake.Responder[armcontainerinstance.ContainerGroupsClientStopResponse], fail azfake.ErrorResponder,
) {
	now := c.lock()
	defer c.mu.Unlock()
	g, err := c.containerGroup()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	if g.stoppedAt.IsZero() {
		g.stoppedAt = now
	}
	resp.SetResponse(http.StatusNoContent, armcontainerinstance.ContainerGroupsClientStopResponse{}, nil)
	return resp, fail
}

func (c *call) containers() doer {
	return fake.NewContainersServerTransport(&fake.ContainersServer{ListLogs: c.listLogs, ExecuteCommand: c.execute})
}

// listLogs has two lines for a container that has run, as nothing is executed here.
func (c *call) listLogs(_ context.Context, _, _, name string, options *armcontainerinstance.ContainersClientListLogsOptions) (
	resp azfake.Responder[armcontainerinstance.ContainersClientListLogsResponse], fail azfake.ErrorResponder,
) {
	now := c.lock()
	defer c.mu.Unlock()
	g, err := c.containerGroup()
	if err != nil {
		fail.SetError(err)
		return resp, fail
	}
	i := slices.IndexFunc(g.written.Properties.Containers, func(c *armcontainerinstance.Container) bool { return *c.Name == name })
	if i < 0 {
		fail.SetError(newError(http.StatusNotFound, "ContainerNotFound",
			"The container '%s' in container group '%s' was not found.", name, g.name()))
		return resp, fail
	}
	logs := armcontainerinstance.Logs{}
	if _, instance := g.states(now, c.world.timing); instance == "Running" {
		lines := []string{
			fmt.Sprintf("container %s of image %s started\n", name, *g.written.Properties.Containers[i].Properties.Image),
			fmt.Sprintf("container %s is simulated: nothing is executed\n", name),
		}
		if options != nil && options.Timestamps != nil && *options.Timestamps {
			stamp := g.runningAt(c.world.timing).UTC().Format(time.RFC3339Nano)
			for i := range lines {
				lines[i] = stamp + " " + lines[i]
			}
		}
		if options != nil && options.Tail != nil && *options.Tail >= 0 {
			lines = lines[max(0, len(lines)-int(*options.Tail)):]
		}
		content := strings.Join(lines, "")
		logs.Content = &content
	}
	resp.SetResponse(http.StatusOK, armcontainerinstance.ContainersClientListLogsResponse{Logs: logs}, nil)
	return resp, fail
}
