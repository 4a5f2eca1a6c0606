// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const versionLabel = "app.kubernetes.io/version"

// complete adds to the ClusterServiceVersion what the other manifests say.
func (m *manifests) complete(examples []object, icon []byte) error {
	unbound, err := m.rights.unbound()
	if err != nil {
		return err
	}
	for i := range unbound {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&unbound[i])
		if err != nil {
			return err
		}
		unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
		m.others = append(m.others, &unstructured.Unstructured{Object: content})
	}
	image, err := m.setInstall()
	if err != nil {
		return err
	}
	version := strings.TrimPrefix(m.deployment.GetLabels()[versionLabel], "v")
	if version == "" {
		return fmt.Errorf("the Deployment has no label %s", versionLabel)
	}
	m.version.SetName(m.deployment.GetName() + ".v" + version)
	annotations := m.version.GetAnnotations()
	annotations["containerImage"] = image
	if annotations["alm-examples"], err = almExamples(examples); err != nil {
		return err
	}
	m.version.SetAnnotations(annotations)
	related, _, err := unstructured.NestedSlice(m.version.Object, "spec", "relatedImages")
	if err != nil {
		return err
	}
	related = append([]any{object{"name": m.deployment.GetName(), "image": image}}, related...)
	return errors.Join(
		m.set(version, "version"),
		m.set(related, "relatedImages"),
		m.set([]any{object{"base64data": base64.StdEncoding.EncodeToString(icon), "mediatype": "image/svg+xml"}}, "icon"),
		m.describe(),
	)
}

func (m *manifests) set(value any, path ...string) error {
	return unstructured.SetNestedField(m.version.Object, value, append([]string{"spec"}, path...)...)
}

// setInstall puts the Deployment and its rights where OLM takes them from, and returns the operator's image.
func (m *manifests) setInstall() (image string, err error) {
	spec, err := asObject(m.deployment.Object["spec"])
	if err != nil {
		return "", err
	}
	containers, _, err := unstructured.NestedSlice(spec, "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		return "", errors.Join(errors.New("the Deployment must have one container"), err)
	}
	container, err := asObject(containers[0])
	if err != nil {
		return "", err
	}
	args, _, err := unstructured.NestedStringSlice(container, "args")
	if err != nil {
		return "", err
	}
	if err := unstructured.SetNestedStringSlice(container, append(args, leaseFlag), "args"); err != nil {
		return "", err
	}
	if err := unstructured.SetNestedSlice(spec, containers, "template", "spec", "containers"); err != nil {
		return "", err
	}
	account, _, err := unstructured.NestedString(spec, "template", "spec", "serviceAccountName")
	if err != nil {
		return "", err
	}
	own, cluster, err := m.rights.of(m.deployment.GetNamespace(), account)
	if err != nil {
		return "", err
	}
	permissions, err := permissionsOf(account, own)
	if err != nil {
		return "", err
	}
	clusterPermissions, err := permissionsOf(account, cluster)
	if err != nil {
		return "", err
	}
	labels := object{}
	for key, value := range m.deployment.GetLabels() {
		labels[key] = value
	}
	image, _, err = unstructured.NestedString(container, "image")
	return image, errors.Join(err, m.set(object{
		"strategy": "deployment",
		"spec": object{
			"deployments":        []any{object{"name": m.deployment.GetName(), "label": labels, "spec": spec}},
			"permissions":        permissions,
			"clusterPermissions": clusterPermissions,
		},
	}, "install"))
}

func permissionsOf(account string, rules []rbacv1.PolicyRule) ([]any, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&rbacv1.ClusterRole{Rules: rules})
	if err != nil {
		return nil, err
	}
	return []any{object{"serviceAccountName": account, "rules": content["rules"]}}, nil
}

// almExamples are in the order of their files, as a console shows them.
func almExamples(examples []object) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(examples)
	return strings.TrimSpace(out.String()), err
}

// describe gives the definition and each descriptor the description that the schema has.
func (m *manifests) describe() error {
	owned, _, err := unstructured.NestedSlice(m.version.Object, "spec", "customresourcedefinitions", "owned")
	if err != nil {
		return err
	}
	if len(owned) != 1 {
		return errors.New("it must own one definition")
	}
	definition, err := asObject(owned[0])
	if err != nil {
		return err
	}
	version := m.crd.Spec.Versions[0]
	if definition["name"] != m.crd.Name || definition["version"] != version.Name {
		return fmt.Errorf("it must own %s/%s", m.crd.Name, version.Name)
	}
	schema := *version.Schema.OpenAPIV3Schema
	definition["description"] = oneLine(schema.Description)
	for field, list := range map[string]string{"spec": "specDescriptors", "status": "statusDescriptors"} {
		if err := describe(definition, list, schema.Properties[field]); err != nil {
			return fmt.Errorf("%s: %w", list, err)
		}
	}
	return m.set(owned, "customresourcedefinitions", "owned")
}

func describe(definition object, list string, schema apiextensionsv1.JSONSchemaProps) error {
	descriptors, _, err := unstructured.NestedSlice(definition, list)
	if err != nil {
		return err
	}
	for _, item := range descriptors {
		descriptor, err := asObject(item)
		if err != nil {
			return err
		}
		path, _, err := unstructured.NestedString(descriptor, "path")
		if err != nil {
			return err
		}
		described, err := find(schema, path)
		if err != nil {
			return err
		}
		descriptor["description"] = oneLine(described.Description)
	}
	return unstructured.SetNestedSlice(definition, descriptors, list)
}

func asObject(value any) (object, error) {
	if o, ok := value.(object); ok {
		return o, nil
	}
	return nil, fmt.Errorf("%T is no object", value)
}

func find(schema apiextensionsv1.JSONSchemaProps, path string) (apiextensionsv1.JSONSchemaProps, error) {
	for name := range strings.SplitSeq(path, ".") {
		property, ok := schema.Properties[name]
		if !ok {
			return schema, fmt.Errorf("the schema has no %s", path)
		}
		schema = property
	}
	return schema, nil
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
