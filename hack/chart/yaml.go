// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"sigs.k8s.io/yaml"
)

func child(o object, key string) (object, error) {
	found, ok := o[key].(object)
	if !ok {
		return nil, fmt.Errorf("%s is missing, or no object", key)
	}
	return found, nil
}

// list returns the items of a list of objects that is not empty.
func list(o object, key string) ([]object, error) {
	items, ok := o[key].([]any)
	if !ok || len(items) == 0 {
		return nil, fmt.Errorf("%s is missing, empty, or no list", key)
	}
	found := make([]object, 0, len(items))
	for _, item := range items {
		entry, ok := item.(object)
		if !ok {
			return nil, fmt.Errorf("%s has an item that is no object", key)
		}
		found = append(found, entry)
	}
	return found, nil
}

func marshal(value any) (string, error) {
	content, err := yaml.Marshal(value)
	return string(content), err
}
