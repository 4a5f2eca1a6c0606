// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"
	"strings"
)

const (
	digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

	vk        = "spec.virtualKubelet"
	notARepo  = "must be a repository such as mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet, without scheme, tag and digest"
	notYours  = "keys of kubernetes.io, k8s.io and connector.virtual-kubelet.io are reserved: choose another"
	overCPU   = "requests.cpu must not be above limits.cpu"
	overMem   = "requests.memory must not be above limits.memory"
	noLogin   = "the virtual kubelet does not support workload identity, which would keep it from starting: remove azure.workload.identity/use"
	notNumber = "should match"
)

// quantity tries amounts around 0 and the most, which is given as an integer and as a quantity that is no more.
func quantity(field string, most int, same, more, refusal string) []try {
	return slices.Concat(
		accept(field, 1, "1", "0.5", "100m", "1.5e1", same, most),
		refuse(field, refusal, 0, -1, most+1, "0", "0m", "-1", more),
		refuse(field, notNumber, "lots", "1 Gi", ""),
	)
}

var ourGroups = []string{"kubernetes.io", "k8s.io", "connector.virtual-kubelet.io"}

var virtualKubeletRules = on("minimal",
	text(vk+".image.repository", 1, 255),
	accept(vk+".image.repository", "nginx", "mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet", "localhost:5000/a/b_c__d-e.f", "Example.com/a"),
	refuse(vk+".image.repository", notARepo, "https://example.com/a", "example.com/a:1", "nginx:1", "example.com/a@"+digest, "example.com/A", "a..b/c", "a-.b/c",
		"example.com/", "/a", "a b", "example.com:port/a"),
	text(vk+".image.tag", 1, 128),
	accept(vk+".image.tag", "1.6.4-rc_1", "_a"),
	refuse(vk+".image.tag", "must be an image tag: letters, digits, underscores, periods and hyphens", "-1", ".1", "1 6", "1:6"),
	accept(vk+".image.digest", digest),
	refuse(vk+".image.digest", tooShort(71), digest[:70], ""),
	refuse(vk+".image.digest", tooLong(71), digest+"0"),
	refuse(vk+".image.digest", "must be sha256: and 64 hexadecimal digits in lower case", strings.ToUpper(digest), letters(71)),
	oneOf(vk+".image.pullPolicy", "Always", "IfNotPresent", "Never"),
	accept(vk+".image.pullSecrets", []any{}, names(8)),
	refuse(vk+".image.pullSecrets", tooMany(8), names(9)),
	together(changes{vk + ".image.pullSecrets": []any{named("a"), named("a")}}, vk+".image.pullSecrets[1]", duplicate),
	together(changes{vk + ".image.pullSecrets": []any{map[string]any{}}}, vk+".image.pullSecrets[0].name", missing),
	inItem(objectName(vk+".image.pullSecrets[0].name"), vk+".image.pullSecrets", map[string]any{}),

	oneOf(vk+".logLevel", "trace", "debug", "info", "warning", "error"),

	quantity(vk+".resources.limits.cpu", 1000, "1k", "1001", "must be a quantity above 0 and at most 1000"),
	quantity(vk+".resources.requests.cpu", 1000, "1k", "1001", "must be a quantity above 0 and at most 1000"),
	quantity(vk+".resources.limits.memory", 1<<50, "1Pi", "2Pi", "must be a quantity above 0 and at most 1Pi"),
	quantity(vk+".resources.requests.memory", 1<<50, "1Pi", "2Pi", "must be a quantity above 0 and at most 1Pi"),
	resources("cpu", "1", "1000m", ""),
	resources("cpu", 1, "1001m", overCPU),
	resources("cpu", "100m", 1, overCPU),
	resources("memory", "1Gi", 1<<30, ""),
	resources("memory", "1Gi", 1<<30+1, overMem),
	resources("memory", "500M", "500Mi", overMem),
	together(changes{vk + ".resources.limits.cpu": "1", vk + ".resources.requests.memory": "1Gi"}, "", ""),

	keyed(vk+".podLabels", "example.com/team"),
	labelValues(vk+".podLabels"),
	reserved(vk+".podLabels", notYours, inMap, ourGroups...),
	refuse(vk+".podLabels", noLogin, map[string]any{"azure.workload.identity/use": "true"}),
	accept(vk+".podLabels", map[string]any{"azure.workload.identity/used": "true"}),

	keyed(vk+".podAnnotations", "example.com/contact"),
	annotationValues(vk+".podAnnotations"),
	reserved(vk+".podAnnotations", notYours, inMap, ourGroups...),

	keyed(vk+".nodeSelector", "kubernetes.azure.com/mode"),
	labelValues(vk+".nodeSelector"),
	accept(vk+".nodeSelector", map[string]any{"kubernetes.io/os": "linux"}),

	objectName(vk+".priorityClassName"),
)

func named(name string) map[string]any { return map[string]any{"name": name} }

func names(n int) []any {
	var out []any
	for i := range n {
		out = append(out, named(letters(i+1)))
	}
	return out
}

// inItem sets a list to one item before each of tries that changes a field of the item.
func inItem(tries []try, list string, item map[string]any) []try {
	for i := range tries {
		tries[i].set[list] = []any{item}
	}
	return tries
}

func resources(name string, limit, request any, refusal string) []try {
	field := ""
	if refusal != "" {
		field = vk + ".resources"
	}
	return together(changes{vk + ".resources.limits." + name: limit, vk + ".resources.requests." + name: request}, field, refusal)
}
