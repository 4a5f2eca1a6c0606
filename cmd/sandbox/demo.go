// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/demo"
)

const demoName = "demo"

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the operator's main job, from nothing to nothing",
		Long: `Starts a sandbox, installs the operator from config/default, applies the sample connector, runs a
Linux and a Windows workload on its virtual nodes, and removes everything, with the commands that a
user would type. It ends with 0 only if it has seen each result. Its sandbox is named demo unless
--name says otherwise, and is taken down at the end; KEEP=1 in the environment leaves it up.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name := demoName
			if flag := cmd.Flag("name"); flag.Changed {
				name = flag.Value.String()
			}
			box, err := sandbox.Open(name)
			if err != nil {
				return err
			}
			return demo.Run(cmd.Context(), demo.Options{
				Sandbox: box, Command: self, Out: cmd.OutOrStdout(), Keep: os.Getenv("KEEP") != "",
			})
		},
	}
}
