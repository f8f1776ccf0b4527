//! What is wrong, and what to do (pure): `check` and `status` print it.
//!
//! Nodes are judged by what their agents say of them: nobody else looks at a node.

use std::time::Duration;

use culvert_crds::{ConditionType, GatewayNode, Reason, WireGuardGateway, admission, crds};
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::Value;

use crate::duration;
use crate::world::{Culvert, Ground, Server};

/// A node that has not been heard for so long serves nobody.
pub const HEARD: Duration = Duration::from_secs(60);

/// Clocks that differ by less are together.
const SKEW: Duration = Duration::from_secs(10);

/// The MTU that a path of 1500 bytes bears, whatever the family outside.
const MTU: u32 = 1420;

/// What is looked at. The order is that of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The kinds are defined, as this program knows them.
    Definitions,
    /// The admission policies are in force.
    Policies,
    /// The operator answers.
    Operator,
    /// Pools can be drawn from.
    Pools,
    /// Gateways have nodes.
    Gateways,
    /// Agents are heard.
    Agents,
    /// The namespace of the agents lets them work.
    PodSecurity,
    /// Nodes have WireGuard.
    KernelModule,
    /// The port and the pools are free.
    Port,
    /// The interface's name is free.
    Interface,
    /// The kernel does what it is told.
    Kernel,
    /// nftables takes the gateway's table.
    Nftables,
    /// Nodes forward.
    Forwarding,
    /// No other firewall is in the way.
    OtherFirewall,
    /// Nodes have the address that traffic leaves under.
    SourceAddress,
    /// Tunnels fit into the way to clients.
    Mtu,
    /// Clocks are together.
    Clock,
    /// Nothing writes down where clients are.
    Privacy,
    /// No gateway is leaving.
    Drain,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Definitions,
        Self::Policies,
        Self::Operator,
        Self::Pools,
        Self::Gateways,
        Self::Agents,
        Self::PodSecurity,
        Self::KernelModule,
        Self::Port,
        Self::Interface,
        Self::Kernel,
        Self::Nftables,
        Self::Forwarding,
        Self::OtherFirewall,
        Self::SourceAddress,
        Self::Mtu,
        Self::Clock,
        Self::Privacy,
        Self::Drain,
    ];

    /// Its name, and what is so when nothing is wrong.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Definitions => ("definitions", "the kinds are defined as this program knows them"),
            Self::Policies => ("policies", "the admission policies are in force"),
            Self::Operator => ("operator", "the operator answers"),
            Self::Pools => ("pools", "there are pools, and they can be drawn from"),
            Self::Gateways => ("gateways", "there are gateways, and they have nodes"),
            Self::Agents => ("agents", "every gateway's agent is heard"),
            Self::PodSecurity => ("pod security", "the agents' namespace lets them work"),
            Self::KernelModule => ("kernel module", "nodes have WireGuard"),
            Self::Port => ("port", "ports and pools are in nobody else's use"),
            Self::Interface => ("interface", "interfaces are in nobody else's use"),
            Self::Kernel => ("kernel", "kernels do what they are told"),
            Self::Nftables => ("nftables", "the gateways' tables are in place"),
            Self::Forwarding => ("forwarding", "nodes forward"),
            Self::OtherFirewall => ("other firewall", "no other firewall is in the way"),
            Self::SourceAddress => (
                "source address",
                "nodes have the addresses that traffic leaves under",
            ),
            Self::Mtu => ("mtu", "tunnels fit into a path of 1500 bytes"),
            Self::Clock => ("clock", "clocks are together"),
            Self::Privacy => (
                "privacy",
                "nothing was found that could write down where clients are",
            ),
            Self::Drain => ("drain", "no gateway is leaving its node"),
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Something does not work.
    Bad,
    /// Worth a look.
    Odd,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at.
    pub check: Check,

    /// How bad it is.
    pub weight: Weight,

    /// The object, as `kind/name`.
    pub about: String,

    /// What is wrong, and what to do.
    pub what: String,

    /// The reason, which has a page in `docs/reasons`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

