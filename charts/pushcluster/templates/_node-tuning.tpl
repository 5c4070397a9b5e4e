{{- define "pushcluster.nodeTuning" -}}
{{ include "pushcluster.fullname" . }}-node-tuning
{{- end -}}

{{- define "pushcluster.nodeTuningSelectorLabels" -}}
app.kubernetes.io/name: pushcluster-node-tuning
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pushcluster.nodeTuningLabels" -}}
app.kubernetes.io/name: pushcluster-node-tuning
app.kubernetes.io/component: node-tuning
{{ include "pushcluster.commonLabels" . }}
{{- end -}}
