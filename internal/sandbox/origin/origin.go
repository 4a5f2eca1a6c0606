// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package origin serves what software is fetched from, under the names that it has in the world: registries of images
// and a host of Git repositories. It gives whatever it was given to everybody, and fetches nothing from elsewhere.
package origin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

const (
	repositoryHost = "github.com"

	headerTimeout = 10 * time.Second
)

// registryHosts are different names of one registry: no two publishers have a repository of the same name.
var registryHosts = []string{"ghcr.io", "quay.io"}

// Hosts are the names that it is looked for by.
func Hosts() []string { return append([]string{repositoryHost}, registryHosts...) }

// Serve serves what is below a folder until the context ends or the listener fails; it closes the listener. Images are
// kept as long as it serves, repositories as long as the folder is there. git is the program.
func Serve(ctx context.Context, listener net.Listener, folder, git string) error {
	handler, err := newHandler(folder, git)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve images and repositories: %w", err)
	}
	return nil
}

func newHandler(folder, git string) (http.Handler, error) {
	blobs := filepath.Join(folder, "blobs")
	if err := os.MkdirAll(blobs, 0o700); err != nil {
		return nil, err
	}
	images := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)))
	repositories := &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"},
		Root: "/",
		Env:  append(gitEnvironment(), "GIT_PROJECT_ROOT="+repositoriesIn(folder), "GIT_HTTP_EXPORT_ALL=1"),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == repositoryHost {
			repositories.ServeHTTP(w, r)
			return
		}
		images.ServeHTTP(w, r)
	}), nil
}
