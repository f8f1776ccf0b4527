//! What there was nothing to judge by, and why (pure): nothing that was not looked at is called well.

use kube::ResourceExt as _;
use serde::Serialize;

use super::finding::{Check, Finding};
use super::{clock, heard};
use crate::world::{Culvert, Ground, Server};

/// Something that was not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// What would have been looked at.
    pub check: Check,

    /// Why it was not, and what to do or where that is said.
    pub why: String,
}

/// The checks that found nothing because there was nothing to look at.
pub fn unseen(
    findings: &[Finding],
    culvert: &Culvert,
    ground: &Ground,
    server: &Server,
    system: &str,
) -> Vec<Unseen> {
    let silent = Check::ALL
        .into_iter()
        .filter(|check| !findings.iter().any(|finding| finding.check == *check));
    silent
        .filter_map(|check| {
            let why = why(check, culvert, ground, server, system)?;
            Some(Unseen { check, why })
        })
        .collect()
}

fn why(check: Check, culvert: &Culvert, ground: &Ground, server: &Server, system: &str) -> Option<String> {
    let why = match check {
        _ if !ground.tells_of(check) => "it could not be read",
        Check::Definitions | Check::Policies => return None,
        Check::PodSecurity => {
            let mut namespaces = ground.namespaces.iter().flatten();
            return namespaces.all(|one| one.name_any() != system).then(|| {
                format!("there is no namespace {system}; --system-namespace says where the agents run")
            });
        }
        _ if !culvert.is_defined => "the kinds are not defined; see definitions",
        Check::Operator if culvert.pools.is_empty() => "there is no pool that it could answer; see pools",
        Check::Mtu if culvert.gateways.is_empty() => "there is no gateway; see gateways",
        Check::Agents | Check::Drain if culvert.nodes.is_empty() => "no gateway is on a node; see gateways",
        Check::Clock if culvert.nodes.iter().all(|node| clock::heard(node).is_none()) => {
            "no agent has said what time it is on its node; see agents"
        }
        check if check.is_of_nodes() && heard(culvert, server.there) == 0 => "no agent is heard; see agents",
        _ => return None,
    };
    Some(why.to_owned())
}
