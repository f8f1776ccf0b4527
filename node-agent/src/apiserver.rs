//! An apiserver that is a function: objects with their versions, lists, watches, and the reports that are written.
//!
//! No answer takes time, so a test that stands the clock still sees what the agent does of itself, and when.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::clock::sleep;

pub const PEERS: &str = "wireguardpeers";
pub const NODES: &str = "gatewaynodes";
pub const GATEWAYS: &str = "wireguardgateways";
pub const POOLS: &str = "ippools";

/// A watch that has nothing to tell for so long ends.
const WATCH: Duration = Duration::from_secs(50);

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    /// A kind, or one object of it.
    pub what: String,
    pub query: String,
    pub at: Instant,
}

impl Asked {
    /// Whether it begins a list of everything.
    pub fn is_list(&self) -> bool {
        self.is_read() && self.value("limit") != Some("1") && self.value("continue").is_none()
    }

    /// Whether it is a list, or a part of one, and no watch.
    pub fn is_read(&self) -> bool {
        self.method == Method::GET && !self.what.contains('/') && self.value("watch").is_none()
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        let mut parts = self.query.split('&').filter_map(|part| part.split_once('='));
        parts.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// Objects of one kind.
#[derive(Default)]
struct Kind {
    objects: BTreeMap<String, Value>,
    /// What has happened, by its version, as lines of a watch.
    events: Vec<(u64, String)>,
    watches: Vec<UnboundedSender<String>>,
    /// How long a list takes.
    takes: Duration,
    /// So many lists to come name so few objects.
    cut: (usize, usize),
    /// Lines that whoever watches has read.
    read: usize,
}

impl Kind {
    fn tell(&mut self, kind: &str, version: u64, object: &Value) {
        // The type comes first, as an apiserver has it.
        let line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.watches.retain(|watch| watch.send(line.clone()).is_ok());
        self.events.push((version, line));
    }
}

#[derive(Default)]
struct State {
    version: u64,
    kinds: HashMap<String, Kind>,
    asked: Vec<Asked>,
}

/// An apiserver.
#[derive(Clone, Default)]
pub struct Apiserver {
    state: Arc<Mutex<State>>,
}

impl Apiserver {
    pub fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Makes an object, or makes it another one.
    pub fn put(&self, kind: &str, mut object: Value) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let kind = state.kinds.entry(kind.to_owned()).or_default();
        let name = name(&object);
        let is_new = kind.objects.insert(name, object.clone()).is_none();
        kind.tell(if is_new { "ADDED" } else { "MODIFIED" }, version, &object);
    }

    /// Deletes an object.
    pub fn delete(&self, kind: &str, name: &str) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let kind = state.kinds.get_mut(kind).unwrap();
        let mut object = kind.objects.remove(name).unwrap();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        kind.tell("DELETED", version, &object);
    }

    /// From now on so many lists of a kind name no more than so many of its objects.
    pub fn cut(&self, kind: &str, lists: usize, objects: usize) {
        self.lock().kinds.entry(kind.to_owned()).or_default().cut = (lists, objects);
    }

    /// From now on a list of a kind takes so long.
    pub fn slow_down(&self, kind: &str, takes: Duration) {
        self.lock().kinds.entry(kind.to_owned()).or_default().takes = takes;
    }

    /// An object, as it is now.
    pub fn get(&self, kind: &str, name: &str) -> Value {
        self.lock().kinds[kind].objects[name].clone()
    }

