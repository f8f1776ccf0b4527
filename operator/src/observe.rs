//! Watches every kind and turns what they say into [`Change`]s.
//!
//! A watch that fails is resumed with backoff for as long as the program runs; until a new list is
//! whole nothing counts as gone. An object that does not decode is passed on by uid, so it keeps its
//! place in the world and what depends on it is left alone.

mod parse;

pub use parse::{LEAVING, POOL_FINALIZER};

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway, WireGuardKey, WireGuardPeer};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use crate::execute::retry::Failure;
use crate::world::{Change, Kind};

/// A watch lives this long at most, so that one the network has silently cut is noticed.
const WATCH_TIMEOUT: u32 = 80;

/// An object of the API that the operator reads.
pub trait Observed:
    Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync
{
    /// Its kind.
    const KIND: Kind;

    /// What it says; `None` when the operator cannot make sense of it.
    fn change(&self) -> Option<Change>;
}

macro_rules! observed {
    ($($object:ty => $kind:ident),+ $(,)?) => {
        $(impl Observed for $object {
            const KIND: Kind = Kind::$kind;

            fn change(&self) -> Option<Change> {
                Some(Change::$kind(Box::new(parse::Parse::parse(self)?)))
            }
        })+
    };
}

observed! {
    WireGuardKey => Key,
    WireGuardPeer => Claim,
    IPPool => Pool,
    WireGuardGateway => Gateway,
    GatewayNode => GatewayNode,
    Node => Node,
}

/// Watches every kind until the receiver is gone. The tasks end only then.
pub fn start(client: &Client, changes: &Sender<Change>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(follow::<WireGuardKey>(client.clone(), changes.clone()));
    tasks.spawn(follow::<WireGuardPeer>(client.clone(), changes.clone()));
    tasks.spawn(follow::<IPPool>(client.clone(), changes.clone()));
    tasks.spawn(follow::<WireGuardGateway>(client.clone(), changes.clone()));
    tasks.spawn(follow::<GatewayNode>(client.clone(), changes.clone()));
    tasks.spawn(follow::<Node>(client.clone(), changes.clone()));
    tasks
}

async fn follow<K: Observed + 'static>(client: Client, changes: Sender<Change>) {
    let config = watch::Config::default().timeout(WATCH_TIMEOUT);
    let backoff = watcher::DefaultBackoff::default();
    let events = watcher::watcher(Api::<DeserializeGuard<K>>::all(client), config).backoff(backoff);
    let mut events = std::pin::pin!(events);
    let mut failed = false;
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(event) => {
                if failed {
                    tracing::info!(kind = ?K::KIND, "watch resumed");
                }
                failed = false;
                read::<K>(event)
            }
            Err(error) => {
                // Reported once an outage; the backoff goes on in silence.
                if !failed {
                    tracing::warn!(kind = ?K::KIND, error = %Failure::of_watch(&error), "unable to watch, trying again");
                }
                failed = true;
                None
            }
        };
        if let Some(change) = change
            && changes.send(change).await.is_err()
        {
            return;
        }
    }
}

fn read<K: Observed>(event: Event<DeserializeGuard<K>>) -> Option<Change> {
    match event {
        Event::Init => Some(Change::ListBegins(K::KIND)),
        Event::InitDone => Some(Change::ListComplete(K::KIND)),
        Event::Apply(object) | Event::InitApply(object) => match &object.0 {
            Ok(read) => read.change().or_else(|| unreadable(&object)),
            Err(_) => unreadable(&object),
        },
        Event::Delete(object) => Some(Change::Gone(K::KIND, object.meta().uid.clone()?)),
    }
}

fn unreadable<K: Observed>(object: &DeserializeGuard<K>) -> Option<Change> {
    let uid = object.meta().uid.clone()?;
    tracing::warn!(kind = ?K::KIND, uid, "object cannot be read; what depends on it stays as it is");
    Some(Change::Unreadable(K::KIND, uid))
}
