// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"archive/tar"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	. "github.com/onsi/gomega"
)

// TestImage tests what `make image` has written.
func TestImage(t *testing.T) {
	path := os.Getenv("IMAGE_LAYOUT")
	if path == "" {
		t.Skip("IMAGE_LAYOUT is not set: run make test-image")
	}
	g := NewWithT(t)
	index, err := layout.ImageIndexFromPath(path)
	g.Expect(err).NotTo(HaveOccurred())
	manifest, err := index.IndexManifest()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(manifest.Manifests).To(HaveLen(1), "one image for all platforms")
	images, err := index.ImageIndex(manifest.Manifests[0].Digest)
	g.Expect(err).NotTo(HaveOccurred())
	if manifest, err = images.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, entry := range manifest.Manifests {
		platforms = append(platforms, entry.Platform.String())
		image, err := images.Image(entry.Digest)
		g.Expect(err).NotTo(HaveOccurred())
		checkImage(g, image, entry.Platform)
	}
	g.Expect(platforms).To(ConsistOf("linux/amd64", "linux/arm64"))

	sboms, err := filepath.Glob(filepath.Join(os.Getenv("SBOMS"), "*.spdx.json"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sboms).To(HaveLen(len(platforms)+1), "one for each image, and one for the index")
	for _, file := range sboms {
		content, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		var sbom struct {
			Version  string           `json:"spdxVersion"`
			Packages []map[string]any `json:"packages"`
		}
		g.Expect(json.Unmarshal(content, &sbom)).To(Succeed())
		g.Expect(sbom.Version).To(HavePrefix("SPDX-2"))
		g.Expect(sbom.Packages).NotTo(BeEmpty())
	}
}

func checkImage(g Gomega, image v1.Image, platform *v1.Platform) {
	config, err := image.ConfigFile()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(config.OS + "/" + config.Architecture).To(Equal(platform.String()))
	g.Expect(config.Config.User).To(Equal("65532:65532"))
	g.Expect(config.Config.Entrypoint).To(HaveLen(1))
	program := config.Config.Entrypoint[0]
	found := map[string]*tar.Header{}
	content := mutate.Extract(image)
	defer content.Close()
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		g.Expect(err).NotTo(HaveOccurred())
		name := filepath.Join("/", header.Name)
		found[name] = header
		if name == "/etc/ssl/certs/ca-certificates.crt" {
			text, err := io.ReadAll(archive)
			g.Expect(err).NotTo(HaveOccurred())
			block, _ := pem.Decode(text)
			g.Expect(block).NotTo(BeNil())
		}
	}
	g.Expect(found).To(HaveKey("/etc/ssl/certs/ca-certificates.crt"))
	g.Expect(found).To(HaveKey(program))
	g.Expect(found[program].FileInfo().Mode().Perm()&0o111).NotTo(BeZero(), "it can be run")
	g.Expect(found).NotTo(HaveKey("/bin/sh"))
}
