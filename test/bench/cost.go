// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"time"

	"github.com/virtual-kubelet/connector-operator/test/world"
)

// cost is what something took, from its beginning to its end.
type cost struct {
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
	// Requests are all of the one who did it but those that renew its own Lease, Writes those that change something;
	// events are told apart, and what a look at the metrics costs is left out.
	Requests int `json:"requests"`
	Writes   int `json:"writes"`
	Events   int `json:"events"`
	// Kinds are the requests by what they do.
	Kinds map[string]int `json:"kinds"`
	// Reconciles are the passes over connectors; -1 where there is no operator.
	Reconciles int `json:"reconciles"`
	// OperatorCPU, APIServerCPU and EtcdCPU are in seconds.
	OperatorCPU  float64 `json:"operatorCPU"`
	APIServerCPU float64 `json:"apiServerCPU"`
	EtcdCPU      float64 `json:"etcdCPU"`
	// Read and Written are bytes that the operator has, Azure's included.
	Read    float64 `json:"read"`
	Written float64 `json:"written"`
	// RSS is that of the operator at the end, in bytes, and Program what of it are pages of its program, which the kernel
	// shares and drops.
	RSS     float64 `json:"rss"`
	Program float64 `json:"program"`
	// Others are the requests of the stand-ins and of the user in the same time.
	Others int `json:"others"`
}

// meter measures a cost.
type meter struct {
	bench    *bench
	operator *operator
	user     string
	audit    world.Audit
	began    time.Time
	usages   map[string]usage
	passes   float64
}

const reconcilesMetric = "controller_runtime_reconcile_total"

// measure begins to measure what an operator, or another user where there is none, costs.
func (w *bench) measure(ctx context.Context, o *operator) (*meter, error) {
	m := &meter{bench: w, operator: o, user: operatorUser}
	if o == nil {
		m.user = floorUser
	}
	var err error
	if m.audit, err = world.AuditEnd(w.audit); err != nil {
		return nil, err
	}
	// The look at the metrics is before what is measured, and after it in stop.
	if m.passes, err = m.count(ctx); err != nil {
		return nil, err
	}
	if m.usages, err = m.use(); err != nil {
		return nil, err
	}
	m.began = time.Now()
	return m, nil
}

// count returns how many passes there were; -1 where there is no operator.
func (m *meter) count(ctx context.Context) (float64, error) {
	if m.operator == nil {
		return -1, nil
	}
	metrics, err := m.operator.scrape(ctx, reconcilesMetric)
	return metrics[reconcilesMetric], err
}

// use returns what the processes have used.
func (m *meter) use() (map[string]usage, error) {
	pids := maps.Clone(m.bench.plane.PIDs())
	if m.operator != nil {
		pids["operator"] = m.operator.process.PID()
	}
	usages := map[string]usage{}
	for name, pid := range pids {
		used, err := usageOf(pid)
		if err != nil {
			return nil, err
		}
		usages[name] = used
	}
	return usages, nil
}

// stop returns what it has cost since measure, if it has ended at a time.
func (m *meter) stop(ctx context.Context, ended time.Time) (cost, error) {
	c := cost{Seconds: ended.Sub(m.began).Seconds(), Reconciles: -1, Kinds: map[string]int{}}
	usages, err := m.use()
	if err != nil {
		return c, err
	}
	passes, err := m.count(ctx)
	if err != nil {
		return c, err
	}
	used := func(name string) usage {
		before, now := m.usages[name], usages[name]
		return usage{cpu: now.cpu - before.cpu, read: now.read - before.read, written: now.written - before.written}
	}
	c.APIServerCPU, c.EtcdCPU = used("kube-apiserver").cpu, used("etcd").cpu
	if m.operator != nil {
		own := used("operator")
		c.OperatorCPU, c.Read, c.Written = own.cpu, own.read, own.written
		c.Reconciles = int(passes - m.passes)
		if c.RSS, c.Program, err = rss(m.operator.process.PID()); err != nil {
			return c, err
		}
	}
	err = m.audit.Each(func(r world.Request) {
		switch {
		case r.User.Username != m.user:
			c.Others++
			return
		case r.ObjectRef.Resource == "tokenreviews", r.ObjectRef.Resource == "subjectaccessreviews":
			return // they are for the one who looks at the metrics
		case r.ObjectRef.Resource == "events":
			c.Events++
			return
		}
		c.Requests++
		if r.Writes() {
			c.Writes++
		}
		c.Kinds[r.String()]++
	})
	return c, err
}
