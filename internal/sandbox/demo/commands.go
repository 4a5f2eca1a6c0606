// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

func (d *demo) print(format string, args ...any) { fmt.Fprintf(d.Out, format, args...) }

func (d *demo) elapsed(since time.Time) string {
	return time.Since(since).Round(100 * time.Millisecond).String()
}

// all does one thing after the other until one fails.
func (d *demo) all(actions ...func() error) error {
	for _, action := range actions {
		if err := action(); err != nil {
			return err
		}
	}
	return nil
}

// kube prints a kubectl command as a user would type it, runs it, and prints what it says.
func (d *demo) kube(ctx context.Context, command string) func() error {
	return func() error {
		arguments := strings.Fields(command)
		typed := make([]string, len(arguments))
		for i, argument := range arguments {
			typed[i] = argument
			if strings.ContainsAny(argument, `"{}[]()?`) {
				typed[i] = "'" + argument + "'"
			}
		}
		d.print("   $ kubectl %s\n", strings.Join(typed, " "))
		return d.exec(ctx, nil, d.kubectl, arguments...)
	}
}

// azureGroups prints the container groups that Azure has.
func (d *demo) azureGroups(ctx context.Context) func() error {
	return func() error {
		d.print("   $ bin/sandbox azure groups --name %s\n", d.Sandbox.Name())
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return d.exec(ctx, nil, self, "azure", "groups", "--name", d.Sandbox.Name())
	}
}

// exec runs a program, its output indented below the command.
func (d *demo) exec(ctx context.Context, input io.Reader, program string, arguments ...string) error {
	out := &indented{out: d.Out}
	command := exec.CommandContext(ctx, program, arguments...)
	command.Dir = d.root
	command.Env = append(os.Environ(), "KUBECONFIG="+d.Sandbox.Kubeconfig())
	command.Stdin, command.Stdout, command.Stderr = input, out, out
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(out.last))
	}
	return nil
}

// indented writes lines with a margin, and knows the last.
type indented struct {
	out    io.Writer
	inLine bool
	last   string
}

func (i *indented) Write(data []byte) (int, error) {
	for line := range strings.Lines(string(data)) {
		if !i.inLine {
			i.last = ""
			if _, err := io.WriteString(i.out, "     "); err != nil {
				return 0, err
			}
		}
		i.last += line
		i.inLine = !strings.HasSuffix(line, "\n")
		if _, err := io.WriteString(i.out, line); err != nil {
			return 0, err
		}
	}
	return len(data), nil
}
