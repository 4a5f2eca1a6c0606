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
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/cgroup"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/network"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/process"
)

// UpOptions say how to bring a sandbox up.
type UpOptions struct {
	// Command is the command line, without its arguments, that calls Inside.
	Command []string
	// Progress gets a line for whoever waits.
	Progress func(line string)
}

// Up brings the sandbox up and returns when its cluster is ready. What it started is gone
// again when it fails or its context ends.
func (s Sandbox) Up(ctx context.Context, options UpOptions) error {
	if err := preflight(); err != nil {
		return err
	}
	if s.running() {
		return InUseError{Name: s.name}
	}
	programs, err := binaries.Build(ctx, binaries.Options{Progress: options.Progress})
	if err != nil {
		return err
	}
	if err := binaries.AddSystem(ctx, programs, options.Progress); err != nil {
		return err
	}
	lock, r, err := s.claim(ctx, programs, options.Progress)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := s.start(ctx, lock, r, options); err != nil {
		return errors.Join(fmt.Errorf("bringing the sandbox %q up: %w", s.name, err), s.clear())
	}
	return nil
}

func (s Sandbox) running() bool {
	r, err := s.read()
	return err == nil && r.running()
}

// claim takes the name and a block of addresses; what a sandbox of that name that was killed
// has left is cleared before.
func (s Sandbox) claim(ctx context.Context, programs binaries.Set, progress func(string)) (lock *os.File, r record, err error) {
	starter, err := identify(os.Getpid())
	if err != nil {
		return nil, record{}, err
	}
	for deadline := time.Now().Add(downTimeout); ; {
		err = withFolder(ctx, func() error {
			if lock, err = s.take(progress); err != nil {
				return err
			}
			block, err := freeBlock()
			if err != nil {
				return err
			}
			r = record{Block: block, Programs: programs, Started: time.Now(), Starter: starter}
			return s.write(r)
		})
		if err == nil {
			return lock, r, nil
		}
		if lock != nil {
			lock.Close()
		}
		// One whose starter was killed before it wrote down whom it started ends by itself.
		var inUse InUseError
		if !errors.As(err, &inUse) || s.running() || time.Now().After(deadline) {
			return nil, record{}, err
		}
		select {
		case <-ctx.Done():
			return nil, record{}, ctx.Err()
		case <-time.After(downPeriod):
		}
	}
}

// take locks the sandbox's folder, empty but for the lock. It is called under the lock of all.
func (s Sandbox) take(progress func(string)) (*os.File, error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	if r, err := s.read(); err == nil && !r.running() {
		progress("clearing what a killed sandbox left")
		if err := kill(r.Process); err != nil {
			return nil, err
		}
	}
	lock, err := s.tryLock()
	if err != nil {
		return nil, err
	}
	if err := s.sweep(); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// freeBlock is called under the folder's lock.
func freeBlock() (network.Block, error) {
	taken, err := network.Taken()
	if err != nil {
		return network.Block{}, err
	}
	others, err := names()
	if err != nil {
		return network.Block{}, err
	}
	for _, name := range others {
		other, err := Open(name)
		if err != nil {
			continue
		}
		if r, err := other.read(); err == nil {
			taken[r.Block.Index] = true
		}
	}
	return network.Free(taken)
}

func (s Sandbox) start(ctx context.Context, lock *os.File, r record, options UpOptions) error {
	if err := cgroup.Create(s.Cgroup()); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Logs(), 0o700); err != nil {
		return err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer ours.Close()
	command, err := s.launch(r, lock, theirs, options.Command)
	theirs.Close()
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait()
	}()
	err = s.attend(ctx, ours, command.Process.Pid, r, options.Progress)
	if err == nil {
		return nil
	}
	// It's the first process of its namespaces: all others go with it.
	if killErr := command.Process.Kill(); killErr != nil && !errors.Is(killErr, os.ErrProcessDone) {
		return errors.Join(err, killErr)
	}
	<-ended
	return err
}

// launch starts the first process of the new namespaces.
func (s Sandbox) launch(r record, lock, control *os.File, self []string) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(s.Logs(), "sandbox.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command(self[0], append(self[1:], string(StageInit), s.name)...)
	command.Env = append(os.Environ(), "PATH="+strings.Join(append(r.Programs.Folders(), standardPath), ":"))
	command.Dir = "/"
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{control, lock}
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting the sandbox's first process: %w", err)
	}
	return command, nil
}

// attend gives the new process what it can't make itself and relays what it tells, until
// it's ready. When this process dies before, the other end of the connection notices.
func (s Sandbox) attend(ctx context.Context, control net.Conn, pid int, r record, progress func(string)) error {
	stop := context.AfterFunc(ctx, func() { control.Close() })
	defer stop()
	var err error
	if r.Process, err = identify(pid); err != nil {
		return err
	}
	if err := s.write(r); err != nil {
		return err
	}
	if err := network.Connect(r.Block, pid, "sandbox "+s.name); err != nil {
		return err
	}
	if err := json.NewEncoder(control).Encode(order{Start: true}); err != nil {
		return s.unexpected(ctx, err)
	}
	reports := json.NewDecoder(bufio.NewReader(control))
	for {
		var got report
		if err := reports.Decode(&got); err != nil {
			return s.unexpected(ctx, err)
		}
		switch {
		case got.Error != "":
			return errors.New(got.Error)
		case got.Ready:
			if err := json.NewEncoder(control).Encode(order{Keep: true}); err != nil {
				return s.unexpected(ctx, err)
			}
			r.Ready = true
			return s.write(r)
		default:
			progress(got.Progress)
		}
	}
}

func (s Sandbox) unexpected(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("the sandbox's first process ended: %w; the end of its log:\n%s", err, process.Tail(filepath.Join(s.Logs(), "sandbox.log")))
}

func socketPair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a connection to the sandbox: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "sandbox"), os.NewFile(uintptr(fds[1]), "sandbox")
	defer ours.Close()
	connection, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return connection, theirs, nil
}
