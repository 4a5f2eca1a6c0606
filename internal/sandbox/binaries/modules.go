// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// Module is one Go module of this project and the programs that are built from it.
type Module struct {
	Name     string
	Programs []Program
	// Folder is the module's, in the checkout; by default that of its name under hack/sandbox.
	Folder string
	// Flags are given to go build. In them ${version}, ${major} and ${minor} stand for the
	// version of the module Versioned, as go.mod requires it.
	Flags     []string
	Versioned string
}

// Program is a command: the file that it becomes and the package that it is built from.
type Program struct {
	Name    string
	Package string
}

// Modules are all modules that a sandbox needs, the long builds last so that the progress
// of a first run is seen early.
func Modules() []Module {
	const (
		azureACI   = "github.com/virtual-kubelet/azure-aci"
		containerd = "github.com/containerd/containerd/v2/cmd/"
		plugins    = "github.com/containernetworking/plugins/plugins/"
		kubernetes = "k8s.io/kubernetes/cmd/"
		version    = "k8s.io/component-base/version."
	)
	return []Module{
		{Name: "workloads", Programs: []Program{
			{Name: "pause", Package: "./pause"},
			{Name: "greeter", Package: "./greeter"},
		}},
		{Name: "etcd", Programs: []Program{{Name: "etcd", Package: "."}}},
		{Name: "cni", Programs: []Program{
			{Name: "bridge", Package: plugins + "main/bridge"},
			{Name: "loopback", Package: plugins + "main/loopback"},
			{Name: "host-local", Package: plugins + "ipam/host-local"},
		}},
		{Name: "containerd",
			Flags: []string{"-tags", "no_btrfs no_devmapper no_zfs no_aufs"},
			Programs: []Program{
				{Name: "containerd", Package: containerd + "containerd"},
				{Name: "containerd-shim-runc-v2", Package: containerd + "containerd-shim-runc-v2"},
				{Name: "ctr", Package: containerd + "ctr"},
			}},
		{Name: "coredns", Programs: []Program{{Name: "coredns", Package: "."}}},
		{Name: "azure-aci",
			Flags:     []string{"-ldflags", "-s -w -X main.buildVersion=${version}"},
			Versioned: azureACI,
			Programs:  []Program{{Name: "virtual-kubelet", Package: azureACI + "/cmd/virtual-kubelet"}}},
		// Without a version the server says v0.0.0-master and checks of its version fail.
		{Name: "kubernetes",
			Flags: []string{"-ldflags", "-s -w -X " + version + "gitVersion=v${version} -X " +
				version + "gitMajor=${major} -X " + version + "gitMinor=${minor}"},
			Versioned: "k8s.io/kubernetes",
			Programs: []Program{
				{Name: "kubelet", Package: kubernetes + "kubelet"},
				{Name: "kube-apiserver", Package: kubernetes + "kube-apiserver"},
				{Name: "kube-controller-manager", Package: kubernetes + "kube-controller-manager"},
				{Name: "kube-scheduler", Package: kubernetes + "kube-scheduler"},
				{Name: "kube-proxy", Package: kubernetes + "kube-proxy"},
				{Name: "kubectl", Package: kubernetes + "kubectl"},
			}},
	}
}

// Flux are the modules that install the operator as Flux does. Few need them, and they take minutes to build.
func Flux() []Module {
	return []Module{
		{Name: "source-controller", Programs: []Program{{Name: "source-controller", Package: SourceController}}},
		{Name: "kustomize-controller", Programs: []Program{{Name: "kustomize-controller", Package: KustomizeController}}},
	}
}

// OLM are the modules that install the operator as the Operator Lifecycle Manager does, from a chart of its own.
func OLM() []Module {
	return append(Helm(),
		Module{Name: "grpc-health-probe", Programs: []Program{{Name: "grpc_health_probe", Package: "github.com/grpc-ecosystem/grpc-health-probe"}}},
		Module{Name: "olm", Flags: withoutC, Programs: []Program{
			{Name: "olm", Package: LifecycleManager + "/cmd/olm"},
			{Name: "catalog", Package: LifecycleManager + "/cmd/catalog"},
			{Name: "package-server", Package: LifecycleManager + "/cmd/package-server"},
			{Name: "copy-content", Package: LifecycleManager + "/cmd/copy-content"},
			{Name: "cpb", Package: LifecycleManager + "/util/cpb"},
			{Name: "cp", Package: "./cp"},
		}},
		Module{Name: "opm", Folder: "hack/tools/opm", Flags: withoutC, Programs: []Program{{Name: "opm", Package: "github.com/operator-framework/operator-registry/cmd/opm"}}},
	)
}

// NetworkPolicies is the module of what enforces NetworkPolicies, which a sandbox's network plugin does not.
func NetworkPolicies() []Module {
	return []Module{{Name: "network-policies", Programs: []Program{{Name: "network-policies", Package: "."}}}}
}

// withoutC leaves out of OLM's programs what would need libraries in C.
var withoutC = []string{"-tags", "containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_devicemapper json1"}

// Helm is the module of Helm's command.
func Helm() []Module {
	return []Module{{Name: "helm", Folder: "hack/tools/helm", Programs: []Program{{Name: "helm", Package: "helm.sh/helm/v4/cmd/helm"}}}}
}

// Modules of others whose manifests are used, too.
const (
	SourceController    = "github.com/fluxcd/source-controller"
	KustomizeController = "github.com/fluxcd/kustomize-controller"
	LifecycleManager    = "github.com/operator-framework/operator-lifecycle-manager"
)

// Source returns the folder of the source of a module that one of the project's modules requires, and its version. Building
// has fetched it.
func Source(ctx context.Context, options Options, module Module, path string) (folder, version string, err error) {
	root, err := options.root()
	if err != nil {
		return "", "", err
	}
	command := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}\n{{.Version}}", path)
	command.Dir = module.folder(root)
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	output, err := command.Output()
	if err != nil {
		return "", "", fmt.Errorf("finding the source of %s: %w", path, err)
	}
	folder, version, ok := strings.Cut(strings.TrimSpace(string(output)), "\n")
	if !ok || folder == "" {
		return "", "", fmt.Errorf("the source of %s has not been fetched", path)
	}
	return folder, version, nil
}

func (m Module) folder(root string) string {
	if m.Folder != "" {
		return filepath.Join(root, m.Folder)
	}
	return filepath.Join(root, "hack", "sandbox", m.Name)
}

// expand fills the version in that the module's go.mod in the folder requires.
func (m Module) expand(dir string) (Module, error) {
	if m.Versioned == "" {
		return m, nil
	}
	path := filepath.Join(dir, "go.mod")
	content, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	file, err := modfile.ParseLax(path, content, nil)
	if err != nil {
		return m, err
	}
	for _, require := range file.Require {
		if require.Mod.Path != m.Versioned {
			continue
		}
		version := strings.TrimPrefix(require.Mod.Version, "v")
		parts := strings.SplitN(version, ".", 3)
		if len(parts) < 3 {
			return m, fmt.Errorf("%s requires %s in the version %q, which is none", path, m.Versioned, version)
		}
		replacer := strings.NewReplacer("${version}", version, "${major}", parts[0], "${minor}", parts[1])
		flags := make([]string, 0, len(m.Flags))
		for _, flag := range m.Flags {
			flags = append(flags, replacer.Replace(flag))
		}
		m.Flags = flags
		return m, nil
	}
	return m, fmt.Errorf("%s does not require %s", path, m.Versioned)
}