fn finding(check: Check, weight: Weight, about: String, what: impl Into<String>) -> Finding {
    Finding {
        check,
        weight,
        about,
        what: what.into(),
        reason: None,
    }
}

/// Judges everything there is to see. `system` is the namespace in which Culvert runs.
pub fn all(culvert: &Culvert, ground: &Ground, server: &Server, system: &str) -> Vec<Finding> {
    let mut findings = objects(culvert, server.there);
    findings.extend(self::ground(ground, culvert, system));
    findings.extend(clocks(culvert, server));
    findings.sort();
    findings
}

/// Judges Culvert's own objects.
pub fn objects(culvert: &Culvert, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(pools(culvert));
    for gateway in &culvert.gateways {
        findings.extend(self::gateway(gateway, culvert));
    }
    for node in &culvert.nodes {
        findings.extend(self::node(node, now));
    }
    findings.sort();
    findings
}

fn pools(culvert: &Culvert) -> Vec<Finding> {
    let mut findings = Vec::new();
    if culvert.pools.is_empty() {
        let what = "there is no pool, so no key gets an address; apply one as in examples/pool.yaml";
        findings.push(finding(Check::Pools, Weight::Bad, "ippools".to_owned(), what));
    }
    for pool in &culvert.pools {
        let about = format!("ippool/{}", pool.name_any());
        let status = pool.status.clone().unwrap_or_default();
        let conditions = &status.conditions;
        // Who answers an object is the operator: nobody else writes there.
        if pool.status.is_none() || Some(status.observed_generation) != pool.metadata.generation {
            let what = "the operator has not answered yet; if it stays, see whether culvert-operator runs and what its log says";
            findings.push(finding(Check::Operator, Weight::Bad, about.clone(), what));
        }
        findings.extend(wrong(conditions, Check::Pools, &about));
    }
    findings
}

fn gateway(gateway: &WireGuardGateway, culvert: &Culvert) -> Vec<Finding> {
    let mut findings = Vec::new();
    let about = format!("wireguardgateway/{}", gateway.name_any());
    let is_ours = |node: &&GatewayNode| Some(&node.spec.gateway_ref.uid) == gateway.metadata.uid.as_ref();
    if !culvert.nodes.iter().any(|node| is_ours(&node)) {
        let selector: Vec<String> = gateway
            .spec
            .node_selector
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let what = format!(
            "it has no node; label those that are to serve: kubectl label node NAME {}",
            selector.join(" ")
        );
        findings.push(finding(Check::Gateways, Weight::Bad, about.clone(), what));
    } else if let Some(status) = &gateway.status {
        findings.extend(wrong(&status.conditions, Check::Gateways, &about));
    }
    let known = |name: &str| culvert.pools.iter().any(|pool| pool.name_any() == name);
    for pool in gateway.spec.pool_refs.iter().filter(|pool| !known(&pool.name)) {
        let what = format!(
            "it names the pool {}, which does not exist; apply it, or name another",
            pool.name
        );
        findings.push(finding(Check::Gateways, Weight::Bad, about.clone(), what));
    }
    if gateway.spec.mtu > MTU {
        let what = format!(
            "its MTU of {} needs paths of {} bytes to every client; 1420 fits into the usual 1500",
            gateway.spec.mtu,
            gateway.spec.mtu + 80
        );
        findings.push(finding(Check::Mtu, Weight::Odd, about, what));
    }
    findings
}

