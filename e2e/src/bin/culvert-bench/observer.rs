//! Who waits for addresses: a watch on keys and one on peers, as a user and an agent have them.
//!
//! All times are those at which an event was read here, for the operator's writes and the bare client's alike.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context, Result, bail};
use culvert_crds::{WireGuardKey, WireGuardPeer};
use culvert_e2e::wait::Stopwatch;
use futures::StreamExt;
use kube::{
    Client, Resource,
    api::{ListParams, WatchParams},
    core::{Request, WatchEvent},
};
use serde::Deserialize;
use tokio::{sync::watch, task::JoinSet};

use crate::fields::{Fields, Meta};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_mins(10);

/// What has been seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Names of the keys with addresses.
    pub published: HashSet<String>,
    /// Names of the keys that are programmed.
    pub programmed: HashSet<String>,
    /// When the first peer was there.
    pub first_peer: Option<Duration>,
    /// When the last key got its addresses.
    pub last_published: Option<Duration>,
}

/// Watches until it is dropped.
pub struct Observer {
    seen: watch::Receiver<Seen>,
    watches: JoinSet<Result<()>>,
}

#[derive(Deserialize)]
struct List {
    metadata: Meta,
}

impl Observer {
    /// Watches the keys of a namespace (of all, without one) and all peers, from now on.
    pub async fn start(client: &Client, namespace: Option<&str>) -> Result<Self> {
        let (sender, seen) = watch::channel(Seen::default());
        let watch = Stopwatch::start();
        let mut watches = JoinSet::new();
        for (is_key, path) in [
            (true, WireGuardKey::url_path(&(), namespace)),
            (false, WireGuardPeer::url_path(&(), None)),
        ] {
            let version = version(client, &path).await?;
            let sender = sender.clone();
            let note = move |object: Fields| {
                sender.send_modify(|seen| seen.note(is_key, object, watch.elapsed()));
            };
            watches.spawn(follow(client.clone(), path, version, note));
        }
        Ok(Self { seen, watches })
    }

    /// Waits until `enough` has been seen.
    pub async fn until(&mut self, what: &str, enough: impl FnMut(&Seen) -> bool) -> Result<()> {
        tokio::select! {
            found = tokio::time::timeout(PATIENCE, self.seen.wait_for(enough)) => {
                found.with_context(|| format!("waited in vain for {what}"))?.context("the watches are gone")?;
                Ok(())
            }
            Some(ended) = self.watches.join_next() => {
                ended.context("a watch panicked")??;
                bail!("a watch ended")
            }
        }
    }

    /// From the first peer to the last published key.
    pub fn took(&self) -> Result<Duration> {
        let seen = self.seen.borrow();
        let (first, last) = seen
            .first_peer
            .zip(seen.last_published)
            .context("nothing was published")?;
        Ok(last.saturating_sub(first))
    }
}

impl Seen {
    fn note(&mut self, is_key: bool, object: Fields, now: Duration) {
        if !is_key {
            self.first_peer.get_or_insert(now);
            return;
        }
        if object.is_programmed() {
            self.programmed.insert(object.metadata.name.clone());
        }
        if object.is_published() && self.published.insert(object.metadata.name) {
            self.last_published = Some(now);
        }
    }
}

/// The version at which a kind is read at present.
pub async fn version(client: &Client, path: &str) -> Result<String> {
    let request = Request::new(path).list(&ListParams::default().limit(1))?;
    let list: List = client.request(request).await.context("failed to list")?;
    Ok(list.metadata.resource_version)
}

/// Follows a kind from `version` on, for ever.
pub async fn follow(
    client: Client,
    path: String,
    mut version: String,
    mut note: impl FnMut(Fields),
) -> Result<()> {
    loop {
        let request = Request::new(&path).watch(&WatchParams::default(), &version)?;
        let events = client.request_events::<Fields>(request).await;
        let mut events = std::pin::pin!(events.context("failed to watch")?);
        while let Some(event) = events.next().await {
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    version.clone_from(&object.metadata.resource_version);
                    note(object);
                }
                Ok(WatchEvent::Deleted(object)) => version = object.metadata.resource_version,
                Ok(WatchEvent::Bookmark(mark)) => version = mark.metadata.resource_version,
                Ok(WatchEvent::Error(status)) => bail!("a watch failed with code {}", status.code),
                // A busy apiserver cuts a slow watch; it goes on where it was.
                Err(_) => break,
            }
        }
    }
}
