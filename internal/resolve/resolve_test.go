// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var (
	defaults = resolve.Defaults{
		Namespace:           "vk-connector-system",
		Image:               v1alpha1.Image{Repository: "registry.example/virtual-kubelet", Tag: "1.6.4"},
		AllowedRepositories: []string{"registry.example/virtual-kubelet", "mirror.example:5000/*", "mirror.example/vk"},
	}
	facts = discover.Facts{ClientSecret: "client-secret", ClientCA: []byte("ca")}
)

// connector has what the schema requires, without the schema's defaults.
func connector(edit ...func(*v1alpha1.VirtualKubeletConnector)) *v1alpha1.VirtualKubeletConnector {
	c := &v1alpha1.VirtualKubeletConnector{
		ObjectMeta: metav1.ObjectMeta{Name: "aci"},
		Spec: v1alpha1.VirtualKubeletConnectorSpec{
			ContainerGroups: v1alpha1.ContainerGroups{
				SubscriptionID: "11111111-1111-1111-1111-111111111111",
				ResourceGroup:  "virtual-nodes",
				Location:       "eastus",
			},
			Credentials: v1alpha1.Credentials{
				Type: v1alpha1.CredentialTypeServicePrincipal,
				ServicePrincipal: &v1alpha1.ServicePrincipal{
					TenantID:        "22222222-2222-2222-2222-222222222222",
					ClientID:        "33333333-3333-3333-3333-333333333333",
					ClientSecretRef: v1alpha1.SecretKeyReference{Name: "credentials", Key: "clientSecret"},
				},
			},
		},
	}
	for _, e := range edit {
		e(c)
	}
	return c
}

func nodeNames(r resolve.Resolved) []string {
	names := make([]string, 0, len(r.Nodes))
	for _, n := range r.Nodes {
		names = append(names, n.Name)
	}
	return names
}

func TestDefaults(t *testing.T) {
	g := NewWithT(t)
	resolved := resolve.Resolve(connector(), facts, defaults)

	g.Expect(resolved).To(Equal(resolve.Resolved{
		Connector: "aci",
		Namespace: "vk-connector-system",
		Place: discover.Place{
			Target: azure.Target{
				Credential: azure.Credential{
					Cloud:        v1alpha1.CloudPublic,
					Type:         v1alpha1.CredentialTypeServicePrincipal,
					TenantID:     "22222222-2222-2222-2222-222222222222",
					ClientID:     "33333333-3333-3333-3333-333333333333",
					ClientSecret: "client-secret",
				},
				SubscriptionID: "11111111-1111-1111-1111-111111111111",
				ResourceGroup:  "virtual-nodes",
			},
			Location: "eastus",
			Provider: v1alpha1.ProviderRegistrationCheck,
		},
		ClientCA: []byte("ca"),
		OSTypes:  []v1alpha1.OSType{v1alpha1.OSTypeLinux},
		Removal:  v1alpha1.Removal{Policy: v1alpha1.RemovalPolicyDrain, OrphanedContainerGroups: v1alpha1.OrphanPolicyDelete},
		Nodes: []resolve.Node{{
			Node: identity.Node{
				Name:           "virtual-kubelet-aci-linux-eastus",
				Connector:      "aci",
				OSType:         v1alpha1.OSTypeLinux,
				Cloud:          v1alpha1.CloudPublic,
				TenantID:       "22222222-2222-2222-2222-222222222222",
				SubscriptionID: "11111111-1111-1111-1111-111111111111",
				ResourceGroup:  "virtual-nodes",
				Location:       "eastus",
			},
			Image:      resolve.Image{Reference: "registry.example/virtual-kubelet:1.6.4", Version: "1.6.4"},
			PullPolicy: corev1.PullIfNotPresent,
			LogLevel:   "info",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
			}},
			Taint: &corev1.Taint{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoSchedule},
			Pod:   resolve.Pod{PriorityClassName: "system-cluster-critical"},
		}},
	}))
}

