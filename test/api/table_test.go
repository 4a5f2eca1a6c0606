// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// changes are the fields of an object to change; nil takes one away.
type changes map[string]any

// try is a change of a base, and what the API server says to it.
type try struct {
	base string
	set  changes
	// field and refusal are of the error; an empty refusal means that the object is accepted.
	field, refusal string
}

// accept tries values of a field.
func accept(field string, values ...any) []try {
	var out []try
	for _, value := range values {
		out = append(out, try{set: changes{field: value}})
	}
	return out
}

// refuse tries values of a field that are refused with the name of the field.
func refuse(field, refusal string, values ...any) []try {
	var out []try
	for _, value := range values {
		out = append(out, try{set: changes{field: value}, field: field, refusal: refusal})
	}
	return out
}

// together tries changes of several fields; the refusal, if any, is that of field.
func together(set changes, field, refusal string) []try {
	return []try{{set: set, field: field, refusal: refusal}}
}

// on tries on a base.
func on(base string, tries ...[]try) []try {
	all := slices.Concat(tries...)
	for i := range all {
		all[i].base = base
	}
	return all
}

// The words of the API server.
const (
	missing     = "Required value"
	unsupported = "Unsupported value"
	duplicate   = "Duplicate value"
	below       = "should be greater than or equal to"
	above       = "should be less than or equal to"
	wrongType   = "must be of type"
)

func tooShort(least int) string { return fmt.Sprintf("should be at least %d chars long", least) }
func tooLong(most int) string   { return fmt.Sprintf("may not be more than %d bytes", most) }
func tooFew(least int) string   { return fmt.Sprintf("should have at least %d items", least) }
func tooMany(most int) string   { return fmt.Sprintf("must have at most %d items", most) }

// text tries the lengths of a text around its bounds.
func text(field string, least, most int) []try {
	fill := func(n int) string { return strings.Repeat("a", n) }
	tries := slices.Concat(accept(field, fill(least), fill(most)), refuse(field, tooLong(most), fill(most+1)))
	if least == 0 {
		return tries
	}
	return append(tries, refuse(field, tooShort(least), fill(least-1))...)
}

func number(field string, least, most int) []try {
	return slices.Concat(accept(field, least, most),
		refuse(field, below, least-1), refuse(field, above, most+1), refuse(field, wrongType, "many"))
}

// oneOf tries the values of an enumeration.
func oneOf(field string, values ...any) []try {
	return slices.Concat(accept(field, values...), refuse(field, unsupported, "Other", ""))
}

func required(fields ...string) []try {
	var tries []try
	for _, field := range fields {
		tries = append(tries, refuse(field, missing, nil)...)
	}
	return tries
}

func guid(field string) []try {
	const wrong = "must be a GUID such as 11111111-1111-1111-1111-111111111111"
	return slices.Concat(
		accept(field, "ABCDEF01-2345-6789-abcd-ef0123456789"),
		refuse(field, tooShort(36), "11111111-1111-1111-1111-11111111111", ""),
		refuse(field, tooLong(36), "{1111111-1111-1111-1111-1111111111111"),
		refuse(field, wrong, "11111111_1111-1111-1111-111111111111", "g1111111-1111-1111-1111-111111111111", "111111111111111111111111111111111111"),
	)
}

func resourceGroup(field string) []try {
	const wrong = "must be the name of an Azure resource group: letters, digits, underscores, hyphens, periods and parentheses, without a period at the end"
	return slices.Concat(text(field, 1, 90), accept(field, "rg_(1).größe-2"), refuse(field, wrong, "group.", "my group", "a/b"))
}

func objectName(field string) []try {
	const wrong = "must be the name of a Kubernetes object: lower-case letters, digits, hyphens and periods, beginning and ending with a letter or digit"
	return slices.Concat(text(field, 1, 253), accept(field, "a-1.b"), refuse(field, wrong, "Credentials", "a_b", "-a", "a-", "a..b", "ns/name"))
}

func qualifiedName(field string) []try {
	const wrong = "must be a qualified name such as example.com/purpose: a name of at most 63 letters, digits, hyphens, underscores and periods, perhaps behind a DNS name and a slash"
	long := strings.Repeat("a", 189) + "/" + strings.Repeat("a", 63)
	return slices.Concat(
		accept(field, "a", "example.com/My_key.1", strings.Repeat("a", 63), long),
		refuse(field, tooShort(1), ""), refuse(field, tooLong(253), "a"+long),
		refuse(field, wrong, strings.Repeat("a", 64), "a b", "Example.com/a", "/a", "a/", "a/b/c", "-a", "a-"),
	)
}

const wrongLabelValue = "must be empty, or letters, digits, hyphens, underscores and periods, beginning and ending with a letter or digit"

