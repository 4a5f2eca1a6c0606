// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package sandbox_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
)

func TestSandbox(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "sandbox")
}

// The first build of the programs is the longest that a command may take.
const commandTimeout = 45 * time.Minute

var program string

var _ = BeforeSuite(func() {
	if os.Geteuid() != 0 {
		return
	}
	var err error
	program, err = gexec.Build("github.com/virtual-kubelet/connector-operator/cmd/sandbox")
	Expect(err).NotTo(HaveOccurred())
})

var _ = AfterSuite(gexec.CleanupBuildArtifacts)

// sandbox runs the command and returns how it ended.
func sandbox(args ...string) *gexec.Session {
	GinkgoHelper()
	session := start(args...)
	Eventually(session).WithTimeout(commandTimeout).Should(gexec.Exit())
	return session
}

func start(args ...string) *gexec.Session {
	GinkgoHelper()
	session, err := gexec.Start(exec.Command(program, args...), GinkgoWriter, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	return session
}

// up brings a sandbox up and down again after the test, whatever happens.
func up(name string) {
	GinkgoHelper()
	DeferCleanup(func() { Expect(sandbox("down", "--name", name)).To(gexec.Exit(0)) })
	Expect(sandbox("up", "--name", name)).To(gexec.Exit(0))
}

// kubectl runs kubectl against a sandbox and returns what it printed.
func kubectl(name string, args ...string) (string, error) {
	kubeconfig := filepath.Join(folder(name), "kubeconfig")
	command := exec.Command(programOf("kubectl"), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, output)
	}
	return string(output), nil
}

func mustKubectl(name string, args ...string) string {
	GinkgoHelper()
	output, err := kubectl(name, args...)
	Expect(err).NotTo(HaveOccurred())
	return output
}

// programOf finds a program in the cache.
func programOf(program string) string {
	GinkgoHelper()
	cache := os.Getenv("SANDBOX_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		Expect(err).NotTo(HaveOccurred())
		cache = filepath.Join(user, "connector-operator-sandbox")
	}
	found, err := filepath.Glob(filepath.Join(cache, "*", program))
	Expect(err).NotTo(HaveOccurred())
	Expect(found).NotTo(BeEmpty())
	return found[0]
}

func folder(name string) string { return filepath.Join("/var/lib/connector-sandbox", name) }

// traces are what is found of a sandbox on the machine: processes, mounts, links, control
// groups and files.
func traces(name string) []string {
	GinkgoHelper()
	var found []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, folder(name)) {
			found = append(found, "mount "+line)
		}
	}
	for _, pattern := range []string{folder(name), "/sys/fs/cgroup/*/connector-sandbox-" + name, "/sys/fs/cgroup/connector-sandbox-" + name} {
		files, err := filepath.Glob(pattern)
		Expect(err).NotTo(HaveOccurred())
		found = append(found, files...)
	}
	aliases, err := filepath.Glob("/sys/class/net/*/ifalias")
	Expect(err).NotTo(HaveOccurred())
	for _, file := range aliases {
		if alias, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(alias)) == "sandbox "+name {
			found = append(found, "link "+filepath.Dir(file))
		}
	}
	return append(found, processes(name)...)
}

// processes are those whose command line names the sandbox's folder, or that are its own.
func processes(name string) []string {
	GinkgoHelper()
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	Expect(err).NotTo(HaveOccurred())
	var found []string
	for _, entry := range entries {
		content, err := os.ReadFile(entry)
		if err != nil {
			continue
		}
		line := strings.ReplaceAll(strings.TrimRight(string(content), "\x00"), "\x00", " ")
		if strings.Contains(line, folder(name)) || strings.Contains(line, "inside ") && strings.HasSuffix(line, " "+name) {
			found = append(found, entry+" "+line)
		}
	}
	return found
}

// machine is what of the machine the programs of a sandbox would change if they could: fixed
// paths and settings. Another sandbox may come and go meanwhile.
func machine() map[string]string {
	GinkgoHelper()
	seen := map[string]string{}
	for _, path := range []string{
		"/var/lib/kubelet", "/var/lib/cni", "/var/lib/containerd", "/var/log/pods", "/var/log/containers", "/opt/cni", "/opt/containerd",
		"/run/containerd", "/run/runc", "/run/netns", "/run/kubernetes", "/run/flannel", "/run/cni-addresses", "/run/veiled", "/etc/cni",
		"/usr/libexec/kubernetes", "/sys/fs/cgroup/memory/k8s.io", "/sys/fs/cgroup/memory/kubepods", "/sys/fs/cgroup/k8s.io", "/sys/fs/cgroup/kubepods",
	} {
		_, err := os.Stat(path)
		seen[path] = fmt.Sprint(err == nil)
	}
	for _, setting := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "net/ipv4/ip_forward"} {
		value, err := os.ReadFile(filepath.Join("/proc/sys", setting))
		Expect(err).NotTo(HaveOccurred())
		seen[setting] = strings.TrimSpace(string(value))
	}
	return seen
}

// processOf is the number of a component's process, or zero.
func processOf(name, component string) int {
	GinkgoHelper()
	for _, line := range processes(name) {
		file, command, _ := strings.Cut(line, " ")
		if path, _, _ := strings.Cut(command, " "); filepath.Base(path) == component || strings.Contains(command, "inside "+component+" ") {
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			Expect(err).NotTo(HaveOccurred())
			return pid
		}
	}
	return 0
}

// firstProcess is the process that everything in a sandbox hangs on.
func firstProcess(name string) int {
	GinkgoHelper()
	pid := processOf(name, "init")
	Expect(pid).NotTo(BeZero())
	return pid
}

func kill(pid int) {
	GinkgoHelper()
	Expect(syscall.Kill(pid, syscall.SIGKILL)).To(Succeed())
}
