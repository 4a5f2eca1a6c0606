// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package resolve decides, from a connector's spec and the facts that it points to, every name, default
// and value that the later stages need; it is pure.
package resolve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// Defaults are what the operator's release and its flags decide.
type Defaults struct {
	// Namespace is where virtual kubelets run.
	Namespace string
	// Image is the virtual kubelet's image.
	Image v1alpha1.Image
	// AllowedRepositories are the repositories that a connector may take an image from; one that ends with /*
	// stands for all below it.
	AllowedRepositories []string
	// Proxy are the variables by which the operator itself reaches Azure through a proxy, for the virtual kubelets.
	Proxy []corev1.EnvVar
	// LeaseClusterRole is the ClusterRole by which virtual kubelets renew their Leases; empty where a Role is there.
	LeaseClusterRole string
}

// Resolved is a connector with every decision made.
type Resolved struct {
	// Connector is the connector's name.
	Connector string
	// Namespace is where virtual kubelets run.
	Namespace string
	// LeaseClusterRole is the ClusterRole by which virtual kubelets renew their Leases; empty where a Role is there.
	LeaseClusterRole string
	// Place is where container groups are made, with the credentials; those are not usable where the client secret
	// is missing. What Azure has to say first is empty until then.
	discover.Place
	// ClientCA holds the PEM certificates of those who may call a virtual kubelet's API.
	ClientCA []byte
	// Workspace is the Log Analytics workspace; nil where there is none.
	Workspace *discover.Workspace
	// ClusterResourceID is the AKS cluster that logs are shown with; empty where there is none.
	ClusterResourceID string
	// OSTypes are the operating systems asked for, in the order Linux, Windows.
	OSTypes []v1alpha1.OSType
	// Nodes are the desired nodes, in the order of OSTypes. They are known whatever is Missing, as nothing may be
	// removed because something else is not understood; none for a deleted connector, and none while Undecided.
	Nodes []Node
	// Undecided says that the nodes' place is not known yet, so that no node may be taken for one that is not wanted.
	Undecided bool
	// Missing is why the nodes can't be rendered; nil where they can.
	Missing *discover.Missing
	// Removal says how nodes are removed.
	Removal v1alpha1.Removal
	// Remark is what a person may want to know of what the spec points to; empty where there is nothing.
	Remark string
	// Networked says that the spec asks for a subnet, for container groups of NetworkOSTypes.
	Networked      bool
	NetworkOSTypes []v1alpha1.OSType
	// Suspended says that nothing is to be changed.
	Suspended bool
	// LockedDown says that the resource group is the node resource group of an AKS cluster that locks it.
	LockedDown bool
}

