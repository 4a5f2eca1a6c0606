// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/virtual-kubelet/connector-operator/test/pages"
)

var (
	codeSpan   = regexp.MustCompile("`([^`]+)`")
	nameOfFlag = regexp.MustCompile(`^--([a-z][a-z0-9-]*)`)
	argument   = regexp.MustCompile(`(?m)^\s*- --([a-z][a-z0-9-]*)`)
)

// foreign are flags of other programs that are spoken of, and whose they are.
var foreign = map[string]string{
	"client-ca-file":                "kube-apiserver",
	"kubelet-certificate-authority": "kube-apiserver",
	"force":                         "kubectl",
	"authentication-token-webhook":  "azure-aci",
	"name":                          "bin/sandbox, az",
	"resource-group":                "az",
	"append":                        "az",
	"connector-name":                "az aks install-connector",
	"os-type":                       "az aks install-connector",
	"aci-resource-group":            "az aks install-connector",
	"location":                      "az aks install-connector",
	"service-principal":             "az aks install-connector",
	"client-secret":                 "az aks install-connector",
	"chart-url":                     "az aks install-connector",
	"image-tag":                     "az aks install-connector",
	"graceful":                      "az aks remove-connector",
	"subnet-name":                   "az aks enable-addons",
}

// operatorFlags are what the operator can be started with, as its main function declares it.
func operatorFlags(t *testing.T) map[string]bool {
	t.Helper()
	g := NewWithT(t)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "cmd/manager/main.go"), nil, 0)
	g.Expect(err).NotTo(HaveOccurred())
	flags := map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) < 3 {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !strings.HasSuffix(selector.Sel.Name, "Var") {
			return true
		}
		if of, ok := selector.X.(*ast.Ident); !ok || of.Name != "flag" {
			return true
		}
		name, err := strconv.Unquote(call.Args[1].(*ast.BasicLit).Value)
		g.Expect(err).NotTo(HaveOccurred())
		flags[name] = true
		return true
	})
	g.Expect(flags).NotTo(BeEmpty())
	return flags
}

// spans are the pieces of code within the sentences of a page.
func spans(page pages.Page) []string {
	var out []string
	for _, match := range codeSpan.FindAllStringSubmatch(page.Prose, -1) {
		out = append(out, match[1])
	}
	return out
}

func TestFlags(t *testing.T) {
	own, told, spoken := operatorFlags(t), map[string]bool{}, map[string]bool{}
	var options zap.Options
	logging := flag.NewFlagSet("", flag.ContinueOnError)
	options.BindFlags(logging)
	for _, page := range all(t) {
		for _, span := range spans(page) {
			match := nameOfFlag.FindStringSubmatch(span)
			if match == nil {
				continue
			}
			name := match[1]
			told[name] = true
			switch {
			case own[name] || logging.Lookup(name) != nil:
			case foreign[name] != "":
				spoken[name] = true
			default:
				t.Errorf("%s: there is no flag --%s", page.Path, name)
			}
		}
		// What is given as an argument in a manifest is the operator's.
		for _, block := range page.Blocks {
			for _, match := range argument.FindAllStringSubmatch(block.Text, -1) {
				if !own[match[1]] && logging.Lookup(match[1]) == nil {
					t.Errorf("%s: the operator has no flag --%s", block, match[1])
				}
			}
		}
	}
	for name := range own {
		NewWithT(t).Expect(told).To(HaveKey(name), "a flag of the operator that no page tells of")
	}
	for name, whose := range foreign {
		NewWithT(t).Expect(spoken).To(HaveKey(name), "no page speaks of that flag of %s", whose)
	}
}

// typed are the lines of a page that are typed, in blocks and within sentences.
func typed(page pages.Page) []string {
	lines := spans(page)
	for _, block := range page.Blocks {
		if !block.IsCommands() {
			continue
		}
		for _, command := range block.Commands() {
			lines = append(lines, strings.Split(command.Text, "\n")...)
		}
	}
	return lines
}

var (
	targetRule = regexp.MustCompile(`(?m)^([a-z][a-z0-9/. -]*):([^=]|$)`)
	makeCall   = regexp.MustCompile(`(?:^|; )(?:[A-Z]+=\S+ )*make((?: [a-z][a-z0-9.-]*)+)`)
)

func TestMakeTargets(t *testing.T) {
	targets := map[string]bool{}
	for _, match := range targetRule.FindAllStringSubmatch(read(t, "Makefile"), -1) {
		for target := range strings.FieldsSeq(match[1]) {
			targets[target] = true
		}
	}
	told := 0
	for _, page := range all(t) {
		for _, line := range typed(page) {
			for _, match := range makeCall.FindAllStringSubmatch(line, -1) {
				for target := range strings.FieldsSeq(match[1]) {
					told++
					if !targets[target] {
						t.Errorf("%s: there is no target %s", page.Path, target)
					}
				}
			}
		}
	}
	NewWithT(t).Expect(told).To(BeNumerically(">", 0))
}

// word is a name of a command, or of what it is given: what is not a name is in capitals.
var word = regexp.MustCompile(`\b[a-z]+\b`)

var sandboxCall = regexp.MustCompile(`\bbin/sandbox((?: [a-z]+)+)`)

func TestSandboxCommands(t *testing.T) {
	g := NewWithT(t)
	uses := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, "cmd/sandbox/*.go"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		g.Expect(err).NotTo(HaveOccurred())
		ast.Inspect(file, func(node ast.Node) bool {
			pair, ok := node.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "Use" {
				use, err := strconv.Unquote(pair.Value.(*ast.BasicLit).Value)
				g.Expect(err).NotTo(HaveOccurred())
				for _, name := range word.FindAllString(use, -1) {
					uses[name] = true
				}
			}
			return true
		})
	}
	told := 0
	for _, page := range all(t) {
		for _, line := range typed(page) {
			for _, match := range sandboxCall.FindAllStringSubmatch(line, -1) {
				for name := range strings.FieldsSeq(match[1]) {
					told++
					if !uses[name] {
						t.Errorf("%s: bin/sandbox has no command %s", page.Path, name)
					}
				}
			}
		}
	}
	g.Expect(told).To(BeNumerically(">", 0))
}
