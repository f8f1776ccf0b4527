//! `IPPool` (`wgpool`): ranges that tunnel addresses are drawn from.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::schema;

/// The finalizer that keeps a pool while claims use it.
pub const IN_USE: &str = "culvert.dev/in-use";

/// Ranges of tunnel addresses, and who may draw from them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "culvert.dev",
    version = "v1alpha1",
    kind = "IPPool",
    plural = "ippools",
    shortname = "wgpool",
    category = "culvert",
    status = "IPPoolStatus",
    doc = "Ranges that tunnel addresses are drawn from. The first host address of each range is the gateway's own.",
    printcolumn(
        name = "IPv4",
        type_ = "string",
        json_path = ".spec.ipv4.cidr",
        priority = "1"
    ),
    printcolumn(
        name = "IPv6",
        type_ = "string",
        json_path = ".spec.ipv6.cidr",
        priority = "1"
    ),
    printcolumn(
        name = "Allocated",
        type_ = "integer",
        json_path = ".status.allocated",
        description = "Addresses held by keys or cooling down."
    ),
    printcolumn(name = "Capacity", type_ = "integer", json_path = ".status.capacity"),
    printcolumn(
        name = "Gateways",
        type_ = "string",
        json_path = ".status.gateways",
        description = "Nodes that serve the pool, of those that should."
    ),
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    // Every holder's address is in the range, and no agent programs one that is not.
    validation = Rule::new("has(self.ipv4) == has(oldSelf.ipv4) && has(self.ipv6) == has(oldSelf.ipv6) && (!has(self.ipv4) || self.ipv4.cidr == oldSelf.ipv4.cidr) && (!has(self.ipv6) || self.ipv6.cidr == oldSelf.ipv6.cidr)")
        .message("a pool's ranges cannot change; make another pool and move keys to it, or use spec.exclude"),
    validation = Rule::new("has(self.ipv4) || has(self.ipv6)").message("a pool needs spec.ipv4, spec.ipv6 or both"),
    // What is no range at all has its own message.
    validation = Rule::new("self.exclude.all(e, !isCIDR(e) || (has(self.ipv4) && isCIDR(self.ipv4.cidr) && cidr(self.ipv4.cidr).containsCIDR(e)) || (has(self.ipv6) && isCIDR(self.ipv6.cidr) && cidr(self.ipv6.cidr).containsCIDR(e)))")
        .message("every range in spec.exclude must lie inside the pool's own range of that family")
        .field_path(".exclude"),
    validation = Rule::new("self.exclude.all(e, !isCIDR(e) || self.exclude.filter(o, isCIDR(o) && cidr(o).containsCIDR(e)).size() == 1)")
        .message("the ranges in spec.exclude must not overlap; remove those that lie inside another")
        .field_path(".exclude"),
    // Shares of the range in units of 2^-24, exact for IPv4. No overlap, so they add up.
    validation = Rule::new("!has(self.ipv4) || !isCIDR(self.ipv4.cidr) || self.exclude.filter(e, isCIDR(e) && cidr(self.ipv4.cidr).containsCIDR(e)).map(e, cidr(e).prefixLength() - cidr(self.ipv4.cidr).prefixLength()).map(d, d <= 24 ? [16777216, 8388608, 4194304, 2097152, 1048576, 524288, 262144, 131072, 65536, 32768, 16384, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1][d] : 0).sum() < 16777216")
        .message("spec.exclude covers the whole IPv4 range; leave some of it for keys")
        .field_path(".exclude"),
    validation = Rule::new("!has(self.ipv6) || !isCIDR(self.ipv6.cidr) || self.exclude.filter(e, isCIDR(e) && cidr(self.ipv6.cidr).containsCIDR(e)).map(e, cidr(e).prefixLength() - cidr(self.ipv6.cidr).prefixLength()).map(d, d <= 24 ? [16777216, 8388608, 4194304, 2097152, 1048576, 524288, 262144, 131072, 65536, 32768, 16384, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1][d] : 0).sum() < 16777216")
        .message("spec.exclude covers the whole IPv6 range; leave some of it for keys")
        .field_path(".exclude")
)]
pub struct IPPoolSpec {
    /// The IPv4 range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Range>,

    /// The IPv6 range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Range>,

