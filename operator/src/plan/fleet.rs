//! Which node serves which gateway, and what the gateways' statuses say.

use std::collections::HashSet;

use culvert_crds::conditions::condition;
use culvert_crds::gateway::WireGuardGatewayStatus;
use culvert_crds::gateway_node::gateway_node_name;
use culvert_crds::{ConditionType, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{NewGatewayNode, Plan, Step};
use crate::clock::Now;
use crate::world::{Gateway, Node, Target, World};

/// Plans the gateway nodes: made for every selected node, drained and deleted for every other.
pub fn plan(world: &World, now: Now, plan: &mut Plan) {
    let mut wanted = HashSet::new();
    for gateway in world.gateways().filter(|gateway| !gateway.deleting) {
        for node in world.nodes().filter(|node| selects(gateway, node)) {
            let name = gateway_node_name(&gateway.name, &node.name);
            if world.gateway_node(&name).is_none() {
                plan.steps
                    .push((Target::Fleet, Step::CreateGatewayNode(new(gateway, node, &name))));
            }
            wanted.insert(name);
        }
    }
    for surplus in world.gateway_nodes().filter(|node| !wanted.contains(&node.name)) {
        let answered = surplus.report.is_some();
        let drained = surplus.report.as_ref().is_some_and(|report| report.drained);
        let name = surplus.name.clone();
        let resource_version = surplus.resource_version;
        if drained || !answered || world.node(&surplus.node).is_none() {
            let uid = surplus.uid.clone();
            plan.steps.push((
                Target::Fleet,
                Step::DeleteGatewayNode {
                    name,
                    uid,
                    resource_version,
                },
            ));
        } else if !surplus.drain {
            plan.steps.push((
                Target::Fleet,
                Step::DrainGatewayNode {
                    name,
                    resource_version,
                },
            ));
        }
    }
    for gateway in world.gateways() {
        publish(world, gateway, now, plan);
    }
}

fn selects(gateway: &Gateway, node: &Node) -> bool {
    gateway
        .node_selector
        .iter()
        .all(|(label, value)| node.labels.get(label) == Some(value))
}

fn new(gateway: &Gateway, node: &Node, name: &str) -> NewGatewayNode {
    let endpoint_host = match &gateway.host_template {
        Some(template) => Some(template.replace("{node}", &node.name)),
        None => node
            .external_address
            .clone()
            .or_else(|| node.internal_address.clone()),
    };
    NewGatewayNode {
        name: name.to_owned(),
        gateway: gateway.name.clone(),
        node: node.name.clone(),
        node_uid: node.uid.clone(),
        endpoint_host,
    }
}

fn publish(world: &World, gateway: &Gateway, now: Now, plan: &mut Plan) {
    let nodes = world.gateway_nodes().filter(|node| node.gateway == gateway.name);
    let (mut serving, mut all) = (0, 0);
    for node in nodes {
        all += 1;
        serving += usize::from(node.serves(now.mono));
    }
    let previous = &gateway.status.conditions;
    let time = Time(now.wall);
    let generation = gateway.generation;
    let ready = if all == 0 {
        Err(Reason::NoGateway)
    } else if serving < all {
        Err(Reason::Pending)
    } else {
        Ok(())
    };
    let status = WireGuardGatewayStatus {
        observed_generation: generation,
        nodes: Some(format!("{serving}/{all}")),
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
