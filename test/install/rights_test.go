// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
)

// role is one that is installed, with the namespace that it counts in; empty for all.
type role struct {
	namespace, name string
	labels          map[string]string
	rules           []rbacv1.PolicyRule
}

func roles(t *testing.T) []role {
	t.Helper()
	objects := build(t, filepath.Join(root, "config/default"))
	var all []role
	for _, r := range of[rbacv1.ClusterRole](t, objects, "ClusterRole") {
		NewWithT(t).Expect(r.AggregationRule).To(BeNil(), r.Name)
		all = append(all, role{name: r.Name, labels: r.Labels, rules: r.Rules})
	}
	for _, r := range of[rbacv1.Role](t, objects, "Role") {
		all = append(all, role{namespace: r.Namespace, name: r.Name, labels: r.Labels, rules: r.Rules})
	}
	return all
}

func TestNoRightHasAWildcard(t *testing.T) {
	g := NewWithT(t)
	for _, role := range roles(t) {
		for _, rule := range role.rules {
			for _, list := range [][]string{rule.Verbs, rule.APIGroups, rule.Resources} {
				g.Expect(list).NotTo(BeEmpty(), "%s: %v", role.name, rule)
				for _, entry := range list {
					g.Expect(entry).NotTo(ContainSubstring("*"), "%s: %v", role.name, rule)
				}
			}
			g.Expect(rule.NonResourceURLs).To(BeEmpty(), role.name)
		}
	}
}

func TestRightsThatGiveRightsAreNamed(t *testing.T) {
	g := NewWithT(t)
	named := 0
	for _, role := range roles(t) {
		for _, rule := range role.rules {
			for _, verb := range []string{"bind", "escalate", "impersonate"} {
				if !slices.Contains(rule.Verbs, verb) {
					continue
				}
				g.Expect(rule.Verbs).To(Equal([]string{"bind"}), "%s: %v", role.name, rule)
				g.Expect(rule.ResourceNames).To(Equal([]string{"vk-connector-virtual-kubelet"}), "%s: %v", role.name, rule)
				named++
			}
			// What is written here would give rights as well.
			if slices.ContainsFunc(rule.Resources, func(r string) bool { return r == "roles" || r == "clusterroles" }) {
				g.Expect(rule.Verbs).To(Equal([]string{"bind"}), "%s: %v", role.name, rule)
			}
			g.Expect(rule.Resources).NotTo(ContainElements(BeElementOf("serviceaccounts/token", "nodes/proxy", "pods/exec", "certificatesigningrequests")))
		}
	}
	g.Expect(named).To(Equal(2), "the ClusterRole and the Role of virtual kubelets")
}

func TestSecretsAreReadInOneNamespace(t *testing.T) {
	g := NewWithT(t)
	for _, role := range roles(t) {
		for _, rule := range role.rules {
			if !slices.Contains(rule.Resources, "secrets") {
				continue
			}
			switch role.name {
			case operator:
				g.Expect(role.namespace).To(Equal(namespace))
			case "vk-connector-virtual-kubelet":
				// Pods refer to Secrets of all namespaces, and the process watches them all.
				g.Expect(rule.Verbs).To(ConsistOf("list", "watch"))
			default:
				t.Errorf("%s may read Secrets", role.name)
			}
		}
	}
}

func TestRightsOfUsers(t *testing.T) {
	g := NewWithT(t)
	seen := map[string]bool{}
	for _, role := range roles(t) {
		aggregated := slices.ContainsFunc(slices.Collect(maps.Keys(role.labels)), func(key string) bool {
			return strings.HasPrefix(key, "rbac.authorization.k8s.io/aggregate-to-")
		})
		g.Expect(aggregated).To(Equal(role.name == "vkc-viewer"), role.name)
		if !strings.HasPrefix(role.name, "vkc-") {
			continue
		}
		seen[role.name] = true
		for _, rule := range role.rules {
			g.Expect(rule.APIGroups).To(Equal([]string{"connector.virtual-kubelet.io"}), role.name)
			g.Expect(rule.Resources).To(Equal([]string{"virtualkubeletconnectors"}), "the status is the operator's")
		}
		if role.name == "vkc-viewer" {
			g.Expect(role.labels).To(HaveKeyWithValue("rbac.authorization.k8s.io/aggregate-to-view", "true"))
			for _, rule := range role.rules {
				g.Expect(rule.Verbs).To(ConsistOf("get", "list", "watch"))
			}
		}
	}
	g.Expect(seen).To(And(HaveKey("vkc-viewer"), HaveKey("vkc-editor")))
}
