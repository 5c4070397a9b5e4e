{{/* Labels of objects of the custom metrics API. */}}
{{- define "pushcluster.metricsApiLabels" -}}
app.kubernetes.io/name: pushcluster-operator
app.kubernetes.io/component: metrics-api
{{ include "pushcluster.commonLabels" . }}
{{- end -}}
