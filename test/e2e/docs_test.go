// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/test/pages"
)

const (
	// commandTimeout bounds a command of a page, whatever timeout it gives itself.
	commandTimeout = 3 * time.Minute
	// pageTimeout bounds a page.
	pageTimeout = 8 * time.Minute
)

// begin is what there is when a page begins, beside the operator, where it is not the Secret alone.
var begin = map[string]func(context.Context){
	"README.md":                     func(context.Context) {},
	"docs/quickstart-aks.md":        func(context.Context) {},
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

var word = regexp.MustCompile(`\b[A-Z]+\b`)

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

// follow does what a page says, in a folder of its own that has the configuration of the checkout.
func follow(ctx context.Context, page pages.Page) {
	GinkgoHelper()
	folder := GinkgoT().TempDir()
	Expect(os.Symlink(filepath.Join(root, "config"), filepath.Join(folder, "config"))).To(Succeed())
	for _, block := range page.Blocks {
		switch {
		case block.Mark == pages.Sandbox:
			By(block.String())
			for _, command := range block.Commands() {
				printed, err := typeIn(ctx, folder, command.Text)
				GinkgoWriter.Println(printed)
				Expect(err).NotTo(HaveOccurred(), "%s\n%s\n%s", block, command.Text, printed)
				Expect(pages.Missing(command.Output, printed)).To(BeEmpty(), "%s\n%s\nprints\n%s", block, command.Text, printed)
			}
		case !block.IsCommands() && block.Mark != "":
			Expect(os.WriteFile(filepath.Join(folder, block.Mark), []byte(block.Text), 0o600)).To(Succeed())
		}
	}
}

// typeIn types into a shell what a reader would, and returns what it prints. All that it has started ends with it.
func typeIn(ctx context.Context, folder, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	text = word.ReplaceAllStringFunc(text, func(w string) string {
		if means, ok := meant[w]; ok {
			return means
		}
		return w
	})
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	command.Dir = folder
	command.Env = append(os.Environ(),
		"PATH="+strings.Join(append(programs.Folders(), os.Getenv("PATH")), string(os.PathListSeparator)),
		"KUBECONFIG="+box.Kubeconfig(), "CLIENT_SECRET="+azure.DefaultClientSecret)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = 5 * time.Second
	printed, err := command.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("it does not end: %w", ctx.Err())
	}
	return string(printed), err
}
