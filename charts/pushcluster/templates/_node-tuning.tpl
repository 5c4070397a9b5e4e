{{- define "pushcluster.nodeTuning" -}}
{{ include "pushcluster.fullname" . }}-node-tuning
{{- end -}}

{{- define "pushcluster.nodeTuningSelectorLabels" -}}
app.kubernetes.io/name: pushcluster-node-tuning
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "pushcluster.nodeTuningLabels" -}}
{{- include "pushcluster.labelsOf" (dict "root" . "name" "pushcluster-node-tuning" "component" "node-tuning") -}}
{{- end -}}
