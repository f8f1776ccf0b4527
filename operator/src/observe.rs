//! Watches every kind and turns what they say into [`Change`]s.
//!
//! How a watch is kept alive, and that the API's history has gone back, is [`culvert_follow`]'s. An object that does not
//! decode is passed on by uid, so it keeps its place in the world and what depends on it is left alone.

mod listen;
mod parse;

use std::borrow::Cow;
use std::sync::Arc;

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway, WireGuardKey, WireGuardPeer};
use culvert_follow::{Params, follow};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
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
        Kind::Apiserver => EndpointSlice::url_path(&(), Some("default")),
    }
}

/// What a kind is called in the API, and so in the log.
pub fn name(kind: Kind) -> Cow<'static, str> {
    fn of<K: Resource<DynamicType = ()>>() -> Cow<'static, str> {
        K::kind(&())
    }
    match kind {
        Kind::Key => of::<WireGuardKey>(),
        Kind::Claim => of::<WireGuardPeer>(),
        Kind::Pool => of::<IPPool>(),
        Kind::Gateway => of::<WireGuardGateway>(),
        Kind::GatewayNode => of::<GatewayNode>(),
        Kind::Node => of::<Node>(),
        Kind::ServiceRange => of::<ServiceCIDR>(),
        Kind::Apiserver => of::<EndpointSlice>(),
    }
}

/// How a kind is followed.
fn params(kind: Kind) -> Params {
    let mut params = Params::new(name(kind).into_owned(), path(kind));
    if kind == Kind::Apiserver {
        // Its name is what a role can be narrowed to; the other slices of that namespace are somebody's own.
        params.fields = Some("metadata.name=kubernetes".to_owned());
    }
    params
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
