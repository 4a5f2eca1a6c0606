// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"reflect"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	certutil "k8s.io/client-go/util/cert"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/metrics"
	"github.com/virtual-kubelet/connector-operator/internal/retire"
)

// newFleet returns a fleet of an operator that leads, and what is in its cache.
func newFleet(t *testing.T, intercept interceptor.Funcs, objects ...client.Object) *fleet {
	t.Helper()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	clk := clocktesting.NewFakeClock(time.Unix(1_800_000_000, 0))
	elected := make(chan struct{})
	close(elected)
	return &fleet{
		cache:     fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(intercept).Build(),
		inventory: azure.NewInventory(nil, clk, func(string) {}),
		retirer:   &retire.Retirer{},
		failures:  &failures{inRow: map[string]int{"aci": 2}},
		namespace: "system",
		clock:     clk,
		elected:   elected,
	}
}

func TestFleet(t *testing.T) {
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	certificate, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "node"}, key)
	g.Expect(err).NotTo(HaveOccurred())
	encoded, err := certutil.EncodeCertificates(certificate)
	g.Expect(err).NotTo(HaveOccurred())
	secret := func(namespace, name, managedBy string, data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{
				identity.LabelManagedBy: managedBy, identity.LabelConnector: "aci",
			}},
			Data: data,
		}
	}
	serving := map[string][]byte{discover.CertificateKey: encoded}
	f := newFleet(t, interceptor.Funcs{},
		&v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: "aci"}},
		secret("system", "node", identity.ManagedBy, serving),
		secret("system", "unclaimed", identity.ManagedBy, nil),
		secret("system", "somebody-elses", "Helm", serving),
		secret("other", "node", identity.ManagedBy, serving),
	)
	found, ok := f.source(t.Context())()
	g.Expect(ok).To(BeTrue())
	g.Expect(found.Connectors).To(ConsistOf(HaveField("Name", "aci")))
	g.Expect(found.Certificates).To(ConsistOf(metrics.Certificate{Connector: "aci", Node: "node", Expiry: certificate.NotAfter}))
	g.Expect(found.Failures).To(Equal(map[string]int{"aci": 2}))
	g.Expect(found.Now).To(Equal(f.clock.Now()))
}

// What was read of a certificate counts for that version of its Secret.
func TestFleetTellsOfRenewedCertificates(t *testing.T) {
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	certificate := func(expiry time.Time) map[string][]byte {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: expiry}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		g.Expect(err).NotTo(HaveOccurred())
		return map[string][]byte{discover.CertificateKey: pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: der})}
	}
	expiry, later := time.Unix(1_800_000_000, 0).UTC(), time.Unix(1_900_000_000, 0).UTC()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "node", Labels: map[string]string{identity.LabelManagedBy: identity.ManagedBy}},
		Data:       certificate(expiry),
	}
	f := newFleet(t, interceptor.Funcs{}, secret)
	writer, ok := f.cache.(client.Client)
	g.Expect(ok).To(BeTrue())
	told := func() []metrics.Certificate {
		found, ok := f.source(t.Context())()
		g.Expect(ok).To(BeTrue())
		return found.Certificates
	}
	for range 2 {
		g.Expect(told()).To(ConsistOf(HaveField("Expiry", expiry)))
	}
	g.Expect(writer.Get(t.Context(), client.ObjectKeyFromObject(secret), secret)).To(Succeed())
	secret.Data = certificate(later)
	g.Expect(writer.Update(t.Context(), secret)).To(Succeed())
	for range 2 {
		g.Expect(told()).To(ConsistOf(HaveField("Expiry", later)))
	}
	g.Expect(writer.Delete(t.Context(), secret)).To(Succeed())
	g.Expect(told()).To(BeEmpty())
	g.Expect(f.expiries).To(BeEmpty())
}

func TestFleetIsToldOfByTheOperatorThatLeads(t *testing.T) {
	f := newFleet(t, interceptor.Funcs{})
	f.elected = make(chan struct{})
	_, ok := f.source(t.Context())()
	NewWithT(t).Expect(ok).To(BeFalse())
}

func TestFleetThatCannotBeRead(t *testing.T) {
	for name, unreadable := range map[string]client.ObjectList{
		"connectors": &v1alpha1.VirtualKubeletConnectorList{}, "Secrets": &corev1.SecretList{},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
				if reflect.TypeOf(list) == reflect.TypeOf(unreadable) {
					return errors.New("no")
				}
				return c.List(ctx, list, options...)
			}})
			_, ok := f.source(t.Context())()
			NewWithT(t).Expect(ok).To(BeFalse(), "half of it would look like connectors that have gone")
		})
	}
}
