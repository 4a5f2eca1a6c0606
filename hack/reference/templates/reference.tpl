{{- /*
SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
SPDX-License-Identifier: Apache-2.0

The page docs/reference.md, for crd-ref-docs.
*/ -}}

{{- /* cell makes a text fit for one cell of a table. */ -}}
{{- define "cell" -}}
{{ . | replace "\n" " " | replace "|" "\\|" | replace "<" "&lt;" | trim }}
{{- end -}}

{{- /* ref names a type, with a link to where it is described. */ -}}
{{- define "ref" -}}
{{- $kind := .Kind | toJson | trimAll "\"" -}}
{{- $links := "https://kubernetes.io/docs/reference/kubernetes-api/common-definitions" -}}
{{- if eq $kind "POINTER" -}}
{{ template "ref" .UnderlyingType }}
{{- else if eq $kind "SLICE" -}}
list of {{ template "ref" .UnderlyingType }}
{{- else if eq $kind "MAP" -}}
map of string to {{ template "ref" .ValueType }}
{{- else if eq .Name "ObjectMeta" -}}
[ObjectMeta]({{ $links }}/object-meta/)
{{- else if eq .Name "Quantity" -}}
[quantity]({{ $links }}/quantity/)
{{- else if hasPrefix "k8s.io/" .Package -}}
{{ .Name }}
{{- else if or (eq $kind "STRUCT") (eq $kind "ALIAS") -}}
[{{ .Name }}](#{{ .Name | lower }})
{{- else -}}
{{ regexReplaceAll "^int[0-9]*$" .Name "integer" | replace "bool" "boolean" }}
{{- end -}}
{{- end -}}

{{- /*
rules says what a value must be, from the markers of a field and of its type. Of a list, the rules for its items are
told where their type is.
*/ -}}
{{- define "rules" -}}
{{- $markers := index . "markers" -}}
{{- $rules := list -}}
{{- $bounds := list (list "Items" "items") (list "Properties" "keys") (list "imum" "") -}}
{{- if not .list -}}
{{- $bounds = prepend $bounds (list "Length" "characters") -}}
{{- with index $markers "kubebuilder:validation:Enum" -}}
{{- $rules = append $rules (printf "one of %s" (join ", " (index . 0))) -}}
{{- end -}}
{{- end -}}
{{- range $bounds -}}
{{- $unit := index . 1 -}}
{{- $low := index $markers (printf "kubebuilder:validation:Min%s" (index . 0)) -}}
{{- $high := index $markers (printf "kubebuilder:validation:Max%s" (index . 0)) -}}
{{- if and $low $high -}}
{{- $range := list (index $low 0 | toString) (index $high 0 | toString) | uniq | join " to " -}}
{{- $rules = append $rules (printf "%s %s" $range $unit | trim) -}}
{{- else if $low -}}
{{- $rules = append $rules (printf "at least %v %s" (index $low 0) $unit | trim) -}}
{{- else if $high -}}
{{- $rules = append $rules (printf "at most %v %s" (index $high 0) $unit | trim) -}}
{{- end -}}
{{- end -}}
{{- range index $markers "listType" -}}
{{- if ne (toString .) "atomic" -}}
{{- $rules = append $rules "no duplicates" -}}
{{- end -}}
{{- end -}}
{{- if not .list -}}
{{- range list $markers .type.Markers -}}
{{- range index . "kubebuilder:validation:XValidation" -}}
{{- $rules = append $rules .Message -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $text := $rules | uniq | join "; " -}}
{{- if .wrap }}{{ printf "Validation: %s." $text | wrap 120 }}{{ else }}{{ template "cell" $text }}{{ end -}}
{{- end -}}

{{- define "type" }}

### {{ .Name }}

{{ .Doc | replace "\n" " " | replace "<" "&lt;" | wrap 120 }}
{{- if .Members }}
{{- with index .Markers "kubebuilder:validation:XValidation" }}

Rules:
{{ range . }}
- {{ .Message | replace "<" "&lt;" | wrapWith 118 "\n  " }}
{{- end }}
{{- end }}

| field | type | meaning | default | validation |
|---|---|---|---|---|
{{- if .GVK }}
| `apiVersion` | string | {{ .GVK.Group }}/{{ .GVK.Version }} | required | |
| `kind` | string | {{ .GVK.Kind }} | required | |
{{- end }}
{{- range .Members }}
{{- $parts := regexSplit "[ .]+Default: " (.Doc | replace "\n" " " | trimSuffix ".") 2 }}
| `{{ .Name }}` | {{ template "ref" .Type }} | {{ template "cell" first $parts }}. |
{{- if index .Markers "required" }} required |
{{- else if rest $parts }} {{ template "cell" last $parts }} |
{{- else }} |
{{- end }}
{{- $list := eq (toJson .Type.Kind) "\"SLICE\"" }}
{{- if or $list (not .Type.Members) }} {{ template "rules" (dict "markers" .Markers "type" .Type "list" $list) }} |
{{- else }} |
{{- end }}
{{- end }}
{{- else }}
{{- with .EnumValues }}

| value | meaning |
|---|---|
{{- range . }}
| `{{ .Name }}` | {{ template "cell" (regexReplaceAll "^[A-Z][A-Za-z]* (is )?" .Doc "") }} |
{{- end }}
{{- else }}

{{ template "rules" (dict "markers" .Markers "type" . "list" false "wrap" true) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "gvList" -}}
<!-- Written by make generate from the comments and markers in api/v1alpha1: change those, not this. -->
# Reference
{{- range . }}
{{- $types := .Types }}
{{- $first := list "VirtualKubeletConnector" "VirtualKubeletConnectorSpec" }}
{{- range (index $types "VirtualKubeletConnectorSpec").Members }}
{{- $first = append $first .Type.Name }}
{{- end }}
{{- $first = append $first "VirtualKubeletConnectorStatus" }}

Every field of a `VirtualKubeletConnector`, of API version `{{ .GroupVersionString }}`.
`kubectl explain vkc.spec` tells the same in a terminal; [concepts](concepts.md) tells how the fields work together, and
[config/samples](../config/samples) has examples. A field that is not required and has no default is empty unless it is
set.

## Objects
{{- range $first }}
{{- $type := index $types . }}
{{- if and $type $type.Members }}
{{- template "type" $type }}
{{- end }}
{{- end }}
{{- range .SortedTypes }}
{{- if and .Members (not (has .Name $first)) }}
{{- template "type" . }}
{{- end }}
{{- end }}

## Values
{{- range .SortedTypes }}
{{- if not .Members }}
{{- template "type" . }}
{{- end }}
{{- end }}
{{- end }}
{{ end -}}
