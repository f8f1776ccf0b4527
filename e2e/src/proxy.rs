//! A proxy in front of the apiserver that fails where a test says: between any two writes of a program, with the
//! write undone or with its reply lost.
//!
//! The program under test speaks plain HTTP to a loopback port and needs no credentials; the proxy forwards with
//! those of the [`Client`] it was given, so give it one with the program's own rights. Replies are streamed, so
//! watches work. A request that dies with its connection is forwarded no further. What cannot be proxied: upgraded
//! connections (exec, port-forward).

mod fault;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use http::{HeaderName, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use crate::{
    kubeconfig::{self, User},
    scratch::Scratch,
};

use fault::Action;
pub use fault::{Call, Fault, Struck};

/// Headers that belong to one connection, and those that the forwarding client sets itself.
const NOT_FORWARDED: [HeaderName; 7] = [
    header::HOST,
    header::CONNECTION,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::UPGRADE,
];

/// A running proxy; dropping it closes every connection through it.
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    folder: Scratch,
    server: JoinHandle<()>,
}

struct Shared {
    client: Client,
    ignored: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    writes: usize,
    fault: Fault,
    struck: Option<oneshot::Sender<Call>>,
}

impl FaultProxy {
    /// Starts one that forwards through `client`. Writes to the kinds in `ignored` (such as `leases`, whose renewals
    /// come at any time) are neither counted nor hit by a fault, but held like the others after a hold.
    pub async fn start(client: Client, ignored: &[&str]) -> Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), client, ignored).await
    }

    /// As [`Self::start`], on another address of this machine: for programs in other network namespaces.
    pub async fn start_on(address: IpAddr, client: Client, ignored: &[&str]) -> Result<Self> {
        let folder = Scratch::new("culvert-proxy-")?;
        let listener = TcpListener::bind((address, 0))
            .await
            .context("failed to open the proxy's port")?;
        let address = listener.local_addr().context("failed to read the proxy's port")?;
        let shared = Arc::new(Shared {
            client,
            ignored: ignored.iter().map(|&kind| kind.to_owned()).collect(),
            state: Mutex::default(),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        let proxy = Self {
            shared,
            address,
            folder,
            server,
        };
        kubeconfig::write(&proxy.kubeconfig(), &proxy.address(), None, &User::Anonymous)?;
        Ok(proxy)
    }

    /// Where the program under test finds the API, `http://…`.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for the program under test.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Sets the fault; counting begins anew. Arm before the program starts, or between two of its writes.
    pub fn arm(&self, fault: Fault) -> Struck {
        let (sender, call) = oneshot::channel();
        let mut state = self.shared.state();
        state.writes = 0;
        state.fault = fault;
        state.struck = Some(sender);
        Struck { call }
    }

    /// Every request so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// The counted writes so far, in order of arrival, as `POST wireguardpeers`.
    pub fn writes(&self) -> Vec<String> {
        self.shared
            .state()
            .calls
            .iter()
            .filter(|call| call.write.is_some())
            .map(Call::to_string)
            .collect()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and says what is to happen to it.
    fn admit<B>(&self, request: &Request<B>) -> (Call, Action) {
        let mut call = Call::of(request);
        let mut state = self.state();
        let mut action = Action::Pass;
        if call.is_write() {
            if self.ignored.contains(&call.kind) {
                // The one after the last: held when the fault is past, untouched otherwise.
                action = match state.fault.at(state.writes + 1) {
                    Action::Stall => Action::Stall,
                    _ => Action::Pass,
                };
            } else {
                state.writes += 1;
                call.write = Some(state.writes);
                action = state.fault.at(state.writes);
            }
        }
        state.calls.push(call.clone());
        (call, action)
    }

    fn strike(&self, call: Call) {
        // Nobody waits: the test only wanted the fault.
        if let Some(struck) = self.state().struck.take() {
            let _ = struck.send(call);
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (call, action) = self.admit(&request);
        match action {
            Action::Pass => self.forward(request).await,
            Action::Stall => std::future::pending().await,
            Action::HoldBefore => {
                self.strike(call);
                std::future::pending().await
            }
            Action::HoldAfter => {
                let reply = self.done(request).await;
                self.strike(call);
                let _held = reply?;
                std::future::pending().await
            }
            Action::CutBefore => {
                self.strike(call);
                anyhow::bail!("cut before the write")
            }
            Action::CutAfter => {
                let reply = self.done(request).await;
                self.strike(call);
                reply?;
                anyhow::bail!("cut after the write")
            }
            Action::Answer(status) => {
                self.strike(call);
                refusal(status, "the test's proxy says so")
            }
        }
    }

    /// Forwards and reads the whole reply: only then is the write certainly done.
    async fn done(&self, request: Request<Incoming>) -> Result<Response<Vec<u8>>> {
        let (head, body) = self.forward(request).await?.into_parts();
        let body = body
            .collect()
            .await
            .context("failed to read the apiserver's reply")?
            .to_bytes();
        Ok(Response::from_parts(head, body.to_vec()))
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .context("failed to read the program's request")?
            .to_bytes();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut forwarded = Request::builder()
            .method(head.method)
            .uri(path)
            .body(Body::from(body))?;
        for (name, value) in head
            .headers
            .iter()
            .filter(|(name, _)| !NOT_FORWARDED.contains(name))
        {
            forwarded.headers_mut().append(name, value.clone());
        }
        match self.client.send(forwarded).await {
            Ok(mut reply) => {
                for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                    reply.headers_mut().remove(name);
                }
                Ok(reply)
            }
            // The apiserver is down or gone: what a load balancer would say.
            Err(error) => refusal(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
    }
}

/// An answer in the shape that Kubernetes clients expect.
fn refusal(status: StatusCode, message: &str) -> Result<Response<Body>> {
    let body = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": status.as_u16(),
        "message": message,
    });
    let reply = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json");
    reply
        .body(Body::from(body.to_string().into_bytes()))
        .context("failed to build an answer")
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped, and every connection with it, when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        connections.spawn(connection(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        // An error cuts the connection, which is what the program should see.
        async move {
            shared
                .answer(request)
                .await
                .map_err(|error| io::Error::other(format!("{error:#}")))
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