    /// Ranges inside the pool that are never given to a key, for instance `10.64.0.0/24`.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 43)))]
    #[x_kube(
        validation = Rule::new("self.all(e, isCIDR(e) && cidr(e) == cidr(e).masked())")
            .message("exclude must be a list of ranges in CIDR notation without host bits")
    )]
    pub exclude: Vec<String>,

    /// Namespaces whose keys may use the pool; all of them when empty.
    #[serde(default)]
    #[schemars(length(max = 1024), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_namespaces: Vec<String>,

    /// How many keys of one namespace may hold addresses at the same time; no limit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647), extend("format" = "int32"))]
    pub max_keys_per_namespace: Option<u32>,

    /// What the pool asks of its keys.
    #[serde(default)]
    pub key_policy: KeyPolicy,

    /// How long released addresses stay out of the draw. Gateways forget whom an address has talked to within 10 s of its release, so leave it longer than that: with less, late answers to its last owner may reach the next.
    #[serde(default = "default_cooldown")]
    #[schemars(with = "String", length(max = 32))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]{1,5}h|[0-9]{1,6}[ms]){1,3}$') && duration(self) <= duration('720h')")
            .message("cooldown must be a duration of at most 720h, for instance 10m")
    )]
    pub cooldown: Duration,
}

/// An IPv4 range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ipv4Range {
    /// The range in CIDR notation, /8 to /30, for instance `10.64.0.0/11`.
    #[schemars(length(max = 18))]
    #[x_kube(
        validation = Rule::new("isCIDR(self) && cidr(self).ip().family() == 4 && cidr(self) == cidr(self).masked() && cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 30")
            .message("ipv4.cidr must be an IPv4 range from /8 to /30 without host bits, for instance 10.64.0.0/11"),
        validation = Rule::new("!isCIDR(self) || cidr(self).ip().family() != 4 || !['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '240.0.0.0/4'].exists(r, cidr(r).containsCIDR(self) || cidr(self).containsCIDR(r))")
            .message("ipv4.cidr must not overlap loopback, link-local, multicast or reserved space; use private space such as 10.64.0.0/11")
    )]
    pub cidr: String,
}

/// An IPv6 range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ipv6Range {
    /// The range in CIDR notation, /16 to /64, for instance `fd64:cafe:1::/64`.
    #[schemars(length(max = 43))]
    #[x_kube(
        validation = Rule::new("isCIDR(self) && cidr(self).ip().family() == 6 && cidr(self) == cidr(self).masked() && cidr(self).prefixLength() >= 16 && cidr(self).prefixLength() <= 64")
            .message("ipv6.cidr must be an IPv6 range from /16 to /64 without host bits, for instance fd64:cafe:1::/64"),
        validation = Rule::new("!isCIDR(self) || cidr(self).ip().family() != 6 || !['::/16', '64:ff9b::/32', 'fe80::/10', 'ff00::/8'].exists(r, cidr(r).containsCIDR(self) || cidr(self).containsCIDR(r))")
            .message("ipv6.cidr must not overlap unspecified, IPv4-mapped, NAT64, link-local or multicast space; use a unique local range such as fd64:cafe:1::/64")
    )]
    pub cidr: String,
}

/// What a pool asks of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = json!({})))]
pub struct KeyPolicy {
    /// Age at which a public key's addresses are released, 24h to 720h; no limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]{1,5}h|[0-9]{1,6}[ms]){1,3}$') && duration(self) >= duration('24h') && duration(self) <= duration('720h')")
            .message("maxAge must be a duration from 24h to 720h")
    )]
    pub max_age: Option<Duration>,

    /// How long old and new addresses of a rotated key work side by side.
    #[serde(default = "default_overlap")]
    #[schemars(with = "String", length(max = 32))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]{1,5}h|[0-9]{1,6}[ms]){1,3}$') && duration(self) <= duration('24h')")
            .message("overlap must be a duration of at most 24h, for instance 5m")
    )]
    pub overlap: Duration,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self {
            max_age: None,
            overlap: default_overlap(),
        }
    }
}

fn default_overlap() -> Duration {
    Duration::from(std::time::Duration::from_mins(5))
}

fn default_cooldown() -> Duration {
    Duration::from(std::time::Duration::from_mins(10))
}

/// The state of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = json!({"observedGeneration": -1})))]
pub struct IPPoolStatus {
    /// The generation of the spec that this status answers; -1 before the first answer.
    #[serde(default)]
    pub observed_generation: i64,

    /// How many keys the pool can hold (its smaller family; at most 2^63 - 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<i64>,

    /// How many claims there are, including those that cool down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<i64>,

    /// Nodes that serve the pool, of those that should, for instance `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<String>,

    /// `Accepted` and `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