func TestOperatingSystems(t *testing.T) {
	for name, test := range map[string]struct {
		given []v1alpha1.OSType
		want  []string
	}{
		"none":            {nil, []string{"virtual-kubelet-aci-linux-eastus"}},
		"Linux":           {[]v1alpha1.OSType{"Linux"}, []string{"virtual-kubelet-aci-linux-eastus"}},
		"Windows":         {[]v1alpha1.OSType{"Windows"}, []string{"virtual-kubelet-aci-windows-eastus"}},
		"both":            {[]v1alpha1.OSType{"Linux", "Windows"}, []string{"virtual-kubelet-aci-linux-eastus", "virtual-kubelet-aci-windows-eastus"}},
		"the other order": {[]v1alpha1.OSType{"Windows", "Linux"}, []string{"virtual-kubelet-aci-linux-eastus", "virtual-kubelet-aci-windows-eastus"}},
	} {
		t.Run(name, func(t *testing.T) {
			resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.OSTypes = test.given }), facts, defaults)
			NewWithT(t).Expect(nodeNames(resolved)).To(Equal(test.want))
		})
	}
}

func TestLocations(t *testing.T) {
	for given, want := range map[v1alpha1.Location]string{
		"eastus": "eastus", "East US": "eastus", "EASTUS": "eastus", "West Europe": "westeurope", "East US 2": "eastus2",
	} {
		t.Run(string(given), func(t *testing.T) {
			g := NewWithT(t)
			resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.ContainerGroups.Location = given }), facts, defaults)
			g.Expect(resolved.Location).To(Equal(want))
			g.Expect(resolved.Nodes[0].Location).To(Equal(want))
			g.Expect(resolved.Nodes[0].Name).To(Equal("virtual-kubelet-aci-linux-" + want))
		})
	}
}

func TestResources(t *testing.T) {
	type list = map[corev1.ResourceName]string
	for name, test := range map[string]struct {
		requests, limits         list
		wantRequests, wantLimits list
	}{
		"none": {
			wantRequests: list{"cpu": "100m", "memory": "128Mi"},
		},
		"a request": {
			requests:     list{"cpu": "2"},
			wantRequests: list{"cpu": "2", "memory": "128Mi"},
		},
		"a limit above the request": {
			limits:       list{"memory": "1Gi"},
			wantRequests: list{"cpu": "100m", "memory": "128Mi"},
			wantLimits:   list{"memory": "1Gi"},
		},
		"a limit below the default request": {
			limits:       list{"cpu": "50m", "memory": "64Mi"},
			wantRequests: list{"cpu": "50m", "memory": "64Mi"},
			wantLimits:   list{"cpu": "50m", "memory": "64Mi"},
		},
		"quantities that the API server writes in another form": {
			requests:     list{"cpu": "0.5", "memory": "1024Mi"},
			limits:       list{"cpu": "1000m", "memory": "2048Mi"},
			wantRequests: list{"cpu": "500m", "memory": "1Gi"},
			wantLimits:   list{"cpu": "1", "memory": "2Gi"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			parsed := func(given list) v1alpha1.ResourceAmounts {
				var out v1alpha1.ResourceAmounts
				for name, field := range map[corev1.ResourceName]**resource.Quantity{"cpu": &out.CPU, "memory": &out.Memory} {
					if value, ok := given[name]; ok {
						*field = new(resource.MustParse(value))
					}
				}
				return out
			}
			written := func(quantities corev1.ResourceList) list {
				if quantities == nil {
					return nil
				}
				out := list{}
				for name, quantity := range quantities {
					out[name] = quantity.String()
				}
				return out
			}
			resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) {
				c.Spec.VirtualKubelet.Resources = v1alpha1.Resources{Requests: parsed(test.requests), Limits: parsed(test.limits)}
			}), facts, defaults)
			g.Expect(written(resolved.Nodes[0].Resources.Requests)).To(Equal(test.wantRequests))
			g.Expect(written(resolved.Nodes[0].Resources.Limits)).To(Equal(test.wantLimits))
		})
	}
}

func TestSettingsAreTakenOver(t *testing.T) {
	g := NewWithT(t)
	resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) {
		c.Spec.OSTypes = []v1alpha1.OSType{"Linux", "Windows"}
		c.Spec.Cloud = v1alpha1.CloudUSGovernment
		c.Spec.Node.NamePrefix = "edge"
		c.Spec.VirtualKubelet.LogLevel = "debug"
		c.Spec.VirtualKubelet.Image.PullPolicy = corev1.PullAlways
		c.Spec.VirtualKubelet.Image.PullSecrets = []v1alpha1.LocalSecretReference{{Name: "b"}, {Name: "a"}}
	}), facts, defaults)

	g.Expect(nodeNames(resolved)).To(Equal([]string{"edge-linux-eastus", "edge-windows-eastus"}))
	g.Expect(resolved.Target.Cloud).To(Equal(v1alpha1.CloudUSGovernment))
	for _, n := range resolved.Nodes {
		g.Expect(n.Cloud).To(Equal(v1alpha1.CloudUSGovernment))
		g.Expect(n.LogLevel).To(BeEquivalentTo("debug"))
		g.Expect(n.PullPolicy).To(Equal(corev1.PullAlways))
		g.Expect(n.PullSecrets).To(Equal([]string{"b", "a"}))
	}
}

