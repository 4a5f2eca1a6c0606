// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// kernelSettings are those that a kubelet sets for the whole machine. Inside, each is a file
// that has the wanted value already, so the machine keeps its own.
var kernelSettings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// isolate gives the sandbox a view of the machine in which every fixed path that its programs
// write to is its own. It is called by the first process of new namespaces.
func (s Sandbox) isolate() error {
	for _, m := range []mount{
		// Unmounts of the machine come in, nothing goes out.
		{target: "/", flags: unix.MS_REC | unix.MS_SLAVE},
		{source: "proc", target: "/proc", kind: "proc", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{source: "run", target: "/run", kind: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=755"},
		{source: "log", target: "/var/log", kind: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=755"},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	if err := s.probeOverlay(); err != nil {
		return err
	}
	if err := veil("/var/lib", "kubelet", "cni"); err != nil {
		return err
	}
	if err := shieldKernelSettings(); err != nil {
		return err
	}
	// Volumes need shared mounts. Not sooner: what veil mounts over a folder would show up in
	// the view that it kept of it.
	if err := (mount{target: "/", flags: unix.MS_REC | unix.MS_SHARED}).do(); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("forwarding between pods: %w", err)
	}
	return nil
}

type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

func (m mount) do() error {
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
		return fmt.Errorf("mounting on %s: %w", m.target, err)
	}
	return nil
}

func shieldKernelSettings() error {
	for name, value := range kernelSettings {
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); err != nil {
			continue
		}
		file := filepath.Join("/run", "kernel-settings", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := (mount{source: file, target: target, flags: unix.MS_BIND}).do(); err != nil {
			return err
		}
	}
	return nil
}

// veil puts a folder of the sandbox's own over one of the machine's, in which all that was
// there is found again but for the names given, which are new and empty.
func veil(folder string, own ...string) error {
	original := filepath.Join("/run", "veiled", folder)
	if err := os.MkdirAll(original, 0o755); err != nil {
		return err
	}
	for _, m := range []mount{
		{source: folder, target: original, flags: unix.MS_BIND | unix.MS_REC},
		{source: "veil", target: folder, kind: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=755"},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	hidden := map[string]bool{}
	for _, name := range own {
		hidden[name] = true
		if err := os.Mkdir(filepath.Join(folder, name), 0o755); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(original)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if hidden[entry.Name()] {
			continue
		}
		if err := show(entry, original, folder); err != nil {
			return err
		}
	}
	return nil
}

func show(entry os.DirEntry, original, folder string) error {
	source, target := filepath.Join(original, entry.Name()), filepath.Join(folder, entry.Name())
	switch {
	case entry.IsDir():
		if err := os.Mkdir(target, 0o755); err != nil {
			return err
		}
	case entry.Type()&os.ModeSymlink != 0:
		destination, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(destination, target)
	default:
		if err := os.WriteFile(target, nil, 0o600); err != nil {
			return err
		}
	}
	return mount{source: source, target: target, flags: unix.MS_BIND | unix.MS_REC}.do()
}

// probeOverlay mounts what every container's file system will be.
func (s Sandbox) probeOverlay() error {
	probe := filepath.Join(s.Dir, "overlay-probe")
	defer os.RemoveAll(probe)
	paths := map[string]string{}
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		paths[name] = filepath.Join(probe, name)
		if err := os.MkdirAll(paths[name], 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", paths["lower"], paths["upper"], paths["work"])
	if err := (mount{source: "overlay", target: paths["merged"], kind: "overlay", data: options}).do(); err != nil {
		return fmt.Errorf("%w: the kernel has no overlayfs, or %s is on a file system that can't carry it: run modprobe overlay, or boot a kernel that has it", err, s.Dir)
	}
	return unix.Unmount(paths["merged"], 0)
}
