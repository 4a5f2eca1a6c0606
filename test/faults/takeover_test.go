// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	// takeover is how long a removal may take whose virtual kubelet can't do its part.
	takeover = 5 * time.Minute

	foreignGroup = "production-web"
	foreignNode  = "virtual-kubelet-other-linux-eastus"
)

// These wait for the same patience of the operator's, so they do it at the same time.
var _ = Describe("A virtual kubelet that fails", func() {
	It("is done without in a removal, which leaves what is somebody else's, and is ended where it hangs", func(ctx SpecContext) {
		together(ctx, map[string]func(context.Context, *lane) error{
			"the virtual kubelet works": func(ctx context.Context, l *lane) error {
				return l.removalLeaves(ctx, foreignGroup)
			},
			"the virtual kubelet hangs": func(ctx context.Context, l *lane) error {
				node := l.node(v1alpha1.OSTypeLinux)
				if err := l.signal(node, syscall.SIGSTOP); err != nil {
					return err
				}
				return errors.Join(l.removalLeaves(ctx, foreignGroup), l.signal(node, syscall.SIGCONT))
			},
			"the virtual kubelet ends again and again": func(ctx context.Context, l *lane) error {
				stop := l.keepDead(ctx)
				defer stop()
				return l.removalLeaves(ctx, foreignGroup)
			},
			"the Deployment is deleted by somebody": func(ctx context.Context, l *lane) error {
				if err := l.delete(ctx, metav1.DeletePropagationBackground); err != nil {
					return err
				}
				if err := (&player{lane: l}).dropChild(ctx, "Deployment"); err != nil {
					return err
				}
				return l.removalLeaves(ctx, foreignGroup)
			},
			"the image is gone": func(ctx context.Context, l *lane) error {
				if err := l.change(ctx, func(spec *v1alpha1.VirtualKubeletConnectorSpec) { spec.VirtualKubelet.Image.Tag = missing }); err != nil {
					return err
				}
				if err := until(ctx, recovered, "said that the image is gone", l.says(v1alpha1.ConditionLinuxNodeReady, v1alpha1.ReasonImageNotPulled)); err != nil {
					return err
				}
				return l.removalLeaves(ctx, foreignGroup)
			},
			"the client secret is wrong, and the node's own still right": func(ctx context.Context, l *lane) error {
				if err := l.putSecret(ctx, wrongSecret); err != nil {
					return err
				}
				return l.removalLeaves(ctx, foreignGroup)
			},
			"the Secret is gone": func(ctx context.Context, l *lane) error {
				if err := l.dropSecret(ctx); err != nil {
					return err
				}
				return l.removalLeaves(ctx, foreignGroup)
			},
			// The process panics when it reads the group that another node has made under its pod's name.
			"a foreign container group has a pod's name": func(ctx context.Context, l *lane) error {
				name := userNamespace + "-" + l.name + "-taken"
				if err := l.plant(ctx, name, foreignNode); err != nil {
					return err
				}
				if _, err := l.pod(ctx, l.name+"-taken", v1alpha1.OSTypeLinux); err != nil {
					return err
				}
				if err := until(ctx, recovered, "said not to be ready", l.says(v1alpha1.ConditionLinuxNodeReady, v1alpha1.ReasonCrashLoop)); err != nil {
					return err
				}
				return l.removalLeaves(ctx, foreignGroup, name)
			},
			"nothing is removed, and the virtual kubelet hangs": func(ctx context.Context, l *lane) error {
				if err := cloud().DeleteContainerGroup(ctx, l.subscription, first, foreignGroup); err != nil {
					return err
				}
				before, err := l.groups(ctx)
				err = errors.Join(err, l.signal(l.node(v1alpha1.OSTypeLinux), syscall.SIGSTOP),
					until(ctx, recovered, "said not to be heard of", l.says(v1alpha1.ConditionLinuxNodeReady, v1alpha1.ReasonNodeNotReady)),
					until(ctx, takeover, "as before", l.settled))
				if err != nil {
					return err
				}
				if after, err := l.groups(ctx); err != nil || !reflect.DeepEqual(before, after) {
					return errors.Join(err, fmt.Errorf("the container groups were %v, and are %v", before, after))
				}
				return nil
			},
		})
	}, SpecTimeout(15*time.Minute))
})