func TestNamesThatAreTooLong(t *testing.T) {
	for name, test := range map[string]struct {
		prefix  string
		osTypes []v1alpha1.OSType
		missing *discover.Missing
	}{
		"the longest": {prefix: strings.Repeat("a", 50)},
		"one more": {prefix: strings.Repeat("a", 51), missing: &discover.Missing{
			Reason:  v1alpha1.ReasonNodeNameTooLong,
			Message: "node name " + strings.Repeat("a", 51) + "-linux-eastus has 64 characters, more than 63: set spec.node.namePrefix to at most 50 characters",
		}},
		"for Windows only": {prefix: strings.Repeat("a", 50), osTypes: []v1alpha1.OSType{"Linux", "Windows"}, missing: &discover.Missing{
			Reason:  v1alpha1.ReasonNodeNameTooLong,
			Message: "node name " + strings.Repeat("a", 50) + "-windows-eastus has 65 characters, more than 63: set spec.node.namePrefix to at most 48 characters",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) {
				c.Spec.Node.NamePrefix = test.prefix
				c.Spec.OSTypes = test.osTypes
			}), facts, defaults)
			g.Expect(resolved.Missing).To(Equal(test.missing))
			g.Expect(resolved.Nodes).To(HaveLen(max(1, len(test.osTypes))), "what runs under a name that fits is not removed for one that does not")
		})
	}
}

func TestMissingFactsKeepTheNodes(t *testing.T) {
	for name, missing := range map[string]discover.Facts{
		"no Secret":    {Missing: &discover.Missing{Reason: v1alpha1.ReasonSecretNotFound, Message: "no Secret"}},
		"no client CA": {ClientSecret: "client-secret", Missing: &discover.Missing{Reason: v1alpha1.ReasonClientCANotFound, Message: "no CA"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			whole := resolve.Resolve(connector(), facts, defaults)
			resolved := resolve.Resolve(connector(), missing, defaults)
			g.Expect(resolved.Missing).To(Equal(missing.Missing))
			g.Expect(resolved.Nodes).To(Equal(whole.Nodes), "a node that is not desired would be removed")
			g.Expect(resolved.Target.ClientSecret).To(Equal(missing.ClientSecret))
		})
	}
}

func TestADeletedConnectorDesiresNothing(t *testing.T) {
	g := NewWithT(t)
	deleted := connector(func(c *v1alpha1.VirtualKubeletConnector) { c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} })
	resolved := resolve.Resolve(deleted, facts, defaults)
	g.Expect(resolved.Nodes).To(BeEmpty())
	g.Expect(resolved.Target).To(Equal(resolve.Resolve(connector(), facts, defaults).Target), "the credentials are needed to the end")
}

// A connector that does not exist any more comes without a spec.
func TestAConnectorWithoutSpec(t *testing.T) {
	g := NewWithT(t)
	gone := &v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: "aci", DeletionTimestamp: &metav1.Time{Time: time.Unix(1, 0)}}}
	resolved := resolve.Resolve(gone, discover.Facts{Missing: &discover.Missing{Reason: v1alpha1.ReasonInvalidSpec}}, defaults)
	g.Expect(resolved.Nodes).To(BeEmpty())
	g.Expect(resolved.Target.ClientSecret).To(BeEmpty())
}

func TestResolveChangesNoArgument(t *testing.T) {
	g := NewWithT(t)
	given := connector(func(c *v1alpha1.VirtualKubeletConnector) {
		c.Spec.OSTypes = []v1alpha1.OSType{"Windows", "Linux"}
		c.Spec.VirtualKubelet.Resources.Limits.CPU = new(resource.MustParse("0.05"))
		c.Spec.VirtualKubelet.Resources.Requests.Memory = new(resource.MustParse("1024Mi"))
		c.Spec.VirtualKubelet.Image.PullSecrets = []v1alpha1.LocalSecretReference{{Name: "a"}}
		c.Spec.Node.Capacity.Memory = new(resource.MustParse("1024Gi"))
	})
	before := given.DeepCopy()
	first := resolve.Resolve(given, facts, defaults)
	g.Expect(given).To(Equal(before))
	g.Expect(resolve.Resolve(given, facts, defaults)).To(Equal(first))
}
