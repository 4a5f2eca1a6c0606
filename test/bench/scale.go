// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scale is what so many connectors cost.
type scale struct {
	Connectors    int    `json:"connectors"`
	Converge      []cost `json:"converge"`
	FloorConverge []cost `json:"floorConverge"`
	Change        []cost `json:"change"`
	FloorChange   []cost `json:"floorChange"`
	Restart       []cost `json:"restart"`
	Remove        []cost `json:"remove"`
	// Settled is of the window in which nothing changes but heartbeats, and Beaten of one in which every Node's status is
	// written every 10 s, which virtual kubelets do not.
	Settled []cost `json:"settled"`
	Beaten  cost   `json:"beaten"`
	// Drift is how long what somebody has deleted or edited took to be back, in seconds, by what it was.
	Drift map[string][]float64 `json:"drift"`
}

// repairs are how long all kinds of drift took to be back, in seconds.
func (s scale) repairs() []float64 {
	return slices.Concat(slices.Collect(maps.Values(s.Drift))...)
}

// breather is how long it is waited for what goes on after everything is Ready.
const breather = 5 * time.Second

// statusWrite is how a cost names the writes of a status.
const statusWrite = "patch virtualkubeletconnectors/status"

// driftsEach is how often each kind of drift is caused in a round.
const driftsEach = 3

func (w *bench) scale(ctx context.Context, n, repeats int, window time.Duration) (scale, error) {
	s := scale{Connectors: n, Drift: map[string][]float64{}}
	for round := range repeats {
		w.progress("%d connectors, round %d of %d: the operator", n, round+1, repeats)
		if err := w.round(ctx, &s, n, round == 0, window); err != nil {
			return s, err
		}
		w.progress("%d connectors, round %d of %d: bare writes", n, round+1, repeats)
		done := w.profiled(ctx, nil, fmt.Sprintf("bare-converge-%d", n))
		c, err := w.floorConverge(ctx, n, s.Converge[round].Kinds[statusWrite])
		done()
		if err != nil {
			return s, fmt.Errorf("bare writes: %w", err)
		}
		s.FloorConverge = append(s.FloorConverge, c)
		w.progress("  converge %s", c)
		if err := pause(ctx, breather); err != nil {
			return s, err
		}
		done = w.profiled(ctx, nil, fmt.Sprintf("bare-change-%d", n))
		c, err = w.floorChange(ctx, n, s.Change[round].Kinds[statusWrite])
		done()
		if err != nil {
			return s, fmt.Errorf("bare writes of a change: %w", err)
		}
		s.FloorChange = append(s.FloorChange, c)
		w.progress("  change %s", c)
		if err := w.clear(ctx, n); err != nil {
			return s, fmt.Errorf("clear after bare writes: %w", err)
		}
	}
	return s, nil
}

// round has an operator make, keep, change and remove n connectors.
func (w *bench) round(ctx context.Context, s *scale, n int, first bool, window time.Duration) error {
	o, err := w.startOperator(ctx, false)
	if err != nil {
		return err
	}
	defer func() { o.stop() }()
	user, err := w.clientAs(userUser)
	if err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}

	done := w.profiled(ctx, o, fmt.Sprintf("converge-%d", n))
	c, err := w.during(ctx, o, func() (time.Time, error) {
		err := each(ctx, n, func(ctx context.Context, i int) error { return applyConnector(ctx, user, connectorOf(i, 1)) })
		if err != nil {
			return time.Time{}, err
		}
		return w.watched.ready(ctx, n)
	})
	done()
	if err != nil {
		return fmt.Errorf("converge: %w", err)
	}
	s.Converge = append(s.Converge, c)
	w.progress("  converge %s", c)
	if err := w.captureAll(ctx, n, w.bodies); err != nil {
		return fmt.Errorf("read what was written: %w", err)
	}

	if err := pause(ctx, 2*breather); err != nil {
		return err
	}
	if err := w.settled(ctx, s, o, n, window); err != nil {
		return fmt.Errorf("settled: %w", err)
	}
	if first {
		if err := w.beaten(ctx, s, o, n, window); err != nil {
			return fmt.Errorf("with heartbeats in the status: %w", err)
		}
	}
	if err := w.drift(ctx, s, n); err != nil {
		return fmt.Errorf("drift: %w", err)
	}
	if err := pause(ctx, breather); err != nil {
		return err
	}

	done = w.profiled(ctx, o, fmt.Sprintf("change-%d", n))
	c, err = w.during(ctx, o, func() (time.Time, error) {
		if err := each(ctx, n, func(ctx context.Context, i int) error { return changeImage(ctx, user, i) }); err != nil {
			return time.Time{}, err
		}
		return w.watched.wait(ctx, "Ready for the change", n, func(is seen) bool { return is.current() && is.generation > 1 })
	})
	done()
	if err != nil {
		return fmt.Errorf("change: %w", err)
	}
	s.Change = append(s.Change, c)
	w.progress("  change %s", c)
	if err := w.captureAll(ctx, n, w.changed); err != nil {
		return fmt.Errorf("read what was changed: %w", err)
	}
	if err := pause(ctx, breather); err != nil {
		return err
	}

	if o, c, err = w.restart(ctx, o, n); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	s.Restart = append(s.Restart, c)
	w.progress("  restart %s", c)

	done = w.profiled(ctx, o, fmt.Sprintf("remove-%d", n))
	c, err = w.during(ctx, o, func() (time.Time, error) {
		if err := each(ctx, n, func(ctx context.Context, i int) error { return user.Delete(ctx, connectorOf(i, 1)) }); err != nil {
			return time.Time{}, err
		}
		return w.watched.wait(ctx, "gone", 0, func(seen) bool { return false })
	})
	done()
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	s.Remove = append(s.Remove, c)
	w.progress("  remove %s", c)
	return w.clearLeases(ctx)
}

