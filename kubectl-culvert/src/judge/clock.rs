//! Whether clocks are together, and when an agent was last heard.
//!
//! An agent says what time it is where it is, and the apiserver notes when it was told.

use std::time::Duration;

use culvert_crds::GatewayNode;
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::finding::{Check, Finding, Weight, finding};
use crate::duration;
use crate::world::{Culvert, Server};

/// Clocks that differ by less are together.
const SKEW: Duration = Duration::from_secs(10);

/// When a node's agent was last heard, by the apiserver's clock where that has noted it; nothing if it never was.
pub(super) fn heard(node: &GatewayNode) -> Option<Timestamp> {
    let said = said(node)?;
    Some(noted(node).unwrap_or(said))
}

/// What time it was where the agent is when it last reported.
fn said(node: &GatewayNode) -> Option<Timestamp> {
    let time = node.status.as_ref()?.renew_time.as_ref()?;
    Some(time.0)
}

/// When the apiserver was told so: each report has another time in it, so its writer is noted anew.
fn noted(node: &GatewayNode) -> Option<Timestamp> {
    let entries = node.metadata.managed_fields.iter().flatten();
    let reports = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.0.pointer("/f:status/f:renewTime").is_some())
    });
    reports
        .filter_map(|entry| entry.time.as_ref())
        .map(|time| time.0)
        .max()
}

/// Judges this machine's clock and the nodes' by the apiserver's.
pub(super) fn clocks(culvert: &Culvert, server: &Server) -> Vec<Finding> {
    let mut findings = Vec::new();
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
    findings.extend(culvert.nodes.iter().filter_map(|node| of_node(node, server)));
    findings
}

fn of_node(node: &GatewayNode, server: &Server) -> Option<Finding> {
    let (said, noted) = (said(node)?, noted(node));
    // It may be the apiserver's that was wrong then, and is right by now.
    let there = noted.map_or(server.there, |noted| noted.min(server.there));
    let way = if said > there {
        "ahead of"
    } else {
        // Where nothing is noted it cannot be told from an agent that is silent.
        noted?;
        "behind"
    };
    let apart = apart(said, there);
    if apart <= SKEW {
        return None;
    }
    let what = format!(
        "the clock of node {} is {} {way} the apiserver's; it needs NTP",
        node.spec.node_name,
        duration::text(apart)
    );
    let about = format!("gatewaynode/{}", node.name_any());
    Some(finding(Check::Clock, Weight::Bad, about, what))
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.duration_since(other).unsigned_abs()
}
