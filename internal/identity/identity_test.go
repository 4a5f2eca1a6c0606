// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
)

func node() identity.Node {
	return identity.Node{
		Name:           "virtual-kubelet-aci-linux-eastus",
		Connector:      "aci",
		OSType:         v1alpha1.OSTypeLinux,
		Cloud:          v1alpha1.CloudPublic,
		TenantID:       "22222222-2222-2222-2222-22222222222a",
		SubscriptionID: "11111111-1111-1111-1111-11111111111b",
		ResourceGroup:  "virtual-nodes",
		Location:       "eastus",
	}
}

func TestHash(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*identity.Node)
		other  bool
	}{
		"nothing":                 {func(*identity.Node) {}, false},
		"name":                    {func(n *identity.Node) { n.Name += "2" }, true},
		"cloud":                   {func(n *identity.Node) { n.Cloud = v1alpha1.CloudChina }, true},
		"tenant":                  {func(n *identity.Node) { n.TenantID = "22222222-2222-2222-2222-22222222222b" }, true},
		"subscription":            {func(n *identity.Node) { n.SubscriptionID = "11111111-1111-1111-1111-11111111111c" }, true},
		"resource group":          {func(n *identity.Node) { n.ResourceGroup = "others" }, true},
		"location":                {func(n *identity.Node) { n.Location = "westus" }, true},
		"tenant's case":           {func(n *identity.Node) { n.TenantID = strings.ToUpper(n.TenantID) }, false},
		"subscription's case":     {func(n *identity.Node) { n.SubscriptionID = strings.ToUpper(n.SubscriptionID) }, false},
		"resource group's case":   {func(n *identity.Node) { n.ResourceGroup = "Virtual-Nodes" }, false},
		"a boundary of two parts": {func(n *identity.Node) { n.ResourceGroup, n.Location = "virtual-nodese", "astus" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			changed := node()
			test.change(&changed)
			if test.other {
				g.Expect(changed.Hash()).NotTo(Equal(node().Hash()))
			} else {
				g.Expect(changed.Hash()).To(Equal(node().Hash()))
			}
		})
	}
}

// The hash is stored in the cluster: another release of the operator has to find its nodes again.
func TestHashStaysTheSameFromReleaseToRelease(t *testing.T) {
	NewWithT(t).Expect(node().Hash()).To(Equal("37a9f6d082b216f1"))
}

func TestLabels(t *testing.T) {
	g := NewWithT(t)
	windows := node()
	windows.OSType = v1alpha1.OSTypeWindows
	labels := windows.Labels("1.6.4")

	g.Expect(labels).To(Equal(map[string]string{
		"app.kubernetes.io/name":                 "virtual-kubelet",
		"app.kubernetes.io/instance":             windows.Name,
		"app.kubernetes.io/component":            "virtual-node",
		"app.kubernetes.io/managed-by":           "vk-connector-operator",
		"app.kubernetes.io/version":              "1.6.4",
		"connector.virtual-kubelet.io/connector": "aci",
		"connector.virtual-kubelet.io/os":        "windows",
		"connector.virtual-kubelet.io/identity":  windows.Hash(),
	}))
	for key, value := range labels {
		g.Expect(validation.IsQualifiedName(key)).To(BeEmpty(), key)
		g.Expect(validation.IsValidLabelValue(value)).To(BeEmpty(), value)
	}
	for key, value := range windows.Selector() {
		g.Expect(labels).To(HaveKeyWithValue(key, value), "the pods have to match their selector")
	}
	g.Expect(windows.Selector()).NotTo(HaveKey(identity.LabelVersion), "a selector can't be changed by an upgrade")
}

func TestLabelsAreTheCallers(t *testing.T) {
	g := NewWithT(t)
	labels := node().Labels("1.6.4")
	labels[identity.LabelConnector] = "changed"
	g.Expect(node().Labels("1.6.4")).To(HaveKeyWithValue(identity.LabelConnector, "aci"))
}

func TestOwned(t *testing.T) {
	for name, test := range map[string]struct {
		labels map[string]string
		owned  bool
	}{
		"our own":               {node().Labels("1.6.4"), true},
		"another connector's":   {map[string]string{identity.LabelManagedBy: identity.ManagedBy, identity.LabelConnector: "other"}, false},
		"another operator's":    {map[string]string{identity.LabelManagedBy: "Helm", identity.LabelConnector: "aci"}, false},
		"without our marks":     {map[string]string{"app": "web"}, false},
		"without labels":        {nil, false},
		"with the manager only": {map[string]string{identity.LabelManagedBy: identity.ManagedBy}, false},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(identity.Owned(test.labels, "aci")).To(Equal(test.owned))
		})
	}
}

func TestNames(t *testing.T) {
	g := NewWithT(t)
	for location, want := range map[string]string{
		"eastus": "eastus", "East US": "eastus", "EastUS 2": "eastus2", "  West  Europe ": "westeurope", "": "",
	} {
		g.Expect(identity.NormalizeLocation(location)).To(Equal(want), location)
		g.Expect(identity.NormalizeLocation(v1alpha1.Location(location))).To(Equal(want), location)
	}
	g.Expect(identity.NodeName(identity.Prefix(connector("virtual-kubelet")), v1alpha1.OSTypeLinux, "eastus")).
		To(Equal("virtual-kubelet-virtual-kubelet-linux-eastus"), "the name of the article")
	g.Expect(identity.NodeName("edge", v1alpha1.OSTypeWindows, "westus")).To(Equal("edge-windows-westus"))
}

func connector(name string, edit ...func(*v1alpha1.VirtualKubeletConnector)) *v1alpha1.VirtualKubeletConnector {
	c := &v1alpha1.VirtualKubeletConnector{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.VirtualKubeletConnectorSpec{OSTypes: []v1alpha1.OSType{v1alpha1.OSTypeLinux}},
	}
	for _, e := range edit {
		e(c)
	}
	return c
}

func TestNodeNames(t *testing.T) {
	located := func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ContainerGroups.Location = "East US" }
	for name, test := range map[string]struct {
		edit []func(*v1alpha1.VirtualKubeletConnector)
		want []string
	}{
		"no location": {},
		"a location":  {edit: []func(*v1alpha1.VirtualKubeletConnector){located}, want: []string{"virtual-kubelet-aci-linux-eastus"}},
		"both operating systems": {
			edit: []func(*v1alpha1.VirtualKubeletConnector){located, func(c *v1alpha1.VirtualKubeletConnector) {
				c.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows}
			}},
			want: []string{"virtual-kubelet-aci-linux-eastus", "virtual-kubelet-aci-windows-eastus"},
		},
		"a prefix": {
			edit: []func(*v1alpha1.VirtualKubeletConnector){located, func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Node.NamePrefix = "edge" }},
			want: []string{"edge-linux-eastus"},
		},
		"a location that Azure told": {
			edit: []func(*v1alpha1.VirtualKubeletConnector){func(c *v1alpha1.VirtualKubeletConnector) { c.Status.Location = "westus" }},
			want: []string{"virtual-kubelet-aci-linux-westus"},
		},
		"a location that Azure told before the spec did": {
			edit: []func(*v1alpha1.VirtualKubeletConnector){located, func(c *v1alpha1.VirtualKubeletConnector) { c.Status.Location = "westus" }},
			want: []string{"virtual-kubelet-aci-linux-eastus"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(identity.NodeNames(connector("aci", test.edit...))).To(Equal(test.want))
		})
	}
}
