// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Command image builds the image of a Go program for several platforms, with ko, and writes it as an OCI layout. It needs
// no registry and no daemon: the base is assembled here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/ko/pkg/build"
)

// baseName is what the image's annotations call its base, which no registry has.
const baseName = "base.invalid/static"

type options struct {
	layout, sboms, platforms, ldflags string
}

func main() {
	var o options
	flag.StringVar(&o.layout, "layout", "dist/image", "the folder that the OCI layout is written to, in place of what is there")
	flag.StringVar(&o.sboms, "sboms", "dist/sbom", "the folder that the bills of materials are written to, in place of what is there")
	flag.StringVar(&o.platforms, "platforms", "linux/amd64,linux/arm64", "the platforms, separated by commas")
	flag.StringVar(&o.ldflags, "ldflags", "", "flags for the linker beside those that leave out what debuggers need")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Usage: image [flags] PACKAGE\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	log.SetFlags(0)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, o options, args []string) error {
	if len(args) != 1 {
		return errors.New("give one package: image [flags] PACKAGE")
	}
	for _, dir := range []string{o.layout, o.sboms} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	made, err := madeAt()
	if err != nil {
		return err
	}
	platforms := strings.Split(o.platforms, ",")
	base, err := base(platforms, made)
	if err != nil {
		return fmt.Errorf("assemble the base: %w", err)
	}
	reference, err := name.ParseReference(baseName)
	if err != nil {
		return err
	}
	builder, err := build.NewGo(ctx, ".",
		build.WithBaseImages(func(context.Context, string) (name.Reference, build.Result, error) { return reference, base, nil }),
		build.WithPlatforms(platforms...),
		build.WithCreationTime(made),
		build.WithTrimpath(true),
		build.WithLdflags([]string{"-s -w " + o.ldflags}),
		build.WithDefaultEnv([]string{"CGO_ENABLED=0"}),
		build.WithJobs(1),
		build.WithSPDX("(none)"),
		build.WithSBOMDir(o.sboms),
	)
	if err != nil {
		return err
	}
	program, err := builder.QualifyImport(args[0])
	if err != nil {
		return err
	}
	image, err := builder.Build(ctx, program)
	if err != nil {
		return fmt.Errorf("build %s: %w", args[0], err)
	}
	if err := write(o.layout, image); err != nil {
		return fmt.Errorf("write %s: %w", o.layout, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

// write writes an image, or the index of those of several platforms, as the only one of a layout.
func write(path string, image build.Result) error {
	written, err := layout.Write(path, empty.Index)
	if err != nil {
		return err
	}
	switch image := image.(type) {
	case v1.ImageIndex:
		return written.AppendIndex(image)
	case v1.Image:
		return written.AppendImage(image)
	}
	return fmt.Errorf("%T is no image", image)
}

// madeAt is when the image says that it was made: for all who build the same commit, the same.
func madeAt() (v1.Time, error) {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return v1.Time{}, errors.New("SOURCE_DATE_EPOCH is not set: give the time of the commit, in seconds since 1970")
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return v1.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return v1.Time{Time: time.Unix(seconds, 0).UTC()}, nil
}
