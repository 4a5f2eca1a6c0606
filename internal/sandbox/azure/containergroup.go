// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
)

// containerGroup is a group as it was asked for; what Azure shows of it follows from the time.
type containerGroup struct {
	subscriptionID, resourceGroup string
	// key is the resource ID in lower case, by which groups are sorted and paged.
	key string
	// written is the group as the client wrote it, secrets included.
	written armcontainerinstance.ContainerGroup
	ip      string
	// createdAt is when it was first made, startedAt when its containers were last asked to run.
	createdAt, startedAt time.Time
	stoppedAt            time.Time
	deletedAt            time.Time
}

// newContainerGroup takes a group that is complete.
func newContainerGroup(in *resourceGroup, written armcontainerinstance.ContainerGroup, created, started time.Time) *containerGroup {
	g := &containerGroup{
		subscriptionID: in.SubscriptionID, resourceGroup: in.Name, written: written, createdAt: created, startedAt: started,
	}
	g.key = strings.ToLower(g.id())
	return g
}

func (g *containerGroup) name() string     { return *g.written.Name }
func (g *containerGroup) location() string { return *g.written.Location }
func (g *containerGroup) osType() string   { return string(*g.written.Properties.OSType) }

func containerGroupID(subscriptionID, resourceGroup, name string) string {
	return "/subscriptions/" + subscriptionID + "/resourceGroups/" + resourceGroup + containersPath + "/" + name
}

func (g *containerGroup) id() string {
	return containerGroupID(g.subscriptionID, g.resourceGroup, g.name())
}

func (g *containerGroup) cores() float64 {
	var cores float64
	for _, c := range g.written.Properties.Containers {
		cores += *c.Properties.Resources.Requests.CPU
	}
	return cores
}

// runningAt is when its containers run after their last start.
func (g *containerGroup) runningAt(t Timing) time.Time {
	return g.startedAt.Add(t.ContainerGroupPending + t.ContainerGroupCreating)
}

// states are the provisioning state and the state of the instance.
func (g *containerGroup) states(now time.Time, t Timing) (provisioning, instance string) {
	switch {
	case !g.stoppedAt.IsZero():
		return "Succeeded", "Stopped"
	case now.Before(g.startedAt.Add(t.ContainerGroupPending)):
		return "Pending", "Pending"
	case now.Before(g.runningAt(t)):
		return "Creating", "Pending"
	default:
		return "Succeeded", "Running"
	}
}

func (g *containerGroup) transitioning(now time.Time, t Timing) bool {
	provisioning, _ := g.states(now, t)
	return provisioning != "Succeeded" || !g.deletedAt.IsZero()
}

// summary is the group as a list has it: without an instance view.
func (g *containerGroup) summary(now time.Time, t Timing) *armcontainerinstance.ContainerGroup {
	shown := withoutSecrets(g.written)
	shown.ID = new(g.id())
	provisioning, _ := g.states(now, t)
	shown.Properties.ProvisioningState = &provisioning
	if shown.Properties.IPAddress != nil && provisioning == "Succeeded" && g.ip != "" {
		shown.Properties.IPAddress.IP = new(g.ip)
		if label := shown.Properties.IPAddress.DNSNameLabel; label != nil {
			shown.Properties.IPAddress.Fqdn = new(*label + "." + g.location() + ".azurecontainer.io")
		}
	}
	return &shown
}

// view is the group as a get has it.
func (g *containerGroup) view(now time.Time, t Timing) *armcontainerinstance.ContainerGroup {
	shown := g.summary(now, t)
	provisioning, instance := g.states(now, t)
	shown.Properties.InstanceView = &armcontainerinstance.ContainerGroupPropertiesInstanceView{
		Events: []*armcontainerinstance.Event{},
		State:  &instance,
	}
	if provisioning != "Succeeded" {
		return shown
	}
	for _, c := range shown.Properties.Containers {
		c.Properties.InstanceView = g.containerView(*c.Properties.Image, t)
	}
	for _, c := range shown.Properties.InitContainers {
		c.Properties.InstanceView = &armcontainerinstance.InitContainerPropertiesDefinitionInstanceView{
			CurrentState: terminated(g.startedAt, g.runningAt(t), "Completed"),
			Events:       []*armcontainerinstance.Event{},
			RestartCount: to.Ptr[int32](0),
		}
	}
	return shown
}

func (g *containerGroup) containerView(image string, t Timing) *armcontainerinstance.ContainerPropertiesInstanceView {
	running := g.runningAt(t)
	event := func(name, format string, at time.Time) *armcontainerinstance.Event {
		return &armcontainerinstance.Event{
			Count: to.Ptr[int32](1), FirstTimestamp: &at, LastTimestamp: &at,
			Name: &name, Message: new(fmt.Sprintf(format, image)), Type: new("Normal"),
		}
	}
	view := &armcontainerinstance.ContainerPropertiesInstanceView{
		RestartCount: to.Ptr[int32](0),
		CurrentState: &armcontainerinstance.ContainerState{State: new("Running"), StartTime: &running, DetailStatus: new("")},
		Events: []*armcontainerinstance.Event{
			event("Pulling", "pulling image %q", g.startedAt.Add(t.ContainerGroupPending)),
			event("Pulled", "Successfully pulled image %q", running),
			event("Started", "Started container of image %q", running),
		},
	}
	if !g.stoppedAt.IsZero() {
		view.CurrentState = terminated(running, g.stoppedAt, "")
	}
	return view
}

