// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package kills

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	sandboxazure "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	connectorName = "one"
	secretName    = "virtual-kubelet-credentials"
	linuxNode     = "virtual-kubelet-one-linux-eastus"
	windowsNode   = "virtual-kubelet-one-windows-eastus"
)

// step is something that a user does, and how it is seen that the operator has answered it.
type step struct {
	name string
	do   func(context.Context, *lane) error
	done func(context.Context, *lane) (bool, error)
}

// scenario is the life of a connector.
var scenario = []step{
	{
		name: "install",
		do: func(ctx context.Context, l *lane) error {
			for _, object := range []client.Object{
				&corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName},
					StringData: map[string]string{"clientSecret": sandboxazure.DefaultClientSecret},
				},
				connector(), pod("web", "linux"), pod("iis", "windows"),
			} {
				if err := l.k8s.Create(ctx, object); err != nil {
					return err
				}
			}
			return nil
		},
		done: func(ctx context.Context, l *lane) (bool, error) {
			ok, err := l.settled(ctx, func(c *v1alpha1.VirtualKubeletConnector) bool { return ptr.Deref(c.Status.ReadyNodes, 0) == 2 })
			if !ok || err != nil {
				return false, err
			}
			var pods corev1.PodList
			err = l.k8s.List(ctx, &pods, client.InNamespace(metav1.NamespaceDefault))
			return !slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning }), err
		},
	},
	{
		name: "change",
		do: func(ctx context.Context, l *lane) error {
			return l.edit(ctx, func(c *v1alpha1.VirtualKubeletConnector) {
				c.Spec.VirtualKubelet.LogLevel = "debug"
				c.Spec.Node.Labels = map[string]v1alpha1.LabelValue{"example.com/team": "web"}
				c.Spec.Node.Taint.Value = new(v1alpha1.LabelValue("changed"))
			})
		},
		done: func(ctx context.Context, l *lane) (bool, error) {
			for _, name := range []string{linuxNode, windowsNode} {
				var deployment appsv1.Deployment
				if err := l.k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &deployment); err != nil {
					return false, client.IgnoreNotFound(err)
				}
				var node corev1.Node
				if err := l.k8s.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
					return false, client.IgnoreNotFound(err)
				}
				changed := slices.Contains(deployment.Spec.Template.Spec.Containers[0].Args, "--log-level=debug") &&
					deployment.Status.ObservedGeneration == deployment.Generation && deployment.Status.ReadyReplicas == 1 &&
					node.Labels["example.com/team"] == "web" &&
					slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Value == "changed" })
				if !changed {
					return false, nil
				}
			}
			return l.settled(ctx, func(c *v1alpha1.VirtualKubeletConnector) bool { return ptr.Deref(c.Status.ReadyNodes, 0) == 2 })
		},
	},
	{
		name: "take Windows off",
		do: func(ctx context.Context, l *lane) error {
			return l.edit(ctx, func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux} })
		},
		done: func(ctx context.Context, l *lane) (bool, error) {
			return l.settled(ctx, func(c *v1alpha1.VirtualKubeletConnector) bool { return len(c.Status.Nodes) == 1 })
		},
	},
	{
		name: "delete",
		do: func(ctx context.Context, l *lane) error {
			return l.k8s.Delete(ctx, connector())
		},
		done: func(ctx context.Context, l *lane) (bool, error) {
			err := l.k8s.Get(ctx, client.ObjectKey{Name: connectorName}, &v1alpha1.VirtualKubeletConnector{})
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		},
	},
}

func connector() *v1alpha1.VirtualKubeletConnector {
	return &v1alpha1.VirtualKubeletConnector{
		ObjectMeta: metav1.ObjectMeta{Name: connectorName},
		Spec: v1alpha1.VirtualKubeletConnectorSpec{
			OSTypes: []v1alpha1.OSType{v1alpha1.OSTypeLinux, v1alpha1.OSTypeWindows},
			ContainerGroups: v1alpha1.ContainerGroups{
				SubscriptionID: sandboxazure.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Location: "eastus",
			},
			Credentials: v1alpha1.Credentials{
				Type: v1alpha1.CredentialTypeServicePrincipal,
				ServicePrincipal: &v1alpha1.ServicePrincipal{
					TenantID: sandboxazure.DefaultTenantID, ClientID: sandboxazure.DefaultClientID,
					ClientSecretRef: v1alpha1.SecretKeyReference{Name: secretName},
				},
			},
		},
	}
}

