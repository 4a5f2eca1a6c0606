// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	sandboxazure "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// scraped returns the operator's series with their values, as Prometheus reads them.
func scraped(g Gomega) map[string]float64 {
	registry := prometheus.NewPedanticRegistry()
	g.Expect(registry.Register(told)).To(Succeed())
	families, err := registry.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	var text strings.Builder
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&text, family)
		g.Expect(err).NotTo(HaveOccurred())
	}
	found := map[string]float64{}
	for line := range strings.Lines(text.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimSpace(line)
		i := strings.LastIndex(line, " ")
		found[line[:i]], err = strconv.ParseFloat(line[i+1:], 64)
		g.Expect(err).NotTo(HaveOccurred(), line)
	}
	return found
}

// series returns those of the scraped series whose text has a part.
func series(g Gomega, part string) []string {
	var found []string
	for name := range scraped(g) {
		if strings.Contains(name, part) {
			found = append(found, name)
		}
	}
	return found
}

var _ = Describe("The metrics", func() {
	const node = `{connector="one",node="` + linuxNode + `"}`

	It("tell of a connector, and of nothing once it is gone", func(ctx SpecContext) {
		removed := scraped(Default)["vkc_node_removal_duration_seconds_count"]
		plantGroup(ctx, "default-other", "virtual-kubelet-two-linux-eastus", "00000000-0000-0000-0000-000000000002")
		ready(ctx, connector(), linuxNode)
		pod := runPod(ctx)
		plantGroup(ctx, "default-web", linuxNode, string(pod.UID))
		Eventually(scraped).WithTimeout(time.Minute).WithPolling(time.Second).Should(And(
			HaveKeyWithValue("vkc_connectors", 1.),
			HaveKeyWithValue(`vkc_connector_condition{connector="one",reason="Ready",status="True",type="Ready"}`, 1.),
			HaveKeyWithValue(`vkc_connector_nodes_desired{connector="one"}`, 1.),
			HaveKeyWithValue(`vkc_connector_nodes_ready{connector="one"}`, 1.),
			HaveKeyWithValue(`vkc_connector_reconcile_failures{connector="one"}`, 0.),
			HaveKeyWithValue(`vkc_node_condition{connector="one",node="`+linuxNode+`",reason="NodeReady",status="True",type="Ready"}`, 1.),
			HaveKeyWithValue("vkc_node_container_groups"+node, 1.),
			HaveKeyWithValue("vkc_node_pods"+node, 1.),
			HaveKeyWithValue("vkc_node_orphaned_container_groups"+node, 0.),
			HaveKeyWithValue("vkc_node_certificate_expiry_timestamp_seconds"+node, BeNumerically(">", float64(time.Now().AddDate(0, 11, 0).Unix()))),
			HaveKeyWithValue(`vkc_azure_facts{kind="token",state="good"}`, 1.),
			HaveKeyWithValue(`vkc_azure_fact_age_seconds{kind="containerGroups"}`, BeNumerically("<", 300)),
			HaveKeyWithValue(`vkc_azure_requests_total{operation="ListContainerGroups",result="success"}`, BeNumerically(">", 0)),
			HaveKeyWithValue(`vkc_azure_requests_total{operation="GetToken",result="success"}`, BeNumerically(">", 0)),
		), "Azure is asked every 40 seconds")
		Expect(series(Default, `operation="Other"`)).To(BeEmpty())

		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		Eventually(series).WithArguments(`reason="Draining"`).Should(ContainElement(
			`vkc_node_condition{connector="one",node="` + linuxNode + `",reason="Draining",status="True",type="Retiring"}`))
		deletePods(ctx, Default, "default")
		Expect(cloud.Client().DeleteContainerGroup(ctx, sandboxazure.DefaultSubscriptionID, "virtual-nodes", "default-web")).To(Succeed())
		Eventually(gone(ctx)).WithTimeout(time.Minute).Should(BeTrue())
		Eventually(series).WithArguments(`connector="one"`).Should(BeEmpty())
		Eventually(scraped).Should(And(
			HaveKeyWithValue("vkc_connectors", 0.), HaveKeyWithValue("vkc_node_removal_duration_seconds_count", removed+1)))
	})

	It("tell of what somebody has to act on", func(ctx SpecContext) {
		createSecret(ctx, map[string]string{"clientSecret": "wrong"})
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		Eventually(scraped).Should(And(
			HaveKeyWithValue(`vkc_connector_condition{connector="one",reason="CredentialsRejected",status="False",type="AzureAccessible"}`, 1.),
			HaveKeyWithValue(`vkc_connector_condition{connector="one",reason="UserActionNeeded",status="True",type="Stalled"}`, 1.),
			HaveKeyWithValue(`vkc_connector_nodes_ready{connector="one"}`, 0.),
			HaveKeyWithValue(`vkc_azure_facts{kind="token",state="bad"}`, 1.),
			HaveKeyWithValue(`vkc_azure_requests_total{operation="GetToken",result="refused"}`, BeNumerically(">", 0)),
		))
		Expect(series(Default, v1alpha1.ConditionRetiring)).To(BeEmpty())
	})
})
