// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

const (
	// runs is how many connectors are measured at once.
	runs = 3
	// measurePeriod is how exactly.
	measurePeriod = 100 * time.Millisecond
)

// stopwatch keeps how long things take, by what they are, in the order in which they were first measured.
type stopwatch struct {
	mu    sync.Mutex
	order []string
	times map[string][]time.Duration
}

func (w *stopwatch) add(what string, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.order, what) {
		w.order = append(w.order, what)
	}
	w.times[what] = append(w.times[what], took.Round(10*time.Millisecond))
}

func (w *stopwatch) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%-44s %10s %10s\n", "from … to", "median", "longest")
	for _, what := range w.order {
		fmt.Fprintf(&text, "%-44s %10s %10s\n", what, median(w.times[what]), slices.Max(w.times[what]))
	}
	return text.String()
}

var _ = Describe("A change", func() {
	It("is made good, or made true, soon", func(ctx SpecContext) {
		watch := &stopwatch{times: map[string][]time.Duration{}}
		problems := make([]error, runs)
		var running sync.WaitGroup
		for i := range problems {
			running.Go(func() { problems[i] = measure(ctx, watch) })
		}
		running.Wait()
		AddReportEntry(fmt.Sprintf("times of %d connectors", runs), watch.String(), ReportEntryVisibilityAlways)
		Expect(errors.Join(problems...)).NotTo(HaveOccurred())
	}, SpecTimeout(15*time.Minute))
})

// measure makes, changes, hurts and removes a connector, and keeps the time of each.
func measure(ctx context.Context, watch *stopwatch) (err error) {
	l, err := newLane(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.clear(context.WithoutCancel(ctx))) }()
	p := &player{lane: l}
	linux := l.node(v1alpha1.OSTypeLinux)
	var uid types.UID
	var pods []corev1.Pod
	run := func(name string) func(context.Context) error {
		return func(ctx context.Context) error { return l.runs(ctx, name) }
	}
	spec := func(edit func(*v1alpha1.VirtualKubeletConnectorSpec)) func(context.Context) error {
		return func(ctx context.Context) error { return l.change(ctx, edit) }
	}
	edited := func(what string) func(context.Context) error {
		return func(ctx context.Context) error { return p.edit(ctx, what) }
	}
	steps := []measured{
		{"connector made → Ready", func(ctx context.Context) error { return k8s.Create(ctx, l.connector(v1alpha1.OSTypeLinux)) }, l.settled},
		{"pod made → Running", run(l.name + "-first"), nothing},
		{"taint taken off → back", edited("taint"), l.settled},
		{"labels edited → back", edited("label"), l.settled},
		{"Lease deleted → back", func(ctx context.Context) error { return k8s.Delete(ctx, leaseOf(linux)) }, l.settled},
		{"Node deleted → another, Ready", func(ctx context.Context) error {
			var node corev1.Node
			if err := k8s.Get(ctx, client.ObjectKey{Name: linux}, &node); err != nil {
				return err
			}
			uid = node.UID
			return k8s.Delete(ctx, &node)
		}, func(ctx context.Context) error {
			var node corev1.Node
			if err := k8s.Get(ctx, client.ObjectKey{Name: linux}, &node); err != nil {
				return err
			}
			if node.UID == uid {
				return errors.New("it is the same")
			}
			return l.settled(ctx)
		}},
	}
	for _, kind := range []string{"Deployment", "Secret", "ServiceAccount", "ClusterRoleBinding", "RoleBinding"} {
		var before imprint
		steps = append(steps,
			measured{kind + " edited → as before, Ready", func(ctx context.Context) (err error) {
				if before, err = l.imprint(ctx, kind); err != nil {
					return err
				}
				return p.edit(ctx, kind)
			}, func(ctx context.Context) error {
				now, err := l.imprint(ctx, kind)
				if err != nil {
					return err
				}
				if now.content != before.content {
					return fmt.Errorf("%s is not as before", kind)
				}
				return l.available(ctx)
			}},
			measured{kind + " deleted → back, Ready", func(ctx context.Context) (err error) {
				if before, err = l.imprint(ctx, kind); err != nil {
					return err
				}
				return p.dropChild(ctx, kind)
			}, func(ctx context.Context) error {
				now, err := l.imprint(ctx, kind)
				if err != nil {
					return err
				}
				if now.uid == before.uid {
					return fmt.Errorf("%s is still the same", kind)
				}
				return l.available(ctx)
			}})
	}
	steps = append(steps,
		measured{"wrong client secret → told", func(ctx context.Context) error { return l.putSecret(ctx, wrongSecret) }, func(ctx context.Context) error {
			c, err := l.get(ctx)
			if err == nil && condition(c, v1alpha1.ConditionAzureAccessible).Reason != v1alpha1.ReasonCredentialsRejected {
				err = errors.New(told(c))
			}
			return err
		}},
		measured{"right client secret → Ready", func(ctx context.Context) error { return l.putSecret(ctx, l.secret) }, l.settled},
		measured{"client secret rotated → in use, Ready", func(ctx context.Context) (err error) {
			if pods, err = l.kubelets(ctx); err != nil {
				return err
			}
			return l.rotate(ctx)
		}, func(ctx context.Context) error { return l.replaced(ctx, pods) }},
		measured{"pod made after that → Running", run(l.name + "-second"), nothing},
		measured{"operating system added → Ready", spec(func(s *v1alpha1.VirtualKubeletConnectorSpec) {
			s.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows}
		}), l.settled},
		measured{"operating system taken off → nothing left", spec(func(s *v1alpha1.VirtualKubeletConnectorSpec) {
			s.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
		}), l.settled},
		measured{"log level changed → in use, Ready", func(ctx context.Context) (err error) {
			if pods, err = l.kubelets(ctx); err != nil {
				return err
			}
			return l.change(ctx, func(s *v1alpha1.VirtualKubeletConnectorSpec) { s.VirtualKubelet.LogLevel = "debug" })
		}, func(ctx context.Context) error { return l.replaced(ctx, pods) }},
		measured{"resource group changed → successor Ready", spec(func(s *v1alpha1.VirtualKubeletConnectorSpec) {
			s.ContainerGroups.ResourceGroup = second
		}), l.settled},
		measured{"pod made there → Running", run(l.name + "-third"), nothing},
		measured{"connector with a pod deleted → nothing left", func(ctx context.Context) error {
			return l.delete(ctx, metav1.DeletePropagationBackground)
		}, l.gone},
		measured{"connector made again → Ready", func(ctx context.Context) error { return k8s.Create(ctx, l.connector(v1alpha1.OSTypeLinux)) }, l.settled},
		measured{"empty connector deleted → nothing left", func(ctx context.Context) error {
			return l.delete(ctx, metav1.DeletePropagationBackground)
		}, l.gone},
	)
	for _, step := range steps {
		start := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		if err := untilEvery(ctx, measurePeriod, recovered, step.what, step.wrong); err != nil {
			return fmt.Errorf("%w\n%s", err, describe(ctx, l.name))
		}
		watch.add(step.what, time.Since(start))
	}
	return nil
}

