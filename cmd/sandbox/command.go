// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/cluster"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/install"
)

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sandbox",
		Short: "A whole Kubernetes with a simulated Azure, on this machine",
		Long: `A sandbox is a real Kubernetes (control plane, kubelet, containerd, name service) with a
simulated Azure beside it, in namespaces of its own. Several can stand side by side, told
apart by --name. It needs Linux and root.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	name := root.PersistentFlags().String("name", sandbox.DefaultName, "name of the sandbox")
	open := func() (sandbox.Sandbox, error) { return sandbox.Open(*name) }
	root.AddCommand(
		buildCommand(), upCommand(open), downCommand(open), statusCommand(open), kubeconfigCommand(open),
		loadCommand(open), installCommand(open), logsCommand(open), azureCommand(open), demoCommand(), insideCommand(),
	)
	return root
}

type opener func() (sandbox.Sandbox, error)

// running opens a sandbox that must run.
func (o opener) running() (sandbox.Sandbox, error) {
	box, err := o()
	if err != nil {
		return box, err
	}
	return box, box.Require()
}

// self is the command line of Inside: this very program, also when its file is gone by then.
var self = []string{"/proc/self/exe", "inside"}

func buildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build [WAY...]",
		Short: "Build the sandbox's programs, if they are not there yet",
		Long: `Builds the programs that a sandbox runs from their Go modules, if they are not in the cache yet, and
says how far it is; with ways to install the operator, also the programs that those need. It needs
no root. up and install do the same first.`,
		Args:      cobra.OnlyValidArgs,
		ValidArgs: install.Ways(),
		RunE: func(cmd *cobra.Command, ways []string) error {
			report := progress(cmd.ErrOrStderr(), time.Now())
			if len(ways) == 0 {
				_, err := binaries.Build(cmd.Context(), binaries.Options{Progress: report})
				return err
			}
			for _, way := range ways {
				if _, err := install.Build(cmd.Context(), way, report); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func upCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Bring the sandbox up, building its programs the first time",
		Long: `Brings the sandbox up and prints the line that makes kubectl use it.

The first time its programs are built from their Go modules, which takes a quarter of an
hour or more; they are kept in the user's cache folder, or in SANDBOX_CACHE. After that the sandbox
is up in half a minute. What a sandbox of the same name that was killed has left is cleared
first. An interrupt takes down what was started.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			box, err := open()
			if err != nil {
				return err
			}
			start := time.Now()
			options := sandbox.UpOptions{Command: self, Progress: progress(cmd.ErrOrStderr(), start)}
			if err := box.Up(cmd.Context(), options); err != nil {
				return err
			}
			options.Progress("the sandbox is up")
			fmt.Fprintf(cmd.OutOrStdout(), "export KUBECONFIG=%s\n", box.Kubeconfig())
			return nil
		},
	}
}

func progress(out io.Writer, start time.Time) func(string) {
	return func(line string) {
		fmt.Fprintf(out, "%6.1fs  %s\n", time.Since(start).Seconds(), line)
	}
}

func downCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Take the sandbox down and remove all that is left of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			box, err := open()
			if err != nil {
				return err
			}
			existed, err := box.Down(cmd.Context())
			if err != nil {
				return err
			}
			if !existed {
				fmt.Fprintf(cmd.ErrOrStderr(), "there is no sandbox %q\n", box.Name())
			}
			return nil
		},
	}
}