fn node(node: &GatewayNode, now: Timestamp) -> Vec<Finding> {
    let about = format!("gatewaynode/{}", node.name_any());
    let heard = node.status.as_ref().and_then(|status| status.renew_time.as_ref());
    let Some(heard) = heard else {
        let what = format!(
            "its agent was never heard; see whether culvert-node-agent runs on node {} and what its log says",
            node.spec.node_name
        );
        return vec![finding(Check::Agents, Weight::Bad, about, what)];
    };
    let silent = now.duration_since(heard.0);
    if let Ok(silent) = Duration::try_from(silent)
        && silent > HEARD
    {
        let what = format!(
            "its agent was last heard {} ago, so it serves no new keys; see whether node {} and culvert-node-agent on it run",
            duration::text(silent),
            node.spec.node_name
        );
        return vec![finding(Check::Agents, Weight::Bad, about, what)];
    }
    let status = node.status.clone().unwrap_or_default();
    if node.spec.drain {
        let what = if status.drained {
            let node = &node.spec.node_name;
            format!("it is drained; `kubectl culvert gateway drain {node} --undo` brings it back")
        } else {
            "it is draining: its agent removes every peer, then the interface".to_owned()
        };
        return vec![finding(Check::Drain, Weight::Odd, about, what)];
    }
    let mut findings = wrong(&status.conditions, Check::Kernel, &about);
    if let Some(refused) = status.refused.filter(|refused| refused.count > 0) {
        let what = format!("it could not program {} peers; its log says why", refused.count);
        findings.push(finding(Check::Kernel, Weight::Odd, about, what));
    }
    findings
}

/// Conditions that say that something is wrong, each reason once. What has no place of its own is `otherwise`'s.
fn wrong(conditions: &[Condition], otherwise: Check, about: &str) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for condition in conditions {
        let is_bad = match condition.type_.as_str() {
            "PrivacyDegraded" | "Expiring" => condition.status == "True",
            _ => condition.status == "False",
        };
        if !is_bad {
            continue;
        }
        let reason = Reason::ALL
            .iter()
            .find(|reason| reason.as_str() == condition.reason);
        let is_private = condition.type_ == ConditionType::PrivacyDegraded.as_str();
        let finding = Finding {
            check: if is_private {
                Check::Privacy
            } else {
                reason.copied().and_then(place).unwrap_or(otherwise)
            },
            weight: if is_private { Weight::Odd } else { Weight::Bad },
            about: about.to_owned(),
            what: condition.message.clone(),
            reason: reason.map(|reason| reason.as_str()),
        };
        if !found.iter().any(|known| known.reason == finding.reason) {
            found.push(finding);
        }
    }
    found
}

/// Where a reason belongs that a node's agent gives.
fn place(reason: Reason) -> Option<Check> {
    Some(match reason {
        Reason::Unsupported => Check::KernelModule,
        Reason::Conflict => Check::Port,
        Reason::InterfaceConflict => Check::Interface,
        Reason::FirewallError => Check::Nftables,
        Reason::ForwardingDisabled | Reason::RouterAdvertisements => Check::Forwarding,
        Reason::OtherFirewall => Check::OtherFirewall,
        Reason::SourceAddressMissing => Check::SourceAddress,
        Reason::Draining => Check::Drain,
        _ => return None,
    })
}

