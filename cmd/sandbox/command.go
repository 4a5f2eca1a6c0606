// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox"
)

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sandbox",
		Short: "A whole Kubernetes with a simulated Azure, on this machine",
		Long: `A sandbox is a real Kubernetes (control plane, kubelet, containerd, name service) with a
simulated Azure beside it, in namespaces of its own. Several can stand side by side, told
apart by --name. It needs Linux and root.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	name := root.PersistentFlags().String("name", sandbox.DefaultName, "name of the sandbox")
	open := func() (sandbox.Sandbox, error) { return sandbox.Open(*name) }
	root.AddCommand(upCommand(open), downCommand(open), insideCommand())
	return root
}

type opener func() (sandbox.Sandbox, error)

// self is the command line of Inside: this very program, also when its file is gone by then.
var self = []string{"/proc/self/exe", "inside"}

func upCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Bring the sandbox up, building its programs the first time",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			box, err := open()
			if err != nil {
				return err
			}
			start := time.Now()
			if err := box.Up(cmd.Context(), sandbox.UpOptions{Command: self, Progress: progress(cmd.ErrOrStderr(), start)}); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "up in %s\n", time.Since(start).Round(100*time.Millisecond))
			fmt.Fprintf(cmd.OutOrStdout(), "export KUBECONFIG=%s\n", box.Kubeconfig())
			return nil
		},
	}
}

func progress(out io.Writer, start time.Time) func(string) {
	return func(line string) {
		fmt.Fprintf(out, "%6.1fs %s\n", time.Since(start).Seconds(), line)
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

func insideCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "inside STAGE NAME",
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
