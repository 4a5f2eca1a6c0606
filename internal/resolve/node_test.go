// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

func TestTaints(t *testing.T) {
	for name, test := range map[string]struct {
		given v1alpha1.NodeTaint
		want  *corev1.Taint
	}{
		"none given":      {want: &corev1.Taint{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoSchedule}},
		"Managed":         {v1alpha1.NodeTaint{Policy: v1alpha1.TaintPolicyManaged}, &corev1.Taint{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoSchedule}},
		"None":            {v1alpha1.NodeTaint{Policy: v1alpha1.TaintPolicyNone}, nil},
		"a key":           {v1alpha1.NodeTaint{Key: "example.com/aci"}, &corev1.Taint{Key: "example.com/aci", Value: "azure", Effect: corev1.TaintEffectNoSchedule}},
		"a value":         {v1alpha1.NodeTaint{Value: ptr.To[v1alpha1.LabelValue]("x")}, &corev1.Taint{Key: "virtual-kubelet.io/provider", Value: "x", Effect: corev1.TaintEffectNoSchedule}},
		"the empty value": {v1alpha1.NodeTaint{Value: ptr.To[v1alpha1.LabelValue]("")}, &corev1.Taint{Key: "virtual-kubelet.io/provider", Effect: corev1.TaintEffectNoSchedule}},
		"an effect":       {v1alpha1.NodeTaint{Effect: "NoExecute"}, &corev1.Taint{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoExecute}},
	} {
		t.Run(name, func(t *testing.T) {
			resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Node.Taint = test.given }), facts, defaults)
			NewWithT(t).Expect(resolved.Nodes[0].Taint).To(Equal(test.want))
		})
	}
}

func TestCapacity(t *testing.T) {
	quantity := func(text string) *resource.Quantity { return new(resource.MustParse(text)) }
	for name, test := range map[string]struct {
		given v1alpha1.NodeCapacity
		want  resolve.Capacity
	}{
		"none":          {},
		"all":           {v1alpha1.NodeCapacity{CPU: quantity("100"), Memory: quantity("400Gi"), Pods: ptr.To[int32](50)}, resolve.Capacity{CPU: "100", Memory: "400Gi", Pods: "50"}},
		"CPU alone":     {v1alpha1.NodeCapacity{CPU: quantity("0.5")}, resolve.Capacity{CPU: "500m"}},
		"in other form": {v1alpha1.NodeCapacity{Memory: quantity("1024Mi")}, resolve.Capacity{Memory: "1Gi"}},
	} {
		t.Run(name, func(t *testing.T) {
			resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Node.Capacity = test.given }), facts, defaults)
			NewWithT(t).Expect(resolved.Nodes[0].Capacity).To(Equal(test.want))
		})
	}
}

func TestWhatTheNodeAndItsPodLookLike(t *testing.T) {
	g := NewWithT(t)
	tolerations := []v1alpha1.Toleration{{Key: "CriticalAddonsOnly", Operator: "Exists"}}
	affinity := &v1alpha1.Affinity{PodAffinity: &v1alpha1.PodAffinity{}}
	proxied := defaults
	proxied.Proxy = []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy.example:3128"}}
	resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) {
		c.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows}
		c.Spec.Node.Labels = map[string]v1alpha1.LabelValue{"example.com/team": "batch"}
		c.Spec.Node.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/contact": "batch@example.com"}
		c.Spec.VirtualKubelet = v1alpha1.VirtualKubelet{
			PodLabels:         map[string]v1alpha1.LabelValue{"example.com/pod": "yes"},
			PodAnnotations:    map[string]v1alpha1.AnnotationValue{"example.com/note": "a b"},
			NodeSelector:      map[string]v1alpha1.LabelValue{"kubernetes.azure.com/mode": "system"},
			Tolerations:       tolerations,
			Affinity:          affinity,
			PriorityClassName: "high",
		}
	}), facts, proxied)
	g.Expect(resolved.Nodes).To(HaveLen(2))
	for _, n := range resolved.Nodes {
		g.Expect(n.NodeLabels).To(Equal(map[string]string{"example.com/team": "batch"}))
		g.Expect(n.NodeAnnotations).To(Equal(map[string]string{"example.com/contact": "batch@example.com"}))
		g.Expect(n.Pod).To(Equal(resolve.Pod{
			Labels:            map[string]string{"example.com/pod": "yes"},
			Annotations:       map[string]string{"example.com/note": "a b"},
			NodeSelector:      map[string]string{"kubernetes.azure.com/mode": "system"},
			Tolerations:       tolerations,
			Affinity:          affinity,
			PriorityClassName: "high",
		}))
		g.Expect(n.Proxy).To(Equal(proxied.Proxy))
	}
}

func TestMonitoring(t *testing.T) {
	workspace := &discover.Workspace{ID: "id", Key: []byte("key")}
	monitored := func(clusterResourceID string) edit {
		return func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.Monitoring.LogAnalytics = &v1alpha1.LogAnalytics{
				SecretRef: v1alpha1.LocalSecretReference{Name: "workspace"}, ClusterResourceID: clusterResourceID,
			}
		}
	}
	for name, test := range map[string]struct {
		edits   []edit
		cluster clusterAnswer
		want    string
	}{
		"no cluster":                      {edits: []edit{monitored("")}},
		"a silent cluster":                {edits: []edit{monitored(""), ofCluster, was(0, 0)}, cluster: silent[azure.ManagedCluster](), want: clusterID},
		"the managed cluster":             {edits: []edit{monitored(""), ofCluster}, cluster: said(aks), want: clusterID},
		"the spec's":                      {edits: []edit{monitored("/own"), ofCluster}, cluster: said(aks), want: "/own"},
		"a cluster, but no monitoring":    {edits: []edit{ofCluster}, cluster: said(aks)},
		"a cluster that is silent by now": {edits: []edit{monitored(""), ofCluster}, cluster: stale(aks), want: clusterID},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			told := facts
			told.Workspace, told.ManagedCluster = workspace, test.cluster
			resolved := resolve.Resolve(connector(test.edits...), told, defaults)
			g.Expect(resolved.Workspace).To(Equal(workspace))
			g.Expect(resolved.ClusterResourceID).To(Equal(test.want))
		})
	}
}
