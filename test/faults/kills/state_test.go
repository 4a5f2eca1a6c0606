// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package kills

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// state is the world without what differs from run to run: times, uids, versions, keys.
type state map[string]string

// kinds are what a connector makes, and where.
var kinds = []struct {
	name    string
	list    func() client.ObjectList
	options []client.ListOption
}{
	{"connector", func() client.ObjectList { return &v1alpha1.VirtualKubeletConnectorList{} }, nil},
	{"secret", func() client.ObjectList { return &corev1.SecretList{} }, []client.ListOption{client.InNamespace(namespace)}},
	{"account", func() client.ObjectList { return &corev1.ServiceAccountList{} }, []client.ListOption{client.InNamespace(namespace), ours}},
	{"cluster binding", func() client.ObjectList { return &rbacv1.ClusterRoleBindingList{} }, []client.ListOption{ours}},
	{"binding", func() client.ObjectList { return &rbacv1.RoleBindingList{} }, []client.ListOption{ours}},
	{"deployment", func() client.ObjectList { return &appsv1.DeploymentList{} }, []client.ListOption{client.InNamespace(namespace)}},
	{"virtual kubelet", func() client.ObjectList { return &corev1.PodList{} }, []client.ListOption{client.InNamespace(namespace)}},
	{"pod", func() client.ObjectList { return &corev1.PodList{} }, []client.ListOption{client.InNamespace(metav1.NamespaceDefault)}},
	{"node", func() client.ObjectList { return &corev1.NodeList{} }, nil},
	{"lease", func() client.ObjectList { return &coordinationv1.LeaseList{} }, []client.ListOption{client.InNamespace(corev1.NamespaceNodeLease)}},
}

var ours = client.HasLabels{"connector.virtual-kubelet.io/connector"}

func (l *lane) state(ctx context.Context) (state, error) {
	found := state{}
	for _, kind := range kinds {
		list := kind.list()
		if err := l.k8s.List(ctx, list, kind.options...); err != nil {
			return nil, err
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			object, ok := o.(client.Object)
			// The user's own Secret goes with nobody.
			if !ok || strings.HasPrefix(object.GetName(), machinePrefix) || object.GetName() == secretName {
				continue
			}
			name, shown := normalise(object)
			content, err := yaml.Marshal(shown)
			if err != nil {
				return nil, err
			}
			found[kind.name+" "+name] = string(content)
		}
	}
	for _, group := range l.cloud.ContainerGroups() {
		delete(group.Tags, "UID")
		found["container group "+group.Name] = fmt.Sprintf("%s deleting=%t %v", group.State, group.Deleting, group.Tags)
	}
	return found, nil
}

// normalise takes out of an object what differs from run to run.
func normalise(object client.Object) (name string, shown any) {
	name = object.GetName()
	annotations := object.GetAnnotations()
	maps.DeleteFunc(annotations, func(key, _ string) bool {
		return key == "deployment.kubernetes.io/revision" || strings.Contains(key, "checksum")
	})
	managers := map[string]bool{}
	for _, entry := range object.GetManagedFields() {
		managers[entry.Manager+" "+string(entry.Operation)+" "+entry.Subresource] = true
	}
	common := map[string]any{
		"labels": object.GetLabels(), "annotations": annotations, "finalizers": object.GetFinalizers(),
		"deleting": !object.GetDeletionTimestamp().IsZero(),
	}
	switch o := object.(type) {
	case *v1alpha1.VirtualKubeletConnector:
		common["spec"], common["managers"] = o.Spec, slices.Sorted(maps.Keys(managers))
		status := o.Status
		status.Conditions = timeless(status.Conditions)
		for i := range status.Nodes {
			status.Nodes[i].Conditions = timeless(status.Nodes[i].Conditions)
		}
		common["status"] = status
	case *corev1.Secret:
		common["azure.json"], common["keys"] = string(o.Data["azure.json"]), slices.Sorted(maps.Keys(o.Data))
	case *rbacv1.ClusterRoleBinding:
		common["role"], common["subjects"] = o.RoleRef, o.Subjects
	case *rbacv1.RoleBinding:
		common["role"], common["subjects"] = o.RoleRef, o.Subjects
	case *appsv1.Deployment:
		template := o.Spec.Template.DeepCopy()
		for key := range template.Annotations {
			if strings.Contains(key, "checksum") {
				template.Annotations[key] = "…"
			}
		}
		common["replicas"], common["template"], common["ready"] = o.Spec.Replicas, template, o.Status.ReadyReplicas
	case *corev1.Pod:
		if o.Namespace == namespace {
			name = o.Labels["connector.virtual-kubelet.io/os"]
			delete(o.Labels, "pod-template-hash")
			delete(common, "annotations")
		}
		common["phase"], common["node"] = o.Status.Phase, o.Spec.NodeName
	case *corev1.Node:
		var taints []string
		for i := range o.Spec.Taints {
			taints = append(taints, o.Spec.Taints[i].ToString())
		}
		slices.Sort(taints)
		common["taints"], common["unschedulable"], common["managers"] = taints, o.Spec.Unschedulable, slices.Sorted(maps.Keys(managers))
	}
	return name, common
}

func timeless(conditions []metav1.Condition) []metav1.Condition {
	for i := range conditions {
		conditions[i].LastTransitionTime = metav1.Time{}
	}
	return conditions
}

func (s state) equals(other state) bool { return maps.Equal(s, other) }

// diff says what a state has and another one has not.
func (s state) diff(other state) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(s)) {
		expected, ok := other[key]
		switch {
		case !ok:
			lines = append(lines, "there is "+key+":\n"+s[key])
		case expected != s[key]:
			lines = append(lines, key+":")
			have, want := strings.Split(s[key], "\n"), strings.Split(expected, "\n")
			for _, line := range have {
				if !slices.Contains(want, line) {
					lines = append(lines, "  has      "+line)
				}
			}
			for _, line := range want {
				if !slices.Contains(have, line) {
					lines = append(lines, "  has not  "+line)
				}
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(other)) {
		if _, ok := s[key]; !ok {
			lines = append(lines, "there is no "+key)
		}
	}
	return strings.Join(lines, "\n")
}

func (s state) String() string { return s.diff(state{}) }
