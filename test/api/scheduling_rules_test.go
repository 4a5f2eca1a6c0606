// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

import "slices"

const (
	toleration = vk + ".tolerations[0]"
	affinity   = vk + ".affinity"
	nodeTerms  = affinity + ".nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
	preferred  = "preferredDuringSchedulingIgnoredDuringExecution"
	mandatory  = "requiredDuringSchedulingIgnoredDuringExecution"

	notTolerable = "with operator Exists there must be no value; with operator Equal, the default, there must be a key"
	notForSecs   = "tolerationSeconds may be set only with effect NoExecute"
	notOfNodes   = "operators In and NotIn need values, Gt and Lt one integer, Exists and DoesNotExist none"
	notOfLabels  = "operators In and NotIn need values, Exists and DoesNotExist none"
)

var schedulingRules = on("scheduling",
	items(vk+".tolerations", map[string]any{"key": "a"}, 0, 16),
	inItem(slices.Concat(qualifiedName(toleration+".key"), labelValue(toleration+".value"),
		oneOf(toleration+".effect", "NoSchedule", "PreferNoSchedule", "NoExecute")), vk+".tolerations", map[string]any{"key": "a"}),
	inItem(oneOf(toleration+".operator", "Equal", "Exists"), vk+".tolerations", map[string]any{"key": "a"}),
	tolerations("",
		map[string]any{"operator": "Exists"},
		map[string]any{"key": "a", "operator": "Exists", "effect": "NoSchedule"},
		map[string]any{"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 300},
		map[string]any{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
	),
	tolerations(notTolerable,
		map[string]any{},
		map[string]any{"value": "b"},
		map[string]any{"operator": "Equal", "value": "b"},
		map[string]any{"operator": "Equal"},
		map[string]any{"key": "a", "operator": "Exists", "value": "b"},
	),
	tolerations(notForSecs,
		map[string]any{"key": "a", "tolerationSeconds": 300},
		map[string]any{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 300},
	),

	items(nodeTerms, map[string]any{"matchExpressions": []any{nodeRequirement}}, 1, 16),
	required(nodeTerms, nodeTerms+"[0].matchExpressions"),
	nodeRequirements(nodeTerms+"[0].matchExpressions"),
	preferences(affinity+".nodeAffinity."+preferred, "preference",
		map[string]any{"weight": 1, "preference": map[string]any{"matchExpressions": []any{nodeRequirement}}}, 16),
	required(affinity+".nodeAffinity."+preferred+"[0].preference.matchExpressions"),
	nodeRequirements(affinity+".nodeAffinity."+preferred+"[0].preference.matchExpressions"),

	podTerms(affinity+".podAffinity"),
	podTerms(affinity+".podAntiAffinity"),
)

func tolerations(refusal string, values ...map[string]any) []try {
	field := ""
	if refusal != "" {
		field = toleration
	}
	var tries []try
	for _, value := range values {
		tries = append(tries, together(changes{vk + ".tolerations": []any{value}}, field, refusal)...)
	}
	return tries
}

// requirements tries the items of a list of requirements.
func requirements(list, refusal string, values ...map[string]any) []try {
	field := ""
	if refusal != "" {
		field = list + "[0]"
	}
	var tries []try
	for _, value := range values {
		value["key"] = "a"
		tries = append(tries, together(changes{list: []any{value}}, field, refusal)...)
	}
	return tries
}

func requirement(operator string, values ...any) map[string]any {
	out := map[string]any{"operator": operator}
	if len(values) > 0 {
		out["values"] = values
	}
	return out
}

// keyAndValues tries the fields that requirements on nodes and on labels have alike.
func keyAndValues(list string) []try {
	in := map[string]any{"key": "a", "operator": "In", "values": []any{"b"}}
	return slices.Concat(
		required(list+"[0].key", list+"[0].operator"),
		inItem(qualifiedName(list+"[0].key"), list, map[string]any{"key": "a", "operator": "Exists"}),
		inItem(items(list+"[0].values", "b", 1, 16), list, in),
		values(list),
		inItem(refuse(list+"[0].operator", unsupported, "Equals", ""), list, map[string]any{"key": "a"}),
	)
}

// values tries the values of an In.
func values(list string) []try {
	var tries []try
	for _, try := range labelValue(list + "[0].values[0]") {
		value := try.set[list+"[0].values[0]"]
		try.set = changes{list: []any{map[string]any{"key": "a", "operator": "In", "values": []any{value}}}}
		tries = append(tries, try)
	}
	return tries
}

func nodeRequirements(list string) []try {
	return slices.Concat(
		items(list, nodeRequirement, 1, 16),
		keyAndValues(list),
		requirements(list, "", requirement("In", "a", "b"), requirement("NotIn", "a"), requirement("Exists"), requirement("DoesNotExist"),
			requirement("Gt", "1"), requirement("Lt", "100")),
		requirements(list, notOfNodes, requirement("In"), requirement("NotIn"), requirement("Exists", "a"), requirement("DoesNotExist", "a"),
			requirement("Gt"), requirement("Gt", "a"), requirement("Lt", "1", "2"), requirement("Lt", "1.5")),
	)
}

func labelRequirements(list string) []try {
	return slices.Concat(
		items(list, map[string]any{"key": "a", "operator": "Exists"}, 0, 8),
		keyAndValues(list),
		requirements(list, "", requirement("In", "a", "b"), requirement("NotIn", "a"), requirement("Exists"), requirement("DoesNotExist")),
		requirements(list, notOfLabels, requirement("In"), requirement("NotIn"), requirement("Exists", "a"), requirement("DoesNotExist", "a")),
		inItem(refuse(list+"[0].operator", unsupported, "Gt"), list, map[string]any{"key": "a", "values": []any{"1"}}),
	)
}

// preferences tries a list whose items have a weight and a term.
func preferences(list, term string, item map[string]any, most int) []try {
	return slices.Concat(
		items(list, item, 0, most),
		required(list+"[0].weight", list+"[0]."+term),
		number(list+"[0].weight", 1, 100),
	)
}

func podTerms(field string) []try {
	return slices.Concat(
		items(field+"."+mandatory, podAffinityTerm, 0, 8),
		podTerm(field+"."+mandatory+"[0]"),
		preferences(field+"."+preferred, "podAffinityTerm", map[string]any{"weight": 1, "podAffinityTerm": podAffinityTerm}, 8),
		podTerm(field+"."+preferred+"[0].podAffinityTerm"),
	)
}

func podTerm(field string) []try {
	selector := field + ".labelSelector"
	return slices.Concat(
		required(selector, field+".topologyKey"),
		qualifiedName(field+".topologyKey"),
		accept(selector, map[string]any{"matchLabels": map[string]any{}}, map[string]any{"matchLabels": map[string]any{"a": "b"}},
			map[string]any{"matchExpressions": []any{map[string]any{"key": "a", "operator": "Exists"}}}),
		refuse(selector, "must have matchLabels, matchExpressions or both", map[string]any{}),
		keyed(selector+".matchLabels", "app.kubernetes.io/component"),
		labelValues(selector+".matchLabels"),
		labelRequirements(selector+".matchExpressions"),
	)
}
