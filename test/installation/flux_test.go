// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/install"
)

const (
	fluxNamespace  = "flux-system"
	kustomizations = "kustomizations.kustomize.toolkit.fluxcd.io"
	repositories   = "gitrepositories.source.toolkit.fluxcd.io"
	// placeholder is what the repository has in place of the client secret.
	placeholder = "replace-this-with-the-client-secret"
)

var _ = Describe("with Flux", Ordered, func() {
	s := begin("flux")

	It("shows a bad credential as what the connector waits for", func(ctx SpecContext) {
		s.kubectl(ctx, "apply", "-k", "config/gitops/flux")
		s.kubectl(ctx, "wait", kustomizations+"/connector", "-n", fluxNamespace, "--for=condition=Ready=False", "--timeout=3m")
		Eventually(func() string { return s.condition(ctx, "connector", "message") }).WithContext(ctx).
			Should(ContainSubstring("VirtualKubeletConnector/" + connectorName))
		s.kubectl(ctx, "wait", "vkc/"+connectorName, "--for=condition=Ready=False", "--timeout=1m")
		Expect(s.condition(ctx, "connector-operator", "status")).To(Equal("True"))
	}, SpecTimeout(storyTimeout))

	It("is Ready when the nodes are, and works", func(ctx SpecContext) {
		s.publishSecret(ctx, azure.DefaultClientSecret)
		s.reconcile(ctx, "connector-operator", "connector-credentials", "connector")
		s.kubectl(ctx, "wait", kustomizations+"/connector", "-n", fluxNamespace, "--for=condition=Ready", "--timeout=5m")
		Expect(s.kubectl(ctx, "get", "vkc", connectorName, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}")).To(Equal("True"))
		s.expectReady(ctx)
		s.run(ctx)
	}, SpecTimeout(storyTimeout))

	It("finds no drift on a settled connector", func(ctx SpecContext) {
		version := func() string {
			return s.kubectl(ctx, "get", "vkc", connectorName, "-o", "jsonpath={.metadata.generation} {.metadata.resourceVersion}")
		}
		before, virtualKubelets := version(), s.virtualKubelets(ctx)
		s.reconcile(ctx, "connector-operator", "connector-credentials", "connector")
		s.kubectl(ctx, "wait", kustomizations+"/connector", "-n", fluxNamespace, "--for=condition=Ready", "--timeout=2m")
		Expect(version()).To(Equal(before))
		Expect(s.virtualKubelets(ctx)).To(Equal(virtualKubelets))
	}, SpecTimeout(storyTimeout))

	It("prunes the connector with the care of a deletion, its Secret in the same go", func(ctx SpecContext) {
		s.kubectl(ctx, "delete", kustomizations, "connector", "connector-credentials", "-n", fluxNamespace)
		s.expectNoNodes(ctx)
		Expect(s.kubectl(ctx, "get", "vkc", "-o", "name")).To(BeEmpty())
	}, SpecTimeout(storyTimeout))

	It("is uninstalled and leaves nothing", func(ctx SpecContext) {
		s.kubectl(ctx, "delete", kustomizations, "connector-operator", "-n", fluxNamespace)
		Eventually(func() []string { return s.left(ctx) }).WithContext(ctx).Should(BeEmpty())
	}, SpecTimeout(storyTimeout))

	s.isWritten("flux")
})

// condition is a field of the Ready condition of a Kustomization.
func (s *story) condition(ctx context.Context, name, field string) string {
	GinkgoHelper()
	return s.kubectl(ctx, "get", kustomizations, name, "-n", fluxNamespace, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')]."+field+"}")
}

// publishSecret publishes the config of the checkout with a client secret in it.
func (s *story) publishSecret(ctx context.Context, secret string) {
	GinkgoHelper()
	folder := GinkgoT().TempDir()
	Expect(os.CopyFS(filepath.Join(folder, "config"), os.DirFS(filepath.Join(s.Root, "config")))).To(Succeed())
	s.edit(filepath.Join(folder, "config", "gitops", "credentials", "secret.yaml"), func(text string) string {
		Expect(text).To(ContainSubstring(placeholder))
		return strings.ReplaceAll(text, placeholder, secret)
	})
	revision, err := s.Box.Publish(ctx, install.Repository, folder, "")
	Expect(err).NotTo(HaveOccurred())
	s.request(ctx, repositories, "connector-operator")
	Eventually(func() string {
		return s.kubectl(ctx, "get", repositories, "connector-operator", "-n", fluxNamespace, "-o", "jsonpath={.status.artifact.revision}")
	}).WithContext(ctx).Should(ContainSubstring(revision))
}

// reconcile has Kustomizations reconciled now, one after the other, as flux reconcile does.
func (s *story) reconcile(ctx context.Context, names ...string) {
	GinkgoHelper()
	for _, name := range names {
		token := s.request(ctx, kustomizations, name)
		Eventually(func() string {
			return s.kubectl(ctx, "get", kustomizations, name, "-n", fluxNamespace, "-o", "jsonpath={.status.lastHandledReconcileAt}")
		}).WithContext(ctx).Should(Equal(token))
	}
}

func (s *story) request(ctx context.Context, kind, name string) (token string) {
	GinkgoHelper()
	token = time.Now().Format(time.RFC3339Nano)
	s.kubectl(ctx, "annotate", "--overwrite", kind, name, "-n", fluxNamespace, "reconcile.fluxcd.io/requestedAt="+token)
	return token
}
