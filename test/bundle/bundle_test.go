// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package bundle tests that the bundle is one that OLM and OperatorHub take, and that it grants no more than it says. It is
// a module of its own: nothing else has to do with what it needs.
package bundle

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	"github.com/operator-framework/api/pkg/validation"
	"github.com/operator-framework/api/pkg/validation/errors"
	interfaces "github.com/operator-framework/api/pkg/validation/interfaces"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

const root = "../.."

func load(t *testing.T) *manifests.Bundle {
	t.Helper()
	bundle, err := manifests.GetBundleFromDir(root + "/bundle")
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// validators are those that a bundle has to pass before OperatorHub shows it.
var validators = map[string]interfaces.Validator{
	"bundle":                validation.BundleValidator,
	"ClusterServiceVersion": validation.ClusterServiceVersionValidator,
	"definitions":           validation.CustomResourceDefinitionValidator,
	"objects":               validation.ObjectValidator,
	"OperatorHub":           validation.OperatorHubV2Validator,
	"categories":            validation.StandardCategoriesValidator,
	"capabilities":          validation.StandardCapabilitiesValidator,
	"good practices":        validation.GoodPracticesValidator,
	"community operators":   validation.CommunityOperatorValidator,
	"removed APIs":          validation.AlphaDeprecatedAPIsValidator,
}

// explained are the warnings that stay, and why.
var explained = map[string]string{
	"this bundle is using APIs which were deprecated and removed in v1.25": "Rights name no version of an API. Of endpointslices " +
		"and events the operator uses v1.",
}

func TestValidators(t *testing.T) {
	bundle := load(t)
	seen := map[string]bool{}
	for name, validator := range validators {
		t.Run(name, func(t *testing.T) {
			for _, result := range validator.Validate(bundle, map[string]string{"k8s-version": "1.37"}) {
				for _, problem := range result.Errors {
					t.Errorf("%s: %s", result.Name, problem.Detail)
				}
				for _, warning := range result.Warnings {
					if !isExplained(warning, seen) {
						t.Errorf("%s: %s", result.Name, warning.Detail)
					}
				}
			}
		})
	}
	for warning := range explained {
		if !seen[warning] {
			t.Errorf("nothing warns of %q any more", warning)
		}
	}
}

func isExplained(warning errors.Error, seen map[string]bool) bool {
	for text := range explained {
		if strings.Contains(warning.Detail, text) {
			seen[text] = true
			return true
		}
	}
	return false
}

// TestRights tests that the operator may do in an installation by OLM what it may do in any other. What is wider is listed.
func TestRights(t *testing.T) {
	csv := load(t).CSV
	for _, permission := range append(csv.Spec.InstallStrategy.StrategySpec.ClusterPermissions, csv.Spec.InstallStrategy.StrategySpec.Permissions...) {
		for _, rule := range permission.Rules {
			if strings.Contains(strings.Join(append(rule.Verbs, rule.Resources...), " "), "*") {
				t.Errorf("the rule %v has a wildcard", rule)
			}
		}
	}
	known := rulesOf(t, root+"/config/rbac/role.yaml", "ClusterRole")
	var wider []string
	for _, permission := range csv.Spec.InstallStrategy.StrategySpec.ClusterPermissions {
		for _, rule := range permission.Rules {
			if text := textOf(rule); !known[text] {
				wider = append(wider, text)
			}
		}
	}
	want := []string{
		"delete leases",
		"create,delete,get,list,patch,watch rolebindings",
		"bind clusterroles vk-connector-virtual-kubelet-lease",
		"list,watch services kube-dns",
		"list,watch endpointslices kubernetes",
		"get,list,watch configmaps extension-apiserver-authentication",
	}
	if got := strings.Join(wider, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the cluster permissions are wider than the ClusterRole by\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func textOf(rule rbacv1.PolicyRule) string {
	return strings.TrimSpace(strings.Join([]string{
		strings.Join(rule.Verbs, ","), strings.Join(rule.Resources, ","), strings.Join(rule.ResourceNames, ","),
	}, " "))
}

// TestInstallModes tests that no rights of the operator's namespace become rights of all: OLM makes ClusterRoles of Roles
// where an operator is for all namespaces.
func TestInstallModes(t *testing.T) {
	for _, mode := range load(t).CSV.Spec.InstallModes {
		if want := mode.Type == v1alpha1.InstallModeTypeOwnNamespace; mode.Supported != want {
			t.Errorf("%s is %t", mode.Type, mode.Supported)
		}
	}
}

// TestNamespaces tests that whoever makes the operator's namespace for OLM makes it as it is elsewhere.
func TestNamespaces(t *testing.T) {
	read := func(text string) corev1.Namespace {
		var namespace corev1.Namespace
		if err := yaml.Unmarshal([]byte(text), &namespace); err != nil {
			t.Fatal(err)
		}
		return namespace
	}
	file := func(path string) string {
		content, err := os.ReadFile(root + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	want := read(file("/config/manager/namespace.yaml"))
	annotations := load(t).CSV.Annotations
	for name, text := range map[string]string{
		"config/olm":                file("/config/olm/namespace.yaml"),
		"the ClusterServiceVersion": annotations["operatorframework.io/suggested-namespace-template"],
	} {
		if got := read(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%s has %+v, want %+v", name, got.ObjectMeta, want.ObjectMeta)
		}
	}
	if got := annotations["operatorframework.io/suggested-namespace"]; got != want.Name {
		t.Errorf("the suggested namespace is %s, want %s", got, want.Name)
	}
}

// TestVirtualKubeletImage tests that the image which a mirror has to have is the one that the operator takes.
func TestVirtualKubeletImage(t *testing.T) {
	source, err := os.ReadFile(root + "/cmd/manager/main.go")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`const virtualKubeletImage = "(.+)"`).FindSubmatch(source)
	if match == nil {
		t.Fatal("cmd/manager names no image of the virtual kubelet")
	}
	for _, image := range load(t).CSV.Spec.RelatedImages {
		if image.Name == "virtual-kubelet" && image.Image == string(match[1]) {
			return
		}
	}
	t.Errorf("the related images lack %s", match[1])
}

// rulesOf are the rules of the roles of a kind in a file.
func rulesOf(t *testing.T, path, kind string) map[string]bool {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for document := range strings.SplitSeq(string(content), "\n---\n") {
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatal(err)
		}
		if role.Kind != kind {
			continue
		}
		for _, rule := range role.Rules {
			known[textOf(rule)] = true
		}
	}
	return known
}
