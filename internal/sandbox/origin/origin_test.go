// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package origin_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/origin"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/pki"
)

const git = "git"

// serve serves a folder to the end of the test, and returns the address.
func serve(t *testing.T, folder string, wrap func(net.Listener) net.Listener) string {
	t.Helper()
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	address := listener.Addr().String()
	if wrap != nil {
		listener = wrap(listener)
	}
	path, err := exec.LookPath(git)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- origin.Serve(ctx, listener, folder, path) }()
	t.Cleanup(func() {
		stop()
		g.Expect(<-served).To(Succeed())
	})
	return address
}

func TestImages(t *testing.T) {
	g := NewWithT(t)
	authority, err := pki.NewAuthority("test")
	g.Expect(err).NotTo(HaveOccurred())
	pair, err := authority.Server("origin", origin.Hosts()...)
	g.Expect(err).NotTo(HaveOccurred())
	certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	g.Expect(err).NotTo(HaveOccurred())
	address := serve(t, t.TempDir(), func(l net.Listener) net.Listener {
		return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	})

	image, err := random.Image(1024, 2)
	g.Expect(err).NotTo(HaveOccurred())
	index, err := random.Index(1024, 1, 2)
	g.Expect(err).NotTo(HaveOccurred())
	for reference, content := range map[string]remote.Taggable{
		"ghcr.io/owner/image:v1": image,
		"quay.io/owner/index:v1": index,
	} {
		g.Expect(origin.Push(t.Context(), address, authority.Certificate(), reference, content)).To(Succeed())
	}
	stranger, err := pki.NewAuthority("stranger")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(origin.Push(t.Context(), address, stranger.Certificate(), "ghcr.io/owner/other:v1", image)).
		To(MatchError(ContainSubstring("certificate")))
	g.Expect(origin.Push(t.Context(), address, nil, "ghcr.io/owner/other:v1", image)).To(MatchError(ContainSubstring("no certificate")))
	g.Expect(origin.Push(t.Context(), address, authority.Certificate(), "ghcr.io/owner/other:", image)).NotTo(Succeed())
}

func TestImagesArePulledAsTheyWerePushed(t *testing.T) {
	g := NewWithT(t)
	address := serve(t, t.TempDir(), nil)
	image, err := random.Image(1024, 2)
	g.Expect(err).NotTo(HaveOccurred())
	reference, err := name.ParseReference(address + "/owner/image:v1")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(remote.Write(reference, image)).To(Succeed())
	pulled, err := remote.Image(reference)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(pulled.Digest()).To(Equal(must(image.Digest())))
	_, err = remote.Image(must(name.ParseReference(address + "/owner/image:v2")))
	g.Expect(err).To(MatchError(ContainSubstring("MANIFEST_UNKNOWN")))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestRepositories(t *testing.T) {
	g := NewWithT(t)
	folder, work := t.TempDir(), t.TempDir()
	address := serve(t, folder, nil)
	file := filepath.Join(work, "config", "a.yaml")
	g.Expect(os.MkdirAll(filepath.Dir(file), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(file, []byte("first"), 0o644)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(work, ".gitignore"), []byte("*\n"), 0o644)).To(Succeed())
	first, err := origin.Commit(t.Context(), folder, git, "owner/name", work, "v1")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Rename(file, filepath.Join(work, "config", "b.yaml"))).To(Succeed())
	second, err := origin.Commit(t.Context(), folder, git, "owner/name", work, "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(second).To(HaveLen(40))
	g.Expect(second).NotTo(Equal(first))

	for ref, files := range map[string][]string{"v1": {".gitignore", "config/a.yaml"}, origin.Branch: {".gitignore", "config/b.yaml"}} {
		clone := filepath.Join(t.TempDir(), "clone")
		output, err := exec.CommandContext(t.Context(), git, "-c", "http.extraHeader=Host: github.com", "-c", "advice.detachedHead=false",
			"clone", "--quiet", "--depth=1", "--branch="+ref, "http://"+address+"/owner/name", clone).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(output))
		g.Expect(relative(t, clone)).To(ConsistOf(files))
	}
}

// relative are the files below a folder but those of git itself.
func relative(t *testing.T, folder string) []string {
	t.Helper()
	g := NewWithT(t)
	output, err := exec.CommandContext(t.Context(), git, "-C", folder, "ls-files").Output()
	g.Expect(err).NotTo(HaveOccurred())
	files := strings.Fields(string(output))
	for _, file := range files {
		g.Expect(filepath.Join(folder, file)).To(BeARegularFile())
	}
	return files
}
