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

	"github.com/virtual-kubelet/connector-operator/controllers"
	"github.com/virtual-kubelet/connector-operator/test/pages"
)

const (
	root   = "../.."
	readme = "README.md"
	index  = "docs/README.md"
)

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(content)
}

// all are the texts.
func all(t *testing.T) []pages.Page {
	t.Helper()
	found, err := pages.All(root)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return found
}

func page(t *testing.T, path string) pages.Page {
	t.Helper()
	found, err := pages.Parse(path, read(t, path))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return found
}

var (
	heading  = regexp.MustCompile(`(?m)^(#+) (.+)$`)
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// headings are those of a page of a level, or of all levels where it is 0.
func headings(page pages.Page, level int) []string {
	var out []string
	for _, match := range heading.FindAllStringSubmatch(page.Prose, -1) {
		if level == 0 || len(match[1]) == level {
			out = append(out, match[2])
		}
	}
	return out
}

// anchors are what GitHub calls the headings of a page.
func anchors(page pages.Page) []string {
	var out []string
	seen := map[string]int{}
	for _, heading := range headings(page, 0) {
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
	for _, from := range all(t) {
		for _, match := range link.FindAllStringSubmatch(from.Prose, -1) {
			target, anchor, anchored := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := from.Path
			if target != "" {
				path = filepath.Join(filepath.Dir(from.Path), target)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: %s leads nowhere", from.Path, match[1])
				continue
			}
			if anchored && !slices.Contains(anchors(page(t, path)), anchor) {
				t.Errorf("%s: %s leads to no heading", from.Path, match[1])
			}
		}
	}
}

// TestEveryPageIsLinked tests that who reads on from the README finds every page.
func TestEveryPageIsLinked(t *testing.T) {
	linked := map[string]bool{readme: true}
	for _, from := range []string{readme, index} {
		for _, match := range link.FindAllStringSubmatch(page(t, from).Prose, -1) {
			target, _, _ := strings.Cut(match[1], "#")
			linked[filepath.Join(filepath.Dir(from), target)] = true
		}
	}
	for _, page := range all(t) {
		NewWithT(t).Expect(linked).To(HaveKey(page.Path), "linked from %s or %s", readme, index)
	}
}

// TestSampleInReadme tests that the connector which the README shows is the one that config/samples applies.
func TestSampleInReadme(t *testing.T) {
	g := NewWithT(t)
	blocks := page(t, readme).Blocks
	at := slices.IndexFunc(blocks, func(b pages.Block) bool { return b.Mark == "connector.yaml" })
	g.Expect(at).NotTo(BeNumerically("<", 0))
	var inReadme, sample any
	g.Expect(yaml.Unmarshal([]byte(blocks[at].Text), &inReadme)).To(Succeed())
	g.Expect(yaml.Unmarshal([]byte(read(t, "config/samples/connector.yaml")), &sample)).To(Succeed())
	g.Expect(inReadme).To(Equal(sample))
}

// shown is a file that a text shows: the link to it, and then its content.
var shown = regexp.MustCompile("(?m)^\\[([^\\]]+)\\]\\(\\.\\./([^)]+)\\):\n\n```\\w+\n((?s:.*?)\n)```$")

// licence is the beginning of every file.
var licence = regexp.MustCompile(`^(?:(?:#|--) SPDX-.*\n)+(?:--\n)?`)

// TestManifestsInTexts tests that the manifests of GitOps are shown as they are applied, and all of them.
func TestManifestsInTexts(t *testing.T) {
	g := NewWithT(t)
	text := page(t, "docs/gitops.md")
	blocks := slices.DeleteFunc(slices.Clone(text.Blocks), pages.Block.IsCommands)
	files := map[string]bool{}
	for _, match := range shown.FindAllStringSubmatch(text.Text, -1) {
		g.Expect(match[1]).To(Equal(match[2]), "a link is named as what it leads to")
		g.Expect(match[3]).To(Equal(licence.ReplaceAllString(read(t, match[2]), "")), match[2])
		files[match[2]] = true
	}
	g.Expect(files).To(HaveLen(len(blocks)), "every manifest in the text is that of a file")
	for _, pattern := range []string{"flux/*.yaml", "argocd/*.yaml", "argocd/*/*"} {
		paths, err := filepath.Glob(filepath.Join(root, "config/gitops", pattern))
		g.Expect(err).NotTo(HaveOccurred())
		for _, path := range paths {
			path, err := filepath.Rel(root, path)
			g.Expect(err).NotTo(HaveOccurred())
			if path != "config/gitops/flux/kustomization.yaml" {
				g.Expect(files).To(HaveKey(filepath.ToSlash(path)))
			}
		}
	}
}

// constants are the values of the constants of the API whose names have a prefix.
func constants(t *testing.T, prefix string) []string {
	t.Helper()
	g := NewWithT(t)
	files, err := filepath.Glob(filepath.Join(root, "api/v1alpha1/*.go"))
	g.Expect(err).NotTo(HaveOccurred())
	var values []string
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		g.Expect(err).NotTo(HaveOccurred())
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
	}
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
var general = []string{
	"How to read the status", eventSection, "When a pod does not run", "When a deletion is refused", alertSection, "What several conditions say",
}

func TestTroubleshootingIsComplete(t *testing.T) {
	g := NewWithT(t)
	text := page(t, "docs/troubleshooting.md")
	g.Expect(headings(text, 2)).To(ConsistOf(append(constants(t, "Condition"), general...)), "the conditions")
	g.Expect(headings(text, 3)).To(ConsistOf(append(constants(t, "Reason"), alerts(t)...)), "the reasons, and the alerts")
}

// eventSection lists the events by their reasons.
const eventSection = "What the events tell"

var eventRow = regexp.MustCompile("(?m)^\\| (`[^|]+`) \\| (\\w+) \\|")

func TestEventsAreListed(t *testing.T) {
	g := NewWithT(t)
	_, section, found := strings.Cut(read(t, "docs/troubleshooting.md"), "## "+eventSection+"\n")
	g.Expect(found).To(BeTrue())
	section, _, _ = strings.Cut(section, "\n## ")
	listed := map[string]string{}
	for _, row := range eventRow.FindAllStringSubmatch(section, -1) {
		for reason := range strings.SplitSeq(row[1], ", ") {
			g.Expect(listed).NotTo(HaveKey(strings.Trim(reason, "`")))
			listed[strings.Trim(reason, "`")] = row[2]
		}
	}
	g.Expect(listed).To(Equal(controllers.EventTypes()))
}

// untold are the reasons of conditions that make no event. A new one is to be decided on.
var untold = []string{
	"Ready", "Deleting", "Progressing", "UserActionNeeded", // sums
	"NotStarted", "AzureNotAccessible", "ContainerGroupsImpossible", "ChangeHeld", "Kept", "Retained", // said by another
	"DefaultsPending", "ClaimPending", "NotChecked", "Registering", "Starting", "NodeNotRegistered", "WaitingForRetirement", "Removing", // pass
	"RegistrationIgnored", // asked for
}

func TestEveryReasonIsToldOrNot(t *testing.T) {
	told := controllers.EventTypes()
	var left []string
	for _, reason := range constants(t, "Reason") {
		if _, ok := told[reason]; !ok {
			left = append(left, reason)
		}
	}
	NewWithT(t).Expect(left).To(ConsistOf(untold))
}

func TestReadmeListsEveryCondition(t *testing.T) {
	text := read(t, readme)
	for _, condition := range constants(t, "Condition") {
		NewWithT(t).Expect(text).To(ContainSubstring("`"+condition+"`"), "in the table of the status")
	}
}
