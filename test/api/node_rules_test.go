// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

const (
	onlyManaged   = "key, value and effect may be set only with policy Managed: remove them, or set policy to Managed"
	onlyDrain     = "drainTimeoutSeconds may be set only with policy Drain: remove it, or set policy to Drain"
	notYourLabel  = "keys of kubernetes.io, k8s.io and connector.virtual-kubelet.io, and the keys type and kubernetes.azure.com/managed, are reserved: choose another"
	notYourRemark = "keys of kubernetes.io, k8s.io and virtual-kubelet.io are reserved: choose another"
)

var nodeRules = on("minimal",
	text("spec.node.namePrefix", 1, 50), // 50 + 1 + 5 + 1 + 6 = 63
	accept("spec.node.namePrefix", "a-1"),
	refuse("spec.node.namePrefix", "must be lower-case letters, digits and hyphens, beginning and ending with a letter or digit", "a-", "-a", "A", "a.b", "a_b"),

	keyed("spec.node.labels", "example.com/team"),
	labelValues("spec.node.labels"),
	reserved("spec.node.labels", notYourLabel, inMap, ourGroups...),
	refuse("spec.node.labels", notYourLabel, inMap("type"), inMap("kubernetes.azure.com/managed")),
	accept("spec.node.labels", inMap("virtual-kubelet.io/key"), inMap("types"), inMap("kubernetes.azure.com/mode")),

	keyed("spec.node.annotations", "example.com/contact"),
	annotationValues("spec.node.annotations"),
	reserved("spec.node.annotations", notYourRemark, inMap, "kubernetes.io", "k8s.io", "virtual-kubelet.io"),
	refuse("spec.node.annotations", notYourRemark, inMap("connector.virtual-kubelet.io/key")),

	oneOf("spec.node.taint.policy", "Managed", "None"),
	qualifiedName("spec.node.taint.key"),
	reserved("spec.node.taint.key", notYours, itself, ourGroups...),
	accept("spec.node.taint.key", "virtual-kubelet.io/provider"),
	labelValue("spec.node.taint.value"),
	oneOf("spec.node.taint.effect", "NoSchedule", "PreferNoSchedule", "NoExecute"),
	accept("spec.node.taint", map[string]any{"policy": "Managed", "key": "a", "value": "", "effect": "NoExecute"}),
	refuse("spec.node.taint", onlyManaged,
		map[string]any{"policy": "None", "key": "a"}, map[string]any{"policy": "None", "value": ""}, map[string]any{"policy": "None", "effect": "NoExecute"}),

	quantity("spec.node.capacity.cpu", 1000000, "1M", "1000001", "must be a quantity above 0 and at most 1000000"),
	quantity("spec.node.capacity.memory", 1<<50, "1Pi", "2Pi", "must be a quantity above 0 and at most 1Pi"),
	number("spec.node.capacity.pods", 1, 100000),

	oneOf("spec.removal.policy", "Drain", "Force"),
	number("spec.removal.drainTimeoutSeconds", 1, 604800),
	accept("spec.removal", map[string]any{"policy": "Drain", "drainTimeoutSeconds": 60}),
	refuse("spec.removal", onlyDrain, map[string]any{"policy": "Force", "drainTimeoutSeconds": 60}),
	oneOf("spec.removal.orphanedContainerGroups", "Delete", "Retain"),
)
