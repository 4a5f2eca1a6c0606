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
	azureCertificate = "azure"
	metadataService  = "169.254.169.254:80"
	httpsPort        = 443
)

// ServeAzure serves the simulated Azure on the addresses that it has in a sandbox.
func ServeAzure(ctx context.Context, layout Layout, block network.Block) error {
	certificate, err := tls.LoadX509KeyPair(layout.path(azureCertificate+".crt"), layout.path(azureCertificate+".key"))
	if err != nil {
		return fmt.Errorf("loading the simulated Azure's certificate: %w", err)
	}
	server, err := azure.NewServer(azure.DefaultConfig())
	if err != nil {
		return err
	}
	var listeners azure.Listeners
	address := netip.AddrPortFrom(block.Azure(), httpsPort).String()
	settings := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	if listeners.TLS, err = tls.Listen("tcp", address, settings); err != nil {
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
