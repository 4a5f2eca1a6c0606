// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"testing"

	. "github.com/onsi/gomega"
)

// TestWhatMetricsAreLabelledWithIsDocumented tests that the texts have every value that a label gets from here.
func TestWhatMetricsAreLabelledWithIsDocumented(t *testing.T) {
	g := NewWithT(t)
	content, err := os.ReadFile("../../docs/metrics.md")
	g.Expect(err).NotTo(HaveOccurred())
	values := []string{operationToken, operationTenant, operationOther}
	for _, name := range operations {
		values = append(values, name)
	}
	values = append(values, constantsOf(t, "request.go", "Result")...)
	values = append(values, constantsOf(t, "snapshot.go", "FactState")...)
	s := newStock(t)
	s.askAll(alice, target())
	for _, fact := range s.Snapshot().Facts {
		values = append(values, fact.Kind)
	}
	for _, value := range values {
		g.Expect(string(content)).To(ContainSubstring("`" + value + "`"))
	}
}

// constantsOf are the values of the constants of a type in a file.
func constantsOf(t *testing.T, file, typeName string) []string {
	t.Helper()
	g := NewWithT(t)
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	g.Expect(err).NotTo(HaveOccurred())
	var found []string
	ast.Inspect(parsed, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == typeName {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			g.Expect(err).NotTo(HaveOccurred())
			found = append(found, value)
		}
		return false
	})
	g.Expect(found).NotTo(BeEmpty())
	return found
}
