// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseImage(t *testing.T) {
	for reference, want := range map[string]v1alpha1.Image{
		virtualKubeletImage:                          {Repository: "mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet", Tag: "1.6.4"},
		"mirror.example/vk:1.6.4":                    {Repository: "mirror.example/vk", Tag: "1.6.4"},
		"mirror.example/vk@" + digest:                {Repository: "mirror.example/vk", Digest: digest},
		"mirror.example/vk:1.6.4@" + digest:          {Repository: "mirror.example/vk", Tag: "1.6.4", Digest: digest},
		"mirror.example:5000/vk:1.6.4":               {Repository: "mirror.example:5000/vk", Tag: "1.6.4"},
		"mirror.example:5000/vk@" + digest:           {Repository: "mirror.example:5000/vk", Digest: digest},
		"mirror.example:5000/a/b/vk:1.6.4@" + digest: {Repository: "mirror.example:5000/a/b/vk", Tag: "1.6.4", Digest: digest},
		"localhost/vk:latest":                        {Repository: "localhost/vk", Tag: "latest"},
		"vk:1.6.4":                                   {Repository: "vk", Tag: "1.6.4"},
	} {
		t.Run(reference, func(t *testing.T) {
			g := NewWithT(t)
			got, err := parseImage(reference)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(want))
		})
	}
}

func TestParseImageRefuses(t *testing.T) {
	for name, reference := range map[string]string{
		"nothing":                      "",
		"neither a tag nor a digest":   "mirror.example/vk",
		"a port, which is no tag":      "mirror.example:5000/vk",
		"an empty tag":                 "mirror.example/vk:",
		"half a digest":                "mirror.example/vk@sha256:0123",
		"a digest of another kind":     "mirror.example/vk@md5:0123456789abcdef0123456789abcdef",
		"a tag with a slash":           "mirror.example/vk:1/2",
		"a repository in upper case":   "mirror.example/VK:1.6.4",
		"a scheme":                     "https://mirror.example/vk:1.6.4",
		"a space":                      "mirror.example/vk: 1.6.4",
		"a tag beside half a digest":   "mirror.example/vk:1.6.4@sha256:0123",
		"a tag that is none, pinned":   "mirror.example/vk:1 6@" + digest,
		"an empty tag beside a digest": "mirror.example/vk:@" + digest,
	} {
		t.Run(name, func(t *testing.T) {
			image, err := parseImage(reference)
			NewWithT(t).Expect(err).To(HaveOccurred(), "%v", image)
		})
	}
}

func TestRepositories(t *testing.T) {
	const standard = "mirror.example/vk"
	for list, want := range map[string][]string{
		"":                                {standard},
		" , ":                             {standard},
		"a.example/*":                     {"a.example/*"},
		"a.example/vk,b.example/*":        {"a.example/vk", "b.example/*"},
		" a.example/vk , ,b.example/vk, ": {"a.example/vk", "b.example/vk"},
	} {
		t.Run(list, func(t *testing.T) {
			NewWithT(t).Expect(repositories(list, standard)).To(Equal(want))
		})
	}
}

func TestProxy(t *testing.T) {
	for name, test := range map[string]struct {
		environment map[string]string
		want        []corev1.EnvVar
	}{
		"none":  {map[string]string{"PATH": "/bin"}, nil},
		"empty": {map[string]string{"HTTPS_PROXY": "", "no_proxy": ""}, nil},
		"one":   {map[string]string{"HTTPS_PROXY": "http://proxy"}, []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy"}}},
		"all, in an order that stays": {
			map[string]string{"no_proxy": "f", "NO_PROXY": "e", "https_proxy": "d", "HTTPS_PROXY": "c", "http_proxy": "b", "HTTP_PROXY": "a"},
			[]corev1.EnvVar{
				{Name: "HTTP_PROXY", Value: "a"}, {Name: "http_proxy", Value: "b"}, {Name: "HTTPS_PROXY", Value: "c"},
				{Name: "https_proxy", Value: "d"}, {Name: "NO_PROXY", Value: "e"}, {Name: "no_proxy", Value: "f"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			lookup := func(name string) (string, bool) { value, ok := test.environment[name]; return value, ok }
			NewWithT(t).Expect(proxy(lookup)).To(Equal(test.want))
		})
	}
}

func TestCheckLog(t *testing.T) {
	for level, accepted := range map[string]bool{"": true, "info": true, "debug": true, "7": true, "8": false, "10": false} {
		var options zap.Options
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		options.BindFlags(flags)
		if level != "" {
			NewWithT(t).Expect(flags.Parse([]string{"--zap-log-level=" + level})).To(Succeed())
		}
		err := checkLog(options)
		NewWithT(t).Expect(err == nil).To(Equal(accepted), "level %q: %v", level, err)
	}
}
