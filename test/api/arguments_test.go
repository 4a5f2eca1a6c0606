// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// TestArguments tests that what the arguments of az aks install-connector, upgrade-connector and remove-connector say
// can be said in a connector.
func TestArguments(t *testing.T) {
	accepted := func(t *testing.T, from string, set changes) v1alpha1.VirtualKubeletConnectorSpec {
		t.Helper()
		g := NewWithT(t)
		object := changed(base(from), set)
		g.Expect(k8s.Create(t.Context(), object, client.DryRunAll)).To(Succeed())
		var connector v1alpha1.VirtualKubeletConnector
		convert(g, object, &connector)
		return connector.Spec
	}
	rejected := func(t *testing.T, from string, set changes, message string) {
		t.Helper()
		err := k8s.Create(t.Context(), changed(base(from), set), client.DryRunAll)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(message)))
	}

	t.Run("connector-name", func(t *testing.T) {
		accepted(t, "minimal", changes{"metadata.name": "my-connector"})
		rejected(t, "minimal", changes{"metadata.name": "My Connector"}, "metadata.name")
	})
	t.Run("name and resource-group", func(t *testing.T) {
		cluster := map[string]any{"subscriptionID": "11111111-1111-1111-1111-111111111111", "resourceGroup": "clusters", "name": "cluster"}
		spec := accepted(t, "managed cluster", changes{"spec.managedCluster": cluster})
		NewWithT(t).Expect(spec.ContainerGroups).To(BeZero(), "all of it comes from the cluster")
		for _, one := range []string{"name", "resourceGroup"} {
			rejected(t, "managed cluster", changes{"spec.managedCluster." + one: nil}, "spec.managedCluster."+one+": Required value")
		}
	})
	t.Run("os-type", func(t *testing.T) {
		for argument, osTypes := range map[string][]any{"Linux": {"Linux"}, "Windows": {"Windows"}, "Both": {"Linux", "Windows"}} {
			spec := accepted(t, "minimal", changes{"spec.osTypes": osTypes})
			NewWithT(t).Expect(spec.OSTypes).To(HaveLen(len(osTypes)), argument)
		}
		NewWithT(t).Expect(accepted(t, "minimal", nil).OSTypes).To(ConsistOf(v1alpha1.OSTypeLinux), "as there")
		rejected(t, "minimal", changes{"spec.osTypes": []any{"Both"}}, `supported values: "Linux", "Windows"`)
	})
	t.Run("aci-resource-group", func(t *testing.T) {
		spec := accepted(t, "managed cluster", changes{"spec.containerGroups.resourceGroup": "virtual-nodes"})
		NewWithT(t).Expect(spec.ContainerGroups).To(Equal(v1alpha1.ContainerGroups{ResourceGroup: "virtual-nodes"}))
	})
	t.Run("location", func(t *testing.T) {
		for _, location := range []string{"westus", "West US"} {
			accepted(t, "managed cluster", changes{"spec.containerGroups.location": location})
		}
		rejected(t, "managed cluster", changes{"spec.containerGroups.location": "west-us"}, "az account list-locations -o table shows them")
	})
	t.Run("service-principal and client-secret", func(t *testing.T) {
		accepted(t, "minimal", nil)
		rejected(t, "minimal", changes{"spec.credentials.servicePrincipal.clientID": nil}, "spec.credentials.servicePrincipal.clientID: Required value")
		rejected(t, "minimal", changes{"spec.credentials.servicePrincipal.clientSecretRef": nil}, "spec.credentials.servicePrincipal.clientSecretRef: Required value")
	})
	t.Run("image-tag", func(t *testing.T) {
		spec := accepted(t, "minimal", changes{"spec.virtualKubelet.image.tag": "1.6.3"})
		NewWithT(t).Expect(spec.VirtualKubelet.Image.Repository).To(BeEmpty(), "it comes from the operator's release")
		rejected(t, "minimal", changes{"spec.virtualKubelet.image.tag": "virtual-kubelet:1.6.3"}, "must be an image tag")
	})
	t.Run("upgrade", func(t *testing.T) {
		g := NewWithT(t)
		removeAfter(t, "everything")
		kubectl(t, "apply", "-f", samples+"/everything.yaml")
		before := stored(t, "everything")
		kubectl(t, "patch", "vkc", "everything", "--type=merge", "--patch", `{"spec":{"virtualKubelet":{"image":{"tag":"1.6.5"}}}}`)
		g.Expect(stored(t, "everything").Object["spec"]).To(Equal(changed(before, changes{"spec.virtualKubelet.image.tag": "1.6.5"}).Object["spec"]))
	})
	t.Run("remove --graceful", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(accepted(t, "minimal", nil).Removal).To(BeZero(), "the operator's default is Drain")
		g.Expect(accepted(t, "minimal", changes{"spec.removal.policy": "Drain"}).Removal.Policy).To(Equal(v1alpha1.RemovalPolicyDrain))
		g.Expect(accepted(t, "minimal", changes{"spec.removal.policy": "Force"}).Removal.Policy).To(Equal(v1alpha1.RemovalPolicyForce))
	})
}
