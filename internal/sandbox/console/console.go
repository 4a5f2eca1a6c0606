// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package console runs commands and shows them as a person would type them, with what they say. It decides nothing.
package console

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Console is where commands are run and shown.
type Console struct {
	// Kubectl is the program.
	Kubectl string

	out             io.Writer
	dir, kubeconfig string
}

// New makes a console whose commands run in a folder, on the cluster of a kubeconfig.
func New(out io.Writer, dir, kubeconfig string) *Console {
	return &Console{out: out, dir: dir, kubeconfig: kubeconfig}
}

// Print prints.
func (c *Console) Print(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// All does one thing after the other until one fails.
func (c *Console) All(actions ...func() error) error {
	for _, action := range actions {
		if err := action(); err != nil {
			return err
		}
	}
	return nil
}

// Kube returns what prints a kubectl command as a user would type it, runs it, and prints what it says.
func (c *Console) Kube(ctx context.Context, command string) func() error {
	return c.KubeWith(ctx, nil, command)
}

// KubeWith is Kube with something to read on standard input.
func (c *Console) KubeWith(ctx context.Context, input io.Reader, command string) func() error {
	return func() error { return c.Run(ctx, input, c.Kubectl, strings.Fields(command)...) }
}

// Run prints a command, runs it, and prints what it says.
func (c *Console) Run(ctx context.Context, input io.Reader, program string, arguments ...string) error {
	typed := []string{filepath.Base(program)}
	for _, argument := range arguments {
		if strings.ContainsAny(argument, `"{}[]()?`) {
			argument = "'" + argument + "'"
		}
		typed = append(typed, argument)
	}
	c.Print("   $ %s\n", strings.Join(typed, " "))
	return c.Exec(ctx, input, program, arguments...)
}

// Exec runs a program, and prints what it says, indented.
func (c *Console) Exec(ctx context.Context, input io.Reader, program string, arguments ...string) error {
	out := &indented{out: c.out}
	command := exec.CommandContext(ctx, program, arguments...)
	command.Dir = c.dir
	command.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
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
