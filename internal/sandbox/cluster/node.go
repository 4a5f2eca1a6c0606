// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/process"
)

const containerdTimeout = 30 * time.Second

func (c *cluster) startContainerd(ctx context.Context) error {
	c.Progress("starting containerd")
	config, err := c.write("containerd.toml", "node")
	if err != nil {
		return err
	}
	if _, err := c.write("10-bridge.conflist", "cni"); err != nil {
		return err
	}
	if _, err := c.write("hosts.toml", "registries", "_default"); err != nil {
		return err
	}
	if err := c.run("containerd", c.Programs.Path("containerd"), "--config", config); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, containerdTimeout)
	defer cancel()
	for {
		_, err := process.Run(ctx, c.Programs.Path("ctr"), "--address", c.Layout.ContainerdSocket(), "version")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("containerd does not answer: %w; the end of its log:\n%s",
				ctx.Err(), process.Tail(filepath.Join(c.Layout.Logs(), "containerd.log"))), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// startNode starts what makes the namespaces an ordinary node.
func (c *cluster) startNode() error {
	c.Progress("starting the node")
	// The kubelet hands this to the pods of the name service, which has nowhere to forward to.
	if _, err := c.write("resolv.conf", "node"); err != nil {
		return err
	}
	pair, err := c.plane.Authority().Server("system:node:"+NodeName, NodeName, c.Block.Node().String())
	if err != nil {
		return err
	}
	if _, err := pair.Write(c.Layout.path("node"), "kubelet"); err != nil {
		return err
	}
	kubelet, err := c.write("kubelet.yaml", "node")
	if err != nil {
		return err
	}
	kubeconfig := c.Layout.path("node", "kubelet.kubeconfig")
	if err := c.plane.WriteKubeconfig(kubeconfig, "system:node:"+NodeName, "system:nodes"); err != nil {
		return err
	}
	if err := c.run("kubelet", c.Programs.Path("kubelet"),
		"--config="+kubelet, "--kubeconfig="+kubeconfig,
		"--hostname-override="+NodeName, "--node-ip="+c.Block.Node().String(),
		"--root-dir="+c.Layout.path("kubelet"), "--cert-dir="+c.Layout.path("node")); err != nil {
		return err
	}
	proxy, err := c.write("kube-proxy.yaml", "node")
	if err != nil {
		return err
	}
	if err := c.plane.WriteKubeconfig(c.Layout.path("node", "kube-proxy.kubeconfig"), "system:kube-proxy"); err != nil {
		return err
	}
	return c.run("kube-proxy", c.Programs.Path("kube-proxy"), "--config="+proxy)
}
