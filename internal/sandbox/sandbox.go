// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package sandbox brings sandboxes up and takes them down. A sandbox is one process, the
// first of namespaces of its own for processes, mounts and network: when it ends, however
// it ends, the kernel ends all that ran in it. Nothing outside those namespaces is touched
// but one folder, one link and one control group, each under a name that tells its owner.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/cluster"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/network"
)

const (
	// DefaultName is the name of a sandbox that was given none.
	DefaultName = "default"

	maxNameLength = 20
	stateFolder   = "/var/lib/connector-sandbox"
	lockPeriod    = 20 * time.Millisecond
)

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// InUseError says that a sandbox of that name runs.
type InUseError struct{ Name string }

func (e InUseError) Error() string {
	return fmt.Sprintf("the sandbox %q is in use: run sandbox down --name %s first, or choose another --name", e.Name, e.Name)
}

// NotUpError says that no sandbox of that name runs.
type NotUpError struct{ Name string }

func (e NotUpError) Error() string {
	return fmt.Sprintf("the sandbox %q is not up: run sandbox up --name %s", e.Name, e.Name)
}

// Sandbox is the place of one sandbox, whether it runs or not.
type Sandbox struct {
	name string
	cluster.Layout
}

// Open returns the sandbox of that name.
func Open(name string) (Sandbox, error) {
	if len(name) > maxNameLength || !validName.MatchString(name) {
		return Sandbox{}, fmt.Errorf("the name %q is not valid: use at most %d lower-case letters, digits and hyphens, with no hyphen at either end", name, maxNameLength)
	}
	return Sandbox{name: name, Layout: cluster.Layout{Dir: filepath.Join(stateFolder, name)}}, nil
}

// Name is its name.
func (s Sandbox) Name() string { return s.name }

// Cgroup is the name of its control group.
func (s Sandbox) Cgroup() string { return "connector-sandbox-" + s.name }

// record is what is kept about a sandbox while it runs.
type record struct {
	Block    network.Block `json:"block"`
	Programs binaries.Set  `json:"programs"`
	Started  time.Time     `json:"started"`
	// Starter brings the sandbox up, and until it is Ready the sandbox depends on it.
	Starter identity `json:"starter"`
	Ready   bool     `json:"ready"`
	// Process is the sandbox's first.
	Process identity `json:"process"`
}

// running is false for a sandbox that was killed, even while it is still ending, and for one
// whose starter was.
func (r record) running() bool {
	if r.Ready {
		return r.Process.running()
	}
	return r.Starter.running()
}

// identity tells a process from a later one with the same number.
type identity struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

func (s Sandbox) recordPath() string { return filepath.Join(s.Dir, "sandbox.json") }
func (s Sandbox) lockPath() string   { return filepath.Join(s.Dir, "lock") }

func (s Sandbox) read() (record, error) {
	var r record
	content, err := os.ReadFile(s.recordPath())
	if err != nil {
		return record{}, err
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return record{}, fmt.Errorf("reading %s: %w", s.recordPath(), err)
	}
	return r, nil
}

func (s Sandbox) write(r record) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	temporary := s.recordPath() + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, s.recordPath())
}

// names are the sandboxes that have a folder.
func names() ([]string, error) {
	entries, err := os.ReadDir(stateFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the sandboxes: %w", err)
	}
	var found []string
	for _, entry := range entries {
		if entry.IsDir() {
			found = append(found, entry.Name())
		}
	}
	return found, nil
}

// tryLock takes the lock of a sandbox: whoever holds it is bringing it up, is clearing it or
// is the sandbox itself. The lock lives as long as any duplicate of the file.
func (s Sandbox) tryLock() (*os.File, error) {
	file, err := os.OpenFile(s.lockPath(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, InUseError{Name: s.name}
		}
		return nil, fmt.Errorf("locking %s: %w", s.lockPath(), err)
	}
	return file, nil
}

// withFolder runs a function while no other process adds or removes a sandbox's folder.
func withFolder(ctx context.Context, call func() error) error {
	folder, err := lockFolder(ctx)
	if err != nil {
		return err
	}
	defer folder.Close()
	return call()
}

func lockFolder(ctx context.Context) (*os.File, error) {
	for {
		file, err := openFolder()
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isCurrent(file) {
			return file, nil
		}
		file.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking %s: %w", stateFolder, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock on %s: %w", stateFolder, ctx.Err())
		case <-time.After(lockPeriod):
		}
	}
}

func openFolder() (*os.File, error) {
	if err := os.MkdirAll(stateFolder, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of sandboxes: %w", err)
	}
	file, err := os.Open(stateFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if file == nil {
		return openFolder()
	}
	return file, nil
}

// isCurrent tells whether the folder was not removed, and perhaps made anew, since.
func isCurrent(file *os.File) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	current, err := os.Stat(stateFolder)
	return err == nil && os.SameFile(held, current)
}

func identify(pid int) (identity, error) {
	fields, err := statFields(pid)
	if err != nil {
		return identity{}, err
	}
	return identity{PID: pid, Start: fields[startField]}, nil
}

// Fields of /proc/PID/stat, counted after the name of the program, which may hold anything.
const (
	stateField = 0
	flagsField = 6
	startField = 19

	exiting = 0x4 // PF_EXITING
)

func statFields(pid int) ([]string, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	if len(fields) <= startField {
		return nil, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	return fields, nil
}

// alive is false for a zombie: the kernel reports one only when all of its namespace is gone.
func (i identity) alive() bool {
	fields, err := statFields(i.PID)
	return err == nil && fields[startField] == i.Start && fields[stateField] != "Z" && fields[stateField] != "X"
}

// running is false, other than alive, for a process that was killed and takes its namespace
// with it.
func (i identity) running() bool {
	// In this order: what was killed may have been noticed, and taken its signal, in between.
	killed := i.killed()
	if !i.alive() {
		return false
	}
	fields, err := statFields(i.PID)
	if err != nil {
		return false
	}
	flags, err := strconv.ParseUint(fields[flagsField], 10, 32)
	return err == nil && flags&exiting == 0 && !killed
}

// killed reports whether a process has yet to end of a SIGKILL, for which a busy machine takes its time.
func (i identity) killed() bool {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(i.PID), "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		pending, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err == nil && pending&(1<<(unix.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}
