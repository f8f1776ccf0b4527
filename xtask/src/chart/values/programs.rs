//! The two programs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Object, Texts};

/// An image.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    /// The registry, unless `global.imageRegistry` names another.
    pub registry: String,

    /// The repository.
    pub repository: String,

    /// The tag; the chart's `appVersion` when it is empty.
    pub tag: String,

    /// The digest, as in `sha256:…`, in place of a tag.
    #[schemars(regex(pattern = "^(sha256:[0-9a-f]{64})?$"))]
    pub digest: String,

    /// When to pull it.
    pub pull_policy: PullPolicy,
}

impl Image {
    fn of(program: &str) -> Self {
        Self {
            registry: "ghcr.io".to_owned(),
            repository: format!("culvert-dev/{program}"),
            ..Self::default()
        }
    }
}

impl Default for Image {
    fn default() -> Self {
        Self {
            registry: String::new(),
            repository: String::new(),
            tag: String::new(),
            digest: String::new(),
            pull_policy: PullPolicy::IfNotPresent,
        }
    }
}

/// When a node pulls an image.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// What every pod has.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Common {
    /// CPU and memory.
    pub resources: Object,

    /// Further flags of the program. Those that the chart sets have values of their own.
    pub extra_args: Vec<String>,

    /// Further environment variables.
    pub extra_env: Vec<Object>,

    /// Further volumes.
    pub extra_volumes: Vec<Object>,

    /// Where they are mounted.
    pub extra_volume_mounts: Vec<Object>,

    /// Labels of pods.
    pub pod_labels: Texts,

    /// Annotations of pods.
    pub pod_annotations: Texts,

    /// Annotations of the service account.
    pub service_account_annotations: Texts,

    /// Which nodes.
    pub node_selector: Texts,

    /// Which taints do not keep pods away.
    pub tolerations: Vec<Object>,

    /// Where pods would rather be, or not.
    pub affinity: Object,

    /// How important pods are.
    pub priority_class_name: String,

    /// How long a pod may take to end, in seconds.
    #[schemars(range(min = 1))]
    pub termination_grace_period_seconds: u16,
}

/// The operator.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Operator {
    /// Its image, which holds the plugin for the hook and the test as well.
    pub image: Image,

    /// How many there are; one of them acts at a time. With one alone nothing is revoked while it restarts.
    #[schemars(range(min = 1))]
    pub replicas: u16,

    /// How many writes may be under way at the same time.
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: u16,

    /// What every pod has.
    #[serde(flatten)]
    pub pod: Common,
}

impl Default for Operator {
    fn default() -> Self {
        Self {
            image: Image::of("culvert-operator"),
            replicas: 2,
            concurrency: 32,
            pod: Common {
                resources: requests("50m", "64Mi"),
                priority_class_name: "system-cluster-critical".to_owned(),
                termination_grace_period_seconds: 30,
                ..Common::default()
            },
        }
    }
}

/// The agent.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Agent {
    /// Its image, which holds `nft` and `wireguard-go` as well.
    pub image: Image,

    /// The agents' namespace, where they have one of their own: then only that one needs the Pod Security level
    /// `privileged`, for the nodes' network and one folder of theirs.
    pub namespace: String,

    /// Make that namespace, with this label.
    pub create_namespace: bool,

    /// What moves the packets: `kernel`, `userspace` (wireguard-go), or `auto`, which is the kernel where it has
    /// WireGuard. All but `kernel` need the device `/dev/net/tun` of the node.
    pub backend: Backend,

    /// The folder on the node for the private keys of gateways with `keyStorage: Node`. Empty: keys are in memory alone,
    /// and a gateway has another one after its node has booted.
    #[schemars(regex(pattern = "^(/.+)?$"))]
    pub state_dir: String,

    /// The port of the probes, at the node's 127.0.0.1.
    #[schemars(range(min = 1024, max = 65535))]
    pub probe_port: u16,

    /// How long an agent goes on when its pod is to end, in seconds: a node that loses the label of the selector has that
    /// long to hear that it is to remove peers and interface. A rollout waits as long on each node.
    pub linger_seconds: u16,

    /// How many nodes may be without an agent during a rollout. Tunnels stay while it is away; nobody is forgotten.
    pub max_unavailable: MaxUnavailable,

    /// Options for `SELinux`, where nodes keep containers out of `stateDir`: `{type: spc_t}`.
    pub se_linux_options: Texts,

    /// What every pod has.
    #[serde(flatten)]
    pub pod: Common,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            image: Image::of("culvert-node-agent"),
            namespace: String::new(),
            create_namespace: false,
            backend: Backend::Kernel,
            state_dir: "/var/lib/culvert".to_owned(),
            probe_port: 9820,
            linger_seconds: 10,
            max_unavailable: MaxUnavailable::Nodes(1),
            se_linux_options: Texts::new(),
            pod: Common {
                resources: requests("50m", "32Mi"),
                node_selector: [("culvert.dev/gateway".to_owned(), "true".to_owned())].into(),
                // A gateway whose agent is sent away forgets nobody.
                tolerations: vec![[("operator".to_owned(), json!("Exists"))].into()],
                priority_class_name: "system-node-critical".to_owned(),
                termination_grace_period_seconds: 60,
                ..Common::default()
            },
        }
    }
}

/// What moves the packets.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    Kernel,
    Userspace,
    Auto,
}

/// A number of nodes, or a share of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MaxUnavailable {
    Nodes(#[schemars(range(min = 1))] u16),
    Share(#[schemars(regex(pattern = "^[1-9][0-9]?[0-9]?%$"))] String),
}

/// What a pod asks for. No limits: a program that is killed for its memory would do so again.
fn requests(cpu: &str, memory: &str) -> Object {
    [("requests".to_owned(), json!({ "cpu": cpu, "memory": memory }))].into()
}