func labelValue(field string) []try {
	return slices.Concat(text(field, 0, 63), accept(field, "A_b-c.1"), refuse(field, wrongLabelValue, "a b", "-a", "a.", "a/b"))
}

// keyed tries a map with keys of qualified names.
func keyed(field, example string) []try {
	wrong := "every key must be a qualified name such as " + example
	many := func(n int) map[string]any {
		out := map[string]any{}
		for i := range n {
			out[fmt.Sprintf("key-%d", i)] = "value"
		}
		return out
	}
	var tries []try
	for _, key := range []string{"a b", "example.com/" + strings.Repeat("a", 64), "-a", "Example.com/a", strings.Repeat("a", 250) + "/abc"} {
		tries = append(tries, refuse(field, wrong, map[string]any{key: "value"})...)
	}
	most := 32
	if strings.HasSuffix(field, "matchLabels") {
		most = 16
	}
	return slices.Concat(tries, accept(field, map[string]any{"a": "b", strings.Repeat("a", 189) + "/" + strings.Repeat("a", 63): ""}, many(most)),
		refuse(field, tooMany(most), many(most+1)))
}

func labelValues(field string) []try {
	with := func(value string) map[string]any { return map[string]any{"example.com/team": value} }
	return slices.Concat(
		accept(field, with(""), with("A_b-c.1"), with(strings.Repeat("a", 63))),
		[]try{
			{set: changes{field: with(strings.Repeat("a", 64))}, field: field + ".example.com/team", refusal: tooLong(63)},
			{set: changes{field: with("a b")}, field: field + "[example.com/team]", refusal: wrongLabelValue},
		},
	)
}

func annotationValues(field string) []try {
	with := func(value string) map[string]any { return map[string]any{"example.com/contact": value} }
	return slices.Concat(
		accept(field, with(""), with("a b\nc"), with(strings.Repeat("a", 4096))),
		[]try{{set: changes{field: with(strings.Repeat("a", 4097))}, field: field + ".example.com/contact", refusal: tooLong(4096)}},
	)
}

// reserved tries keys of groups that are reserved; of makes a value of the field from a key.
func reserved(field, refusal string, of func(key string) any, groups ...string) []try {
	var tries []try
	for _, group := range groups {
		tries = append(tries, refuse(field, refusal, of(group+"/key"), of("sub."+group+"/key"), of("a.sub-1."+group+"/key"))...)
		// What only looks like it is nobody's.
		tries = append(tries, accept(field, of("not"+group+"/key"), of(group+".example.com/key"), of("example.com/"+group), of(group))...)
	}
	return tries
}

func inMap(key string) any  { return map[string]any{key: "value"} }
func itself(key string) any { return key }

// items tries the length of a list that holds copies of an item.
func items(field string, item any, least, most int) []try {
	of := func(n int) []any { return slices.Repeat([]any{item}, n) }
	tries := slices.Concat(accept(field, of(most)), refuse(field, tooMany(most), of(most+1)))
	if least > 0 {
		tries = slices.Concat(tries, accept(field, of(least)), refuse(field, tooFew(least), of(least-1)))
	}
	return tries
}

var bases = map[string]string{
	// As small as it can be.
	"minimal": `{
		"apiVersion": "connector.virtual-kubelet.io/v1alpha1", "kind": "VirtualKubeletConnector",
		"metadata": {"name": "aci"},
		"spec": {
			"containerGroups": {
				"subscriptionID": "11111111-1111-1111-1111-111111111111", "resourceGroup": "virtual-nodes", "location": "eastus"
			},
			"credentials": {"type": "ServicePrincipal", "servicePrincipal": {
				"tenantID": "22222222-2222-2222-2222-222222222222",
				"clientID": "33333333-3333-3333-3333-333333333333",
				"clientSecretRef": {"name": "credentials"}
			}}
		}
	}`,
	"managed cluster": `{
		"apiVersion": "connector.virtual-kubelet.io/v1alpha1", "kind": "VirtualKubeletConnector",
		"metadata": {"name": "aci"},
		"spec": {
			"managedCluster": {
				"subscriptionID": "11111111-1111-1111-1111-111111111111", "resourceGroup": "clusters", "name": "cluster"
			},
			"credentials": {"type": "ManagedIdentity", "managedIdentity": {"clientID": "44444444-4444-4444-4444-444444444444"}}
		}
	}`,
}

