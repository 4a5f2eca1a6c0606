// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestFailures(t *testing.T) {
	g := NewWithT(t)
	next := func() error { return nil }
	counted := &failures{Reconciler: reconcile.Func(func(context.Context, ctrl.Request) (ctrl.Result, error) {
		return ctrl.Result{}, next()
	})}
	pass := func(connector string) error {
		_, err := counted.Reconcile(t.Context(), request(connector))
		return err
	}
	g.Expect(pass("a")).To(Succeed())
	g.Expect(counted.now()).To(BeEmpty())

	next = func() error { return errors.New("no") }
	g.Expect(pass("a")).NotTo(Succeed())
	g.Expect(pass("a")).NotTo(Succeed())
	g.Expect(pass("b")).NotTo(Succeed())
	g.Expect(counted.now()).To(Equal(map[string]int{"a": 2, "b": 1}))

	next = func() error { panic("no") }
	g.Expect(func() { _ = pass("b") }).To(Panic())
	g.Expect(counted.now()).To(Equal(map[string]int{"a": 2, "b": 2}), "controller-runtime makes an error of a panic")

	next = func() error { return nil }
	g.Expect(pass("a")).To(Succeed())
	g.Expect(counted.now()).To(Equal(map[string]int{"b": 2}))
}
