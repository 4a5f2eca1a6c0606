// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
	"github.com/virtual-kubelet/connector-operator/internal/version"
)

var now = time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)

func connector(name string, status v1alpha1.VirtualKubeletConnectorStatus) v1alpha1.VirtualKubeletConnector {
	return v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: status}
}

func is(conditionType string, status metav1.ConditionStatus, reason string) []metav1.Condition {
	return []metav1.Condition{{Type: conditionType, Status: status, Reason: reason, Message: "never told"}}
}

func node(name string) v1alpha1.NodeStatus { return v1alpha1.NodeStatus{Name: name} }

func group(node, name, uid string) azure.ContainerGroup {
	return azure.ContainerGroup{NodeName: node, Name: name, PodUID: uid}
}

// watching returns metrics that tell of a fleet.
func watching(t *testing.T, fleet Fleet) *Metrics {
	t.Helper()
	m := New(version.Info{Version: "v1.2.3", Commit: "0123abc", Date: "2026-11-28T05:00:00Z", Go: "go1.26"})
	m.Watch(func() (Fleet, bool) { return fleet, true })
	return m
}

func TestFleet(t *testing.T) {
	for name, test := range map[string]struct {
		fleet Fleet
		// of are the metrics that are looked at, and want their series.
		of   []string
		want string
	}{
		"no connector": {
			of:   []string{"vkc_connectors", "vkc_connector_condition", "vkc_node_info", "vkc_azure_facts", "vkc_azure_holds"},
			want: "vkc_azure_holds 0\nvkc_connectors 0",
		},
		"conditions": {
			fleet: Fleet{Connectors: []v1alpha1.VirtualKubeletConnector{
				connector("a", v1alpha1.VirtualKubeletConnectorStatus{Conditions: is(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)}),
				connector("b", v1alpha1.VirtualKubeletConnectorStatus{Conditions: is(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonForbidden)}),
				connector("new", v1alpha1.VirtualKubeletConnectorStatus{}),
			}},
			of: []string{"vkc_connectors", "vkc_connector_condition"},
			want: `vkc_connectors 3
vkc_connector_condition{connector="a",reason="Ready",status="True",type="Ready"} 1
vkc_connector_condition{connector="b",reason="Forbidden",status="False",type="Ready"} 1`,
		},
		"failures": {
			fleet: Fleet{
				Connectors: []v1alpha1.VirtualKubeletConnector{connector("a", v1alpha1.VirtualKubeletConnectorStatus{}), connector("b", v1alpha1.VirtualKubeletConnectorStatus{})},
				Failures:   map[string]int{"b": 3, "gone": 7},
			},
			of: []string{"vkc_connector_reconcile_failures"},
			want: `vkc_connector_reconcile_failures{connector="a"} 0
vkc_connector_reconcile_failures{connector="b"} 3`,
		},
		"nodes": {
			fleet: Fleet{Connectors: []v1alpha1.VirtualKubeletConnector{
				connector("a", v1alpha1.VirtualKubeletConnectorStatus{
					DesiredNodes: new(int32(2)), ReadyNodes: new(int32(1)),
					Nodes: []v1alpha1.NodeStatus{
						{
							Name: "a-linux", OSType: v1alpha1.OSTypeLinux, Location: "eastus", ResourceGroup: "rg", Image: "vk:1", KubeletVersion: "v1",
							Conditions: is(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNodeReady),
						},
						{Name: "a-gone", Conditions: is(v1alpha1.ConditionRetiring, metav1.ConditionTrue, v1alpha1.ReasonDraining)},
					},
				}),
				connector("new", v1alpha1.VirtualKubeletConnectorStatus{}),
			}},
			of: []string{"vkc_connector_nodes_desired", "vkc_connector_nodes_ready", "vkc_node_info", "vkc_node_condition", "vkc_node_container_groups"},
			want: `vkc_connector_nodes_desired{connector="a"} 2
vkc_connector_nodes_ready{connector="a"} 1
vkc_node_info{connector="a",image="",kubelet_version="",location="",node="a-gone",os="",resource_group=""} 1
vkc_node_info{connector="a",image="vk:1",kubelet_version="v1",location="eastus",node="a-linux",os="linux",resource_group="rg"} 1
vkc_node_condition{connector="a",node="a-gone",reason="Draining",status="True",type="Retiring"} 1
vkc_node_condition{connector="a",node="a-linux",reason="NodeReady",status="True",type="Ready"} 1`,
		},
		"container groups": {
			fleet: Fleet{
				Connectors: []v1alpha1.VirtualKubeletConnector{
					connector("a", v1alpha1.VirtualKubeletConnectorStatus{Nodes: []v1alpha1.NodeStatus{node("a-linux"), node("a-windows")}}),
					connector("b", v1alpha1.VirtualKubeletConnectorStatus{Nodes: []v1alpha1.NodeStatus{node("b-linux")}}),
					connector("unanswered", v1alpha1.VirtualKubeletConnectorStatus{Nodes: []v1alpha1.NodeStatus{node("c-linux")}}),
				},
				Azure: azure.Snapshot{Listings: []azure.Placed{
					{SubscriptionID: "s", ResourceGroup: "rg", Connectors: []string{"a", "b"}, Groups: []azure.ContainerGroup{
						group("a-linux", "one", "1"), group("a-linux", "two", "2"), group("a-linux", "untagged", ""), group("b-linux", "one", "3"),
						group("somebody-else", "four", "4"), {Name: "made by hand"},
					}},
					// The same with another credential, and another place.
					{SubscriptionID: "S", ResourceGroup: "RG", Connectors: []string{"a"}, Groups: []azure.ContainerGroup{group("a-linux", "one", "1")}},
					{SubscriptionID: "s", ResourceGroup: "other", Connectors: []string{"a"}, Groups: []azure.ContainerGroup{group("a-linux", "one", "5")}},
				}},
				Orphaned: []retire.Orphaned{
					{Connector: "a", Node: "a-linux", Groups: []string{"two", "untagged", "deleted since"}},
					{Connector: "b", Node: "gone", Groups: []string{"one"}},
				},
			},
			of: []string{"vkc_node_container_groups", "vkc_node_pods", "vkc_node_orphaned_container_groups"},
			want: `vkc_node_container_groups{connector="a",node="a-linux"} 4
vkc_node_container_groups{connector="a",node="a-windows"} 0
vkc_node_container_groups{connector="b",node="b-linux"} 1
vkc_node_pods{connector="a",node="a-linux"} 3
vkc_node_pods{connector="a",node="a-windows"} 0
vkc_node_pods{connector="b",node="b-linux"} 1
vkc_node_orphaned_container_groups{connector="a",node="a-linux"} 2
vkc_node_orphaned_container_groups{connector="a",node="a-windows"} 0
vkc_node_orphaned_container_groups{connector="b",node="b-linux"} 0`,
		},
		"retained container groups": {
			fleet: Fleet{Connectors: []v1alpha1.VirtualKubeletConnector{connector("a", v1alpha1.VirtualKubeletConnectorStatus{
				RetainedContainerGroups: []v1alpha1.RetainedContainerGroups{
					{NodeName: "a-linux", SubscriptionID: "s", ResourceGroup: "rg", Names: []string{"one", "two"}},
					{NodeName: "a-linux", SubscriptionID: "s", ResourceGroup: "other", Names: []string{"one"}},
					{NodeName: "a-windows", SubscriptionID: "s", ResourceGroup: "rg", Message: "Azure did not answer"},
				},
			})}},
			of: []string{"vkc_node_retained_container_groups"},
			want: `vkc_node_retained_container_groups{connector="a",node="a-linux"} 3
vkc_node_retained_container_groups{connector="a",node="a-windows"} 0`,
		},
		"certificates": {
			fleet: Fleet{Certificates: []Certificate{{Connector: "a", Node: "a-linux", Expiry: now}}},
			of:    []string{"vkc_node_certificate_expiry_timestamp_seconds"},
			want:  `vkc_node_certificate_expiry_timestamp_seconds{connector="a",node="a-linux"} 1.7958456e+09`,
		},
		"facts": {
			fleet: Fleet{Now: now, Azure: azure.Snapshot{Holds: 2, Facts: []azure.Fact{
				{Kind: "token", State: azure.FactGood, AnsweredAt: now.Add(-time.Minute)},
				{Kind: "token", State: azure.FactUnknown, AnsweredAt: now.Add(-time.Hour)},
				{Kind: "token", State: azure.FactUnknown},
				{Kind: "subnet", State: azure.FactBad, AnsweredAt: now.Add(-time.Second)},
				{Kind: "region", State: azure.FactUnknown},
			}}},
			of: []string{"vkc_azure_facts", "vkc_azure_fact_age_seconds", "vkc_azure_holds"},
			want: `vkc_azure_facts{kind="region",state="bad"} 0
vkc_azure_facts{kind="region",state="good"} 0
vkc_azure_facts{kind="region",state="unknown"} 1
vkc_azure_facts{kind="subnet",state="bad"} 1
vkc_azure_facts{kind="subnet",state="good"} 0
vkc_azure_facts{kind="subnet",state="unknown"} 0
vkc_azure_facts{kind="token",state="bad"} 0
vkc_azure_facts{kind="token",state="good"} 1
vkc_azure_facts{kind="token",state="unknown"} 2
vkc_azure_fact_age_seconds{kind="subnet"} 1
vkc_azure_fact_age_seconds{kind="token"} 3600
vkc_azure_holds 2`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			series(t, watching(t, test.fleet), test.want, test.of...)
		})
	}
}

