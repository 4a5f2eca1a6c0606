// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/test/pages"
	"github.com/virtual-kubelet/connector-operator/test/terminal"
)

// pageTimeout bounds a page.
const pageTimeout = 8 * time.Minute

// begin is what there is when a page begins, beside the operator, where it is not the Secret alone.
var begin = map[string]func(context.Context){
	"README.md":                     func(context.Context) {},
	"docs/quickstart-aks.md":        func(context.Context) {},
	"docs/gitops.md":                makeArgoNamespace,
	"docs/troubleshooting.md":       applySample,
	"docs/howto/remove.md":          applySample,
	"docs/howto/rotate-a-secret.md": applySample,
	"docs/howto/upgrade.md":         applySample,
}

// meant is what the words in capitals stand for that pages leave to the reader.
var meant = map[string]string{
	"NAME":   connectorName,
	"NODE":   linuxNode,
	"SECRET": "another-secret",
}

var _ = Describe("The commands of the documentation", func() {
	// The tests run in the folder of their package.
	all, err := pages.All("../..")
	if err != nil {
		panic(err)
	}
	for path := range begin {
		if !slices.ContainsFunc(all, func(p pages.Page) bool { return p.Path == path }) {
			panic("there is no page " + path)
		}
	}
	for _, page := range all {
		if !slices.ContainsFunc(page.Blocks, func(b pages.Block) bool { return b.Mark == pages.Sandbox }) {
			continue
		}
		It("do what they say: "+page.Path, func(ctx SpecContext) {
			DeferCleanup(func(ctx SpecContext) {
				// A page may end with the operator removed.
				installAgain(ctx)
				other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: meant["SECRET"]}}
				Expect(client.IgnoreNotFound(k8s.Delete(ctx, other))).To(Succeed())
			}, NodeTimeout(3*time.Minute))
			prepare, ok := begin[page.Path]
			if !ok {
				prepare = func(ctx context.Context) { putSecret(ctx, secretKey, azure.DefaultClientSecret) }
			}
			prepare(ctx)
			follow(ctx, page)
		}, SpecTimeout(pageTimeout))
	}
})

// makeArgoNamespace makes the namespace that Argo CD is in. What the page does needs nothing else of it.
func makeArgoNamespace(ctx context.Context) {
	GinkgoHelper()
	argo := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "argocd"}}
	Expect(k8s.Create(ctx, argo)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(k8s.Delete(ctx, argo)).To(Succeed()) }, NodeTimeout(time.Minute))
}

// follow does what a page says, in a folder of its own that has the configuration of the checkout.
func follow(ctx context.Context, page pages.Page) {
	GinkgoHelper()
	folder := GinkgoT().TempDir()
	Expect(os.Symlink(filepath.Join(root, "config"), filepath.Join(folder, "config"))).To(Succeed())
	shell := terminal.Terminal{Folder: folder, Programs: programs, Kubeconfig: box.Kubeconfig(), Meant: meant, Out: GinkgoWriter}
	for _, block := range page.Blocks {
		switch {
		case block.Mark == pages.Sandbox:
			By(block.String())
			Expect(shell.Follow(ctx, block)).To(Succeed())
		case !block.IsCommands() && block.Mark != "":
			Expect(os.WriteFile(filepath.Join(folder, block.Mark), []byte(block.Text), 0o600)).To(Succeed())
		}
	}
}
