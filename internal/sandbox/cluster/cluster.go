// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package cluster runs a whole Kubernetes (control plane, node, name service) and, beside it, the
// simulated Azure and the origin of images and repositories; it runs only inside the namespaces of a sandbox and never
// reaches out of them.
package cluster

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/controlplane"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/images"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/network"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/origin"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/pki"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/process"
)

const (
	// NodeName is the name of the cluster's one ordinary node.
	NodeName = "sandbox"

	apiServerPort = 6443
	startTimeout  = 90 * time.Second
)

//go:embed files
var files embed.FS

// Layout is where the parts of a sandbox keep their files.
type Layout struct{ Dir string }

// Kubeconfig is the administrator's, for the host.
func (l Layout) Kubeconfig() string { return filepath.Join(l.Dir, "kubeconfig") }

// AuditLog has a line for each request to the API server.
func (l Layout) AuditLog() string { return filepath.Join(l.Dir, "audit.log") }

// Logs is the folder of the components' logs.
func (l Layout) Logs() string { return filepath.Join(l.Dir, "logs") }

// AzureControl is the socket to control the simulated Azure by.
func (l Layout) AzureControl() string { return filepath.Join(l.Dir, "azure.sock") }

// Authority is the certificate that signs those of the simulated Azure and of the origin.
func (l Layout) Authority() string { return filepath.Join(l.Dir, "ca.crt") }

// Origin is the folder of what the origin serves.
func (l Layout) Origin() string { return filepath.Join(l.Dir, "origin") }

// ContainerdSocket is where containerd listens.
func (l Layout) ContainerdSocket() string { return filepath.Join(l.Dir, "containerd.sock") }

func (l Layout) path(elements ...string) string {
	return filepath.Join(append([]string{l.Dir}, elements...)...)
}