fn ground(ground: &Ground, culvert: &Culvert, system: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add =
        |check, weight, about: String, what: &str| findings.push(finding(check, weight, about, what));
    for wanted in crds() {
        let Some(found) = &ground.definitions else { break };
        let about = format!("customresourcedefinition/{}", wanted.name_any());
        match found.iter().find(|one| one.name_any() == wanted.name_any()) {
            None => add(
                Check::Definitions,
                Weight::Bad,
                about,
                "it is missing; `kubectl culvert install generate | kubectl apply -f -` adds it",
            ),
            Some(one) if !same(&wanted, one) => add(
                Check::Definitions,
                Weight::Odd,
                about,
                "it is of another version than this program; apply the definitions of the newer one",
            ),
            Some(_) => {}
        }
    }
    let has = |names: Option<Vec<String>>, wanted: &str| {
        names.is_none_or(|names| names.iter().any(|name| name == wanted))
    };
    for wanted in admission::policies() {
        let name = wanted.name_any();
        let policies = ground
            .policies
            .as_ref()
            .map(|all| all.iter().map(kube::ResourceExt::name_any).collect());
        let bindings = ground
            .bindings
            .as_ref()
            .map(|all| all.iter().map(kube::ResourceExt::name_any).collect());
        if !has(policies, &name) || !has(bindings, &name) {
            let about = format!("validatingadmissionpolicy/{name}");
            add(
                Check::Policies,
                Weight::Bad,
                about,
                "it or its binding is missing, so whoever may write objects may forge them; `kubectl culvert install generate | kubectl apply -f -` adds both",
            );
        }
    }
    if culvert.gateways.is_empty() {
        let what = "there is no gateway, so no key works; apply one as in examples/gateway.yaml";
        add(Check::Gateways, Weight::Bad, "wireguardgateways".to_owned(), what);
    }
    let namespace = ground
        .namespaces
        .iter()
        .flatten()
        .find(|namespace| namespace.name_any() == system);
    if let Some(level) = namespace.and_then(|one| one.labels().get("pod-security.kubernetes.io/enforce"))
        && level != "privileged"
    {
        let what = format!(
            "its Pod Security level is `{level}`, which keeps the agents from the node's network; kubectl label namespace {system} pod-security.kubernetes.io/enforce=privileged --overwrite"
        );
        add(
            Check::PodSecurity,
            Weight::Bad,
            format!("namespace/{system}"),
            &what,
        );
    }
    findings
}

/// What [`definitions`] says of another version.
pub const OTHER: &str = "of another version";

/// Whether the cluster's definitions are those that this program knows, in words; nothing where they could not be read.
pub fn definitions(ground: &Ground) -> Option<&'static str> {
    let found = ground.definitions.as_ref()?;
    let of = |wanted: &CustomResourceDefinition| found.iter().find(|one| one.name_any() == wanted.name_any());
    let wanted = crds();
    if wanted.iter().all(|wanted| of(wanted).is_none()) {
        return Some("none: Culvert is not installed");
    }
    let is_same = |wanted: &CustomResourceDefinition| of(wanted).is_some_and(|found| same(wanted, found));
    Some(if wanted.iter().all(is_same) {
        "as this program knows them"
    } else {
        OTHER
    })
}

/// Whether a definition in the cluster says what ours does. The apiserver adds defaults, and may be asked for more.
fn same<K: Serialize>(wanted: &K, found: &K) -> bool {
    let value = |one: &K| serde_json::to_value(one).unwrap_or_default();
    contains(
        &value(found)["spec"]["versions"],
        &value(wanted)["spec"]["versions"],
    )
}

/// Whether `found` has everything that `wanted` has.
fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| found.get(name).is_some_and(|found| contains(found, value))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| contains(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

fn clocks(culvert: &Culvert, server: &Server) -> Vec<Finding> {
    let mut findings = Vec::new();
    let apart = |one: Timestamp, other: Timestamp| {
        Duration::try_from(one.duration_since(other).abs()).unwrap_or_default()
    };
    let here = apart(server.here, server.there);
    if here > SKEW {
        let what = format!(
            "this machine's clock and the apiserver's are {} apart; one of them needs NTP",
            duration::text(here)
        );
        findings.push(finding(
            Check::Clock,
            Weight::Odd,
            "this machine".to_owned(),
            what,
        ));
    }
    for node in &culvert.nodes {
        let heard = node.status.as_ref().and_then(|status| status.renew_time.as_ref());
        // Behind, it cannot be told from an agent that is silent.
        if let Some(heard) = heard
            && heard.0 > server.there
            && apart(heard.0, server.there) > SKEW
        {
            let what = format!(
                "the clock of node {} is {} ahead of the apiserver's; it needs NTP",
                node.spec.node_name,
                duration::text(apart(heard.0, server.there))
            );
            let about = format!("gatewaynode/{}", node.name_any());
            findings.push(finding(Check::Clock, Weight::Bad, about, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
