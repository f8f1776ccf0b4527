//! Writes to gateway nodes, and what must be sure before one is sent away.

use std::collections::BTreeMap;

use culvert_crds::{GatewayNode, GatewayNodeSpec};
use culvert_follow::page;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::ListParams;

use super::Outcome;
use super::api::Objects;
use super::retry::Failure;
use crate::observe;
use crate::plan::{Grounds, NewGatewayNode};
use crate::world::{Change, Kind, Uid};

/// Asks a selected node to serve.
pub async fn create(client: &Client, new: NewGatewayNode) -> Outcome {
    let spec = GatewayNodeSpec {
        gateway_ref: new.gateway,
        node_name: new.node.clone(),
        endpoint_host: new.endpoint_host,
        drain: false,
        purge_generation: 0,
    };
    let mut object = GatewayNode::new(&new.name, spec);
    // With its node gone there is nothing left to drain; the API's garbage collector takes it.
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: new.node,
        uid: new.node_uid.to_string(),
        ..OwnerReference::default()
    }]);
    // One that exists already is about to be shown by the watch.
    Objects::all(client, Kind::GatewayNode).create(&object).await
}

/// Whether nothing is newer than what a gateway node is sent away for: the watch of gateways, or of nodes, may have
/// fallen silent long before that of gateway nodes, and whoever leaves cuts off its clients.
pub async fn confirm(client: &Client, grounds: Grounds) -> Result<(), Failure> {
    let gateways = page(client, &observe::path(Kind::Gateway), &ListParams::default()).await?;
    let gateways = gateways.items.iter().map(|gateway| &gateway.metadata);
    let gateways: BTreeMap<Uid, i64> = gateways.filter_map(|of| Some((of.uid?, of.generation))).collect();
    if gateways != grounds.gateways {
        return Err(Failure::Conflict);
    }
    let nodes = Objects::all(client, Kind::Node);
    match nodes.get(&grounds.name).await {
        Ok(node) => match nodes.read(&node) {
            Some(Change::Node(node)) if Some(&*node) == grounds.node.as_ref() => Ok(()),
            _ => Err(Failure::Conflict),
        },
        Err(Failure::NotFound) => Ok(()),
        Err(failure) => Err(failure),
    }
}
