// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// row is the row of a rule in the table of rights, up to what it is for.
func row(namespace string, rule rbacv1.PolicyRule) string {
	in := "the cluster"
	if namespace != "" {
		in = "`" + namespace + "`"
	}
	of := make([]string, len(rule.Resources))
	for i, resource := range rule.Resources {
		of[i] = "`" + resource + "`"
	}
	if group := rule.APIGroups[0]; group != "" {
		of[0] = "`" + group + "/" + rule.Resources[0] + "`"
	}
	text := strings.Join(of, ", ")
	if len(rule.ResourceNames) > 0 {
		text += " named `" + strings.Join(rule.ResourceNames, "`, `") + "`"
	}
	return fmt.Sprintf("| %s | %s | %s | ", in, text, strings.Join(slices.Sorted(slices.Values(rule.Verbs)), ", "))
}

var rowOfRight = regexp.MustCompile("(?m)^(\\| (?:the cluster|`[a-z-]+`) \\| `[^|]+ \\| [a-z, ]+ \\| )(.+) \\|$")

// TestRightsAreExplained tests that the table of rights has every rule of config/rbac, and no other.
func TestRightsAreExplained(t *testing.T) {
	g := NewWithT(t)
	files, err := filepath.Glob(filepath.Join(root, "config/rbac/*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	var granted []string
	for _, path := range files {
		for document := range strings.SplitSeq(read(t, strings.TrimPrefix(path, root+"/")), "\n---\n") {
			var role rbacv1.Role
			g.Expect(yaml.Unmarshal([]byte(document), &role)).To(Succeed())
			for _, rule := range role.Rules {
				granted = append(granted, row(role.Namespace, rule))
			}
		}
	}
	g.Expect(granted).NotTo(BeEmpty())
	var explained []string
	for _, match := range rowOfRight.FindAllStringSubmatch(page(t, "docs/security.md").Prose, -1) {
		explained = append(explained, match[1])
	}
	g.Expect(explained).To(ConsistOf(granted))
}
