// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push gives an image or an index to the registry that serves at an address, whatever registry its reference names.
// The authority, PEM encoded, is the only one that is trusted.
func Push(ctx context.Context, address string, authority []byte, reference string, content remote.Taggable) error {
	parsed, err := name.ParseReference(reference, name.StrictValidation)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return errors.New("the authority has no certificate")
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	if err := remote.Push(parsed, content, remote.WithContext(ctx), remote.WithTransport(transport)); err != nil {
		return fmt.Errorf("pushing %s: %w", reference, err)
	}
	return nil
}
