// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/cluster"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/images"
)

// State is what a sandbox is in.
type State string

// The states of a sandbox.
const (
	StateDown     State = "Down"
	StateLeftover State = "Leftover" // it was killed; up or down clear what it left
	StateStarting State = "Starting"
	StateUp       State = "Up"
	StateDegraded State = "Degraded" // it runs and a part of it doesn't answer
)

// Status tells about a sandbox.
type Status struct {
	Name    string
	State   State
	Since   time.Time
	Node    netip.Addr
	Details []string
}

// Status looks at the sandbox.
func (s Sandbox) Status(ctx context.Context) (Status, error) {
	status := Status{Name: s.name, State: StateDown}
	if os.Geteuid() != 0 {
		return status, errNotRoot
	}
	if _, err := os.Stat(s.Dir); errors.Is(err, fs.ErrNotExist) {
		return status, nil
	} else if err != nil {
		return status, err
	}
	r, err := s.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		status.Details = []string{err.Error()}
	}
	if !r.running() {
		status.State = StateLeftover
		return status, nil
	}
	if !r.Ready {
		status.State, status.Since = StateStarting, r.Started
		return status, nil
	}
	status.State, status.Since, status.Node = StateUp, r.Started, r.Block.Node()
	for name, check := range map[string]func(context.Context) error{
		"kubernetes": s.checkCluster,
		"azure":      s.checkAzure,
	} {
		if err := check(ctx); err != nil {
			status.State = StateDegraded
			status.Details = append(status.Details, name+": "+err.Error())
		}
	}
	slices.Sort(status.Details)
	return status, nil
}

func (s Sandbox) checkCluster(ctx context.Context) error {
	config, err := s.RESTConfig()
	if err != nil {
		return err
	}
	config.Timeout = 5 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return cluster.Ready(ctx, client)
}

func (s Sandbox) checkAzure(ctx context.Context) error {
	_, err := s.Azure().Requests(ctx)
	return err
}

// List returns the names of the sandboxes that run or have left something.
func List() ([]string, error) { return names() }

// RESTConfig is the administrator's access to the cluster.
func (s Sandbox) RESTConfig() (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags("", s.Kubeconfig())
}

// Azure controls the simulated Azure.
func (s Sandbox) Azure() *azure.Client { return azure.Dial(s.AzureControl()) }

// Require returns an error unless the sandbox runs.
func (s Sandbox) Require() error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	if r, err := s.read(); err != nil || !r.Ready || !r.running() {
		return NotUpError{Name: s.name}
	}
	return nil
}

// Load builds the operator from the checkout and imports its image into the cluster.
func (s Sandbox) Load(ctx context.Context, progress func(line string)) (reference string, err error) {
	return images.Manager, s.LoadAs(ctx, images.Manager, progress)
}

// LoadAs is Load for an image of another name, such as that of another release.
func (s Sandbox) LoadAs(ctx context.Context, reference string, progress func(line string)) error {
	if err := s.Require(); err != nil {
		return err
	}
	trust, err := os.ReadFile(s.Authority())
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.Dir, "load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "manager")
	if err := binaries.BuildManager(ctx, binaries.Options{Progress: progress}, program); err != nil {
		return err
	}
	spec := images.ForManager(program, trust)
	spec.Reference = reference
	return s.Import(ctx, spec)
}

// LogPath is where a component's log is.
func (s Sandbox) LogPath(component string) (string, error) {
	if known := cluster.Components(); !slices.Contains(known, component) {
		return "", fmt.Errorf("there is no component %q: choose one of %s", component, strings.Join(known, ", "))
	}
	path := filepath.Join(s.Logs(), component+".log")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: %w", NotUpError{Name: s.name}, err)
	}
	return path, nil
}
