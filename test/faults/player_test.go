// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/test/history"
)

// player does what a history says to its lane.
type player struct {
	*lane
	begun time.Time
	log   strings.Builder
	pods  int
	// faults are what is still to end by itself.
	faults sync.WaitGroup
}

func (p *player) note(format string, args ...any) {
	fmt.Fprintf(&p.log, "%s +%5.1fs %s\n", time.Now().UTC().Format("15:04:05.000"), time.Since(p.begun).Seconds(), fmt.Sprintf(format, args...))
}

// act plays a history, and then gives the connector all that it needs.
func (p *player) act(ctx context.Context, h history.History) error {
	defer p.faults.Wait()
	for _, a := range h {
		p.note("%s", a)
		if err := p.do(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(a.Pause):
		}
	}
	p.faults.Wait()
	p.note("the faults are over, the Secret is put right")
	return errors.Join(p.putSecret(ctx, p.secret), p.change(ctx, func(spec *v1alpha1.VirtualKubeletConnectorSpec) {
		spec.Suspend = false
		if spec.ContainerGroups.ResourceGroup == missing {
			spec.ContainerGroups.ResourceGroup = first
		}
		spec.VirtualKubelet.Image.Tag = ""
	}))
}

func (p *player) do(ctx context.Context, a history.Action) error {
	os := v1alpha1.OSType(strings.TrimSuffix(a.What, " set"))
	switch a.Kind {
	case history.Create:
		err := k8s.Create(ctx, p.connector(v1alpha1.OSTypeLinux))
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	case history.Delete:
		return p.delete(ctx, map[string]metav1.DeletionPropagation{
			"background": metav1.DeletePropagationBackground,
			"foreground": metav1.DeletePropagationForeground,
			"orphan":     metav1.DeletePropagationOrphan,
		}[a.What])
	case history.Change:
		return p.change(ctx, func(spec *v1alpha1.VirtualKubeletConnectorSpec) { p.edited(spec, a.What) })
	case history.Secret:
		switch a.What {
		case "wrong":
			return p.putSecret(ctx, wrongSecret)
		case "rotated":
			return p.rotate(ctx)
		case "deleted":
			return p.dropSecret(ctx)
		}
		return p.putSecret(ctx, p.secret)
	case history.Pod:
		if strings.HasSuffix(a.What, " set") {
			return p.set(ctx)
		}
		p.pods++
		_, err := p.pod(ctx, fmt.Sprintf("%s-pod-%d", p.name, p.pods), os)
		return err
	case history.DropPod:
		return p.dropPod(ctx, a.What == "at once")
	case history.DropNode:
		return client.IgnoreNotFound(k8s.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: p.present(ctx, os)}}))
	case history.DropLease:
		return client.IgnoreNotFound(k8s.Delete(ctx, leaseOf(p.present(ctx, os))))
	case history.DropChild:
		return p.dropChild(ctx, a.What)
	case history.EditChild, history.EditNode:
		return p.edit(ctx, a.What)
	case history.KillOperator:
		return killOperator(ctx)
	case history.KillKubelet:
		return p.signal(p.present(ctx, os), syscall.SIGKILL)
	case history.StopKubelet:
		return p.stop(p.present(ctx, os), a.For)
	case history.Azure:
		_, err := p.disturb(ctx, fault(a))
		p.faults.Go(func() { <-time.After(a.For) })
		return err
	}
	return fmt.Errorf("nobody knows how to %s", a.Kind)
}

