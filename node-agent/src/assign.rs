//! Follows the objects that say what this node's gateways are: `GatewayNode`s of this node, gateways, pools.

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway};
use futures::StreamExt;
use futures::stream::BoxStream;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::assignment::Assignment;

/// What this node's gateways are, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    /// Every kind has been listed whole.
    pub complete: bool,
    /// One for each gateway.
    pub gateways: Vec<Assignment>,
}

/// Follows for ever; the newest state is in `assignments`.
pub async fn run(client: Client, node: String, assignments: watch::Sender<Assignments>) {
    let of_node = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let (nodes, mut node_events) = follow::<GatewayNode>(&client, of_node);
    let (gateways, mut gateway_events) = follow::<WireGuardGateway>(&client, watcher::Config::default());
    let (pools, mut pool_events) = follow::<IPPool>(&client, watcher::Config::default());
    let mut listed = [false; 3];
    loop {
        tokio::select! {
            Some(whole) = node_events.next() => listed[0] |= whole,
            Some(whole) = gateway_events.next() => listed[1] |= whole,
            Some(whole) = pool_events.next() => listed[2] |= whole,
            else => return,
        }
        if listed != [true; 3] {
            continue;
        }
        let pools: Vec<_> = pools.state().iter().map(|pool| (**pool).clone()).collect();
        let mut found: Vec<_> = nodes
            .state()
            .iter()
            .filter_map(|node| {
                let gateway = gateways.state().into_iter().find(|gateway| {
                    gateway.metadata.name.as_deref() == Some(node.spec.gateway_ref.name.as_str())
                })?;
                Assignment::read(node, &gateway, &pools)
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let new = Assignments {
            complete: true,
            gateways: found,
        };
        assignments.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }
}

type Events = BoxStream<'static, bool>;

/// A store, and a stream that says true once the store has been filled by a whole list.
fn follow<K>(client: &Client, config: watcher::Config) -> (reflector::Store<K>, Events)
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let events = watcher(Api::<K>::all(client.clone()), config.timeout(80)).default_backoff();
    let events = events.reflect(writer).filter_map(|event| async move {
        match event {
            Ok(watcher::Event::InitDone) => Some(true),
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => Some(false),
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
            Err(_) => {
                tracing::warn!(kind = %K::kind(&()), "unable to watch, trying again");
                None
            }
        }
    });
    (reader, events.boxed())
}
