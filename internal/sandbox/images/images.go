// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package images assembles container images from static programs and files, under the very
// references that manifests name; it never pulls and never pushes one.
package images

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
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
	// Program is the file on this machine and Path its place in the image, the entrypoint. An image of files alone has
	// neither.
	Program string
	Path    string
	// Args are the entrypoint's, unless a pod has its own.
	Args []string
	User string
	// Files are other files of this machine, or folders with all that is in them, by their places in the image.
	Files  map[string]string
	Labels map[string]string
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
	file.Config.Labels = spec.Labels
	if spec.Path != "" {
		file.Config.Entrypoint, file.Config.Cmd = []string{spec.Path}, spec.Args
	}
	return mutate.ConfigFile(image, file)
}

// writeTar has no times and no owners, so equal contents make equal images.
func (s Spec) writeTar(target io.Writer) error {
	archive := writer{Writer: tar.NewWriter(target), made: map[string]bool{}}
	texts := map[string][]byte{
		"etc/passwd": []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"),
		"etc/group":  []byte("root:x:0:\nnonroot:x:65532:\n"),
	}
	if s.TrustStore != nil {
		texts["etc/ssl/certs/ca-certificates.crt"] = s.TrustStore
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if err := archive.text(name, texts[name]); err != nil {
			return err
		}
	}
	if err := archive.folders("tmp"); err != nil {
		return err
	}
	files := maps.Clone(s.Files)
	if s.Path != "" {
		if files == nil {
			files = map[string]string{}
		}
		files[s.Path] = s.Program
	}
	for _, place := range slices.Sorted(maps.Keys(files)) {
		if err := archive.copy(strings.TrimPrefix(place, "/"), files[place]); err != nil {
			return err
		}
	}
	return archive.Close()
}

type writer struct {
	*tar.Writer
	made map[string]bool
}

// folders makes a folder and those that it is in.
func (w writer) folders(folder string) error {
	if folder == "." || w.made[folder] {
		return nil
	}
	if err := w.folders(path.Dir(folder)); err != nil {
		return err
	}
	w.made[folder] = true
	mode := int64(0o755)
	if folder == "tmp" {
		mode = 0o1777
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: mode})
}

func (w writer) text(target string, content []byte) error {
	if err := w.folders(path.Dir(target)); err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: target, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// copy copies a file, or a folder with all that is in it.
func (w writer) copy(target, source string) error {
	return filepath.WalkDir(source, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, name)
		if err != nil {
			return err
		}
		place := path.Join(target, filepath.ToSlash(relative))
		if entry.IsDir() {
			return w.folders(place)
		}
		return w.copyFile(place, name)
	})
}

func (w writer) copyFile(target, source string) error {
	if err := w.folders(path.Dir(target)); err != nil {
		return err
	}
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	if err := w.WriteHeader(&tar.Header{Name: target, Mode: mode, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, file)
	return err
}
