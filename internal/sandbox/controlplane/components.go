// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"os"
	"strings"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/pki"
)

// Every request is kept, so that what a controller costs can be counted; bodies are not,
// because Secrets would be in them.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// issue makes the authority and every certificate, key and kubeconfig of the control plane.
func (c *ControlPlane) issue() error {
	authority, err := pki.NewAuthority("sandbox-cluster")
	if err != nil {
		return err
	}
	c.authority = authority
	if c.admin, err = authority.Client("sandbox-admin", "system:masters"); err != nil {
		return err
	}
	self, err := authority.Pair()
	if err != nil {
		return err
	}
	serviceAccounts, err := pki.NewKeyPair()
	if err != nil {
		return err
	}
	first := c.options.Services.Addr().Next().String()
	apiServer, err := authority.Server("kube-apiserver", c.options.Address.String(), "127.0.0.1", first, "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
	if err != nil {
		return err
	}
	etcd, err := authority.Server("etcd", "127.0.0.1", c.options.Address.String())
	if err != nil {
		return err
	}
	etcdClient, err := authority.Client("kube-apiserver-etcd-client")
	if err != nil {
		return err
	}
	kubeletClient, err := authority.Client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	frontProxy, err := authority.Client("front-proxy-client")
	if err != nil {
		return err
	}
	for name, pair := range map[string]pki.Pair{
		"ca": self, "service-accounts": serviceAccounts, "kube-apiserver": apiServer, "etcd": etcd,
		"etcd-client": etcdClient, "kubelet-client": kubeletClient, "front-proxy": frontProxy,
	} {
		if _, err := pair.Write(c.path("pki"), name); err != nil {
			return err
		}
	}
	if err := c.writeKubeconfig(c.Kubeconfig(), "sandbox-admin", c.admin); err != nil {
		return err
	}
	for _, component := range []string{"kube-controller-manager", "kube-scheduler"} {
		if err := c.WriteKubeconfig(c.path(component+".kubeconfig"), "system:"+component); err != nil {
			return err
		}
	}
	return nil
}

func (c *ControlPlane) pki(name string) string { return c.path("pki", name) }

func (c *ControlPlane) etcdArgs(clientPort, peerPort uint16) []string {
	client := fmt.Sprintf("https://%s:%d", c.options.Address, clientPort)
	peer := fmt.Sprintf("https://%s:%d", c.options.Address, peerPort)
	return flags(
		"name", "sandbox",
		"data-dir", c.path("etcd"),
		"listen-client-urls", client,
		"advertise-client-urls", client,
		"listen-peer-urls", peer,
		"initial-advertise-peer-urls", peer,
		"initial-cluster", "sandbox="+peer,
		"cert-file", c.pki("etcd.crt"),
		"key-file", c.pki("etcd.key"),
		"client-cert-auth", "true",
		"trusted-ca-file", c.pki("ca.crt"),
		"peer-cert-file", c.pki("etcd.crt"),
		"peer-key-file", c.pki("etcd.key"),
		"peer-client-cert-auth", "true",
		"peer-trusted-ca-file", c.pki("ca.crt"),
		// The data lives as long as the sandbox: a crash of the machine may take it.
		"unsafe-no-fsync", "true",
		"log-level", "warn",
	)
}

func (c *ControlPlane) apiServerArgs(etcdPort uint16) ([]string, error) {
	args := flags(
		"etcd-servers", fmt.Sprintf("https://%s:%d", c.options.Address, etcdPort),
		"etcd-cafile", c.pki("ca.crt"),
		"etcd-certfile", c.pki("etcd-client.crt"),
		"etcd-keyfile", c.pki("etcd-client.key"),
		"bind-address", c.options.Address.String(),
		"advertise-address", c.advertised(),
		"secure-port", fmt.Sprint(c.options.Port),
		"service-cluster-ip-range", c.options.Services.String(),
		"tls-cert-file", c.pki("kube-apiserver.crt"),
		"tls-private-key-file", c.pki("kube-apiserver.key"),
		"client-ca-file", c.pki("ca.crt"),
		"kubelet-client-certificate", c.pki("kubelet-client.crt"),
		"kubelet-client-key", c.pki("kubelet-client.key"),
		"kubelet-preferred-address-types", "InternalIP",
		"requestheader-client-ca-file", c.pki("ca.crt"),
		"requestheader-allowed-names", "front-proxy-client",
		"requestheader-username-headers", "X-Remote-User",
		"requestheader-group-headers", "X-Remote-Group",
		"requestheader-extra-headers-prefix", "X-Remote-Extra-",
		"proxy-client-cert-file", c.pki("front-proxy.crt"),
		"proxy-client-key-file", c.pki("front-proxy.key"),
		"service-account-issuer", "https://kubernetes.default.svc",
		"service-account-key-file", c.pki("service-accounts.crt"),
		"service-account-signing-key-file", c.pki("service-accounts.key"),
		"authorization-mode", "Node,RBAC",
		"enable-admission-plugins", "NodeRestriction",
		"allow-privileged", "true",
		"shutdown-delay-duration", "0s",
	)
	if c.options.AuditLog == "" {
		return args, nil
	}
	policy := c.path("audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, err
	}
	// Blocking: a request that was answered is in the log. No rotation: counts stay whole.
	return append(args, flags(
		"audit-policy-file", policy,
		"audit-log-path", c.options.AuditLog,
		"audit-log-mode", "blocking",
		"audit-log-maxsize", "4096",
	)...), nil
}

// advertised is what the Service kubernetes points to. The API server refuses loopback there;
// then it's an address of the range for documentation, which no one dials.
func (c *ControlPlane) advertised() string {
	if c.options.Address.IsLoopback() {
		return "192.0.2.1"
	}
	return c.options.Address.String()
}

func (c *ControlPlane) controllerManagerArgs() []string {
	kubeconfig := c.path("kube-controller-manager.kubeconfig")
	controllers := []string{"*"}
	for _, disabled := range c.options.DisabledControllers {
		controllers = append(controllers, "-"+disabled)
	}
	args := flags(
		"kubeconfig", kubeconfig,
		"authentication-kubeconfig", kubeconfig,
		"authorization-kubeconfig", kubeconfig,
		"root-ca-file", c.pki("ca.crt"),
		"cluster-signing-cert-file", c.pki("ca.crt"),
		"cluster-signing-key-file", c.pki("ca.key"),
		"service-account-private-key-file", c.pki("service-accounts.key"),
		"service-cluster-ip-range", c.options.Services.String(),
		"use-service-account-credentials", "true",
		"leader-elect", "false",
		"secure-port", "0",
		"controllers", strings.Join(controllers, ","),
		// It makes this folder, which by default is one of the machine's.
		"flex-volume-plugin-dir", c.path("volume-plugins"),
	)
	return append(args, c.unthrottled()...)
}

func (c *ControlPlane) schedulerArgs() []string {
	kubeconfig := c.path("kube-scheduler.kubeconfig")
	args := flags(
		"kubeconfig", kubeconfig,
		"authentication-kubeconfig", kubeconfig,
		"authorization-kubeconfig", kubeconfig,
		"leader-elect", "false",
		"secure-port", "0",
	)
	return append(args, c.unthrottled()...)
}

func (c *ControlPlane) unthrottled() []string {
	return flags("kube-api-qps", "100", "kube-api-burst", "200")
}

// flags makes --name=value of pairs.
func flags(pairs ...string) []string {
	args := make([]string, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		args = append(args, "--"+strings.Join(pairs[i:i+2], "="))
	}
	return args
}