func statusCommand(open opener) *cobra.Command {
	command := &cobra.Command{
		Use:   "status",
		Short: "Tell whether the sandbox is up; without it, exit with 1",
		Args:  cobra.NoArgs,
	}
	all := command.Flags().Bool("all", false, "tell of every sandbox of this machine and exit with 0")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		box, err := open()
		if err != nil {
			return err
		}
		boxes := []sandbox.Sandbox{box}
		if *all {
			if boxes, err = allSandboxes(); err != nil {
				return err
			}
		}
		table := newTable(cmd.OutOrStdout(), "NAME", "STATE", "AGE", "NODE", "KUBECONFIG")
		var down error
		for _, box := range boxes {
			status, err := box.Status(cmd.Context())
			if err != nil {
				return err
			}
			age, node, kubeconfig := "-", "-", "-"
			if !status.Since.IsZero() {
				age, node, kubeconfig = time.Since(status.Since).Round(time.Second).String(), status.Node.String(), box.Kubeconfig()
			}
			table.row(status.Name, string(status.State), age, node, kubeconfig)
			if status.State != sandbox.StateUp && !*all {
				down = fmt.Errorf("the sandbox %q is %s", status.Name, strings.Join(append([]string{string(status.State)}, status.Details...), "; "))
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
		return down
	}
	return command
}

func allSandboxes() ([]sandbox.Sandbox, error) {
	names, err := sandbox.List()
	if err != nil {
		return nil, err
	}
	var boxes []sandbox.Sandbox
	for _, name := range names {
		box, err := sandbox.Open(name)
		if err != nil {
			return nil, err
		}
		boxes = append(boxes, box)
	}
	return boxes, nil
}

func kubeconfigCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:     "kubeconfig",
		Short:   "Print the path of the kubeconfig",
		Example: "  export KUBECONFIG=$(sandbox kubeconfig)",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			box, err := open.running()
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), box.Kubeconfig())
			return nil
		},
	}
}

func loadCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "load",
		Short: "Build the operator's image from this checkout and import it",
		Long: `Builds the operator from this checkout, assembles its image under the reference that the
manifests name and imports it into the sandbox. Pods that run already keep the old one until
they are restarted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			box, err := open()
			if err != nil {
				return err
			}
			reference, err := box.Load(cmd.Context(), progress(cmd.ErrOrStderr(), time.Now()))
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), reference)
			return nil
		},
	}
}

func installCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "install kubectl|helm|flux|olm",
		Short: "Install the operator of this checkout, in one of the ways that its users do",
		Long: `Installs the operator of this checkout into the sandbox with kubectl, Helm, Flux or the Operator
Lifecycle Manager (OLM), and shows the commands. A sandbox that is not up is brought up. What Flux
and OLM need is built first: a few minutes the first time. They fetch images and manifests from the
sandbox's own ghcr.io, quay.io and github.com.`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: install.Ways(),
		RunE: func(cmd *cobra.Command, args []string) error {
			box, err := open()
			if err != nil {
				return err
			}
			if _, isDown := errors.AsType[sandbox.NotUpError](box.Require()); isDown {
				err := box.Up(cmd.Context(), sandbox.UpOptions{Command: self, Progress: progress(cmd.ErrOrStderr(), time.Now())})
				if err != nil {
					return err
				}
			}
			installation, err := install.New(cmd.Context(), box, args[0], cmd.OutOrStdout())
			if err != nil {
				return err
			}
			if err := installation.Run(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "export KUBECONFIG=%s\n", box.Kubeconfig())
			return nil
		},
	}
}

func logsCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "logs COMPONENT",
		Short: "Print the log of a component",
		Long: "Prints the log of a component: " + strings.Join(cluster.Components(), ", ") + `.
The name service and the operator are pods: use kubectl logs for them.`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: cluster.Components(),
		RunE: func(cmd *cobra.Command, args []string) error {
			box, err := open()
			if err != nil {
				return err
			}
			path, err := box.LogPath(args[0])
			if err != nil {
				return err
			}
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			_, err = io.Copy(cmd.OutOrStdout(), file)
			return err
		},
	}
}

func insideCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "inside STAGE NAME",
		Short:  "Run a part of a sandbox; called by up",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			box, err := sandbox.Open(args[1])
			if err != nil {
				return err
			}
			return box.Inside(cmd.Context(), sandbox.Stage(args[0]), self)
		},
	}
}

type table struct{ *tabwriter.Writer }

func newTable(out io.Writer, headings ...string) table {
	t := table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.row(headings...)
	return t
}

func (t table) row(cells ...string) {
	fmt.Fprintln(t, strings.Join(cells, "\t"))
}
