//! One kind: listed whole, then watched, for ever.

use std::future::{Future, ready};
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use crate::clock;
use crate::failure::Failure;
use crate::page::{SILENCE, SILENT, page_within};
use crate::patience::Patience;
use crate::raw::{Page, Raw, Uid};

/// A watch that ends sooner and without a word was none.
const SHORT: Duration = Duration::from_secs(1);

/// What is followed, and how.
#[derive(Clone, Debug)]
pub struct Params {
    /// The kind's name, for the log.
    pub kind: String,

    /// Where its objects are.
    pub path: String,

    /// Which of them, as a field selector says; `None` for all.
    pub fields: Option<String>,

    /// Objects of a page.
    pub page: u32,

    /// A watch lives this long at most, in seconds, so that one the network has silently cut is noticed.
    pub watch: u32,

    /// After so long without a word a watch, or any other request, is given up. It is longer than a watch lives.
    pub silence: Duration,

    /// First and longest pause after a failure.
    pub pause: (Duration, Duration),
}

impl Params {
    /// All objects at a path.
    pub fn new(kind: String, path: String) -> Self {
        Self {
            kind,
            path,
            fields: None,
            page: 250,
            watch: 50,
            silence: SILENCE,
            pause: (Duration::from_millis(500), Duration::from_secs(10)),
        }
    }
}

/// Nobody listens any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deaf;

/// Whether it was heard.
pub type Told = Result<(), Deaf>;

/// What comes after a whole list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The watch, for as long as it goes.
    Watch,

    /// Another list, not before this time has passed; the watch until then.
    ListAgain(Duration),
}

/// Who is told what the API says of a kind, in its order.
pub trait Listener: Send {
    /// Whether nobody will hear the next word.
    fn is_deaf(&self) -> bool {
        false
    }

    /// A list of this version has begun: its first page is there.
    fn list_begins(&mut self, version: u64) -> impl Future<Output = Told> + Send;

    /// An object of the list, or of the watch, as it is now.
    fn now_is(&mut self, object: &Raw) -> impl Future<Output = Told> + Send;

    /// The object of this uid is gone, as of this version.
    fn gone(&mut self, uid: Uid, version: u64) -> impl Future<Output = Told> + Send;

    /// The watch has told everything up to this version.
    fn seen(&mut self, _version: u64) -> impl Future<Output = Told> + Send {
        ready(Ok(()))
    }

    /// The list that began is whole: what it did not name is gone.
    fn list_complete(&mut self, version: u64) -> impl Future<Output = Result<Next, Deaf>> + Send;

    /// The API's history has gone back behind what was seen: no version that is known counts any more. Whoever wants to
    /// begin anew by itself is deaf from now on; otherwise a list begins.
    fn rewound(&mut self) -> impl Future<Output = Told> + Send;

    /// A request has failed.
    fn failed(&mut self) {}
}

/// Why a watch has ended.
enum End {
    /// It broke, and can go on from where it was.
    Broken(Failure),
    /// It is over, as it has to be one day.
    Over,
    /// It is over, and was silent all the time.
    Silent,
    /// It ended at once and without a word: a proxy with nobody behind it, or an apiserver that goes.
    Hollow,
    /// Its place is no longer known to the apiserver: list again.
    Lost,
    /// History has gone back behind it.
    Rewound,
}

/// Why a list or a watch has stopped.
enum Stop {
    Failed(Failure),
    Deaf,
}

