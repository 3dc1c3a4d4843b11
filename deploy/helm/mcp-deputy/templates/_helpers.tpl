{{- define "mcp-deputy.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "mcp-deputy.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mcp-deputy.labels" -}}
{{ include "mcp-deputy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "mcp-deputy.secret" -}}
{{- .Values.secret.existing | default (include "mcp-deputy.name" .) }}
{{- end }}

{{/* proxy.toml: as it was given, or the smallest that is useful. */}}
{{- define "mcp-deputy.config" -}}
{{- if .Values.config }}
{{- if or .Values.publicUrl .Values.upstreamUrl .Values.provider.clientId .Values.extraConfig .Values.trustedProxies }}
{{- fail "config is the whole proxy.toml: with it, publicUrl, upstreamUrl, provider.clientId, trustedProxies and extraConfig must be empty" }}
{{- end }}
{{- .Values.config }}
{{- else -}}
public_url = {{ required "publicUrl is needed: the origin under which people and apps reach the gateway" .Values.publicUrl | toJson }}
listen = "0.0.0.0:8080"
{{- with .Values.trustedProxies }}
trusted_proxies = {{ toJson . }}
{{- end }}

[store]
url = "disk:/var/lib/mcp-deputy/data"
encryption_key = { env = "MCP_DEPUTY_KEY" }

[provider.{{ .Values.provider.preset }}]
preset = {{ .Values.provider.preset | toJson }}
client_id = {{ required "provider.clientId is needed: the client ID of your app at the third party" .Values.provider.clientId | toJson }}
client_secret = { env = "CLIENT_SECRET" }
{{- range $key, $value := .Values.provider.more }}
{{ $key }} = {{ toJson $value }}
{{- end }}

[[mcp_server]]
upstream_url = {{ required "upstreamUrl is needed: the MCP server, as the gateway reaches it" .Values.upstreamUrl | toJson }}
{{- with .Values.extraConfig }}

{{ . }}
{{- end }}
{{- end }}
{{- end }}
