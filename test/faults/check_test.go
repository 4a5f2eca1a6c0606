// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/test/world"
)

const (
	// quiet is how long nothing may be written to a connector that rests, and quietTimeout how long it may
	// take until it does.
	quiet        = 4 * time.Second
	quietTimeout = time.Minute
	// probeTimeout is how long a node that is said to be ready may take to run a pod.
	probeTimeout = 90 * time.Second
)

// children are the kinds of which each node has one object of its name.
var children = map[string]schema.GroupVersionKind{
	"Deployment":         appsv1.SchemeGroupVersion.WithKind("Deployment"),
	"Secret":             corev1.SchemeGroupVersion.WithKind("Secret"),
	"ServiceAccount":     corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
	"ClusterRoleBinding": rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"),
	"RoleBinding":        rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
}

// others are the kinds of what else there is of a node, under its name.
var others = map[string]schema.GroupVersionKind{
	"Node":  corev1.SchemeGroupVersion.WithKind("Node"),
	"Lease": coordinationv1.SchemeGroupVersion.WithKind("Lease"),
}

// settled says what is wrong with a connector that has all it needs, or with what is left of one that is
// not there.
func (l *lane) settled(ctx context.Context) error {
	c, err := l.get(ctx)
	if apierrors.IsNotFound(err) {
		return errors.Join(l.clean(ctx), l.ended(ctx))
	}
	if err != nil {
		return err
	}
	if !c.DeletionTimestamp.IsZero() {
		return fmt.Errorf("the connector is still being deleted: %s", told(c))
	}
	ready := condition(c, v1alpha1.ConditionReady)
	if ready.Status != metav1.ConditionTrue || c.Status.ObservedGeneration != c.Generation {
		return fmt.Errorf("the connector is not Ready: %s", told(c))
	}
	if retiring := condition(c, v1alpha1.ConditionRetiring); retiring.Status == metav1.ConditionTrue {
		return fmt.Errorf("something still retires: %s", told(c))
	}
	return errors.Join(l.complete(ctx, c), l.ended(ctx))
}

// told is what a connector says of itself.
func told(c *v1alpha1.VirtualKubeletConnector) string {
	var text []string
	if c.Status.ObservedGeneration != c.Generation {
		text = append(text, fmt.Sprintf("(of generation %d, observed %d)", c.Generation, c.Status.ObservedGeneration))
	}
	for _, condition := range c.Status.Conditions {
		text = append(text, fmt.Sprintf("%s=%s %s %q", condition.Type, condition.Status, condition.Reason, condition.Message))
	}
	return strings.Join(text, "; ")
}

// complete says what is not as a connector's spec asks for.
func (l *lane) complete(ctx context.Context, c *v1alpha1.VirtualKubeletConnector) error {
	var nodes []string
	for _, os := range c.Spec.OSTypes {
		nodes = append(nodes, nodeName(c, os))
	}
	slices.Sort(nodes)
	errs := []error{l.exactly(ctx, nodes), l.groupsHavePods(ctx)}
	for _, name := range nodes {
		var node corev1.Node
		if err := k8s.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, sound(&node, c))
	}
	return errors.Join(errs...)
}

// sound says what is wrong with a Node.
func sound(node *corev1.Node, c *v1alpha1.VirtualKubeletConnector) error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("node "+node.Name+" "+format, args...))
	}
	ready := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	if !ready {
		wrong("is not Ready")
	}
	if node.Spec.Unschedulable {
		wrong("is cordoned")
	}
	if want := string(c.Spec.Node.Labels[userLabel]); node.Labels[userLabel] != want {
		wrong("has the label %q, not %q", node.Labels[userLabel], want)
	}
	if node.Labels[identity.LabelConnector] != c.Name || node.Labels[identity.LabelOS] == "" {
		wrong("lacks labels of the operator's: %v", node.Labels)
	}
	var taints, want []string
	for _, taint := range node.Spec.Taints {
		taints = append(taints, taint.Key)
	}
	switch {
	case c.Spec.Node.Taint.Policy == v1alpha1.TaintPolicyNone:
	case c.Spec.Node.Taint.Key != "":
		want = append(want, string(c.Spec.Node.Taint.Key))
	default:
		want = append(want, defaultTaint)
	}
	if !slices.Equal(taints, want) {
		wrong("has the taints %v, not %v", taints, want)
	}
	return errors.Join(errs...)
}

// clean says what is left where nothing is to be.
func (l *lane) clean(ctx context.Context) error {
	groups, err := l.groups(ctx)
	errs := []error{err, l.exactly(ctx, nil)}
	for _, g := range groups {
		errs = append(errs, fmt.Errorf("container group %s is left", g.Name))
	}
	return errors.Join(errs...)
}

// exactly says which objects are missing and which are too many, where there are to be these nodes.
func (l *lane) exactly(ctx context.Context, nodes []string) error {
	kinds := maps.Clone(children)
	maps.Copy(kinds, others)
	var errs []error
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		names, err := l.named(ctx, kinds[kind])
		if err != nil {
			return err
		}
		if !slices.Equal(names, nodes) {
			errs = append(errs, fmt.Errorf("there are %ss %v, and not %v", kind, names, nodes))
		}
	}
	pods, err := l.kubelets(ctx)
	if err != nil {
		return err
	}
	var running []string
	for i := range pods {
		pod := &pods[i]
		if !pod.DeletionTimestamp.IsZero() {
			if !terminal(pod) {
				errs = append(errs, fmt.Errorf("the virtual kubelet's pod %s is still ending", pod.Name))
			}
			continue
		}
		running = append(running, nodeOf(pod))
	}
	slices.Sort(running)
	if !slices.Equal(running, nodes) {
		errs = append(errs, fmt.Errorf("there are virtual kubelets of %v, and not of %v", running, nodes))
	}
	return errors.Join(errs...)
}

