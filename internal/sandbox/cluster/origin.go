// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"net/netip"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/network"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/origin"
)

// ServeOrigin serves images and repositories on the address that they have in a sandbox.
func ServeOrigin(ctx context.Context, layout Layout, block network.Block, git string) error {
	listener, err := listenTLS(layout, "origin", netip.AddrPortFrom(block.Origin(), httpsPort))
	if err != nil {
		return err
	}
	return origin.Serve(ctx, listener, layout.Origin(), git)
}