var _ = Describe("A container group of somebody else", func() {
	It("that carries the node's own name keeps it from starting, until it is gone", func(ctx SpecContext) {
		l, err := newLane(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(l.clear(ctx)).To(Succeed()) }, NodeTimeout(2*time.Minute))
		Expect(l.plant(ctx, foreignGroup, l.node(v1alpha1.OSTypeLinux))).To(Succeed())
		Expect(k8s.Create(ctx, l.connector(v1alpha1.OSTypeLinux))).To(Succeed())
		Expect(until(ctx, recovered, "said to be in use", l.says(v1alpha1.ConditionResolved, v1alpha1.ReasonNodeNameInUse))).To(Succeed())
		Expect(l.groups(ctx)).To(ConsistOf(HaveField("Name", foreignGroup)))
		Expect(cloud().DeleteContainerGroup(ctx, l.subscription, first, foreignGroup)).To(Succeed())
		Expect(until(ctx, recovered, "Ready", l.settled)).To(Succeed())
	}, SpecTimeout(8*time.Minute))
})

// together runs cases at once, each with a connector that is Ready, runs a pod, and shares its resource
// group with a container group of another cluster.
func together(ctx context.Context, cases map[string]func(context.Context, *lane) error) {
	GinkgoHelper()
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		times   []string
		failed  []string
	)
	for name, run := range cases {
		running.Go(func() {
			l, err := newLane(ctx)
			if err == nil {
				err = errors.Join(l.plant(ctx, foreignGroup, foreignNode), k8s.Create(ctx, l.connector(v1alpha1.OSTypeLinux)),
					until(ctx, recovered, "Ready", l.ready), l.runs(ctx, l.name+"-web"))
			}
			start := time.Now()
			if err == nil {
				err = run(ctx, l)
			}
			took := time.Since(start).Round(100 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			times = append(times, fmt.Sprintf("%-60s %s", name, took))
			if err != nil {
				failed = append(failed, fmt.Sprintf("%s: %v", name, err))
				AddReportEntry(name, describe(ctx, l.name), ReportEntryVisibilityFailureOrVerbose)
			}
			if err := l.clear(context.WithoutCancel(ctx)); err != nil {
				failed = append(failed, fmt.Sprintf("%s: %v", name, err))
			}
		})
	}
	running.Wait()
	slices.Sort(times)
	AddReportEntry("times", strings.Join(times, "\n"), ReportEntryVisibilityAlways)
	Expect(times).To(HaveLen(len(cases)))
	Expect(failed).To(BeEmpty())
}

// plant makes a container group as another cluster's virtual kubelet would.
func (l *lane) plant(ctx context.Context, name, node string) error {
	return cloud().PutContainerGroup(ctx, azure.ContainerGroup{
		SubscriptionID: l.subscription, ResourceGroup: first, Name: name,
		Tags: map[string]string{
			"PodName": "web", "Namespace": "production", "UID": "aaaaaaaa-0000-4000-8000-000000000000",
			"NodeName": node, "ClusterName": node, "CreationTimestamp": "2026-01-01 00:00:00 +0000 UTC",
		},
	})
}

// removalLeaves deletes the connector, and says what is left but for container groups of others, or which of
// those are not.
func (l *lane) removalLeaves(ctx context.Context, names ...string) error {
	if err := l.delete(ctx, metav1.DeletePropagationBackground); err != nil {
		return err
	}
	slices.Sort(names)
	err := until(ctx, takeover, "removed", func(ctx context.Context) error {
		if c, err := l.get(ctx); !apierrors.IsNotFound(err) {
			return errors.Join(err, fmt.Errorf("the connector is still being deleted: %s", told(c)))
		}
		pods, err := l.userPods(ctx)
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("pod %s is %s", pods[0].Name, pods[0].Status.Phase)
		}
		return errors.Join(err, l.exactly(ctx, nil))
	})
	groups, listed := l.groups(ctx)
	if err := errors.Join(err, listed); err != nil {
		return err
	}
	var left []string
	for _, g := range groups {
		left = append(left, g.Name)
	}
	if !slices.Equal(left, names) {
		return fmt.Errorf("there are the container groups %v, and not %v", left, names)
	}
	return nil
}

// says waits for what a condition says.
func (l *lane) says(conditionType, reason string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := l.get(ctx)
		if err == nil && condition(c, conditionType).Reason != reason {
			err = errors.New(told(c))
		}
		return err
	}
}

// keepDead kills the virtual kubelet of the lane's Linux node whenever it runs, until it is told to stop.
func (l *lane) keepDead(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var killer sync.WaitGroup
	killer.Go(func() {
		for {
			_ = l.signal(l.node(v1alpha1.OSTypeLinux), syscall.SIGKILL) // it may have ended meanwhile
			select {
			case <-ctx.Done():
				return
			case <-time.After(period):
			}
		}
	})
	return func() { cancel(); killer.Wait() }
}

// ready says why a connector is not Ready.
func (l *lane) ready(ctx context.Context) error {
	c, err := l.get(ctx)
	if err != nil {
		return err
	}
	if condition(c, v1alpha1.ConditionReady).Status != metav1.ConditionTrue || c.Status.ObservedGeneration != c.Generation {
		return errors.New(told(c))
	}
	return nil
}
