// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package mend

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// FormerTaints returns what the annotation FormerTaints of a node's Deployment is to say: the taints, but for the one
// that is asked for, that its virtual kubelet may have made the Node with before the operator has seen that. It is empty
// once the Node says itself which taint the operator keeps on it.
func FormerTaints(desired resolve.Node, observed *observe.Node) string {
	if !observed.Deployed() {
		return ""
	}
	if observed.Node != nil {
		if _, recorded := observed.Node.Annotations[identity.AnnotationTaint]; recorded {
			return ""
		}
	}
	return strings.Join(slices.DeleteFunc(mayCarry(observed.Deployment), func(taint string) bool {
		return taint == taintText(desired.Taint)
	}), ",")
}

// mayCarry returns the taints that the virtual kubelets of a Deployment may have made a Node with.
func mayCarry(deployment *appsv1.Deployment) []string {
	var taints []string
	if former := deployment.Annotations[identity.AnnotationFormerTaints]; former != "" {
		taints = strings.Split(former, ",")
	}
	for i := range deployment.Spec.Template.Spec.Containers {
		container := &deployment.Spec.Template.Spec.Containers[i]
		if container.Name != render.ContainerName || slices.Contains(container.Args, render.ArgumentNoTaint) {
			continue
		}
		var taint corev1.Taint
		for _, variable := range container.Env {
			switch variable.Name {
			case render.VariableTaintKey:
				taint.Key = variable.Value
			case render.VariableTaintValue:
				taint.Value = variable.Value
			case render.VariableTaintEffect:
				taint.Effect = corev1.TaintEffect(variable.Value)
			}
		}
		if taint.Key != "" {
			taints = append(taints, taintText(&taint))
		}
	}
	slices.Sort(taints)
	return slices.Compact(taints)
}
