// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
)

const (
	connectorLabel = "connector.virtual-kubelet.io/connector"
	nodeTag        = "NodeName"

	settleTimeout = 30 * time.Second
	settlePeriod  = 250 * time.Millisecond
)

// expect reads until it finds what is awaited: what a controller of Kubernetes removes may take a moment.
func (d *demo) expect(ctx context.Context, awaited string, read func(kubernetes.Interface) (found string, err error)) error {
	config, err := d.Sandbox.RESTConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	last := "nothing"
	for {
		found, err := read(client)
		switch {
		case err == nil && found == awaited:
			return nil
		case err == nil:
			last = found
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("awaited %s; found %s", awaited, last)
		case <-time.After(settlePeriod):
		}
	}
}

// expectNodes awaits that these are the virtual nodes, Ready, with the role agent and a version; and that
// they have Leases, and no others do.
func (d *demo) expectNodes(ctx context.Context, names ...string) error {
	awaited := "virtual nodes: " + strings.Join(names, ", ")
	return d.expect(ctx, awaited, func(client kubernetes.Interface) (string, error) {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "type=virtual-kubelet"})
		if err != nil {
			return "", err
		}
		found := make([]string, 0, len(nodes.Items))
		for i := range nodes.Items {
			node := &nodes.Items[i]
			text := node.Name
			if !nodeReady(node) || node.Labels["kubernetes.io/role"] != "agent" || node.Status.NodeInfo.KubeletVersion == "" {
				text += " (not a Ready agent with a version)"
			}
			found = append(found, text)
		}
		leases, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		for i := range leases.Items {
			if name := leases.Items[i].Name; strings.HasPrefix(name, "virtual-kubelet-") && !slices.Contains(names, name) {
				found = append(found, "a Lease "+name)
			}
		}
		return "virtual nodes: " + strings.Join(found, ", "), nil
	})
}

func nodeReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// expectRunning awaits that a workload's pod runs on a node.
func (d *demo) expectRunning(ctx context.Context, app, node string) error {
	return d.expect(ctx, app+": Running on "+node, func(client kubernetes.Interface) (string, error) {
		pods, err := client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil || len(pods.Items) != 1 {
			return fmt.Sprintf("%s: %d pods", app, len(pods.Items)), err
		}
		pod := &pods.Items[0]
		return fmt.Sprintf("%s: %s on %s", app, pod.Status.Phase, pod.Spec.NodeName), nil
	})
}

func (d *demo) expectNoPods(ctx context.Context) error {
	return d.expect(ctx, "pods: ", func(client kubernetes.Interface) (string, error) {
		pods, err := client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		names := make([]string, 0, len(pods.Items))
		for i := range pods.Items {
			names = append(names, pods.Items[i].Name)
		}
		return "pods: " + strings.Join(names, ", "), err
	})
}

// expectGroups awaits how many container groups Azure has, by node.
func (d *demo) expectGroups(ctx context.Context, byNode map[string]int) error {
	text := func(counts map[string]int) string {
		parts := make([]string, 0, len(counts))
		for _, node := range slices.Sorted(maps.Keys(counts)) {
			parts = append(parts, fmt.Sprintf("%d of node %s", counts[node], node))
		}
		return "container groups: " + strings.Join(parts, ", ")
	}
	return d.expect(ctx, text(byNode), func(kubernetes.Interface) (string, error) {
		groups, err := d.Sandbox.Azure().ContainerGroups(ctx)
		counts := map[string]int{}
		for _, group := range groups {
			counts[group.Tags[nodeTag]]++
		}
		return text(counts), err
	})
}

// expectChildren awaits that the operator's objects are those of these nodes.
func (d *demo) expectChildren(ctx context.Context, nodes ...string) error {
	text := func(found []string) string {
		slices.Sort(found)
		return "what the operator has made: " + strings.Join(found, ", ")
	}
	var awaited []string
	for _, node := range nodes {
		for kind := range childResources {
			awaited = append(awaited, kind+" "+node)
		}
	}
	return d.expect(ctx, text(awaited), func(kubernetes.Interface) (string, error) {
		found, err := d.children(ctx)
		return text(found), err
	})
}

// childResources are the kinds of a node's children.
var childResources = map[string]schema.GroupVersionResource{
	"ClusterRoleBinding": {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
	"Deployment":         {Group: "apps", Version: "v1", Resource: "deployments"},
	"RoleBinding":        {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	"Secret":             {Version: "v1", Resource: "secrets"},
	"ServiceAccount":     {Version: "v1", Resource: "serviceaccounts"},
}

func (d *demo) children(ctx context.Context) ([]string, error) {
	config, err := d.Sandbox.RESTConfig()
	if err != nil {
		return nil, err
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	var found []string
	for kind, resource := range childResources {
		list, err := client.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: connectorLabel + "=" + connectorName})
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			found = append(found, kind+" "+list.Items[i].Name)
		}
	}
	return found, nil
}