// ended says which virtual kubelets' pods have ended and not gone. No connector waits for the kubelet to take them away,
// which it does a moment later.
func (l *lane) ended(ctx context.Context) error {
	pods, err := l.kubelets(ctx)
	errs := []error{err}
	for i := range pods {
		if pod := &pods[i]; !pod.DeletionTimestamp.IsZero() && terminal(pod) {
			errs = append(errs, fmt.Errorf("the virtual kubelet's pod %s has ended and is still there", pod.Name))
		}
	}
	return errors.Join(errs...)
}

// terminal reports whether a pod's containers have ended for good.
func terminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// named lists the objects of a kind that were made for the lane's nodes.
func (l *lane) named(ctx context.Context, kind schema.GroupVersionKind) ([]string, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(kind)
	var names []string
	if err := k8s.List(ctx, &list); err != nil {
		return nil, err
	}
	err := meta.EachListItem(&list, func(item runtime.Object) error {
		if name := item.(*metav1.PartialObjectMetadata).Name; strings.HasPrefix(name, "virtual-kubelet-"+l.name+"-") {
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// kubelets lists the pods of the lane's virtual kubelets.
func (l *lane) kubelets(ctx context.Context) ([]corev1.Pod, error) {
	var pods corev1.PodList
	if err := k8s.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool {
		return !strings.HasPrefix(p.Name, "virtual-kubelet-"+l.name+"-")
	}), nil
}

// nodeOf is the node of a virtual kubelet's pod: its name without what the Deployment and the ReplicaSet add.
func nodeOf(pod *corev1.Pod) string {
	parts := strings.Split(pod.Name, "-")
	return strings.Join(parts[:max(0, len(parts)-2)], "-")
}

// userPods lists the pods that users have made in the lane.
func (l *lane) userPods(ctx context.Context) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := k8s.List(ctx, &pods, client.InNamespace(userNamespace), client.MatchingLabels{"lane": l.name})
	return pods.Items, err
}

// groupsHavePods says which container groups have no pod.
func (l *lane) groupsHavePods(ctx context.Context) error {
	groups, err := l.groups(ctx)
	if err != nil || len(groups) == 0 {
		return err
	}
	pods, err := l.userPods(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range groups {
		if !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return isOf(g, &p) }) {
			errs = append(errs, fmt.Errorf("container group %s/%s of node %s has no pod", g.ResourceGroup, g.Name, g.Tags["NodeName"]))
		}
	}
	return errors.Join(errs...)
}

func isOf(g azure.ContainerGroup, pod *corev1.Pod) bool {
	return g.Name == pod.Namespace+"-"+pod.Name && g.Tags["UID"] == string(pod.UID) && g.Tags["NodeName"] == pod.Spec.NodeName
}

// runsPods says which nodes do not run a pod, although the connector is Ready.
func (l *lane) runsPods(ctx context.Context) error {
	c, err := l.get(ctx)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	var probes []*corev1.Pod
	for _, os := range c.Spec.OSTypes {
		probe, err := l.pod(ctx, l.name+"-probe-"+strings.ToLower(string(os)), os)
		if err != nil {
			return err
		}
		probes = append(probes, probe)
	}
	running := until(ctx, probeTimeout, "a pod on each node that is said to be ready", func(ctx context.Context) error {
		var errs []error
		for _, probe := range probes {
			err := k8s.Get(ctx, client.ObjectKeyFromObject(probe), probe)
			if err == nil && probe.Status.Phase != corev1.PodRunning {
				err = fmt.Errorf("pod %s on node %q is %s %s", probe.Name, probe.Spec.NodeName, probe.Status.Phase, probe.Status.Message)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if running != nil {
		return running
	}
	for _, probe := range probes {
		if err := k8s.Delete(ctx, probe); err != nil {
			return err
		}
	}
	return until(ctx, probeTimeout, "the probes gone", func(ctx context.Context) error {
		for _, probe := range probes {
			if err := k8s.Get(ctx, client.ObjectKeyFromObject(probe), probe); !apierrors.IsNotFound(err) {
				return errors.Join(err, fmt.Errorf("pod %s is still there", probe.Name))
			}
		}
		return l.groupsHavePods(ctx)
	})
}

// rests says what the operator writes to the lane although nothing happens.
func (l *lane) rests(ctx context.Context, within time.Duration) error {
	deadline := time.Now().Add(within)
	for {
		start, err := own.AuditEnd()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(quiet):
		}
		writes, err := start.Requests(func(r world.Request) bool {
			return r.User.Username == "system:serviceaccount:"+namespace+":"+operator &&
				r.Writes() && r.ObjectRef.Resource != "events" && l.owns(r.ObjectRef.Name)
		})
		if err != nil || len(writes) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the operator still writes: %v", writes)
		}
	}
}
