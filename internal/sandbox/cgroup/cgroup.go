// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package cgroup makes and removes one control group in every hierarchy of the machine; it
// never changes a group that it didn't make, but for the controllers that version 2 has to
// hand down.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	removeTimeout  = 10 * time.Second
	removeInterval = 50 * time.Millisecond
)

// hierarchy is one mounted tree of groups.
type hierarchy struct {
	mount       string
	unified     bool
	controllers []string
}

// required are the controllers that a kubelet can't do without; useful ones are handed down
// with them.
var (
	required = []string{"cpu", "cpuset", "memory", "pids"}
	useful   = []string{"hugetlb", "io"}
)

// Missing returns which of the controllers that a kubelet needs the machine lacks.
func Missing() ([]string, error) {
	trees, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, controller := range required {
		if !slices.ContainsFunc(trees, func(h hierarchy) bool { return slices.Contains(h.controllers, controller) }) {
			missing = append(missing, controller)
		}
	}
	return missing, nil
}

// Create makes the group in every hierarchy.
func Create(name string) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	for _, tree := range trees {
		if err := tree.create(name); err != nil {
			return fmt.Errorf("making the control group %s: %w", filepath.Join(tree.mount, name), err)
		}
	}
	return nil
}

func (h hierarchy) create(name string) error {
	if h.unified {
		if err := h.handDown(); err != nil {
			return err
		}
	}
	dir := filepath.Join(h.mount, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if h.unified || !slices.Contains(h.controllers, "cpuset") {
		return nil
	}
	// A new group of this hierarchy is empty and takes no process before it has these.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(h.mount, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (h hierarchy) handDown() error {
	for _, controller := range slices.Concat(required, useful) {
		if !slices.Contains(h.controllers, controller) {
			continue
		}
		if err := os.WriteFile(filepath.Join(h.mount, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
			return fmt.Errorf("handing the controller %s down: %w", controller, err)
		}
	}
	return nil
}

// Remove removes the group, and those that were made in it, from every hierarchy. It waits a
// while for processes that are just ending.
func Remove(name string) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(removeTimeout)
	for _, tree := range trees {
		dir := filepath.Join(tree.mount, name)
		for {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("removing the control group %s: %w", dir, err)
			}
			time.Sleep(removeInterval) //nolint:forbidigo // A version 1 group cannot be watched; the deadline bounds it.
		}
	}
	return nil
}

// removeTree removes folders only, leaves first: the files of a group go with it.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func hierarchies() ([]hierarchy, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var trees []hierarchy
	seen := map[string]bool{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		before, after, found := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !found || len(left) < 5 || len(right) < 3 || seen[left[4]] {
			continue
		}
		kind, mount, options := right[0], left[4], right[2]
		if kind != "cgroup" && kind != "cgroup2" {
			continue
		}
		seen[mount] = true
		tree := hierarchy{mount: mount, unified: kind == "cgroup2", controllers: strings.Split(options, ",")}
		if tree.unified {
			content, err := os.ReadFile(filepath.Join(mount, "cgroup.controllers"))
			if err != nil {
				return nil, err
			}
			tree.controllers = strings.Fields(string(content))
		}
		trees = append(trees, tree)
	}
	if len(trees) == 0 {
		return nil, errors.New("no control groups are mounted: mount them at /sys/fs/cgroup")
	}
	return trees, nil
}
