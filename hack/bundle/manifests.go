// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/yaml"
)

const connectorKind = "VirtualKubeletConnector"

// notInstalled are the kinds that OLM can't install or that are not its to install, and why.
var notInstalled = map[string]string{
	"Namespace":                        "it is there before the operator",
	"ServiceAccount":                   "OLM makes it, of the rights in the ClusterServiceVersion",
	"ValidatingAdmissionPolicy":        "OLM refuses a bundle that has one",
	"ValidatingAdmissionPolicyBinding": "OLM refuses a bundle that has one",
}

// manifests are what is in a bundle, and what becomes a part of its ClusterServiceVersion.
type manifests struct {
	version    *unstructured.Unstructured
	deployment *unstructured.Unstructured
	crd        apiextensionsv1.CustomResourceDefinition
	rights     rights
	others     []*unstructured.Unstructured
}

func sortOut(resources []*resource.Resource) (*manifests, error) {
	m := &manifests{}
	for _, r := range resources {
		content, err := r.MarshalJSON()
		if err != nil {
			return nil, err
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(content); err != nil {
			return nil, err
		}
		if err := m.add(u); err != nil {
			return nil, fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	if m.version == nil || m.deployment == nil || m.crd.Name == "" {
		return nil, errors.New("there must be a ClusterServiceVersion, a Deployment and a CustomResourceDefinition")
	}
	return m, nil
}

func (m *manifests) add(u *unstructured.Unstructured) error {
	if _, ok := notInstalled[u.GetKind()]; ok {
		return nil
	}
	switch u.GetKind() {
	case "ClusterServiceVersion":
		m.version = u
	case "Deployment":
		if m.deployment != nil {
			return errors.New("there is one already, and the bundle is of one operator")
		}
		m.deployment = u
	case "CustomResourceDefinition":
		m.others = append(m.others, u)
		return into(u, &m.crd)
	case "Service":
		m.others = append(m.others, u)
	case "ClusterRole", "Role":
		var role rbacv1.ClusterRole
		if err := into(u, &role); err != nil {
			return err
		}
		m.rights.roles = append(m.rights.roles, role)
	case "ClusterRoleBinding", "RoleBinding":
		var binding rbacv1.RoleBinding
		if err := into(u, &binding); err != nil {
			return err
		}
		m.rights.bindings = append(m.rights.bindings, binding)
	default:
		return errors.New("hack/bundle does not know whether OLM can install it")
	}
	return nil
}

// into reads an object into a type, and what the type does not know is an error.
func into(u *unstructured.Unstructured, target any) error {
	content, err := yaml.Marshal(u.Object)
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(content, target)
}

// files are the manifests by their names in the bundle. OLM puts what has a namespace into the operator's.
func (m *manifests) files() map[string]object {
	files := map[string]object{m.deployment.GetName() + ".clusterserviceversion.yaml": m.version.Object}
	for _, u := range m.others {
		u.SetNamespace("")
		files[fileName(u)] = u.Object
	}
	return files
}

func fileName(u *unstructured.Unstructured) string {
	gvk := u.GroupVersionKind()
	if gvk.Kind == "CustomResourceDefinition" {
		name := schema.ParseGroupResource(u.GetName())
		return name.Group + "_" + name.Resource + ".yaml"
	}
	parts := []string{u.GetName(), gvk.Group, gvk.Version, strings.ToLower(gvk.Kind)}
	if gvk.Group == "" {
		parts = append(parts[:1], parts[2:]...)
	}
	return strings.Join(parts, "_") + ".yaml"
}
