// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/test/world"
)

var _ = Describe("The operator's proxy", func() {
	It("is the virtual kubelets', too, and not the way to the API server", func(ctx SpecContext) {
		proxy := startProxy()
		By("telling the operator of a proxy")
		kubectl(ctx, "set", "env", "deployment/"+operator, "-n", namespace, "HTTPS_PROXY="+proxy.address, "NO_PROXY=198.18.0.0/15")
		DeferCleanup(func(ctx SpecContext) {
			kubectl(ctx, "set", "env", "deployment/"+operator, "-n", namespace, "HTTPS_PROXY-", "NO_PROXY-")
			kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")
		})
		kubectl(ctx, "rollout", "status", "deployment/"+operator, "-n", namespace, "--timeout=60s")
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		create(ctx, sample())

		Expect(environmentOf(ctx, linuxNode)).To(And(
			HaveKeyWithValue("HTTPS_PROXY", proxy.address),
			HaveKeyWithValue("NO_PROXY", "198.18.0.0/15,$(KUBERNETES_SERVICE_HOST),169.254.169.254")))
		Expect(proxy.askedBy(kubeletPod(ctx, linuxNode).Status.PodIP)).To(ConsistOf("login.microsoftonline.com:443", "management.azure.com:443"))
		runWorkload(ctx, "aci-helloworld", linuxNode)
	}, SpecTimeout(3*time.Minute))
})

// proxy is an HTTP proxy on the sandbox's link, whose only way out is to the simulated Azure.
type proxy struct {
	address, azure string

	mu    sync.Mutex
	asked map[string][]string
}

func startProxy() *proxy {
	GinkgoHelper()
	config, err := box.RESTConfig()
	Expect(err).NotTo(HaveOccurred())
	server, err := url.Parse(config.Host)
	Expect(err).NotTo(HaveOccurred())
	node, err := netip.ParseAddr(server.Hostname())
	Expect(err).NotTo(HaveOccurred())
	// The link has the host, the node and the simulated Azure side by side.
	p := &proxy{azure: net.JoinHostPort(node.Next().String(), "443"), asked: map[string][]string{}}
	listener, err := net.Listen("tcp", net.JoinHostPort(node.Prev().String(), "0"))
	Expect(err).NotTo(HaveOccurred())
	p.address = "http://" + listener.Addr().String()
	serving := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() {
		defer GinkgoRecover()
		Expect(serving.Serve(listener)).To(MatchError(http.ErrServerClosed))
	}()
	DeferCleanup(serving.Close)
	return p
}

// ServeHTTP joins a client to Azure, whatever host it asks for.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || r.Method != http.MethodConnect {
		http.Error(w, "not a proxy's request", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.asked[client] = append(p.asked[client], r.Host)
	p.mu.Unlock()
	world.Connect(w, r, p.azure)
}

// askedBy lists the hosts that a client has asked for, each once.
func (p *proxy) askedBy(client string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	hosts := slices.Clone(p.asked[client])
	slices.Sort(hosts)
	return slices.Compact(hosts)
}
