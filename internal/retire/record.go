// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// record returns what the node's virtual kubelet was started with, and whether it ever was: without a
// claim it was not, and Azure has nothing of it. The Secret, which has the claim, is made before all else. Where somebody
// has deleted or edited it, the other objects say where the node was, and else the spec of a node that it still describes.
// A Node of which nothing else is left proves no claim: its place, if the spec describes it, is told without one.
func record(node *observe.Node, spec resolve.Resolved) (config render.AzureConfig, claimed bool, err error) {
	started := node.Started()
	if node.Secret != nil {
		if !hasClaim(node) {
			return config, false, nil
		}
		if config, err = read(node.Secret.Data[render.AzureKey]); err == nil {
			return config, true, nil
		}
		err = fmt.Errorf("read %s of Secret %s: %w", render.AzureKey, node.Name, err)
	}
	for _, child := range node.Children() {
		if config, problem := read([]byte(child.GetAnnotations()[identity.AnnotationPlace])); problem == nil {
			return config, true, nil
		}
	}
	if (started || node.Node != nil || err != nil) && spec.Describes(node.Name, node.Hash) {
		return render.AzureConfigOf(spec.Target, spec.Location, nil), started || err != nil, nil
	}
	if started && err == nil {
		err = fmt.Errorf("nothing tells where node %s was: its Secret is gone, and its other objects lack the annotation %s", node.Name, identity.AnnotationPlace)
	}
	return config, started || err != nil, err
}

func read(content []byte) (config render.AzureConfig, err error) {
	if err := json.Unmarshal(content, &config); err != nil {
		return config, err
	}
	if config.SubscriptionID == "" || config.ResourceGroup == "" {
		return config, errors.New("it names no resource group")
	}
	return config, nil
}

// target returns where the node's container groups are, with credentials that Azure accepts where there are such: the
// live client secret where it is of the node's own identity in Azure, the one that the node was started with, or what
// the spec gives for what may be the same tenant.
func (r *Retirer) target(config render.AzureConfig, spec resolve.Resolved) azure.Target {
	started, live := config.Target(), spec.Target.Credential
	candidates := make([]azure.Target, 0, 3)
	if live.ClientSecret != "" && live.SameIdentity(started.Credential) {
		renewed := started
		renewed.ClientSecret = live.ClientSecret
		candidates = append(candidates, renewed)
	}
	candidates = append(candidates, started)
	if started.Cloud == live.Cloud && sameTenant(started.TenantID, live.TenantID) {
		other := started
		other.Credential = live
		candidates = append(candidates, other)
	}
	candidates = slices.DeleteFunc(candidates, func(t azure.Target) bool { return !t.Usable() })
	for i, candidate := range candidates {
		if slices.Contains(candidates[:i], candidate) {
			continue
		}
		listing, _ := r.Inventory.List(spec.Connector, candidate, time.Time{})
		if problem := listing.Problem; problem == nil || !problem.Proven || problem.Reason == v1alpha1.ReasonResourceGroupNotFound {
			return candidate
		}
	}
	if len(candidates) > 0 {
		return candidates[0]
	}
	return started
}

// sameTenant reports whether two tenants may be one: a managed identity need not name its.
func sameTenant(a, b string) bool { return a == "" || b == "" || strings.EqualFold(a, b) }
