// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/status"
)

func TestPassing(t *testing.T) {
	type is = v1alpha1.VirtualKubeletConnectorStatus
	with := func(change func(*is), conditions ...metav1.Condition) is {
		s := is{ObservedGeneration: 1, Conditions: conditions}
		if change != nil {
			change(&s)
		}
		return s
	}
	condition := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: reason}
	}
	reconciling := condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing)
	pending := condition(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonClaimPending)
	starting := condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonStarting)
	ready := condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	stalled := condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonUserActionNeeded)
	refused := condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretExpired)
	suspended := condition(v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	retiring := func(reason, message string) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionRetiring, Status: metav1.ConditionTrue, Reason: reason, Message: message}
	}
	retained := func(s *is) {
		s.RetainedContainerGroups = []v1alpha1.RetainedContainerGroups{{NodeName: "node", Names: []string{"default-web"}}}
	}
	none := is{ObservedGeneration: -1}

	for name, test := range map[string]struct {
		stored, computed is
		want             bool
	}{
		"the first turn":                  {none, with(nil, pending, reconciling), true},
		"further on the way":              {with(nil, pending, reconciling), with(nil, starting, reconciling), true},
		"ready at once":                   {none, with(nil, ready), false},
		"ready":                           {with(nil, starting, reconciling), with(nil, ready), false},
		"not ready any more":              {with(nil, ready), with(nil, starting, reconciling), false},
		"somebody has to act, at once":    {none, with(nil, refused, stalled), false},
		"somebody has to act":             {with(nil, starting, reconciling), with(nil, refused, stalled), false},
		"nobody has to act any more":      {with(nil, refused, stalled), with(nil, starting, reconciling), false},
		"another spec":                    {with(nil, starting, reconciling), with(func(s *is) { s.ObservedGeneration = 2 }, starting, reconciling), false},
		"suspended":                       {with(nil, starting, reconciling), with(nil, pending, reconciling, suspended), false},
		"resumed":                         {with(nil, pending, reconciling, suspended), with(nil, starting, reconciling), false},
		"something is left in Azure":      {with(nil, starting, reconciling), with(retained, starting, reconciling), false},
		"nothing is left in Azure":        {with(retained, starting, reconciling), with(nil, starting, reconciling), false},
		"a removal begins":                {with(nil, starting, reconciling), with(nil, starting, reconciling, retiring(v1alpha1.ReasonDraining, "1 pod")), false},
		"a removal comes to another step": {with(nil, starting, reconciling, retiring(v1alpha1.ReasonDraining, "1 pod")), with(nil, starting, reconciling, retiring(v1alpha1.ReasonStopping, "")), false},
		"a removal is further in a step":  {with(nil, starting, reconciling, retiring(v1alpha1.ReasonDraining, "2 pods")), with(nil, starting, reconciling, retiring(v1alpha1.ReasonDraining, "1 pod")), true},
		"a node's removal begins": {
			with(nil, starting, reconciling), with(func(s *is) {
				s.Nodes = []v1alpha1.NodeStatus{{Name: "node", Conditions: []metav1.Condition{retiring(v1alpha1.ReasonDraining, "1 pod")}}}
			}, starting, reconciling), false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(status.Passing(test.stored, test.computed)).To(Equal(test.want))
		})
	}
}
