// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"io"
	"net"
	"net/http"
)

// Connect serves the CONNECT request of an HTTP proxy's client, by joining it to an address, whatever host it asks for.
func Connect(w http.ResponseWriter, r *http.Request, address string) {
	upstream, err := new(net.Dialer).DialContext(context.WithoutCancel(r.Context()), "tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer upstream.Close()
	w.WriteHeader(http.StatusOK)
	downstream, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer downstream.Close()
	go func() {
		_, _ = io.Copy(upstream, downstream)
		_ = upstream.Close()
	}()
	_, _ = io.Copy(downstream, upstream)
}
