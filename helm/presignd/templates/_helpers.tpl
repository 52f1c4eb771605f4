{{- define "presignd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "presignd.fullname" -}}
{{- $name := include "presignd.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "presignd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "presignd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "presignd.labels" -}}
{{ include "presignd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "presignd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "presignd.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "presignd.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- /*
What the schema cannot say. All that is wrong is named at once.
*/ -}}
{{- define "presignd.validate" -}}
{{- $mistakes := list -}}
{{- if not (or .Values.tls.secretName .Values.insecure) -}}
{{- $mistakes = append $mistakes "tls.secretName: presignd would serve plaintext to the whole cluster. Name a Secret with its certificate. Or set `insecure: true` once a mesh, or a network of its callers alone, protects what is on its way." -}}
{{- end -}}
{{- if not .Values.config.tenants -}}
{{- $mistakes = append $mistakes "config.tenants: at least one tenant is needed." -}}
{{- end -}}
{{- if not .Values.config.callers -}}
{{- $mistakes = append $mistakes "config.callers: at least one entry is needed. List who may ask, or write `[{ match: anyone }]` to let in whoever can connect." -}}
{{- end -}}
{{- $server := default dict .Values.config.server -}}
{{- range $key, $value := dict "listen" "service.port" "tls" "tls.secretName" "insecure" "insecure" "grace" "graceSeconds" -}}
{{- if hasKey $server $key -}}
{{- $mistakes = append $mistakes (printf "config.server.%s: the chart sets it. Set `%s` instead." $key $value) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (default dict .Values.config.telemetry) "prometheus" -}}
{{- $mistakes = append $mistakes "config.telemetry.prometheus: the chart sets it. Set `metrics.enabled` and `metrics.port` instead." -}}
{{- end -}}
{{- if eq (int .Values.metrics.port) 50051 -}}
{{- $mistakes = append $mistakes "metrics.port: 50051 is that of gRPC. Choose another one." -}}
{{- end -}}
{{- if $mistakes -}}
{{- fail (printf "\n\n- %s\n" (join "\n- " $mistakes)) -}}
{{- end -}}
{{- end }}

{{- /*
presignd.yaml: the values' config, with what the Deployment has to agree with.
*/ -}}
{{- define "presignd.config" -}}
{{- $server := dict
      "listen" "0.0.0.0:50051"
      "insecure" .Values.insecure
      "grace" (printf "%ds" (int .Values.graceSeconds)) -}}
{{- if .Values.tls.secretName -}}
{{- $tls := dict "certificate" "/etc/presignd-tls/tls.crt" "key" "/etc/presignd-tls/tls.key" -}}
{{- if .Values.tls.clientCa -}}
{{- $_ := set $tls "client_ca" "/etc/presignd-tls/ca.crt" -}}
{{- end -}}
{{- $_ := set $server "tls" $tls -}}
{{- end -}}
{{- $set := dict "server" $server -}}
{{- if .Values.metrics.enabled -}}
{{- $prometheus := dict "listen" (printf "0.0.0.0:%d" (int .Values.metrics.port)) "insecure" true -}}
{{- $_ := set $set "telemetry" (dict "prometheus" $prometheus) -}}
{{- end -}}
{{- mustMergeOverwrite (deepCopy .Values.config) $set | toYaml }}
{{- end }}

{{- /*
grpc.health.v1 of one service, or of the server as a whole. Kubernetes' own gRPC probe knows no TLS, so there presignd asks itself.
*/ -}}
{{- define "presignd.probe" -}}
{{- if .root.Values.tls.secretName -}}
exec:
  command: [/usr/local/bin/presignd, health, --config, /etc/presignd/presignd.yaml{{ with .service }}, --service, {{ . }}{{ end }}]
{{- else -}}
grpc:
  port: 50051
  {{- with .service }}
  service: {{ . }}
  {{- end }}
{{- end -}}
{{- end }}
