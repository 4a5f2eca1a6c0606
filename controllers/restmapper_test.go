// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// counting is what a restMapper asks.
type counting struct {
	meta.RESTMapper
	asked  int
	served bool
}

func (c *counting) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	c.asked++
	if !c.served {
		return nil, &meta.NoKindMatchError{GroupKind: kind, SearchedVersions: versions}
	}
	return &meta.RESTMapping{GroupVersionKind: kind.WithVersion("v1"), Scope: meta.RESTScopeNamespace}, nil
}

func TestRESTMapperRemembersWhatIsServed(t *testing.T) {
	g := NewWithT(t)
	asked := &counting{}
	m := &restMapper{RESTMapper: asked, known: map[schema.GroupVersionKind]*meta.RESTMapping{}}
	kind := appsv1.SchemeGroupVersion.WithKind("Deployment").GroupKind()
	for range 2 {
		_, err := m.RESTMapping(kind, "v1")
		g.Expect(meta.IsNoMatchError(err)).To(BeTrue())
	}
	g.Expect(asked.asked).To(Equal(2), "what is not served may be later")

	asked.served = true
	for range 3 {
		g.Expect(m.RESTMapping(kind, "v1")).To(HaveField("Scope", meta.RESTScopeNamespace))
	}
	g.Expect(asked.asked).To(Equal(3))
	g.Expect(m.RESTMapping(kind)).NotTo(BeNil())
	g.Expect(asked.asked).To(Equal(4), "the version is chosen by what is served")
}
