// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/cgroup"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/network"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/process"
)

var errNotRoot = errors.New("a sandbox needs root: run it with sudo")

// preflight looks for what a sandbox needs of the machine, before anything is started.
func preflight() error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	for _, namespace := range []string{"pid", "mnt", "net"} {
		if _, err := os.Stat("/proc/self/ns/" + namespace); err != nil {
			return fmt.Errorf("the kernel has no %s namespaces: boot one that has", namespace)
		}
	}
	missing, err := cgroup.Missing()
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("the kernel lacks the control group controllers %s: enable them on its command line (cgroup_enable=)", strings.Join(missing, ", "))
	}
	return nil
}

// probe tries, inside the sandbox's namespaces, what no list of the kernel's tells for sure.
func probe(ctx context.Context, r record) error {
	if err := network.ProbeBridge(); err != nil {
		return fmt.Errorf("the kernel makes no bridge: %w; run modprobe bridge, or boot a kernel that has it", err)
	}
	const table = "add table ip sandbox-probe; delete table ip sandbox-probe"
	if _, err := process.Run(ctx, r.Programs.Path("nft"), table); err != nil {
		return fmt.Errorf("the kernel has no nf_tables: %w; run modprobe nf_tables, or boot a kernel that has it", err)
	}
	return nil
}
