// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package pages_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/test/pages"
)

const text = `# Title

Before.

~~~yaml connector.yaml
kind: A
~~~

~~~console sandbox
$ kubectl get nodes
NAME   AGE
one    2m
$ kubectl delete \
  node one
~~~

After.
`

func TestParse(t *testing.T) {
	g := NewWithT(t)
	page, err := pages.Parse("docs/page.md", strings.ReplaceAll(text, "~~~", "```"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(page.Prose).To(Equal("# Title\n\nBefore.\n\n\n\nAfter.\n"))
	g.Expect(page.Blocks).To(HaveLen(2))
	file, console := page.Blocks[0], page.Blocks[1]
	g.Expect(file).To(Equal(pages.Block{Page: "docs/page.md", Section: "Title", Line: 6, Language: "yaml", Mark: "connector.yaml", Text: "kind: A\n"}))
	g.Expect(file.IsCommands()).To(BeFalse())
	g.Expect(console.String()).To(Equal("docs/page.md:10"))
	g.Expect(console.IsCommands()).To(BeTrue())
	g.Expect(console.Commands()).To(Equal([]pages.Command{
		{Text: "kubectl get nodes\n", Output: "NAME   AGE\none    2m\n"},
		{Text: "kubectl delete \\\n  node one\n"},
	}))
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"docs/page.md:2: a fence that is indented": "- item\n  ~~~sh\n  ls\n  ~~~\n",
		"docs/page.md:2: a block that has no end":  "~~~sh\nls\n",
	} {
		_, err := pages.Parse("docs/page.md", strings.ReplaceAll(text, "~~~", "```"))
		NewWithT(t).Expect(err).To(MatchError(name))
	}
}

func TestMissing(t *testing.T) {
	const printed = "NAME    STATUS   AGE\none     Ready    3h5m\nthree   Ready    1s\n"
	for shown, missing := range map[string]string{
		"":                                     "",
		"NAME   STATUS   AGE\none Ready 12s\n": "",
		"three   Ready   2d\n":                 "",
		"two   Ready   2s\n":                   "two   Ready   2s",
		"one   Ready   soon\n":                 "one   Ready   soon",
		"one   Ready\n":                        "one   Ready",
		"one   Re.dy   2s\n":                   "one   Re.dy   2s",
	} {
		NewWithT(t).Expect(pages.Missing(shown, printed)).To(Equal(missing), shown)
	}
}
