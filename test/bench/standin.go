// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What a virtual kubelet renews, and how often (azure-aci v1.6.4 with virtual-kubelet v1.11: node/node.go).
const (
	leasePeriod  = 10 * time.Second
	leaseSeconds = 40
	statusPeriod = time.Minute
)

// standIns do what the controller of Deployments, a kubelet and a virtual kubelet do for the Deployments of connectors:
// each gets a pod that is ready, and a Node with heartbeats.
type standIns struct {
	client client.Client
	cache  cache.Cache
	queue  workqueue.TypedRateLimitingInterface[string]
	// statusEvery is how often a Node's status is written.
	statusEvery atomic.Int64

	mu    sync.Mutex
	nodes map[string]*standIn
	done  sync.WaitGroup
}

// standIn is one virtual kubelet.
type standIn struct {
	// template tells which of its pods it is, pod is that one's name.
	template, pod string
	// registered says that its Node is there, stop ends its heartbeats.
	registered bool
	stop       context.CancelFunc
}

// workersOfStandIns is how many Deployments are looked after at once.
const workersOfStandIns = 8

func (w *bench) startStandIns(ctx context.Context) error {
	config, err := w.configAs(standInUser)
	if err != nil {
		return err
	}
	s := &standIns{nodes: map[string]*standIn{}}
	s.hurry(statusPeriod)
	if s.client, err = client.New(config, client.Options{Scheme: w.scheme}); err != nil {
		return err
	}
	s.queue = workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](10*time.Millisecond, time.Second))
	s.cache, err = cache.New(config, cache.Options{
		Scheme:   w.scheme,
		ByObject: map[client.Object]cache.ByObject{&appsv1.Deployment{}: {Namespaces: map[string]cache.Config{namespace: {}}}},
	})
	if err != nil {
		return err
	}
	informer, err := s.cache.GetInformer(ctx, &appsv1.Deployment{})
	if err != nil {
		return err
	}
	changed := func(object any) {
		if key, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			s.queue.Add(key)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: changed, UpdateFunc: func(_, object any) { changed(object) }, DeleteFunc: changed,
	})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.done.Go(func() { _ = s.cache.Start(running) })
	for range workersOfStandIns {
		s.done.Go(func() { s.work(running) })
	}
	w.kubelets = s
	w.end = append(w.end, func() error {
		cancel()
		s.queue.ShutDown()
		s.done.Wait()
		return nil
	})
	return nil
}

func (s *standIns) work(ctx context.Context) {
	for {
		key, shutdown := s.queue.Get()
		if shutdown {
			return
		}
		_, name, _ := toolscache.SplitMetaNamespaceKey(key)
		if err := s.sync(ctx, name); err != nil {
			s.queue.AddRateLimited(key)
		} else {
			s.queue.Forget(key)
		}
		s.queue.Done(key)
	}
}

// ready is how many Nodes have been made and run.
func (s *standIns) ready() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, node := range s.nodes {
		if node.registered {
			count++
		}
	}
	return count
}

func (s *standIns) of(name string) *standIn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes[name] == nil {
		s.nodes[name] = &standIn{}
	}
	return s.nodes[name]
}

// sync brings what stands in for one virtual kubelet to what its Deployment says. Only one worker has a name at a time.
func (s *standIns) sync(ctx context.Context, name string) error {
	var deployment appsv1.Deployment
	node := s.of(name)
	err := s.cache.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &deployment)
	if apierrors.IsNotFound(err) {
		s.end(node)
		if err = s.endPod(ctx, node); err == nil {
			s.forget(name)
		}
		return err
	}
	if err != nil {
		return err
	}
	if ptr.Deref(deployment.Spec.Replicas, 1) == 0 {
		s.end(node)
		if err := s.endPod(ctx, node); err != nil {
			return err
		}
		return s.tell(ctx, &deployment, appsv1.DeploymentStatus{ObservedGeneration: deployment.Generation})
	}
	template, err := json.Marshal(deployment.Spec.Template)
	if err != nil {
		return err
	}
	if node.template != string(template) {
		if err := s.endPod(ctx, node); err != nil {
			return err
		}
		if err := s.startPod(ctx, &deployment, node); err != nil {
			return err
		}
		node.template = string(template)
	}
	status := appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
	}
	if err := s.tell(ctx, &deployment, status); err != nil {
		return err
	}
	if node.stop == nil {
		return s.register(ctx, name, node)
	}
	return nil
}

// tell writes the status of a Deployment if it says something new.
func (s *standIns) tell(ctx context.Context, deployment *appsv1.Deployment, status appsv1.DeploymentStatus) error {
	is := deployment.Status
	if is.ObservedGeneration == status.ObservedGeneration && is.AvailableReplicas == status.AvailableReplicas && is.UpdatedReplicas == status.UpdatedReplicas {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"observedGeneration": status.ObservedGeneration, "replicas": status.Replicas, "updatedReplicas": status.UpdatedReplicas,
		"readyReplicas": status.ReadyReplicas, "availableReplicas": status.AvailableReplicas,
	}})
	if err != nil {
		return err
	}
	return client.IgnoreNotFound(s.client.Status().Patch(ctx, deployment, client.RawPatch(types.MergePatchType, patch)))
}

