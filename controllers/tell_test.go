// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// notes is a recorder that keeps what it is told.
type notes []string

func (n *notes) Eventf(_, related runtime.Object, eventType, reason, _, _ string, _ ...any) {
	note := eventType + " " + reason
	if related != nil {
		note += " " + related.(client.Object).GetName()
	}
	*n = append(*n, note)
}

func TestTell(t *testing.T) {
	const (
		access, provider = v1alpha1.ConditionAzureAccessible, v1alpha1.ConditionProviderRegistered
		linux, windows   = v1alpha1.ConditionLinuxNodeReady, v1alpha1.ConditionWindowsNodeReady
	)
	is := func(conditionType string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: conditionType, Status: status, Reason: reason}
	}
	good := func(conditionType, reason string) metav1.Condition {
		return is(conditionType, metav1.ConditionTrue, reason)
	}
	bad := func(conditionType, reason string) metav1.Condition {
		return is(conditionType, metav1.ConditionFalse, reason)
	}
	unknown := func(conditionType, reason string) metav1.Condition {
		return is(conditionType, metav1.ConditionUnknown, reason)
	}
	type conditions = []metav1.Condition
	for name, test := range map[string]struct {
		before, after conditions
		want          notes
	}{
		"what is as before is not told": {
			conditions{good(access, v1alpha1.ReasonAccessible)}, conditions{good(access, v1alpha1.ReasonAccessible)}, nil,
		},
		"another status or reason is": {
			conditions{good(access, v1alpha1.ReasonAccessible), bad(linux, v1alpha1.ReasonStarting)},
			conditions{good(access, v1alpha1.ReasonQuotaExhausted), bad(linux, v1alpha1.ReasonCrashLoop)},
			notes{"Warning QuotaExhausted", "Warning CrashLoop linux"},
		},
		"two nodes are told apart": {
			nil, conditions{good(linux, v1alpha1.ReasonNodeReady), good(windows, v1alpha1.ReasonNodeReady)},
			notes{"Normal NodeReady linux", "Normal NodeReady windows"},
		},
		"what sums up is not told": {
			nil, conditions{
				bad(v1alpha1.ConditionReady, v1alpha1.ReasonSecretNotFound), good(v1alpha1.ConditionStalled, v1alpha1.ReasonUserActionNeeded),
				good(v1alpha1.ConditionRetiring, v1alpha1.ReasonEvictionBlocked), bad(v1alpha1.ConditionResolved, v1alpha1.ReasonSecretNotFound),
			},
			notes{"Warning SecretNotFound"},
		},
		"nor is what points to another": {
			conditions{good(access, v1alpha1.ReasonAccessible), good(linux, v1alpha1.ReasonNodeReady), good(windows, v1alpha1.ReasonNodeReady)},
			conditions{bad(access, v1alpha1.ReasonSecretExpired), bad(linux, v1alpha1.ReasonAzureNotAccessible), good(windows, v1alpha1.ReasonChangeHeld)},
			notes{"Warning SecretExpired"},
		},
		"a node that is ready again is told of, and one that was all the while is not": {
			conditions{bad(access, v1alpha1.ReasonSecretExpired), bad(linux, v1alpha1.ReasonAzureNotAccessible), good(windows, v1alpha1.ReasonChangeHeld)},
			conditions{good(access, v1alpha1.ReasonAccessible), good(linux, v1alpha1.ReasonNodeReady), good(windows, v1alpha1.ReasonNodeReady)},
			notes{"Normal Accessible", "Normal NodeReady linux"},
		},
		"that Azure is silent is told once": {
			conditions{good(provider, v1alpha1.ReasonProviderRegistered), good(access, v1alpha1.ReasonAccessible)},
			conditions{unknown(provider, v1alpha1.ReasonAzureUnavailable), unknown(access, v1alpha1.ReasonAzureUnavailable)},
			notes{"Warning AzureUnavailable"},
		},
		"by the condition that is about Azure": {
			conditions{good(provider, v1alpha1.ReasonProviderRegistered), good(access, v1alpha1.ReasonAccessible)},
			conditions{unknown(provider, v1alpha1.ReasonAzureUnavailable), good(access, v1alpha1.ReasonAccessible)},
			nil,
		},
		"and so is its end": {
			conditions{unknown(provider, v1alpha1.ReasonAzureUnavailable), unknown(access, v1alpha1.ReasonAzureUnavailable)},
			conditions{good(provider, v1alpha1.ReasonProviderRegistered), good(access, v1alpha1.ReasonAccessible)},
			notes{"Normal Accessible"},
		},
		"what Azure says is told when it is first heard": {
			conditions{unknown(provider, v1alpha1.ReasonNotChecked), unknown(access, v1alpha1.ReasonNotChecked)},
			conditions{good(provider, v1alpha1.ReasonProviderRegistered), good(access, v1alpha1.ReasonAccessible)},
			notes{"Normal Registered", "Normal Accessible"},
		},
		"and when it was bad": {
			conditions{bad(provider, v1alpha1.ReasonProviderNotRegistered), good(access, v1alpha1.ReasonAccessible)},
			conditions{good(provider, v1alpha1.ReasonProviderRegistered), good(access, v1alpha1.ReasonAccessible)},
			notes{"Normal Registered"},
		},
		"a node that is not ready is told of unless it starts": {
			conditions{good(linux, v1alpha1.ReasonNodeReady), bad(windows, v1alpha1.ReasonStarting)},
			conditions{bad(linux, v1alpha1.ReasonNodeNotReady), bad(windows, v1alpha1.ReasonNodeNotReady)},
			notes{"Warning NodeNotReady linux"},
		},
		"that nothing is changed is told, and its end": {
			conditions{good(v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended)}, nil, notes{"Normal Resumed"},
		},
		"that no container groups are noted any more does not tell that they are gone": {
			conditions{good(v1alpha1.ConditionContainerGroupsRetained, v1alpha1.ReasonRetained)}, nil, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got notes
			connector := &v1alpha1.VirtualKubeletConnector{}
			connector.UID = types.UID("1")
			(&Reconciler{Recorder: &got}).tell(connector,
				v1alpha1.VirtualKubeletConnectorStatus{Conditions: test.before},
				v1alpha1.VirtualKubeletConnectorStatus{Conditions: test.after, Nodes: []v1alpha1.NodeStatus{
					{Name: "linux", OSType: v1alpha1.OSTypeLinux, Conditions: conditions{good(v1alpha1.ConditionReady, v1alpha1.ReasonNodeReady)}},
					{Name: "windows", OSType: v1alpha1.OSTypeWindows, Conditions: conditions{good(v1alpha1.ConditionReady, v1alpha1.ReasonNodeReady)}},
				}})
			NewWithT(t).Expect(got).To(Equal(test.want))
		})
	}
}
