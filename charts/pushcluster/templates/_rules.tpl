{{/* The alerts, with the line rate and the runbook URL of the values. */}}
{{- define "pushcluster.rules" -}}
{{- $rate := printf "%g" (mulf .Values.monitoring.rules.lineRate 1.25e8) -}}
{{- $rules := .Files.Get "rules/pushcluster.yaml" | replace "* 1.25e+09" (printf "* %s" $rate) -}}
{{- if .Values.monitoring.rules.runbook -}}
{{- $rules = $rules | replace "docs/how-to/runbook.md#" (printf "%s#" .Values.monitoring.rules.runbook) -}}
{{- else -}}
{{- /* A pager can follow only a URL. */ -}}
{{- $rules = $rules | replace "runbook_url: " "runbook: " -}}
{{- end -}}
{{- $rules | trim -}}
{{- end -}}

{{- define "pushcluster.rulesLabels" -}}
{{- include "pushcluster.labelsOf" (dict "root" . "name" "pushcluster-rules" "component" "rules") -}}
{{- end -}}
