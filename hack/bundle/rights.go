// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Virtual kubelets renew their Leases by a Role in kube-node-lease. OLM makes Roles in the operator's namespace only, so
// the bundle has a ClusterRole in its place, which the operator is told of and binds in kube-node-lease alone.
const (
	leaseRole        = "vk-connector-virtual-kubelet"
	leaseClusterRole = "vk-connector-virtual-kubelet-lease"
	leaseFlag        = "--lease-cluster-role=" + leaseClusterRole
)

// broughtRoles are Roles that Kubernetes brings, by namespace and name.
var broughtRoles = map[string][]rbacv1.PolicyRule{
	"kube-system/extension-apiserver-authentication-reader": {{
		APIGroups: []string{""}, Resources: []string{"configmaps"},
		ResourceNames: []string{"extension-apiserver-authentication"}, Verbs: []string{"get", "list", "watch"},
	}},
}

// rights are the roles and their bindings, of one namespace or, where that is empty, of the cluster.
type rights struct {
	roles    []rbacv1.ClusterRole
	bindings []rbacv1.RoleBinding
}

// of returns what a ServiceAccount may do in its own namespace and in all. OLM grants no rights in another namespace
// alone: they are of the whole cluster, and as narrow as the names in them.
func (r rights) of(namespace, account string) (own, cluster []rbacv1.PolicyRule, err error) {
	for _, binding := range r.bindings {
		if !slices.Contains(binding.Subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}) {
			return nil, nil, fmt.Errorf("%s %s is of somebody else than the operator", binding.Kind, binding.Name)
		}
		rules, err := r.rules(binding)
		if err != nil {
			return nil, nil, err
		}
		if binding.Namespace == namespace {
			own = append(own, rules...)
			continue
		}
		for _, rule := range rules {
			cluster = append(cluster, withLeaseClusterRole(rule))
		}
	}
	return own, cluster, nil
}

func (r rights) rules(binding rbacv1.RoleBinding) ([]rbacv1.PolicyRule, error) {
	if rules, ok := broughtRoles[binding.Namespace+"/"+binding.RoleRef.Name]; ok {
		return rules, nil
	}
	for _, role := range r.roles {
		if isOf(binding, role) {
			return role.Rules, nil
		}
	}
	return nil, fmt.Errorf("%s %s is of %s %s, which is not there", binding.Kind, binding.Name, binding.RoleRef.Kind, binding.RoleRef.Name)
}

func isOf(binding rbacv1.RoleBinding, role rbacv1.ClusterRole) bool {
	return role.Kind == binding.RoleRef.Kind && role.Name == binding.RoleRef.Name && role.Namespace == binding.Namespace
}

// withLeaseClusterRole lets bind the ClusterRole in place of the Role.
func withLeaseClusterRole(rule rbacv1.PolicyRule) rbacv1.PolicyRule {
	if slices.Contains(rule.Resources, "roles") && slices.Contains(rule.ResourceNames, leaseRole) {
		rule.Resources, rule.ResourceNames = []string{"clusterroles"}, []string{leaseClusterRole}
	}
	return rule
}

// unbound are the roles for others than the operator, as ClusterRoles.
func (r rights) unbound() ([]rbacv1.ClusterRole, error) {
	var unbound []rbacv1.ClusterRole
	for _, role := range r.roles {
		switch {
		case slices.ContainsFunc(r.bindings, func(binding rbacv1.RoleBinding) bool { return isOf(binding, role) }):
			continue
		case role.Kind == "Role" && role.Namespace == corev1.NamespaceNodeLease && role.Name == leaseRole:
			role.Name = leaseClusterRole
		case role.Kind == "Role":
			return nil, fmt.Errorf("the Role %s/%s is bound to nobody, and OLM can't install it there", role.Namespace, role.Name)
		}
		unbound = append(unbound, rbacv1.ClusterRole{
			TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
			ObjectMeta: metav1.ObjectMeta{Name: role.Name, Labels: role.Labels},
			Rules:      role.Rules,
		})
	}
	return unbound, nil
}
