//! Follows the peers: list, then watch, straight into the shared map.
//!
//! The socket is always drained: an event costs a map entry, and programming the kernel is somebody
//! else's work. kube's `watcher` hides the versions of lists and bookmarks, which are what a watermark
//! is made of; so this one speaks to the API itself. Whatever fails is resumed with backoff, and a
//! silent connection is given up.

use std::time::Duration;

use culvert_crds::WireGuardPeer;
use futures::StreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource};
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use crate::clock::{Clocks, sleep};
pub use crate::desired::Shared;
use crate::desired::parse::{self, Uid};
use crate::desired::{Desired, Verdict};

/// A watch lives this long at most.
const WATCH: Duration = Duration::from_secs(50);
/// A watch that lives no longer than this was none.
const SHORT: Duration = Duration::from_secs(1);
/// Without an event or an end for so long the connection is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// Peers in one page of a list.
const PAGE: u32 = 500;
/// The time between a list that would remove much and the one that must agree.
const SECOND_OPINION: Duration = Duration::from_secs(5);
/// Waiting after a failure: from here …
const BACKOFF: Duration = Duration::from_millis(200);
/// … doubled up to here.
const BACKOFF_MOST: Duration = Duration::from_secs(30);

type Guarded = DeserializeGuard<WireGuardPeer>;

/// What ends a watch.
enum End {
    /// Its time is over, or the connection broke: go on from the last version.
    Resume,
    /// The version is too old: list again.
    Expired,
}

/// Follows the peers for ever.
pub async fn run(client: Client, shared: Shared) {
    let peers: Api<Guarded> = Api::all(client);
    let mut backoff = BACKOFF;
    loop {
        match list(&peers, &shared).await {
            Ok((version, Verdict::ListAgain)) => {
                tracing::warn!(
                    version,
                    "a list would remove many peers; nothing is removed before a second one agrees"
                );
                sleep(SECOND_OPINION).await;
            }
            Ok((version, verdict)) => {
                if verdict == Verdict::TooOld {
                    tracing::warn!(
                        version,
                        "a list is older than what was seen before; it removes nothing"
                    );
                }
                backoff = BACKOFF;
                follow(&peers, &shared, version.to_string()).await;
            }
            Err(error) => {
                if backoff == BACKOFF {
                    tracing::warn!(error = class(&error), "unable to list peers, trying again");
                }
                pause(&mut backoff).await;
            }
        }
    }
}

async fn list(peers: &Api<Guarded>, shared: &Shared) -> kube::Result<(u64, Verdict)> {
    let mut params = ListParams::default().limit(PAGE);
    let mut begun = false;
    loop {
        let page = peers.list(&params).await?;
        let version = page
            .metadata
            .resource_version
            .as_deref()
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        let mut desired = shared.lock();
        if !std::mem::replace(&mut begun, true) {
            desired.list_begins(version);
        }
        for object in page.items {
            take_in(&mut desired, &object);
        }
        if let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) {
            params = params.continue_token(&token);
        } else {
            let verdict = desired.finish_list(version);
            drop(desired);
            shared.tell();
            return Ok((version, verdict));
        }
    }
}

/// Follows from `version` until it has expired.
async fn follow(peers: &Api<Guarded>, shared: &Shared, mut version: String) {
    let mut backoff = BACKOFF;
    loop {
        let begun = Clocks::read().mono;
        match watch(peers, shared, &mut version).await {
            // It ended at once: the apiserver is going, or a proxy has nobody behind it.
            Ok(End::Resume) if Clocks::read().mono.saturating_sub(begun) < SHORT => pause(&mut backoff).await,
            Ok(End::Resume) => backoff = BACKOFF,
            Ok(End::Expired) => return,
            Err(kube::Error::Api(status)) if status.code == 410 => return,
            Err(error) => {
                if backoff == BACKOFF {
                    tracing::warn!(error = class(&error), "unable to watch peers, trying again");
                }
                pause(&mut backoff).await;
            }
        }
    }
}

async fn watch(peers: &Api<Guarded>, shared: &Shared, version: &mut String) -> kube::Result<End> {
    let params = WatchParams::default().timeout(u32::try_from(WATCH.as_secs()).unwrap_or(50));
    let mut events = std::pin::pin!(peers.watch(&params, version).await?);
    loop {
        let event = match tokio::time::timeout(SILENCE, events.next()).await {
            Ok(Some(event)) => event?,
            Ok(None) | Err(_) => return Ok(End::Resume),
        };
        let seen = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let mut desired = shared.lock();
                take_in(&mut desired, &object);
                let seen = object.meta().resource_version.clone();
                seen.as_deref()
                    .and_then(|v| v.parse().ok())
                    .into_iter()
                    .for_each(|at| desired.note(at));
                seen
            }
            WatchEvent::Deleted(object) => {
                let seen = object.meta().resource_version.clone();
                if let (Some(uid), Some(at)) = (uid(&object), seen.as_deref().and_then(|v| v.parse().ok())) {
                    shared.lock().delete(at, uid);
                }
                seen
            }
            WatchEvent::Bookmark(bookmark) => {
                let seen = bookmark.metadata.resource_version;
                if let Ok(at) = seen.parse() {
                    shared.lock().note(at);
                }
                Some(seen)
            }
            WatchEvent::Error(status) if status.code == 410 => return Ok(End::Expired),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        };
        if let Some(seen) = seen {
            *version = seen;
        }
        shared.tell();
    }
}

fn take_in(desired: &mut Desired, object: &Guarded) {
    let Some(uid) = uid(object) else {
        return;
    };
    let peer = object.0.as_ref().ok().and_then(parse::peer);
    if peer.is_none() {
        tracing::warn!(%uid, "a peer cannot be read and is refused");
    }
    desired.apply(uid, peer);
}

fn uid(object: &Guarded) -> Option<Uid> {
    object.meta().uid.as_deref()?.parse().ok()
}

async fn pause(backoff: &mut Duration) {
    sleep(backoff.mul_f64(UnwrapErr(SysRng).random_range(0.8..1.2))).await;
    *backoff = BACKOFF_MOST.min(*backoff * 2);
}

/// An error without its text, which may name an address.
pub fn class(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            "the kind is not defined in this cluster: run `kubectl apply -f crds/yaml`".to_owned()
        }
        kube::Error::Api(status) if status.code == 403 => {
            "not allowed: grant this identity get, list and watch on the kind".to_owned()
        }
        kube::Error::Api(status) => format!("the apiserver answered with code {}", status.code),
        kube::Error::Service(_) | kube::Error::HyperError(_) => "no connection to the apiserver".to_owned(),
        kube::Error::ReadEvents(_) => "the connection broke".to_owned(),
        kube::Error::SerdeError(_) => "unreadable answer".to_owned(),
        _ => "request failed".to_owned(),
    }
}
