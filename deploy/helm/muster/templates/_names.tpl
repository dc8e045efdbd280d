{{/* The operator, and all that is its own in its namespace. A release has at most 53 characters, so this fits a label. */}}
{{- define "muster.operator" -}}
{{ .Release.Name }}-operator
{{- end }}

{{/* Its rights on what it looks after. In that one namespace, which may be its own, its namespace tells them from others. */}}
{{- define "muster.rights" -}}
{{ include "muster.operator" . }}{{ if .Values.watchNamespace }}-{{ .Release.Namespace }}{{ end }}
{{- end }}

{{/* A rule about what is written. It belongs to the cluster: releases of one name that look after different namespaces have one each. */}}
{{- define "muster.policy" -}}
{{- $root := index . 0 -}}
{{ $root.Release.Name }}-{{ index . 1 }}{{ with $root.Values.watchNamespace }}-{{ . }}{{ end }}
{{- end }}

{{- define "muster.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "muster.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* The operator as the one who gets rights. */}}
{{- define "muster.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "muster.operator" . }}
    namespace: {{ .Release.Namespace | quote }}
{{- end }}