// Components are the programs of a sandbox that keep a log.
func Components() []string {
	return []string{"sandbox", "azure", "origin", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd", "kubelet", "kube-proxy"}
}

// Config says what to run.
type Config struct {
	Layout   Layout
	Programs binaries.Set
	Block    network.Block
	// Cgroup is the control group of every pod, as a path in each hierarchy.
	Cgroup string
	// Commands are the command lines of what stands in for the world outside: azure, see ServeAzure, and origin, see
	// ServeOrigin.
	Commands map[string][]string
	Progress func(line string)
}

// Run brings the cluster up, tells ready and then keeps it up until the context ends.
func Run(ctx context.Context, config Config, ready func() error) error {
	c := &cluster{Config: config}
	if err := c.start(ctx); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

type cluster struct {
	Config
	plane *controlplane.ControlPlane
}

func (c *cluster) start(ctx context.Context) error {
	for _, dir := range []string{c.Layout.Logs(), c.Layout.path("node"), c.Layout.path("cni"), c.Layout.path("registries", "_default")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	trust, err := c.startServices()
	if err != nil {
		return err
	}
	if err := c.startContainerd(ctx); err != nil {
		return err
	}
	imported := make(chan error, 1)
	go func() { imported <- c.importImages(ctx, trust) }()

	c.Progress("starting the control plane")
	c.plane, err = controlplane.Start(ctx, controlplane.Options{
		Dir:       c.Layout.path("controlplane"),
		Logs:      c.Layout.Logs(),
		Programs:  c.Programs,
		Address:   c.Block.Node(),
		Port:      apiServerPort,
		Services:  c.Block.Services(),
		Scheduler: true,
		AuditLog:  c.Layout.AuditLog(),
		Restart:   true,
	})
	if err != nil {
		return err
	}
	if err := os.Rename(c.plane.Kubeconfig(), c.Layout.Kubeconfig()); err != nil {
		return err
	}
	if err := <-imported; err != nil {
		return err
	}
	if err := c.startNode(); err != nil {
		return err
	}
	if err := c.startNameService(ctx); err != nil {
		return err
	}
	return c.waitReady(ctx)
}

// startServices starts what stands in for the world outside, and returns the authority to trust it by.
func (c *cluster) startServices() (trust []byte, err error) {
	authority, err := pki.NewAuthority("sandbox")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.Layout.Authority(), authority.Certificate(), 0o644); err != nil {
		return nil, err
	}
	for name, hosts := range map[string][]string{
		"azure": azure.Hosts(),
		// containerd knows the origin by its address.
		"origin": append(origin.Hosts(), c.Block.Origin().String()),
	} {
		pair, err := authority.Server(name, hosts...)
		if err != nil {
			return nil, err
		}
		if _, err := pair.Write(c.Layout.Dir, name); err != nil {
			return nil, err
		}
		if err := c.run(name, c.Commands[name][0], c.Commands[name][1:]...); err != nil {
			return nil, err
		}
	}
	return authority.Certificate(), nil
}

func (c *cluster) importImages(ctx context.Context, trust []byte) error {
	c.Progress("assembling and importing images")
	return ImportImages(ctx, c.Layout, c.Programs, images.ForCluster(c.Programs.Path, trust)...)
}

// ImportImages assembles images and hands them to the containerd of a sandbox.
func ImportImages(ctx context.Context, layout Layout, programs binaries.Set, specs ...images.Spec) error {
	archive, err := os.CreateTemp(layout.Dir, "images-*.tar")
	if err != nil {
		return err
	}
	defer os.Remove(archive.Name())
	if err := archive.Close(); err != nil {
		return err
	}
	if err := images.Write(archive.Name(), specs...); err != nil {
		return err
	}
	_, err = process.Run(ctx, programs.Path("ctr"), "--address", layout.ContainerdSocket(), "--namespace", "k8s.io",
		"images", "import", "--local", archive.Name())
	return err
}

func (c *cluster) startNameService(ctx context.Context) error {
	manifest, err := c.render("coredns.yaml")
	if err != nil {
		return err
	}
	_, err = process.Pipe(ctx, manifest, c.Programs.Path("kubectl"), "--kubeconfig", c.Layout.Kubeconfig(),
		"apply", "--server-side", "--filename", "-")
	return err
}

// waitReady returns when the node is Ready and names resolve.
func (c *cluster) waitReady(ctx context.Context) error {
	c.Progress("waiting for the node and the name service")
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := kubernetes.NewForConfig(c.plane.RESTConfig())
	if err != nil {
		return err
	}
	for {
		state := Ready(ctx, client)
		if state == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster is not ready: %w (%w); see the logs in %s", state, ctx.Err(), c.Layout.Logs())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Ready returns what keeps the cluster from being ready: its node or its name service.
func Ready(ctx context.Context, client kubernetes.Interface) error {
	node, err := client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("the kubelet has not registered its node: %w", err)
	}
	ready := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
	if ready < 0 {
		return errors.New("the kubelet has not told the state of its node")
	}
	if condition := node.Status.Conditions[ready]; condition.Status != corev1.ConditionTrue {
		return fmt.Errorf("the node is not Ready: %s", condition.Message)
	}
	deployment, err := client.AppsV1().Deployments(metav1.NamespaceSystem).Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("the name service is not there: %w", err)
	}
	if deployment.Status.AvailableReplicas == 0 {
		return errors.New("the name service is not available")
	}
	return nil
}

func (c *cluster) run(name, path string, args ...string) error {
	_, err := process.Start(process.Spec{
		Name:    name,
		Path:    path,
		Args:    args,
		Dir:     c.Layout.Dir,
		Log:     filepath.Join(c.Layout.Logs(), name+".log"),
		Restart: true,
	})
	return err
}

// render fills a file of this package in.
func (c *cluster) render(name string) (string, error) {
	parsed, err := template.New(name).Option("missingkey=error").ParseFS(files, "files/"+name)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	err = parsed.Execute(&text, map[string]any{
		"Block":        c.Block,
		"Dir":          c.Layout.Dir,
		"Socket":       c.Layout.ContainerdSocket(),
		"Cgroup":       c.Cgroup,
		"Node":         NodeName,
		"Runc":         c.Programs.Path("runc"),
		"Plugins":      filepath.Dir(c.Programs.Path("bridge")),
		"PauseImage":   images.Pause,
		"CoreDNSImage": images.CoreDNS,
		"AzureHosts":   azure.Hosts(),
		"OriginHosts":  origin.Hosts(),
		"Authority":    c.Layout.Authority(),
	})
	if err != nil {
		return "", fmt.Errorf("filling in %s: %w", name, err)
	}
	return text.String(), nil
}

// write renders a file into the sandbox's folder and returns its path.
func (c *cluster) write(name string, folder ...string) (string, error) {
	text, err := c.render(name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.Layout.path(folder...), name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}
