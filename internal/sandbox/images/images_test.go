// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/images"
)

func TestWrite(t *testing.T) {
	g := NewWithT(t)
	program := filepath.Join(t.TempDir(), "program")
	g.Expect(os.WriteFile(program, []byte("code"), 0o755)).To(Succeed())
	specs := append(
		images.ForCluster(func(string) string { return program }, []byte("trust")),
		images.ForManager(program, []byte("trust")))
	archive := filepath.Join(t.TempDir(), "images.tar")
	g.Expect(images.Write(archive, specs...)).To(Succeed())

	for _, spec := range specs {
		tag, err := name.NewTag(spec.Reference, name.StrictValidation)
		g.Expect(err).NotTo(HaveOccurred())
		image, err := tarball.ImageFromPath(archive, &tag)
		g.Expect(err).NotTo(HaveOccurred(), spec.Reference)
		file, err := image.ConfigFile()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(file.Config.Entrypoint).To(Equal([]string{spec.Path}))
		g.Expect(file.Config.User).To(Equal(spec.User))
		g.Expect(file.OS).To(Equal("linux"))

		layers, err := image.Layers()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(layers).To(HaveLen(1))
		content, err := layers[0].Uncompressed()
		g.Expect(err).NotTo(HaveOccurred())
		files := contents(t, content)
		g.Expect(files).To(HaveKeyWithValue(spec.Path, "code"))
		g.Expect(files["/etc/passwd"]).To(ContainSubstring("nonroot:x:65532:65532"))
		if spec.TrustStore == nil {
			g.Expect(files).NotTo(HaveKey("/etc/ssl/certs/ca-certificates.crt"))
		} else {
			g.Expect(files).To(HaveKeyWithValue("/etc/ssl/certs/ca-certificates.crt", "trust"))
		}
	}
}

func TestAssembleFiles(t *testing.T) {
	g := NewWithT(t)
	folder := t.TempDir()
	for name, mode := range map[string]os.FileMode{"deep/data": 0o600, "program": 0o750} {
		g.Expect(os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(folder, name), []byte(name), mode)).To(Succeed())
	}
	program := filepath.Join(folder, "program")
	image, err := images.Assemble(images.Spec{
		Reference: "ghcr.io/owner/files:v1", Program: program, Path: "/bin/program", Args: []string{"serve"},
		Files:  map[string]string{"/all": folder, "/bin/other": program},
		Labels: map[string]string{"key": "value"},
	})
	g.Expect(err).NotTo(HaveOccurred())
	file, err := image.ConfigFile()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(file.Config.Cmd).To(ConsistOf("serve"))
	g.Expect(file.Config.Labels).To(HaveKeyWithValue("key", "value"))
	layers, err := image.Layers()
	g.Expect(err).NotTo(HaveOccurred())
	content, err := layers[0].Uncompressed()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(contents(t, content)).To(And(
		HaveKeyWithValue("/all/deep/data", "deep/data"), HaveKeyWithValue("/all/program", "program"),
		HaveKeyWithValue("/bin/program", "program"), HaveKeyWithValue("/bin/other", "program")))

	image, err = images.Assemble(images.Spec{Reference: "ghcr.io/owner/files:v1", Files: map[string]string{"/all": folder}})
	g.Expect(err).NotTo(HaveOccurred())
	file, err = image.ConfigFile()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(file.Config.Entrypoint).To(BeEmpty())
}

func TestWriteNamesWhatIsWrong(t *testing.T) {
	g := NewWithT(t)
	err := images.Write(filepath.Join(t.TempDir(), "images.tar"),
		images.Spec{Reference: images.Pause, Program: "/no/such/program", Path: "/pause"})
	g.Expect(err).To(MatchError(And(ContainSubstring(images.Pause), ContainSubstring("/no/such/program"))))
}

func contents(t *testing.T, layer io.ReadCloser) map[string]string {
	t.Helper()
	g := NewWithT(t)
	defer layer.Close()
	files := map[string]string{}
	for archive := tar.NewReader(layer); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		g.Expect(err).NotTo(HaveOccurred())
		text, err := io.ReadAll(archive)
		g.Expect(err).NotTo(HaveOccurred())
		files["/"+header.Name] = string(text)
	}
}
