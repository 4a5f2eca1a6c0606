// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// Keys of a node's Secret that hold its serving certificate.
const (
	CertificateKey = "cert.pem"
	PrivateKeyKey  = "key.pem"
)

// A certificate lives for a year, and is renewed when two thirds of that are over.
const (
	certificateLife    = 365 * 24 * time.Hour
	certificateRenewal = certificateLife / 3
	clockSkew          = 5 * time.Minute
)

// Certificate is a serving certificate that signs itself: the API server does not check the
// certificates of kubelets unless it is told to (--kubelet-certificate-authority).
type Certificate struct {
	// Certificate and PrivateKey are PEM.
	Certificate, PrivateKey []byte

	leaf   *x509.Certificate
	public crypto.PublicKey
}

// RenewAt is when the certificate is to be replaced.
func (c Certificate) RenewAt() time.Time { return c.leaf.NotAfter.Add(-certificateRenewal) }

// CertificateExpiry returns until when the certificate in a node's Secret holds, and whether there is one.
func CertificateExpiry(data map[string][]byte) (time.Time, bool) {
	certificates, err := certutil.ParseCertsPEM(data[CertificateKey])
	if err != nil {
		return time.Time{}, false
	}
	return certificates[0].NotAfter, true
}

func parseCertificate(certificatePEM, keyPEM []byte) (Certificate, bool) {
	certificates, err := certutil.ParseCertsPEM(certificatePEM)
	if err != nil {
		return Certificate{}, false
	}
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return Certificate{}, false
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return Certificate{}, false
	}
	return Certificate{certificatePEM, keyPEM, certificates[0], signer.Public()}, true
}

func (c Certificate) usable(node string, now time.Time) bool {
	public, ok := c.leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.public) &&
		c.leaf.VerifyHostname(node) == nil &&
		!now.Before(c.leaf.NotBefore) && now.Before(c.RenewAt())
}

func newCertificate(node string, now time.Time) (Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, fmt.Errorf("make a private key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Certificate{}, fmt.Errorf("make a serial number: %w", err)
	}
	template := x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		DNSNames:              []string{node},
		NotBefore:             now.Add(-clockSkew).UTC(),
		NotAfter:              now.Add(certificateLife).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return Certificate{}, fmt.Errorf("sign: %w", err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return Certificate{}, fmt.Errorf("encode the private key: %w", err)
	}
	certificatePEM := pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: der})
	minted, ok := parseCertificate(certificatePEM, keyPEM)
	if !ok {
		return Certificate{}, errors.New("the new certificate can't be read back")
	}
	return minted, nil
}
