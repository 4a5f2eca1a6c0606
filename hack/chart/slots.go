// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// httpsPort is among those of the rule whose ports values decide.
const httpsPort = "443"

// slots are the places of an object that values decide, by what stands there until they are filled.
type slots map[string]func(key string) string

// object is one of YAML.
type object = map[string]any

// place marks the places in an object.
func (s slots) place(kind string, o object) error {
	metadata, err := child(o, "metadata")
	if err != nil {
		return err
	}
	if err := s.labels(metadata); err != nil {
		return err
	}
	switch kind {
	case "CustomResourceDefinition":
		annotations, err := child(metadata, "annotations")
		if err != nil {
			return err
		}
		s.put(annotations, "helm.sh/resource-policy", func(string) string {
			return "{{- if .Values.crds.keep }}\nhelm.sh/resource-policy: keep\n{{- end }}"
		})
	case "ClusterRoleBinding", "RoleBinding":
		return s.binding(o)
	case "ConfigMap":
		return s.dashboard(metadata)
	case "Deployment":
		return s.deployment(o)
	case "NetworkPolicy":
		return s.networkPolicy(o)
	case "PrometheusRule":
		return s.addLabels(metadata, ".Values.metrics.prometheusRule.labels")
	case "ServiceMonitor":
		return s.serviceMonitor(o, metadata)
	}
	return nil
}

// labels puts those of Helm in place of those that kustomize gives to all.
func (s slots) labels(metadata object) error {
	labels, err := child(metadata, "labels")
	if err != nil {
		return err
	}
	for _, key := range []string{"name", "part-of", "version"} {
		delete(labels, "app.kubernetes.io/"+key)
	}
	s.put(labels, "labels", func(string) string { return `{{- include "vk-connector-operator.labels" . | nindent 0 }}` })
	return nil
}

// addLabels has more labels beside those that are there.
func (s slots) addLabels(metadata object, value string) error {
	labels, err := child(metadata, "labels")
	if err != nil {
		return err
	}
	s.put(labels, "moreLabels", added(value))
	return nil
}

// binding lets the chart's users say who reads the metrics; the other subjects are of the operator.
func (s slots) binding(binding object) error {
	subjects, err := list(binding, "subjects")
	if err != nil {
		return err
	}
	for _, subject := range subjects {
		if subject["namespace"] != namespace {
			s.put(subject, "name", inline("{{ .Values.metrics.reader.serviceAccount.name | quote }}"))
			s.put(subject, "namespace", inline("{{ .Values.metrics.reader.serviceAccount.namespace | quote }}"))
		}
	}
	return nil
}

func (s slots) dashboard(metadata object) error {
	labels, err := child(metadata, "labels")
	if err != nil {
		return err
	}
	delete(labels, "grafana_dashboard")
	return s.addLabels(metadata, ".Values.metrics.dashboard.labels")
}

func (s slots) serviceMonitor(monitor, metadata object) error {
	spec, err := child(monitor, "spec")
	if err != nil {
		return err
	}
	endpoints, err := list(spec, "endpoints")
	if err != nil {
		return err
	}
	for _, endpoint := range endpoints {
		file, err := marshal(map[string]any{"bearerTokenFile": endpoint["bearerTokenFile"]})
		if err != nil {
			return err
		}
		delete(endpoint, "bearerTokenFile")
		s.put(endpoint, "interval", inline("{{ .Values.metrics.serviceMonitor.interval }}"))
		// Not in its own place, which is the first of an item of a list.
		s.put(endpoint, "scheme", func(key string) string {
			return strings.Join([]string{
				key + ": https", "{{- with .Values.metrics.serviceMonitor.authorization }}",
				`{{- dict "authorization" . | toYaml | nindent 0 }}`, "{{- else }}", file + "{{- end }}",
			}, "\n")
		})
	}
	return s.addLabels(metadata, ".Values.metrics.serviceMonitor.labels")
}

func (s slots) deployment(deployment object) error {
	spec, err := child(deployment, "spec")
	if err != nil {
		return err
	}
	template, err := child(spec, "template")
	if err != nil {
		return err
	}
	metadata, err := child(template, "metadata")
	if err != nil {
		return err
	}
	if err := s.labels(metadata); err != nil {
		return err
	}
	labels, err := child(metadata, "labels")
	if err != nil {
		return err
	}
	annotations, err := child(metadata, "annotations")
	if err != nil {
		return err
	}
	pod, err := child(template, "spec")
	if err != nil {
		return err
	}
	containers, err := list(pod, "containers")
	if err != nil {
		return err
	}
	manager := containers[0]

	s.put(spec, "replicas", inline(`{{ if .Values.highAvailability.enabled }}{{ max 2 (int .Values.replicas) }}{{ else }}{{ .Values.replicas }}{{ end }}`))
	s.put(labels, "podLabels", added(".Values.podLabels"))
	s.put(annotations, "podAnnotations", added(".Values.podAnnotations"))
	s.put(manager, "image", inline(`{{ include "vk-connector-operator.image" . | quote }}`))
	// Not in their own places: the first field of an item of a list can't be left out.
	s.put(manager, "imagePullPolicy", func(key string) string {
		return strings.Join([]string{
			inline("{{ .Values.image.pullPolicy }}")(key),
			`{{- with include "vk-connector-operator.args" . }}`, "args:", "{{- . | nindent 0 }}", "{{- end }}",
			optional(".Values.env")("env"),
		}, "\n")
	})
	s.put(manager, "resources", optional(".Values.resources"))
	s.put(pod, "imagePullSecrets", optional(".Values.imagePullSecrets"))
	s.put(pod, "priorityClassName", optional(".Values.priorityClassName"))
	s.put(pod, "nodeSelector", optional(".Values.nodeSelector"))
	s.put(pod, "tolerations", optional(".Values.tolerations"))
	return s.only(pod, "topologySpreadConstraints", ".Values.highAvailability.enabled")
}

