// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/pki"
)

func TestAuthority(t *testing.T) {
	g := NewWithT(t)
	authority, err := pki.NewAuthority("test")
	g.Expect(err).NotTo(HaveOccurred())
	roots := x509.NewCertPool()
	g.Expect(roots.AppendCertsFromPEM(authority.Certificate())).To(BeTrue())

	server, err := authority.Server("server", "example.com", "192.0.2.1")
	g.Expect(err).NotTo(HaveOccurred())
	for host, matches := range map[string]bool{"example.com": true, "192.0.2.1": true, "example.org": false} {
		_, err := parse(t, server).Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
		g.Expect(err == nil).To(Equal(matches), host)
	}

	client, err := authority.Client("user", "group-a", "group-b")
	g.Expect(err).NotTo(HaveOccurred())
	certificate := parse(t, client)
	g.Expect(certificate.Subject.CommonName).To(Equal("user"))
	g.Expect(certificate.Subject.Organization).To(ConsistOf("group-a", "group-b"))
	_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	g.Expect(err).NotTo(HaveOccurred())

	other, err := pki.NewAuthority("test")
	g.Expect(err).NotTo(HaveOccurred())
	foreign, err := other.Client("user")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = parse(t, foreign).Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	g.Expect(err).To(HaveOccurred())
}

func TestWriteKeepsTheKeyPrivate(t *testing.T) {
	g := NewWithT(t)
	authority, err := pki.NewAuthority("test")
	g.Expect(err).NotTo(HaveOccurred())
	pair, err := authority.Server("server", "example.com")
	g.Expect(err).NotTo(HaveOccurred())
	files, err := pair.Write(t.TempDir(), "server")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = tls.LoadX509KeyPair(files.Certificate, files.Key)
	g.Expect(err).NotTo(HaveOccurred())
	info, err := os.Stat(files.Key)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o600)))
}

func parse(t *testing.T, pair pki.Pair) *x509.Certificate {
	t.Helper()
	g := NewWithT(t)
	block, _ := pem.Decode(pair.Certificate)
	g.Expect(block).NotTo(BeNil())
	certificate, err := x509.ParseCertificate(block.Bytes)
	g.Expect(err).NotTo(HaveOccurred())
	return certificate
}
