//! Watches every kind and turns what they say into [`Change`]s.
//!
//! How a watch is kept alive, and that the API's history has gone back, is [`culvert_follow`]'s. An object that does not
//! decode is passed on by uid, so it keeps its place in the world and what depends on it is left alone.

mod listen;
mod parse;

use std::sync::Arc;

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway, WireGuardKey, WireGuardPeer};
use culvert_follow::{Params, follow};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::{Client, Resource};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use listen::Changes;
pub use parse::{POOL_FINALIZER, change};

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

/// How a kind is followed. The log knows it by the operator's own name.
fn params(kind: Kind) -> Params {
    Params::new(format!("{kind:?}"), path(kind))
}

/// Watches every kind until the receiver is gone, or the API's history has gone back. The tasks end only then.
pub fn start(client: &Client, metrics: &Arc<Metrics>, changes: &Sender<Change>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for kind in Kind::ALL {
        let listener = Changes::new(kind, metrics.clone(), changes.clone());
        tasks.spawn(follow(client.clone(), params(kind), listener));
    }
    tasks
}
