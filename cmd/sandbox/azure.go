// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// nodeTag is the tag by which a virtual kubelet marks the container groups of its node.
const nodeTag = "NodeName"

func azureCommand(open opener) *cobra.Command {
	command := &cobra.Command{
		Use:   "azure",
		Short: "Look at the simulated Azure and disturb it",
	}
	command.AddCommand(groupsCommand(open), requestsCommand(open), faultCommand(open))
	return command
}

func groupsCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "groups",
		Short: "List the container groups",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			box, err := open.running()
			if err != nil {
				return err
			}
			groups, err := box.Azure().ContainerGroups(cmd.Context())
			if err != nil {
				return err
			}
			table := newTable(cmd.OutOrStdout(), "SUBSCRIPTION", "RESOURCE GROUP", "NAME", "OS", "STATE", "NODE")
			for _, g := range groups {
				state := cmp.Or(g.State, g.ProvisioningState)
				if g.Deleting {
					state = "Deleting"
				}
				table.row(g.SubscriptionID, g.ResourceGroup, g.Name, g.OSType, state, cmp.Or(g.Tags[nodeTag], "-"))
			}
			return table.Flush()
		},
	}
}

func requestsCommand(open opener) *cobra.Command {
	command := &cobra.Command{
		Use:   "requests",
		Short: "Count the requests by operation",
		Args:  cobra.NoArgs,
	}
	reset := command.Flags().Bool("reset", false, "start the counts anew, after printing them")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		box, err := open.running()
		if err != nil {
			return err
		}
		counts, err := box.Azure().Requests(cmd.Context())
		if err != nil {
			return err
		}
		table := newTable(cmd.OutOrStdout(), "OPERATION", "REQUESTS")
		for _, operation := range slices.Sorted(maps.Keys(counts)) {
			table.row(operation, strconv.Itoa(counts[operation]))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if *reset {
			return box.Azure().ResetRequests(cmd.Context())
		}
		return nil
	}
	return command
}

func faultCommand(open opener) *cobra.Command {
	command := &cobra.Command{
		Use:   "fault",
		Short: "Make the simulated Azure fail or wait",
	}
	command.AddCommand(addFaultCommand(open), listFaultsCommand(open), clearFaultsCommand(open))
	return command
}

func addFaultCommand(open opener) *cobra.Command {
	command := &cobra.Command{
		Use:   "add OPERATION",
		Short: "Add a fault for the operations that a glob matches",
		Long: `Adds a fault for the operations that a glob matches, as azure requests names them. It lasts
until it is cleared, unless --times or --for end it.`,
		Example: `  sandbox azure fault add 'ContainerGroups.*' --status 429 --retry-after 5s --times 3
  sandbox azure fault add Token --status 401 --code AADSTS7000222
  sandbox azure fault add ContainerGroups.Delete --delay 30s --for 10m`,
		Args: cobra.ExactArgs(1),
	}
	var fault azure.Fault
	flags := command.Flags()
	flags.IntVar(&fault.Status, "status", 0, "HTTP status to answer with, in Azure's form")
	flags.StringVar(&fault.Code, "code", "", "error code; the default goes with the status")
	flags.StringVar(&fault.Message, "message", "", "error message; the default goes with the code")
	flags.StringVar(&fault.Body, "body", "", "answer this instead of Azure's form")
	flags.DurationVar(&fault.RetryAfter, "retry-after", 0, "Retry-After to send with the status")
	flags.BoolVar(&fault.Drop, "drop", false, "cut the connection without an answer")
	flags.DurationVar(&fault.Delay, "delay", 0, "hold requests back for this long")
	flags.DurationVar(&fault.Lag, "lag", 0, "let lists show the state of this long ago")
	flags.StringVar(&fault.Scope, "scope", "", "only for what lies in this resource ID")
	flags.IntVar(&fault.Times, "times", 0, "how many requests it hits; 0 is all")
	flags.DurationVar(&fault.For, "for", 0, "how long it lasts; 0 is until it is cleared")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		fault.Operation = args[0]
		if err := fault.Validate(); err != nil {
			return err
		}
		box, err := open.running()
		if err != nil {
			return err
		}
		added, err := box.Azure().AddFault(cmd.Context(), fault)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), added.ID)
		return nil
	}
	return command
}

func listFaultsCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the faults",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			box, err := open.running()
			if err != nil {
				return err
			}
			faults, err := box.Azure().Faults(cmd.Context())
			if err != nil {
				return err
			}
			table := newTable(cmd.OutOrStdout(), "ID", "OPERATION", "STATUS", "CODE", "DELAY", "LAG", "TIMES", "FOR", "SCOPE")
			for _, f := range faults {
				table.row(strconv.Itoa(f.ID), f.Operation, number(f.Status), cmp.Or(f.Code, "-"),
					period(f.Delay), period(f.Lag), number(f.Times), period(f.For), cmp.Or(f.Scope, "-"))
			}
			return table.Flush()
		},
	}
}

func clearFaultsCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "clear",
		Short: "Clear all faults",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			box, err := open.running()
			if err != nil {
				return err
			}
			return box.Azure().ClearFaults(cmd.Context())
		},
	}
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func period(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.String()
}
