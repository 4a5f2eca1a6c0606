// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/controlplane"
)

// The garbage collector is what a real control plane has and a bare API server lacks.
func TestControlPlane(t *testing.T) {
	g := NewWithT(t)
	programs, err := binaries.Build(t.Context(), binaries.Options{Progress: func(line string) { t.Log(line) }})
	g.Expect(err).NotTo(HaveOccurred())

	dir := t.TempDir()
	audit := filepath.Join(t.TempDir(), "audit.log")
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Dir: dir, Programs: programs, AuditLog: audit})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		g.Expect(plane.Stop()).To(Succeed())
		left, err := os.ReadDir(dir)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(left).To(BeEmpty())
	})
	client, err := kubernetes.NewForConfig(plane.RESTConfig())
	g.Expect(err).NotTo(HaveOccurred())

	version, err := client.Discovery().ServerVersion()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(version.GitVersion).To(HavePrefix("v1."))

	maps := client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	owner, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: "dependent",
		OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID},
		},
	}}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(maps.Delete(t.Context(), owner.Name, metav1.DeleteOptions{})).To(Succeed())
	g.Eventually(func() bool {
		_, err := maps.Get(t.Context(), "dependent", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}).WithTimeout(30 * time.Second).WithPolling(100 * time.Millisecond).Should(BeTrue())

	g.Expect(os.ReadFile(audit)).To(ContainSubstring(`"verb":"delete"`))
	authentication, err := client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(authentication.Data["client-ca-file"]).To(Equal(string(plane.Authority().Certificate())))
}
