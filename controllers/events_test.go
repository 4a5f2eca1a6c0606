// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	sandboxazure "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// story is all that events tell of an object, in the order in which it happened.
func story(ctx context.Context, uid types.UID) func(Gomega) []string {
	return func(g Gomega) []string {
		var list eventsv1.EventList
		g.Expect(k8s.List(ctx, &list, client.InNamespace(metav1.NamespaceDefault))).To(Succeed())
		events := slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool { return e.Regarding.UID != uid })
		slices.SortFunc(events, func(a, b eventsv1.Event) int { return a.EventTime.Compare(b.EventTime.Time) })
		var lines []string
		for _, event := range events {
			line := fmt.Sprintf("%s %s: %s", event.Type, event.Reason, event.Note)
			if event.Related != nil {
				line = fmt.Sprintf("%s %s %s: %s", event.Type, event.Reason, event.Related.Name, event.Note)
			}
			if event.Series != nil {
				line += fmt.Sprintf(" (%d times)", event.Series.Count)
			}
			lines = append(lines, line)
		}
		return lines
	}
}

// uidOf returns the UID of the connector of most specs.
func uidOf(ctx context.Context) types.UID {
	GinkgoHelper()
	var found v1alpha1.VirtualKubeletConnector
	Expect(k8s.Get(ctx, client.ObjectKey{Name: one}, &found)).To(Succeed())
	return found.UID
}

var _ = Describe("The events of a connector", func() {
	It("tell its story, each turn once", func(ctx SpecContext) {
		const renewed = "renewed-client-secret"
		Expect(k8s.Create(ctx, connector())).To(Succeed())
		uid := uidOf(ctx)
		var all []any
		goesOn := func(lines ...any) {
			GinkgoHelper()
			all = append(all, lines...)
			Eventually(story(ctx, uid)).WithTimeout(2 * time.Minute).Should(HaveExactElements(all...))
		}
		setSecret := func(value string, ends time.Time) {
			GinkgoHelper()
			Expect(cloud.Client().SetClientSecret(ctx, sandboxazure.DefaultClientID, value, ends)).To(Succeed())
		}
		fault := func(fault sandboxazure.Fault) {
			GinkgoHelper()
			_, err := cloud.AddFault(fault)
			Expect(err).NotTo(HaveOccurred())
		}

		const place = "resource group virtual-nodes of subscription " + sandboxazure.DefaultSubscriptionID
		const (
			accessible = "Normal Accessible: Azure accepts the credentials on " + place
			draining   = " is being removed: it takes no new pods, and those that it has are evicted"
			retired    = " is removed, and nothing of it is left in Azure"
		)
		// of is an event of a node.
		of := func(reason, node, is string) string { return "Normal " + reason + " " + node + ": node " + node + is }

		By("making it before its Secret")
		goesOn("Warning SecretNotFound: Secret " + namespace + "/" + secretName + " does not exist: kubectl create secret generic " + secretName +
			" --namespace " + namespace + " --from-file=clientSecret=FILE")

		By("making the Secret")
		createSecret(ctx, goodSecret())
		goesOn("Normal Resolved: the spec and what it points to are understood",
			"Normal Registered: resource provider Microsoft.ContainerInstance is registered in subscription "+sandboxazure.DefaultSubscriptionID,
			accessible)
		standIn(ctx, linuxNode)
		goesOn(of("NodeReady", linuxNode, " is ready"))

		By("letting the client secret end, and rotating it")
		setSecret(sandboxazure.DefaultClientSecret, time.Now().Add(-time.Minute))
		goesOn(And(HavePrefix("Warning SecretExpired: Microsoft Entra refused a token for client "+sandboxazure.DefaultClientID),
			ContainSubstring("AADSTS7000222"), HaveSuffix("(az ad app credential reset --id "+sandboxazure.DefaultClientID+
				" --append) and put it into the Secret")))
		setSecret(renewed, time.Time{})
		updateSecret(ctx, renewed)
		goesOn(accessible)
		standIn(ctx, linuxNode)
		goesOn(of("NodeReady", linuxNode, " is ready"))

		By("adding an operating system")
		patchSpec(ctx, `{"spec":{"osTypes":["Linux","Windows"]}}`)
		standIn(ctx, windowsNode)
		goesOn(of("NodeReady", windowsNode, " is ready"))

		By("taking it off, with a pod")
		pod := runPodOn(ctx, windowsNode)
		plantGroup(ctx, "default-web", windowsNode, string(pod.UID))
		patchSpec(ctx, `{"spec":{"osTypes":["Linux"]}}`)
		goesOn(of("Draining", windowsNode, draining))
		Expect(k8s.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		goesOn(of("Drained", windowsNode, ": no pods are left on it"),
			of("ContainerGroupsRemain", windowsNode, ": the pods are gone; Azure still has container group default-web in "+place))
		Expect(cloud.Client().DeleteContainerGroup(ctx, sandboxazure.DefaultSubscriptionID, "virtual-nodes", "default-web")).To(Succeed())
		goesOn(of("Retired", windowsNode, retired))

		By("suspending and resuming it")
		patchSpec(ctx, `{"spec":{"suspend":true}}`)
		goesOn("Normal Suspended: spec.suspend is true: nothing is changed until it is false, or the connector is deleted")
		patchSpec(ctx, `{"spec":{"suspend":false}}`)
		goesOn("Normal Resumed: spec.suspend is false: the operator goes on")

		By("having Azure away for a while")
		fault(sandboxazure.Fault{Operation: "*", Status: http.StatusServiceUnavailable})
		goesOn(And(HavePrefix("Warning AzureUnavailable: "),
			Or(ContainSubstring("answered 503"), ContainSubstring("can't issue a token now"))))
		cloud.ClearFaults()
		goesOn(accessible)

		By("deleting it, with a container group that can't be deleted")
		plantGroup(ctx, "default-stuck", linuxNode, "00000000-0000-0000-0000-000000000001")
		fault(sandboxazure.Fault{Operation: "ContainerGroups.Delete", Status: http.StatusConflict, Code: "ScopeLocked"})
		Expect(k8s.Delete(ctx, connector())).To(Succeed())
		goesOn(of("Draining", linuxNode, draining), of("Drained", linuxNode, ": no pods are left on it"),
			of("ContainerGroupsRemain", linuxNode, ": the pods are gone; Azure still has container group default-stuck in "+place))
		kubeletFails(ctx)
		goesOn(And(HavePrefix("Warning AzureNotAsked "+linuxNode+": node "+linuxNode+": container group default-stuck"),
			ContainSubstring("(ScopeLocked): check the deny assignments, policies and locks there")))
		cloud.ClearFaults()
		goesOn(of("Retired", linuxNode, retired), "Normal Removed: nothing of the connector is left, neither in the cluster nor in Azure")
		Expect(gone(ctx)()).To(BeTrue())

		for _, line := range story(ctx, uid)(Default) {
			Expect(line).NotTo(Or(ContainSubstring(sandboxazure.DefaultClientSecret), ContainSubstring(renewed)))
		}
	}, SpecTimeout(15*time.Minute))
})
