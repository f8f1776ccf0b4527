//! `WireGuardGateway` (`wgw`): a fleet of nodes that serve the same pools in the same way.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::reference::NameRef;
use crate::schema;

/// A fleet of gateway nodes.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "culvert.dev",
    version = "v1alpha1",
    kind = "WireGuardGateway",
    plural = "wireguardgateways",
    shortname = "wgw",
    category = "culvert",
    status = "WireGuardGatewayStatus",
    doc = "A fleet of nodes that serve the keys of some pools through one WireGuard interface each.",
    validation = Rule::new("size(self.metadata.name) <= 63").message("a gateway's name has at most 63 characters"),
    // With a dot, two gateways' objects for two nodes could have one name.
    validation = Rule::new("!self.metadata.name.contains('.')").message("a gateway's name has no dot; use `-`"),
    printcolumn(name = "Pools", type_ = "string", json_path = ".spec.poolRefs[*].name"),
    printcolumn(name = "Interface", type_ = "string", json_path = ".spec.interface", priority = "1"),
    printcolumn(name = "Port", type_ = "integer", json_path = ".spec.listenPort"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes", description = "Nodes that serve, of those selected."),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct WireGuardGatewaySpec {
    /// Labels of the nodes that serve; every node when empty.
    #[serde(default)]
    #[schemars(length(max = 32), extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(
        validation = Rule::new("self.all(k, size(k) <= 317 && !format.labelValue().validate(self[k]).hasValue())")
            .message("nodeSelector must hold labels as nodes carry them, for instance culvert.dev/gateway: \"true\"")
    )]
    pub node_selector: BTreeMap<String, String>,

    /// The pools whose keys the gateway serves. No two gateways on one node may share a pool.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub pool_refs: Vec<NameRef>,

    /// Name of the WireGuard interface on the node.
    #[serde(default = "default_interface")]
    #[schemars(length(max = 15))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z][a-z0-9_.-]{0,14}$')")
            .message("interface must be 1 to 15 lower-case letters, digits, `-`, `_` or `.`, starting with a letter, for instance cv0"),
        // Names that are surely another's. An agent leaves any interface alone that is not Culvert's; this tells sooner.
        // `all` and `default` are folders of the kernel's settings.
        validation = Rule::new("!self.matches('^(lo|all|default|ip6tnl[0-9]+|gre[0-9]+|sit[0-9]+)$') && !self.matches('^(eth|en|wl|ww|ib|bond|br-|virbr|veth|docker|cni|flannel|cali|cilium|lxc|kube-|nodelocaldns|tunl|vxlan|genev|weave|ovs-|dummy)')")
            .message("interface has a name that belongs to the system or a network plugin (eth…, en…, wl…, docker…, cni…, cali…, cilium… and the like); choose another, for instance cv0")
    )]
    pub interface: String,

    /// UDP port that clients connect to.
    #[serde(default = "default_listen_port")]
    #[schemars(range(min = 1, max = 65535), extend("format" = "int32"))]
    pub listen_port: u16,

    /// MTU of the interface in bytes: at most that of the narrowest path to a client, less 80. The gateway learns no path's size, as it would have to remember the client's address with it; over IPv6, packets that are too large for a path are lost. The default suits paths of 1460 bytes and more, as most lines and mobile networks are; 1280 suits all of 1360.
    #[serde(default = "default_mtu")]
    #[schemars(range(min = 1280, max = 8920), extend("format" = "int32"))]
    pub mtu: u32,

    /// Where clients find the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<GatewayEndpoint>,

    /// Resolvers for the configurations of clients. With `egress.dnsForward` and none here, it is the gateway's own address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(max = 45)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(
        validation = Rule::new("self.all(a, isIP(a))").message("dns must hold addresses of resolvers, for instance 9.9.9.9")
    )]
    pub dns: Vec<String>,

    /// Where clients' traffic may go, and as whose.
    #[serde(default)]
    pub egress: Egress,

    /// When clients are forgotten.
    #[serde(default)]
    pub purge: Purge,

    /// Where a node keeps its gateway's private key.
    #[serde(default)]
    pub key_storage: KeyStorage,
}

fn default_interface() -> String {
    "cv0".to_owned()
}

fn default_listen_port() -> u16 {
    51820
}

fn default_mtu() -> u32 {
    1380
}

