// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package pages reads what is written for people: the README and docs, with their blocks of code and what those are
// marked with. It runs nothing, and is imported by tests only.
package pages

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Marks of blocks of commands that a test runs as they stand, in the order of their page.
const (
	// Sandbox marks what is typed where the operator is installed.
	Sandbox = "sandbox"
	// Installation marks what installs the operator or uninstalls it.
	Installation = "installation"
)

// Needs are the marks of commands that no test runs, and what those would need.
var Needs = map[string]string{
	"needs-azure":    "the Azure CLI and a subscription",
	"needs-checkout": "a developer's checkout: they build, test, or bring up a sandbox, as the tests themselves do",
	"needs-proxy":    "a proxy that stands between the cluster and Azure",
	"needs-release":  "what the azure-aci chart, or az aks install-connector, has installed",
	"needs-damage":   "something that is lost or broken",
	"needs-port":     "a port of the machine, which tests that run beside each other would both take",
	"needs-registry": "a registry to push images to",
	"needs-argocd":   "Argo CD",
}

// Page is a text.
type Page struct {
	// Path is its file in the repository.
	Path string
	Text string
	// Prose is the text without its blocks.
	Prose  string
	Blocks []Block
}

// Block is a block of code.
type Block struct {
	Page string
	// Section is the heading that it stands below.
	Section string
	// Line is that of its first line.
	Line int
	// Language is the first word behind the fence, and Mark is the rest: for commands, Sandbox, Installation or one of Needs;
	// for anything else, the file that the reader is to put it into, if any.
	Language, Mark string
	Text           string
}

// String tells where the block is.
func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

// IsCommands reports whether the block is typed into a shell.
func (b Block) IsCommands() bool { return b.Language == "sh" || b.Language == "console" }

// Command is something to type.
type Command struct {
	Text string
	// Output is what is shown of what it prints; empty where nothing is.
	Output string
}

// Commands are what is typed: all of a script at once, or what stands behind the prompts of a console.
func (b Block) Commands() []Command {
	if b.Language != "console" {
		return []Command{{Text: b.Text}}
	}
	var commands []Command
	for line := range strings.Lines(b.Text) {
		typed, isTyped := strings.CutPrefix(line, "$ ")
		last := len(commands) - 1
		switch {
		case isTyped:
			commands = append(commands, Command{Text: typed})
		case last < 0:
			return nil
		case commands[last].Output == "" && strings.HasSuffix(commands[last].Text, "\\\n"):
			commands[last].Text += line
		default:
			commands[last].Output += line
		}
	}
	return commands
}

const agePattern = `(\d+[dhms])+`

var age = regexp.MustCompile("^" + agePattern + "$")

// Missing returns the first line of what is shown that is not in what was printed; empty where all are. Columns may be
// wider or narrower, and ages differ.
func Missing(shown, printed string) string {
	for line := range strings.Lines(shown) {
		fields := strings.Fields(line)
		for i, field := range fields {
			fields[i] = regexp.QuoteMeta(field)
			if age.MatchString(field) {
				fields[i] = agePattern
			}
		}
		if !regexp.MustCompile(`(?m)^[ \t]*` + strings.Join(fields, `[ \t]+`) + `[ \t]*$`).MatchString(printed) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// All reads the README and all pages of docs.
func All(root string) ([]Page, error) {
	paths := []string{"README.md"}
	err := fs.WalkDir(os.DirFS(root), "docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(paths[1:])
	pages := make([]Page, 0, len(paths))
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return nil, err
		}
		page, err := Parse(path, string(text))
		if err != nil {
			return nil, err
		}
		pages = append(pages, page)
	}
	return pages, nil
}

const fence = "```"

// Parse reads a page. A fence stands at the beginning of its line, so that no block is overlooked.
func Parse(path, text string) (Page, error) {
	page := Page{Path: path, Text: text}
	var prose, block strings.Builder
	var open *Block
	number, section := 0, ""
	for line := range strings.Lines(text) {
		number++
		rest, isFence := strings.CutPrefix(line, fence)
		switch {
		case !isFence && strings.HasPrefix(strings.TrimSpace(line), fence):
			return Page{}, fmt.Errorf("%s:%d: a fence that is indented", path, number)
		case isFence && open == nil:
			language, mark, _ := strings.Cut(strings.TrimSpace(rest), " ")
			open = &Block{Page: path, Section: section, Line: number + 1, Language: language, Mark: mark}
		case isFence:
			open.Text = block.String()
			page.Blocks = append(page.Blocks, *open)
			open = nil
			block.Reset()
		case open != nil:
			block.WriteString(line)
		default:
			prose.WriteString(line)
			if marks, title, isHeading := strings.Cut(line, " "); isHeading && strings.Trim(marks, "#") == "" && marks != "" {
				section = strings.TrimSpace(title)
			}
		}
	}
	if open != nil {
		return Page{}, fmt.Errorf("%s: a block that has no end", open)
	}
	page.Prose = prose.String()
	return page, nil
}
