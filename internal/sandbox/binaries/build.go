// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package binaries builds the programs of a sandbox from their Go modules into a cache,
// once for each content, and finds those of the distribution; it never downloads a program.
package binaries

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/sys/unix"
)

const (
	projectModule   = "github.com/virtual-kubelet/connector-operator"
	cacheVariable   = "SANDBOX_CACHE"
	temporaryPrefix = "building-"
	progressPeriod  = 20 * time.Second
	keepUnused      = 30 * 24 * time.Hour
)

// Options say where modules are read and programs are kept; the zero value is the usual.
type Options struct {
	// Root is the checkout of this project; by default it is searched from the working
	// directory upwards.
	Root string
	// Cache is where programs are kept; by default SANDBOX_CACHE, else a folder in the
	// user's cache folder.
	Cache string
	// Modules are those to build; by default Modules().
	Modules []Module
	// Progress gets a line for whoever waits; it may be nil.
	Progress func(line string)
}

// Set is where programs are, by name.
type Set map[string]string

// Path is where the program of that name is.
func (s Set) Path(name string) string {
	path, ok := s[name]
	if !ok {
		panic("binaries: the set has no program " + name) //nolint:forbidigo // The names are constants: a wrong one is a defect of the caller.
	}
	return path
}

// Folders are the folders that hold programs, as PATH lists them.
func (s Set) Folders() []string {
	seen := map[string]bool{}
	for _, path := range s {
		seen[filepath.Dir(path)] = true
	}
	folders := make([]string, 0, len(seen))
	for folder := range seen {
		folders = append(folders, folder)
	}
	sort.Strings(folders)
	return folders
}

type job struct {
	module  Module
	program Program
	dir     string
	target  string
}

// Build returns the programs, after it built those that the cache lacks.
func Build(ctx context.Context, options Options) (Set, error) {
	root, err := options.root()
	if err != nil {
		return nil, err
	}
	cache, err := options.cache()
	if err != nil {
		return nil, err
	}
	modules := options.Modules
	if modules == nil {
		modules = Modules()
	}
	toolchain, err := goEnv(ctx)
	if err != nil {
		return nil, err
	}
	set := Set{}
	var jobs []job
	for _, module := range modules {
		dir := module.folder(root)
		module, err := module.expand(dir)
		if err != nil {
			return nil, err
		}
		key, err := contentKey(dir, module, toolchain)
		if err != nil {
			return nil, err
		}
		for _, program := range module.Programs {
			target := filepath.Join(cache, module.Name+"-"+key, program.Name)
			set[program.Name] = target
			jobs = append(jobs, job{module: module, program: program, dir: dir, target: target})
		}
	}
	if !complete(jobs) {
		if err := buildMissing(ctx, cache, jobs, options.progress()); err != nil {
			return nil, err
		}
	}
	return set, markUsed(set)
}

// markUsed keeps programs from being cleared as old.
func markUsed(set Set) error {
	now := time.Now()
	for _, folder := range set.Folders() {
		// Another user's cache can be used, too, but not marked.
		if err := os.Chtimes(folder, now, now); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// buildMissing holds the cache's lock, so whoever finds a program there finds a whole one,
// and every temporary folder is one that an interrupted build left.
func buildMissing(ctx context.Context, cache string, jobs []job, progress func(string)) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fmt.Errorf("making the cache of programs: %w; set %s to a folder that can be written", err, cacheVariable)
	}
	unlock, err := lock(ctx, filepath.Join(cache, "lock"), func() {
		progress("another process builds into " + cache + ": waiting for it")
	})
	if err != nil {
		return err
	}
	defer unlock()
	if err := clearOld(cache); err != nil {
		return err
	}
	for i := range jobs {
		if _, err := os.Stat(jobs[i].target); err == nil {
			continue
		}
		if err := jobs[i].build(ctx, cache, fmt.Sprintf("building %d of %d: %s", i+1, len(jobs), jobs[i].program.Name), progress); err != nil {
			return err
		}
	}
	return nil
}

func complete(jobs []job) bool {
	for _, j := range jobs {
		if _, err := os.Stat(j.target); err != nil {
			return false
		}
	}
	return true
}

