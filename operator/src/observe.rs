//! Watches every kind and turns what they say into [`Change`]s.
//!
//! A watch that fails is resumed with backoff for as long as the program runs; until a new list is
//! whole nothing counts as gone. An object that does not decode is passed on by uid, so it keeps its
//! place in the world and what depends on it is left alone.

mod parse;

pub use parse::{LEAVING, POOL_FINALIZER};

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway, WireGuardKey, WireGuardPeer};
use futures::StreamExt;
use futures::future::ready;
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
const WATCH_TIMEOUT: u32 = 50;

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
    let watched = watcher::watcher(Api::<DeserializeGuard<K>>::all(client), config);
    let mut begun = false;
    // A watch says that it begins to list before it knows whether it can: that is no success, so it goes out with the
    // first thing that is, and the backoff sees failures alone.
    let read = watched.map(move |event| event.map(|event| read::<K>(event, &mut begun)));
    let told = read.filter(|changes| ready(!changes.as_ref().is_ok_and(Vec::is_empty)));
    let mut told = std::pin::pin!(told.backoff(watcher::DefaultBackoff::default()));
    let mut failed = false;
    while let Some(event) = told.next().await {
        match event {
            Ok(read) => {
                if std::mem::take(&mut failed) {
                    tracing::info!(kind = %K::kind(&()), "watch resumed");
                }
                for change in read {
                    if changes.send(change).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                // Once an outage; the backoff goes on in silence.
                if !std::mem::replace(&mut failed, true) {
                    let error = Failure::of_watch(&error);
                    let advice = advice(&error);
                    tracing::warn!(kind = %K::kind(&()), %error, advice, "unable to watch, trying again");
                }
            }
        }
    }
}

/// What a person can do about a watch that fails.
fn advice(error: &Failure) -> &'static str {
    match error {
        Failure::NotFound => "the kind is not defined in this cluster: run `kubectl apply -f crds/yaml`",
        Failure::Refused(401 | 403) => "grant this identity get, list and watch on the kind",
        _ => "see whether the apiserver can be reached with this kubeconfig",
    }
}

fn read<K: Observed>(event: Event<DeserializeGuard<K>>, begun: &mut bool) -> Vec<Change> {
    let begins = |begun: &mut bool| std::mem::take(begun).then_some(Change::ListBegins(K::KIND));
    match event {
        Event::Init => {
            *begun = true;
            Vec::new()
        }
        Event::InitDone => begins(begun)
            .into_iter()
            .chain([Change::ListComplete(K::KIND)])
            .collect(),
        Event::InitApply(object) => begins(begun).into_iter().chain(now_is(&object)).collect(),
        Event::Apply(object) => now_is(&object).into_iter().collect(),
        Event::Delete(object) => {
            let gone = |uid| Change::Gone(K::KIND, uid);
            object.meta().uid.clone().map(gone).into_iter().collect()
        }
    }
}

fn now_is<K: Observed>(object: &DeserializeGuard<K>) -> Option<Change> {
    object
        .0
        .as_ref()
        .ok()
        .and_then(Observed::change)
        .or_else(|| unreadable(object))
}

fn unreadable<K: Observed>(object: &DeserializeGuard<K>) -> Option<Change> {
    let uid = object.meta().uid.clone()?;
    tracing::warn!(kind = ?K::KIND, uid, "object cannot be read; what depends on it stays as it is");
    Some(Change::Unreadable(K::KIND, uid))
}