// Resolve decides. It does not change its arguments.
func Resolve(connector *v1alpha1.VirtualKubeletConnector, facts discover.Facts, defaults Defaults) Resolved {
	spec := &connector.Spec
	place, missing := place(connector, facts)
	resolved := Resolved{
		Connector:        connector.Name,
		Namespace:        defaults.Namespace,
		LeaseClusterRole: defaults.LeaseClusterRole,
		Place:            place,
		ClientCA:         facts.ClientCA,
		Workspace:        facts.Workspace,
		Missing:          cmp.Or(facts.Missing, missing),
		Removal:          spec.Removal,
		Networked:        spec.Network != nil,
		Suspended:        spec.Suspend,
	}
	resolved.Removal.Policy = cmp.Or(spec.Removal.Policy, v1alpha1.RemovalPolicyDrain)
	resolved.Removal.OrphanedContainerGroups = cmp.Or(spec.Removal.OrphanedContainerGroups, v1alpha1.OrphanPolicyDelete)
	if !connector.DeletionTimestamp.IsZero() {
		return resolved
	}
	for _, os := range []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows} {
		if slices.Contains(spec.OSTypes, os) || (len(spec.OSTypes) == 0 && os == v1alpha1.OSTypeLinux) {
			resolved.OSTypes = append(resolved.OSTypes, os)
		}
	}
	if spec.Network != nil {
		resolved.NetworkOSTypes = networkOSTypes(spec.Network)
	}
	cluster := facts.ManagedCluster.Value
	resolved.LockedDown = cluster.LockedDown && spec.ManagedCluster != nil &&
		strings.EqualFold(string(spec.ManagedCluster.SubscriptionID), place.Target.SubscriptionID) &&
		strings.EqualFold(cluster.NodeResourceGroup, place.Target.ResourceGroup)
	resolved.Remark = remark(spec.ManagedCluster, facts.ManagedCluster)
	if analytics := spec.Monitoring.LogAnalytics; analytics != nil {
		resolved.ClusterResourceID = cmp.Or(analytics.ClusterResourceID, resourceID(spec.ManagedCluster))
	}
	if place.Target.SubscriptionID == "" || place.Target.ResourceGroup == "" || place.Location == "" {
		resolved.Undecided = true
		return resolved
	}
	network, missing := network(spec, facts, place)
	resolved.Missing = cmp.Or(resolved.Missing, missing)
	image, missing := image(spec.VirtualKubelet.Image, defaults)
	resolved.Missing = cmp.Or(resolved.Missing, missing)
	for _, os := range resolved.OSTypes {
		n := node(connector, os, resolved, defaults)
		n.Image = image
		if network != nil && slices.Contains(resolved.NetworkOSTypes, os) {
			n.Network = network.of(os)
		}
		resolved.Nodes = append(resolved.Nodes, n)
		if len(n.Name) > identity.MaxNodeNameLength {
			resolved.Missing = tooLong(n.Name, os, resolved.Location)
		}
	}
	return resolved
}

// ToCheck returns what Azure is to be asked about: of a deleted connector, only what its removal needs.
func (r Resolved) ToCheck() discover.Place {
	place := r.Place
	if len(r.OSTypes) == 0 {
		place.Provider, place.Location, place.Subnet = v1alpha1.ProviderRegistrationIgnore, "", nil
	}
	return place
}

// resourceID returns the id of a managed cluster without asking Azure: what comes later restarts the virtual kubelet.
func resourceID(ref *v1alpha1.ManagedCluster) string {
	if ref == nil {
		return ""
	}
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.ContainerService/managedClusters/%s",
		ref.SubscriptionID, ref.ResourceGroup, ref.Name)
}

// remark tells of a cluster that is not at work, or not there, although nothing needs it.
func remark(ref *v1alpha1.ManagedCluster, cluster azure.Answer[azure.ManagedCluster]) string {
	switch state := cluster.Value; {
	case ref == nil:
	case cluster.Problem != nil && cluster.Problem.Proven:
		return cluster.Problem.Message
	case state.PowerState != "" && state.PowerState != "Running":
		return fmt.Sprintf("managed cluster %s is %s", ref.Name, state.PowerState)
	case state.ProvisioningState == "Deleting" || state.ProvisioningState == "Failed":
		return fmt.Sprintf("managed cluster %s is in the provisioning state %s", ref.Name, state.ProvisioningState)
	}
	return ""
}

// Describes reports whether a node of that name, in the place that the spec gives, has an identity.
func (r Resolved) Describes(name, hash string) bool {
	return r.identity(name, "").Hash() == hash
}

func (r Resolved) identity(name string, os v1alpha1.OSType) identity.Node {
	return identity.Node{
		Name:           name,
		Connector:      r.Connector,
		OSType:         os,
		Cloud:          r.Target.Cloud,
		TenantID:       r.Target.TenantID,
		SubscriptionID: r.Target.SubscriptionID,
		ResourceGroup:  r.Target.ResourceGroup,
		Location:       r.Location,
	}
}

func tooLong(name string, os v1alpha1.OSType, location string) *discover.Missing {
	longest := identity.MaxNodeNameLength - len(identity.NodeName("", os, location))
	return &discover.Missing{Reason: v1alpha1.ReasonNodeNameTooLong, Message: fmt.Sprintf(
		"node name %s has %d characters, more than %d: set spec.node.namePrefix to at most %d characters",
		name, len(name), identity.MaxNodeNameLength, longest)}
}
