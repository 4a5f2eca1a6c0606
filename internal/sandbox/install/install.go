// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package install installs the operator into a sandbox that runs, in each way that its users do and with the programs that
// they use, shown as they would be typed. It makes what those expect of the world, and no connector.
package install

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/console"
)

const (
	namespace  = "vk-connector-system"
	deployment = "vk-connector-operator"
)

// ways are what installs the operator, by the name that a user gives it.
var ways = map[string]struct {
	modules func() []binaries.Module
	install func(*Installation, context.Context) error
}{
	"kubectl": {noModules, (*Installation).kubectl},
	"helm":    {binaries.Helm, (*Installation).helm},
	"flux":    {binaries.Flux, (*Installation).flux},
	"olm":     {binaries.OLM, (*Installation).olm},
}

func noModules() []binaries.Module { return nil }

// Ways are the names of what installs the operator.
func Ways() []string { return slices.Sorted(maps.Keys(ways)) }

// Build builds the programs that a way needs, beside those of a sandbox.
func Build(ctx context.Context, way string, progress func(string)) (binaries.Set, error) {
	w, ok := ways[way]
	if !ok {
		return nil, fmt.Errorf("there is no way %q: choose one of %s", way, strings.Join(Ways(), ", "))
	}
	return binaries.Build(ctx, binaries.Options{
		Modules: slices.Concat(binaries.Modules(), w.modules()), Progress: progress,
	})
}

// Installation is a way to install the operator into a sandbox.
type Installation struct {
	console  *console.Console
	box      sandbox.Sandbox
	root     string
	programs binaries.Set
	trust    []byte
	install  func(*Installation, context.Context) error
}

// New makes an installation, after it built what the way needs.
func New(ctx context.Context, box sandbox.Sandbox, way string, out io.Writer) (*Installation, error) {
	if err := box.Require(); err != nil {
		return nil, err
	}
	root, err := binaries.FindRoot()
	if err != nil {
		return nil, err
	}
	i := &Installation{
		console: console.New(out, root, box.Kubeconfig()), box: box, root: root, install: ways[way].install,
	}
	if i.programs, err = Build(ctx, way, i.progress); err != nil {
		return nil, err
	}
	i.console.Kubectl = i.programs.Path("kubectl")
	if i.trust, err = os.ReadFile(box.Authority()); err != nil {
		return nil, err
	}
	return i, nil
}

// Run installs the operator and returns when it runs.
func (i *Installation) Run(ctx context.Context) error {
	began := time.Now()
	if _, err := i.box.Load(ctx, i.progress); err != nil {
		return err
	}
	if err := i.install(i, ctx); err != nil {
		return err
	}
	i.console.Print("   done in %s\n", time.Since(began).Round(100*time.Millisecond))
	return nil
}

func (i *Installation) progress(line string) { i.console.Print("   %s\n", line) }

func (i *Installation) kubectl(ctx context.Context) error {
	return i.console.All(
		i.console.Kube(ctx, "apply -k config/default"),
		i.console.Kube(ctx, "rollout status deployment/"+deployment+" -n "+namespace+" --timeout=2m"),
	)
}

func (i *Installation) helm(ctx context.Context) error {
	err := i.console.Run(ctx, nil, i.programs.Path("helm"), "install", deployment, "config/chart",
		"--namespace", namespace, "--create-namespace", "--wait", "--timeout", "2m")
	if err != nil {
		return err
	}
	return i.console.Kube(ctx, "label namespace "+namespace+
		" pod-security.kubernetes.io/enforce=restricted connector.virtual-kubelet.io/needed-for-removal=true")()
}

// temporary returns a folder of the sandbox for files that programs are given, and what removes it.
func (i *Installation) temporary() (folder string, remove func(), err error) {
	folder, err = os.MkdirTemp(i.box.Dir, "install-")
	if err != nil {
		return "", nil, err
	}
	return folder, func() { os.RemoveAll(folder) }, nil
}
