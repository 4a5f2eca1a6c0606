// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a real Kubernetes control plane (etcd, API server, controller
// manager and, on demand, scheduler) in a given folder; it never needs root and never
// touches anything outside that folder and the addresses that it is given.
package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/pki"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/process"
)

const (
	readyTimeout = 2 * time.Minute
	stopGrace    = 5 * time.Second
)

// Programs finds the programs to run; binaries.Set is one.
type Programs interface {
	Path(name string) string
}

// Options say what to start. Dir and Programs are required.
type Options struct {
	// Dir gets certificates, data and logs. Its files are removed by Stop.
	Dir string
	// Logs gets the logs instead of the folder logs in Dir.
	Logs     string
	Programs Programs
	// Address is where the API server listens; by default 127.0.0.1.
	Address netip.Addr
	// Port is that of the API server; by default a free one.
	Port uint16
	// Services is the range of Service addresses; by default 198.19.255.0/24.
	Services netip.Prefix
	// Scheduler starts the scheduler, too.
	Scheduler bool
	// NoControllers leaves the controller manager out.
	NoControllers bool
	// DisabledControllers are left out of the controller manager, by the names of its flag --controllers.
	DisabledControllers []string
	// AuditLog is the file that gets a line for each request; none by default.
	AuditLog string
	// Restart starts again what ends by itself.
	Restart bool
}

// ControlPlane is a control plane that runs.
type ControlPlane struct {
	options   Options
	endpoint  string
	authority *pki.Authority
	admin     pki.Pair
	processes []*process.Process
}

// Start returns when the API server is ready and the controllers have been started. What it
// started is ended again when it fails.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	if !options.Address.IsValid() {
		options.Address = netip.MustParseAddr("127.0.0.1")
	}
	if !options.Services.IsValid() {
		options.Services = netip.MustParsePrefix("198.19.255.0/24")
	}
	if options.Logs == "" {
		options.Logs = filepath.Join(options.Dir, "logs")
	}
	c := &ControlPlane{options: options}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the control plane: %w", err), c.Stop())
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context) error {
	for _, dir := range []string{c.path(), c.path("pki"), c.options.Logs} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	ports, err := FreePorts(c.options.Address, 2)
	if err != nil {
		return err
	}
	if c.options.Port == 0 {
		more, err := FreePorts(c.options.Address, 1)
		if err != nil {
			return err
		}
		c.options.Port = more[0]
	}
	c.endpoint = "https://" + netip.AddrPortFrom(c.options.Address, c.options.Port).String()
	if err := c.issue(); err != nil {
		return err
	}
	if err := c.run("etcd", c.etcdArgs(ports[0], ports[1])...); err != nil {
		return err
	}
	args, err := c.apiServerArgs(ports[0])
	if err != nil {
		return err
	}
	if err := c.run("kube-apiserver", args...); err != nil {
		return err
	}
	if err := c.waitReady(ctx); err != nil {
		return err
	}
	if !c.options.NoControllers {
		if err := c.run("kube-controller-manager", c.controllerManagerArgs()...); err != nil {
			return err
		}
	}
	if !c.options.Scheduler {
		return nil
	}
	return c.run("kube-scheduler", c.schedulerArgs()...)
}

// Endpoint is the URL of the API server.
func (c *ControlPlane) Endpoint() string { return c.endpoint }

// Authority is the cluster's certificate authority, for clients and servers alike.
func (c *ControlPlane) Authority() *pki.Authority { return c.authority }

// RESTConfig authenticates as a member of system:masters.
func (c *ControlPlane) RESTConfig() *rest.Config {
	return &rest.Config{
		Host: c.endpoint,
		TLSClientConfig: rest.TLSClientConfig{
			CAData:   c.authority.Certificate(),
			CertData: c.admin.Certificate,
			KeyData:  c.admin.Key,
		},
		QPS:   -1,
		Burst: -1,
	}
}

// Kubeconfig is the path of a kubeconfig with the rights of RESTConfig.
func (c *ControlPlane) Kubeconfig() string { return c.path("admin.kubeconfig") }

// WriteKubeconfig writes a kubeconfig for another user of the cluster.
func (c *ControlPlane) WriteKubeconfig(path, user string, groups ...string) error {
	pair, err := c.authority.Client(user, groups...)
	if err != nil {
		return err
	}
	return c.writeKubeconfig(path, user, pair)
}

// Logs are the log files, by component.
func (c *ControlPlane) Logs() map[string]string {
	logs := map[string]string{}
	for _, p := range c.processes {
		logs[p.Name()] = c.log(p.Name())
	}
	return logs
}

// PIDs are the numbers of the processes, by component; one that does not run has none.
func (c *ControlPlane) PIDs() map[string]int {
	pids := map[string]int{}
	for _, p := range c.processes {
		if pid := p.PID(); pid != 0 {
			pids[p.Name()] = pid
		}
	}
	return pids
}

// Stop ends every process, the API server's clients first, and removes the data, the
// certificates and the logs.
func (c *ControlPlane) Stop() error {
	for _, p := range slices.Backward(c.processes) {
		p.Stop(stopGrace)
	}
	c.processes = nil
	problems := []error{os.RemoveAll(c.options.Logs)}
	for _, name := range []string{"etcd", "pki", "admin.kubeconfig", "kube-controller-manager.kubeconfig", "kube-scheduler.kubeconfig", "audit-policy.yaml", "volume-plugins"} {
		problems = append(problems, os.RemoveAll(c.path(name)))
	}
	return errors.Join(problems...)
}

func (c *ControlPlane) path(elements ...string) string {
	return filepath.Join(append([]string{c.options.Dir}, elements...)...)
}

func (c *ControlPlane) log(name string) string { return filepath.Join(c.options.Logs, name+".log") }

func (c *ControlPlane) run(name string, args ...string) error {
	p, err := process.Start(process.Spec{
		Name:    name,
		Path:    c.options.Programs.Path(name),
		Args:    args,
		Dir:     c.options.Dir,
		Log:     c.log(name),
		Restart: c.options.Restart,
	})
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}

func (c *ControlPlane) writeKubeconfig(path, user string, pair pki.Pair) error {
	const name = "sandbox"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: c.endpoint, CertificateAuthorityData: c.authority.Certificate()}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.Certificate, ClientKeyData: pair.Key}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	config.CurrentContext = name
	return clientcmd.WriteToFile(*config, path)
}

// waitReady returns when the API server answers /readyz, or sooner when it or etcd ended.
func (c *ControlPlane) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	certificate, err := tls.X509KeyPair(c.admin.Certificate, c.admin.Key)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.authority.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	for {
		last := ask(ctx, client, c.endpoint+"/readyz")
		if last == nil {
			return nil
		}
		for _, p := range c.processes {
			if err := p.Err(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server is not ready: %w (%w); the end of its log:\n%s", last, ctx.Err(), process.Tail(c.log("kube-apiserver")))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func ask(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(response.Body, 2048))
		if err != nil {
			return err
		}
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	return nil
}

// FreePorts asks the kernel for ports of an address that no one listens on; all are held until the last
// is found, so they differ.
func FreePorts(address netip.Addr, count int) ([]uint16, error) {
	ports := make([]uint16, 0, count)
	held := make([]net.Listener, 0, count)
	defer func() {
		for _, listener := range held {
			listener.Close()
		}
	}()
	for range count {
		listener, err := net.Listen("tcp", net.JoinHostPort(address.String(), "0"))
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		held = append(held, listener)
		_, text, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, err
		}
		ports = append(ports, uint16(port))
	}
	return ports, nil
}