func terminated(from, until time.Time, detail string) *armcontainerinstance.ContainerState {
	return &armcontainerinstance.ContainerState{
		State: new("Terminated"), StartTime: &from, FinishTime: &until, ExitCode: to.Ptr[int32](0), DetailStatus: &detail,
	}
}

// withoutSecrets copies a group and leaves out what Azure never gives back.
func withoutSecrets(written armcontainerinstance.ContainerGroup) armcontainerinstance.ContainerGroup {
	shown := clone(written)
	p := shown.Properties
	for _, c := range p.Containers {
		hideValues(c.Properties.EnvironmentVariables)
	}
	for _, c := range p.InitContainers {
		hideValues(c.Properties.EnvironmentVariables)
	}
	for _, r := range p.ImageRegistryCredentials {
		r.Password = nil
	}
	if p.Diagnostics != nil && p.Diagnostics.LogAnalytics != nil {
		p.Diagnostics.LogAnalytics.WorkspaceKey = nil
	}
	for _, v := range p.Volumes {
		if v.Secret != nil {
			v.Secret = map[string]*string{}
		}
		if v.AzureFile != nil {
			v.AzureFile.StorageAccountKey = nil
		}
	}
	for _, e := range p.Extensions {
		if e.Properties != nil {
			e.Properties.ProtectedSettings = nil
		}
	}
	return shown
}

func hideValues(variables []*armcontainerinstance.EnvironmentVariable) {
	for _, v := range variables {
		v.SecureValue = nil
	}
}

// clone copies a group by its JSON form, of which it is made.
func clone(group armcontainerinstance.ContainerGroup) armcontainerinstance.ContainerGroup {
	data, err := json.Marshal(group)
	if err != nil {
		panic(fmt.Sprintf("marshal a container group that was unmarshalled: %v", err)) //nolint:forbidigo // The group came from JSON: only a defect of the SDK gets here.
	}
	var copied armcontainerinstance.ContainerGroup
	if err := json.Unmarshal(data, &copied); err != nil {
		panic(fmt.Sprintf("unmarshal a container group that was marshalled: %v", err)) //nolint:forbidigo // As above.
	}
	return copied
}

// complete fills in what Azure decides where the client does not, and takes out what only Azure may say.
func complete(group *armcontainerinstance.ContainerGroup, name string) {
	group.Name = &name
	group.Type = new(containerGroupDelegation)
	group.ID = nil
	group.Location = new(normalizeLocation(*group.Location))
	p := group.Properties
	p.ProvisioningState, p.InstanceView = nil, nil
	if p.SKU == nil {
		p.SKU = to.Ptr(armcontainerinstance.ContainerGroupSKUStandard)
	}
	if p.RestartPolicy == nil {
		p.RestartPolicy = to.Ptr(armcontainerinstance.ContainerGroupRestartPolicyAlways)
	}
	for _, c := range p.Containers {
		c.Properties.InstanceView = nil
		if c.Properties.Ports == nil {
			c.Properties.Ports = []*armcontainerinstance.ContainerPort{}
		}
		if c.Properties.EnvironmentVariables == nil {
			c.Properties.EnvironmentVariables = []*armcontainerinstance.EnvironmentVariable{}
		}
	}
	for _, c := range p.InitContainers {
		if c.Properties != nil {
			c.Properties.InstanceView = nil
		}
	}
	if len(p.SubnetIDs) > 0 && p.IPAddress == nil {
		p.IPAddress = &armcontainerinstance.IPAddress{
			Ports: []*armcontainerinstance.Port{}, Type: to.Ptr(armcontainerinstance.ContainerGroupIPAddressTypePrivate),
		}
	}
	if p.IPAddress != nil {
		p.IPAddress.IP, p.IPAddress.Fqdn = nil, nil
	}
}

// allotIP gives a group an address of its subnet, or a public one where it asks for one.
func (w *world) allotIP(group armcontainerinstance.ContainerGroup) string {
	if group.Properties.IPAddress == nil {
		return ""
	}
	base := netip.MustParseAddr("20.0.0.0")
	if ids := group.Properties.SubnetIDs; len(ids) > 0 {
		if subnet, _, ok := w.subnet(*ids[0].ID); ok {
			if prefix, err := netip.ParsePrefix(subnet.AddressPrefix); err == nil {
				base = prefix.Masked().Addr()
			}
		}
	}
	w.lastIP++
	// Azure keeps the first four addresses of a subnet.
	offset := w.lastIP + 3
	b := base.As4()
	for i := len(b) - 1; i >= 0; i-- {
		offset += uint32(b[i])
		b[i] = byte(offset)
		offset >>= 8
	}
	return netip.AddrFrom4(b).String()
}

// asOf are the groups of a scope as a list shows them that lags behind, sorted by ID.
func (w *world) asOf(scope string, then time.Time) []*containerGroup {
	var groups []*containerGroup
	add := func(g *containerGroup) {
		if inScope(g.key, scope) && !g.createdAt.After(then) {
			groups = append(groups, g)
		}
	}
	for _, s := range w.subscriptions {
		for _, group := range s.resourceGroups {
			for _, g := range group.containerGroups {
				add(g)
			}
		}
	}
	for _, d := range w.departed {
		if d.at.After(then) {
			add(d.group)
		}
	}
	slices.SortFunc(groups, func(a, b *containerGroup) int { return strings.Compare(a.key, b.key) })
	return slices.CompactFunc(groups, func(a, b *containerGroup) bool { return a.key == b.key })
}
