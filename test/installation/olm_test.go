// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/images"
)

const (
	release     = "vk-connector-operator.v0.1.0"
	nextRelease = "vk-connector-operator.v0.1.1"
)

var _ = Describe("with the Operator Lifecycle Manager", Ordered, func() {
	s := begin("olm")

	It("is installed and works, with the admission policies that OLM can't install", func(ctx SpecContext) {
		Expect(s.kubectl(ctx, "get", "csv", release, "-n", namespace, "-o", "jsonpath={.status.phase}")).To(Equal("Succeeded"))
		for _, policies := range []string{"config/guard", "config/restriction"} {
			s.kubectl(ctx, "apply", "-k", policies)
		}
		s.connect(ctx)
		s.run(ctx)
	}, SpecTimeout(storyTimeout))

	It("shows a bad credential", func(ctx SpecContext) {
		s.expectBadCredentialShown(ctx)
	}, SpecTimeout(storyTimeout))

	It("has no rights in other namespaces than those that it says", func(ctx SpecContext) {
		as := "--as=system:serviceaccount:" + namespace + ":" + operator
		for _, refused := range [][]string{
			{"get", "secrets", "-n", "default"}, {"list", "secrets", "-A"}, {"create", "deployments", "-n", "default"},
			{"get", "configmaps", "-n", "kube-system"}, {"get", "services", "-n", "default"},
		} {
			output, err := s.Kubectl(ctx, append([]string{"auth", "can-i", as}, refused...)...)
			Expect(err).To(HaveOccurred(), "%v", refused)
			Expect(output).To(HavePrefix("no"), "%v", refused)
		}
		Expect(s.kubectl(ctx, "auth", "can-i", as, "get", "secrets", "-n", namespace)).To(HavePrefix("yes"))
	}, SpecTimeout(storyTimeout))

	It("is upgraded without a restart of virtual kubelets", func(ctx SpecContext) {
		before := s.virtualKubelets(ctx)
		s.releaseNext(ctx)
		// As a poll of the catalog does when its image has changed.
		s.kubectl(ctx, "delete", "pod", "-l", "olm.catalogSource="+operator, "-n", namespace)
		Eventually(func() (string, error) {
			return s.Kubectl(ctx, "get", "csv", nextRelease, "-n", namespace, "-o", "jsonpath={.status.phase}")
		}).WithContext(ctx).Should(Equal("Succeeded"))
		Eventually(func() string { return s.kubectl(ctx, "get", "csv", "-n", namespace, "-o", "name") }).WithContext(ctx).
			ShouldNot(ContainSubstring(release))
		Expect(s.kubectl(ctx, "get", "deployment", operator, "-n", namespace, "-o", "jsonpath={.spec.template.spec.containers[0].image}")).
			To(HaveSuffix(":v0.1.1"))
		s.expectReady(ctx)
		Expect(s.virtualKubelets(ctx)).To(Equal(before))
	}, SpecTimeout(storyTimeout))

	It("is uninstalled and leaves nothing", func(ctx SpecContext) {
		_, err := s.Kubectl(ctx, "delete", "deployment", operator, "-n", namespace)
		Expect(err).To(MatchError(ContainSubstring("its removal needs this")))
		s.follow(ctx, blocks["olm"][len(blocks["olm"])-1])
		s.expectNoNodes(ctx)
		Eventually(func() []string { return s.left(ctx) }).WithContext(ctx).Should(BeEmpty())
	}, SpecTimeout(storyTimeout))

	s.isWritten("olm")
})

// releaseNext pushes a release that replaces that of the checkout, and the catalog that offers both.
func (s *story) releaseNext(ctx context.Context) {
	GinkgoHelper()
	folder := GinkgoT().TempDir()
	bundle := filepath.Join(folder, "bundle")
	Expect(os.CopyFS(bundle, os.DirFS(filepath.Join(s.Root, "bundle")))).To(Succeed())
	s.edit(filepath.Join(bundle, "manifests", operator+".clusterserviceversion.yaml"), func(text string) string {
		csv := &unstructured.Unstructured{}
		Expect(yaml.Unmarshal([]byte(strings.ReplaceAll(text, "0.1.0", "0.1.1")), &csv.Object)).To(Succeed())
		Expect(unstructured.SetNestedField(csv.Object, release, "spec", "replaces")).To(Succeed())
		content, err := yaml.Marshal(csv.Object)
		Expect(err).NotTo(HaveOccurred())
		return string(content)
	})
	channels := filepath.Join(folder, "channels")
	Expect(os.CopyFS(channels, os.DirFS(filepath.Join(s.Root, "config", "catalog")))).To(Succeed())
	s.edit(filepath.Join(channels, operator+".yaml"), func(text string) string {
		return text + "- name: " + nextRelease + "\n  replaces: " + release + "\n"
	})
	Expect(s.Box.LoadAs(ctx, strings.Replace(images.Manager, "0.1.0", "0.1.1", 1), progress)).To(Succeed())
	Expect(s.installation.PushCatalog(ctx, channels, filepath.Join(s.Root, "bundle"), bundle)).To(Succeed())
}

func (s *story) edit(path string, change func(string) string) {
	GinkgoHelper()
	content, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(path, []byte(change(string(content))), 0o644)).To(Succeed())
}
