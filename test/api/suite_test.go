// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package api tests on a real API server what it accepts: of connectors, by their schema, and of the operator and its
// virtual kubelets, by admission policies.
package api

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/controlplane"
)

const (
	samples   = "../../config/samples"
	namespace = "vk-connector-system"
)

var (
	// admin may do all at the API server that all tests share, and k8s talks to it so.
	admin *rest.Config
	k8s   client.Client
	// crd is the definition of connectors that the API server has.
	crd *apiextensionsv1.CustomResourceDefinition

	kubectlPath, kubeconfig string
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	programs, err := binaries.Build(ctx, binaries.Options{Progress: func(line string) { fmt.Println(line) }})
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "connector-api-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	plane, err := controlplane.Start(ctx, controlplane.Options{Dir: filepath.Join(dir, "plane"), Programs: programs})
	if err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := plane.Stop(); err == nil {
			err = stopErr
		}
	}()
	admin = plane.RESTConfig()
	kubectlPath, kubeconfig = programs.Path("kubectl"), plane.Kubeconfig()
	crds, err := envtest.InstallCRDs(plane.RESTConfig(), envtest.CRDInstallOptions{
		Paths: []string{"../../config/crd/bases"}, ErrorIfPathMissing: true,
	})
	if err != nil {
		return 0, err
	}
	crd = crds[0]
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return 0, err
		}
	}
	if k8s, err = client.New(plane.RESTConfig(), client.Options{Scheme: scheme}); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// kubectl runs what a user would type, and returns what it printed.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := tryKubectl(t, args...)
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), output)
	return output
}

func tryKubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	output, err := exec.CommandContext(context.WithoutCancel(t.Context()), kubectlPath, append([]string{"--kubeconfig", kubeconfig}, args...)...).CombinedOutput()
	return string(output), err
}

// read reads a manifest of one object.
func read(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	content, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	object := &unstructured.Unstructured{}
	content, err = yaml.YAMLToJSON(content)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(object.UnmarshalJSON(content)).To(Succeed())
	return object
}

// sampleFiles are the manifests of connectors in config/samples.
func sampleFiles(t *testing.T) []string {
	t.Helper()
	g := NewWithT(t)
	found, err := filepath.Glob(filepath.Join(samples, "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	var files []string
	for _, file := range found {
		if filepath.Base(file) != "kustomization.yaml" {
			files = append(files, file)
		}
	}
	g.Expect(files).NotTo(BeEmpty())
	return files
}

func write(t *testing.T, path string, object *unstructured.Unstructured) {
	t.Helper()
	g := NewWithT(t)
	content, err := object.MarshalJSON()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(path, content, 0o600)).To(Succeed())
}
