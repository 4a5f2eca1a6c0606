// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package preflight judges, from what Azure said, whether container groups can be made where a connector wants
// them; it is pure. Only what is proven bad is False.
package preflight

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// Finding is a judgement, in the words of a condition.
type Finding struct {
	// Type is the type of the condition.
	Type    string
	Status  metav1.ConditionStatus
	Reason  string
	Message string

	// osTypes are those that a finding is about that is False.
	osTypes []v1alpha1.OSType
}

// Report holds the findings.
type Report struct {
	Access Finding
	// Provider is nil for a deleted connector, Network also where no subnet is asked for.
	Provider, Network *Finding
	// Pending says that Azure has not answered everything yet.
	Pending bool
	// GoodSince is when all that a virtual kubelet needs of Azure to start began to be good; zero while something
	// is not, or is not known.
	GoodSince time.Time
}

// Findings returns the findings in the order of their conditions.
func (r Report) Findings() []Finding {
	var findings []Finding
	for _, finding := range []*Finding{r.Provider, &r.Access, r.Network} {
		if finding != nil {
			findings = append(findings, *finding)
		}
	}
	return findings
}

// Blocking returns the first finding that keeps container groups of an operating system from being made; nil where
// nothing is proven to.
func (r Report) Blocking(os v1alpha1.OSType) *Finding {
	// A credential that does not work is told before what could not be looked at without it.
	for _, finding := range []*Finding{&r.Access, r.Provider, r.Network} {
		if finding != nil && finding.Status == metav1.ConditionFalse && slices.Contains(finding.osTypes, os) {
			return finding
		}
	}
	return nil
}

// Withholding returns the finding that keeps a node of an operating system from being started for the first time: one
// that is Blocking, or that Azure has not answered yet; nil where nothing does.
func (r Report) Withholding(os v1alpha1.OSType) *Finding {
	if finding := r.Blocking(os); finding != nil || !r.Pending {
		return finding
	}
	for _, finding := range r.Findings() {
		if finding.Status == metav1.ConditionUnknown {
			return &finding
		}
	}
	return &Finding{Type: v1alpha1.ConditionAzureAccessible, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonNotChecked, Message: Waiting}
}

// Holding returns the finding that keeps a change from a virtual kubelet of an operating system that runs: one that is
// Withholding, or that Azure can't be reached now, without which none starts; nil where nothing does.
func (r Report) Holding(os v1alpha1.OSType) *Finding {
	if finding := r.Withholding(os); finding != nil {
		return finding
	}
	if r.Access.Status == metav1.ConditionUnknown && r.Access.Reason == v1alpha1.ReasonAzureUnavailable {
		return &r.Access
	}
	return nil
}

// Assess judges.
func Assess(resolved resolve.Resolved, checks discover.Checks) Report {
	report := Report{Access: access(resolved, checks)}
	if len(resolved.OSTypes) == 0 {
		return report
	}
	report.Provider = new(provider(resolved, checks))
	if resolved.Networked {
		report.Network = new(network(resolved, checks.Subnet))
	}
	report.Pending = pending(resolved, checks)
	report.GoodSince = goodSince(resolved, checks, report)
	return report
}

// pending reports whether something has been asked that is not answered.
func pending(resolved resolve.Resolved, checks discover.Checks) bool {
	target := resolved.Target
	switch {
	case !target.Usable():
		return false
	case !checks.Token.Known():
		return true
	case resolved.Provider != v1alpha1.ProviderRegistrationIgnore && target.SubscriptionID != "" && !checks.Provider.Known():
		return true
	case target.ResourceGroup != "" && (!checks.GroupsKnown || !checks.Rights.Known()):
		return true
	case resolved.Location != "" && !checks.Region.Known():
		return true
	}
	return resolved.Subnet != nil && !checks.Subnet.Known()
}

func goodSince(resolved resolve.Resolved, checks discover.Checks, report Report) time.Time {
	since := []time.Time{checks.Token.GoodSince, checks.Groups.GoodSince}
	if resolved.Networked {
		since = append(since, checks.Subnet.GoodSince, checks.Subnet.ChangedAt)
	}
	for _, finding := range report.Findings() {
		if finding.Status == metav1.ConditionFalse {
			return time.Time{}
		}
	}
	var last time.Time
	for _, t := range since {
		if t.IsZero() {
			return time.Time{}
		}
		if t.After(last) {
			last = t
		}
	}
	return last
}

// judge makes findings of one condition.
type judge struct {
	conditionType string
	osTypes       []v1alpha1.OSType
}

func (j judge) good(reason, message string) Finding {
	return Finding{Type: j.conditionType, Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

func (j judge) bad(reason, message string) Finding {
	return Finding{Type: j.conditionType, Status: metav1.ConditionFalse, Reason: reason, Message: message, osTypes: j.osTypes}
}

func (j judge) unknown(reason, message string) Finding {
	return Finding{Type: j.conditionType, Status: metav1.ConditionUnknown, Reason: reason, Message: message}
}

// problem judges what kept Azure from answering: bad where it is proven and one of the condition's own reasons.
func (j judge) problem(problem *azure.Problem, own ...string) Finding {
	switch {
	case problem.Proven && slices.Contains(own, problem.Reason):
		return j.bad(problem.Reason, problem.Message)
	case problem.Proven:
		return j.unknown(v1alpha1.ReasonNotChecked, "Azure could not be asked: see condition "+v1alpha1.ConditionAzureAccessible)
	}
	return j.unknown(problem.Reason, problem.Message)
}

// Waiting is the message of what Azure has not answered yet.
const Waiting = "waiting for Azure's answer"
