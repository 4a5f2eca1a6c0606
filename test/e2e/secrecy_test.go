// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

var _ = Describe("The client secret", func() {
	It("is in its Secret and in the nodes' Secrets, and nowhere else in a whole life", func(ctx SpecContext) {
		By("letting the operator log all that it can")
		kubectl(ctx, "patch", "deployment", operator, "-n", namespace, "--type=json",
			`--patch=[{"op":"add","path":"/spec/template/spec/containers/0/args","value":["--zap-log-level=7"]}]`)
		DeferCleanup(func(ctx SpecContext) {
			kubectl(ctx, "patch", "deployment", operator, "-n", namespace, "--type=json",
				`--patch=[{"op":"remove","path":"/spec/template/spec/containers/0/args"}]`)
			kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")
		}, NodeTimeout(2*time.Minute))
		kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")

		applySample(ctx)
		pod := runWorkload(ctx, "aci-helloworld", linuxNode)
		kubectl(ctx, "logs", pod.Name, "-n", userNamespace)
		Expect(secretsWith(ctx, azure.DefaultClientSecret)).To(ConsistOf(secretName, linuxNode, windowsNode))
		expectNowhere(ctx, azure.DefaultClientSecret, true)

		By("a roll of the virtual kubelets, which then log all that they can")
		before := kubeletPod(ctx, linuxNode)
		kubectl(ctx, "patch", "vkc", connectorName, "--type=merge", `--patch={"spec":{"virtualKubelet":{"logLevel":"trace"}}}`)
		Eventually(func(g Gomega) {
			pods := kubeletPods(ctx, g, linuxNode)
			g.Expect(pods).To(ConsistOf(And(HaveField("UID", Not(Equal(before.UID))),
				HaveField("Status.ContainerStatuses", ConsistOf(HaveField("Ready", BeTrue()))))))
		}).WithContext(ctx).Should(Succeed())
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).Should(beReady)
		expectNowhere(ctx, azure.DefaultClientSecret, true)

		By("a secret that Azure refuses")
		putSecret(ctx, secretKey, wrongSecret)
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionAzureAccessible)).WithContext(ctx).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected))
		expectNowhere(ctx, wrongSecret, false)
		expectNowhere(ctx, azure.DefaultClientSecret, false)
		mend(ctx, azure.DefaultClientSecret)

		By("the removal")
		kubectl(ctx, "delete", "vkc", connectorName, "--wait=false")
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionRetiring)).WithContext(ctx).Should(HaveField("Status", metav1.ConditionTrue))
		expectNowhere(ctx, azure.DefaultClientSecret, false)
		kubectl(ctx, "wait", "vkc/"+connectorName, "--for=delete", "--timeout="+removalTimeout.String())
		removed(ctx, linuxNode, windowsNode)
		expectNowhere(ctx, azure.DefaultClientSecret, false)
		Expect(secretsWith(ctx, azure.DefaultClientSecret)).To(ConsistOf(secretName))
	}, SpecTimeout(6*time.Minute))
})

// traces matches a secret as it is, and in any text that was encoded with base64 as a whole.
func traces(secret string) *regexp.Regexp {
	patterns := []string{regexp.QuoteMeta(secret)}
	for before := range 3 {
		text := strings.Repeat("x", before) + secret
		// Only whole groups of three bytes, of which none has a byte that is not the secret's.
		first, last := (before+2)/3*3, len(text)/3*3
		patterns = append(patterns, regexp.QuoteMeta(base64.StdEncoding.EncodeToString([]byte(text[first:last]))))
	}
	return regexp.MustCompile(strings.Join(patterns, "|"))
}

// secretsWith lists the Secrets of the operator's namespace that have a secret in them, as they are listed by kubectl.
func secretsWith(ctx context.Context, secret string) []string {
	GinkgoHelper()
	var secrets corev1.SecretList
	Expect(k8s.List(ctx, &secrets)).To(Succeed())
	var found []string
	for i := range secrets.Items {
		in, name := secrets.Items[i].Namespace, secrets.Items[i].Name
		if traces(secret).MatchString(kubectlQuietly(ctx, "get", "secret", name, "-n", in, "-o", "yaml")) {
			Expect(in).To(Equal(namespace))
			found = append(found, name)
		}
	}
	return found
}