/// Where clients find a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayEndpoint {
    /// Host name of each node, with `{node}` in place of the node's name, for instance `{node}.vpn.example.com`. The node's external address (its internal one, when it has no other) is used without it.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new(r"self.replace('{node}', 'node').matches('^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?([.][a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$')")
            .message("hostTemplate must be a DNS name in lower case, in which `{node}` stands for the node's name")
    )]
    pub host_template: String,
}

/// Where clients' traffic may go, and as whose. Without anything here: out to the internet under the node's own address,
/// and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = json!({})))]
pub struct Egress {
    /// Private ranges that clients may reach all the same. The cluster's own pods, services and nodes only when the entry lies within one of their ranges; metadata services never.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 49)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(
        validation = Rule::new("self.all(r, isCIDR(r) && cidr(r) == cidr(r).masked())")
            .message("allow must hold ranges without host bits, for instance 10.20.0.0/16 or 10.20.0.9/32")
    )]
    pub allow: Vec<String>,

    /// Further ranges that clients never reach, whatever `allow` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 49)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(
        validation = Rule::new("self.all(r, isCIDR(r) && cidr(r) == cidr(r).masked())")
            .message("deny must hold ranges without host bits, for instance 203.0.113.0/24")
    )]
    pub deny: Vec<String>,

    /// Resolvers, one of each family at most, to which questions to port 53 of the gateway's own address are passed on: addresses of the internet, of a pod or of the node, not of a service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 45)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(
        validation = Rule::new("self.all(a, isIP(a)) && self.filter(a, isIP(a) && ip(a).family() == 4).size() <= 1 && self.filter(a, isIP(a) && ip(a).family() == 6).size() <= 1")
            .message("dnsForward must hold the address of a resolver, at most one of each family, for instance 9.9.9.9")
    )]
    pub dns_forward: Vec<String>,

    /// Addresses that traffic leaves under: each node takes the first of each family that it has. Without any the one that its route chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 45)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(
        validation = Rule::new("self.all(a, isIP(a))")
            .message("sourceAddresses must hold addresses that the gateway's nodes have, for instance 203.0.113.7")
    )]
    pub source_addresses: Vec<String>,

    /// What becomes of the tunnel's IPv6 addresses on the way out.
    #[serde(default)]
    pub ipv6: Ipv6Egress,

    /// How many connections one client may have open at a time.
    #[serde(default = "default_connections_per_client")]
    #[schemars(range(min = 16, max = 65535), extend("format" = "int32"))]
    pub connections_per_client: u32,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            dns_forward: Vec::new(),
            source_addresses: Vec::new(),
            ipv6: Ipv6Egress::default(),
            connections_per_client: default_connections_per_client(),
        }
    }
}

fn default_connections_per_client() -> u32 {
    4096
}

/// What becomes of the tunnel's IPv6 addresses on the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ipv6Egress {
    /// They are replaced by the node's, as in IPv4.
    #[default]
    Masquerade,
    /// They stay: the pool's range is routed to the node, and whoever is spoken to sees each client's own address.
    Routed,
}

/// When a client's endpoint is forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = json!({})))]
pub struct Purge {
    /// Age of the last handshake at which a peer is forgotten: 180s, when WireGuard itself gives the session up, or more.
    #[serde(default = "default_handshake_window")]
    #[schemars(with = "String", length(max = 32))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]{1,5}h|[0-9]{1,6}[ms]){1,3}$') && duration(self) >= duration('180s') && duration(self) <= duration('24h')")
            .message("handshakeWindow must be a duration from 180s (below it live sessions would be cut) to 24h")
    )]
    pub handshake_window: Duration,
}

impl Default for Purge {
    fn default() -> Self {
        Self {
            handshake_window: default_handshake_window(),
        }
    }
}

fn default_handshake_window() -> Duration {
    Duration::from(std::time::Duration::from_mins(3))
}

/// Where a node keeps its gateway's private key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyStorage {
    /// In a file of the node: the gateway keeps its key across reboots.
    #[default]
    Node,
    /// In the kernel only: a reboot makes a new key, and nothing is left on the disk.
    Memory,
}

/// The state of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = json!({"observedGeneration": -1})))]
pub struct WireGuardGatewayStatus {
    /// The generation of the spec that this status answers; -1 before the first answer.
    #[serde(default)]
    pub observed_generation: i64,

    /// Nodes that serve, of those selected, for instance `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,

    /// The cluster's own ranges: pods, services, nodes and apiservers. Its agents keep clients out of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), inner(length(max = 49)), extend("x-kubernetes-list-type" = "atomic"))]
    pub cluster_ranges: Vec<String>,

    /// `Accepted` and `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
