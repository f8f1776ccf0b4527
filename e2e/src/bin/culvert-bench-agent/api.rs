//! What the agent sees of an API: four kinds, listed in pages and watched, over plain HTTP on loopback.
//!
//! It is here so that the agent's real code reads real bytes while nobody else uses the processor: etcd and an apiserver
//! would. Nothing is stored but in memory, and one status is taken from whoever writes it.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use culvert_e2e::wait;
use futures::{StreamExt, stream, stream::BoxStream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustix::thread::{Pid, gettid};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::objects;

const ROOT: &str = "/apis/culvert.dev/v1alpha1/";

/// A watch that is asked for no end ends after this.
const WATCH: Duration = Duration::from_mins(5);

type Answer = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

#[derive(Default)]
struct Kind {
    /// By name.
    objects: BTreeMap<String, Arc<str>>,
    /// Events in the order of their versions.
    log: Vec<(u64, Arc<str>)>,
}

struct State {
    kinds: HashMap<String, Kind>,
    version: u64,
}

/// The API; it serves as long as the process lives.
#[derive(Clone)]
pub struct Api {
    state: Arc<Mutex<State>>,
    news: watch::Sender<u64>,
    /// Where it is.
    pub address: SocketAddr,
    /// The thread that serves.
    pub thread: Pid,
}

impl Api {
    /// Starts it, with a pool, a gateway and a node, and no peers.
    pub fn start() -> Result<Self> {
        let mut kinds: HashMap<String, Kind> = HashMap::new();
        for (plural, object) in objects::fixed() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            kinds
                .entry(plural.to_owned())
                .or_default()
                .objects
                .insert(name, object.to_string().into());
        }
        kinds.entry("wireguardpeers".to_owned()).or_default();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to listen")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start a runtime")?;
        let (begun, api) = mpsc::channel();
        thread::Builder::new()
            .name("api".to_owned())
            .spawn(move || {
                let api = Self {
                    state: Arc::new(Mutex::new(State { kinds, version: 10 })),
                    news: watch::Sender::new(10),
                    address,
                    thread: gettid(),
                };
                // Whoever started it may have ended.
                let _ = begun.send(api.clone());
                runtime.block_on(api.serve(listener));
            })
            .context("failed to start a thread")?;
        api.recv().context("the API's thread has ended")
    }

    /// Adds peers that no watch is told of: for whoever lists afterwards.
    pub fn fill(&self, numbers: std::ops::Range<u32>) {
        let mut state = self.lock();
        for number in numbers {
            state.version += 1;
            let (name, object) = objects::peer(number, state.version);
            if let Some(kind) = state.kinds.get_mut("wireguardpeers") {
                kind.objects.insert(name, object.into());
            }
        }
    }

    /// Adds one peer, and tells every watch.
    pub fn add(&self, number: u32) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let (name, object) = objects::peer(number, version);
        state.put("wireguardpeers", name, object.into(), "ADDED");
        drop(state);
        self.news.send_replace(version);
    }

    /// Removes peers, and tells every watch.
    pub fn remove(&self, numbers: std::ops::Range<u32>) {
        let mut state = self.lock();
        for number in numbers {
            state.version += 1;
            let version = state.version;
            let (name, object) = objects::peer(number, version);
            if let Some(kind) = state.kinds.get_mut("wireguardpeers") {
                kind.objects.remove(&name);
                kind.log.push((version, event("DELETED", &object)));
            }
        }
        let version = state.version;
        drop(state);
        self.news.send_replace(version);
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "clusters": [{ "name": "bench", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "bench", "user": {} }],
            "contexts": [{ "name": "bench", "context": { "cluster": "bench", "user": "bench" } }],
        })
        .to_string()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let Ok(listener) = TcpListener::from_std(listener) else {
            return;
        };
        while let Ok((stream, _)) = listener.accept().await {
            let api = self.clone();
            tokio::spawn(api.connection(stream));
        }
    }

    async fn connection(self, stream: TcpStream) {
        // One event is one packet.
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| {
            let api = self.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        // Whoever hangs up has had enough.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let path = request.uri().path().to_owned();
        let Some(path) = path.strip_prefix(ROOT) else {
            return whole(StatusCode::NOT_FOUND, status(404));
        };
        let parameters = parameters(request.uri().query().unwrap_or_default());
        let parts: Vec<&str> = path.split('/').collect();
        match (request.method(), &parts[..]) {
            (&Method::GET, [kind]) if parameters.get("watch").is_some_and(|watch| watch == "true") => {
                self.watch(kind, &parameters)
            }
            (&Method::GET, [kind]) => self.list(kind, &parameters),
            (&Method::GET, [kind, name]) => {
                let state = self.lock();
                let object = state.kinds.get(*kind).and_then(|kind| kind.objects.get(*name));
                object.map_or_else(
                    || whole(StatusCode::NOT_FOUND, status(404)),
                    |object| whole(StatusCode::OK, Bytes::copy_from_slice(object.as_bytes())),
                )
            }
            (&Method::PUT | &Method::PATCH, [kind, name, "status"]) => {
                let (kind, name) = ((*kind).to_owned(), (*name).to_owned());
                let Ok(body) = request.into_body().collect().await else {
                    return whole(StatusCode::BAD_REQUEST, status(400));
                };
                self.write_status(&kind, &name, &body.to_bytes())
            }
            _ => whole(StatusCode::METHOD_NOT_ALLOWED, status(405)),
        }
    }

    fn list(&self, plural: &str, parameters: &HashMap<String, String>) -> Response<Answer> {
        let state = self.lock();
        let Some(kind) = state.kinds.get(plural) else {
            return whole(StatusCode::NOT_FOUND, status(404));
        };
        let number = |name: &str| parameters.get(name).and_then(|text| text.parse::<usize>().ok());
        let limit = number("limit").filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let from = parameters.get("continue").cloned().unwrap_or_default();
        let mut page = kind.objects.range(from..);
        let items: Vec<&str> = page.by_ref().take(limit).map(|(_, object)| &**object).collect();
        let next = page.next().map_or("", |(name, _)| name.as_str());
        let text = format!(
            r#"{{"apiVersion":"culvert.dev/v1alpha1","kind":"List","metadata":{{"resourceVersion":"{}","continue":"{next}"}},"items":[{}]}}"#,
            state.version,
            items.join(",")
        );
        whole(StatusCode::OK, text.into())
    }

    fn watch(&self, plural: &str, parameters: &HashMap<String, String>) -> Response<Answer> {
        let number = |name: &str| parameters.get(name).and_then(|text| text.parse::<u64>().ok());
        let from = number("resourceVersion").unwrap_or(0);
        let within = number("timeoutSeconds").map_or(WATCH, Duration::from_secs);
        let (api, plural) = (self.clone(), plural.to_owned());
        let follow = (api, plural, from, self.news.subscribe());
        let events = stream::unfold(follow, |(api, plural, from, mut news)| async move {
            loop {
                news.borrow_and_update();
                let (events, last) = api.since(&plural, from);
                if !events.is_empty() {
                    return Some((Ok(Frame::data(events)), (api, plural, last, news)));
                }
                news.changed().await.ok()?;
            }
        });
        let events = events.take_until(Box::pin(wait::pass(within)));
        Response::new(StreamBody::new(events.boxed()))
    }

    /// The events after a version, and the last one's version.
    fn since(&self, plural: &str, version: u64) -> (Bytes, u64) {
        let state = self.lock();
        let Some(kind) = state.kinds.get(plural) else {
            return (Bytes::new(), version);
        };
        let new = &kind.log[kind.log.partition_point(|(at, _)| *at <= version)..];
        let text: String = new.iter().map(|(_, event)| &**event).collect();
        (text.into(), new.last().map_or(version, |(at, _)| *at))
    }

    fn write_status(&self, plural: &str, name: &str, body: &[u8]) -> Response<Answer> {
        let mut state = self.lock();
        let known = state.kinds.get(plural).and_then(|kind| kind.objects.get(name));
        let object: Option<Value> = known.and_then(|object| serde_json::from_str(object).ok());
        let sent: Option<Value> = serde_json::from_slice(body).ok();
        let (Some(mut object), Some(sent)) = (object, sent) else {
            return whole(StatusCode::NOT_FOUND, status(404));
        };
        state.version += 1;
        let version = state.version;
        object["status"] = sent["status"].clone();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let text: Arc<str> = object.to_string().into();
        state.put(plural, name.to_owned(), Arc::clone(&text), "MODIFIED");
        drop(state);
        self.news.send_replace(version);
        whole(StatusCode::OK, Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl State {
    fn put(&mut self, plural: &str, name: String, object: Arc<str>, what: &str) {
        let version = self.version;
        if let Some(kind) = self.kinds.get_mut(plural) {
            kind.log.push((version, event(what, &object)));
            kind.objects.insert(name, object);
        }
    }
}

fn event(what: &str, object: &str) -> Arc<str> {
    format!("{{\"type\":\"{what}\",\"object\":{object}}}\n").into()
}

fn status(code: u16) -> Bytes {
    json!({ "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": code })
        .to_string()
        .into()
}

fn whole(code: StatusCode, body: Bytes) -> Response<Answer> {
    let once = stream::once(async move { Ok(Frame::data(body)) });
    let mut response = Response::new(StreamBody::new(once.boxed()));
    *response.status_mut() = code;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

fn parameters(query: &str) -> HashMap<String, String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
