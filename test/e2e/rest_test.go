// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/pki"
	"github.com/virtual-kubelet/connector-operator/test/world"
)

const kubeletPort = "10250"

var _ = Describe("A connector that rests", Ordered, ContinueOnFailure, func() {
	BeforeAll(func(ctx SpecContext) {
		start := auditEnd()
		applySample(ctx)
		requests := start.requestsOf(account(operator), account(linuxNode), account(windowsNode))
		for _, name := range []string{operator, linuxNode, windowsNode} {
			AddReportEntry("from kubectl apply to Ready, "+name, counted(requests[account(name)]))
		}
	}, NodeTimeout(time.Minute))

	It("has the kubelet's port answer clients of the cluster's CA, and nobody else", func(ctx SpecContext) {
		address := net.JoinHostPort(kubeletPod(ctx, linuxNode).Status.PodIP, kubeletPort)
		config, err := box.RESTConfig()
		Expect(err).NotTo(HaveOccurred())
		other, err := pki.NewAuthority("somebody-else")
		Expect(err).NotTo(HaveOccurred())
		stranger, err := other.Client("kube-apiserver-kubelet-client", "system:masters")
		Expect(err).NotTo(HaveOccurred())

		status, err := askKubelet(ctx, address, config.CertData, config.KeyData)
		Expect(err).NotTo(HaveOccurred())
		Expect(status).To(Equal(http.StatusOK))
		_, err = askKubelet(ctx, address, nil, nil)
		Expect(err).To(MatchError(ContainSubstring("tls: certificate required")))
		_, err = askKubelet(ctx, address, stranger.Certificate, stranger.Key)
		Expect(err).To(MatchError(ContainSubstring("tls: unknown certificate authority")))
	}, SpecTimeout(time.Minute))

	It("runs in a namespace that refuses pods with rights over the machine", func(ctx SpecContext) {
		_, err := tryKubectl(ctx, "run", "intruder", "-n", namespace, "--image=sandbox.invalid/greeter:1", "--privileged", "--dry-run=server")
		Expect(err).To(MatchError(ContainSubstring(`violates PodSecurity "restricted`)))
	}, SpecTimeout(time.Minute))

	It("has virtual kubelets without rights over the machine", func(ctx SpecContext) {
		for _, node := range []string{linuxNode, windowsNode} {
			pod := kubeletPod(ctx, node)
			Expect(pod.Spec.HostNetwork).To(BeFalse())
			Expect(pod.Spec.ServiceAccountName).To(Equal(node))
			Expect(pod.Spec.Volumes).To(HaveEach(HaveField("HostPath", BeNil())))
			Expect(pod.Spec.Containers).To(HaveLen(1))
			Expect(pod.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem).To(HaveValue(BeTrue()))

			By("looking at the process of " + node)
			status := processStatus("virtual-kubelet", "--nodename="+node)
			Expect(status).To(MatchRegexp(`(?m)^Uid:\s+65532\s+65532\s+65532\s+65532$`))
			Expect(status).To(MatchRegexp(`(?m)^Gid:\s+65532\s`))
			Expect(status).To(MatchRegexp(`(?m)^CapEff:\s+0+$`))
			Expect(status).To(MatchRegexp(`(?m)^CapBnd:\s+0+$`))
			Expect(status).To(MatchRegexp(`(?m)^NoNewPrivs:\s+1$`))
			Expect(status).To(MatchRegexp(`(?m)^Seccomp:\s+2$`))
		}
	}, SpecTimeout(time.Minute))

	DescribeTable("lets a virtual kubelet do in the cluster what it needs, and no more",
		func(ctx SpecContext, allowed bool, verb, resource, in, name string) {
			Expect(may(ctx, linuxNode, verb, resource, in, name)).To(Equal(allowed))
		},
		Entry("list pods", SpecTimeout(time.Minute), true, "list", "pods", "", ""),
		Entry("make nodes", SpecTimeout(time.Minute), true, "create", "nodes", "", ""),
		Entry("renew its Lease", SpecTimeout(time.Minute), true, "update", "leases.coordination.k8s.io", corev1.NamespaceNodeLease, linuxNode),
		Entry("read a Secret by name", SpecTimeout(time.Minute), false, "get", "secrets", metav1.NamespaceSystem, "any"),
		Entry("read the operator's Secrets by name", SpecTimeout(time.Minute), false, "get", "secrets", namespace, secretName),
		Entry("write Secrets", SpecTimeout(time.Minute), false, "update", "secrets", namespace, secretName),
		Entry("make pods", SpecTimeout(time.Minute), false, "create", "pods", namespace, ""),
		Entry("enter pods", SpecTimeout(time.Minute), false, "create", "pods/exec", namespace, ""),
		Entry("delete nodes", SpecTimeout(time.Minute), false, "delete", "nodes", "", "sandbox"),
		Entry("change nodes", SpecTimeout(time.Minute), false, "patch", "nodes", "", "sandbox"),
		Entry("make tokens", SpecTimeout(time.Minute), false, "create", "serviceaccounts/token", namespace, operator),
		Entry("bind roles", SpecTimeout(time.Minute), false, "create", "rolebindings.rbac.authorization.k8s.io", namespace, ""),
		Entry("change connectors", SpecTimeout(time.Minute), false, "patch", "virtualkubeletconnectors.connector.virtual-kubelet.io", "", connectorName),
	)

	DescribeTable("lets the operator do in the cluster what it needs, and no more",
		func(ctx SpecContext, allowed bool, verb, resource, in, name string) {
			Expect(may(ctx, operator, verb, resource, in, name)).To(Equal(allowed))
		},
		Entry("read Secrets beside it", SpecTimeout(time.Minute), true, "get", "secrets", namespace, secretName),
		Entry("read others' Secrets", SpecTimeout(time.Minute), false, "get", "secrets", userNamespace, "any"),
		Entry("list all Secrets", SpecTimeout(time.Minute), false, "list", "secrets", "", ""),
		Entry("make pods", SpecTimeout(time.Minute), false, "create", "pods", userNamespace, ""),
		Entry("bind its virtual kubelets' role", SpecTimeout(time.Minute), true, "bind", "clusterroles.rbac.authorization.k8s.io", "", "vk-connector-virtual-kubelet"),
		Entry("bind others", SpecTimeout(time.Minute), false, "bind", "clusterroles.rbac.authorization.k8s.io", "", "cluster-admin"),
		Entry("everything", SpecTimeout(time.Minute), false, "*", "*.*", "", ""),
	)

	It("binds nobody of the operator's namespace to cluster-admin", func(ctx SpecContext) {
		var bindings rbacv1.ClusterRoleBindingList
		Expect(k8s.List(ctx, &bindings)).To(Succeed())
		Expect(bindings.Items).To(ContainElement(HaveField("RoleRef.Name", "cluster-admin")), "there is none at all to look at")
		for _, binding := range bindings.Items {
			if binding.RoleRef.Name != "cluster-admin" {
				continue
			}
			for _, subject := range binding.Subjects {
				Expect(subject.Namespace).NotTo(Equal(namespace), binding.Name)
				Expect(subject.Name).NotTo(HavePrefix("system:serviceaccount"), binding.Name)
			}
		}
	}, SpecTimeout(time.Minute))

	// Last, so that the time of the others counts for nothing but what it is: rest.
	It("is not written to, neither over heartbeats nor by an operator that has just started", func(ctx SpecContext) {
		start := auditEnd()
		Expect(box.Azure().ResetRequests(ctx)).To(Succeed())
		By("starting the operator anew")
		kubectl(ctx, "rollout", "restart", "deployment/"+operator, "-n", namespace)
		kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")
		Eventually(func() (map[string]int, error) { return box.Azure().Requests(ctx) }).WithContext(ctx).
			Should(HaveKeyWithValue("ContainerGroups.List", BeNumerically(">", 0)), "the new operator has not asked Azure")
		started := auditEnd()

		By("waiting for a heartbeat of both nodes, and three renewals of their Leases")
		Eventually(func(g Gomega) {
			requests := started.requestsOf(account(linuxNode), account(windowsNode))
			for _, node := range []string{linuxNode, windowsNode} {
				g.Expect(count(requests[account(node)], "patch nodes/status")).To(BeNumerically(">=", 1), "heartbeats of "+node)
				g.Expect(count(requests[account(node)], "update leases")).To(BeNumerically(">=", 3), "renewals of the Lease of "+node)
			}
		}).WithContext(ctx).WithTimeout(2 * time.Minute).WithPolling(time.Second).Should(Succeed())

		all := start.requestsOf(account(operator))[account(operator)]
		AddReportEntry("a new operator over a connector at rest", counted(all))
		Expect(slices.DeleteFunc(all, func(r world.Request) bool { return !r.Writes() || isLeadership(r) })).To(BeEmpty())
		Expect(condition(ctx, connectorName, v1alpha1.ConditionReady)(Default)).To(beReady)
	}, SpecTimeout(4*time.Minute))
})

