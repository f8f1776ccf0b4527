//! Follows the objects that say what this node's gateways are: `GatewayNode`s of this node, gateways, pools.

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway};
use futures::StreamExt;
use futures::future::ready;
use futures::stream::BoxStream;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::assignment::{Assignment, Leaving};
use crate::watch::class;

/// What this node's gateways are, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    /// Every kind has been listed whole.
    pub complete: bool,
    /// One for each gateway that is to serve.
    pub gateways: Vec<Assignment>,
    /// One for each gateway that is to leave.
    pub leaving: Vec<Leaving>,
}

impl Assignments {
    /// Whether everything is known, and it is nothing.
    pub fn is_nothing(&self) -> bool {
        self.complete && self.gateways.is_empty() && self.leaving.is_empty()
    }
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
        let pools: Vec<IPPool> = readable(&pools);
        let gateways: Vec<WireGuardGateway> = readable(&gateways);
        let nodes: Vec<GatewayNode> = readable(&nodes);
        let mut new = Assignments {
            complete: true,
            ..Assignments::default()
        };
        for node in &nodes {
            new.leaving.extend(Leaving::read(node));
            let named = node.spec.gateway_ref.name.as_str();
            let gateway = gateways
                .iter()
                .find(|gateway| gateway.metadata.name.as_deref() == Some(named));
            new.gateways
                .extend(gateway.and_then(|gateway| Assignment::read(node, gateway, &pools)));
        }
        new.gateways.sort_by(|a, b| a.name.cmp(&b.name));
        new.leaving.sort_by(|a, b| a.name.cmp(&b.name));
        assignments.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }
}

/// The objects that can be read: one that cannot hides no other.
fn readable<K: Resource<DynamicType = ()> + Clone + 'static>(
    store: &reflector::Store<DeserializeGuard<K>>,
) -> Vec<K> {
    store
        .state()
        .iter()
        .filter_map(|object| object.0.as_ref().ok().cloned())
        .collect()
}

type Events = BoxStream<'static, bool>;

/// A store, and a stream that says true once the store has been filled by a whole list.
fn follow<K>(client: &Client, config: watcher::Config) -> (reflector::Store<DeserializeGuard<K>>, Events)
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let watched = watcher(
        Api::<DeserializeGuard<K>>::all(client.clone()),
        config.timeout(50),
    )
    .reflect(writer);
    // That a list begins is no success: the backoff must see failures alone.
    let told = watched.filter(|event| ready(!matches!(event, Ok(watcher::Event::Init))));
    let mut failed = false;
    let events = told.default_backoff().filter_map(move |event| {
        ready(match event {
            Ok(event) => {
                if std::mem::take(&mut failed) {
                    tracing::info!(kind = %K::kind(&()), "watch resumed");
                }
                match event {
                    watcher::Event::InitDone => Some(true),
                    watcher::Event::Apply(_) | watcher::Event::Delete(_) => Some(false),
                    watcher::Event::Init | watcher::Event::InitApply(_) => None,
                }
            }
            Err(error) => {
                // Once an outage; the backoff goes on in silence.
                if !std::mem::replace(&mut failed, true) {
                    let error = cause(&error);
                    tracing::warn!(kind = %K::kind(&()), error, "unable to watch, trying again");
                }
                None
            }
        })
    });
    (reader, events.boxed())
}

fn cause(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(e)
        | watcher::Error::WatchStartFailed(e)
        | watcher::Error::WatchFailed(e) => class(e),
        watcher::Error::WatchError(status) => format!("the apiserver answered with code {}", status.code),
        watcher::Error::NoResourceVersion => "the apiserver names no version".to_owned(),
    }
}
