//! What there was nothing to judge by, and why (pure): nothing that was not looked at is called well.

use culvert_crds::{ConditionType, GatewayNode};
use kube::ResourceExt as _;
use serde::Serialize;

use super::finding::{Check, Finding};
use super::{clock, is_heard};
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
        check if check.is_of_nodes() => return of_nodes(check, culvert, server),
        _ => return None,
    };
    Some(why.to_owned())
}

/// What only agents can tell: those that are heard, and have not been told to leave.
fn of_nodes(check: Check, culvert: &Culvert, server: &Server) -> Option<String> {
    let mut serving = culvert
        .nodes
        .iter()
        .filter(|node| is_heard(node, server.there) && !node.spec.drain)
        .peekable();
    if serving.peek().is_none() {
        return Some("no agent is heard that has a gateway to look after; see agents and drain".to_owned());
    }
    // An agent gets to its node's way out when its interface is there, and says nothing of privacy that it cannot tell.
    let (by, why) = if check == Check::Privacy {
        (ConditionType::PrivacyDegraded, "could not tell")
    } else {
        (
            ConditionType::EgressReady,
            "has not got so far; see what else is wrong with it",
        )
    };
    let node = serving.find(|node| !says(node, by))?;
    Some(format!("the agent on node {} {why}", node.spec.node_name))
}

fn says(node: &GatewayNode, what: ConditionType) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|condition| condition.type_ == what.as_str())
}