// more are bases that are minimal and something else.
var more = map[string]changes{
	"managed identity": {"spec.credentials": map[string]any{
		"type": "ManagedIdentity", "managedIdentity": map[string]any{"clientID": "44444444-4444-4444-4444-444444444444"},
	}},
	"network": {"spec.network": map[string]any{"subnet": map[string]any{
		"resourceGroup": "network", "virtualNetworkName": "virtual-nodes", "name": "container-groups",
	}}},
	"monitoring": {"spec.monitoring": map[string]any{"logAnalytics": map[string]any{
		"secretRef": map[string]any{"name": "log-analytics"},
	}}},
	"scheduling": {"spec.virtualKubelet": map[string]any{
		"tolerations": []any{map[string]any{"key": "example.com/key"}},
		"affinity": map[string]any{
			"nodeAffinity": map[string]any{
				"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{"nodeSelectorTerms": []any{
					map[string]any{"matchExpressions": []any{nodeRequirement}},
				}},
				"preferredDuringSchedulingIgnoredDuringExecution": []any{map[string]any{
					"weight": 1, "preference": map[string]any{"matchExpressions": []any{nodeRequirement}},
				}},
			},
			"podAffinity":     podAffinity,
			"podAntiAffinity": podAffinity,
		},
	}},
}

var (
	nodeRequirement = map[string]any{"key": "example.com/key", "operator": "Exists"}
	podAffinityTerm = map[string]any{
		"topologyKey": "kubernetes.io/hostname",
		"labelSelector": map[string]any{
			"matchLabels": map[string]any{"a": "b"}, "matchExpressions": []any{map[string]any{"key": "a", "operator": "Exists"}},
		},
	}
	podAffinity = map[string]any{
		"requiredDuringSchedulingIgnoredDuringExecution":  []any{podAffinityTerm},
		"preferredDuringSchedulingIgnoredDuringExecution": []any{map[string]any{"weight": 1, "podAffinityTerm": podAffinityTerm}},
	}
)

func base(name string) *unstructured.Unstructured {
	if extra, ok := more[name]; ok {
		return changed(base("minimal"), extra)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON([]byte(bases[name])); err != nil {
		panic(err)
	}
	return object
}

// changed returns a changed copy of an object.
func changed(object *unstructured.Unstructured, set changes) *unstructured.Unstructured {
	object = object.DeepCopy()
	// Through JSON, so that numbers are as a client has them, and nothing is shared.
	for _, path := range slices.SortedFunc(maps.Keys(set), func(a, b string) int { return cmp.Compare(len(a), len(b)) }) {
		content, err := json.Marshal(set[path])
		if err != nil {
			panic(err)
		}
		var value any
		if err := utiljson.Unmarshal(content, &value); err != nil {
			panic(err)
		}
		put(object.Object, strings.Split(path, "."), value)
	}
	return object
}

// put sets a field; a step such as items[1] leads into a list.
func put(object map[string]any, path []string, value any) {
	name, index, inList := strings.Cut(strings.TrimSuffix(path[0], "]"), "[")
	switch {
	case inList:
		i, err := strconv.Atoi(index)
		if err != nil {
			panic(err)
		}
		put(object[name].([]any)[i].(map[string]any), path[1:], value)
	case len(path) > 1:
		if object[name] == nil {
			object[name] = map[string]any{}
		}
		put(object[name].(map[string]any), path[1:], value)
	case value == nil:
		delete(object, name)
	default:
		object[name] = value
	}
}

func convert(g Gomega, object *unstructured.Unstructured, into any) {
	content, err := object.MarshalJSON()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(json.Unmarshal(content, into)).To(Succeed())
}

func (t try) name() string {
	var parts []string
	for _, field := range slices.Sorted(maps.Keys(t.set)) {
		content, err := json.Marshal(t.set[field])
		if err != nil {
			panic(err)
		}
		parts = append(parts, field+"="+string(content[:min(len(content), 40)]))
	}
	return t.base + ": " + strings.Join(parts, " ")
}

var (
	listIndex = regexp.MustCompile(`\[\d+\]`)
	// tried are the values that were accepted by the path of their field, refused the errors.
	tried   = map[string][]any{}
	refused []metav1.StatusCause
)

// note keeps a value that was accepted, and all below it.
func note(path string, value any) {
	tried[path] = append(tried[path], value)
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			note(path+"."+key, below)
			note(path+"{}", below)
		}
	case []any:
		for _, below := range value {
			note(path+"[]", below)
		}
	}
}

