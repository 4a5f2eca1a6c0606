// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package process runs the programs of a sandbox, each with a log file of its own, and
// ends them; it never leaves one behind when the process that started it dies.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	restartDelay = time.Second
	tailLines    = 15
	tailBytes    = 16 << 10
)

// Spec says what to run.
type Spec struct {
	Name string
	Path string
	Args []string
	// Env is added to the environment of this process.
	Env []string
	Dir string
	// Log is the file that the output is appended to.
	Log string
	// Restart starts the program again, after a second, when it ends by itself.
	Restart bool
	// Files are passed on as descriptors 3 and up.
	Files []*os.File
}

// Process is a program that was started.
type Process struct {
	spec Spec
	done chan struct{}
	stop chan struct{}
	once sync.Once

	mu      sync.Mutex
	current *os.Process
	err     error
}

// Start runs a program. A failure to start it at all is returned; what happens later is
// told by Done and Err.
func Start(spec Spec) (*Process, error) {
	p := &Process{spec: spec, done: make(chan struct{}), stop: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Name is the name of the Spec.
func (p *Process) Name() string { return p.spec.Name }

// PID is the number of the process as it was started last; zero before.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return 0
	}
	return p.current.Pid
}

// Done is closed when the program has ended and isn't started again.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the program ended, with the end of its log; nil while it runs and after Stop.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Stop asks the program to end and kills it after the grace period. It returns once the
// program is gone.
func (p *Process) Stop(grace time.Duration) {
	p.once.Do(func() { close(p.stop) })
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return
	case <-time.After(grace):
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *Process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil {
		// It may have ended meanwhile, which is what was wanted.
		_ = p.current.Signal(s)
	}
}

// run keeps its thread for itself: the kernel sends Pdeathsig when the thread that
// started the program ends, so that thread must live as long as the program.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	command, err := p.launch()
	started <- err
	if err != nil {
		return
	}
	for {
		if command != nil {
			err = command.Wait()
		}
		if p.stopping(0) {
			return
		}
		if !p.spec.Restart {
			p.fail(err)
			return
		}
		if p.stopping(restartDelay) {
			return
		}
		command, err = p.launch()
	}
}

func (p *Process) launch() (*exec.Cmd, error) {
	log, err := os.OpenFile(p.spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", p.spec.Name, err)
	}
	defer log.Close()
	command := exec.Command(p.spec.Path, p.spec.Args...)
	command.Env = append(os.Environ(), p.spec.Env...)
	command.Dir = p.spec.Dir
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = p.spec.Files
	command.SysProcAttr = attributes()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.spec.Name, err)
	}
	p.current = command.Process
	return command, nil
}

// stopping waits at most the given time for Stop.
func (p *Process) stopping(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.stop:
		return true
	default:
	}
	select {
	case <-p.stop:
		return true
	case <-timer.C:
		return false
	}
}

func (p *Process) fail(err error) {
	if err == nil {
		err = errors.New("exit status 0")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = fmt.Errorf("%s ended: %w; the end of its log %s:\n%s", p.spec.Name, err, p.spec.Log, Tail(p.spec.Log))
}

// Run runs a program to its end and returns what it printed. A failure carries that too.
func Run(ctx context.Context, path string, args ...string) (string, error) {
	return Pipe(ctx, "", path, args...)
}

// Pipe is Run with something to read on standard input.
func Pipe(ctx context.Context, input, path string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, path, args...)
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}

// Output runs a program to its end and returns what it printed on standard output alone.
func Output(ctx context.Context, path string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, path, args...)
	var problems strings.Builder
	command.Stderr = &problems
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, strings.TrimSpace(problems.String()))
	}
	return string(output), nil
}

// Tail returns the last lines of a log, or what keeps them from being read.
func Tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := file.Seek(-tailBytes, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