// during measures what an operator does until something has happened.
func (w *bench) during(ctx context.Context, o *operator, happens func() (time.Time, error)) (cost, error) {
	m, err := w.measure(ctx, o)
	if err != nil {
		return cost{}, err
	}
	at, err := happens()
	if err != nil {
		return cost{}, err
	}
	return m.stop(ctx, at)
}

// window measures what an operator does while time goes by.
func (w *bench) window(ctx context.Context, o *operator, window time.Duration) (cost, error) {
	return w.during(ctx, o, func() (time.Time, error) {
		err := pause(ctx, window)
		return time.Now(), err
	})
}

func (w *bench) settled(ctx context.Context, s *scale, o *operator, n int, window time.Duration) error {
	done := w.profiled(ctx, o, fmt.Sprintf("settled-%d", n))
	c, err := w.window(ctx, o, window)
	done()
	if err != nil {
		return err
	}
	s.Settled = append(s.Settled, c)
	w.progress("  settled %s %v", c, c.Kinds)
	return o.save(ctx, fmt.Sprintf("heap-%d", n), "heap?gc=1")
}

// beaten looks at a settled operator while every heartbeat is a write of the Node's status, too.
func (w *bench) beaten(ctx context.Context, s *scale, o *operator, n int, window time.Duration) (err error) {
	w.kubelets.hurry(leasePeriod)
	defer w.kubelets.hurry(statusPeriod)
	if err := pause(ctx, leasePeriod); err != nil {
		return err
	}
	done := w.profiled(ctx, o, fmt.Sprintf("beaten-%d", n))
	s.Beaten, err = w.window(ctx, o, window)
	done()
	if err != nil {
		return err
	}
	w.progress("  with a status every 10 s %s", s.Beaten)
	return nil
}

// restart starts the operator anew, and measures from the start of its process until it has come to rest.
func (w *bench) restart(ctx context.Context, o *operator, n int) (*operator, cost, error) {
	o.stop()
	m, err := w.measure(ctx, nil)
	if err != nil {
		return o, cost{}, err
	}
	if o, err = w.startOperator(ctx, o.profiled); err != nil {
		return o, cost{}, err
	}
	defer w.profiled(ctx, o, fmt.Sprintf("restart-%d", n))()
	// What it has used began with it.
	m.operator, m.user, m.passes = o, operatorUser, 0
	last, at := 0.0, time.Now()
	err = wait.PollUntilContextTimeout(ctx, 250*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		metrics, err := o.scrape(ctx, reconcilesMetric)
		if err != nil {
			return false, o.process.Err() // the metrics may not be served yet
		}
		if now := metrics[reconcilesMetric]; now > last {
			last, at = now, time.Now()
		}
		return last >= float64(n) && time.Since(at) > breather/2, nil
	})
	if err != nil {
		return o, cost{}, err
	}
	c, err := m.stop(ctx, at)
	return o, c, err
}

