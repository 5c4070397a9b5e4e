{{/* Prefix of all names: the release name, followed by the chart name unless the release name contains it. */}}
{{- define "pushcluster.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full = .Values.fullnameOverride | default $full -}}
{{- /* Two long names must not be cut to the same one. */ -}}
{{- if gt (len $full) 40 -}}
{{- $full = printf "%s-%s" ($full | trunc 31 | trimSuffix "-") ($full | sha256sum | trunc 8) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{/* The prefix in names of objects outside the namespace of the release: two namespaces may have releases of one name. */}}
{{- define "pushcluster.clusterName" -}}
{{ .Release.Namespace }}-{{ include "pushcluster.fullname" . }}
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
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Labels of an object, those of the values among them: (dict "root" $ "name" NAME "component" COMPONENT) */}}
{{- define "pushcluster.labelsOf" -}}
{{- $labels := dict "app.kubernetes.io/name" .name -}}
{{- with .component }}{{ $_ := set $labels "app.kubernetes.io/component" . }}{{ end -}}
{{- with .root -}}
{{- $_ := set $labels "app.kubernetes.io/instance" .Release.Name -}}
{{- $_ := set $labels "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "pushcluster" -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- merge $labels (.Values.commonLabels | default dict) | toYaml -}}
{{- end -}}
{{- end -}}

{{/* Labels of objects of the operator. */}}
{{- define "pushcluster.labels" -}}
{{- include "pushcluster.labelsOf" (dict "root" . "name" "pushcluster-operator" "component" "operator") -}}
{{- end -}}

{{/* The reference of an image: (dict "root" $ "image" .Values.images.NAME) */}}
{{- define "pushcluster.image" -}}
{{- $registry := .root.Values.images.registry -}}
{{- if not $registry -}}
{{- fail "images.registry is not set: PushCluster's images are in no public registry, so build them or take them from a release, push them to a registry of your own, and set images.registry to its address (docs/how-to/install.md)." -}}
{{- end -}}
{{- $name := printf "%s/%s" $registry .image.repository -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Whether OpenShift's security context constraints choose users and groups of pods: "true" or nothing. */}}
{{- define "pushcluster.openshift" -}}
{{- $value := toString (.Values.openshift | default false) -}}
{{- if or (eq $value "true") (and (eq $value "auto") (.Capabilities.APIVersions.Has "security.openshift.io/v1")) -}}
true
{{- end -}}
{{- end -}}

{{/* Labels, merged with those of the values, which take precedence: (dict "own" (include "pushcluster.labels" .) "more" LABELS) */}}
{{- define "pushcluster.withLabels" -}}
{{- merge (dict) (.more | default dict) (fromYaml .own) | toYaml -}}
{{- end -}}