// pod returns one for the virtual node of an operating system.
func pod(name, os string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name},
		Spec: corev1.PodSpec{
			Containers:                    []corev1.Container{{Name: "main", Image: "example.com/" + name}},
			NodeSelector:                  map[string]string{corev1.LabelOSStable: os, "type": "virtual-kubelet"},
			Tolerations:                   []corev1.Toleration{{Key: "virtual-kubelet.io/provider", Operator: corev1.TolerationOpExists}},
			TerminationGracePeriodSeconds: new(int64(1)),
		},
	}
}

func (l *lane) edit(ctx context.Context, change func(*v1alpha1.VirtualKubeletConnector)) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var c v1alpha1.VirtualKubeletConnector
		if err := l.k8s.Get(ctx, client.ObjectKey{Name: connectorName}, &c); err != nil {
			return err
		}
		change(&c)
		return l.k8s.Update(ctx, &c)
	})
}

// settled reports whether the connector says that it is as its spec asks for.
func (l *lane) settled(ctx context.Context, also func(*v1alpha1.VirtualKubeletConnector) bool) (bool, error) {
	var c v1alpha1.VirtualKubeletConnector
	if err := l.k8s.Get(ctx, client.ObjectKey{Name: connectorName}, &c); err != nil {
		return false, err
	}
	ok := c.Status.ObservedGeneration == c.Generation && also(&c) &&
		meta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady) &&
		meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionRetiring) == nil &&
		meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReconciling) == nil
	return ok, nil
}

const (
	stepTimeout = time.Minute
	poll        = 200 * time.Millisecond
	// quiet is longer than the operator waits between any two looks at what it removes.
	quiet = 4 * time.Second
)

// reference is how the world is after each step of an undisturbed run, and what it took.
type reference struct {
	states []state
	writes []int
	starts []map[string]int
}

// measure runs the scenario undisturbed.
func measure(ctx context.Context, l *lane) (reference, error) {
	var r reference
	if err := l.begin(ctx); err != nil {
		return r, err
	}
	for _, s := range scenario {
		l.tally.reset()
		l.fuse.arm(0, answered)
		if err := s.do(ctx, l); err != nil {
			return r, fmt.Errorf("%s: %w", s.name, err)
		}
		if err := l.await(ctx, func() (bool, error) { return s.done(ctx, l) }); err != nil {
			state, _ := l.state(ctx)
			return r, fmt.Errorf("%s: %w; the world is:\n%s", s.name, err, state)
		}
		if err := l.awaitQuiet(ctx); err != nil {
			return r, fmt.Errorf("%s: %w", s.name, err)
		}
		state, err := l.state(ctx)
		if err != nil {
			return r, fmt.Errorf("%s: %w", s.name, err)
		}
		starts, _ := l.tally.counts()
		r.states, r.writes, r.starts = append(r.states, state), append(r.writes, len(l.fuse.written())), append(r.starts, starts)
	}
	return r, nil
}

// awaitQuiet waits until the operator has not written for a while.
func (l *lane) awaitQuiet(ctx context.Context) error {
	last, since := -1, time.Now()
	return l.await(ctx, func() (bool, error) {
		if n := len(l.fuse.written()); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > quiet, nil
	})
}

// kill is a write at which an operator was struck.
type kill struct {
	step, write string
	k           int
}

func (k kill) String() string { return fmt.Sprintf("write %d of %q (%s)", k.k, k.step, k.write) }

