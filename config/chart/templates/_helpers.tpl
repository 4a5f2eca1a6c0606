{{/*
SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
SPDX-License-Identifier: Apache-2.0
*/}}

{{/* The labels of all objects. */}}
{{- define "vk-connector-operator.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/name: vk-connector-operator
app.kubernetes.io/part-of: vk-connector-operator
app.kubernetes.io/version: {{ .Chart.AppVersion }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The operator's image: by its digest where there is one. */}}
{{- define "vk-connector-operator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The operator's arguments, as a list; nothing where there are none. */}}
{{- define "vk-connector-operator.args" -}}
{{- $args := list }}
{{- with .Values.virtualKubelet.image }}{{ $args = append $args (printf "--virtual-kubelet-image=%s" .) }}{{ end }}
{{- with .Values.virtualKubelet.allowedRepositories }}{{ $args = append $args (printf "--allowed-image-repositories=%s" (join "," .)) }}{{ end }}
{{- with concat $args .Values.extraArgs }}{{ toYaml . }}{{ end }}
{{- end }}
