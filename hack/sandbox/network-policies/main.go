// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Command network-policies enforces the NetworkPolicies of a cluster on its one node, for the bridge to which the
// sandbox's network plugin joins pods: what kube-network-policies does for connections that pass through the node, this
// extends to those that end on it, such as those of pods to the API server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

const (
	queue     = 100
	tableName = "sandbox-network-policies"

	// bridgedToNetfilter has what is passed on by a bridge, as between two pods of a node, go the way of what is routed.
	bridgedToNetfilter = "/proc/sys/net/bridge/bridge-nf-call-iptables"
)

func main() {
	klog.InitFlags(nil)
	node := flag.String("node", "", "the name of the node")
	bridge := flag.String("bridge", "cni0", "the bridge to which pods are joined")
	flag.Parse()
	if err := run(*node, *bridge); err != nil {
		fmt.Fprintln(os.Stderr, "network-policies:", err)
		os.Exit(1)
	}
}

func run(node, bridge string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := os.WriteFile(bridgedToNetfilter, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("%w; run modprobe br_netfilter on the machine", err)
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(client,
		factory.Networking().V1().NetworkPolicies(), factory.Core().V1().Namespaces(), factory.Core().V1().Pods(),
		nil, nil, nil, nil,
		networkpolicy.Config{QueueID: queue, NodeName: node, NetfilterBug1766Fix: true})
	if err != nil {
		return err
	}
	if err := queueInput(bridge); err != nil {
		return fmt.Errorf("queueing what pods send to the node: %w", err)
	}
	factory.Start(ctx.Done())
	return errors.Join(controller.Run(ctx), removeTable())
}

// queueInput has each connection that a pod opens to an address of the node itself decided on as those to other pods are.
// Nothing that the node's own programs, such as kubelets that probe, send to pods is: a NetworkPolicy never keeps that away.
func queueInput(bridge string) error {
	connection, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	// A predecessor that was killed leaves its table.
	connection.AddTable(table)
	connection.DelTable(table)
	connection.AddTable(table)
	chain := connection.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	name := make([]byte, syscall.IFNAMSIZ)
	copy(name, bridge)
	connection.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: state(expr.CtStateBitNEW), Xor: state(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: state(0)},
		// Without anyone to ask, a pod that no policy limits has to reach the API server.
		&expr.Queue{Num: queue, Flag: expr.QueueFlagBypass},
	}})
	return connection.Flush()
}

func state(bits uint32) []byte { return binaryutil.NativeEndian.PutUint32(bits) }

func removeTable() error {
	connection, err := nftables.New()
	if err != nil {
		return err
	}
	connection.DelTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyINet})
	return connection.Flush()
}
