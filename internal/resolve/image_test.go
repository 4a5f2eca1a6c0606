// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

func TestImages(t *testing.T) {
	longTag := strings.Repeat("a", 62) + "._" + strings.Repeat("b", 64)
	for name, test := range map[string]struct {
		image              v1alpha1.Image
		reference, version string
	}{
		"none":                   {v1alpha1.Image{}, "registry.example/virtual-kubelet:1.6.4", "1.6.4"},
		"repository":             {v1alpha1.Image{Repository: "mirror.example:5000/vk"}, "mirror.example:5000/vk:1.6.4", "1.6.4"},
		"tag":                    {v1alpha1.Image{Tag: "1.6.5"}, "registry.example/virtual-kubelet:1.6.5", "1.6.5"},
		"repository and tag":     {v1alpha1.Image{Repository: "mirror.example/vk", Tag: "1.6.5"}, "mirror.example/vk:1.6.5", "1.6.5"},
		"digest":                 {v1alpha1.Image{Digest: digest}, "registry.example/virtual-kubelet@" + digest, "0123456789ab"},
		"tag and digest":         {v1alpha1.Image{Tag: "1.6.5", Digest: digest}, "registry.example/virtual-kubelet:1.6.5@" + digest, "1.6.5"},
		"repository and digest":  {v1alpha1.Image{Repository: "mirror.example/vk", Digest: digest}, "mirror.example/vk@" + digest, "0123456789ab"},
		"all":                    {v1alpha1.Image{Repository: "mirror.example/vk", Tag: "1.6.5", Digest: digest}, "mirror.example/vk:1.6.5@" + digest, "1.6.5"},
		"tag, no label as it is": {v1alpha1.Image{Tag: "_1.6.5-"}, "registry.example/virtual-kubelet:_1.6.5-", "1.6.5"},
		"tag, too long a label":  {v1alpha1.Image{Tag: longTag}, "registry.example/virtual-kubelet:" + longTag, longTag[:62]},
		"tag, nothing in it":     {v1alpha1.Image{Tag: "___"}, "registry.example/virtual-kubelet:___", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.VirtualKubelet.Image = test.image }), facts, defaults)
			g.Expect(resolved.Missing).To(BeNil())
			g.Expect(resolved.Nodes[0].Image).To(Equal(resolve.Image{Reference: test.reference, Version: test.version}))
		})
	}
}

func TestTheReleasesImage(t *testing.T) {
	pinned := v1alpha1.Image{Repository: "registry.example/virtual-kubelet", Digest: digest}
	both := pinned
	both.Tag = "1.6.4"
	for name, test := range map[string]struct {
		release, given     v1alpha1.Image
		reference, version string
	}{
		"a digest":                 {pinned, v1alpha1.Image{}, "registry.example/virtual-kubelet@" + digest, "0123456789ab"},
		"tag and digest":           {both, v1alpha1.Image{}, "registry.example/virtual-kubelet:1.6.4@" + digest, "1.6.4"},
		"its own repository":       {both, v1alpha1.Image{Repository: both.Repository}, "registry.example/virtual-kubelet:1.6.4@" + digest, "1.6.4"},
		"another repository":       {both, v1alpha1.Image{Repository: "mirror.example/vk"}, "mirror.example/vk:1.6.4", "1.6.4"},
		"another tag":              {both, v1alpha1.Image{Tag: "1.6.5"}, "registry.example/virtual-kubelet:1.6.5", "1.6.5"},
		"a digest and another tag": {pinned, v1alpha1.Image{Tag: "1.6.5"}, "registry.example/virtual-kubelet:1.6.5", "1.6.5"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			released := defaults
			released.Image = test.release
			resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.VirtualKubelet.Image = test.given }), facts, released)
			g.Expect(resolved.Missing).To(BeNil())
			g.Expect(resolved.Nodes[0].Image).To(Equal(resolve.Image{Reference: test.reference, Version: test.version}))
		})
	}
}

// A repository alone would be taken for its tag latest.
func TestAnImageWithoutTagAndDigest(t *testing.T) {
	g := NewWithT(t)
	released := defaults
	released.Image = v1alpha1.Image{Repository: "registry.example/virtual-kubelet", Digest: digest}
	resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) {
		c.Spec.VirtualKubelet.Image.Repository = "mirror.example/vk"
	}), facts, released)
	g.Expect(resolved.Missing).To(Equal(&discover.Missing{Reason: v1alpha1.ReasonDefaultNotFound, Message: "the operator's own image has a digest " +
		"and no tag that could be one of mirror.example/vk: set spec.virtualKubelet.image.tag or digest"}))
	g.Expect(resolved.Nodes).To(HaveLen(1), "what runs is not removed")
}

func TestAllowedRepositories(t *testing.T) {
	for name, test := range map[string]struct {
		allowed    []string
		repository string
		want       bool
	}{
		"the very one":             {[]string{"a.example/vk"}, "a.example/vk", true},
		"one of several":           {[]string{"b.example/vk", "a.example/vk"}, "a.example/vk", true},
		"another":                  {[]string{"a.example/vk"}, "a.example/vk2", false},
		"below it":                 {[]string{"a.example/vk"}, "a.example/vk/fork", false},
		"all of a registry":        {[]string{"a.example/*"}, "a.example/vk/fork", true},
		"another registry":         {[]string{"a.example/*"}, "a.example.evil/vk", false},
		"the registry by itself":   {[]string{"a.example/*"}, "a.example", false},
		"all below a folder":       {[]string{"a.example/vk/*"}, "a.example/vk/fork", true},
		"the folder by itself":     {[]string{"a.example/vk/*"}, "a.example/vk", false},
		"a star that is no folder": {[]string{"a.example/vk*"}, "a.example/vk2", false},
		"a star alone":             {[]string{"*"}, "a.example/vk", false},
		"nothing":                  {nil, "a.example/vk", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			limited := defaults
			limited.AllowedRepositories = test.allowed
			resolved := resolve.Resolve(connector(func(c *v1alpha1.VirtualKubeletConnector) {
				c.Spec.VirtualKubelet.Image.Repository = test.repository
			}), facts, limited)
			g.Expect(resolved.Missing == nil).To(Equal(test.want))
			g.Expect(resolved.Nodes).To(HaveLen(1), "what runs is not removed")
			if !test.want {
				g.Expect(resolved.Missing).To(Equal(&discover.Missing{Reason: v1alpha1.ReasonImageNotAllowed, Message: "image repository " + test.repository +
					" of spec.virtualKubelet.image is not allowed: use one of " + strings.Join(test.allowed, ", ") +
					", or add it to the operator's flag --allowed-image-repositories"}))
			}
		})
	}
}
