// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
)

// Source returns what is known of all connectors now, and false where this operator does not know.
type Source func() (Fleet, bool)

// Fleet is what is known of all connectors at a moment.
type Fleet struct {
	Now        time.Time
	Connectors []v1alpha1.VirtualKubeletConnector
	// Failures are how many passes over a connector have failed in a row, by its name.
	Failures     map[string]int
	Certificates []Certificate
	Orphaned     []retire.Orphaned
	Azure        azure.Snapshot
}

// Certificate is the serving certificate of a virtual kubelet.
type Certificate struct {
	Connector, Node string
	Expiry          time.Time
}

// gauges sends values to whoever collects them.
type gauges chan<- prometheus.Metric

func (g gauges) set(desc *prometheus.Desc, value float64, labels ...string) {
	g <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func (f *Fleet) collect(out gauges) {
	out.set(connectors, float64(len(f.Connectors)))
	tagged := f.tagged()
	for i := range f.Connectors {
		connector := &f.Connectors[i]
		status := &connector.Status
		for _, c := range status.Conditions {
			out.set(connectorCondition, 1, connector.Name, c.Type, string(c.Status), c.Reason)
		}
		out.set(connectorReconcileFailures, float64(f.Failures[connector.Name]), connector.Name)
		if status.DesiredNodes != nil {
			out.set(connectorNodesDesired, float64(*status.DesiredNodes), connector.Name)
		}
		if status.ReadyNodes != nil {
			out.set(connectorNodesReady, float64(*status.ReadyNodes), connector.Name)
		}
		for j := range status.Nodes {
			collectNode(out, connector.Name, &status.Nodes[j])
			collectGroups(out, of{connector.Name, status.Nodes[j].Name}, tagged)
		}
		collectRetained(out, connector)
	}
	for _, certificate := range f.Certificates {
		out.set(nodeCertificateExpiry, float64(certificate.Expiry.Unix()), certificate.Connector, certificate.Node)
	}
	f.collectFacts(out)
	out.set(azureHolds, float64(f.Azure.Holds))
}

func collectNode(out gauges, connector string, node *v1alpha1.NodeStatus) {
	out.set(nodeInfo, 1, connector, node.Name,
		strings.ToLower(string(node.OSType)), node.Location, node.ResourceGroup, node.Image, node.KubeletVersion)
	for _, c := range node.Conditions {
		out.set(nodeCondition, 1, connector, node.Name, c.Type, string(c.Status), c.Reason)
	}
}

func collectRetained(out gauges, connector *v1alpha1.VirtualKubeletConnector) {
	retained := map[string]int{}
	for _, left := range connector.Status.RetainedContainerGroups {
		retained[left.NodeName] += len(left.Names)
	}
	for node, count := range retained {
		out.set(nodeRetainedContainerGroups, float64(count), connector.Name, node)
	}
}

// of names a node of a connector.
type of struct{ connector, node string }

// groupsOf are the container groups that Azure lists for a node, and the pods that they were made for.
type groupsOf struct {
	names, pods sets.Set[string]
	orphaned    int
}

// listed are the container groups that Azure lists for connectors.
type listed struct {
	// answered are the connectors that Azure has given a listing for.
	answered sets.Set[string]
	groups   map[of]*groupsOf
}

// tagged sorts the container groups by the nodes whose tags they carry. A resource group that is listed with two
// credentials counts once. Those that were found without their pods are orphaned as long as Azure lists them.
func (f *Fleet) tagged() listed {
	orphaned := map[of]sets.Set[string]{}
	for _, o := range f.Orphaned {
		orphaned[of{o.Connector, o.Node}] = sets.New(o.Groups...)
	}
	out := listed{answered: sets.New[string](), groups: map[of]*groupsOf{}}
	for _, listing := range f.Azure.Listings {
		place := strings.ToLower(listing.SubscriptionID + "/" + listing.ResourceGroup + "/")
		for _, connector := range listing.Connectors {
			out.answered.Insert(connector)
			for _, group := range listing.Groups {
				node := of{connector, group.NodeName}
				found, ok := out.groups[node]
				if !ok {
					found = &groupsOf{names: sets.New[string](), pods: sets.New[string]()}
					out.groups[node] = found
				}
				if found.names.Has(place + group.Name) {
					continue
				}
				found.names.Insert(place + group.Name)
				if group.PodUID != "" {
					found.pods.Insert(group.PodUID)
				}
				if orphaned[node].Has(group.Name) {
					found.orphaned++
				}
			}
		}
	}
	return out
}

func collectGroups(out gauges, node of, tagged listed) {
	if !tagged.answered.Has(node.connector) {
		return
	}
	groups := tagged.groups[node]
	if groups == nil {
		groups = &groupsOf{}
	}
	out.set(nodeContainerGroups, float64(len(groups.names)), node.connector, node.node)
	out.set(nodePods, float64(len(groups.pods)), node.connector, node.node)
	out.set(nodeOrphanedContainerGroups, float64(groups.orphaned), node.connector, node.node)
}

func (f *Fleet) collectFacts(out gauges) {
	type stateOf struct {
		kind  string
		state azure.FactState
	}
	count := map[stateOf]int{}
	oldest := map[string]time.Time{}
	for _, fact := range f.Azure.Facts {
		// A count that sinks to 0 is to be seen as such.
		for _, state := range []azure.FactState{azure.FactGood, azure.FactBad, azure.FactUnknown} {
			count[stateOf{fact.Kind, state}] += 0
		}
		count[stateOf{fact.Kind, fact.State}]++
		if at, ok := oldest[fact.Kind]; !fact.AnsweredAt.IsZero() && (!ok || fact.AnsweredAt.Before(at)) {
			oldest[fact.Kind] = fact.AnsweredAt
		}
	}
	for key, n := range count {
		out.set(azureFacts, float64(n), key.kind, string(key.state))
	}
	for kind, at := range oldest {
		out.set(azureFactAge, f.Now.Sub(at).Seconds(), kind)
	}
}