func count(requests []world.Request, what string) int {
	n := 0
	for _, r := range requests {
		if r.String() == what {
			n++
		}
	}
	return n
}

// askKubelet asks a virtual kubelet for its pods, and returns the status of its answer. The certificate is
// sent whatever the server says that it accepts.
func askKubelet(ctx context.Context, address string, certificate, key []byte) (int, error) {
	settings := &tls.Config{InsecureSkipVerify: true} // it signs its certificate itself
	if certificate != nil {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return 0, err
		}
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: settings}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/pods", http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// processStatus returns what the kernel says of the one process of the sandbox with some arguments.
func processStatus(arguments ...string) string {
	GinkgoHelper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", processOf(arguments...)))
	Expect(err).NotTo(HaveOccurred())
	return string(status)
}

// processOf returns the number of the one process in a pod of the sandbox that has some arguments.
func processOf(arguments ...string) int {
	GinkgoHelper()
	found, err := own.InPods(arguments...)
	Expect(err).NotTo(HaveOccurred())
	Expect(found).To(HaveLen(1), "processes in pods of the sandbox that run %v", arguments)
	return found[0]
}

// may asks the API server whether a ServiceAccount of the operator's namespace may do something. The
// resource is written as resource[.group][/subresource].
func may(ctx context.Context, serviceAccount, verb, resource, in, name string) bool {
	GinkgoHelper()
	resource, subresource, _ := strings.Cut(resource, "/")
	resource, group, _ := strings.Cut(resource, ".")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:   account(serviceAccount),
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: verb, Group: group, Resource: resource, Subresource: subresource, Namespace: in, Name: name,
		},
	}}
	Expect(k8s.Create(ctx, review)).To(Succeed())
	return review.Status.Allowed
}