impl From<Deaf> for Stop {
    fn from(_: Deaf) -> Self {
        Self::Deaf
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Follows one kind until nobody listens.
pub async fn follow<L: Listener>(client: Client, params: Params, listener: L) {
    let mut feed = Feed {
        patience: Patience::new(params.pause),
        client,
        params,
        listener,
        version: 0,
        failed: false,
    };
    while !feed.listener.is_deaf() {
        let told = match feed.list().await {
            Ok(Next::Watch) => feed.stay().await,
            Ok(Next::ListAgain(after)) => feed.stay_for(after).await,
            Err(Stop::Failed(failure)) => {
                feed.fail(&failure).await;
                Ok(())
            }
            Err(Stop::Deaf) => Err(Deaf),
        };
        if told.is_err() {
            return;
        }
    }
}

struct Feed<L> {
    client: Client,
    params: Params,
    listener: L,
    /// The newest version seen of this kind.
    version: u64,
    patience: Patience,
    failed: bool,
}

impl<L: Listener> Feed<L> {
    fn some(&self, count: u32) -> ListParams {
        let params = ListParams::default().limit(count);
        match &self.params.fields {
            Some(fields) => params.fields(fields),
            None => params,
        }
    }

    async fn page(&self, params: &ListParams) -> Result<Page, Failure> {
        page_within(&self.client, &self.params.path, params, self.params.silence).await
    }

    /// Lists everything.
    async fn list(&mut self) -> Result<Next, Stop> {
        let mut params = self.some(self.params.page);
        let mut begun = false;
        loop {
            let page = self.page(&params).await?;
            // A list says that it begins when it has begun: one that fails at once is none.
            if !std::mem::replace(&mut begun, true) {
                let version = page.metadata.resource_version;
                if version < self.version {
                    self.rewind().await?;
                }
                self.listener.list_begins(version).await?;
            }
            for object in &page.items {
                self.listener.now_is(object).await?;
            }
            let Some(token) = page.metadata.more.filter(|token| !token.is_empty()) else {
                self.announce();
                self.version = page.metadata.resource_version;
                return Ok(self.listener.list_complete(self.version).await?);
            };
            params = params.continue_token(&token);
        }
    }

    /// Watches from the newest version on, for as long as that is possible.
    async fn stay(&mut self) -> Told {
        loop {
            let begun = clock::now();
            let end = self.watch().await;
            self.patience
                .lasted(clock::now().saturating_duration_since(begun));
            match end {
                Ok(End::Over) => self.recover(),
                Ok(End::Silent) => {
                    self.recover();
                    clock::pause(self.patience.first()).await;
                }
                Ok(End::Hollow) => self.rest(Duration::ZERO).await,
                Ok(End::Broken(failure)) | Err(Stop::Failed(failure)) => self.fail(&failure).await,
                Err(Stop::Deaf) => return Err(Deaf),
                Ok(End::Lost) => {
                    // Once may be; always would be a list after a list.
                    self.rest(Duration::ZERO).await;
                    return Ok(());
                }
                Ok(End::Rewound) => return self.begin_anew().await,
            }
            if !self.is_same_history().await {
                return self.begin_anew().await;
            }
        }
    }

    /// Watches for this time, no longer; and where the watch has ended before, waits all the same.
    async fn stay_for(&mut self, time: Duration) -> Told {
        let watch = async {
            match tokio::time::timeout(time, self.stay()).await {
                Ok(told) => told,
                Err(_) => Ok(()),
            }
        };
        let (told, ()) = futures::join!(watch, clock::pause(time));
        told
    }

    async fn begin_anew(&mut self) -> Told {
        self.rewind().await?;
        // Two apiservers that do not agree would be listed in turn for ever.
        self.rest(Duration::ZERO).await;
        Ok(())
    }

    async fn rewind(&mut self) -> Told {
        self.version = 0;
        self.listener.rewound().await
    }

    /// A watch from the future is taken and stays silent: a small list tells where history stands. Versions of one kind
    /// alone can be compared.
    async fn is_same_history(&mut self) -> bool {
        loop {
            match self.page(&self.some(1)).await {
                Ok(page) => return page.metadata.resource_version >= self.version,
                Err(failure) => self.fail(&failure).await,
            }
        }
    }

    async fn watch(&mut self) -> Result<End, Stop> {
        let silence = self.params.silence;
        let mut params = WatchParams::default().timeout(self.params.watch);
        params.field_selector.clone_from(&self.params.fields);
        let request = Request::new(&self.params.path).watch(&params, &self.version.to_string());
        let request = request.map_err(|_| Failure::Unclear("request failed"))?;
        let events = self.client.request_events::<Raw>(request);
        let events = tokio::time::timeout(silence, events).await.map_err(|_| SILENT)?;
        let mut events = std::pin::pin!(match events {
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(End::Lost),
            events => events.map_err(Failure::of)?,
        });
        let (begun, mut heard) = (clock::now(), false);
        loop {
            let event = match tokio::time::timeout(silence, events.next()).await {
                Err(_) => return Ok(End::Broken(SILENT)),
                Ok(None) if heard => return Ok(End::Over),
                Ok(None) if clock::now().saturating_duration_since(begun) < SHORT => return Ok(End::Hollow),
                Ok(None) => return Ok(End::Silent),
                Ok(Some(event)) => event.map_err(Failure::of)?,
            };
            let seen = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    self.listener.now_is(&object).await?;
                    object.metadata.resource_version
                }
                WatchEvent::Deleted(object) => {
                    let version = object.metadata.resource_version;
                    if let Some(uid) = object.metadata.uid {
                        self.listener.gone(uid, version).await?;
                    }
                    version
                }
                WatchEvent::Bookmark(bookmark) => bookmark.metadata.resource_version.parse().unwrap_or(0),
                WatchEvent::Error(status) if status.code == 410 => return Ok(End::Lost),
                WatchEvent::Error(status) => {
                    return Ok(End::Broken(Failure::Unavailable(status.code, Duration::ZERO)));
                }
            };
            // An error is no word.
            heard = true;
            self.recover();
            if seen < self.version {
                return Ok(End::Rewound);
            }
            self.version = seen;
            self.listener.seen(seen).await?;
        }
    }

    /// Says so once an outage, and waits; the pauses grow in silence.
    async fn fail(&mut self, failure: &Failure) {
        self.listener.failed();
        if !std::mem::replace(&mut self.failed, true) {
            let (kind, advice) = (&self.params.kind, advice(failure));
            tracing::warn!(%kind, error = %failure, advice, "unable to watch, trying again");
        }
        self.rest(failure.after()).await;
    }

    /// Waits, each time longer until something is heard, and no shorter than asked.
    async fn rest(&mut self, after: Duration) {
        let jitter = UnwrapErr(SysRng).random_range(0.8..1.2);
        clock::pause(self.patience.next(after, jitter)).await;
    }

    fn recover(&mut self) {
        self.patience.renew();
        self.announce();
    }

    fn announce(&mut self) {
        if std::mem::take(&mut self.failed) {
            tracing::info!(kind = %self.params.kind, "watch resumed");
        }
    }
}

/// What a person can do about a watch that fails.
fn advice(error: &Failure) -> &'static str {
    match error {
        Failure::NoSuchKind => "the kind is not defined in this cluster: run `kubectl apply -f crds/yaml`",
        Failure::Refused(401 | 403) => "grant this identity get, list and watch on the kind",
        _ => "see whether the apiserver can be reached with this kubeconfig",
    }
}

#[cfg(test)]
mod tests;
