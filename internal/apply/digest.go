// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
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
		if !applies(m) {
			slim = append(slim, metav1.ManagedFieldsEntry{Manager: m.Manager, Operation: m.Operation, Time: m.Time})
			continue
		}
		digest, strays, err := owned(object)
		if err != nil {
			return err
		}
		if strays {
			slim = append(slim, metav1.ManagedFieldsEntry{FieldsType: straysType})
		}
		slim = append(slim, metav1.ManagedFieldsEntry{
			Manager: string(FieldOwner), Operation: metav1.ManagedFieldsOperationApply,
			FieldsType: digestType, FieldsV1: metav1.NewFieldsV1(strconv.Quote(digest)),
		})
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
	want, err := digestOf(desired)
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
		of, err = strconv.Unquote(managers[i].FieldsV1.GetRawString())
		return of, slices.ContainsFunc(managers, is(straysType)), err
	}
	fields := fieldpath.NewSet()
	if i := slices.IndexFunc(managers, applies); i >= 0 {
		if fields, err = fieldsOf(managers[i]); err != nil {
			return "", false, err
		}
	}
	whole, err := value.NewValueReflect(object)
	if err != nil {
		return "", false, fmt.Errorf("read %T: %w", object, err)
	}
	if of, err = digest(part(whole, fields)); err != nil {
		return "", false, err
	}
	if _, ok := object.(*appsv1.Deployment); ok {
		strays, err = hasStrays(managers)
	}
	return of, strays, err
}

// applies reports whether a manager of fields is the operator, by what it applies.
func applies(m metav1.ManagedFieldsEntry) bool {
	return m.Manager == string(FieldOwner) && m.Operation == metav1.ManagedFieldsOperationApply && m.Subresource == ""
}

// part returns the fields of a value that are in a set. It needs no schema, as the set names the keys of a list's items. So
// what is owned as a whole has what others have put into it, such as into an emptyDir: those are strays, which go.
func part(of value.Value, fields *fieldpath.Set) any {
	switch {
	case of.IsMap():
		whole, out := of.AsMap(), map[string]any{}
		for element := range fields.Members.All() {
			if item, ok := field(whole, element); ok {
				out[*element.FieldName] = item.Unstructured()
			}
		}
		for element := range fields.Children.All() {
			if item, ok := field(whole, element); ok {
				out[*element.FieldName] = part(item, fields.WithPrefix(element))
			}
		}
		return out
	case of.IsList():
		whole, out := of.AsList(), []any{}
		for i := range whole.Length() {
			item := whole.At(i)
			if element, ok := find(fields.Children.All(), item); ok {
				out = append(out, part(item, fields.WithPrefix(element)))
			} else if _, ok := find(fields.Members.All(), item); ok {
				out = append(out, item.Unstructured())
			}
		}
		return out
	}
	return of.Unstructured()
}

func field(of value.Map, element fieldpath.PathElement) (value.Value, bool) {
	if element.FieldName == nil {
		return nil, false
	}
	return of.Get(*element.FieldName)
}

// find returns the element of a path that an item of a list has the keys or the value of. It looks at all of them: the
// sequences of structured-merge-diff v6.4 do not end when they are told to.
func find(elements iter.Seq[fieldpath.PathElement], item value.Value) (found fieldpath.PathElement, ok bool) {
	for element := range elements {
		if element.Value != nil && value.Equals(item, *element.Value) || element.Key != nil && item.IsMap() && hasKeys(item.AsMap(), *element.Key) {
			found, ok = element, true
		}
	}
	return found, ok
}

func hasKeys(item value.Map, keys value.FieldList) bool {
	for _, key := range keys {
		if is, ok := item.Get(key.Name); !ok || !value.Equals(is, key.Value) {
			return false
		}
	}
	return true
}

// digestOf is the digest of what is to be applied, but for what says to which object.
func digestOf(desired any) (string, error) {
	whole, err := value.NewValueReflect(desired)
	if err != nil {
		return "", fmt.Errorf("read %T: %w", desired, err)
	}
	content, ok := whole.Unstructured().(map[string]any)
	if !ok {
		return "", fmt.Errorf("%T is no object", desired)
	}
	delete(content, "kind")
	delete(content, "apiVersion")
	if metadata, ok := content["metadata"].(map[string]any); ok {
		for _, key := range []string{"name", "namespace", "uid", "resourceVersion"} {
			delete(metadata, key)
		}
		if len(metadata) == 0 {
			delete(content, "metadata")
		}
	}
	return digest(content)
}

// digest is the same for the same content: what it is written as is in a fixed order, quantities in their canonical form.
func digest(content any) (string, error) {
	encoded, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encode what is applied: %w", err)
	}
	sum := sha256.Sum256(encoded)
	return base64.RawStdEncoding.EncodeToString(sum[:]), nil
}
