// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package kills

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sandboxazure "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	machinePrefix = "machine-"
	tick          = 40 * time.Millisecond
	// renewal is how often Leases and Nodes are renewed, which both hold for 40 seconds.
	renewal = 10 * time.Second

	componentLabel = "app.kubernetes.io/component"
	virtualNode    = "virtual-node"
)

// machine stands in for a machine of the cluster: its kubelet runs the virtual kubelets' pods, and in each of them
// a stand-in for azure-aci.
type machine struct {
	name  string
	k8s   client.Client
	cache cache.Cache
	cloud *sandboxazure.Server

	processes map[types.UID]*process
	renewed   time.Time

	tally *tally
}

// tally counts what all machines do.
type tally struct {
	mu sync.Mutex
	// starts counts the starts of processes by node, puts the container groups that were asked for by name.
	starts, puts map[string]int
}

func newMachine(name string, config *rest.Config, scheme *runtime.Scheme, cloud *sandboxazure.Server, t *tally) (*machine, error) {
	k8s, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	watched, err := cache.New(config, cache.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	return &machine{name: name, k8s: k8s, cache: watched, cloud: cloud, processes: map[types.UID]*process{}, tally: t}, nil
}

// counts returns what has been counted since the last reset.
func (t *tally) counts() (starts, puts map[string]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.starts), maps.Clone(t.puts)
}

func (t *tally) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.starts, t.puts = map[string]int{}, map[string]int{}
}

func (t *tally) started(node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.starts[node]++
}

func (t *tally) put(group string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.puts[group]++
}

// run works until the context ends.
func (m *machine) run(ctx context.Context) error {
	go func() {
		defer GinkgoRecover()
		if err := m.cache.Start(ctx); err != nil {
			Fail("the machine's watches: " + err.Error())
		}
	}()
	if _, err := m.cache.GetInformer(ctx, &corev1.Pod{}); err != nil {
		return err
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		if err := m.step(ctx); err != nil && ctx.Err() == nil {
			GinkgoWriter.Println("the machine:", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (m *machine) step(ctx context.Context) error {
	renew := time.Since(m.renewed) > renewal
	if renew {
		if err := m.register(ctx); err != nil {
			return err
		}
		m.renewed = time.Now()
	}
	var pods corev1.PodList
	if err := m.cache.List(ctx, &pods); err != nil {
		return err
	}
	alive := map[types.UID]bool{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Spec.NodeName != m.name || pod.Labels[componentLabel] != virtualNode {
			continue
		}
		if !pod.DeletionTimestamp.IsZero() {
			delete(m.processes, pod.UID) // the process ends at once on a signal
			if err := remove(ctx, m.k8s, pod); err != nil {
				return err
			}
			continue
		}
		alive[pod.UID] = true
		if err := m.serve(ctx, pod); err != nil {
			return err
		}
	}
	for uid, p := range m.processes {
		if !alive[uid] {
			delete(m.processes, uid)
			continue
		}
		if err := p.sync(ctx, pods.Items, renew); err != nil {
			return fmt.Errorf("%s: %w", p.node, err)
		}
	}
	return nil
}

// serve is what a kubelet does for a pod that is to run.
func (m *machine) serve(ctx context.Context, pod *corev1.Pod) error {
	if m.processes[pod.UID] == nil {
		p, err := startProcess(ctx, m, pod)
		if err != nil {
			return fmt.Errorf("the process in pod %s panics: %w", pod.Name, err)
		}
		m.processes[pod.UID] = p
	}
	return run(ctx, m.k8s, pod, "10.0.0.1")
}

// register makes and renews the machine's own Node.
func (m *machine) register(ctx context.Context) error {
	return register(ctx, m.k8s, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: m.name, Labels: map[string]string{
			corev1.LabelOSStable: "linux", corev1.LabelHostname: m.name,
			// As in a cloud: in one zone with the virtual nodes, which have none, a lost machine would be most of it, and
			// nothing would be evicted.
			corev1.LabelTopologyRegion: "eastus", corev1.LabelTopologyZone: "eastus-1",
		}},
		Status: ready("1000", "1.37.2"),
	})
}

// run lets a pod be seen running.
func run(ctx context.Context, k8s client.Client, pod *corev1.Pod, ip string) error {
	if pod.Status.Phase == corev1.PodRunning {
		return nil
	}
	running := pod.DeepCopy()
	now := metav1.Now()
	running.Status.Phase = corev1.PodRunning
	running.Status.PodIP, running.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	running.Status.Conditions = append(running.Status.Conditions,
		corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now})
	running.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: pod.Spec.Containers[0].Name, Ready: true,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
	}}
	err := k8s.Status().Update(ctx, running)
	if apierrors.IsConflict(err) { // the watch lags
		return nil
	}
	return client.IgnoreNotFound(err)
}

// remove takes a pod that has ended out of the API.
func remove(ctx context.Context, k8s client.Client, pod *corev1.Pod) error {
	err := k8s.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID})
	if apierrors.IsConflict(err) {
		return nil
	}
	return client.IgnoreNotFound(err)
}

// register creates a Node where there is none, tells its status, and renews its Lease.
func register(ctx context.Context, k8s client.Client, node *corev1.Node) error {
	status := node.Status
	err := k8s.Create(ctx, node)
	if apierrors.IsAlreadyExists(err) {
		err = tell(ctx, k8s, node.Name, status)
	}
	if err != nil {
		return err
	}
	return renewLease(ctx, k8s, node.Name)
}

// tell patches the status of a Node.
func tell(ctx context.Context, k8s client.Client, name string, status corev1.NodeStatus) error {
	var node corev1.Node
	if err := k8s.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
		return client.IgnoreNotFound(err)
	}
	before := node.DeepCopy()
	node.Status.Conditions, node.Status.Capacity, node.Status.Allocatable = status.Conditions, status.Capacity, status.Allocatable
	return client.IgnoreNotFound(k8s.Status().Patch(ctx, &node, client.StrategicMergeFrom(before)))
}

func renewLease(ctx context.Context, k8s client.Client, name string) error {
	var node corev1.Node
	if err := k8s.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
		return client.IgnoreNotFound(err) // a process renews nothing for a Node that is gone
	}
	lease := &coordinationv1.Lease{}
	err := k8s.Get(ctx, client.ObjectKey{Namespace: corev1.NamespaceNodeLease, Name: name}, lease)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	lease.Spec = coordinationv1.LeaseSpec{
		HolderIdentity: &name, LeaseDurationSeconds: new(int32(40)), RenewTime: &metav1.MicroTime{Time: time.Now()},
	}
	if apierrors.IsNotFound(err) {
		lease.ObjectMeta = metav1.ObjectMeta{
			Namespace: corev1.NamespaceNodeLease, Name: name,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: name, UID: node.UID}},
		}
		return k8s.Create(ctx, lease)
	}
	return client.IgnoreNotFound(k8s.Update(ctx, lease))
}

func ready(pods, version string) corev1.NodeStatus {
	now := metav1.Now()
	resources := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("4Ti"), corev1.ResourcePods: resource.MustParse(pods),
	}
	return corev1.NodeStatus{
		Capacity: resources, Allocatable: resources,
		NodeInfo: corev1.NodeSystemInfo{KubeletVersion: version},
		Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now},
		},
	}
}
