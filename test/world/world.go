// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package world is the sandbox that a suite of tests has for its own, with what a test does to it and sees
// of it. It touches nothing but that sandbox, and is imported by tests only.
package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/onsi/gomega/gexec"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
)

// World is a sandbox that runs.
type World struct {
	Box      sandbox.Sandbox
	Programs binaries.Set
	// Root is the checkout that is tested.
	Root   string
	Client client.Client
}

// Up brings a sandbox up whose name is the prefix and the number of this process.
func Up(ctx context.Context, prefix string, progress func(string)) (*World, error) {
	root, err := binaries.FindRoot()
	if err != nil {
		return nil, err
	}
	w := &World{Root: root}
	if w.Box, err = sandbox.Open(prefix + strconv.Itoa(os.Getpid())); err != nil {
		return nil, err
	}
	if err := w.up(ctx, progress); err != nil {
		return nil, errors.Join(err, w.Down(ctx))
	}
	return w, nil
}

func (w *World) up(ctx context.Context, progress func(string)) error {
	command, err := gexec.Build("github.com/virtual-kubelet/connector-operator/cmd/sandbox")
	if err != nil {
		return err
	}
	if w.Programs, err = binaries.Build(ctx, binaries.Options{Progress: progress}); err != nil {
		return err
	}
	if err := w.Box.Up(ctx, sandbox.UpOptions{Command: []string{command, "inside"}, Progress: progress}); err != nil {
		return err
	}
	return w.connect()
}

func (w *World) connect() error {
	config, err := w.Box.RESTConfig()
	if err != nil {
		return err
	}
	config.QPS = -1
	// The manifests select by labels that Kubernetes advises against, and that virtual nodes have.
	config.WarningHandler = rest.NoWarnings{}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	w.Client, err = client.New(config, client.Options{Scheme: scheme})
	return err
}

// Down takes the sandbox down, and removes what Up has built for it.
func (w *World) Down(ctx context.Context) error {
	defer gexec.CleanupBuildArtifacts()
	_, err := w.Box.Down(ctx)
	return err
}

// ClearOrphans takes down the sandboxes of runs that were killed before they could, and tells of each.
func ClearOrphans(ctx context.Context, prefix string, progress func(string)) error {
	names, err := sandbox.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		suffix, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		pid, err := strconv.Atoi(suffix)
		if err != nil || (pid != os.Getpid() && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)) {
			continue
		}
		progress("taking down the sandbox " + name + " of a run that was killed")
		orphan, err := sandbox.Open(name)
		if err != nil {
			return err
		}
		if _, err := orphan.Down(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Kubectl runs what a user would type, and returns what it printed.
func (w *World) Kubectl(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, w.Programs.Path("kubectl"), append([]string{"--kubeconfig", w.Box.Kubeconfig()}, args...)...)
	command.Dir = w.Root
	var output, problems bytes.Buffer
	command.Stdout, command.Stderr = &output, &problems
	if err := command.Run(); err != nil {
		return output.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(Redact(args), " "), err, problems.String())
	}
	return output.String(), nil
}

// Redact leaves the values of Secrets out of what is shown.
func Redact(args []string) []string {
	shown := slices.Clone(args)
	for i, arg := range shown {
		if literal, ok := strings.CutPrefix(arg, "--from-literal="); ok {
			key, _, _ := strings.Cut(literal, "=")
			shown[i] = "--from-literal=" + key + "=…"
		}
	}
	return shown
}
