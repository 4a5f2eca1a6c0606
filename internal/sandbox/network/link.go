// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const (
	inside           = "eth0"
	metadataAddress  = "169.254.169.254/32"
	linkGoneTimeout  = 10 * time.Second
	linkGoneInterval = 50 * time.Millisecond
)

// Connect joins the network namespace of a process to the host and gives both ends their
// addresses. The link goes with the namespace; its alias tells the machine's users whose it is.
func Connect(block Block, pid int, alias string) error {
	if err := connect(block, pid, alias); err != nil {
		return fmt.Errorf("joining the sandbox's network to the host by %s: %w", block.Link(), err)
	}
	return nil
}

func connect(block Block, pid int, alias string) error {
	namespace, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer namespace.Close()
	attributes := netlink.NewLinkAttrs()
	attributes.Name = block.Link()
	pair := &netlink.Veth{LinkAttrs: attributes, PeerName: inside, PeerNamespace: netlink.NsFd(namespace)}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("%w; where the kernel has no veth devices, run modprobe veth or boot one that has them", err)
	}
	guest, err := netlink.NewHandleAt(namespace)
	if err != nil {
		return err
	}
	defer guest.Close()
	if err := configureGuest(guest, block); err != nil {
		return err
	}
	return configureHost(block, alias)
}

func configureGuest(guest *netlink.Handle, block Block) error {
	bits := block.LinkPrefix().Bits()
	var addresses []string
	for _, address := range []netip.Addr{block.Node(), block.Azure(), block.Origin()} {
		addresses = append(addresses, netip.PrefixFrom(address, bits).String())
	}
	for _, end := range []struct {
		link      string
		addresses []string
	}{
		{"lo", []string{metadataAddress}},
		{inside, addresses},
	} {
		if err := setUp(guest, end.link, end.addresses); err != nil {
			return err
		}
	}
	// A host of a cluster has a default route; the kubelet and clients look for it.
	return guest.RouteReplace(&netlink.Route{Gw: block.Host().AsSlice()})
}

func configureHost(block Block, alias string) error {
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer host.Close()
	if err := setUp(host, block.Link(), []string{netip.PrefixFrom(block.Host(), block.LinkPrefix().Bits()).String()}); err != nil {
		return err
	}
	link, err := host.LinkByName(block.Link())
	if err != nil {
		return err
	}
	if err := host.LinkSetAlias(link, alias); err != nil {
		return err
	}
	for _, prefix := range []netip.Prefix{block.Pods(), block.Services()} {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(prefix), Gw: block.Node().AsSlice()}
		if err := host.RouteReplace(route); err != nil {
			return fmt.Errorf("routing %s: %w", prefix, err)
		}
	}
	return nil
}

func setUp(handle *netlink.Handle, name string, addresses []string) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, text := range addresses {
		address, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if err := handle.AddrReplace(link, address); err != nil {
			return fmt.Errorf("giving %s the address %s: %w", name, text, err)
		}
	}
	if err := handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s up: %w", name, err)
	}
	return nil
}

// Taken are the numbers of the blocks whose link or addresses the host has.
func Taken() (map[int]bool, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing the host's links: %w", err)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing the host's routes: %w", err)
	}
	taken := map[int]bool{}
	for index := range Blocks {
		block := Block{Index: index}
		for _, link := range links {
			taken[index] = taken[index] || link.Attrs().Name == block.Link()
		}
		for _, route := range routes {
			taken[index] = taken[index] || overlaps(route.Dst, block)
		}
	}
	return taken, nil
}

func overlaps(destination *net.IPNet, block Block) bool {
	if destination == nil {
		return false
	}
	prefix, err := netip.ParsePrefix(destination.String())
	if err != nil || prefix.Bits() == 0 {
		return false
	}
	return prefix.Overlaps(netip.PrefixFrom(block.at(0, 0), blockBits))
}

// Disconnect returns once the host's end of the link is gone; one that outlived its
// namespace is removed.
func Disconnect(block Block) error {
	var last error
	for deadline := time.Now().Add(linkGoneTimeout); ; {
		link, err := netlink.LinkByName(block.Link())
		if isGone(err) {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("the link %s is still there after %s", block.Link(), linkGoneTimeout), last, err)
		}
		if err == nil {
			last = netlink.LinkDel(link)
		}
		time.Sleep(linkGoneInterval) //nolint:forbidigo // The deadline bounds it, and a lost notice of the kernel doesn't matter.
	}
}

func isGone(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || err != nil && strings.Contains(err.Error(), "no such device")
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)}
}

// ProbeBridge tells whether the kernel can make a bridge. It is for a namespace of its own.
func ProbeBridge() error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "probe"
	bridge := &netlink.Bridge{LinkAttrs: attributes}
	if err := netlink.LinkAdd(bridge); err != nil {
		return err
	}
	return netlink.LinkDel(bridge)
}
