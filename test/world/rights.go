// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"net/http"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Right is to do one thing with a resource: in all namespaces where it names none, with all objects where it names none.
type Right struct {
	Namespace string `json:"namespace,omitempty"`
	Group     string `json:"group,omitempty"`
	Resource  string `json:"resource"`
	Name      string `json:"name,omitempty"`
	Verb      string `json:"verb"`
}

// String is how a person says it.
func (r Right) String() string {
	text := r.Verb + " " + r.Resource
	if r.Group != "" {
		text += "." + r.Group
	}
	if r.Name != "" {
		text += " " + r.Name
	}
	if r.Namespace != "" {
		text += " in " + r.Namespace
	}
	return text
}

// Rights are those that rules give in a namespace; in all where it is empty. Rules about paths give none.
func Rights(namespace string, rules []rbacv1.PolicyRule) []Right {
	var rights []Right
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, name := range names {
					for _, verb := range rule.Verbs {
						rights = append(rights, Right{namespace, group, resource, name, verb})
					}
				}
			}
		}
	}
	return rights
}

// anyName is that of an object that the log does not tell.
const anyName = "*"

// Needs are the rights without which a request would have been refused; none where it is about no resource.
func (r Request) Needs() []Right {
	ref := r.ObjectRef
	if ref.Resource == "" {
		return nil
	}
	resource := ref.Resource
	if ref.Subresource != "" {
		resource += "/" + ref.Subresource
	}
	needs := []Right{{ref.Namespace, ref.APIGroup, resource, ref.Name, r.Verb}}
	made := r.ResponseStatus.Code == http.StatusCreated
	// Server-side apply makes what is not there.
	if made && r.Verb == "patch" {
		needs = append(needs, Right{ref.Namespace, ref.APIGroup, resource, ref.Name, "create"})
	}
	// Who makes a binding has to have the rights of the role, or that to bind it.
	if bound := map[string]string{"clusterrolebindings": "clusterroles", "rolebindings": "roles"}[ref.Resource]; made && bound != "" {
		needs = append(needs, Right{ref.Namespace, ref.APIGroup, bound, anyName, "bind"})
	}
	return needs
}

// Covers reports whether the right is enough for what a request needs.
func (r Right) Covers(need Right) bool {
	return r.Group == need.Group && r.Resource == need.Resource && r.Verb == need.Verb &&
		(r.Namespace == "" || r.Namespace == need.Namespace) &&
		(r.Name == "" || r.Name == need.Name || need.Name == anyName)
}