// edited changes what a history names.
func (l *lane) edited(spec *v1alpha1.VirtualKubeletConnectorSpec, what string) {
	field, value, _ := strings.Cut(what, "=")
	switch field {
	case "logLevel":
		spec.VirtualKubelet.LogLevel = v1alpha1.LogLevel(value)
	case "label":
		spec.Node.Labels = map[string]v1alpha1.LabelValue{userLabel: v1alpha1.LabelValue(value)}
	case "taint":
		spec.Node.Taint = map[string]v1alpha1.NodeTaint{
			"own":  {Policy: v1alpha1.TaintPolicyManaged, Key: ownTaint, Effect: v1alpha1.TaintEffect(corev1.TaintEffectNoSchedule)},
			"none": {Policy: v1alpha1.TaintPolicyNone},
		}[value]
	case "osTypes":
		spec.OSTypes = nil
		for os := range strings.SplitSeq(value, ",") {
			spec.OSTypes = append(spec.OSTypes, v1alpha1.OSType(os))
		}
	case "resourceGroup":
		spec.ContainerGroups.ResourceGroup = v1alpha1.ResourceGroupName(value)
	case "location":
		spec.ContainerGroups.Location = v1alpha1.Location(value)
	case "namePrefix":
		spec.Node.NamePrefix = ""
		if value != "" {
			spec.Node.NamePrefix = "virtual-kubelet-" + l.name + "-" + value
		}
	case "image":
		spec.VirtualKubelet.Image.Tag = value
	case "removal":
		spec.Removal.Policy, spec.Removal.DrainTimeoutSeconds = v1alpha1.RemovalPolicy(value), nil
		if value == "Timeout" {
			spec.Removal.Policy, spec.Removal.DrainTimeoutSeconds = v1alpha1.RemovalPolicyDrain, new(int32(3))
		}
	case "suspend":
		spec.Suspend = value == "true"
	}
}

// fault is what an action does to Azure, until it is over.
func fault(a history.Action) azure.Fault {
	operation, effect, _ := strings.Cut(a.What, " ")
	f := azure.Fault{Operation: operation, For: a.For}
	switch effect {
	case "drop":
		f.Drop = true
	case "delay":
		f.Delay = a.For
	case "lag":
		f.Lag = a.For
	default:
		f.Status, _ = strconv.Atoi(effect)
		if effect == "429" {
			f.RetryAfter = 2 * time.Second
		}
	}
	return f
}

// present is the node of an operating system that the connector asks for by now.
func (p *player) present(ctx context.Context, os v1alpha1.OSType) string {
	c, err := p.get(ctx)
	if err != nil {
		return p.node(os)
	}
	return nodeName(c, os)
}

// set makes a StatefulSet: its pod has the same name wherever it runs, and so has its container group.
func (p *player) set(ctx context.Context) error {
	labels := map[string]string{"lane": p.name}
	err := k8s.Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: userNamespace, Name: p.name + "-set"},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"set": p.name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"lane": labels["lane"], "set": p.name}},
				Spec:       p.podSpec(v1alpha1.OSTypeLinux),
			},
		},
	})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (p *player) dropPod(ctx context.Context, atOnce bool) error {
	pods, err := p.userPods(ctx)
	if err != nil || len(pods) == 0 {
		return err
	}
	var options []client.DeleteOption
	if atOnce {
		options = append(options, client.GracePeriodSeconds(0))
	}
	return client.IgnoreNotFound(k8s.Delete(ctx, &pods[0], options...))
}

func (p *player) dropChild(ctx context.Context, kind string) error {
	node := p.present(ctx, v1alpha1.OSTypeLinux)
	if kind == "Pod" {
		pods, err := p.kubelets(ctx)
		for i := range pods {
			err = errors.Join(err, client.IgnoreNotFound(k8s.Delete(ctx, &pods[i])))
		}
		return err
	}
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: node, Namespace: namespaceOf(kind)}}
	object.SetGroupVersionKind(children[kind])
	return client.IgnoreNotFound(k8s.Delete(ctx, object, client.PropagationPolicy(metav1.DeletePropagationBackground)))
}

func leaseOf(node string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: node}}
}

func namespaceOf(kind string) string {
	switch kind {
	case "ClusterRoleBinding":
		return ""
	case "RoleBinding":
		return corev1.NamespaceNodeLease
	}
	return namespace
}

// edits are what somebody does to an object who does not know whose it is.
var edits = map[string]struct {
	kind, patch string
	of          types.PatchType
}{
	"Deployment":         {"Deployment", `{"spec":{"replicas":0}}`, types.MergePatchType},
	"Secret":             {"Secret", `{"data":{"azure.json":"e30="}}`, types.MergePatchType},
	"ServiceAccount":     {"ServiceAccount", `{"metadata":{"labels":{"connector.virtual-kubelet.io/os":"other"}}}`, types.MergePatchType},
	"ClusterRoleBinding": {"ClusterRoleBinding", `{"subjects":null}`, types.MergePatchType},
	"RoleBinding":        {"RoleBinding", `{"subjects":null}`, types.MergePatchType},
	"taint":              {"Node", `{"spec":{"taints":null}}`, types.MergePatchType},
	"label":              {"Node", `{"metadata":{"labels":{"example.com/label":"edited","connector.virtual-kubelet.io/os":null}}}`, types.MergePatchType},
}

