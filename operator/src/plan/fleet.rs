//! Which node serves which gateway, and what the gateways' statuses say.

use std::collections::HashSet;
use std::time::Duration;

use culvert_crds::conditions::condition;
use culvert_crds::gateway::WireGuardGatewayStatus;
use culvert_crds::gateway_node::gateway_node_name;
use culvert_crds::{ConditionType, GatewayRef, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Grounds, NewGatewayNode, Plan, Step};
use crate::clock::Now;
use crate::world::{Gateway, GatewayNode, Kind, Node, SERVING_LEASE, Target, World};

/// Plans the gateway nodes: made for every selected node, drained and deleted for every other.
pub fn plan(world: &World, now: Now, plan: &mut Plan) {
    for node in world.gateway_nodes().filter(|node| node.serves(now.mono)) {
        plan.wakes.push((
            node.renewed + SERVING_LEASE + Duration::from_millis(1),
            Target::Fleet,
        ));
    }
    let mut wanted = HashSet::new();
    let mut conflicts = HashSet::new();
    let mut gateways: Vec<&Gateway> = world.gateways().filter(|gateway| !gateway.deleting).collect();
    gateways.sort_by_key(|gateway| (gateway.created, gateway.uid));
    for node in world.nodes() {
        let mut there: Vec<&Gateway> = Vec::new();
        for gateway in gateways.iter().copied().filter(|gateway| selects(gateway, node)) {
            if there.iter().any(|older| collide(older, gateway)) {
                conflicts.insert(gateway.uid);
                continue;
            }
            there.push(gateway);
            let name = gateway_node_name(&gateway.name, &node.name);
            match world.gateway_node(&name) {
                // An agent that knows nothing of the cluster keeps nobody away from it.
                None if !knows_cluster(world, gateway) => continue,
                None => {
                    let step = Step::CreateGatewayNode(new(gateway, node, &name));
                    plan.steps.push((Target::Fleet, step));
                }
                // It leaves first, and is made again when it has left.
                Some(existing) if existing.leaving || existing.gateway_uid != gateway.uid => continue,
                Some(existing) => plan
                    .steps
                    .extend(follow(gateway, node, existing).map(|step| (Target::Fleet, step))),
            }
            wanted.insert(name);
        }
    }
    // Nodes and gateways that cannot be read exist all the same: nobody is sent away for their sake.
    if !world.has_unreadable(Kind::Gateway) && !world.has_unreadable(Kind::Node) {
        for surplus in world.gateway_nodes().filter(|node| !wanted.contains(&node.name)) {
            plan.steps
                .extend(leave(world, surplus).map(|step| (Target::Fleet, step)));
        }
    }
    for gateway in world.gateways() {
        publish(world, gateway, conflicts.contains(&gateway.uid), now, plan);
    }
}

/// Whether a gateway's agents are told of the cluster's ranges, if it has any.
fn knows_cluster(world: &World, gateway: &Gateway) -> bool {
    !gateway.status.cluster_ranges.is_empty() || !world.has_cluster_ranges()
}

/// Whether two gateways cannot both be on one node.
fn collide(one: &Gateway, other: &Gateway) -> bool {
    one.interface == other.interface
        || one.listen_port == other.listen_port
        || one.pools.iter().any(|pool| other.pools.contains(pool))
}

/// The next step of a node on its way out: it is asked to leave, and its object goes when it has left, or when there is
/// nobody to do so.
fn leave(world: &World, node: &GatewayNode) -> Option<Step> {
    let name = node.name.clone();
    let resource_version = node.resource_version;
    let answered = node.report.is_some();
    let drained = node.report.as_ref().is_some_and(|report| report.drained);
    let there = world.node(&node.node);
    let grounds = || {
        Box::new(Grounds {
            gateways: world.gateways().map(|g| (g.uid, g.generation)).collect(),
            name: node.node.clone(),
            node: there.cloned(),
        })
    };
    if drained || !answered || there.is_none() {
        return Some(Step::DeleteGatewayNode {
            name,
            uid: node.uid,
            resource_version,
            grounds: grounds(),
        });
    }
    (!node.drain || !node.leaving).then(|| Step::DrainGatewayNode {
        name,
        resource_version,
        grounds: grounds(),
    })
}

fn selects(gateway: &Gateway, node: &Node) -> bool {
    gateway
        .node_selector
        .iter()
        .all(|(label, value)| node.labels.get(label) == Some(value))
}

/// Where clients connect.
fn host(gateway: &Gateway, node: &Node) -> Option<String> {
    match &gateway.host_template {
        Some(template) => Some(template.replace("{node}", &node.name)),
        None => node
            .external_address
            .clone()
            .or_else(|| node.internal_address.clone()),
    }
}

/// A node gets its addresses some time after it has registered, and may get others. One that has none for the moment
/// keeps its clients.
fn follow(gateway: &Gateway, node: &Node, existing: &GatewayNode) -> Option<Step> {
    let endpoint_host = host(gateway, node)?;
    (existing.endpoint_host.as_ref() != Some(&endpoint_host)).then(|| Step::MoveGatewayNode {
        name: existing.name.clone(),
        resource_version: existing.resource_version,
        endpoint_host,
    })
}

fn new(gateway: &Gateway, node: &Node, name: &str) -> NewGatewayNode {
    NewGatewayNode {
        name: name.to_owned(),
        gateway: GatewayRef {
            name: gateway.name.clone(),
            uid: gateway.uid.to_string(),
        },
        node: node.name.clone(),
        node_uid: node.uid,
        endpoint_host: host(gateway, node),
    }
}

fn publish(world: &World, gateway: &Gateway, conflicts: bool, now: Now, plan: &mut Plan) {
    let nodes = world
        .gateway_nodes()
        .filter(|node| node.gateway_uid == gateway.uid);
    let pools = gateway.pools.iter();
    let pools: Vec<&String> = pools.filter(|pool| world.pool(pool).is_some()).collect();
    let (mut serving, mut all) = (0, 0);
    for node in nodes {
        all += 1;
        let serves = node.serves(now.mono) && pools.iter().all(|pool| node.serves_pool(pool, now.mono));
        serving += usize::from(serves);
    }
    let previous = &gateway.status.conditions;
    let time = Time(now.wall);
    let generation = gateway.generation;
    let ready = if conflicts {
        Err(Reason::Conflict)
    } else if all == 0 {
        Err(Reason::NoGateway)
    } else if serving < all {
        Err(Reason::Pending)
    } else {
        Ok(())
    };
    let status = WireGuardGatewayStatus {
        observed_generation: generation,
        nodes: Some(format!("{serving}/{all}")),
        cluster_ranges: world.cluster_ranges(&gateway.status.cluster_ranges),
        conditions: vec![
            condition(
                ConditionType::Accepted,
                true,
                Reason::Accepted,
                generation,
                &time,
                previous,
            ),
            condition(
                ConditionType::Ready,
                ready.is_ok(),
                ready.err().unwrap_or(Reason::Ready),
                generation,
                &time,
                previous,
            ),
        ],
    };
    if status != gateway.status {
        let step = Step::PublishGateway {
            name: gateway.name.clone(),
            resource_version: gateway.resource_version,
            status: Box::new(status),
        };
        plan.steps.push((Target::Fleet, step));
    }
}
