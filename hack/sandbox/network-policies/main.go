// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Command network-policies enforces the NetworkPolicies of a cluster on its one node, which the sandbox's network plugin does
// not. What is let through, kube-network-policies decides; what it is asked is put into its queue here. The rules that it
// makes for that itself need more of the kernel, and leave out what pods open to the node, such as to the API server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
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
	if err := queueConnections(bridge); err != nil {
		return fmt.Errorf("queueing connections: %w; it takes a kernel with nft_compat and xt_NFQUEUE", err)
	}
	factory.Start(ctx.Done())
	return errors.Join(controller.Run(ctx), removeTable())
}

// queueConnections has each new connection decided on that passes through the node, or that a pod opens to the node itself.
// What the node's own programs open, such as a kubelet that probes, is let through, as it is by every network plugin.
func queueConnections(bridge string) error {
	connection, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	// A predecessor that was killed leaves its table.
	connection.AddTable(table)
	connection.DelTable(table)
	connection.AddTable(table)
	for _, c := range []struct {
		name string
		hook *nftables.ChainHook
		from []expr.Any
	}{
		{"forward", nftables.ChainHookForward, nil},
		{"input", nftables.ChainHookInput, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: interfaceName(bridge)},
		}},
	} {
		chain := connection.AddChain(&nftables.Chain{
			Name: c.name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: c.hook, Priority: nftables.ChainPriorityFilter,
		})
		for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			connection.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(c.from, queueNew(protocol))})
		}
	}
	return connection.Flush()
}

func queueNew(protocol byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: state(expr.CtStateBitNEW), Xor: state(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: state(0)},
		// The target of iptables: not every kernel has that of nftables.
		&expr.Target{Name: "NFQUEUE", Rev: 1, Info: queueInfo()},
	}
}

// queueInfo is the kernel's xt_NFQ_info_v1: the first queue, and how many there are.
func queueInfo() *xt.Unknown {
	info := xt.Unknown(slices.Concat(binaryutil.NativeEndian.PutUint16(queue), binaryutil.NativeEndian.PutUint16(1)))
	return &info
}

func interfaceName(name string) []byte {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return padded
}

func state(bits uint32) []byte { return binaryutil.NativeEndian.PutUint32(bits) }

func removeTable() error {
	connection, err := nftables.New()
	if err != nil {
		return err
	}
	connection.DelTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4})
	return connection.Flush()
}
