//! Watches every kind and turns what they say into [`Change`]s.
//!
//! A watch that fails is resumed with backoff for as long as the program runs; until a new list is whole nothing counts
//! as gone. An object that does not decode is passed on by uid, so it keeps its place in the world and what depends on
//! it is left alone. A watch that has gone silent is given up; and whenever one ends, it goes on only where the API's
//! history is still the one it has seen: after a restore from a backup everything is listed again.

mod follow;
mod parse;
mod raw;

use std::sync::Arc;

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway, WireGuardKey, WireGuardPeer};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::{Client, Resource};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

pub(crate) use follow::page;
pub use parse::{LEAVING, POOL_FINALIZER, change};
pub use raw::{Page, Raw};

use crate::metrics::Metrics;
use crate::world::{Change, Kind};

/// Where the objects of a kind are, in all namespaces.
pub fn path(kind: Kind) -> String {
    fn all<K: Resource<DynamicType = ()>>() -> String {
        K::url_path(&(), None)
    }
    match kind {
        Kind::Key => all::<WireGuardKey>(),
        Kind::Claim => all::<WireGuardPeer>(),
        Kind::Pool => all::<IPPool>(),
        Kind::Gateway => all::<WireGuardGateway>(),
        Kind::GatewayNode => all::<GatewayNode>(),
        Kind::Node => all::<Node>(),
        Kind::ServiceRange => all::<ServiceCIDR>(),
    }
}

/// Watches every kind until the receiver is gone. The tasks end only then.
pub fn start(client: &Client, metrics: &Arc<Metrics>, changes: &Sender<Change>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for kind in Kind::ALL {
        tasks.spawn(follow::follow(
            client.clone(),
            kind,
            metrics.clone(),
            changes.clone(),
        ));
    }
    tasks
}
