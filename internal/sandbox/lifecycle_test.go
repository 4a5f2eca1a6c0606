// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package sandbox_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"

	box "github.com/virtual-kubelet/connector-operator/internal/sandbox"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/images"
)

const (
	first  = "suite-first"
	second = "suite-second"
)

var _ = Describe("a sandbox", Label("sandbox"), Ordered, ContinueOnFailure, func() {
	var before map[string]string

	BeforeAll(func() {
		if os.Geteuid() != 0 {
			Skip("a sandbox needs root: run the tests with sudo to see this suite")
		}
		before = machine()
	})

	It("refuses names that are not valid", func() {
		for _, name := range []string{"", "Upper", "-x", "x-", "a_b", strings.Repeat("x", 21), "../x"} {
			session := sandbox("up", "--name", name)
			Expect(session).To(gexec.Exit(1), name)
			Expect(session.Err).To(gbytes.Say("is not valid"))
		}
	})

	It("says how to get what is not up", func() {
		for _, command := range [][]string{{"kubeconfig"}, {"load"}, {"azure", "groups"}, {"logs", "kubelet"}} {
			session := sandbox(append(command, "--name", first)...)
			Expect(session).To(gexec.Exit(1))
			Expect(session.Err).To(gbytes.Say("is not up: run sandbox up --name " + first))
		}
		session := sandbox("logs", "nonsense", "--name", first)
		Expect(session).To(gexec.Exit(1))
		Expect(session.Err).To(gbytes.Say("choose one of .*kubelet"))
		Expect(sandbox("status", "--name", first)).To(gexec.Exit(1))
		Expect(sandbox("down", "--name", first)).To(gexec.Exit(0))
	})

	It("is down again after an interrupt, and after its command was killed", func() {
		DeferCleanup(func() { Expect(sandbox("down", "--name", first)).To(gexec.Exit(0)) })
		session := start("up", "--name", first)
		Eventually(session.Err).WithTimeout(commandTimeout).Should(gbytes.Say("starting the control plane"))
		Expect(session.Interrupt().Wait(time.Minute)).To(gexec.Exit(1))
		Expect(session.Err).To(gbytes.Say("interrupted"))
		Expect(traces(first)).To(BeEmpty())

		session = start("up", "--name", first)
		Eventually(session.Err).WithTimeout(commandTimeout).Should(gbytes.Say("starting the node"))
		session.Kill().Wait(time.Minute)
		Eventually(func() []string { return processes(first) }).Should(BeEmpty())
		Expect(sandbox("down", "--name", first)).To(gexec.Exit(0))
		Expect(traces(first)).To(BeEmpty())
	})

	Context("up", Ordered, func() {
		BeforeAll(func() { up(first) })

		It("tells that it is up and that its name is in use", func() {
			Expect(sandbox("status", "--name", first)).To(gexec.Exit(0))
			Expect(traces(first)).To(ContainElements(folder(first), HavePrefix("link "), ContainSubstring("cgroup"), ContainSubstring("inside init")))
			session := sandbox("up", "--name", first)
			Expect(session).To(gexec.Exit(1))
			Expect(session.Err).To(gbytes.Say("in use: run sandbox down --name " + first))
		})

		It("has a node that is Ready", func() {
			Expect(mustKubectl(first, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")).To(Equal("sandbox"))
			Expect(mustKubectl(first, "wait", "--for=condition=Ready", "node/sandbox", "--timeout=10s")).To(ContainSubstring("met"))
		})

		It("runs a restricted pod, shows its log and answers on its Service", func() {
			mustKubectl(first, "label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
			apply(first, greeter)
			mustKubectl(first, "wait", "--for=condition=Ready", "pod/greeter", "--timeout=60s")
			Expect(mustKubectl(first, "logs", "greeter")).To(ContainSubstring("listens on :8080"))
			for _, path := range []string{"pod/greeter", "service/hello"} {
				field := map[bool]string{true: "{.spec.clusterIP}", false: "{.status.podIP}:8080"}[strings.HasPrefix(path, "service")]
				address := mustKubectl(first, "get", path, "-o", "jsonpath="+field)
				Eventually(func() (string, error) { return get("http://" + address + "/") }).WithTimeout(20 * time.Second).Should(Equal("hello from greeter\n"))
			}
		})

		It("resolves Services, and Azure's names to the simulated Azure, for a pod", func() {
			Expect(mustKubectl(first, "exec", "greeter", "--", "/greeter", "lookup", "kubernetes.default", "hello.default.svc.cluster.local",
				"login.microsoftonline.com", "management.azure.com", "management.usgovcloudapi.net")).To(MatchRegexp(
				`(?m)^kubernetes.default 198\.1[89]\.\d+\.1\nhello.\S+ 198\.1[89]\.\d+\.\d+\n(\S+ 198\.1[89]\.\d+\.3\n){3}$`))
			Expect(mustKubectl(first, "exec", "greeter", "--", "/greeter", "get",
				"https://login.microsoftonline.com/common/discovery/instance?api-version=1.1&authorization_endpoint=https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
				"http://hello.default/",
			)).To(And(ContainSubstring("tenant_discovery_endpoint"), ContainSubstring("hello from greeter")))
			Expect(mustKubectl(first, "exec", "greeter", "--", "/greeter", "get",
				"http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01")).To(ContainSubstring(" 400 "))
			Expect(sandbox("azure", "requests", "--name", first).Out).To(gbytes.Say(`\d`))
		})

		It("gives pods the images that were pushed, and shows them the repositories that were published", func(ctx SpecContext) {
			opened, err := box.Open(first)
			Expect(err).NotTo(HaveOccurred())
			const reference = "ghcr.io/somebody/greeter:v1"
			image, err := images.Assemble(images.Spec{Reference: reference, Program: programOf("greeter"), Path: "/greeter", User: "65532:65532"})
			Expect(err).NotTo(HaveOccurred())
			pulled := strings.ReplaceAll(strings.Split(greeter, "---")[0], "sandbox.invalid/greeter:1", reference)
			apply(first, strings.ReplaceAll(pulled, "name: greeter", "name: pulled"))
			Eventually(func() string {
				return mustKubectl(first, "get", "pod/pulled", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
			}).Should(ContainSubstring("not found"))
			Expect(opened.Push(ctx, reference, image)).To(Succeed())
			mustKubectl(first, "wait", "--for=condition=Ready", "pod/pulled", "--timeout=60s")

			work := GinkgoT().TempDir()
			Expect(os.WriteFile(filepath.Join(work, "file"), []byte("content"), 0o644)).To(Succeed())
			revision, err := opened.Publish(ctx, "somebody/something", work, "v1")
			Expect(err).NotTo(HaveOccurred())
			Expect(mustKubectl(first, "exec", "greeter", "--", "/greeter", "get",
				"https://github.com/somebody/something/info/refs?service=git-upload-pack",
			)).To(And(ContainSubstring(revision+" refs/heads/main"), ContainSubstring(revision+" refs/tags/v1")))
		})

		It("starts again what dies", func() {
			for _, component := range []string{"kubelet", "kube-controller-manager", "containerd", "azure", "origin"} {
				pid := processOf(first, component)
				kill(pid)
				Eventually(func() int { return processOf(first, component) }).ShouldNot(Or(BeZero(), Equal(pid)), component)
			}
			Eventually(func() *gexec.Session { return sandbox("status", "--name", first) }).Should(gexec.Exit(0))
			Expect(mustKubectl(first, "logs", "greeter")).To(ContainSubstring("listens on :8080"))
		})

		It("stands beside another and outlives it", func() {
			up(second)
			Expect(mustKubectl(second, "get", "nodes", "-o", "name")).To(Equal("node/sandbox\n"))
			Expect(mustKubectl(second, "get", "pods", "-o", "name")).To(BeEmpty())
			Expect(sandbox("status", "--all").Out).To(gbytes.Say(first + `.*Up[^\n]*\n` + second + ` .*Up`))
			Expect(sandbox("down", "--name", second)).To(gexec.Exit(0))
			Expect(traces(second)).To(BeEmpty())
			Expect(sandbox("status", "--name", first)).To(gexec.Exit(0))
		})

		It("leaves nothing when its first process is killed and it is taken down", func() {
			kill(firstProcess(first))
			Eventually(func() []string { return processes(first) }).Should(BeEmpty())
			Expect(sandbox("status", "--name", first).Out).To(gbytes.Say("Leftover"))
			Expect(sandbox("down", "--name", first)).To(gexec.Exit(0))
			Expect(traces(first)).To(BeEmpty())
		})

		It("comes up over what a killed one left", func() {
			Expect(sandbox("up", "--name", first)).To(gexec.Exit(0))
			kill(firstProcess(first))
			session := sandbox("up", "--name", first)
			Expect(session).To(gexec.Exit(0))
			Expect(session.Err).To(gbytes.Say("clearing what a killed sandbox left"))
			Expect(mustKubectl(first, "get", "pods", "-n", "kube-system", "-o", "name")).To(ContainSubstring("coredns"))
		})
	})

	It("has left the machine as it was", func() {
		for _, name := range []string{first, second} {
			Expect(traces(name)).To(BeEmpty())
		}
		Expect(machine()).To(Equal(before))
	})
})

const greeter = `
apiVersion: v1
kind: Pod
metadata: {name: greeter, namespace: default, labels: {app: greeter}}
spec:
  containers:
  - name: greeter
    image: sandbox.invalid/greeter:1
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
    resources: {limits: {cpu: 100m, memory: 64Mi}}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      runAsNonRoot: true
      capabilities: {drop: [ALL]}
      seccompProfile: {type: RuntimeDefault}
---
apiVersion: v1
kind: Service
metadata: {name: hello, namespace: default}
spec: {selector: {app: greeter}, ports: [{port: 80, targetPort: 8080}]}
`

func apply(name, manifest string) {
	GinkgoHelper()
	file, err := os.CreateTemp("", "manifest-*.yaml")
	Expect(err).NotTo(HaveOccurred())
	defer os.Remove(file.Name())
	fmt.Fprint(file, manifest)
	Expect(file.Close()).To(Succeed())
	mustKubectl(name, "apply", "--filename", file.Name())
}

func get(url string) (string, error) {
	client := &http.Client{Timeout: 3 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}
