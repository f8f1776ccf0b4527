//! The chart's values as types: their names, defaults, bounds and words are written here and nowhere else.
//! `values.yaml`, `values.schema.json` and the table in the chart's README come from them.

mod programs;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use programs::{Agent, Image, Operator};

/// Labels, annotations and selectors.
pub type Texts = BTreeMap<String, String>;

/// An object of Kubernetes' own, which the apiserver judges.
pub type Object = BTreeMap<String, Value>;

/// Values of the chart `culvert`.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Values {
    /// What an umbrella chart says to all of its charts. Other charts' words are let through.
    pub global: Global,

    /// For the `condition` of an umbrella chart; this chart does not look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,

    /// Names of Secrets to pull images with, as in `[{name: registry}]`; those of `global` come on top.
    pub image_pull_secrets: Vec<Named>,

    /// The family of the addresses on which probes and metrics are served: IPv6 where that is the pods' and nodes' first.
    pub ip_family: IpFamily,

    /// What operator and agents log. No key, address or endpoint appears at any level.
    pub logs: Logs,

    /// Definitions of the kinds, and the admission policies that guard them.
    pub crds: Crds,

    /// Roles for people. The programs have their own.
    pub roles: Roles,

    /// The operator, which hands out addresses. It passes the Pod Security level `restricted`.
    pub operator: Operator,

    /// The agent of each gateway node, which programs peers into the kernel and forgets clients.
    pub agent: Agent,

    /// Metrics, for whoever holds `get` on the non-resource URL `/metrics`. No number is about one key or one client.
    pub metrics: Metrics,

    /// Who may reach the operator's pods. Agents are in the nodes' network, where a `NetworkPolicy` does nothing.
    pub network_policy: NetworkPolicy,

    /// What comes before Culvert is taken away: docs/decisions/0007-uninstall.md says why.
    pub uninstall: Uninstall,

    /// `helm test` looks at the cluster with `kubectl culvert check`.
    pub test: Switch,
}

/// What stands in `global`.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("additionalProperties" = true))]
pub struct Global {
    /// The registry of every image, in place of each image's own.
    pub image_registry: String,

    /// Names of Secrets to pull images with.
    pub image_pull_secrets: Vec<Named>,
}

/// A name.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// An address family.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub enum IpFamily {
    #[default]
    IPv4,
    IPv6,
}

/// How programs log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logs {
    /// What is logged, as in `info` or `debug`.
    pub level: String,

    /// `json` or `text`.
    pub format: LogFormat,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Json,
        }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

/// Whether definitions come with the chart.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Crds {
    /// Install and upgrade the definitions and policies with the chart. Without it, apply those of the release first:
    /// `kubectl apply --server-side -f crds/yaml`.
    pub enabled: bool,

    /// Keep definitions, policies and so every key, pool and gateway when the release is uninstalled, or when `enabled`
    /// is switched off.
    pub keep: bool,
}

impl Default for Crds {
    fn default() -> Self {
        Self {
            enabled: true,
            keep: true,
        }
    }
}

/// Roles for people.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Roles {
    /// Make the cluster roles `culvert-user` (has keys), `culvert-reader` (sees gateways), `culvert-admin` and
    /// `culvert-logs`. None is bound to anybody.
    pub create: bool,

    /// Add `culvert-user` to Kubernetes' own roles `admin` and `edit`: who may change a namespace may have keys there.
    pub aggregate: bool,
}

impl Default for Roles {
    fn default() -> Self {
        Self {
            create: true,
            aggregate: false,
        }
    }
}

/// Whether to do something.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Switch {
    /// Whether to do so.
    pub enabled: bool,
}

impl Default for Switch {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Metrics and who reads them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// Serve metrics, over TLS, to whoever has a token with that right.
    pub enabled: bool,

    /// The operator's port.
    #[schemars(range(min = 1024, max = 65535))]
    pub operator_port: u16,

    /// The agents' port, at the node's internal address.
    #[schemars(range(min = 1024, max = 65535))]
    pub agent_port: u16,

    /// A Secret of the type `kubernetes.io/tls` in the operator's namespace and in the agents'; read again when it
    /// changes. Without a name each program makes a certificate of its own at its start.
    pub tls_secret: String,

    /// Objects of the kind `ServiceMonitor`.
    pub service_monitor: ServiceMonitor,

    /// An object of the kind `PrometheusRule` with Culvert's alerts; docs/runbooks has a page for each.
    pub prometheus_rule: PrometheusRule,

    /// A `ConfigMap` with the dashboard, for Grafana's sidecar.
    pub dashboard: Dashboard,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enabled: true,
            operator_port: 8443,
            agent_port: 9821,
            tls_secret: String::new(),
            service_monitor: ServiceMonitor::default(),
            prometheus_rule: PrometheusRule::default(),
            dashboard: Dashboard::default(),
        }
    }
}

/// When to render what the cluster may not know.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Render {
    #[default]
    Auto,
    Always,
    Never,
}

/// How Prometheus is told.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceMonitor {
    /// `auto`: where the cluster knows the kind; `always`; `never`.
    pub render: Render,

    /// How often to scrape.
    #[schemars(regex(pattern = r"^[1-9][0-9]*(ms|s|m)$"))]
    pub interval: String,

    /// Labels by which a Prometheus chooses, as in `{release: prometheus}`.
    pub labels: Texts,

    /// How Prometheus knows whom it scrapes. Certificates that the programs make themselves prove nothing; with
    /// `tlsSecret` name their authority here, and the server's name.
    pub tls_config: Object,
}

impl Default for ServiceMonitor {
    fn default() -> Self {
        Self {
            render: Render::Auto,
            interval: "30s".to_owned(),
            labels: Texts::new(),
            tls_config: [("insecureSkipVerify".to_owned(), json!(true))].into(),
        }
    }
}

/// The alerts.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PrometheusRule {
    /// `auto`: where the cluster knows the kind; `always`; `never`.
    pub render: Render,

    /// Labels by which a Prometheus chooses.
    pub labels: Texts,
}

/// The dashboard.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Dashboard {
    /// Make it.
    pub enabled: bool,

    /// Labels by which Grafana's sidecar finds it.
    pub labels: Texts,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self {
            enabled: true,
            labels: [("grafana_dashboard".to_owned(), "1".to_owned())].into(),
        }
    }
}

/// Who may reach the operator, and whom it may.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicy {
    /// Let nothing in but probes and scrapes.
    pub enabled: bool,

    /// Who may scrape, as the `from` of a `NetworkPolicy`; everybody when it is empty, who needs a token then still.
    pub metrics_from: Vec<Object>,

    /// The `egress` of a `NetworkPolicy`, which must let the operator reach the apiserver; nothing is closed when it is empty,
    /// as no chart knows where that is.
    pub egress: Vec<Object>,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            metrics_from: Vec::new(),
            egress: Vec::new(),
        }
    }
}

/// The hook before the release goes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Uninstall {
    /// Before `helm uninstall` takes the programs away: stop the operator, drain every gateway node, let pools go. Without
    /// it, interfaces and what they know of clients stay in the nodes' kernels.
    pub enabled: bool,

    /// How long to wait for the nodes, in seconds. One that has not answered by then is named, and keeps nothing from
    /// going.
    #[schemars(range(min = 1, max = 3600))]
    pub wait_seconds: u16,
}

impl Default for Uninstall {
    fn default() -> Self {
        Self {
            enabled: true,
            wait_seconds: 45,
        }
    }
}
