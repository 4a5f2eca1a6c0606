// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What the entries of an object's managed fields are that Slim leaves, beside those without fields.
const (
	digestType = "vk-connector-operator-digest"
	straysType = "vk-connector-operator-strays"
)

// Slim replaces what is told of who manages the fields of an object in a cache, which is as long as the object, by what
// is asked of it: a digest of what the operator owns, whether others have put something beside that, and when the
// operator has applied what. The rest of the object may be left out then.
func Slim(object client.Object) error {
	var slim []metav1.ManagedFieldsEntry
	for _, m := range object.GetManagedFields() {
		if !strings.HasPrefix(m.Manager, string(FieldOwner)) || m.Operation != metav1.ManagedFieldsOperationApply || m.Subresource != "" {
			continue
		}
		entry := metav1.ManagedFieldsEntry{Manager: m.Manager, Operation: m.Operation, Time: m.Time}
		if m.Manager == string(FieldOwner) {
			digest, strays, err := owned(object)
			if err != nil {
				return err
			}
			entry.FieldsType, entry.FieldsV1 = digestType, metav1.NewFieldsV1(strconv.Quote(digest))
			if strays {
				slim = append(slim, metav1.ManagedFieldsEntry{FieldsType: straysType})
			}
		}
		slim = append(slim, entry)
	}
	object.SetManagedFields(slim)
	return nil
}

// Same reports whether the operator owns the same of two versions of an object, and others as much beside it.
func Same(before, after client.Object) bool {
	was, strayed, err := owned(before)
	is, strays, failed := owned(after)
	return err == nil && failed == nil && was == is && strayed == strays
}

// Owns reports whether what the operator owns of an object is what it wants.
func Owns(object client.Object, desired any) (bool, error) {
	is, _, err := owned(object)
	if err != nil {
		return false, err
	}
	want, err := digest(desired)
	return is == want, err
}

// owned returns a digest of what the operator owns of an object, and whether others have put something into the spec of
// a Deployment beside that.
func owned(object client.Object) (of string, strays bool, err error) {
	managers := object.GetManagedFields()
	is := func(fieldsType string) func(metav1.ManagedFieldsEntry) bool {
		return func(m metav1.ManagedFieldsEntry) bool { return m.FieldsType == fieldsType }
	}
	if i := slices.IndexFunc(managers, is(digestType)); i >= 0 {
		of, err = strconv.Unquote(string(managers[i].FieldsV1.GetRawBytes()))
		return of, slices.ContainsFunc(managers, is(straysType)), err
	}
	extracted, err := extract(object)
	if err != nil {
		return "", false, fmt.Errorf("read the managed fields: %w", err)
	}
	if of, err = digest(extracted); err != nil {
		return "", false, err
	}
	if _, ok := object.(*appsv1.Deployment); ok {
		strays, err = hasStrays(managers)
	}
	return of, strays, err
}

func extract(object client.Object) (any, error) {
	owner := string(FieldOwner)
	switch o := object.(type) {
	case *corev1.Secret:
		return applycorev1.ExtractSecret(o, owner)
	case *corev1.ServiceAccount:
		return applycorev1.ExtractServiceAccount(o, owner)
	case *rbacv1.ClusterRoleBinding:
		return applyrbacv1.ExtractClusterRoleBinding(o, owner)
	case *rbacv1.RoleBinding:
		return applyrbacv1.ExtractRoleBinding(o, owner)
	case *appsv1.Deployment:
		return applyappsv1.ExtractDeployment(o, owner)
	case *corev1.Node:
		return applycorev1.ExtractNode(o, owner)
	}
	return nil, fmt.Errorf("the operator applies no %T", object)
}

// digest is the same for the same configuration: what it is written as is in a fixed order, quantities in their canonical form.
func digest(configuration any) (string, error) {
	content, err := json.Marshal(configuration)
	if err != nil {
		return "", fmt.Errorf("encode what is applied: %w", err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}
