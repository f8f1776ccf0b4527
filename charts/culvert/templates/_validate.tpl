{{- /* Values that do not go together; each says what to change. What is wrong by itself is the schema's. */}}

{{- define "culvert.validate" -}}
{{- $v := .Values -}}
{{- if and $v.agent.createNamespace (not $v.agent.namespace) -}}
{{- fail "agent.createNamespace needs a name: set agent.namespace, as in `--set agent.namespace=culvert-agents`" -}}
{{- end -}}
{{- if and $v.agent.createNamespace (eq $v.agent.namespace .Release.Namespace) -}}
{{- fail (printf "agent.namespace is the release's own, `%s`, which Helm makes (`--create-namespace`): name another one, or leave agent.createNamespace" .Release.Namespace) -}}
{{- end -}}
{{- if eq (int $v.agent.probePort) (int $v.metrics.agentPort) -}}
{{- fail (printf "agent.probePort and metrics.agentPort are both %d, on the same node: change one" (int $v.agent.probePort)) -}}
{{- end -}}
{{- if eq (int $v.metrics.operatorPort) 8080 -}}
{{- fail "metrics.operatorPort is 8080, where the operator answers probes: choose another" -}}
{{- end -}}
{{- if ge (int $v.agent.lingerSeconds) (int $v.agent.terminationGracePeriodSeconds) -}}
{{- fail (printf "agent.lingerSeconds (%d) leaves the agent no time to end: raise agent.terminationGracePeriodSeconds above it" (int $v.agent.lingerSeconds)) -}}
{{- end -}}
{{- if not $v.metrics.enabled -}}
{{- range $name, $render := dict "serviceMonitor" $v.metrics.serviceMonitor.render "prometheusRule" $v.metrics.prometheusRule.render -}}
{{- if eq $render "always" -}}
{{- fail (printf "metrics.%s.render is `always`, but nothing is served: set metrics.enabled=true, or metrics.%s.render=never" $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.metrics.tlsSecret (not $v.metrics.enabled) -}}
{{- fail "metrics.tlsSecret names a certificate for metrics that nobody serves: set metrics.enabled=true, or take it out" -}}
{{- end -}}
{{- if and $v.roles.aggregate (not $v.roles.create) -}}
{{- fail "roles.aggregate adds the role culvert-user to others, but roles.create=false makes none: set roles.create=true" -}}
{{- end -}}
{{- if and $v.networkPolicy.egress (not $v.networkPolicy.enabled) -}}
{{- fail "networkPolicy.egress closes nothing while networkPolicy.enabled=false: set it to true" -}}
{{- end -}}
{{- if and $v.networkPolicy.metricsFrom (not $v.networkPolicy.enabled) -}}
{{- fail "networkPolicy.metricsFrom closes nothing while networkPolicy.enabled=false: set it to true" -}}
{{- end -}}
{{- include "culvert.validatePod" (dict
  "name" "operator" "pod" $v.operator
  "flags" (dict "--leader-elect" "operator.replicas" "--lease-namespace" "the release's namespace" "--lease-name" "nothing: the name is fixed" "--listen" "ipFamily" "--concurrency" "operator.concurrency" "--metrics-listen" "metrics.operatorPort" "--metrics-tls-dir" "metrics.tlsSecret" "--metrics-plain" "nothing: metrics are served over TLS alone" "--log" "logs.level" "--log-format" "logs.format")
  "env" (list "POD_NAMESPACE" "CULVERT_LISTEN" "CULVERT_LEADER_ELECT" "CULVERT_CONCURRENCY" "CULVERT_METRICS_LISTEN" "CULVERT_METRICS_TLS_DIR" "CULVERT_LOG_FORMAT" "RUST_LOG")
  "volumes" (list "metrics-tls")) -}}
{{- include "culvert.validatePod" (dict
  "name" "agent" "pod" $v.agent
  "flags" (dict "--node-name" "nothing: it is the pod's node" "--state-dir" "agent.stateDir" "--backend" "agent.backend" "--wireguard-go" "agent.image" "--nft" "agent.image" "--listen" "agent.probePort" "--metrics-listen" "metrics.agentPort" "--metrics-tls-dir" "metrics.tlsSecret" "--metrics-plain" "nothing: metrics are served over TLS alone" "--log" "logs.level" "--log-format" "logs.format")
  "env" (list "NODE_NAME" "HOST_IP" "CULVERT_LISTEN" "CULVERT_STATE_DIR" "CULVERT_BACKEND" "CULVERT_WIREGUARD_GO" "CULVERT_NFT" "CULVERT_METRICS_LISTEN" "CULVERT_METRICS_TLS_DIR" "CULVERT_LOG_FORMAT" "RUST_LOG")
  "volumes" (list "metrics-tls" "state" "wireguard" "tun")) -}}
{{- end }}

{{- define "culvert.validatePod" -}}
{{- $name := .name -}}
{{- $flags := .flags -}}
{{- $env := .env -}}
{{- $own := .volumes -}}
{{- range .pod.extraArgs -}}
{{- $flag := first (splitList "=" .) -}}
{{- with get $flags $flag -}}
{{- fail (printf "%s.extraArgs sets `%s`, which the chart sets: use %s instead" $name $flag .) -}}
{{- end -}}
{{- end -}}
{{- range .pod.extraEnv -}}
{{- if has (get . "name") $env -}}
{{- fail (printf "%s.extraEnv sets `%s`, which the chart decides by a flag or by the pod: take it out" $name (get . "name")) -}}
{{- end -}}
{{- end -}}
{{- $volumes := list -}}
{{- range .pod.extraVolumes -}}
{{- if has (get . "name") $own -}}
{{- fail (printf "%s.extraVolumes has a volume `%s`, which is one of the chart's own: give it another name" $name (get . "name")) -}}
{{- end -}}
{{- $volumes = append $volumes (get . "name") -}}
{{- end -}}
{{- range .pod.extraVolumeMounts -}}
{{- if not (has (get . "name") $volumes) -}}
{{- fail (printf "%s.extraVolumeMounts mounts `%s`, which is no volume: add it to %s.extraVolumes" $name (get . "name") $name) -}}
{{- end -}}
{{- end -}}
{{- range $label, $_ := .pod.podLabels -}}
{{- if hasPrefix "app.kubernetes.io/" $label -}}
{{- fail (printf "%s.podLabels sets `%s`, by which the chart finds its pods: take it out" $name $label) -}}
{{- end -}}
{{- end -}}
{{- end }}
