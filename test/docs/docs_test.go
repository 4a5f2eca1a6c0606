// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package docs tests that what is written for people is about what there is.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(content)
}

// pages are the texts, by their path in the repository.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	pages := []string{"README.md"}
	for _, path := range found {
		pages = append(pages, filepath.Join("docs", filepath.Base(path)))
	}
	return pages
}

var (
	codeBlock = regexp.MustCompile("(?s)(?:^|\n)```.*?\n```")
	heading   = regexp.MustCompile(`(?m)^(#+) (.+)$`)
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	noAnchor  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// headings are those of a page of a level, or of all levels where it is 0.
func headings(text string, level int) []string {
	var out []string
	for _, match := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		if level == 0 || len(match[1]) == level {
			out = append(out, match[2])
		}
	}
	return out
}

// anchors are what GitHub calls the headings of a page.
func anchors(text string) []string {
	var out []string
	seen := map[string]int{}
	for _, heading := range headings(text, 0) {
		anchor := strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
		seen[anchor]++
		if n := seen[anchor]; n > 1 {
			anchor += "-" + strconv.Itoa(n-1)
		}
		out = append(out, anchor)
	}
	return out
}

func TestLinks(t *testing.T) {
	for _, page := range pages(t) {
		text := codeBlock.ReplaceAllString(read(t, page), "")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, anchored := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: %s leads nowhere", page, match[1])
				continue
			}
			if anchored && !slices.Contains(anchors(read(t, path)), anchor) {
				t.Errorf("%s: %s leads to no heading", page, match[1])
			}
		}
	}
}

func TestEveryPageIsLinked(t *testing.T) {
	readme := read(t, "README.md")
	for _, page := range pages(t)[1:] {
		NewWithT(t).Expect(readme).To(ContainSubstring("](" + page + ")"))
	}
}

// TestSampleInReadme tests that the connector which the README shows is the one that config/samples applies.
func TestSampleInReadme(t *testing.T) {
	g := NewWithT(t)
	_, shown, found := strings.Cut(read(t, "README.md"), "```yaml\napiVersion: connector.virtual-kubelet.io/")
	g.Expect(found).To(BeTrue())
	shown, _, _ = strings.Cut("apiVersion: connector.virtual-kubelet.io/"+shown, "```")
	var inReadme, sample any
	g.Expect(yaml.Unmarshal([]byte(shown), &inReadme)).To(Succeed())
	g.Expect(yaml.Unmarshal([]byte(read(t, "config/samples/connector.yaml")), &sample)).To(Succeed())
	g.Expect(inReadme).To(Equal(sample))
}

// constants are the values of the constants of conditions.go whose names have a prefix.
func constants(t *testing.T, prefix string) []string {
	t.Helper()
	g := NewWithT(t)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api/v1alpha1/conditions.go"), nil, 0)
	g.Expect(err).NotTo(HaveOccurred())
	var values []string
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		g.Expect(err).NotTo(HaveOccurred())
		values = append(values, value)
		return false
	})
	g.Expect(values).NotTo(BeEmpty())
	return values
}

// alertSection has a runbook for each alert.
const alertSection = "When an alert fires"

// alerts are the names of the alerts.
func alerts(t *testing.T) []string {
	t.Helper()
	g := NewWithT(t)
	var rule struct {
		Spec struct {
			Groups []struct{ Rules []struct{ Alert string } }
		}
	}
	g.Expect(yaml.Unmarshal([]byte(read(t, "config/components/prometheus/rules.yaml")), &rule)).To(Succeed())
	var names []string
	for _, group := range rule.Spec.Groups {
		for _, rule := range group.Rules {
			names = append(names, rule.Alert)
		}
	}
	g.Expect(names).NotTo(BeEmpty())
	return names
}

// general are the sections of the troubleshooting that are about no condition.
var general = []string{"How to read the status", "When a deletion is refused", alertSection, "What several conditions say"}

func TestTroubleshootingIsComplete(t *testing.T) {
	g := NewWithT(t)
	text := read(t, "docs/troubleshooting.md")
	g.Expect(headings(text, 2)).To(ConsistOf(append(constants(t, "Condition"), general...)), "the conditions")
	g.Expect(headings(text, 3)).To(ConsistOf(append(constants(t, "Reason"), alerts(t)...)), "the reasons, and the alerts")
}

func TestReadmeListsEveryCondition(t *testing.T) {
	readme := read(t, "README.md")
	for _, condition := range constants(t, "Condition") {
		NewWithT(t).Expect(readme).To(ContainSubstring("`"+condition+"`"), "in the table of the status")
	}
}
