// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/images"
)

const (
	fluxNamespace = "flux-system"
	// fluxUser is the user that Flux's images have.
	fluxUser = "65534:65534"

	// Repository is the one that the samples for Flux name.
	Repository = "virtual-kubelet/connector-operator"
)

func (i *Installation) flux(ctx context.Context) error {
	if err := i.installFlux(ctx); err != nil {
		return err
	}
	i.progress("publishing config as https://github.com/" + Repository)
	if err := i.PublishConfig(ctx); err != nil {
		return err
	}
	return i.console.All(
		i.console.Kube(ctx, "apply -f config/gitops/flux/source.yaml -f config/gitops/flux/operator.yaml"),
		i.console.Kube(ctx, "wait kustomization.kustomize.toolkit.fluxcd.io/connector-operator -n "+fluxNamespace+" --for=condition=Ready --timeout=3m"),
	)
}

// PublishConfig publishes the config of the checkout, as the repository has it.
func (i *Installation) PublishConfig(ctx context.Context) error {
	folder, remove, err := i.temporary()
	if err != nil {
		return err
	}
	defer remove()
	if err := os.CopyFS(filepath.Join(folder, "config"), os.DirFS(filepath.Join(i.root, "config"))); err != nil {
		return err
	}
	_, err = i.box.Publish(ctx, Repository, folder, "")
	return err
}

// installFlux installs the two controllers that the samples need, from the manifests beside their sources.
func (i *Installation) installFlux(ctx context.Context) error {
	folder, remove, err := i.temporary()
	if err != nil {
		return err
	}
	defer remove()
	overlay := kustomize.Kustomization{Namespace: fluxNamespace}
	for name, path := range map[string]string{
		"source-controller": binaries.SourceController, "kustomize-controller": binaries.KustomizeController,
	} {
		source, version, err := binaries.Source(ctx, binaries.Options{Root: i.root}, moduleOf(binaries.Flux(), name), path)
		if err != nil {
			return err
		}
		for _, part := range []string{"crd", "rbac", "manager"} {
			base, err := filepath.Rel(folder, filepath.Join(source, "config", part))
			if err != nil {
				return err
			}
			overlay.Resources = append(overlay.Resources, base)
		}
		reference := "ghcr.io/fluxcd/" + name
		overlay.Images = append(overlay.Images, kustomize.Image{Name: "fluxcd/" + name, NewName: reference, NewTag: version})
		i.progress("importing the image of " + name + " " + version)
		if err := i.box.Import(ctx, images.Spec{
			Reference: reference + ":" + version, Program: i.programs.Path(name), Path: "/usr/local/bin/" + name, User: fluxUser, TrustStore: i.trust,
		}); err != nil {
			return err
		}
	}
	content, err := yaml.Marshal(overlay)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), content, 0o600); err != nil {
		return err
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return err
	}
	manifests, err := built.AsYaml()
	if err != nil {
		return err
	}
	return i.console.All(
		i.console.Kube(ctx, "create namespace "+fluxNamespace),
		i.console.KubeWith(ctx, strings.NewReader(string(manifests)), "apply --server-side -f -"),
		i.console.Kube(ctx, "rollout status deployment/source-controller deployment/kustomize-controller -n "+fluxNamespace+" --timeout=3m"),
	)
}
