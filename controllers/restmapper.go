// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"net/http"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// NewMapper makes the manager's REST mapper. It remembers what it was asked: a cache of one namespace asks for the scope of
// the kind at each read, and to find that in what the API server serves costs more than the read.
func NewMapper(config *rest.Config, httpClient *http.Client) (meta.RESTMapper, error) {
	dynamic, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make a REST mapper: %w", err)
	}
	return &restMapper{RESTMapper: dynamic, known: map[schema.GroupVersionKind]*meta.RESTMapping{}}, nil
}

type restMapper struct {
	meta.RESTMapper
	mu    sync.RWMutex
	known map[schema.GroupVersionKind]*meta.RESTMapping
}

// RESTMapping implements meta.RESTMapper. What is not served is asked for anew.
func (m *restMapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	if len(versions) != 1 {
		return m.RESTMapper.RESTMapping(kind, versions...)
	}
	m.mu.RLock()
	mapping, ok := m.known[kind.WithVersion(versions[0])]
	m.mu.RUnlock()
	if ok {
		return mapping, nil
	}
	mapping, err := m.RESTMapper.RESTMapping(kind, versions...)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[kind.WithVersion(versions[0])] = mapping
	return mapping, nil
}
