//! One kind: listed whole, then watched, for ever.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::mpsc::Sender;

use super::raw::{Page, Raw};
use super::{parse, path};
use crate::execute::retry::Failure;
use crate::metrics::Metrics;
use crate::world::{Change, Kind};

/// A watch lives this long at most, in seconds, so that one the network has silently cut is noticed.
const WATCH: u32 = 50;

/// A watch that says nothing for so long is dead: the apiserver ends it before, and says so.
const SILENCE: Duration = Duration::from_secs(60);

/// Objects of a page.
const PAGE: u32 = 250;

/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Why a watch has ended.
enum End {
    /// It broke, and can go on from where it was.
    Broken(Failure),
    /// The time was up, and something was heard or not.
    Over { heard: bool },
    /// Its place is no longer known to the apiserver: list again.
    Lost,
    /// History has gone back behind it.
    Rewound,
    /// Nobody listens any more.
    Deaf,
}

/// Follows one kind until nobody listens.
pub(super) async fn follow(client: Client, kind: Kind, metrics: Arc<Metrics>, changes: Sender<Change>) {
    let mut feed = Feed {
        path: path(kind),
        client,
        kind,
        metrics,
        changes,
        version: 0,
        pause: PAUSE.0,
        failed: false,
    };
    while !feed.changes.is_closed() {
        match feed.list().await {
            Ok(Some(version)) => {
                feed.version = version;
                feed.stay().await;
            }
            Ok(None) => return,
            Err(failure) => feed.fail(&failure).await,
        }
    }
}

struct Feed {
    client: Client,
    kind: Kind,
    metrics: Arc<Metrics>,
    path: String,
    changes: Sender<Change>,
    /// The newest version seen of this kind.
    version: u64,
    pause: Duration,
    failed: bool,
}

impl Feed {
    async fn tell(&self, change: Change) -> Option<()> {
        self.changes.send(change).await.ok()
    }

    /// Lists everything, and gives the version of the list; `None` when nobody listens.
    async fn list(&mut self) -> Result<Option<u64>, Failure> {
        let mut params = ListParams::default().limit(PAGE);
        let mut begun = false;
        loop {
            let page = page(&self.client, &self.path, &params).await?;
            // A list says that it begins when it has begun: one that fails at once is none.
            if !std::mem::replace(&mut begun, true) {
                let version = page.metadata.resource_version;
                if version < self.version {
                    self.tell(Change::Rewound).await;
                    return Ok(None);
                }
                if self.tell(Change::ListBegins(self.kind, version)).await.is_none() {
                    return Ok(None);
                }
            }
            for object in &page.items {
                if self.now_is(object).await.is_none() {
                    return Ok(None);
                }
            }
            let Some(token) = page.metadata.more.filter(|token| !token.is_empty()) else {
                self.announce();
                let told = self.tell(Change::ListComplete(self.kind)).await;
                return Ok(told.map(|()| page.metadata.resource_version));
            };
            params = params.continue_token(&token);
        }
    }

    /// Watches from the newest version on, for as long as that is possible.
    async fn stay(&mut self) {
        loop {
            match self.watch().await {
                Ok(End::Over { heard }) => {
                    self.recover();
                    if !heard {
                        // A proxy with nobody behind it answers at once, for ever.
                        crate::clock::pause(PAUSE.0).await;
                    }
                }
                Ok(End::Broken(failure)) | Err(failure) => self.fail(&failure).await,
                Ok(End::Deaf) => return,
                Ok(End::Lost) => {
                    // Once may be; always would be a list after a list.
                    self.rest().await;
                    return;
                }
                Ok(End::Rewound) => {
                    self.tell(Change::Rewound).await;
                    return;
                }
            }
            if !self.is_same_history().await {
                self.tell(Change::Rewound).await;
                return;
            }
        }
    }

    /// A watch from the future is taken and stays silent: a small list tells where history stands. Versions of one kind
    /// alone can be compared.
    async fn is_same_history(&mut self) -> bool {
        loop {
            match page(&self.client, &self.path, &ListParams::default().limit(1)).await {
                Ok(page) => return page.metadata.resource_version >= self.version,
                Err(failure) => self.fail(&failure).await,
            }
        }
    }

