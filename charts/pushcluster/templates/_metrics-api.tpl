{{/* Labels of objects of the custom metrics API. */}}
{{- define "pushcluster.metricsApiLabels" -}}
{{- include "pushcluster.labelsOf" (dict "root" . "name" "pushcluster-operator" "component" "metrics-api") -}}
{{- end -}}
