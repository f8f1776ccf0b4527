//! What is wrong, and what to do (pure): `check` and `status` print it.
//!
//! Nodes are judged by what their agents say of them: nobody else looks at a node.

mod clock;
mod finding;
mod ground;
mod unseen;

use std::net::SocketAddrV4;
use std::time::Duration;

use culvert_crds::{ConditionType, GatewayNode, Reason, WireGuardGateway};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

pub use finding::{Check, Finding, Weight};
pub use ground::{OTHER, definitions};
pub use unseen::{Unseen, unseen};

use crate::duration;
use crate::world::{Culvert, Ground, Server};
use finding::finding;

/// A node that has not been heard for so long serves nobody.
pub const HEARD: Duration = Duration::from_secs(60);

/// The MTU that a path of 1500 bytes bears, whatever the family outside.
const MTU: u32 = 1420;

/// What WireGuard and the outer family put around a packet.
const AROUND: u32 = 80;
const AROUND_IPV4: u32 = 60;

/// The smallest MTU that a gateway may have.
const SMALLEST_MTU: u32 = 1280;

/// Judges everything there is to see. `system` is the namespace in which Culvert runs.
pub fn all(culvert: &Culvert, ground: &Ground, server: &Server, system: &str) -> Vec<Finding> {
    let mut findings = objects(culvert, server.there);
    findings.extend(ground::ground(ground, culvert, system));
    findings.extend(clock::clocks(culvert, server));
    findings.sort();
    findings
}

/// Judges Culvert's own objects.
pub fn objects(culvert: &Culvert, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(pools(culvert));
    if culvert.is_defined && culvert.gateways.is_empty() {
        let what = "there is no gateway, so no key works; apply one as in examples/gateway.yaml";
        let about = "wireguardgateways".to_owned();
        findings.push(finding(Check::Gateways, Weight::Bad, about, what));
    }
    for gateway in &culvert.gateways {
        findings.extend(self::gateway(gateway, culvert));
    }
    for node in &culvert.nodes {
        findings.extend(self::node(node, culvert, now));
    }
    findings.sort();
    findings
}

/// Whether a node's agent is heard.
pub fn is_heard(node: &GatewayNode, now: Timestamp) -> bool {
    clock::heard(node).is_some_and(|heard| silent(heard, now).is_none())
}

/// For how long who was last heard then has been silent; nothing if not for long.
fn silent(heard: Timestamp, now: Timestamp) -> Option<Duration> {
    let silent = Duration::try_from(now.duration_since(heard)).ok()?;
    (silent > HEARD).then_some(silent)
}

fn pools(culvert: &Culvert) -> Vec<Finding> {
    let mut findings = Vec::new();
    if culvert.is_defined && culvert.pools.is_empty() {
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
            gateway.spec.mtu + AROUND
        );
        findings.push(finding(Check::Mtu, Weight::Odd, about, what));
    }
    findings
}

fn node(node: &GatewayNode, culvert: &Culvert, now: Timestamp) -> Vec<Finding> {
    let about = format!("gatewaynode/{}", node.name_any());
    let Some(heard) = clock::heard(node) else {
        let what = format!(
            "its agent was never heard; see whether culvert-node-agent runs on node {} and what its log says",
            node.spec.node_name
        );
        return vec![finding(Check::Agents, Weight::Bad, about, what)];
    };
    if let Some(silent) = silent(heard, now) {
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
    findings.extend(mtu(node, culvert));
    findings
}

/// Whether what a node sends to clients fits into its own first link.
fn mtu(node: &GatewayNode, culvert: &Culvert) -> Option<Finding> {
    let uplink = node.status.as_ref()?.uplink_mtu?;
    let gateway = culvert
        .gateways
        .iter()
        .find(|gateway| gateway.uid().as_ref() == Some(&node.spec.gateway_ref.uid))?;
    let around = around(node);
    let (inside, outside) = (gateway.spec.mtu, gateway.spec.mtu + around);
    if outside <= uplink {
        return None;
    }
    let fits = uplink.saturating_sub(around);
    let instead = if fits < SMALLEST_MTU {
        String::new()
    } else {
        format!(", or set spec.mtu of the gateway to {fits}")
    };
    let what = format!(
        "the gateway's MTU of {inside} makes packets of {outside} bytes, and the link of its default route takes {uplink}, so large ones are cut in pieces or lost; give the link an MTU of {outside}{instead}"
    );
    let about = format!("gatewaynode/{}", node.name_any());
    Some(finding(Check::Mtu, Weight::Bad, about, what))
}

/// What is put around a node's packets: less where clients reach it over IPv4 alone.
fn around(node: &GatewayNode) -> u32 {
    let endpoints = node.status.iter().flat_map(|status| &status.endpoints);
    let mut families = endpoints
        .map(|endpoint| endpoint.parse::<SocketAddrV4>().is_ok())
        .peekable();
    if families.peek().is_some() && families.all(|is_ipv4| is_ipv4) {
        AROUND_IPV4
    } else {
        AROUND
    }
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

#[cfg(test)]
mod tests;
