{{/* Prefix of all names: the release name, followed by the chart name unless the release name contains it. */}}
{{- define "pushcluster.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pushcluster.operator" -}}
{{ include "pushcluster.fullname" . }}-operator
{{- end -}}

{{- define "pushcluster.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "pushcluster.operator" .) }}
{{- else -}}
{{ required "serviceAccount.name: whose account is it, where serviceAccount.create is false?" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* Selector labels of the operator's pods. */}}
{{- define "pushcluster.selectorLabels" -}}
app.kubernetes.io/name: pushcluster-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of all objects of the chart, without app.kubernetes.io/name and app.kubernetes.io/component. */}}
{{- define "pushcluster.commonLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: pushcluster
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of objects of the operator. */}}
{{- define "pushcluster.labels" -}}
app.kubernetes.io/name: pushcluster-operator
app.kubernetes.io/component: operator
{{ include "pushcluster.commonLabels" . }}
{{- end -}}

{{/* The reference of an image: (dict "root" $ "image" .Values.images.NAME) */}}
{{- define "pushcluster.image" -}}
{{- $name := printf "%s/%s" .root.Values.images.registry .image.repository -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Labels, merged with those of the values, which take precedence: (dict "own" (include "pushcluster.labels" .) "more" LABELS) */}}
{{- define "pushcluster.withLabels" -}}
{{- merge (dict) (.more | default dict) (fromYaml .own) | toYaml -}}
{{- end -}}
