//! What is wrong, and what to do (pure): `check` and `status` print it.
//!
//! Nodes are judged by what their agents say of them: nobody else looks at a node.

mod finding;
mod ground;

use std::time::Duration;

use culvert_crds::{ConditionType, GatewayNode, Reason, WireGuardGateway};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

pub use finding::{Check, Finding, Weight};
pub use ground::{OTHER, definitions};

use crate::duration;
use crate::world::{Culvert, Ground, Server};
use finding::finding;

/// A node that has not been heard for so long serves nobody.
pub const HEARD: Duration = Duration::from_secs(60);

/// Clocks that differ by less are together.
const SKEW: Duration = Duration::from_secs(10);

/// The MTU that a path of 1500 bytes bears, whatever the family outside.
const MTU: u32 = 1420;

/// Judges everything there is to see. `system` is the namespace in which Culvert runs.
pub fn all(culvert: &Culvert, ground: &Ground, server: &Server, system: &str) -> Vec<Finding> {
    let mut findings = objects(culvert, server.there);
    findings.extend(ground::ground(ground, culvert, system));
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

/// How many nodes' agents are heard: what nobody looks at is not well.
pub fn heard(culvert: &Culvert, now: Timestamp) -> usize {
    let is_heard = |node: &&GatewayNode| {
        let heard = node.status.as_ref().and_then(|status| status.renew_time.as_ref());
        heard.is_some_and(|time| Duration::try_from(now.duration_since(time.0)).unwrap_or_default() <= HEARD)
    };
    culvert.nodes.iter().filter(is_heard).count()
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
