// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package identity names a connector's nodes and marks what belongs to them; it holds no state and
// reads nothing but its arguments.
package identity

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// Domain begins the names of the operator's own labels and annotations.
const Domain = "connector.virtual-kubelet.io/"

// Labels and annotations on the objects that belong to a connector.
const (
	// LabelConnector holds the name of the connector.
	LabelConnector = "connector.virtual-kubelet.io/connector"
	// LabelOS holds the operating system of the node, in lower case.
	LabelOS = "connector.virtual-kubelet.io/os"
	// LabelIdentity holds the node's Hash.
	LabelIdentity = "connector.virtual-kubelet.io/identity"

	// LabelName, LabelInstance, LabelComponent, LabelManagedBy and LabelVersion are the recommended
	// labels of Kubernetes (https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
	// The instance is the node: Argo CD may take an object for one of the Application that the label names, and
	// that is likely to be named as the connector.
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelComponent = "app.kubernetes.io/component"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelVersion   = "app.kubernetes.io/version"

	// ManagedBy is the value of LabelManagedBy, and the field owner of every child.
	ManagedBy = "vk-connector-operator"

	// AnnotationClaim on a node's Secret says that the node's name was free in its resource group
	// before the first start; its value is the node's Hash. It is the evidence that container groups
	// with the node's tag are this node's.
	AnnotationClaim = "connector.virtual-kubelet.io/claim"

	// AnnotationPlace on what is made for a node, but for its Secret, says where its container groups are, and by whose
	// identity they were made; without secrets.
	AnnotationPlace = "connector.virtual-kubelet.io/place"

	// AnnotationTaint on a Node says which taint the operator keeps on it; empty where it keeps none.
	AnnotationTaint = "connector.virtual-kubelet.io/taint"

	// AnnotationFormerTaints on a node's Deployment lists the taints that its Node may have been made with and that are
	// not asked for any more, until AnnotationTaint is on the Node.
	AnnotationFormerTaints = "connector.virtual-kubelet.io/former-taints"

	// LabelVirtualNode is the label, with value VirtualNode, that a virtual kubelet puts on its Node.
	LabelVirtualNode = "type"
	// VirtualNode is the value of LabelVirtualNode.
	VirtualNode = "virtual-kubelet"

	// MaxNodeNameLength is the longest name of a node, in characters: it becomes a label's value.
	MaxNodeNameLength = 63
)

// Node is the identity of a virtual node: a change of any field makes it another node, for which the
// former one has to be retired.
type Node struct {
	// Name is the name of the Node, and of every object that is made for it.
	Name string
	// Connector is the name of the connector that asks for the node.
	Connector string
	// OSType is the operating system of the node's container groups.
	OSType v1alpha1.OSType
	// Cloud, TenantID, SubscriptionID, ResourceGroup and Location say where its container groups are.
	Cloud          v1alpha1.CloudName
	TenantID       string
	SubscriptionID string
	ResourceGroup  string
	// Location is the region as NormalizeLocation gives it.
	Location string
}

// NodeName returns the name of a node: <prefix>-<linux or windows>-<location>.
func NodeName(prefix string, os v1alpha1.OSType, location string) string {
	return prefix + "-" + strings.ToLower(string(os)) + "-" + location
}

// Prefix returns the prefix of the names of a connector's nodes.
func Prefix(connector *v1alpha1.VirtualKubeletConnector) string {
	return cmp.Or(connector.Spec.Node.NamePrefix, "virtual-kubelet-"+connector.Name)
}

// NormalizeLocation returns Azure's name of a region that is given by name or by display name:
// "East US" and "eastus" are the same.
func NormalizeLocation[T ~string](location T) string {
	return strings.ToLower(strings.ReplaceAll(string(location), " ", ""))
}

// NodeNames returns the names of the nodes that a connector comes to, as far as its location is known: from
// its spec, or from Azure, which its status tells.
func NodeNames(connector *v1alpha1.VirtualKubeletConnector) []string {
	location := NormalizeLocation(connector.Spec.ContainerGroups.Location)
	if location == "" {
		location = connector.Status.Location
	}
	if location == "" {
		return nil
	}
	names := make([]string, 0, len(connector.Spec.OSTypes))
	for _, os := range connector.Spec.OSTypes {
		names = append(names, NodeName(Prefix(connector), os, location))
	}
	return names
}

// Hash returns a short hash of the identity. Azure compares its names without regard to case, and so
// does this.
func (n Node) Hash() string {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.Join([]string{
		n.Name, string(n.Cloud), n.TenantID, n.SubscriptionID, n.ResourceGroup, n.Location,
	}, "\n"))))
	return hex.EncodeToString(sum[:8])
}

// Labels returns the labels of every object that is made for the node, and of the Node itself.
// The version is the virtual kubelet's.
func (n Node) Labels(version string) map[string]string {
	labels := n.Selector()
	labels[LabelInstance] = n.Name
	labels[LabelComponent] = "virtual-node"
	labels[LabelManagedBy] = ManagedBy
	labels[LabelVersion] = version
	labels[LabelConnector] = n.Connector
	labels[LabelOS] = strings.ToLower(string(n.OSType))
	return labels
}

// Selector returns the labels that select the pods of the node's virtual kubelet.
func (n Node) Selector() map[string]string {
	return map[string]string{LabelName: VirtualNode, LabelIdentity: n.Hash()}
}

// Owned reports whether labels are those of an object of the connector.
func Owned(labels map[string]string, connector string) bool {
	return labels[LabelManagedBy] == ManagedBy && labels[LabelConnector] == connector
}