// measured is something that is done, and what is wrong until it has come about.
type measured struct {
	what  string
	do    func(context.Context) error
	wrong func(context.Context) error
}

func nothing(context.Context) error { return nil }

// imprint is what there is of a child, but for what the API server notes of it.
type imprint struct {
	uid     types.UID
	content string
}

func (l *lane) imprint(ctx context.Context, kind string) (imprint, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(children[kind])
	if err := k8s.Get(ctx, client.ObjectKey{Namespace: namespaceOf(kind), Name: l.node(v1alpha1.OSTypeLinux)}, object); err != nil {
		return imprint{}, err
	}
	content, err := json.Marshal([]any{
		object.GetLabels(), object.Object["spec"], object.Object["data"], object.Object["subjects"], object.Object["roleRef"],
	})
	return imprint{object.GetUID(), string(content)}, err
}

// available is settled with a virtual kubelet that runs as its Deployment has it.
func (l *lane) available(ctx context.Context) error {
	if err := l.settled(ctx); err != nil {
		return err
	}
	var deployment appsv1.Deployment
	if err := k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: l.node(v1alpha1.OSTypeLinux)}, &deployment); err != nil {
		return err
	}
	if status := deployment.Status; status.ObservedGeneration != deployment.Generation || status.AvailableReplicas != 1 || status.UpdatedReplicas != 1 {
		return fmt.Errorf("deployment %s is not available: %+v", deployment.Name, status)
	}
	return nil
}

// replaced is settled with other pods of virtual kubelets than before.
func (l *lane) replaced(ctx context.Context, before []corev1.Pod) error {
	now, err := l.kubelets(ctx)
	if err != nil {
		return err
	}
	for i := range now {
		if slices.ContainsFunc(before, func(p corev1.Pod) bool { return p.UID == now[i].UID }) {
			return fmt.Errorf("pod %s still runs", now[i].Name)
		}
	}
	return l.available(ctx)
}
