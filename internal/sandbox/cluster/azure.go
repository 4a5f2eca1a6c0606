// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/network"
)

const (
	metadataService = "169.254.169.254:80"
	httpsPort       = 443
)

// ServeAzure serves the simulated Azure on the addresses that it has in a sandbox.
func ServeAzure(ctx context.Context, layout Layout, block network.Block) error {
	server, err := azure.NewServer(azure.DefaultConfig())
	if err != nil {
		return err
	}
	var listeners azure.Listeners
	if listeners.TLS, err = listenTLS(layout, "azure", netip.AddrPortFrom(block.Azure(), httpsPort)); err != nil {
		return err
	}
	if listeners.Streams, err = listenTLS(layout, "azure", netip.AddrPortFrom(block.Azure(), azure.StreamPort)); err != nil {
		return err
	}
	if listeners.InstanceMetadata, err = net.Listen("tcp", metadataService); err != nil {
		return err
	}
	// A predecessor that was killed leaves its socket.
	if err := os.RemoveAll(layout.AzureControl()); err != nil {
		return err
	}
	if listeners.Control, err = net.Listen("unix", layout.AzureControl()); err != nil {
		return err
	}
	return server.Serve(ctx, listeners)
}

// listenTLS listens where a service of the sandbox is looked for, with the certificate of its name.
func listenTLS(layout Layout, name string, address netip.AddrPort) (net.Listener, error) {
	certificate, err := tls.LoadX509KeyPair(layout.path(name+".crt"), layout.path(name+".key"))
	if err != nil {
		return nil, fmt.Errorf("loading the certificate of %s: %w", name, err)
	}
	settings := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	return tls.Listen("tcp", address.String(), settings)
}