func (s *standIns) startPod(ctx context.Context, deployment *appsv1.Deployment, node *standIn) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: fmt.Sprintf("%s-%05x", deployment.Name, rand.N(1<<20)),
		Labels: deployment.Spec.Template.Labels, Annotations: deployment.Spec.Template.Annotations,
	}}
	deployment.Spec.Template.Spec.DeepCopyInto(&pod.Spec)
	pod.Spec.NodeName, pod.Spec.PriorityClassName = "machine", ""
	if err := s.client.Create(ctx, pod); err != nil {
		return err
	}
	node.pod = pod.Name
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()},
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()},
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: pod.Spec.Containers[0].Name, Image: pod.Spec.Containers[0].Image, Ready: true,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	return s.client.Status().Update(ctx, pod)
}

func (s *standIns) endPod(ctx context.Context, node *standIn) error {
	if node.pod == "" {
		return nil
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: node.pod}}
	if err := client.IgnoreNotFound(s.client.Delete(ctx, pod, client.GracePeriodSeconds(0))); err != nil {
		return err
	}
	node.pod, node.template = "", ""
	return nil
}

// register makes the Node, and begins its heartbeats.
func (s *standIns) register(ctx context.Context, name string, standIn *standIn) error {
	node := nodeOf(name)
	err := s.client.Create(ctx, node)
	if apierrors.IsAlreadyExists(err) {
		// Somebody has applied labels to it before.
		made := nodeOf(name)
		if err = s.client.Get(ctx, client.ObjectKeyFromObject(node), node); err == nil {
			node.Status, node.Spec = made.Status, made.Spec
			for key, value := range made.Labels {
				metav1.SetMetaDataLabel(&node.ObjectMeta, key, value)
			}
			if err = s.client.Update(ctx, node); err == nil {
				node.Status = made.Status
				err = s.client.Status().Update(ctx, node)
			}
		}
	}
	if err != nil {
		return err
	}
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new(name), LeaseDurationSeconds: new(int32(leaseSeconds)), RenewTime: new(metav1.NowMicro()),
		},
	}
	if err := client.IgnoreAlreadyExists(s.client.Create(ctx, lease)); err != nil {
		return err
	}
	beating, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	standIn.stop, standIn.registered = cancel, true
	s.mu.Unlock()
	s.done.Go(func() { s.beat(beating, node, lease) })
	return nil
}

// beat renews the Lease, and now and then the status of the Node.
func (s *standIns) beat(ctx context.Context, node *corev1.Node, lease *coordinationv1.Lease) {
	first := time.NewTimer(rand.N(leasePeriod))
	defer first.Stop()
	select {
	case <-ctx.Done():
		return
	case <-first.C:
	}
	ticker := time.NewTicker(leasePeriod)
	defer ticker.Stop()
	status := time.Now().Add(-rand.N(statusPeriod))
	for {
		lease.Spec.RenewTime = new(metav1.NowMicro())
		if err := s.client.Update(ctx, lease); err != nil && ctx.Err() == nil {
			_ = s.client.Get(ctx, client.ObjectKeyFromObject(lease), lease)
		}
		if every := time.Duration(s.statusEvery.Load()); time.Since(status) >= every-time.Second {
			status = time.Now()
			_ = s.client.Status().Patch(ctx, node.DeepCopy(), client.RawPatch(types.StrategicMergePatchType, heartbeat()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func heartbeat() []byte {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": conditions()}})
	if err != nil {
		panic(err) // it is made of constants and times
	}
	return patch
}

func (s *standIns) end(node *standIn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if node.stop != nil {
		node.stop()
	}
	node.stop, node.registered = nil, false
}

func (s *standIns) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, name)
}

// nodeOf is a Node as azure-aci makes it.
func nodeOf(name string) *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("10k"), corev1.ResourceMemory: resource.MustParse("4Ti"), corev1.ResourcePods: resource.MustParse("5k"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				"type": "virtual-kubelet", "kubernetes.io/role": "agent", "kubernetes.io/hostname": name,
				"kubernetes.io/os": "linux", "beta.kubernetes.io/os": "linux",
				"alpha.service-controller.kubernetes.io/exclude-balancer": "true", "node.kubernetes.io/exclude-from-external-load-balancers": "true",
			},
			Annotations: map[string]string{"virtual-kubelet.io/last-applied-node-status": "{}", "virtual-kubelet.io/last-applied-object-meta": "{}"},
		},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{
			Phase: corev1.NodeRunning, Capacity: capacity, Allocatable: capacity, Conditions: conditions(),
			Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.10"}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
			NodeInfo:        corev1.NodeSystemInfo{KubeletVersion: "v1.25.0-vk-azure-aci-1.6.4", OperatingSystem: "Linux"},
		},
	}
}

func conditions() []corev1.NodeCondition {
	now := metav1.Now()
	made := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{
			Type: kind, Status: status, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: began,
		}
	}
	return []corev1.NodeCondition{
		made(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is ready."),
		made("OutOfDisk", corev1.ConditionFalse, "KubeletHasSufficientDisk", "kubelet has sufficient disk space available"),
		made(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		made(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		made(corev1.NodeNetworkUnavailable, corev1.ConditionFalse, "RouteCreated", "RouteController created a route"),
	}
}

// began is since when every Node is what it is.
var began = metav1.Now()