// series tests that the metrics of some names have these series and no others, in any order.
func series(t *testing.T, m *Metrics, want string, of ...string) {
	t.Helper()
	g := NewWithT(t)
	text, err := testutil.CollectAndFormat(m, expfmt.TypeTextPlain, of...)
	g.Expect(err).NotTo(HaveOccurred())
	var got []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			got = append(got, line)
		}
	}
	g.Expect(got).To(ConsistOf(strings.Split(want, "\n")))
}

func TestOperatorThatDoesNotLeadTellsOfNoConnector(t *testing.T) {
	m := New(version.Info{Version: "v1.2.3"})
	m.Watch(func() (Fleet, bool) { return Fleet{}, false })
	series(t, m, `vkc_build_info{commit="",date="",goversion="",version="v1.2.3"} 1`, "vkc_build_info", "vkc_connectors", "vkc_azure_holds")
}

func TestRequests(t *testing.T) {
	m := New(version.Info{})
	for _, result := range []azure.Result{azure.ResultSuccess, azure.ResultSuccess, azure.ResultThrottled} {
		m.Asked(azure.Request{Operation: "GetToken", Result: result, Duration: 2 * time.Second})
	}
	series(t, m, `vkc_azure_requests_total{operation="GetToken",result="success"} 2
vkc_azure_requests_total{operation="GetToken",result="throttled"} 1`, "vkc_azure_requests_total")
	NewWithT(t).Expect(testutil.CollectAndFormat(m, expfmt.TypeTextPlain, "vkc_azure_request_duration_seconds")).To(And(
		ContainSubstring(`vkc_azure_request_duration_seconds_count{operation="GetToken"} 3`),
		ContainSubstring(`vkc_azure_request_duration_seconds_sum{operation="GetToken"} 6`)))
}

func TestRemoved(t *testing.T) {
	m := New(version.Info{})
	m.Removed()
	m.Removed(time.Minute, time.Hour)
	NewWithT(t).Expect(testutil.CollectAndFormat(m, expfmt.TypeTextPlain, "vkc_node_removal_duration_seconds")).To(And(
		ContainSubstring("vkc_node_removal_duration_seconds_count 2"), ContainSubstring("vkc_node_removal_duration_seconds_sum 3660")))
}
