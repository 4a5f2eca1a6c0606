// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package sandbox

import (
	"context"
	"net/netip"
	"os"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/cluster"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/images"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/origin"
)

const httpsPort = 443

// Import assembles images and hands them to the sandbox's containerd, which then has no need to pull them.
func (s Sandbox) Import(ctx context.Context, specs ...images.Spec) error {
	r, err := s.readRunning()
	if err != nil {
		return err
	}
	return cluster.ImportImages(ctx, s.Layout, r.Programs, specs...)
}

// Push gives an image or an index to the registry that the sandbox has under the reference's name.
func (s Sandbox) Push(ctx context.Context, reference string, content remote.Taggable) error {
	r, err := s.readRunning()
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(s.Authority())
	if err != nil {
		return err
	}
	return origin.Push(ctx, netip.AddrPortFrom(r.Block.Origin(), httpsPort).String(), authority, reference, content)
}

// Publish makes the files of a directory the content of https://github.com/REPOSITORY in the sandbox, on its branch main
// and, unless it is empty, as a tag. It returns the commit.
func (s Sandbox) Publish(ctx context.Context, repository, directory, tag string) (revision string, err error) {
	r, err := s.readRunning()
	if err != nil {
		return "", err
	}
	return origin.Commit(ctx, s.Origin(), r.Programs.Path("git"), repository, directory, tag)
}

func (s Sandbox) readRunning() (record, error) {
	if err := s.Require(); err != nil {
		return record{}, err
	}
	return s.read()
}