// expectNowhere looks for a secret wherever one could leak to. With virtual kubelets, it makes sure that it sees them.
func expectNowhere(ctx context.Context, secret string, running bool) {
	GinkgoHelper()
	By("looking for the secret")
	places := map[string]string{}
	resources := slices.DeleteFunc(strings.Fields(kubectlQuietly(ctx, "api-resources", "--verbs=list", "-o", "name")),
		func(resource string) bool { return resource == "secrets" })
	places["kubectl get"] = kubectlQuietly(ctx, "get", strings.Join(resources, ","), "-A", "-o", "yaml", "--show-managed-fields")
	for _, folder := range []string{box.Logs(), filepath.Join(box.Dir, "pod-logs")} {
		files(folder, places)
	}
	files(box.AuditLog(), places)
	processes(places)

	By("making sure that it was looked for in what there is")
	for _, kind := range []string{"ConfigMap", "Deployment", "Event", "Lease", "Node", "Pod", "ReplicaSet"} {
		expectPlace(places, `^kubectl get$`, `(?m)^  kind: `+kind+`$`)
	}
	expectPlace(places, `^`+box.AuditLog()+`$`, `/secrets/`+secretName)
	expectPlace(places, `/pod-logs/.*`+operator, `"level":"Level\(-5\)"`)
	expectPlace(places, `^arguments of \d+ /manager`, `--zap-log-level=7`)
	expectPlace(places, `^environment of \d+ /manager`, `KUBERNETES_SERVICE_HOST=`)
	expectPlace(places, `^arguments of .*kube-apiserver`, `--etcd-servers`)
	if running {
		for _, node := range []string{linuxNode, windowsNode} {
			expectPlace(places, `/pod-logs/.*`+node, `.`)
			expectPlace(places, `^arguments of .*--nodename=`+node, `virtual-kubelet`)
			expectPlace(places, `^environment of .*--nodename=`+node, `KUBERNETES_SERVICE_HOST=`)
		}
	}
	trace := traces(secret)
	for place, text := range places {
		Expect(trace.MatchString(text)).To(BeFalse(), "the secret is in %s", place)
	}
}

// expectPlace expects a place, told by a regular expression, to have something in it; it prints neither.
func expectPlace(places map[string]string, where, what string) {
	GinkgoHelper()
	name, text := regexp.MustCompile(where), regexp.MustCompile(what)
	for place, content := range places {
		if name.MatchString(place) && text.MatchString(content) {
			return
		}
	}
	Fail(fmt.Sprintf("%s is in no place that matches %s", what, where))
}

// files reads a file, or all files of a folder.
func files(path string, into map[string]string) {
	GinkgoHelper()
	Expect(filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) || err == nil && !entry.Type().IsRegular() {
			return nil // a log that has been rotated away meanwhile, or a folder
		}
		if err != nil {
			return err
		}
		content, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			return nil
		}
		into[file] = string(content)
		return err
	})).To(Succeed())
}

// processes reads arguments and environments of all that runs in the sandbox.
func processes(into map[string]string) {
	GinkgoHelper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	Expect(err).NotTo(HaveOccurred())
	parents, arguments := map[int]int{}, map[int]string{}
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		Expect(err).NotTo(HaveOccurred())
		stat, err := os.ReadFile(filepath.Join(folder, "stat"))
		if err != nil {
			continue // it has ended since
		}
		command, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err != nil {
			continue
		}
		// The name of the program, in brackets, may have anything in it.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		parents[pid], err = strconv.Atoi(fields[1])
		Expect(err).NotTo(HaveOccurred())
		arguments[pid] = strings.ReplaceAll(string(command), "\x00", " ")
	}
	for pid, command := range arguments {
		// The sandbox was brought up by this process, and its first process adopts all that runs in it.
		ancestor := parents[pid]
		for ancestor > 1 && ancestor != os.Getpid() {
			ancestor = parents[ancestor]
		}
		if ancestor != os.Getpid() {
			continue
		}
		what := strconv.Itoa(pid) + " " + command
		into["arguments of "+what] = command
		if environment, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ")); err == nil {
			into["environment of "+what] = string(environment)
		}
	}
}
