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

{{- define "pgbroker.host" -}}
{{- printf "%s.%s.svc" (include "pgbroker.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "pgbroker.url" -}}
{{- $scheme := ternary "http" "https" (eq .Values.tls.source "none") -}}
{{- printf "%s://%s:%v" $scheme (include "pgbroker.host" .) .Values.service.port -}}
{{- end -}}

{{/* The Secret with the broker's certificate; nothing without TLS. */}}
{{- define "pgbroker.tlsSecretName" -}}
{{- if eq .Values.tls.source "secret" -}}
{{- .Values.tls.secretName -}}
{{- else if ne .Values.tls.source "none" -}}
{{- printf "%s-tls" (include "pgbroker.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/*
The data of a Secret with a self-signed certificate, as JSON: what is in the cluster, or new. It is
made once in a rendering, however many templates ask for it.
Arguments: root, name (of the Secret), hosts.
*/}}
{{- define "pgbroker.certificate" -}}
{{- $made := printf "certificate-%s" .name -}}
{{- if not (hasKey .root.Values $made) -}}
{{- $kept := (lookup "v1" "Secret" .root.Release.Namespace .name).data | default dict -}}
{{- if and (hasKey $kept "ca.crt") (hasKey $kept "tls.crt") (hasKey $kept "tls.key") -}}
{{- $_ := set .root.Values $made (pick $kept "ca.crt" "tls.crt" "tls.key") -}}
{{- else -}}
{{- $authority := genCA .name 3650 -}}
{{- $certificate := genSignedCert (first .hosts | trunc 63) nil .hosts 3650 $authority -}}
{{- $_ := set .root.Values $made (dict "ca.crt" (b64enc $authority.Cert) "tls.crt" (b64enc $certificate.Cert) "tls.key" (b64enc $certificate.Key)) -}}
{{- end -}}
{{- end -}}
{{- index .root.Values $made | toJson -}}
{{- end -}}

{{/* The broker's own certificate, when it is self-signed. */}}
{{- define "pgbroker.ownCertificate" -}}
{{- $host := include "pgbroker.host" . -}}
{{- include "pgbroker.certificate" (dict "root" . "name" (include "pgbroker.tlsSecretName" .) "hosts" (list $host (printf "%s.cluster.local" $host))) -}}
{{- end -}}

{{/* Base64 of whom a platform has to trust, as far as it is known: maybe nothing. */}}
{{- define "pgbroker.caBundle" -}}
{{- $secret := include "pgbroker.tlsSecretName" . -}}
{{- if .Values.serviceCatalog.caBundle -}}
{{- .Values.serviceCatalog.caBundle -}}
{{- else if eq .Values.tls.source "selfSigned" -}}
{{- index (include "pgbroker.ownCertificate" . | fromJson) "ca.crt" -}}
{{- else if $secret -}}
{{- index ((lookup "v1" "Secret" .Release.Namespace $secret).data | default dict) "ca.crt" | default "" -}}
{{- end -}}
{{- end -}}

{{/* Whether the chart brings its own PostgreSQL: "true", or nothing. */}}
{{- define "pgbroker.quickStart" -}}
{{- if not (or .Values.existingSecret .Values.stateDsn .Values.servers) -}}
true
{{- end -}}
{{- end -}}

{{- define "pgbroker.quickStartName" -}}
{{- printf "%s-postgresql" (include "pgbroker.fullname" . | trunc 52 | trimSuffix "-") -}}
{{- end -}}

{{- define "pgbroker.quickStartSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: postgresql
{{- end -}}

{{- define "pgbroker.quickStartHost" -}}
{{- printf "%s.%s.svc" (include "pgbroker.quickStartName" .) .Release.Namespace -}}
{{- end -}}

{{- define "pgbroker.prepareSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: prepare
{{- end -}}

{{- define "pgbroker.smokeName" -}}
{{- printf "%s-smoke" (include "pgbroker.fullname" . | trunc 57 | trimSuffix "-") -}}
{{- end -}}

{{- define "pgbroker.smokeSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{/* Rules of NetworkPolicies: where a pod may go. */}}
{{- define "pgbroker.egressToDns" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{- define "pgbroker.egressToDatabases" -}}
- ports:
    {{- range .Values.networkPolicy.databasePorts }}
    - {port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- if include "pgbroker.quickStart" . }}
{{ include "pgbroker.egressToQuickStart" . }}
{{- end }}
{{- end -}}

{{- define "pgbroker.egressToQuickStart" -}}
- ports:
    - {port: 5432}
  to:
    - podSelector:
        matchLabels: {{- include "pgbroker.quickStartSelector" . | nindent 10 }}
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
  {{- if include "pgbroker.tlsSecretName" . }}
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
  {{- if include "pgbroker.tlsSecretName" . }}
  - {name: tls, mountPath: /etc/pgbroker-tls, readOnly: true}
  {{- end }}
{{- end -}}

{{/* The settings as a volume; with the quick start, its authority is among them. */}}
{{- define "pgbroker.settingsVolume" -}}
projected:
  # Group 0, which the image's user is in, whatever its number.
  defaultMode: 0440
  sources:
    - secret: {name: {{ include "pgbroker.secretName" . }}}
    {{- if include "pgbroker.quickStart" . }}
    - secret:
        name: {{ include "pgbroker.quickStartName" . }}
        items: [{key: ca.crt, path: ca.crt}]
    {{- end }}
{{- end -}}
