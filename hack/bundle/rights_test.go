// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func role(kind, namespace, name, resource string) rbacv1.ClusterRole {
	return rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Rules:      []rbacv1.PolicyRule{rule(resource)},
	}
}

func rule(resource string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Resources: []string{resource}, ResourceNames: names}
}

func binding(kind, namespace, name, account string) rbacv1.RoleBinding {
	return rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{Kind: kind + "Binding"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		RoleRef:    rbacv1.RoleRef{Kind: kind, Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "own", Name: account}},
	}
}

func TestRights(t *testing.T) {
	g := NewWithT(t)
	binder := role("Role", "kube-node-lease", "operator", "")
	binder.Rules = []rbacv1.PolicyRule{rule("roles", leaseRole)}
	r := rights{
		roles: []rbacv1.ClusterRole{
			role("ClusterRole", "", "operator", "nodes"), role("Role", "own", "operator", "secrets"), binder,
			role("Role", "kube-node-lease", leaseRole, "leases"), role("ClusterRole", "", "viewer", "connectors"),
		},
		bindings: []rbacv1.RoleBinding{
			binding("ClusterRole", "", "operator", "operator"), binding("Role", "own", "operator", "operator"),
			binding("Role", "kube-node-lease", "operator", "operator"),
			binding("Role", "kube-system", "extension-apiserver-authentication-reader", "operator"),
		},
	}
	own, cluster, err := r.of("own", "operator")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(own).To(ConsistOf(rule("secrets")))
	g.Expect(cluster).To(ConsistOf(rule("nodes"), rule("clusterroles", leaseClusterRole),
		HaveField("ResourceNames", ConsistOf("extension-apiserver-authentication"))))
	unbound, err := r.unbound()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(unbound).To(HaveExactElements(
		And(HaveField("Name", leaseClusterRole), HaveField("Namespace", ""), HaveField("Kind", "ClusterRole"), HaveField("Rules", ConsistOf(rule("leases")))),
		HaveField("Name", "viewer")))
}

func TestRightsThatOLMCanNotGrant(t *testing.T) {
	g := NewWithT(t)
	_, _, err := rights{bindings: []rbacv1.RoleBinding{binding("Role", "own", "operator", "other")}}.of("own", "operator")
	g.Expect(err).To(MatchError(ContainSubstring("of somebody else")))
	_, _, err = rights{bindings: []rbacv1.RoleBinding{binding("Role", "own", "operator", "operator")}}.of("own", "operator")
	g.Expect(err).To(MatchError(ContainSubstring("not there")))
	_, err = rights{roles: []rbacv1.ClusterRole{role("Role", "elsewhere", "stray", "pods")}}.unbound()
	g.Expect(err).To(MatchError(ContainSubstring("Role elsewhere/stray is bound to nobody")))
}
