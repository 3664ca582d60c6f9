{{- define "idk.name" -}}
{{- default (ternary .Release.Name (printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride)) (contains (default .Chart.Name .Values.nameOverride) .Release.Name)) .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "idk.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "idk.labels" -}}
{{ include "idk.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "idk.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end }}

{{- /* The store's address: without a secret it stands in the file, else the file is made at the start. */ -}}
{{- define "idk.store" -}}
{{- if .Values.redis.urlSecret -}}IDK_STORE
{{- else if .Values.redis.url -}}{{ .Values.redis.url }}
{{- else if .Values.redis.bundled -}}redis://{{ include "idk.name" . }}-redis:6379/0
{{- else -}}{{ fail "redis: replicas share a store: give redis.url or redis.urlSecret, or redis.bundled: true" }}
{{- end -}}
{{- end }}

{{- define "idk.config" -}}
{{- $server := merge (dict "host" "0.0.0.0" "port" 8080 "workers" (int .Values.workers) "log" "json" "store" (include "idk.store" .)) (default dict .Values.config.server) -}}
{{- toYaml (merge (dict "server" $server) .Values.config) -}}
{{- end }}