func (j job) build(ctx context.Context, cache, title string, progress func(string)) error {
	temporary, err := os.MkdirTemp(cache, temporaryPrefix)
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	defer os.RemoveAll(temporary)
	output := filepath.Join(temporary, j.program.Name)
	err = timed(title, progress, func() error {
		return goBuild(ctx, j.dir, output, j.program.Package, append([]string{"-trimpath"}, j.module.Flags...)...)
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(j.target), 0o755); err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	if err := os.Rename(output, j.target); err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	return nil
}

// timed tells when work starts, now and then how long it has taken, and when it's done.
func timed(title string, progress func(string), work func() error) error {
	start := time.Now()
	elapsed := func() time.Duration { return time.Since(start).Round(time.Second) }
	progress(title)
	stop := every(progressPeriod, func() { progress(fmt.Sprintf("%s … %s", title, elapsed())) })
	err := work()
	stop()
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	progress(fmt.Sprintf("%s: done in %s", title, elapsed()))
	return nil
}

// goBuild makes static programs that don't tell from which commit they were built, unless flags have them: equal
// sources, equal programs.
func goBuild(ctx context.Context, dir, output, pkg string, flags ...string) error {
	args := append([]string{"build", "-buildvcs=false", "-ldflags", "-s -w", "-o", output}, flags...)
	command := exec.CommandContext(ctx, "go", append(args, pkg)...)
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	// An interrupt ends go build and the compilers that it started.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 5 * time.Second
	text, err := command.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("go build %s: %w\n%s", pkg, err, strings.TrimSpace(string(text)))
}

// BuildManager builds the operator of the checkout that the options name. Its paths stay in it, so it shares what tests
// have compiled; which commit it is of is told to the linker alone, so that another one compiles nothing anew.
func BuildManager(ctx context.Context, options Options, output string) error {
	root, err := options.root()
	if err != nil {
		return err
	}
	return timed("building the operator", options.progress(), func() error {
		return goBuild(ctx, root, output, "./cmd/manager", "-ldflags", "-s -w "+stamp(ctx, root))
	})
}

func every(period time.Duration, call func()) (stop func()) {
	ticker := time.NewTicker(period)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ticker.C:
				call()
			case <-done:
				return
			}
		}
	}()
	return func() { ticker.Stop(); close(done); <-ended }
}

// clearOld removes what interrupted builds left and programs that no one has used for long.
func clearOld(cache string) error {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		unused := time.Since(info.ModTime()) > keepUnused
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), temporaryPrefix) && !unused {
			continue
		}
		if err := os.RemoveAll(filepath.Join(cache, entry.Name())); err != nil {
			return fmt.Errorf("clearing the cache of programs: %w", err)
		}
	}
	return nil
}

// contentKey names what a module's programs are made of: equal keys, equal programs.
func contentKey(dir string, module Module, toolchain string) (string, error) {
	hash := sha256.New()
	fmt.Fprintf(hash, "%s\n%s\n%q\n", module.Name, toolchain, module.Flags)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if name := entry.Name(); name != "go.mod" && name != "go.sum" && !strings.HasSuffix(name, ".go") {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(hash, "%s %d\n%s\n", relative, len(content), content)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("reading the module %s: %w", dir, err)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

func goEnv(ctx context.Context) (string, error) {
	output, err := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for its version: %w; is Go installed and in PATH?", err)
	}
	return string(output), nil
}

func (o Options) root() (string, error) {
	if o.Root != "" {
		return o.Root, nil
	}
	return FindRoot()
}

func (o Options) cache() (string, error) {
	if o.Cache != "" {
		return filepath.Abs(o.Cache)
	}
	if dir := os.Getenv(cacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's cache folder: %w; set %s to a folder of your choice", err, cacheVariable)
	}
	return filepath.Join(dir, "connector-operator-sandbox"), nil
}

func (o Options) progress() func(string) {
	if o.Progress == nil {
		return func(string) {}
	}
	return o.Progress
}

// FindRoot searches the checkout of this project from the working directory upwards.
func FindRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && modfile.ModulePath(content) == projectModule {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not in a checkout of %s: change into one", start, projectModule)
		}
	}
}

// lock takes an exclusive lock, told to waiting when another process holds it.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	told := false
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if !told {
			told = true
			waiting()
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("waiting for the lock %s: %w", path, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}
