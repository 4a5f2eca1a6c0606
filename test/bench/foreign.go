// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What a cluster has that is none of the operator's.
const (
	foreignNodes      = 5_000
	foreignPods       = 50_000
	foreignSecrets    = 10_000
	foreignNamespaces = 50
	// churn is how often in a second something of it changes.
	churn = 100
)

// memory is what the operator has in memory, in bytes.
type memory struct {
	RSS  float64 `json:"rss"`
	Heap float64 `json:"heap"`
}

// foreign is what a load of others costs the operator.
type foreign struct {
	Connectors int `json:"connectors"`
	Nodes      int `json:"nodes"`
	Pods       int `json:"pods"`
	Secrets    int `json:"secrets"`
	// Before is without the load, Loaded with it, Churned after it has changed for a while.
	Before  memory `json:"before"`
	Loaded  memory `json:"loaded"`
	Churned memory `json:"churned"`
	// Restarted is that of an operator that has started with all of it.
	Restarted memory `json:"restarted"`
	// AtRest is the window before the load, WithLoad the one with it, WhileChurning the one in which it changes.
	AtRest        cost `json:"atRest"`
	WithLoad      cost `json:"withLoad"`
	WhileChurning cost `json:"whileChurning"`
	// Changes is how many changes the load had in that window.
	Changes int `json:"changes"`
}

func (w *bench) foreign(ctx context.Context, n int, window time.Duration) (*foreign, error) {
	f := &foreign{Connectors: n, Nodes: foreignNodes, Pods: foreignPods, Secrets: foreignSecrets}
	o, err := w.startOperator(ctx, true)
	if err != nil {
		return nil, err
	}
	defer func() { o.stop() }()
	user, err := w.clientAs(userUser)
	if err != nil {
		return nil, err
	}
	if err := each(ctx, n, func(ctx context.Context, i int) error { return applyConnector(ctx, user, connectorOf(i, 1)) }); err != nil {
		return nil, err
	}
	if _, err := w.watched.ready(ctx, n); err != nil {
		return nil, err
	}
	if err := pause(ctx, 2*breather); err != nil {
		return nil, err
	}
	if f.AtRest, err = w.window(ctx, o, window); err != nil {
		return nil, err
	}
	if f.Before, err = o.memory(ctx); err != nil {
		return nil, err
	}
	w.progress("  without a load: %s", f.Before)
	if err := w.load(ctx); err != nil {
		return nil, fmt.Errorf("make the load: %w", err)
	}
	if err := pause(ctx, breather); err != nil {
		return nil, err
	}
	if f.WithLoad, err = w.window(ctx, o, window); err != nil {
		return nil, err
	}
	if f.Loaded, err = o.memory(ctx); err != nil {
		return nil, err
	}
	w.progress("  with it: %s", f.Loaded)
	f.WhileChurning, err = w.during(ctx, o, func() (time.Time, error) {
		f.Changes, err = w.churn(ctx, window)
		return time.Now(), err
	})
	if err != nil {
		return nil, fmt.Errorf("change the load: %w", err)
	}
	if f.Churned, err = o.memory(ctx); err != nil {
		return nil, err
	}
	w.progress("  after %d changes: %s", f.Changes, f.Churned)
	if o, _, err = w.restart(ctx, o, n); err != nil {
		return nil, err
	}
	if f.Restarted, err = o.memory(ctx); err != nil {
		return nil, err
	}
	w.progress("  restarted: %s", f.Restarted)
	return f, nil
}

func (o *operator) memory(ctx context.Context) (memory, error) {
	resident, _, err := rss(o.process.PID())
	if err != nil {
		return memory{}, err
	}
	heap, err := o.heap(ctx)
	return memory{RSS: resident, Heap: heap}, err
}

func foreignNamespace(i int) string { return fmt.Sprintf("foreign-%02d", i%foreignNamespaces) }

func foreignPod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: foreignNamespace(i), Name: fmt.Sprintf("pod-%05d", i), Labels: map[string]string{"app": "foreign"}},
		Spec: corev1.PodSpec{
			NodeName:   foreignNode(i % foreignNodes).Name,
			Containers: []corev1.Container{{Name: "app", Image: "example.com/app:1", Env: []corev1.EnvVar{{Name: "NAME", Value: "value"}}}},
		},
	}
}

func foreignNode(i int) *corev1.Node {
	node := nodeOf(fmt.Sprintf("foreign-%05d", i))
	delete(node.Labels, "type")
	return node
}

func foreignSecret(i int) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: foreignNamespace(i), Name: fmt.Sprintf("secret-%05d", i)},
		Data:       map[string][]byte{"password": make([]byte, 1024)},
	}
}

// load makes what is none of the operator's.
func (w *bench) load(ctx context.Context) error {
	for i := range foreignNamespaces {
		if err := w.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: foreignNamespace(i)}}); err != nil {
			return err
		}
		// No controller is there to make it, and no pod is taken without it.
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: foreignNamespace(i), Name: "default"}, AutomountServiceAccountToken: new(false)}
		if err := w.client.Create(ctx, account); err != nil {
			return err
		}
	}
	for what, load := range map[string]struct {
		count int
		of    func(int) client.Object
	}{
		"Nodes":   {foreignNodes, func(i int) client.Object { return foreignNode(i) }},
		"Secrets": {foreignSecrets, func(i int) client.Object { return foreignSecret(i) }},
		"Pods":    {foreignPods, func(i int) client.Object { return foreignPod(i) }},
	} {
		w.progress("  making %d %s", load.count, what)
		err := each(ctx, load.count, func(ctx context.Context, i int) error { return w.client.Create(ctx, load.of(i)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// churn changes the load for a while, and tells how often.
func (w *bench) churn(ctx context.Context, window time.Duration) (int, error) {
	limiter := rate.NewLimiter(churn, 1)
	until := time.Now().Add(window)
	changes := 0
	for time.Now().Before(until) {
		if err := limiter.Wait(ctx); err != nil {
			return changes, err
		}
		var err error
		switch changes % 4 {
		case 0:
			err = w.client.Status().Patch(ctx, foreignNode(rand.N(foreignNodes)), client.RawPatch(types.StrategicMergePatchType, heartbeat()))
		case 1:
			patch := fmt.Sprintf(`{"status":{"message":"change %d"}}`, changes)
			err = w.client.Status().Patch(ctx, foreignPod(rand.N(foreignPods)), client.RawPatch(types.MergePatchType, []byte(patch)))
		case 2:
			patch := fmt.Sprintf(`{"metadata":{"annotations":{"change":"%d"}}}`, changes)
			err = w.client.Patch(ctx, foreignSecret(rand.N(foreignSecrets)), client.RawPatch(types.MergePatchType, []byte(patch)))
		case 3:
			pod := foreignPod(rand.N(foreignPods))
			if err = w.client.Delete(ctx, pod, client.GracePeriodSeconds(0)); err == nil {
				err = w.client.Create(ctx, foreignPod(podNumber(pod)))
			}
		}
		if err != nil {
			return changes, err
		}
		changes++
	}
	return changes, nil
}

func podNumber(pod *corev1.Pod) (i int) {
	_, _ = fmt.Sscanf(pod.Name, "pod-%d", &i)
	return i
}