func (p *player) edit(ctx context.Context, what string) error {
	e := edits[what]
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: p.present(ctx, v1alpha1.OSTypeLinux), Namespace: namespaceOf(e.kind),
	}}
	kind, child := children[e.kind]
	if !child {
		kind, object.Namespace = others[e.kind], ""
	}
	object.SetGroupVersionKind(kind)
	return client.IgnoreNotFound(k8s.Patch(ctx, object, client.RawPatch(e.of, []byte(e.patch)), client.FieldOwner("somebody")))
}

// signal sends a signal to the virtual kubelet of a node, if one runs.
func (l *lane) signal(node string, s syscall.Signal) error {
	return signal(s, "virtual-kubelet", "--nodename="+node)
}

func signalOperators(s syscall.Signal) error { return signal(s, "/manager") }

// signal sends a signal to the processes in pods that have some arguments.
func signal(s syscall.Signal, arguments ...string) error {
	pids, err := own.InPods(arguments...)
	for _, pid := range pids {
		if failed := syscall.Kill(pid, s); !errors.Is(failed, syscall.ESRCH) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// stop stops the virtual kubelet of a node, and continues it after a while.
func (p *player) stop(node string, d time.Duration) error {
	err := p.signal(node, syscall.SIGSTOP)
	p.faults.Go(func() {
		<-time.After(d)
		_ = p.signal(node, syscall.SIGCONT) // it may have been killed
	})
	return err
}

// killing lets one after the other kill the operator.
var killing sync.Mutex

// killOperator kills the operator's process, and deletes its pod: a container that ends again and again is
// started more and more rarely.
func killOperator(ctx context.Context) error {
	killing.Lock()
	defer killing.Unlock()
	return errors.Join(signalOperators(syscall.SIGKILL), client.IgnoreNotFound(k8s.DeleteAllOf(ctx, &corev1.Pod{},
		client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/component": "manager"}, client.GracePeriodSeconds(0))))
}

// gone says what is left of a connector that was deleted.
func (l *lane) gone(ctx context.Context) error {
	c, err := l.get(ctx)
	if err == nil {
		return fmt.Errorf("the connector is still being deleted: %s", told(c))
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	return errors.Join(l.clean(ctx), l.ended(ctx))
}

// clear takes away what is the lane's, whatever state it is in.
func (l *lane) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var errs []error
	drop := func(object client.Object, options ...client.DeleteOption) {
		errs = append(errs, client.IgnoreNotFound(k8s.Delete(ctx, object, options...)))
	}
	drop(&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: userNamespace, Name: l.name + "-set"}})
	if c, err := l.get(ctx); err == nil {
		drop(c)
		c.Finalizers = nil
		errs = append(errs, client.IgnoreNotFound(k8s.Patch(ctx, c, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))))
		for _, kind := range []string{"Deployment", "ServiceAccount", "ClusterRoleBinding", "RoleBinding", "Secret", "Node"} {
			of := cmp.Or(children[kind], others[kind])
			names, err := l.named(ctx, of)
			errs = append(errs, err)
			for _, name := range names {
				object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespaceOf(kind)}}
				if kind == "Node" {
					object.Namespace = ""
				}
				object.SetGroupVersionKind(of)
				drop(object, client.PropagationPolicy(metav1.DeletePropagationBackground))
			}
		}
	}
	errs = append(errs, k8s.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(userNamespace),
		client.MatchingLabels{"lane": l.name}, client.GracePeriodSeconds(0)), l.dropSecret(ctx))
	groups, err := l.groups(ctx)
	errs = append(errs, err)
	for _, g := range groups {
		errs = append(errs, cloud().DeleteContainerGroup(ctx, g.SubscriptionID, g.ResourceGroup, g.Name))
	}
	return errors.Join(errs...)
}
