// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	"k8s.io/utils/ptr"
)

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

// Names returns the names of container groups.
func Names(groups []ContainerGroup) []string {
	names := make([]string, len(groups))
	for i := range groups {
		names[i] = groups[i].Name
	}
	return names
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

func (s *Session) containerGroups(subscriptionID string) (*armcontainerinstance.ContainerGroupsClient, error) {
	client, err := armcontainerinstance.NewContainerGroupsClient(subscriptionID, s.tokens, s.arm())
	if err != nil {
		return nil, fmt.Errorf("subscription %s: %w", subscriptionID, err)
	}
	return client, nil
}

// ContainerGroups returns the container groups of a resource group.
func (s *Session) ContainerGroups(ctx context.Context, subscriptionID, resourceGroup string) ([]ContainerGroup, error) {
	client, err := s.containerGroups(subscriptionID)
	if err != nil {
		return nil, err
	}
	var groups []ContainerGroup
	pager := client.NewListByResourceGroupPager(resourceGroup, nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list container groups: %w", err)
		}
		if page.Value == nil {
			// It must not pass for a resource group without container groups.
			return nil, fmt.Errorf("list container groups: %w", errNotAzures)
		}
		for _, group := range page.Value {
			if group != nil && group.Name != nil {
				groups = append(groups, newContainerGroup(*group.Name, ptr.Deref(group.Location, ""), group.Tags))
			}
		}
	}
	return groups, nil
}

// ContainerGroup returns a container group; IsNotFound tells that there is none.
func (s *Session) ContainerGroup(ctx context.Context, subscriptionID, resourceGroup, name string) (ContainerGroup, error) {
	client, err := s.containerGroups(subscriptionID)
	if err != nil {
		return ContainerGroup{}, err
	}
	response, err := client.Get(ctx, resourceGroup, name, nil)
	if err != nil {
		return ContainerGroup{}, fmt.Errorf("get container group %s: %w", name, err)
	}
	return newContainerGroup(name, ptr.Deref(response.Location, ""), response.Tags), nil
}

// DeleteContainerGroup asks Azure to delete a container group, and does not wait until it is gone. A container
// group that does not exist is no error.
func (s *Session) DeleteContainerGroup(ctx context.Context, subscriptionID, resourceGroup, name string) error {
	client, err := s.containerGroups(subscriptionID)
	if err != nil {
		return err
	}
	if _, err := client.BeginDelete(ctx, resourceGroup, name, nil); err != nil && !IsNotFound(err) {
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
