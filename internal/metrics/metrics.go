// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics tells Prometheus how the operator and its connectors are; it decides nothing, asks nobody, and never has
// a series for each pod.
package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/version"
)

// What is told of all connectors is read when Prometheus asks, so that what has gone leaves no series behind.
var (
	connectors = describe("connectors",
		"Connectors that there are.")
	connectorCondition = describe("connector_condition",
		"1 for each condition of a connector, with the status and the reason that it has now.",
		"connector", "type", "status", "reason")
	connectorNodesDesired = describe("connector_nodes_desired",
		"Virtual nodes that a connector asks for.",
		"connector")
	connectorNodesReady = describe("connector_nodes_ready",
		"Virtual nodes that a connector asks for and that are ready.",
		"connector")
	connectorReconcileFailures = describe("connector_reconcile_failures",
		"Passes over a connector that have failed in a row; 0 where the last one did not.",
		"connector")

	nodeInfo = describe("node_info",
		"1 for each virtual node that is asked for, kept or being removed, with what it is.",
		"connector", "node", "os", "location", "resource_group", "image", "kubelet_version")
	nodeCondition = describe("node_condition",
		"1 for each condition of a virtual node, with the status and the reason that it has now.",
		"connector", "node", "type", "status", "reason")
	nodeContainerGroups = describe("node_container_groups",
		"Container groups that carry a virtual node's tag, by Azure's last answer.",
		"connector", "node")
	nodePods = describe("node_pods",
		"Pods that the container groups of a virtual node were made for, by their tags in Azure's last answer.",
		"connector", "node")
	nodeOrphanedContainerGroups = describe("node_orphaned_container_groups",
		"Container groups of a virtual node whose pods are gone, and that are billed until they are deleted.",
		"connector", "node")
	nodeRetainedContainerGroups = describe("node_retained_container_groups",
		"Container groups that were left in Azure, as the connector asks for, as far as their names are known.",
		"connector", "node")
	nodeCertificateExpiry = describe("node_certificate_expiry_timestamp_seconds",
		"When the serving certificate of a virtual kubelet ends, in seconds since the epoch.",
		"connector", "node")

	azureFacts = describe("azure_facts",
		"What Azure is asked again and again: whether it has answered, and well.",
		"kind", "state")
	azureFactAge = describe("azure_fact_age_seconds",
		"Age of the oldest answer that the operator goes by.",
		"kind")
	azureHolds = describe("azure_holds",
		"Subscriptions that are not asked now with a credential, as Azure asked to wait.")
)

// fleetMetrics are those of which a Fleet tells.
var fleetMetrics = []*prometheus.Desc{
	connectors, connectorCondition, connectorNodesDesired, connectorNodesReady, connectorReconcileFailures,
	nodeInfo, nodeCondition, nodeContainerGroups, nodePods, nodeOrphanedContainerGroups, nodeRetainedContainerGroups, nodeCertificateExpiry,
	azureFacts, azureFactAge, azureHolds,
}

const prefix = "vkc"

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(prefix, "", name), help, labels, nil)
}

// Metrics are those of one operator.
type Metrics struct {
	build           prometheus.Gauge
	azureRequests   *prometheus.CounterVec
	azureDuration   *prometheus.HistogramVec
	removalDuration prometheus.Histogram

	source atomic.Pointer[Source]
}

// New returns the metrics of a build, which know of nothing yet.
func New(build version.Info) *Metrics {
	m := &Metrics{
		build: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: prefix, Name: "build_info",
			Help: "1, with which build of the operator runs.",
			ConstLabels: prometheus.Labels{
				"version": build.Version, "commit": build.Commit, "date": build.Date, "goversion": build.Go,
			},
		}),
		azureRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: prefix, Name: "azure_requests_total",
			Help: "Requests to Azure, second attempts included, by what came of them.",
		}, []string{"operation", "result"}),
		azureDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: prefix, Name: "azure_request_duration_seconds",
			Help:    "How long Azure took to answer a request.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 90},
		}, []string{"operation"}),
		removalDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: prefix, Name: "node_removal_duration_seconds",
			Help:    "How long virtual nodes took to be drained and removed.",
			Buckets: []float64{10, 30, 60, 120, 300, 600, 1800, 3600, 3 * 3600, 12 * 3600, 24 * 3600},
		}),
	}
	m.build.Set(1)
	return m
}

// Watch has what is known of all connectors read from a source.
func (m *Metrics) Watch(source Source) { m.source.Store(&source) }

// Asked counts a request to Azure.
func (m *Metrics) Asked(r azure.Request) {
	m.azureRequests.WithLabelValues(r.Operation, string(r.Result)).Inc()
	m.azureDuration.WithLabelValues(r.Operation).Observe(r.Duration.Seconds())
}

// Removed notes how long removals of nodes took.
func (m *Metrics) Removed(took ...time.Duration) {
	for _, duration := range took {
		m.removalDuration.Observe(duration.Seconds())
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, counted := range m.counted() {
		counted.Describe(descs)
	}
	for _, desc := range fleetMetrics {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	for _, counted := range m.counted() {
		counted.Collect(out)
	}
	source := m.source.Load()
	if source == nil {
		return
	}
	if fleet, ok := (*source)(); ok {
		fleet.collect(out)
	}
}

// counted are those that are told of as things happen.
func (m *Metrics) counted() []prometheus.Collector {
	return []prometheus.Collector{m.build, m.azureRequests, m.azureDuration, m.removalDuration}
}
