// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// InPods returns the numbers of the processes in pods of the sandbox that have some arguments.
func (w *World) InPods(arguments ...string) ([]int, error) {
	return w.inPod("", arguments)
}

// InPod returns the same of one pod, by its UID.
func (w *World) InPod(uid string, arguments ...string) ([]int, error) {
	return w.inPod("pod"+uid+"/", arguments)
}

func (w *World) inPod(part string, arguments []string) ([]int, error) {
	return processes(func(folder string, given []string) bool {
		if slices.ContainsFunc(arguments, func(want string) bool { return !slices.Contains(given, want) }) {
			return false
		}
		cgroup, err := os.ReadFile(filepath.Join(folder, "cgroup"))
		return err == nil && strings.Contains(string(cgroup), w.Box.Cgroup()+"/") && strings.Contains(string(cgroup), part)
	})
}

// Component returns the number of the process of a component of the sandbox, such as etcd. One that is
// killed is started again by its supervisor.
func (w *World) Component(name string) (int, error) {
	found, err := processes(func(_ string, given []string) bool {
		return given[0] == w.Programs.Path(name) &&
			slices.ContainsFunc(given, func(argument string) bool { return strings.Contains(argument, w.Box.Dir+"/") })
	})
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%d processes of the sandbox %s are %s", len(found), w.Box.Name(), name)
	}
	if err != nil {
		return 0, err
	}
	return found[0], nil
}

func processes(wanted func(folder string, arguments []string) bool) ([]int, error) {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, folder := range folders {
		// A process that has ended since is not the one.
		command, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err != nil || len(command) == 0 || !wanted(folder, strings.Split(strings.TrimSuffix(string(command), "\x00"), "\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			return nil, err
		}
		found = append(found, pid)
	}
	return found, nil
}
