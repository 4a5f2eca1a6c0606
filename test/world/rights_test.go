// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"encoding/json"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
)

func TestRights(t *testing.T) {
	g := NewWithT(t)
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods", "secrets"}, Verbs: []string{"get", "list"}},
		{APIGroups: []string{"rbac"}, Resources: []string{"roles"}, ResourceNames: []string{"role"}, Verbs: []string{"bind"}},
		{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}},
	}
	var said []string
	for _, right := range Rights("here", rules) {
		said = append(said, right.String())
	}
	g.Expect(said).To(Equal([]string{
		"get pods in here", "list pods in here", "get secrets in here", "list secrets in here", "bind roles.rbac role in here",
	}))
}

func TestNeeds(t *testing.T) {
	for what, test := range map[string]struct {
		request string
		needs   []Right
	}{
		"of no resource": {request: `{"verb":"get","requestURI":"/version"}`},
		"get": {
			request: `{"verb":"get","objectRef":{"resource":"secrets","namespace":"a","name":"b"},"responseStatus":{"code":200}}`,
			needs:   []Right{{Namespace: "a", Resource: "secrets", Name: "b", Verb: "get"}},
		},
		"of a subresource": {
			request: `{"verb":"create","objectRef":{"resource":"pods","subresource":"eviction","namespace":"a","name":"b"},"responseStatus":{"code":201}}`,
			needs:   []Right{{Namespace: "a", Resource: "pods/eviction", Name: "b", Verb: "create"}},
		},
		"apply of what is there": {
			request: `{"verb":"patch","objectRef":{"apiGroup":"apps","resource":"deployments","namespace":"a","name":"b"},"responseStatus":{"code":200}}`,
			needs:   []Right{{Namespace: "a", Group: "apps", Resource: "deployments", Name: "b", Verb: "patch"}},
		},
		"apply of a new binding": {
			request: `{"verb":"patch","objectRef":{"apiGroup":"rbac","resource":"clusterrolebindings","name":"b"},"responseStatus":{"code":201}}`,
			needs: []Right{
				{Group: "rbac", Resource: "clusterrolebindings", Name: "b", Verb: "patch"},
				{Group: "rbac", Resource: "clusterrolebindings", Name: "b", Verb: "create"},
				{Group: "rbac", Resource: "clusterroles", Name: anyName, Verb: "bind"},
			},
		},
	} {
		t.Run(what, func(t *testing.T) {
			g := NewWithT(t)
			var request Request
			g.Expect(json.Unmarshal([]byte(test.request), &request)).To(Succeed())
			g.Expect(request.Needs()).To(Equal(test.needs))
		})
	}
}

func TestCovers(t *testing.T) {
	need := Right{Namespace: "a", Group: "g", Resource: "r", Name: "n", Verb: "get"}
	for what, test := range map[string]struct {
		right Right
		want  bool
	}{
		"the same":          {right: need, want: true},
		"all names":         {right: Right{Namespace: "a", Group: "g", Resource: "r", Verb: "get"}, want: true},
		"all namespaces":    {right: Right{Group: "g", Resource: "r", Verb: "get"}, want: true},
		"another name":      {right: Right{Namespace: "a", Group: "g", Resource: "r", Name: "m", Verb: "get"}},
		"another namespace": {right: Right{Namespace: "b", Group: "g", Resource: "r", Verb: "get"}},
		"another group":     {right: Right{Namespace: "a", Resource: "r", Verb: "get"}},
		"a subresource":     {right: Right{Namespace: "a", Group: "g", Resource: "r/status", Verb: "get"}},
		"another verb":      {right: Right{Namespace: "a", Group: "g", Resource: "r", Verb: "list"}},
	} {
		NewWithT(t).Expect(test.right.Covers(need)).To(Equal(test.want), what)
	}
	NewWithT(t).Expect(Right{Resource: "roles", Name: "role", Verb: "bind"}.Covers(Right{Resource: "roles", Name: anyName, Verb: "bind"})).To(BeTrue())
}
