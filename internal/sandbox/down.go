// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/cgroup"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/network"
)

const (
	downTimeout = 30 * time.Second
	downPeriod  = 20 * time.Millisecond
)

// Down ends the sandbox and removes all that is left of it. Nothing to remove is no error;
// existed tells whether there was.
func (s Sandbox) Down(ctx context.Context) (existed bool, err error) {
	if os.Geteuid() != 0 {
		return false, errNotRoot
	}
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	for {
		err := withFolder(ctx, func() error {
			if _, err := os.Stat(s.Dir); err != nil {
				return err
			}
			existed = true
			if r, err := s.read(); err == nil && r.Process.alive() {
				if err := kill(r.Process); err != nil {
					return err
				}
			}
			lock, err := s.tryLock()
			if err != nil {
				return err
			}
			defer lock.Close()
			return s.remove()
		})
		var inUse InUseError
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			return existed, removeEmptyFolder(ctx)
		case !errors.As(err, &inUse):
			return existed, fmt.Errorf("taking the sandbox %q down: %w", s.name, err)
		}
		select {
		case <-ctx.Done():
			return existed, fmt.Errorf("taking the sandbox %q down: another process holds %s", s.name, s.lockPath())
		case <-time.After(downPeriod):
		}
	}
}

// kill ends the first process of the sandbox and returns when the kernel has ended all others
// of its namespaces.
func kill(process identity) error {
	if !process.alive() {
		return nil
	}
	handle, err := unix.PidfdOpen(process.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the sandbox's process %d: %w", process.PID, err)
	}
	defer unix.Close(handle)
	// The handle is of whatever has the number now: only a look after it is proof.
	if !process.alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing the sandbox's process %d: %w", process.PID, err)
	}
	return awaitEnd(process)
}

func awaitEnd(process identity) error {
	for deadline := time.Now().Add(downTimeout); process.alive(); time.Sleep(downPeriod) { //nolint:forbidigo // The end of a process that is not our child has no notice; the deadline bounds it.
		if time.Now().After(deadline) {
			return fmt.Errorf("the sandbox's process %d does not end", process.PID)
		}
	}
	return nil
}

// clear is for a sandbox whose lock is held by the caller.
func (s Sandbox) clear() error {
	ctx, cancel := context.WithTimeout(context.Background(), downTimeout)
	defer cancel()
	return errors.Join(withFolder(ctx, s.remove), removeEmptyFolder(ctx))
}

func (s Sandbox) remove() error {
	if err := s.sweep(); err != nil {
		return err
	}
	return os.RemoveAll(s.Dir)
}

// sweep removes everything that a dead sandbox has left, but its folder and lock.
func (s Sandbox) sweep() error {
	if r, err := s.read(); err == nil {
		if err := awaitEnd(r.Process); err != nil {
			return err
		}
		if err := network.Disconnect(r.Block); err != nil {
			return err
		}
	}
	if err := cgroup.Remove(s.Cgroup()); err != nil {
		return err
	}
	if err := refuseMounts(s.Dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(s.Dir, entry.Name())
		if path == s.lockPath() {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing what a sandbox left: %w", err)
		}
	}
	return nil
}

// refuseMounts keeps removal from reaching through a mount; a sandbox never makes one that
// this process sees.
func refuseMounts(dir string) error {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			return fmt.Errorf("%s is a mount point: unmount it first", fields[4])
		}
	}
	return nil
}

// removeEmptyFolder removes the folder of all sandboxes with the last of them.
func removeEmptyFolder(ctx context.Context) error {
	return withFolder(ctx, func() error {
		err := os.Remove(stateFolder)
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}
