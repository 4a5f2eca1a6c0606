// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"
)

// alert is a rule of config/components/prometheus.
type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var rule struct {
		Spec struct {
			Groups []struct{ Rules []alert }
		}
	}
	g := NewWithT(t)
	g.Expect(yaml.Unmarshal([]byte(read(t, "config/components/prometheus/rules.yaml")), &rule)).To(Succeed())
	var found []alert
	for _, group := range rule.Spec.Groups {
		found = append(found, group.Rules...)
	}
	g.Expect(found).NotTo(BeEmpty())
	return found
}

var (
	labelUsed   = regexp.MustCompile(`\$labels\.(\w+)`)
	queryInside = regexp.MustCompile(`printf "([^"]+)"`)
	groupedBy   = regexp.MustCompile(`^(?:max|min|sum) by \(([\w, ]+)\)`)
)

func TestAlerts(t *testing.T) {
	known := known(t)
	for _, alert := range alerts(t) {
		t.Run(alert.Alert, func(t *testing.T) {
			g := NewWithT(t)
			checkQuery(t, known, alert.Expr)
			g.Expect(alert.For).NotTo(BeEmpty(), "a fault that passes is nobody's")
			g.Expect(alert.Labels).To(HaveKeyWithValue("severity", BeElementOf("critical", "warning", "info")))
			g.Expect(alert.Annotations).To(HaveKey("summary"))
			g.Expect(alert.Annotations).To(HaveKey("description"))

			var has []string
			if by := groupedBy.FindStringSubmatch(alert.Expr); by != nil {
				has = strings.Split(by[1], ", ")
			}
			text := alert.Annotations["summary"] + alert.Annotations["description"]
			for _, used := range labelUsed.FindAllStringSubmatch(text, -1) {
				g.Expect(has).To(ContainElement(used[1]), "a label of the alert")
			}
			for _, label := range has {
				g.Expect(text).To(ContainSubstring("$labels."+label), "what it is about is named")
			}
			for _, query := range queryInside.FindAllStringSubmatch(text, -1) {
				checkQuery(t, known, strings.ReplaceAll(query[1], "%s", "any"))
			}
		})
	}
}

// TestRunbooks tests that each alert leads to its own section; test/docs tests that there is no section for another.
func TestRunbooks(t *testing.T) {
	page := read(t, "docs/troubleshooting.md")
	metrics := read(t, "docs/metrics.md")
	for _, alert := range alerts(t) {
		g := NewWithT(t)
		address, anchor, _ := strings.Cut(alert.Annotations["runbook_url"], "#")
		g.Expect(address).To(Equal("https://github.com/virtual-kubelet/connector-operator/blob/main/docs/troubleshooting.md"))
		g.Expect(anchor).To(Equal(strings.ToLower(alert.Alert)))
		g.Expect(page).To(ContainSubstring("\n### " + alert.Alert + "\n"))
		g.Expect(metrics).To(ContainSubstring("| [" + alert.Alert + "](troubleshooting.md#" + anchor + ") | " + alert.Labels["severity"] + " |"))
	}
	NewWithT(t).Expect(regexp.MustCompile(`(?m)^\| \[VKC`).FindAllString(metrics, -1)).To(HaveLen(len(alerts(t))))
}

// TestAlertsAreTried tests that promtool tries each alert from both sides.
func TestAlertsAreTried(t *testing.T) {
	var file struct {
		Tests []struct {
			Name          string
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	g := NewWithT(t)
	g.Expect(yaml.Unmarshal([]byte(read(t, "test/monitoring/testdata/alerts_test.yaml")), &file)).To(Succeed())
	var fire, silent, names []string
	for _, test := range file.Tests {
		fires := false
		for _, expected := range test.AlertRuleTest {
			fires = fires || len(expected.ExpAlerts) > 0
		}
		for _, expected := range test.AlertRuleTest {
			if fires {
				fire = append(fire, expected.Alertname)
			} else {
				silent = append(silent, expected.Alertname)
			}
		}
	}
	for _, alert := range alerts(t) {
		names = append(names, alert.Alert)
	}
	slices.Sort(names)
	g.Expect(distinct(fire)).To(Equal(names), "those that fire in a test")
	g.Expect(distinct(silent)).To(Equal(names), "those that stay silent in one")
}

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
