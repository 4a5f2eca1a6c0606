// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/test/world"
)

// Whose rights are compared with what they use.
const (
	theOperator        = "the operator"
	theVirtualKubelets = "virtual kubelets"

	kubeletRole = "vk-connector-virtual-kubelet"
	// rightsEntry is what each process of the suite reports of its own sandbox.
	rightsEntry = "rights granted and used"
)

// reserved are rights that a run of the suite may well not use, and why they are there.
var reserved = map[string]map[string]string{
	theOperator: {
		"patch events in " + namespace:                      "counts an election that is told of again",
		"patch events.events.k8s.io":                        "counts an event that is told of again",
		"get clusterrolebindings.rbac.authorization.k8s.io": "tells whose a binding is that is in the way of one that is to be made",
	},
	theVirtualKubelets: {
		"patch events": "counts an event that is told of again",
	},
}

// rightsSeen is what one sandbox tells.
type rightsSeen struct {
	// Granted are the rights by whose they are, and Used what their requests needed.
	Granted, Used map[string][]world.Right
	// Refused are requests that a policy of config/restriction has refused.
	Refused []string
}

// reportRights reports the rights that were granted and used in this process's sandbox, before it is taken down.
func reportRights(ctx context.Context) {
	GinkgoHelper()
	seen := rightsSeen{Granted: granted(ctx), Used: map[string][]world.Right{}}
	kubelet := regexp.MustCompile("^" + regexp.QuoteMeta(account("")) + ".+-(linux|windows)-[a-z][a-z0-9]*$")
	used := map[string]map[world.Right]bool{theOperator: {}, theVirtualKubelets: {}}
	refused := map[string]bool{}
	Expect(own.AuditStart().Each(func(r world.Request) {
		who := theVirtualKubelets
		switch {
		case r.User.Username == account(operator):
			who = theOperator
		case !kubelet.MatchString(r.User.Username):
			return
		}
		for _, need := range r.Needs() {
			used[who][forAll(need, seen.Granted[who])] = true
		}
		if strings.Contains(r.ResponseStatus.Message, "ValidatingAdmissionPolicy 'vk-connector-") {
			refused[r.User.Username+": "+r.String()+": "+r.ResponseStatus.Message] = true
		}
	})).To(Succeed())
	for who, needs := range used {
		seen.Used[who] = sorted(slices.Collect(maps.Keys(needs)))
	}
	seen.Refused = slices.Sorted(maps.Keys(refused))
	content, err := json.Marshal(seen)
	Expect(err).NotTo(HaveOccurred())
	AddReportEntry(rightsEntry, string(content), ReportEntryVisibilityNever)
}

// forAll leaves out of a need which object it was about, where a right is enough that names none.
func forAll(need world.Right, rights []world.Right) world.Right {
	for _, wider := range []world.Right{
		{Group: need.Group, Resource: need.Resource, Verb: need.Verb},
		{Namespace: need.Namespace, Group: need.Group, Resource: need.Resource, Verb: need.Verb},
	} {
		if slices.Contains(rights, wider) {
			need.Name = ""
		}
	}
	return need
}

func sorted(rights []world.Right) []world.Right {
	return slices.SortedFunc(slices.Values(rights), func(a, b world.Right) int { return strings.Compare(a.String(), b.String()) })
}

// granted are the rights that config/default gives.
func granted(ctx context.Context) map[string][]world.Right {
	GinkgoHelper()
	objects := manifests(ctx, "config/default")
	// Bound by the operator, which may bind nothing else.
	rights := map[string][]world.Right{theVirtualKubelets: slices.Concat(
		rightsOf(ctx, objects, "ClusterRole", "", kubeletRole), rightsOf(ctx, objects, "Role", "kube-node-lease", kubeletRole))}
	for _, object := range objects {
		if kind := object.GetKind(); kind == "ClusterRoleBinding" || kind == "RoleBinding" {
			var binding rbacv1.RoleBinding // a ClusterRoleBinding has the same fields
			convertObject(object, &binding)
			if slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Namespace == namespace && s.Name == operator }) {
				rights[theOperator] = append(rights[theOperator],
					rightsOf(ctx, objects, binding.RoleRef.Kind, binding.Namespace, binding.RoleRef.Name)...)
			}
		}
	}
	return rights
}

