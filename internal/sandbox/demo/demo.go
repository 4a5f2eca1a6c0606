// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package demo shows the operator's main job in a sandbox, from nothing to nothing, with the commands
// that a user would type; it fails unless it has seen each result.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/cluster"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/console"
)

// What the manifests in config name.
const (
	operatorNamespace = "vk-connector-system"
	connectorName     = "virtual-kubelet"
	linuxNode         = "virtual-kubelet-virtual-kubelet-linux-eastus"
	windowsNode       = "virtual-kubelet-virtual-kubelet-windows-eastus"
	linuxWorkload     = "aci-helloworld"
	windowsWorkload   = "nanoserver-iis"
	workloads         = "config/samples/workloads"

	takeDownTimeout = time.Minute
)

// Options say how to run the demo.
type Options struct {
	Sandbox sandbox.Sandbox
	// Command is the command line, without its arguments, that calls the sandbox's Inside.
	Command []string
	// Out gets what a person watches.
	Out io.Writer
	// Keep leaves the sandbox up.
	Keep bool
}

type demo struct {
	Options
	*console.Console
	began time.Time
}

// Run runs the demo. It takes the sandbox down again, whatever happens, unless it is told to keep it.
func Run(ctx context.Context, options Options) (err error) {
	root, err := binaries.FindRoot()
	if err != nil {
		return err
	}
	d := &demo{
		Options: options,
		Console: console.New(options.Out, root, options.Sandbox.Kubeconfig()),
		began:   time.Now(),
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	defer func() {
		if err != nil && ctx.Err() == nil {
			d.explain(ctx, err)
		}
		err = errors.Join(err, d.end())
	}()
	for _, step := range d.steps() {
		if err := d.step(ctx, step); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	d.Print("\nThe main job is done, and nothing is left of it (%s).\n", elapsed(d.began))
	return nil
}

// lock keeps a second demo of the same name from taking this one's sandbox down. A socket without a file
// goes with its process, however that ends.
func (d *demo) lock() (unlock func() error, err error) {
	listener, err := net.Listen("unix", "@connector-sandbox-demo-"+d.Sandbox.Name())
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("another demo named %q is running: wait for its end, or choose another --name", d.Sandbox.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("lock the demo: %w", err)
	}
	return listener.Close, nil
}

type step struct {
	title string
	do    func(context.Context) error
}

func (d *demo) steps() []step {
	return []step{
		{"Start a Kubernetes cluster with a simulated Azure beside it", d.up},
		{"Install the operator", d.install},
		{"Connect the cluster to Azure Container Instances", d.connect},
		{"Run a Linux and a Windows container", d.run},
		{"Take Linux off the connector", d.removeLinux},
		{"Delete the connector", d.deleteConnector},
	}
}

func (d *demo) step(ctx context.Context, s step) error {
	began := time.Now()
	d.Print("\n── %s\n", s.title)
	if err := s.do(ctx); err != nil {
		return err
	}
	d.Print("   done in %s\n", elapsed(began))
	return nil
}

func (d *demo) up(ctx context.Context) error {
	progress := func(line string) { d.Print("   %s\n", line) }
	if d.Sandbox.Require() == nil {
		progress("taking down the sandbox that an earlier demo has left")
		if _, err := d.Sandbox.Down(ctx); err != nil {
			return err
		}
	}
	if err := d.Sandbox.Up(ctx, sandbox.UpOptions{Command: d.Command, Progress: progress}); err != nil {
		return err
	}
	programs, err := binaries.Build(ctx, binaries.Options{Progress: progress})
	if err != nil {
		return err
	}
	d.Kubectl = programs.Path("kubectl")
	_, err = d.Sandbox.Load(ctx, progress)
	return err
}

func (d *demo) install(ctx context.Context) error {
	return d.All(
		d.Kube(ctx, "apply -k config/default"),
		d.Kube(ctx, "rollout status deployment/vk-connector-operator -n "+operatorNamespace+" --timeout=2m"),
	)
}

func (d *demo) connect(ctx context.Context) error {
	if err := d.createSecret(ctx); err != nil {
		return err
	}
	err := d.All(
		d.Kube(ctx, "apply -k config/samples"),
		d.Kube(ctx, "wait vkc/"+connectorName+" --for=condition=Ready --timeout=2m"),
		d.Kube(ctx, "get vkc"),
		d.Kube(ctx, "get nodes"),
	)
	if err != nil {
		return err
	}
	return d.expectNodes(ctx, linuxNode, windowsNode)
}

// createSecret gives the client secret on standard input: a command line can be read by others.
func (d *demo) createSecret(ctx context.Context) error {
	const command = "create secret generic virtual-kubelet-credentials -n " + operatorNamespace + " --from-file=clientSecret=/dev/stdin"
	d.Print("   $ printf %%s \"$CLIENT_SECRET\" | kubectl %s\n", command)
	return d.Exec(ctx, strings.NewReader(azure.DefaultClientSecret), d.Kubectl, strings.Fields(command)...)
}

func (d *demo) run(ctx context.Context) error {
	err := d.All(
		d.Kube(ctx, "apply -f "+workloads),
		d.Kube(ctx, "rollout status deployment/"+linuxWorkload+" --timeout=2m"),
		d.Kube(ctx, "rollout status deployment/"+windowsWorkload+" --timeout=2m"),
		d.Kube(ctx, "get pods -o wide"),
		d.Kube(ctx, "logs deployment/"+linuxWorkload),
		d.azureGroups(ctx),
	)
	if err != nil {
		return err
	}
	return d.All(
		func() error { return d.expectRunning(ctx, linuxWorkload, linuxNode) },
		func() error { return d.expectRunning(ctx, windowsWorkload, windowsNode) },
		func() error { return d.expectGroups(ctx, map[string]int{linuxNode: 1, windowsNode: 1}) },
	)
}

func (d *demo) removeLinux(ctx context.Context) error {
	return d.All(
		d.Kube(ctx, "patch vkc "+connectorName+` --type=merge -p {"spec":{"osTypes":["Windows"]}}`),
		d.Kube(ctx, "wait vkc/"+connectorName+` --for=jsonpath={.status.conditions[?(@.type=="Retiring")].status}=True --timeout=1m`),
		d.Kube(ctx, "get vkc -o wide"),
		d.Kube(ctx, "wait node/"+linuxNode+" --for=delete --timeout=3m"),
		d.Kube(ctx, "wait vkc/"+connectorName+" --for=condition=Ready --timeout=2m"),
		d.Kube(ctx, "get nodes"),
		d.azureGroups(ctx),
		func() error { return d.expectNodes(ctx, windowsNode) },
		func() error { return d.expectGroups(ctx, map[string]int{windowsNode: 1}) },
		func() error { return d.expectChildren(ctx, windowsNode) },
	)
}

func (d *demo) deleteConnector(ctx context.Context) error {
	return d.All(
		d.Kube(ctx, "delete vkc "+connectorName+" --timeout=3m"),
		d.Kube(ctx, "get nodes"),
		d.Kube(ctx, "get pods -o wide"),
		d.Kube(ctx, "get deployments,serviceaccounts,secrets,clusterrolebindings,rolebindings -A -l connector.virtual-kubelet.io/connector="+connectorName),
		d.azureGroups(ctx),
		func() error { return d.expectNodes(ctx) },
		func() error { return d.expectGroups(ctx, map[string]int{}) },
		func() error { return d.expectChildren(ctx) },
		d.Kube(ctx, "delete -f "+workloads+" --timeout=1m"),
		func() error { return d.expectNoPods(ctx) },
	)
}

// end takes the sandbox down, also after an interrupt.
func (d *demo) end() error {
	if d.Keep {
		d.Print("\nThe sandbox is left up, as asked:\n   export KUBECONFIG=%s\n   bin/sandbox down --name %s\n", d.Sandbox.Kubeconfig(), d.Sandbox.Name())
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), takeDownTimeout)
	defer cancel()
	_, err := d.Sandbox.Down(ctx)
	return err
}

// explain prints what is there instead of what was awaited, and keeps the logs.
func (d *demo) explain(ctx context.Context, cause error) {
	d.Print("\n── This went wrong: %v\n   What is there instead:\n", cause)
	if d.Kubectl == "" || d.Sandbox.Require() != nil {
		return
	}
	look := func(do func() error) {
		if err := do(); err != nil {
			d.Print("   %v\n", err)
		}
	}
	for _, command := range []string{
		"get vkc -o yaml",
		"get nodes",
		"get pods -A -o wide",
		"get events -A --sort-by=.metadata.creationTimestamp",
		"logs -n " + operatorNamespace + " deployment/vk-connector-operator --tail=50",
	} {
		look(d.Kube(ctx, command))
	}
	look(d.azureGroups(ctx))
	if d.Keep {
		d.Print("\n   The logs: bin/sandbox logs COMPONENT --name %s (%s)\n", d.Sandbox.Name(), strings.Join(cluster.Components(), ", "))
		return
	}
	folder, err := d.keepLogs()
	if err != nil {
		d.Print("   the logs can't be kept: %v\n", err)
		return
	}
	d.Print("\n   The logs: %s\n   KEEP=1 leaves the sandbox up to look around.\n", folder)
}

func (d *demo) keepLogs() (string, error) {
	folder, err := os.MkdirTemp("", "connector-demo-logs-")
	if err != nil {
		return "", err
	}
	return folder, os.CopyFS(folder, os.DirFS(d.Sandbox.Logs()))
}
