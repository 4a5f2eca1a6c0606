// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/test/world"
)

// every is after how many of its writes the operator is killed; test/faults/kills does it at each of them.
const every = 6

// The operator's process is killed in the whole sandbox as soon as the audit log shows that it has written so often.
var _ = Describe("An operator that is killed again and again", func() {
	It("makes, changes and removes nodes all the same, and leaves nothing", func(ctx SpecContext) {
		l, err := newLane(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(l.clear(ctx)).To(Succeed()) }, NodeTimeout(2*time.Minute))
		kills := 0
		for _, step := range []struct {
			what  string
			begin func(context.Context) error
			end   func(context.Context) error
		}{
			{"made", func(ctx context.Context) error {
				return k8s.Create(ctx, l.connector(v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows))
			}, l.settled},
			{"with a pod", func(ctx context.Context) error { return l.runs(ctx, l.name+"-web") }, l.settled},
			{"changed", func(ctx context.Context) error {
				return l.change(ctx, func(spec *v1alpha1.VirtualKubeletConnectorSpec) { spec.VirtualKubelet.LogLevel = "debug" })
			}, l.settled},
			{"without Windows", func(ctx context.Context) error {
				return l.change(ctx, func(spec *v1alpha1.VirtualKubeletConnectorSpec) {
					spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
				})
			}, l.settled},
			{"gone", func(ctx context.Context) error { return l.delete(ctx, metav1.DeletePropagationBackground) }, l.gone},
		} {
			By("killing the operator while the connector is to be " + step.what)
			from, err := own.AuditEnd()
			Expect(err).NotTo(HaveOccurred())
			Expect(step.begin(ctx)).To(Succeed())
			for written := every; ; written += every {
				reached := l.writesReach(ctx, from, written, step.end)
				if !reached {
					break
				}
				Expect(killOperator(ctx)).To(Succeed())
				kills++
				Eventually(func() ([]int, error) { return own.InPods("/manager") }).WithContext(ctx).WithTimeout(time.Minute).Should(HaveLen(1))
			}
			Expect(until(ctx, recovered, step.what, step.end)).To(Succeed())
		}
		Expect(kills).To(BeNumerically(">=", 5), "it was hardly killed")
		AddReportEntry("the operator was killed", fmt.Sprintf("%d times", kills), ReportEntryVisibilityAlways)
	}, SpecTimeout(12*time.Minute))
})

// writesReach waits until the operator has written so often for the lane; false where the step ends before.
func (l *lane) writesReach(ctx context.Context, from world.Audit, count int, end func(context.Context) error) bool {
	GinkgoHelper()
	reached := false
	Expect(untilEvery(ctx, 100*time.Millisecond, recovered, "writes, or an end", func(ctx context.Context) error {
		requests, err := from.Requests(func(r world.Request) bool {
			return r.User.Username == "system:serviceaccount:"+namespace+":"+operator && r.Writes() &&
				r.ObjectRef.Resource != "leases" && r.ObjectRef.Resource != "events" && strings.Contains(r.URI, l.name)
		})
		if err != nil {
			return err
		}
		if reached = len(requests) >= count; reached {
			return nil
		}
		return end(ctx)
	})).To(Succeed())
	return reached
}
