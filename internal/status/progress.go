// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// First reports whether a connector has no status yet.
func First(stored v1alpha1.VirtualKubeletConnectorStatus) bool { return len(stored.Conditions) == 0 }

// Passing reports whether a status differs from the stored one only in how far something is on its way, with nothing that
// anybody has to do or could rely on. It is False where readiness, a removal's step or what is left in Azure differs.
func Passing(stored, computed v1alpha1.VirtualKubeletConnectorStatus) bool {
	return underway(computed) && (First(stored) || underway(stored) && stored.ObservedGeneration == computed.ObservedGeneration) &&
		slices.Equal(removals(stored), removals(computed)) &&
		equality.Semantic.DeepEqual(stored.RetainedContainerGroups, computed.RetainedContainerGroups)
}

// underway reports whether a connector is neither Ready nor in need of anybody.
func underway(s v1alpha1.VirtualKubeletConnectorStatus) bool {
	return meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReconciling) &&
		!meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady) &&
		meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSuspended) == nil
}

// removals returns how far each removal is, without what it says of that.
func removals(s v1alpha1.VirtualKubeletConnectorStatus) []string {
	var steps []string
	note := func(of string, conditions []metav1.Condition) {
		if retiring := meta.FindStatusCondition(conditions, v1alpha1.ConditionRetiring); retiring != nil {
			steps = append(steps, of+" "+retiring.Reason)
		}
	}
	note("", s.Conditions)
	for _, node := range s.Nodes {
		note(node.Name, node.Conditions)
	}
	slices.Sort(steps)
	return steps
}
