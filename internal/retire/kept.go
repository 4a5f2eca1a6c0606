// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"context"

	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// Place returns where the container groups of a node are; empty where nothing tells.
func Place(node *observe.Node, spec resolve.Resolved) azure.Target {
	config, claimed, err := record(node, spec)
	if err != nil || !claimed {
		return azure.Target{}
	}
	return config.Target()
}

// Renew hands the client secret that Azure accepts by now to the virtual kubelet of a node that runs on, although it is
// not desired any more.
func (r *Retirer) Renew(ctx context.Context, node *observe.Node, spec resolve.Resolved) error {
	config, claimed, err := record(node, spec)
	if err != nil || !claimed {
		return nil //nolint:nilerr // it is told when the node is removed
	}
	v := visit{Retirer: r, node: node, spec: spec, config: config, claimed: true, progress: &Progress{}}
	v.target = r.target(config, spec)
	return v.revive(ctx)
}
