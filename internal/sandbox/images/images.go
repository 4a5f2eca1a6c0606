// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package images assembles container images from single static programs, under the very
// references that manifests name; it never pulls and never pushes one.
package images

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The references that a sandbox knows. Those of others are what their own manifests name.
const (
	Pause          = "registry.k8s.io/pause:3.10.1"
	CoreDNS        = "registry.k8s.io/coredns/coredns:v1.15.0"
	VirtualKubelet = "mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet:1.6.4"
	Greeter        = "sandbox.invalid/greeter:1"
	Manager        = "ghcr.io/virtual-kubelet/connector-operator:v0.1.0"
)

// nonroot is the user that distroless images have for this.
const nonroot = "65532:65532"

// Spec says what an image is made of.
type Spec struct {
	Reference string
	// Program is the file on this machine and Path its place in the image, the entrypoint.
	Program string
	Path    string
	User    string
	// TrustStore are the only certificates that programs in it trust, PEM encoded.
	TrustStore []byte
}

// ForCluster are the images of a sandbox's own: programs finds what is in them, trust is
// the authority of the simulated Azure.
func ForCluster(program func(name string) string, trust []byte) []Spec {
	return []Spec{
		{Reference: Pause, Program: program("pause"), Path: "/pause", User: "65535:65535"},
		{Reference: CoreDNS, Program: program("coredns"), Path: "/coredns", User: nonroot},
		{Reference: Greeter, Program: program("greeter"), Path: "/greeter", User: nonroot, TrustStore: trust},
		// Like the original it names no user: what runs it as another has to say so.
		{Reference: VirtualKubelet, Program: program("virtual-kubelet"), Path: "/usr/bin/virtual-kubelet", TrustStore: trust},
	}
}

// ForManager is the operator's image.
func ForManager(program string, trust []byte) Spec {
	return Spec{Reference: Manager, Program: program, Path: "/manager", User: nonroot, TrustStore: trust}
}

// Write writes the images to one archive that containerd imports.
func Write(archive string, specs ...Spec) error {
	images := map[name.Reference]v1.Image{}
	for _, spec := range specs {
		reference, err := name.ParseReference(spec.Reference, name.StrictValidation)
		if err != nil {
			return err
		}
		image, err := Assemble(spec)
		if err != nil {
			return err
		}
		images[reference] = image
	}
	if err := tarball.MultiRefWriteToFile(archive, images); err != nil {
		return fmt.Errorf("writing images to %s: %w", archive, err)
	}
	return nil
}

// Assemble makes an image.
func Assemble(spec Spec) (v1.Image, error) {
	image, err := assemble(spec)
	if err != nil {
		return nil, fmt.Errorf("assembling the image %s: %w", spec.Reference, err)
	}
	return image, nil
}

func assemble(spec Spec) (v1.Image, error) {
	layer, err := newLayer(spec.writeTar)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.User = spec.User
	file.Config.WorkingDir = "/"
	file.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	file.Config.Entrypoint = []string{spec.Path}
	return mutate.ConfigFile(image, file)
}

// writeTar has no times and no owners, so equal contents make equal images.
func (s Spec) writeTar(target io.Writer) error {
	archive := tar.NewWriter(target)
	texts := map[string][]byte{
		"etc/passwd": []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"),
		"etc/group":  []byte("root:x:0:\nnonroot:x:65532:\n"),
	}
	if s.TrustStore != nil {
		texts["etc/ssl/certs/ca-certificates.crt"] = s.TrustStore
	}
	program := strings.TrimPrefix(s.Path, "/")
	made := map[string]bool{}
	for _, file := range []string{"etc/passwd", "etc/group", "etc/ssl/certs/ca-certificates.crt", "tmp/", program} {
		if err := writeFolders(archive, file, made); err != nil {
			return err
		}
		text, ok := texts[file]
		if !ok {
			continue
		}
		if err := archive.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(text))}); err != nil {
			return err
		}
		if _, err := archive.Write(text); err != nil {
			return err
		}
	}
	if err := copyProgram(archive, program, s.Program); err != nil {
		return err
	}
	return archive.Close()
}

func writeFolders(archive *tar.Writer, file string, made map[string]bool) error {
	dir := path.Dir(file)
	if dir == "." || made[dir] {
		return nil
	}
	if err := writeFolders(archive, dir, made); err != nil {
		return err
	}
	made[dir] = true
	mode := int64(0o755)
	if dir == "tmp" {
		mode = 0o1777
	}
	return archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode})
}

func copyProgram(archive *tar.Writer, target, source string) error {
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: target, Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(archive, file)
	return err
}