    /// Events of a kind that whoever watches has read.
    pub fn read(&self, kind: &str) -> usize {
        self.lock().kinds[kind].read
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that has failed says more than the lock it held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Body>) -> Reply {
        let (head, body) = request.into_parts();
        let path: Vec<&str> = head.uri.path().split('/').skip(4).collect();
        let (kind, name) = (path[0], path.get(1).copied());
        let asked = Asked {
            method: head.method.clone(),
            what: path.join("/"),
            query: head.uri.query().unwrap_or_default().to_owned(),
            at: now(),
        };
        self.lock().asked.push(asked.clone());
        match (head.method, name) {
            (Method::GET, None) if asked.value("watch").is_some() => {
                self.watch(kind, asked.value("resourceVersion").unwrap().parse().unwrap())
            }
            (Method::GET, None) => {
                let takes = self.lock().kinds.get(kind).map(|kind| kind.takes);
                sleep(takes.unwrap_or_default()).await;
                self.list(kind, &asked)
            }
            (Method::GET, Some(name)) => self.one(kind, name),
            (Method::PUT, Some(name)) => {
                let body = body.collect().await.unwrap().to_bytes();
                self.replace_status(kind, name, &serde_json::from_slice(&body).unwrap())
            }
            odd => panic!("{odd:?}"),
        }
    }

    fn list(&self, kind: &str, asked: &Asked) -> Reply {
        let mut state = self.lock();
        let version = state.version;
        let kind = state.kinds.entry(kind.to_owned()).or_default();
        let number = |name| asked.value(name).and_then(|value| value.parse().ok());
        let (limit, from) = (
            number("limit").unwrap_or(usize::MAX),
            number("continue").unwrap_or(0),
        );
        let mut all = kind.objects.len();
        if kind.cut.0 > 0 && asked.is_list() {
            kind.cut.0 -= 1;
            all = all.min(kind.cut.1);
        }
        let items: Vec<&Value> = kind.objects.values().take(all).skip(from).take(limit).collect();
        let end = from + items.len();
        let more = (end < all).then(|| end.to_string());
        said(
            200,
            &json!({
                "apiVersion": "culvert.dev/v1alpha1",
                "kind": "List",
                "metadata": { "resourceVersion": version.to_string(), "continue": more },
                "items": items,
            }),
        )
    }

    fn watch(&self, kind: &str, version: u64) -> Reply {
        let (sender, receiver) = unbounded_channel();
        let mut state = self.lock();
        let of_kind = state.kinds.entry(kind.to_owned()).or_default();
        for (_, line) in of_kind.events.iter().filter(|(at, _)| *at > version) {
            sender.send(line.clone()).unwrap();
        }
        of_kind.watches.push(sender);
        let (server, kind) = (self.clone(), kind.to_owned());
        let lines = stream::unfold(
            (receiver, server, kind),
            |(mut receiver, server, kind)| async move {
                let line = tokio::time::timeout(WATCH, receiver.recv()).await.ok()??;
                server.lock().kinds.get_mut(&kind)?.read += 1;
                Some((Ok(Frame::data(Bytes::from(line))), (receiver, server, kind)))
            },
        );
        Response::new(StreamBody::new(lines).boxed_unsync())
    }

    fn one(&self, kind: &str, name: &str) -> Reply {
        let state = self.lock();
        let found = state.kinds.get(kind).and_then(|kind| kind.objects.get(name));
        found.map_or_else(|| refused(404), |object| said(200, object))
    }

    fn replace_status(&self, kind: &str, name: &str, new: &Value) -> Reply {
        let mut state = self.lock();
        let version = state.version + 1;
        let kind = state.kinds.get_mut(kind).unwrap();
        let Some(object) = kind.objects.get_mut(name) else {
            return refused(404);
        };
        if object["metadata"]["resourceVersion"] != new["metadata"]["resourceVersion"] {
            return refused(409);
        }
        object["status"] = new["status"].clone();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = object.clone();
        kind.tell("MODIFIED", version, &object);
        state.version = version;
        said(200, &object)
    }
}

/// Now, on the clock that a test can stand still.
#[expect(clippy::disallowed_methods, reason = "it tells when the agent asks")]
pub fn now() -> Instant {
    Instant::now()
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

fn said(code: u16, body: &Value) -> Reply {
    let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}

fn refused(code: u16) -> Reply {
    said(
        code,
        &json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "message": "", "reason": if code == 404 { "NotFound" } else { "Conflict" }, "code": code,
        }),
    )
}
