// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package network gives each sandbox a block of addresses and joins its network namespace
// to the host by one link; it never changes a route, a rule or a setting of the host
// beyond that link.
package network

import (
	"fmt"
	"net/netip"
)

// Blocks is how many sandboxes can stand side by side.
const Blocks = 32

const blockBits = 20

// reserved is the range that is set aside for tests of networks, so it's no one's own.
var reserved = netip.MustParsePrefix("198.18.0.0/15")

// Block is the addresses of one sandbox.
type Block struct {
	Index int `json:"index"`
}

// NewBlock returns the block of that number.
func NewBlock(index int) (Block, error) {
	if index < 0 || index >= Blocks {
		return Block{}, fmt.Errorf("block %d is not in 0 to %d", index, Blocks-1)
	}
	return Block{Index: index}, nil
}

// Free returns the first block that isn't taken.
func Free(taken map[int]bool) (Block, error) {
	for i := range Blocks {
		if !taken[i] {
			return Block{Index: i}, nil
		}
	}
	return Block{}, fmt.Errorf("all %d address blocks of %s are taken: take a sandbox down", Blocks, reserved)
}

// Link is the name of the host's end of the link; the other end has the name eth0.
func (b Block) Link() string { return fmt.Sprintf("vksandbox%d", b.Index) }

// Host is the host's address on the link.
func (b Block) Host() netip.Addr { return b.at(0, 1) }

// Node is the address of the node, the API server's too.
func (b Block) Node() netip.Addr { return b.at(0, 2) }

// Azure is the address of the simulated Azure.
func (b Block) Azure() netip.Addr { return b.at(0, 3) }

// Origin is the address of what images and repositories are fetched from.
func (b Block) Origin() netip.Addr { return b.at(0, 4) }

// LinkPrefix is the range of Host, Node, Azure and Origin.
func (b Block) LinkPrefix() netip.Prefix { return netip.PrefixFrom(b.at(0, 0), 24) }

// Services is the range of Service addresses.
func (b Block) Services() netip.Prefix { return netip.PrefixFrom(b.at(1, 0), 24) }

// DNS is the address of the cluster's DNS Service.
func (b Block) DNS() netip.Addr { return b.at(1, 10) }

// Pods is the range of pod addresses.
func (b Block) Pods() netip.Prefix { return netip.PrefixFrom(b.at(4, 0), 22) }

func (b Block) at(third, fourth byte) netip.Addr {
	base := reserved.Addr().As4()
	offset := b.Index << (32 - blockBits)
	base[1] += byte(offset >> 16)
	base[2] = byte(offset>>8) + third
	base[3] = fourth
	return netip.AddrFrom4(base)
}
