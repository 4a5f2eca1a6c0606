// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const metricsPort = "8443"

var _ = Describe("The operator's metrics", func() {
	It("are served to those who may get the path, and to nobody else", func(ctx SpecContext) {
		scraper := metav1.ObjectMeta{Namespace: userNamespace, Name: "metrics-scraper"}
		for _, object := range []client.Object{
			&corev1.ServiceAccount{ObjectMeta: scraper},
			&rbacv1.ClusterRole{
				ObjectMeta: metav1.ObjectMeta{Name: scraper.Name},
				Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
			},
			&rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: scraper.Name},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: scraper.Name},
				Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: scraper.Namespace, Name: scraper.Name}},
			},
		} {
			Expect(k8s.Create(ctx, object)).To(Succeed())
			DeferCleanup(func(ctx SpecContext) { Expect(k8s.Delete(ctx, object)).To(Succeed()) }, NodeTimeout(time.Minute))
		}
		var pods corev1.PodList
		Expect(k8s.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/component": "manager"})).To(Succeed())
		Expect(pods.Items).NotTo(BeEmpty())
		address := net.JoinHostPort(pods.Items[0].Status.PodIP, metricsPort)

		status, _, err := scrape(ctx, address, "")
		Expect(err).NotTo(HaveOccurred())
		Expect(status).To(Equal(http.StatusUnauthorized))
		status, _, err = scrape(ctx, address, "of-nobody")
		Expect(err).NotTo(HaveOccurred())
		Expect(status).To(Equal(http.StatusUnauthorized))
		status, _, err = scrape(ctx, address, token(ctx, "default"))
		Expect(err).NotTo(HaveOccurred())
		Expect(status).To(Equal(http.StatusForbidden))
		permitted := token(ctx, scraper.Name)
		// The API server takes a moment to know of the binding.
		Eventually(func(g Gomega) {
			status, metrics, err := scrape(ctx, address, permitted)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(status).To(Equal(http.StatusOK))
			g.Expect(metrics).To(ContainSubstring("controller_runtime_reconcile_total"))
		}).WithContext(ctx).Should(Succeed())
	}, SpecTimeout(2*time.Minute))
})

// token makes one for a ServiceAccount of the users' namespace.
func token(ctx context.Context, name string) string {
	GinkgoHelper()
	request := &authenticationv1.TokenRequest{}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: userNamespace, Name: name}}
	Expect(k8s.SubResource("token").Create(ctx, account, request)).To(Succeed())
	return request.Status.Token
}

// scrape asks for metrics, and returns the status and the content of the answer.
func scrape(ctx context.Context, address, token string) (status int, metrics string, err error) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // it signs its certificate itself
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/metrics", http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return 0, "", err
	}
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), errors.Join(err, response.Body.Close())
}