// drift deletes and edits children, one at a time, and waits until they are back.
func (w *bench) drift(ctx context.Context, s *scale, n int) error {
	for round := range driftsEach {
		for _, kind := range []string{"Secret", "ServiceAccount", "ClusterRoleBinding", "RoleBinding", "Deployment"} {
			node := nodeNames(connectorName((round * 7) % n))[round%2]
			object := childrenOf(node)[kind]
			took, err := w.repaired(ctx, object, func() error { return w.client.Delete(ctx, object) }, func(before client.Object) bool {
				return object.GetUID() != before.GetUID()
			})
			if err != nil {
				return fmt.Errorf("delete %s %s: %w", kind, node, err)
			}
			s.Drift["deleted "+kind] = append(s.Drift["deleted "+kind], took)
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
		}
		node := nodeNames(connectorName((round*7 + 3) % n))[round%2]
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: node}}
		took, err := w.repaired(ctx, deployment, func() error {
			patch := `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"example.com/edited"}]`
			return w.client.Patch(ctx, deployment, client.RawPatch(types.JSONPatchType, []byte(patch)))
		}, func(client.Object) bool {
			return deployment.Spec.Template.Spec.Containers[0].Image != "example.com/edited"
		})
		if err != nil {
			return fmt.Errorf("edit Deployment %s: %w", node, err)
		}
		s.Drift["edited Deployment"] = append(s.Drift["edited Deployment"], took)
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	w.progress("  drift repaired in %s", spreadOf(s.repairs()).text(seconds))
	return nil
}

// repaired spoils an object, and tells after how many seconds it is as it was.
func (w *bench) repaired(ctx context.Context, object client.Object, spoil func() error, back func(before client.Object) bool) (float64, error) {
	key := client.ObjectKeyFromObject(object)
	if err := w.client.Get(ctx, key, object); err != nil {
		return 0, err
	}
	before, ok := object.DeepCopyObject().(client.Object)
	if !ok {
		return 0, fmt.Errorf("%T is no object", object)
	}
	if err := spoil(); err != nil {
		return 0, err
	}
	spoilt := time.Now()
	err := wait.PollUntilContextTimeout(ctx, 2*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		if err := w.client.Get(ctx, key, object); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		return back(before), nil
	})
	return time.Since(spoilt).Seconds(), err
}

// childrenOf are the objects of a node, by kind.
func childrenOf(node string) map[string]client.Object {
	here := metav1.ObjectMeta{Namespace: namespace, Name: node}
	return map[string]client.Object{
		"Secret":             &corev1.Secret{ObjectMeta: here},
		"ServiceAccount":     &corev1.ServiceAccount{ObjectMeta: here},
		"ClusterRoleBinding": &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: node}},
		"RoleBinding":        &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: node}},
		"Deployment":         &appsv1.Deployment{ObjectMeta: here},
	}
}

// changedTag is the tag of the image that connectors are changed to.
const changedTag = "1.6.5"

func changeImage(ctx context.Context, user client.Client, i int) error {
	connector := connectorOf(i, 1)
	connector.Spec.VirtualKubelet.Image.Tag = changedTag
	return applyConnector(ctx, user, connector)
}

// clearLeases removes the Leases that a last heartbeat may have made anew.
func (w *bench) clearLeases(ctx context.Context) error {
	return w.client.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(corev1.NamespaceNodeLease))
}

// hurry sets how often the status of every Node is written.
func (s *standIns) hurry(every time.Duration) {
	s.statusEvery.Store(int64(every))
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// profiled takes CPU profiles of the operator, if there is one, and of the API server until it is told to end, if they are
// wanted.
func (w *bench) profiled(ctx context.Context, o *operator, name string) (done func()) {
	if w.profile == "" {
		return func() {}
	}
	// pprof takes a time, and not an end: what is wanted is a trace of the phase's first part.
	const query = "profile?seconds=20"
	var group errgroup.Group
	if o != nil {
		group.Go(func() error { return o.save(ctx, name, query) })
	}
	group.Go(func() error {
		reader, err := rest.HTTPClientFor(w.plane.RESTConfig())
		if err != nil {
			return err
		}
		return saveProfile(ctx, reader, w.plane.RESTConfig().Host+"/debug/pprof/"+query, filepath.Join(w.profile, "apiserver-"+name+".pprof"))
	})
	return func() {
		if err := group.Wait(); err != nil {
			w.progress("no profile %s: %v", name, err)
		}
	}
}