    async fn watch(&mut self) -> Result<End, Failure> {
        let params = WatchParams::default().timeout(WATCH);
        let request = Request::new(&self.path).watch(&params, &self.version.to_string());
        let request = request.map_err(|_| Failure::Unclear("request failed"))?;
        let events = self.client.request_events::<Raw>(request);
        let events = tokio::time::timeout(SILENCE, events).await.map_err(|_| SILENT)?;
        let mut events = std::pin::pin!(match events {
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(End::Lost),
            events => events.map_err(Failure::of)?,
        });
        let mut heard = false;
        loop {
            let event = match tokio::time::timeout(SILENCE, events.next()).await {
                Err(_) => return Ok(End::Broken(SILENT)),
                Ok(None) => return Ok(End::Over { heard }),
                Ok(Some(event)) => event.map_err(Failure::of)?,
            };
            heard = true;
            self.recover();
            let (seen, told) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    (object.metadata.resource_version, self.now_is(&object).await)
                }
                WatchEvent::Deleted(object) => {
                    let told = match object.metadata.uid {
                        Some(uid) => self.tell(Change::Gone(self.kind, uid)).await,
                        None => Some(()),
                    };
                    (object.metadata.resource_version, told)
                }
                WatchEvent::Bookmark(bookmark) => {
                    (bookmark.metadata.resource_version.parse().unwrap_or(0), Some(()))
                }
                WatchEvent::Error(status) if status.code == 410 => return Ok(End::Lost),
                WatchEvent::Error(status) => {
                    return Ok(End::Broken(Failure::Unavailable(status.code)));
                }
            };
            if told.is_none() {
                return Ok(End::Deaf);
            }
            if seen < self.version {
                return Ok(End::Rewound);
            }
            self.version = seen;
        }
    }

    async fn now_is(&self, object: &Raw) -> Option<()> {
        let change = parse::change(self.kind, object).or_else(|| {
            let uid = object.metadata.uid?;
            tracing::warn!(kind = ?self.kind, %uid, "object cannot be read; what depends on it stays as it is");
            Some(Change::Unreadable(self.kind, uid))
        });
        match change {
            Some(change) => self.tell(change).await,
            None => Some(()),
        }
    }

    /// Says so once an outage, and waits; the pauses grow in silence.
    async fn fail(&mut self, failure: &Failure) {
        self.metrics.count_watch_failure(self.kind);
        if !std::mem::replace(&mut self.failed, true) {
            let advice = advice(failure);
            tracing::warn!(kind = ?self.kind, error = %failure, advice, "unable to watch, trying again");
        }
        self.rest().await;
    }

    /// Waits, each time longer until something is heard.
    async fn rest(&mut self) {
        let jitter = UnwrapErr(SysRng).random_range(0.8..1.2);
        crate::clock::pause(self.pause.mul_f64(jitter)).await;
        self.pause = PAUSE.1.min(self.pause * 2);
    }

    fn recover(&mut self) {
        self.pause = PAUSE.0;
        self.announce();
    }

    fn announce(&mut self) {
        if std::mem::take(&mut self.failed) {
            tracing::info!(kind = ?self.kind, "watch resumed");
        }
    }
}

const SILENT: Failure = Failure::Unclear("silence");

/// One page of a list, answered from a quorum of etcd.
pub(crate) async fn page(client: &Client, path: &str, params: &ListParams) -> Result<Page, Failure> {
    let request = Request::new(path).list(params);
    let request = request.map_err(|_| Failure::Unclear("request failed"))?;
    let page = tokio::time::timeout(SILENCE, client.request::<Page>(request)).await;
    page.map_err(|_| SILENT)?.map_err(Failure::of)
}

/// What a person can do about a watch that fails.
fn advice(error: &Failure) -> &'static str {
    match error {
        Failure::NoSuchKind => "the kind is not defined in this cluster: run `kubectl apply -f crds/yaml`",
        Failure::Refused(401 | 403) => "grant this identity get, list and watch on the kind",
        _ => "see whether the apiserver can be reached with this kubeconfig",
    }
}
