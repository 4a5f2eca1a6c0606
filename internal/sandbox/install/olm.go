// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/images"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/process"
)

const (
	lifecycleManagerImage = "quay.io/operator-framework/olm:"
	catalogServerImage    = "quay.io/operator-framework/opm:latest"
	bundleRepository      = "ghcr.io/virtual-kubelet/connector-operator-bundle"
	catalogImage          = "ghcr.io/virtual-kubelet/connector-operator-catalog:latest"

	lifecycleManagerNamespace = "olm"
	// lifecycleManagerUser is the user that OLM gives the pods it makes, and that its images have.
	lifecycleManagerUser = "1001:0"
)

func (i *Installation) olm(ctx context.Context) error {
	if err := i.installLifecycleManager(ctx); err != nil {
		return err
	}
	i.progress("pushing the bundle and the catalog")
	if err := i.PushCatalog(ctx, filepath.Join(i.root, "config", "catalog"), filepath.Join(i.root, "bundle")); err != nil {
		return err
	}
	return i.console.All(
		i.console.Kube(ctx, "apply -k config/olm"),
		i.console.Kube(ctx, "wait subscription/"+deployment+" -n "+namespace+" --for=jsonpath={.status.state}=AtLatestKnown --timeout=5m"),
		i.console.Kube(ctx, "wait csv -l operators.coreos.com/"+deployment+"."+namespace+" -n "+namespace+" --for=jsonpath={.status.phase}=Succeeded --timeout=3m"),
	)
}

// installLifecycleManager installs OLM from its own chart.
func (i *Installation) installLifecycleManager(ctx context.Context) error {
	module := moduleOf(binaries.OLM(), "olm")
	source, version, err := binaries.Source(ctx, binaries.Options{Root: i.root}, module, binaries.LifecycleManager)
	if err != nil {
		return err
	}
	i.progress("pushing the images of the Operator Lifecycle Manager " + version)
	for _, spec := range []images.Spec{i.lifecycleManager(version), i.catalogServer(catalogServerImage)} {
		if err := i.push(ctx, spec); err != nil {
			return err
		}
	}
	chart := filepath.Join(source, "deploy", "chart")
	crds := filepath.Join(chart, "crds")
	if err := i.console.All(
		i.console.Kube(ctx, "apply --server-side -f "+crds),
		i.console.Kube(ctx, "wait --for=condition=Established -f "+crds+" --timeout=1m"),
	); err != nil {
		return err
	}
	manifests, err := i.lifecycleManagerManifests(ctx, chart, lifecycleManagerImage+version)
	if err != nil {
		return err
	}
	return i.console.All(
		i.console.KubeWith(ctx, strings.NewReader(manifests), "apply --server-side -f -"),
		i.console.Kube(ctx, "rollout status deployment/olm-operator deployment/catalog-operator -n "+lifecycleManagerNamespace+" --timeout=3m"),
		i.console.Kube(ctx, "wait csv/packageserver -n "+lifecycleManagerNamespace+" --for=jsonpath={.status.phase}=Succeeded --timeout=5m"),
	)
}

func moduleOf(modules []binaries.Module, name string) binaries.Module {
	return modules[slices.IndexFunc(modules, func(m binaries.Module) bool { return m.Name == name })]
}

func (i *Installation) lifecycleManagerManifests(ctx context.Context, chart, image string) (string, error) {
	folder, remove, err := i.temporary()
	if err != nil {
		return "", err
	}
	defer remove()
	container := map[string]any{"image": map[string]any{"ref": image, "pullPolicy": "IfNotPresent"}}
	values, err := yaml.Marshal(map[string]any{
		"namespace":         lifecycleManagerNamespace,
		"catalog_namespace": lifecycleManagerNamespace,
		// The catalog of all the world is not there.
		"installType": "",
		"olm":         container,
		"catalog": map[string]any{
			"image":        container["image"],
			"opmImageArgs": "--opmImage=" + catalogServerImage,
		},
		"package": map[string]any{"image": container["image"], "replicaCount": 1},
	})
	if err != nil {
		return "", err
	}
	file := filepath.Join(folder, "values.yaml")
	if err := os.WriteFile(file, values, 0o600); err != nil {
		return "", err
	}
	return process.Output(ctx, i.programs.Path("helm"), "template", "olm", chart, "--values", file)
}

func (i *Installation) lifecycleManager(version string) images.Spec {
	files := map[string]string{}
	for _, program := range []string{"catalog", "package-server", "copy-content", "cpb", "cp"} {
		files["/bin/"+program] = i.programs.Path(program)
	}
	return images.Spec{
		Reference: lifecycleManagerImage + version, Program: i.programs.Path("olm"), Path: "/bin/olm", User: lifecycleManagerUser, Files: files,
	}
}

func (i *Installation) catalogServer(reference string) images.Spec {
	return images.Spec{
		Reference: reference, Program: i.programs.Path("opm"), Path: "/bin/opm", User: lifecycleManagerUser,
		Files: map[string]string{"/bin/grpc_health_probe": i.programs.Path("grpc_health_probe")},
	}
}

// PushCatalog pushes bundles, and a catalog that offers them in the channels of a folder.
func (i *Installation) PushCatalog(ctx context.Context, channels string, bundles ...string) error {
	folder, remove, err := i.temporary()
	if err != nil {
		return err
	}
	defer remove()
	configs := filepath.Join(folder, "configs")
	if err := os.CopyFS(configs, os.DirFS(channels)); err != nil {
		return err
	}
	for number, bundle := range bundles {
		content, err := process.Output(ctx, i.programs.Path("opm"), "render", bundle, "--output=yaml",
			"--alpha-image-ref-template="+bundleRepository+":v{{.Version}}")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(configs, fmt.Sprintf("bundle-%d.yaml", number)), []byte(content), 0o644); err != nil {
			return err
		}
		if err := i.pushBundle(ctx, bundle, content); err != nil {
			return err
		}
	}
	if _, err := process.Run(ctx, i.programs.Path("opm"), "validate", configs); err != nil {
		return err
	}
	spec := i.catalogServer(catalogImage)
	spec.Args = []string{"serve", "/configs"}
	spec.Files["/configs"] = configs
	spec.Labels = map[string]string{"operators.operatorframework.io.index.configs.v1": "/configs"}
	return i.push(ctx, spec)
}

// pushBundle pushes what bundle.Dockerfile makes of a bundle, by the name that the catalog has for it.
func (i *Installation) pushBundle(ctx context.Context, bundle, rendered string) error {
	var entry struct {
		Image string `json:"image"`
	}
	if err := yaml.Unmarshal([]byte(rendered), &entry); err != nil {
		return err
	}
	var metadata struct {
		Annotations map[string]string `json:"annotations"`
	}
	content, err := os.ReadFile(filepath.Join(bundle, "metadata", "annotations.yaml"))
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(content, &metadata); err != nil {
		return err
	}
	files := map[string]string{}
	for _, name := range []string{"manifests", "metadata", "tests/scorecard"} {
		files["/"+name] = filepath.Join(bundle, name)
	}
	return i.push(ctx, images.Spec{Reference: entry.Image, Files: files, Labels: metadata.Annotations})
}

func (i *Installation) push(ctx context.Context, spec images.Spec) error {
	image, err := images.Assemble(spec)
	if err != nil {
		return err
	}
	return i.box.Push(ctx, spec.Reference, image)
}
