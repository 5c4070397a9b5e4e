{{/* Environment variables of the operator, without operator.extraEnv. */}}
{{- define "pushcluster.operatorEnv" -}}
- name: GATEWAY_IMAGE
  value: {{ include "pushcluster.image" (dict "root" $ "image" .Values.images.gateway) | quote }}
- name: LOGIC_IMAGE
  value: {{ include "pushcluster.image" (dict "root" $ "image" .Values.images.logic) | quote }}
- name: NATS_IMAGE
  value: {{ include "pushcluster.image" (dict "root" $ "image" .Values.images.nats) | quote }}
- name: NATS_EXPORTER_IMAGE
  value: {{ include "pushcluster.image" (dict "root" $ "image" .Values.images.natsExporter) | quote }}
- name: LEASE_NAME
  value: {{ include "pushcluster.operator" . | quote }}
- name: ADMIN_PORT
  value: {{ .Values.operator.adminPort | quote }}
- name: POD_SECURITY_CONTEXT
  value: {{ ternary dict (.Values.pushClusters.podSecurityContext | default dict) (eq (include "pushcluster.openshift" .) "true") | toJson | quote }}
{{- with .Values.pushClusters.imagePullSecrets }}
{{- $secrets := list }}
{{- range . }}{{ $secrets = append $secrets .name }}{{ end }}
- name: POD_PULL_SECRETS
  value: {{ join "," $secrets | quote }}
{{- end }}
{{- with .Values.monitoring.rules.runbook }}
- name: RUNBOOK_URL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.watchNamespaces }}
- name: WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
{{- if .Values.metricsApi.enabled }}
- name: METRICS_API_PORT
  value: {{ .Values.metricsApi.port | quote }}
{{- end }}
- name: LOG_LEVEL
  value: {{ .Values.operator.logLevel | quote }}
- name: MAX_ROLLOUTS
  value: {{ .Values.operator.maxConcurrentRollouts | quote }}
{{- end -}}
