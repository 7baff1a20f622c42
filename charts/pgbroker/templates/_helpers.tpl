{{- define "pgbroker.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pgbroker.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: broker
{{- end -}}

{{- define "pgbroker.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "pgbroker.secretName" -}}
{{- .Values.existingSecret | default (include "pgbroker.fullname" .) -}}
{{- end -}}

{{- define "pgbroker.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "pgbroker.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "pgbroker.url" -}}
{{- $scheme := ternary "https" "http" (not (empty .Values.tls.secretName)) -}}
{{- printf "%s://%s.%s.svc:%v" $scheme (include "pgbroker.fullname" .) .Release.Namespace .Values.service.port -}}
{{- end -}}

{{/* What every pod of this chart has, for the "restricted" Pod Security Standard. */}}
{{- define "pgbroker.pod" -}}
serviceAccountName: {{ include "pgbroker.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Likewise, every container. */}}
{{- define "pgbroker.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "pgbroker.login" -}}
- name: PGBROKER_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ include "pgbroker.secretName" . }}, key: username}
- name: PGBROKER_PASSWORD_FILE
  value: /etc/pgbroker/password
{{- end -}}

{{/* The settings: the same for `serve` and for `migrate`. */}}
{{- define "pgbroker.settings" -}}
env:
  {{- include "pgbroker.login" . | nindent 2 }}
  - name: PGBROKER_ENCRYPTION_KEYS_FILE
    value: /etc/pgbroker/encryption-keys
  - name: PGBROKER_STATE_DSN_FILE
    value: /etc/pgbroker/state-dsn
  - name: PGBROKER_SERVERS_FILE
    value: /etc/pgbroker/servers.yaml
  - name: PGBROKER_BIND
    value: 0.0.0.0:8080
  {{- if .Values.catalog }}
  - name: PGBROKER_CATALOG_FILE
    value: /etc/pgbroker-catalog/catalog.yaml
  {{- end }}
  {{- if .Values.tls.secretName }}
  - name: PGBROKER_TLS_CERT_FILE
    value: /etc/pgbroker-tls/tls.crt
  - name: PGBROKER_TLS_KEY_FILE
    value: /etc/pgbroker-tls/tls.key
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  - {name: settings, mountPath: /etc/pgbroker, readOnly: true}
  {{- if .Values.catalog }}
  - {name: catalog, mountPath: /etc/pgbroker-catalog, readOnly: true}
  {{- end }}
  {{- if .Values.tls.secretName }}
  - {name: tls, mountPath: /etc/pgbroker-tls, readOnly: true}
  {{- end }}
{{- end -}}