// rightsOf are those of a role, which Kubernetes brings where the manifests do not.
func rightsOf(ctx context.Context, objects []*unstructured.Unstructured, kind, in, name string) []world.Right {
	GinkgoHelper()
	var role rbacv1.Role // a ClusterRole has the same rules
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == kind && o.GetName() == name && (kind == "ClusterRole" || o.GetNamespace() == in)
	})
	if i >= 0 {
		convertObject(objects[i], &role)
	} else {
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: in, Name: name}, &role)).To(Succeed())
	}
	return world.Rights(in, role.Rules)
}

func convertObject(object *unstructured.Unstructured, into any) {
	GinkgoHelper()
	Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into)).To(Succeed())
}

// All processes of the suite have reported by then. Where stories were left out, rights are unused that are not useless.
var _ = ReportAfterSuite("rights", func(report Report) {
	chosen := report.SuiteConfig
	whole := len(chosen.FocusStrings)+len(chosen.SkipStrings)+len(chosen.FocusFiles)+len(chosen.SkipFiles) == 0 &&
		chosen.LabelFilter == "" && !report.SuiteHasProgrammaticFocus && !chosen.DryRun
	if !whole || !report.SuiteSucceeded {
		return
	}
	all := rightsSeen{Granted: map[string][]world.Right{}, Used: map[string][]world.Right{}}
	for _, spec := range report.SpecReports {
		for _, entry := range spec.ReportEntries {
			if entry.Name != rightsEntry {
				continue
			}
			var seen rightsSeen
			Expect(json.Unmarshal([]byte(entry.StringRepresentation()), &seen)).To(Succeed())
			maps.Copy(all.Granted, seen.Granted)
			for who, needs := range seen.Used {
				all.Used[who] = append(all.Used[who], needs...)
			}
			all.Refused = append(all.Refused, seen.Refused...)
		}
	}
	Expect(all.Granted).To(HaveLen(2), "no sandbox has reported what was granted")
	table, problems := compareRights(all)
	fmt.Println(table)
	Expect(problems).To(BeEmpty(), table)
})

// compareRights makes a table of rights, and says what is wrong with them.
func compareRights(seen rightsSeen) (table string, problems []string) {
	var text bytes.Buffer
	rows := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, who := range []string{theOperator, theVirtualKubelets} {
		fmt.Fprintf(rows, "\nrights of %s\tused\n", who)
		used := func(right world.Right) bool { return slices.ContainsFunc(seen.Used[who], right.Covers) }
		for _, right := range sorted(seen.Granted[who]) {
			why, excused := reserved[who][right.String()]
			watch := right
			watch.Verb = "watch"
			switch {
			case used(right):
				why = "yes"
			case excused:
				why = "no: " + why
			case right.Verb == "list" && used(watch):
				why = "no: for API servers that stream no lists"
			case right.Name == "extension-apiserver-authentication":
				why = "no: Kubernetes's own role has it"
			default:
				why = "NO"
				problems = append(problems, fmt.Sprintf("%s may %s, and never does", who, right))
			}
			fmt.Fprintf(rows, "%s\t%s\n", right, why)
		}
		for _, need := range sorted(seen.Used[who]) {
			if !slices.ContainsFunc(seen.Granted[who], func(right world.Right) bool { return right.Covers(need) }) {
				problems = append(problems, fmt.Sprintf("%s would %s, and nothing of config/default lets it", who, need))
			}
		}
	}
	for _, refusal := range seen.Refused {
		problems = append(problems, "refused by a policy: "+refusal)
	}
	slices.Sort(problems)
	_ = rows.Flush() // to a buffer
	return text.String(), slices.Compact(problems)
}
