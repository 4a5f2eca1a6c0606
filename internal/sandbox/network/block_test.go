// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"net/netip"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/network"
)

func TestFirstBlock(t *testing.T) {
	g := NewWithT(t)
	block, err := network.NewBlock(0)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(block.Host()).To(Equal(netip.MustParseAddr("198.18.0.1")))
	g.Expect(block.Node()).To(Equal(netip.MustParseAddr("198.18.0.2")))
	g.Expect(block.Azure()).To(Equal(netip.MustParseAddr("198.18.0.3")))
	g.Expect(block.Origin()).To(Equal(netip.MustParseAddr("198.18.0.4")))
	g.Expect(block.Services()).To(Equal(netip.MustParsePrefix("198.18.1.0/24")))
	g.Expect(block.DNS()).To(Equal(netip.MustParseAddr("198.18.1.10")))
	g.Expect(block.Pods()).To(Equal(netip.MustParsePrefix("198.18.4.0/22")))
}

func TestBlocksAreApartAndInRange(t *testing.T) {
	g := NewWithT(t)
	reserved := netip.MustParsePrefix("198.18.0.0/15")
	var all []netip.Prefix
	links := map[string]bool{}
	for index := range network.Blocks {
		block, err := network.NewBlock(index)
		g.Expect(err).NotTo(HaveOccurred())
		links[block.Link()] = true
		g.Expect(len(block.Link())).To(BeNumerically("<", 16))
		for _, prefix := range []netip.Prefix{block.LinkPrefix(), block.Services(), block.Pods()} {
			g.Expect(prefix).To(Equal(prefix.Masked()))
			g.Expect(reserved.Overlaps(prefix)).To(BeTrue())
			for _, other := range all {
				g.Expect(prefix.Overlaps(other)).To(BeFalse(), "%s and %s", prefix, other)
			}
			all = append(all, prefix)
		}
		g.Expect(block.LinkPrefix().Contains(block.Azure())).To(BeTrue())
		g.Expect(block.LinkPrefix().Contains(block.Origin())).To(BeTrue())
	}
	g.Expect(links).To(HaveLen(network.Blocks))
	for _, index := range []int{-1, network.Blocks} {
		_, err := network.NewBlock(index)
		g.Expect(err).To(HaveOccurred())
	}
}

func TestFree(t *testing.T) {
	g := NewWithT(t)
	taken := map[int]bool{0: true, 1: true, 3: true}
	block, err := network.Free(taken)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(block.Index).To(Equal(2))
	for index := range network.Blocks {
		taken[index] = true
	}
	_, err = network.Free(taken)
	g.Expect(err).To(MatchError(ContainSubstring("take a sandbox down")))
}
