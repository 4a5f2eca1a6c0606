// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/cluster"
)

// Stage is a part of a sandbox that runs inside its namespaces.
type Stage string

// The stages, in the order in which one starts the next.
const (
	StageInit      Stage = "init"
	StageSupervise Stage = "supervise"
	StageAzure     Stage = "azure"
	StageOrigin    Stage = "origin"
)

const standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Descriptors that a stage inherits.
const (
	controlDescriptor = 3
	lockDescriptor    = 4
)

// order is what goes in to a sandbox that starts, report what comes out.
type order struct {
	Start bool `json:"start,omitempty"`
	Keep  bool `json:"keep,omitempty"`
}

type report struct {
	Progress string `json:"progress,omitempty"`
	Error    string `json:"error,omitempty"`
	Ready    bool   `json:"ready,omitempty"`
}

// Inside runs a stage. It is for the command line that UpOptions names and for no one else.
func (s Sandbox) Inside(ctx context.Context, stage Stage, self []string) error {
	if os.Getpid() != 1 && stage == StageInit {
		return errors.New("this is run by sandbox up")
	}
	switch stage {
	case StageInit:
		return s.initialise(self)
	case StageSupervise:
		return s.supervise(ctx, self)
	case StageAzure:
		r, err := s.read()
		if err != nil {
			return err
		}
		return cluster.ServeAzure(ctx, s.Layout, r.Block)
	case StageOrigin:
		r, err := s.read()
		if err != nil {
			return err
		}
		return cluster.ServeOrigin(ctx, s.Layout, r.Block, r.Programs.Path("git"))
	default:
		return fmt.Errorf("unknown stage %q", stage)
	}
}

// initialise is the first process: it makes the file system ready, starts the supervisor and
// buries the dead until the supervisor ends.
func (s Sandbox) initialise(self []string) error {
	// The lock is this process's alone: it tells others that the sandbox lives.
	unix.CloseOnExec(lockDescriptor)
	// Whatever ends a terminal's processes must not end half of a sandbox.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	control := os.NewFile(controlDescriptor, "control")
	if err := s.isolate(); err != nil {
		return errors.Join(err, json.NewEncoder(control).Encode(report{Error: err.Error()}))
	}
	supervisor := exec.Command(self[0], append(self[1:], string(StageSupervise), s.name)...)
	supervisor.Stdout, supervisor.Stderr = os.Stdout, os.Stderr
	supervisor.ExtraFiles = []*os.File{control}
	if err := supervisor.Start(); err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	control.Close()
	return bury(supervisor.Process.Pid)
}

func bury(last int) error {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for processes: %w", err)
		}
		if pid == last {
			return fmt.Errorf("the supervisor ended with status %d, signal %d", status.ExitStatus(), status.Signal())
		}
	}
}

// supervise runs the cluster. Until it is told to keep it, it ends with the process that
// brings the sandbox up.
func (s Sandbox) supervise(ctx context.Context, self []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unix.CloseOnExec(controlDescriptor)
	file := os.NewFile(controlDescriptor, "control")
	control, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return fmt.Errorf("this is run by sandbox up: %w", err)
	}
	defer control.Close()
	orders := json.NewDecoder(bufio.NewReader(control))
	reports := json.NewEncoder(control)

	var first order
	if err := orders.Decode(&first); err != nil {
		return fmt.Errorf("waiting for the network: %w", err)
	}
	r, err := s.read()
	if err != nil {
		return err
	}
	if err := probe(ctx, r); err != nil {
		return errors.Join(err, reports.Encode(report{Error: err.Error()}))
	}
	kept := make(chan struct{})
	go func() {
		var next order
		if err := orders.Decode(&next); err != nil || !next.Keep {
			cancel(errors.Join(errors.New("sandbox up ended before the sandbox was ready"), err))
			return
		}
		close(kept)
	}()
	err = cluster.Run(ctx, cluster.Config{
		Layout:   s.Layout,
		Programs: r.Programs,
		Block:    r.Block,
		Cgroup:   "/" + s.Cgroup(),
		Commands: map[string][]string{
			"azure":  append(slices.Clone(self), string(StageAzure), s.name),
			"origin": append(slices.Clone(self), string(StageOrigin), s.name),
		},
		Progress: func(line string) {
			// Who doesn't listen any more has ended, which is noticed by reading.
			_ = reports.Encode(report{Progress: line})
		},
	}, func() error {
		if err := reports.Encode(report{Ready: true}); err != nil {
			return err
		}
		select {
		case <-kept:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if err == nil {
		err = context.Cause(ctx)
	}
	if sendErr := reports.Encode(report{Error: err.Error()}); sendErr != nil && !errors.Is(sendErr, io.EOF) {
		return errors.Join(err, sendErr)
	}
	return err
}
