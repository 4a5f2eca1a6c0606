// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package resolve decides, from a connector's spec and the facts that it points to, every name, default
// and value that the later stages need; it is pure.
package resolve

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

// Defaults are what the operator's release and its flags decide.
type Defaults struct {
	// Namespace is where virtual kubelets run.
	Namespace string
	// ImageRepository and ImageTag are the virtual kubelet's image.
	ImageRepository, ImageTag string
}

// Resolved is a connector with every decision made.
type Resolved struct {
	// Connector is the connector's name.
	Connector string
	// Namespace is where virtual kubelets run.
	Namespace string
	// Target is where container groups are made, with the credentials; without a client secret where
	// that is missing.
	Target azure.Target
	// Location is the region as Azure names it.
	Location string
	// ClientCA holds the PEM certificates of those who may call a virtual kubelet's API.
	ClientCA []byte
	// Nodes are the desired nodes, in the order Linux, Windows. They are known whatever is Missing, as
	// nothing may be removed because something else is not understood; none for a deleted connector.
	Nodes []Node
	// Missing is why the nodes can't be rendered; nil where they can.
	Missing *discover.Missing
}

// Node is a desired node.
type Node struct {
	identity.Node
	// Image is the virtual kubelet's image reference.
	Image string
	// Version is the image's version, in the form of a label's value.
	Version     string
	PullPolicy  corev1.PullPolicy
	PullSecrets []string
	LogLevel    v1alpha1.LogLevel
	Resources   corev1.ResourceRequirements
}

// Resolve decides. It does not change its arguments.
func Resolve(connector *v1alpha1.VirtualKubeletConnector, facts discover.Facts, defaults Defaults) Resolved {
	spec := &connector.Spec
	resolved := Resolved{
		Connector: connector.Name,
		Namespace: defaults.Namespace,
		Location:  identity.NormalizeLocation(spec.ContainerGroups.Location),
		ClientCA:  facts.ClientCA,
		Target:    target(spec, facts.ClientSecret),
		Missing:   facts.Missing,
	}
	if !connector.DeletionTimestamp.IsZero() {
		return resolved
	}
	for _, os := range []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows} {
		if slices.Contains(spec.OSTypes, os) || (len(spec.OSTypes) == 0 && os == v1alpha1.OSTypeLinux) {
			resolved.Nodes = append(resolved.Nodes, node(connector, os, resolved, defaults))
		}
	}
	for _, n := range resolved.Nodes {
		if len(n.Name) > identity.MaxNodeNameLength {
			resolved.Missing = tooLong(n.Name, n.OSType, resolved.Location)
		}
	}
	return resolved
}

func target(spec *v1alpha1.VirtualKubeletConnectorSpec, clientSecret string) azure.Target {
	target := azure.Target{
		Cloud:          cmp.Or(spec.Cloud, v1alpha1.CloudPublic),
		SubscriptionID: string(spec.ContainerGroups.SubscriptionID),
		ResourceGroup:  spec.ContainerGroups.ResourceGroup,
		ClientSecret:   clientSecret,
	}
	if principal := spec.Credentials.ServicePrincipal; principal != nil {
		target.TenantID = string(principal.TenantID)
		target.ClientID = string(principal.ClientID)
	}
	return target
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

func node(connector *v1alpha1.VirtualKubeletConnector, os v1alpha1.OSType, resolved Resolved, defaults Defaults) Node {
	prefix := cmp.Or(connector.Spec.Node.NamePrefix, identity.DefaultPrefix(connector.Name))
	vk := &connector.Spec.VirtualKubelet
	image, version := image(vk.Image, defaults)
	n := Node{
		Node:       resolved.identity(identity.NodeName(prefix, os, resolved.Location), os),
		Image:      image,
		Version:    version,
		PullPolicy: cmp.Or(vk.Image.PullPolicy, corev1.PullIfNotPresent),
		LogLevel:   cmp.Or(vk.LogLevel, "info"),
		Resources:  resources(vk.Resources),
	}
	for _, secret := range vk.Image.PullSecrets {
		n.PullSecrets = append(n.PullSecrets, secret.Name)
	}
	return n
}

// image returns a reference and a version. A digest without a tag stands alone: the release's tag would
// say something else than what runs.
func image(image v1alpha1.Image, defaults Defaults) (reference, version string) {
	repository := cmp.Or(image.Repository, defaults.ImageRepository)
	if image.Digest == "" {
		tag := cmp.Or(image.Tag, defaults.ImageTag)
		return repository + ":" + tag, labelValue(tag)
	}
	if image.Tag != "" {
		return repository + ":" + image.Tag + "@" + image.Digest, labelValue(image.Tag)
	}
	return repository + "@" + image.Digest, strings.TrimPrefix(image.Digest, "sha256:")[:12]
}

// labelValue makes a tag into a label's value: at most 63 characters, with a letter or digit at its
// ends.
func labelValue(tag string) string {
	return strings.Trim(tag[:min(len(tag), 63)], "-_.")
}

func resources(given v1alpha1.Resources) corev1.ResourceRequirements {
	requests := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("100m"),
		corev1.ResourceMemory: resource.MustParse("128Mi"),
	}
	for name := range requests {
		// A request above the limit would be refused.
		if limit, ok := given.Limits[name]; ok && limit.Cmp(requests[name]) < 0 {
			requests[name] = limit
		}
	}
	maps.Copy(requests, given.Requests)
	return corev1.ResourceRequirements{Requests: canonical(requests), Limits: canonical(given.Limits)}
}

// canonical returns a list whose quantities are written as the API server writes them.
func canonical(list corev1.ResourceList) corev1.ResourceList {
	if len(list) == 0 {
		return nil
	}
	out := make(corev1.ResourceList, len(list))
	for name, quantity := range list {
		out[name] = resource.MustParse(quantity.String())
	}
	return out
}

func tooLong(name string, os v1alpha1.OSType, location string) *discover.Missing {
	longest := identity.MaxNodeNameLength - len(identity.NodeName("", os, location))
	return &discover.Missing{Reason: v1alpha1.ReasonNodeNameTooLong, Message: fmt.Sprintf(
		"node name %s has %d characters, more than %d: set spec.node.namePrefix to at most %d characters",
		name, len(name), identity.MaxNodeNameLength, longest)}
}