func TestRules(t *testing.T) {
	all := slices.Concat(azureRules, networkRules, virtualKubeletRules, nodeRules, schedulingRules)
	for _, try := range all {
		t.Run(try.name(), func(t *testing.T) {
			g := NewWithT(t)
			err := k8s.Create(t.Context(), changed(base(try.base), try.set), client.DryRunAll)
			if try.refusal == "" {
				if err != nil {
					t.Fatal(err)
				}
				for field, value := range try.set {
					note(listIndex.ReplaceAllString(field, "[]"), value)
				}
				return
			}
			var status *apierrors.StatusError
			g.Expect(errors.As(err, &status)).To(BeTrue(), "%v", err)
			causes := status.ErrStatus.Details.Causes
			g.Expect(causes).To(ContainElement(And(
				HaveField("Field", try.field), HaveField("Message", ContainSubstring(try.refusal)),
			)))
			refused = append(refused, causes...)
		})
	}
	t.Run("every field is tried", everyFieldIsTried)
	t.Run("every rule is tried from both sides", everyRuleIsTried)
}

func everyFieldIsTried(t *testing.T) {
	fields("spec", schemaOf("spec"), func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		if len(schema.Properties) == 0 && tried[path] == nil {
			t.Errorf("%s has no accepted value in the table", path)
		}
	})
}

// rule is one rule of a field.
type rule struct {
	path, refusal string
	// holds is true of values that are as far as the rule lets them be.
	holds func(value any) bool
}

// noShortID is the only bound that another rule keeps from being reached.
var noShortID = "spec.monitoring.logAnalytics.clusterResourceID" + tooShort(1)

func everyRuleIsTried(t *testing.T) {
	for _, rule := range rulesOfSchema() {
		if !slices.ContainsFunc(refused, rule.explains) {
			t.Errorf("nothing in the table is refused by the rule of %s: %s", rule.path, rule.refusal)
		}
		if rule.path+rule.refusal == noShortID {
			continue
		}
		if rule.holds != nil && !slices.ContainsFunc(tried[rule.path], rule.holds) {
			t.Errorf("nothing in the table is just accepted by the rule of %s: %s", rule.path, rule.refusal)
		}
	}
}

func (r rule) explains(cause metav1.StatusCause) bool {
	field := strings.TrimPrefix(listIndex.ReplaceAllString(cause.Field, "[]"), "<nil>")
	if inMap, ok := strings.CutSuffix(r.path, "{}"); ok {
		return strings.HasPrefix(field, inMap) && field != inMap && strings.Contains(cause.Message, r.refusal)
	}
	return (field == r.path || field == r.path+"[]") && strings.Contains(cause.Message, r.refusal)
}

func rulesOfSchema() []rule {
	var rules []rule
	root := *crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	root.Properties = map[string]apiextensionsv1.JSONSchemaProps{"spec": root.Properties["spec"]}
	fields("", &root, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		add := func(refusal string, holds func(any) bool) { rules = append(rules, rule{path, refusal, holds}) }
		size := func(length *int64, refusal func(int) string, of func(any) int) {
			if length != nil {
				add(refusal(int(*length)), func(v any) bool { return of(v) == int(*length) })
			}
		}
		size(schema.MinLength, tooShort, runes)
		size(schema.MaxLength, tooLong, runes)
		size(schema.MinItems, tooFew, length)
		size(schema.MaxItems, tooMany, length)
		size(schema.MaxProperties, tooMany, length)
		for _, bound := range []struct {
			at      *float64
			refusal string
		}{{schema.Minimum, below}, {schema.Maximum, above}} {
			if bound.at != nil {
				add(bound.refusal, func(v any) bool { n, ok := v.(int); return ok && float64(n) == *bound.at })
			}
		}
		if schema.Enum != nil {
			add(unsupported, nil)
		}
		for _, value := range schema.Enum {
			add(unsupported, func(v any) bool { return fmt.Sprintf("%q", v) == string(value.Raw) })
		}
		if list := schema.XListType; list != nil && *list != "atomic" {
			add(duplicate, nil)
		}
		if schema.Pattern != "" {
			add("should match", nil)
		}
		for _, validation := range schema.XValidations {
			add(validation.Message, nil)
		}
		for _, name := range schema.Required {
			rules = append(rules, rule{path: strings.TrimPrefix(path+"."+name, "."), refusal: missing})
		}
	})
	return rules
}

func runes(value any) int {
	text, ok := value.(string)
	if !ok {
		return -1
	}
	return len([]rune(text))
}

func length(value any) int {
	switch value := value.(type) {
	case []any:
		return len(value)
	case map[string]any:
		return len(value)
	}
	return -1
}

// TestRulesHaveMessages tests that each rule tells in words what to do.
func TestRulesHaveMessages(t *testing.T) {
	seen := sets.New[string]()
	fields("", crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		for _, validation := range schema.XValidations {
			if validation.Message == "" {
				t.Errorf("a rule of %s has no message: %s", path, validation.Rule)
			}
			if seen.Has(path + validation.Message) {
				t.Errorf("two rules of %s have one message: %s", path, validation.Message)
			}
			seen.Insert(path + validation.Message)
		}
	})
}