// disturb runs the scenario, strikes an operator at the k-th write of each step, and compares what comes of it: as each
// step ends as if it had not been struck, the steps after it are tried as well as in runs of their own.
func disturb(ctx context.Context, l *lane, undisturbed reference, k int, c cut) (kills []kill, err error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	created := map[string]time.Time{}
	puts := map[string]int{}
	for i, s := range scenario {
		l.tally.reset()
		l.fuse.arm(k, c)
		if err := s.do(ctx, l); err != nil {
			return kills, fmt.Errorf("%s: %w", s.name, err)
		}
		var last state
		struck := false
		err := l.await(ctx, func() (bool, error) {
			if writes := l.fuse.written(); !struck && len(writes) >= k {
				struck = true
				kills = append(kills, kill{s.name, writes[k-1], k})
			}
			err := l.mourn()
			if err != nil {
				return false, err
			}
			last, err = l.state(ctx)
			return err == nil && last.equals(undisturbed.states[i]), err
		})
		fail := func(problem string) error {
			return fmt.Errorf("%s at %v: after %q %s", c, kills, s.name, problem)
		}
		if err != nil {
			return kills, fail(fmt.Sprintf("%v:\n%s", err, last.diff(undisturbed.states[i])))
		}
		starts, made := l.tally.counts()
		for node, n := range starts {
			if n > undisturbed.starts[i][node] {
				return kills, fail(fmt.Sprintf("the virtual kubelet of %s was started %d times, undisturbed %d", node, n, undisturbed.starts[i][node]))
			}
		}
		for name, n := range made {
			if puts[name] += n; puts[name] > 1 {
				return kills, fail(fmt.Sprintf("container group %s was made %d times", name, puts[name]))
			}
		}
		for _, group := range l.cloud.ContainerGroups() {
			if at, ok := created[group.Name]; ok && !at.Equal(group.Created) {
				return kills, fail(fmt.Sprintf("container group %s is another one", group.Name))
			}
			created[group.Name] = group.Created
		}
	}
	return kills, nil
}

// begin starts an operator in a world that has nothing of a connector.
func (l *lane) begin(ctx context.Context) error {
	if err := l.killOperator(); err != nil {
		return err
	}
	credentials := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName}}
	if err := client.IgnoreNotFound(l.k8s.Delete(ctx, credentials)); err != nil {
		return err
	}
	return l.startOperator()
}

func (l *lane) await(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s", stepTimeout)
		case <-ticker.C:
		}
	}
}

// clear takes away, whatever state it is in, what a run has left.
func (l *lane) clear(ctx context.Context) error {
	if err := l.killOperator(); err != nil {
		return err
	}
	return l.await(ctx, func() (bool, error) {
		var c v1alpha1.VirtualKubeletConnector
		if l.k8s.Get(ctx, client.ObjectKey{Name: connectorName}, &c) == nil {
			controllerutil.RemoveFinalizer(&c, v1alpha1.Finalizer)
			if err := l.k8s.Update(ctx, &c); err != nil && !apierrors.IsConflict(err) {
				return false, client.IgnoreNotFound(err)
			}
			if err := client.IgnoreNotFound(l.k8s.Delete(ctx, &c)); err != nil {
				return false, err
			}
		}
		for _, kind := range kinds {
			list := kind.list()
			if err := l.k8s.List(ctx, list, kind.options...); err != nil {
				return false, err
			}
			objects, err := meta.ExtractList(list)
			if err != nil {
				return false, err
			}
			for _, o := range objects {
				object, ok := o.(client.Object)
				if !ok || strings.HasPrefix(object.GetName(), machinePrefix) || object.GetName() == "kube-root-ca.crt" {
					continue
				}
				if err := client.IgnoreNotFound(l.k8s.Delete(ctx, object, client.GracePeriodSeconds(0), client.PropagationPolicy(metav1.DeletePropagationBackground))); err != nil {
					return false, err
				}
			}
		}
		for _, g := range l.cloud.ContainerGroups() {
			if err := l.cloud.DeleteContainerGroup(g.SubscriptionID, g.ResourceGroup, g.Name); err != nil {
				return false, err
			}
		}
		left, err := l.state(ctx)
		return len(left) == 0, err
	})
}
