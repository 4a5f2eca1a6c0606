// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package terminal does what the documentation says, as a reader would who types it. It is imported by tests only.
package terminal

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/test/pages"
)

// commandTimeout bounds a command, whatever timeout it gives itself.
const commandTimeout = 5 * time.Minute

var word = regexp.MustCompile(`\b[A-Z]+\b`)

// Terminal is where commands are typed.
type Terminal struct {
	// Folder is the one that they are typed in.
	Folder string
	// Programs are found before those of the machine.
	Programs binaries.Set
	// Kubeconfig is that of the sandbox. The client secret of its service principal is in the variable that the
	// documentation has for it.
	Kubeconfig string
	// Meant is what the words in capitals stand for that pages leave to the reader.
	Meant map[string]string
	// Out is told what is typed, and what that prints.
	Out io.Writer
}

// Follow does what a block of commands says. The error tells the first command that fails, or that does not print what the
// block shows, with what it has printed.
func (t Terminal) Follow(ctx context.Context, block pages.Block) error {
	for _, command := range block.Commands() {
		typed := word.ReplaceAllStringFunc(command.Text, func(w string) string {
			if means, ok := t.Meant[w]; ok {
				return means
			}
			return w
		})
		fmt.Fprintf(t.Out, "  $ %s", typed)
		printed, err := t.run(ctx, typed)
		fmt.Fprintln(t.Out, printed)
		if err != nil {
			return fmt.Errorf("%s: %s: %w: %s", block, typed, err, printed)
		}
		if missing := pages.Missing(command.Output, printed); missing != "" {
			return fmt.Errorf("%s: %s: prints no %q: %s", block, typed, missing, printed)
		}
	}
	return nil
}

// run types into a shell, and returns what it prints. All that it has started ends with it.
func (t Terminal) run(ctx context.Context, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	command.Dir = t.Folder
	command.Env = append(os.Environ(),
		"PATH="+strings.Join(append(t.Programs.Folders(), os.Getenv("PATH")), string(os.PathListSeparator)),
		"KUBECONFIG="+t.Kubeconfig, "CLIENT_SECRET="+azure.DefaultClientSecret)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = 5 * time.Second
	printed, err := command.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("it does not end: %w", ctx.Err())
	}
	return string(printed), err
}
