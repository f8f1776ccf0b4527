//! A bundle for whoever helps (pure), redacted by its types: there is no field in it that could hold a name, a key, an
//! address, a label or a message. What it has are numbers, words of closed lists, and numbers in place of names.

use std::collections::BTreeMap;

use culvert_crds::gateway_node::Backend;
use culvert_crds::{ConditionType, Reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use crate::judge::{self, Check, Finding, Unseen, Weight};
use crate::world::{Culvert, Ground, Server};

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    version: &'static str,
    /// Major and minor.
    server: Option<(u32, u32)>,
    definitions: Option<&'static str>,
    pools: Vec<Pool>,
    gateways: Vec<Gateway>,
    nodes: Vec<Node>,
    keys: Keys,
    findings: Vec<Fault>,
    /// What was not looked at.
    unseen: Vec<Check>,
}

/// A number in place of a name; the same name has the same number throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Number(usize);

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pool {
    number: Number,
    families: [bool; 2],
    capacity: Option<i64>,
    allocated: Option<i64>,
    answered: bool,
    conditions: Vec<Said>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Gateway {
    number: Number,
    pools: Vec<Number>,
    listen_port: u16,
    mtu: u32,
    egress: [usize; 4],
    conditions: Vec<Said>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    number: Number,
    gateway: Option<Number>,
    backend: Option<Backend>,
    heard_seconds_ago: Option<i64>,
    caught_up: bool,
    pools: usize,
    refused: i64,
    drain: bool,
    drained: bool,
    purges: [i64; 2],
    conditions: Vec<Said>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    count: usize,
    namespaces: usize,
    ready: BTreeMap<&'static str, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Said {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Fault {
    check: Check,
    weight: Weight,
    reason: Option<&'static str>,
}

/// A word of a closed list, or none.
const UNKNOWN: &str = "Unknown";

/// Makes the report of everything that was read.
pub fn report(
    culvert: &Culvert,
    ground: &Ground,
    server: &Server,
    findings: &[Finding],
    unseen: &[Unseen],
) -> Report {
    let pools: Vec<String> = culvert.pools.iter().map(kube::ResourceExt::name_any).collect();
    let number = |names: &[String], name: &str| {
        names
            .iter()
            .position(|known| known == name)
            .map(|n| Number(n + 1))
    };
    let uids: Vec<String> = culvert
        .gateways
        .iter()
        .filter_map(kube::ResourceExt::uid)
        .collect();
    Report {
        version: env!("CARGO_PKG_VERSION"),
        server: numbers(&server.version),
        definitions: judge::definitions(ground),
        pools: culvert
            .pools
            .iter()
            .enumerate()
            .map(|(n, one)| pool(n, one))
            .collect(),
        gateways: (culvert.gateways.iter().enumerate())
            .map(|(n, one)| {
                let egress = &one.spec.egress;
                Gateway {
                    number: Number(n + 1),
                    pools: one
                        .spec
                        .pool_refs
                        .iter()
                        .filter_map(|pool| number(&pools, &pool.name))
                        .collect(),
                    listen_port: one.spec.listen_port,
                    mtu: one.spec.mtu,
                    egress: [
                        egress.allow.len(),
                        egress.deny.len(),
                        egress.dns_forward.len(),
                        egress.source_addresses.len(),
                    ],
                    conditions: one
                        .status
                        .iter()
                        .flat_map(|status| said(&status.conditions))
                        .collect(),
                }
            })
            .collect(),
        nodes: (culvert.nodes.iter().enumerate())
            .map(|(n, one)| node(n, number(&uids, &one.spec.gateway_ref.uid), one, server.there))
            .collect(),
        keys: keys(culvert),
        findings: findings.iter().map(fault).collect(),
        unseen: unseen.iter().map(|one| one.check).collect(),
    }
}

fn pool(n: usize, pool: &culvert_crds::IPPool) -> Pool {
    let status = pool.status.clone().unwrap_or_default();
    Pool {
        number: Number(n + 1),
        families: [pool.spec.ipv4.is_some(), pool.spec.ipv6.is_some()],
        capacity: status.capacity,
        allocated: status.allocated,
        answered: Some(status.observed_generation) == pool.metadata.generation,
        conditions: said(&status.conditions),
    }
}

fn node(n: usize, gateway: Option<Number>, node: &culvert_crds::GatewayNode, now: Timestamp) -> Node {
    let status = node.status.clone().unwrap_or_default();
    Node {
        number: Number(n + 1),
        gateway,
        backend: status.backend,
        heard_seconds_ago: status.renew_time.map(|time| now.as_second() - time.0.as_second()),
        caught_up: status.applied_resource_version.is_some(),
        pools: status.pools.len(),
        refused: status.refused.map_or(0, |refused| refused.count),
        drain: node.spec.drain,
        drained: status.drained,
        purges: [node.spec.purge_generation, status.purged_generation.unwrap_or(0)],
        conditions: said(&status.conditions),
    }
}

fn keys(culvert: &Culvert) -> Keys {
    let mut namespaces: Vec<Option<String>> = culvert.keys.iter().map(kube::ResourceExt::namespace).collect();
    namespaces.sort();
    namespaces.dedup();
    let mut ready = BTreeMap::new();
    for key in &culvert.keys {
        let conditions = key.status.iter().flat_map(|status| &status.conditions);
        let found = conditions
            .filter(|c| c.type_ == ConditionType::Ready.as_str())
            .map(|c| reason(&c.reason))
            .next();
        *ready.entry(found.unwrap_or("Unanswered")).or_default() += 1;
    }
    Keys {
        count: culvert.keys.len(),
        namespaces: namespaces.len(),
        ready,
    }
}

fn said(conditions: &[Condition]) -> Vec<Said> {
    let one = |condition: &Condition| Said {
        kind: kind(&condition.type_),
        holds: condition.status == "True",
        reason: reason(&condition.reason),
    };
    conditions.iter().map(one).collect()
}

fn fault(finding: &Finding) -> Fault {
    Fault {
        check: finding.check,
        weight: finding.weight,
        reason: finding.reason,
    }
}

fn reason(text: &str) -> &'static str {
    let known = Reason::ALL.iter().find(|reason| reason.as_str() == text);
    known.map_or(UNKNOWN, |reason| reason.as_str())
}

fn kind(text: &str) -> &'static str {
    let all = [
        ConditionType::Accepted,
        ConditionType::Programmed,
        ConditionType::Ready,
        ConditionType::Expiring,
        ConditionType::PrivacyDegraded,
        ConditionType::EgressReady,
    ];
    let known = all.iter().find(|kind| kind.as_str() == text);
    known.map_or(UNKNOWN, |kind| kind.as_str())
}

/// Major and minor of a version: what a distributor adds to it is a text.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests;
