// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package monitoring tests that metrics, alerts and the dashboard fit each other and what is written of them.
package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/promql/parser"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	// What controller-runtime tells is registered by those who tell it.
	_ "sigs.k8s.io/controller-runtime/pkg/controller"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/metrics"
	"github.com/virtual-kubelet/connector-operator/internal/version"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(content)
}

// full returns metrics that have a series of each kind.
func full() *metrics.Metrics {
	m := metrics.New(version.Get())
	m.Asked(azure.Request{Operation: "GetToken", Result: azure.ResultSuccess, Duration: time.Second})
	m.Removed(time.Minute)
	conditions := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady}}
	fleet := metrics.Fleet{
		Now: time.Now(),
		Connectors: []v1alpha1.VirtualKubeletConnector{{
			ObjectMeta: metav1.ObjectMeta{Name: "aci"},
			Status: v1alpha1.VirtualKubeletConnectorStatus{
				Conditions: conditions, DesiredNodes: new(int32(1)), ReadyNodes: new(int32(1)),
				Nodes:                   []v1alpha1.NodeStatus{{Name: "node", Conditions: conditions}},
				RetainedContainerGroups: []v1alpha1.RetainedContainerGroups{{NodeName: "node"}},
			},
		}},
		Certificates: []metrics.Certificate{{Connector: "aci", Node: "node", Expiry: time.Now()}},
		Azure: azure.Snapshot{
			Facts:    []azure.Fact{{Kind: "token", State: azure.FactGood, AnsweredAt: time.Now()}},
			Listings: []azure.Placed{{Connectors: []string{"aci"}}},
		},
	}
	m.Watch(func() (metrics.Fleet, bool) { return fleet, true })
	return m
}

// metric is one that there is.
type metric struct {
	name, kind, help string
	labels           []string
}

// own are the operator's own metrics, as a registry gives them.
func own(t *testing.T) []metric {
	t.Helper()
	g := NewWithT(t)
	registry := prometheus.NewPedanticRegistry()
	g.Expect(registry.Register(full())).To(Succeed())
	families, err := registry.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	var found []metric
	for _, family := range families {
		one := metric{name: family.GetName(), kind: strings.ToLower(family.GetType().String()), help: family.GetHelp()}
		for _, label := range family.GetMetric()[0].GetLabel() {
			one.labels = append(one.labels, label.GetName())
		}
		found = append(found, one)
	}
	return found
}

var description = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

// described are the names and labels of all that a collector may tell.
func described(t *testing.T, collector interface {
	Describe(chan<- *prometheus.Desc)
}) []metric {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		collector.Describe(descs)
	}()
	var found []metric
	for desc := range descs {
		match := description.FindStringSubmatch(desc.String())
		NewWithT(t).Expect(match).NotTo(BeNil(), desc.String())
		one := metric{name: match[1]}
		if match[2] != "" {
			one.labels = strings.Split(match[2], ",")
		}
		found = append(found, one)
	}
	return found
}

// known are the labels of all metrics that there are, by their names.
func known(t *testing.T) map[string][]string {
	t.Helper()
	registry, ok := ctrlmetrics.Registry.(*prometheus.Registry)
	NewWithT(t).Expect(ok).To(BeTrue())
	labels := map[string][]string{}
	for _, metric := range append(own(t), described(t, registry)...) {
		labels[metric.name] = metric.labels
	}
	return labels
}

func TestEveryMetricIsTold(t *testing.T) {
	var told, declared []string
	for _, metric := range own(t) {
		told = append(told, metric.name)
	}
	for _, metric := range described(t, full()) {
		declared = append(declared, metric.name)
	}
	NewWithT(t).Expect(told).To(ConsistOf(declared))
}

func TestMetricsFollowTheConventions(t *testing.T) {
	problems, err := testutil.CollectAndLint(full())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(problems).To(BeEmpty())
}

func TestNoSeriesForEachPod(t *testing.T) {
	for _, metric := range own(t) {
		NewWithT(t).Expect(metric.name).To(HavePrefix("vkc_"))
		for _, label := range []string{"pod", "uid", "container_group", "message"} {
			NewWithT(t).Expect(metric.labels).NotTo(ContainElement(label), metric.name)
		}
	}
}

var (
	documented = regexp.MustCompile("(?m)^\\| `(vkc_\\w+)` \\| (\\w+) \\| ([^|]*)\\| (.*) \\|$")
	code       = regexp.MustCompile("`([^`]+)`")
)

func TestEveryMetricIsDocumented(t *testing.T) {
	var found []metric
	for _, row := range documented.FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		one := metric{name: row[1], kind: row[2], help: row[4]}
		for _, label := range code.FindAllStringSubmatch(row[3], -1) {
			one.labels = append(one.labels, label[1])
		}
		slices.Sort(one.labels)
		found = append(found, one)
	}
	NewWithT(t).Expect(found).To(ConsistOf(own(t)))
}

var series = regexp.MustCompile(`_(bucket|sum|count)$`)

// checkQuery tests that a query asks for metrics and labels that there are.
func checkQuery(t *testing.T, known map[string][]string, query string) {
	t.Helper()
	g := NewWithT(t)
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	g.Expect(err).NotTo(HaveOccurred(), query)
	var selected, grouped []string
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			labels, ok := known[node.Name]
			if !ok {
				labels, ok = known[series.ReplaceAllString(node.Name, "")]
				labels = append(slices.Clone(labels), "le")
			}
			g.Expect(ok).To(BeTrue(), "%s is no metric: %s", node.Name, query)
			for _, matcher := range node.LabelMatchers {
				if matcher.Name != "__name__" {
					g.Expect(labels).To(ContainElement(matcher.Name), "%s has no such label: %s", node.Name, query)
				}
			}
			selected = append(selected, labels...)
		case *parser.AggregateExpr:
			g.Expect(node.Without).To(BeFalse(), "labels of the scrape would come along: %s", query)
			grouped = append(grouped, node.Grouping...)
		case *parser.BinaryExpr:
			if node.VectorMatching != nil {
				grouped = append(grouped, node.VectorMatching.MatchingLabels...)
			}
		}
		return nil
	})
	for _, label := range grouped {
		g.Expect(selected).To(ContainElement(label), "nothing has such a label: %s", query)
	}
}
