// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const dashboardFile = "config/components/grafana/virtual-kubelet-connectors.json"

// dashboard is what the tests read of Grafana's model.
type dashboard struct {
	Title, UID string
	Panels     []struct {
		ID                       int
		Type, Title, Description string
		Datasource               struct{ UID string }
		GridPos                  struct{ X, Y, W, H int }
		Targets                  []struct{ Expr, RefID string }
	}
	Templating struct {
		List []struct {
			Name, Type string
			Query      any
		}
	}
}

func loadDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	NewWithT(t).Expect(json.Unmarshal([]byte(read(t, dashboardFile)), &d)).To(Succeed())
	return d
}

var (
	// grafana fills in what Grafana does before it asks Prometheus.
	grafana  = strings.NewReplacer("$__rate_interval", "5m", "$connector", "any")
	variable = regexp.MustCompile(`\$\{?(\w+)`)
	values   = regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)
)

func TestDashboardAsksForWhatThereIs(t *testing.T) {
	g := NewWithT(t)
	known := known(t)
	d := loadDashboard(t)
	variables := []string{"__rate_interval"}
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
		if query, ok := v.Query.(map[string]any); ok {
			match := values.FindStringSubmatch(query["query"].(string))
			g.Expect(match).NotTo(BeNil(), v.Name)
			g.Expect(known).To(HaveKeyWithValue(match[1], ContainElement(match[2])))
		}
	}
	for _, panel := range d.Panels {
		if panel.Type == "row" {
			continue
		}
		t.Run(panel.Title, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(panel.Description).NotTo(BeEmpty())
			g.Expect(panel.Datasource.UID).To(Equal("${datasource}"))
			g.Expect(panel.Targets).NotTo(BeEmpty())
			refs := map[string]bool{}
			for _, target := range panel.Targets {
				g.Expect(refs).NotTo(HaveKey(target.RefID))
				refs[target.RefID] = true
				for _, used := range variable.FindAllStringSubmatch(target.Expr, -1) {
					g.Expect(variables).To(ContainElement(used[1]))
				}
				checkQuery(t, known, grafana.Replace(target.Expr))
			}
		})
	}
}

// TestDashboardShowsEveryMetric tests that whoever looks at the dashboard sees all that there is.
func TestDashboardShowsEveryMetric(t *testing.T) {
	text := read(t, dashboardFile)
	for _, metric := range own(t) {
		NewWithT(t).Expect(regexp.MustCompile(metric.name+`(_bucket|[^\w])`).MatchString(text)).To(BeTrue(), metric.name)
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	g := NewWithT(t)
	type cell struct{ x, y int }
	taken := map[cell]string{}
	ids := map[int]bool{}
	for _, panel := range loadDashboard(t).Panels {
		g.Expect(ids).NotTo(HaveKey(panel.ID), panel.Title)
		ids[panel.ID] = true
		place := panel.GridPos
		g.Expect(place.X+place.W).To(BeNumerically("<=", 24), panel.Title)
		for x := place.X; x < place.X+place.W; x++ {
			for y := place.Y; y < place.Y+place.H; y++ {
				g.Expect(taken).NotTo(HaveKey(cell{x, y}), panel.Title)
				taken[cell{x, y}] = panel.Title
			}
		}
	}
}