func (s slots) networkPolicy(policy object) error {
	spec, err := child(policy, "spec")
	if err != nil {
		return err
	}
	egress, err := list(spec, "egress")
	if err != nil {
		return err
	}
	for _, rule := range egress {
		if _, limited := rule["to"]; limited {
			continue
		}
		s.put(rule, "to", func(key string) string {
			return "{{- with .Values.networkPolicy.egressCIDRs }}\n" + key + ":\n{{- range . }}\n- ipBlock:\n    cidr: {{ . | quote }}\n{{- end }}\n{{- end }}"
		})
		ports, err := list(rule, "ports")
		if err != nil {
			return err
		}
		if slices.ContainsFunc(ports, func(port object) bool { return fmt.Sprint(port["port"]) == httpsPort }) {
			s.put(rule, "ports", func(key string) string {
				return key + ":\n{{- range .Values.networkPolicy.egressPorts }}\n- port: {{ int . }}\n  protocol: TCP\n{{- end }}"
			})
		}
	}
	ingress, err := list(spec, "ingress")
	if err != nil {
		return err
	}
	for _, rule := range ingress {
		from, err := list(rule, "from")
		if err != nil {
			return err
		}
		var kept []any
		for _, peer := range from {
			if _, block := peer["ipBlock"]; !block {
				kept = append(kept, peer)
			}
		}
		if len(kept) == len(from) {
			continue
		}
		peers, err := marshal(kept)
		if err != nil {
			return err
		}
		s.put(rule, "from", func(key string) string {
			return key + ":\n" + peers + "{{- range .Values.networkPolicy.controlPlaneCIDRs }}\n- ipBlock:\n    cidr: {{ . | quote }}\n{{- end }}"
		})
	}
	return nil
}

// only keeps a field under a condition.
func (s slots) only(o object, key, condition string) error {
	content, err := marshal(map[string]any{key: o[key]})
	if err != nil {
		return err
	}
	s.put(o, key, func(string) string { return "{{- if " + condition + " }}\n" + content + "{{- end }}" })
	return nil
}

// put marks a field; the function writes it, without indentation.
func (s slots) put(o object, key string, write func(key string) string) {
	mark := fmt.Sprintf("TEMPLATE_%d", len(s))
	s[mark] = write
	o[key] = mark
}

// fill writes what belongs into the places, each of which is a line of its own.
func (s slots) fill(text string) (string, error) {
	lines := strings.Split(text, "\n")
	filled := 0
	for i, line := range lines {
		field := strings.TrimLeft(line, " ")
		indent := strings.Repeat(" ", len(line)-len(field))
		// The first field of an item of a list stands behind a hyphen.
		item := strings.HasPrefix(field, "- ")
		key, mark, ok := strings.Cut(strings.TrimPrefix(field, "- "), ": ")
		write, marked := s[mark]
		if !ok || !marked {
			continue
		}
		if item {
			indent += "  "
		}
		written := indented(write(key), indent)
		if item {
			if strings.HasPrefix(written, "{{") {
				return "", fmt.Errorf("field %s is the first of an item of a list, and may be left out", key)
			}
			written = indent[2:] + "- " + strings.TrimPrefix(written, indent)
		}
		lines[i] = written
		filled++
	}
	if filled != len(s) {
		return "", fmt.Errorf("%d of %d places are found again", filled, len(s))
	}
	return strings.Join(lines, "\n"), nil
}

// indented moves what is written for no indentation, as nindent has it, too.
func indented(text, indent string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		line = strings.ReplaceAll(line, "nindent 0", fmt.Sprintf("nindent %d", len(indent)))
		if !strings.HasPrefix(line, "{{-") {
			line = indent + line
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}

// inline is a field that is always there.
func inline(value string) func(string) string {
	return func(key string) string { return key + ": " + value }
}

// optional is a field that is left out where its value is empty.
func optional(value string) func(string) string {
	return func(key string) string {
		return "{{- with " + value + " }}\n{{- dict \"" + key + "\" . | toYaml | nindent 0 }}\n{{- end }}"
	}
}

// added are fields beside those that are there.
func added(value string) func(string) string {
	return func(string) string { return "{{- with " + value + " }}\n{{- toYaml . | nindent 0 }}\n{{- end }}" }
}
