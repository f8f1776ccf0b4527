//! `GatewayNode` (`wgn`): one gateway on one selected node. The operator says what is asked of the
//! node, the node's agent says what it has done.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::schema;

/// Names longer than this are cut and closed with a digest; the API's own bound is 253.
const MAX_NAME: usize = 200;

/// The annotation of a node that is to leave for good: the drain is then the operator's own, not an administrator's.
pub const LEAVING: &str = "culvert.dev/leaving";

/// The annotation of a node that was drained because Culvert is taken away: whoever runs an operator again wants it back.
pub const RETIRED: &str = "culvert.dev/retired";

/// How many peers `status.refused` names at most.
pub const MAX_REFUSED: usize = 64;

/// One gateway on one node.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "culvert.dev",
    version = "v1alpha1",
    kind = "GatewayNode",
    plural = "gatewaynodes",
    shortname = "wgn",
    category = "culvert",
    status = "GatewayNodeStatus",
    selectable = ".spec.nodeName",
    doc = "One gateway on one selected node: made by the operator, answered by that node's agent. Clients read the gateway's public key and endpoint here.",
    printcolumn(
        name = "Gateway",
        type_ = "string",
        json_path = ".spec.gatewayRef.name",
        priority = "1"
    ),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName", priority = "1"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoints[0]"),
    printcolumn(name = "Public-Key", type_ = "string", json_path = ".status.publicKey"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Heard", type_ = "date", json_path = ".status.renewTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Backend",
        type_ = "string",
        json_path = ".status.backend",
        priority = "1"
    ),
    printcolumn(
        name = "Egress-Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='EgressReady')].reason",
        priority = "1"
    ),
    printcolumn(
        name = "Privacy-Degraded",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='PrivacyDegraded')].reason",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.gatewayRef == oldSelf.gatewayRef && self.nodeName == oldSelf.nodeName")
        .message("gatewayRef and nodeName cannot change; drain and delete the object instead")
)]
pub struct GatewayNodeSpec {
    /// The gateway that the node serves.
    pub gateway_ref: GatewayRef,

    /// The node.
    #[schemars(length(min = 1, max = 253))]
    pub node_name: String,

    /// Host name or address that clients connect to: the operator keeps to the gateway's and the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub endpoint_host: Option<String>,

    /// Asks the agent to forget all peers, delete the interface and stay away.
    #[serde(default)]
    pub drain: bool,

    /// Raise it to have every client forgotten now, live sessions included: they begin anew, each with a handshake.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    #[x_kube(
        validation = Rule::new("self >= oldSelf").message("purgeGeneration can only be raised")
    )]
    pub purge_generation: i64,
}

/// A reference to a gateway, fixed to one incarnation of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRef {
    /// Name of the gateway.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// Uid of the gateway: one that is deleted and made again is another, with other keys.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// What the node's agent reports. Nothing here depends on what clients do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = json!({"observedGeneration": -1})))]
pub struct GatewayNodeStatus {
    /// The generation of the spec that this status answers; -1 before the first answer.
    #[serde(default)]
    pub observed_generation: i64,

    /// The gateway's public key on this node, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 44))]
    pub public_key: Option<String>,

    /// Where clients connect, as `host:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 261)), extend("x-kubernetes-list-type" = "atomic"))]
    pub endpoints: Vec<String>,

    /// UDP port of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32"))]
    pub listen_port: Option<u16>,

    /// What moves the packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,

    /// New at each start of the agent and each creation of the interface: a watermark counts only within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub session: Option<String>,

    /// The smallest MTU of the links that the node's default routes lead to, in bytes: what clients are sent takes `spec.mtu` of the gateway, and 60 over IPv4 or 80 over IPv6. Absent where there is no such link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("format" = "int32"))]
    pub uplink_mtu: Option<u32>,

    /// Every peer of `pools` up to this resourceVersion is in the kernel or named in `refused`. Absent until the node has caught up in its present session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub applied_resource_version: Option<String>,

    /// The pools that the watermark speaks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub pools: Vec<String>,

    /// Peers that the node could not program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,

    /// The interface is gone, as `spec.drain` asked.
    #[serde(default)]
    pub drained: bool,

    /// The `spec.purgeGeneration` for which every client has been forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_generation: Option<i64>,

    /// When the agent last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_time: Option<MicroTime>,

    /// `Programmed`, `Ready`, `EgressReady` and `PrivacyDegraded`; the last two are absent while they are unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Peers that a node could not program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Uids of the first of them.
    #[schemars(length(max = 64), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub uids: Vec<String>,

    /// How many there are in all.
    #[schemars(range(min = 0))]
    pub count: i64,
}

/// What moves the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Backend {
    /// WireGuard in the node's kernel.
    Kernel,

    /// WireGuard as a program, wireguard-go, where the kernel has none.
    Userspace,
}

/// The name of the object for one gateway on one node.
pub fn gateway_node_name(gateway: &str, node: &str) -> String {
    let name = format!("{gateway}.{node}");
    if name.len() <= MAX_NAME {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let hex = digest
        .iter()
        .take(8)
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    // Both parts are DNS subdomains, so ASCII; a cut may end in `.` or `-`, which no label may.
    let head = name[..MAX_NAME - 17].trim_end_matches(['.', '-']);
    format!("{head}-{hex}")
}
