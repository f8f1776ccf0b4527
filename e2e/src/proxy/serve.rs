//! What the proxy does with a request.

use std::{future::pending, io, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    Chance, Mishap, Shared, State,
    fault::{Action, Call, Fault, Reading, Spoilt},
    gate::Guarded,
};
use crate::wait;

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

impl State {
    /// What chance does to the next counted write.
    fn by_chance(&mut self) -> Action {
        let Some(mishap) = self.chance.as_mut().and_then(Chance::throw) else {
            return Action::Pass;
        };
        self.toll.count(mishap);
        match mishap {
            Mishap::CutBefore => Action::CutBefore,
            Mishap::ReplyLost => Action::CutAfter,
            Mishap::Answered(code) => {
                Action::Answer(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
            }
        }
    }
}

impl Shared {
    /// Records a request and says what is to happen to it.
    fn admit<B>(&self, request: &Request<B>) -> (Call, Action, Duration) {
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
                state.written += 1;
                call.write = Some(state.writes);
                action = if state.fault == Fault::None {
                    state.by_chance()
                } else {
                    state.fault.at(state.writes)
                };
            }
        }
        state.calls.push(call.clone());
        (call, action, state.delay)
    }

    /// The standing fault of this call's kind.
    fn spoilt(&self, call: &Call) -> Option<Spoilt> {
        self.state()
            .spoilt
            .as_ref()
            .filter(|(kind, _)| *kind == call.kind)
            .map(|(_, how)| *how)
    }

    fn strike(&self, call: Call) {
        // Nobody waits: the test only wanted the fault.
        if let Some(struck) = self.state().struck.take() {
            let _ = struck.send(call);
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Guarded>> {
        self.gate.passed().await;
        let (call, action, delay) = self.admit(&request);
        if !delay.is_zero() {
            wait::pass(delay).await;
        }
        match (self.spoilt(&call), call.reading()) {
            (Some(Spoilt::Halved), Some(Reading::Page)) => {
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, "the test's proxy says so");
            }
            (Some(Spoilt::Emptied), Some(Reading::List)) => {
                let (mut head, body) = self.done(request).await?.into_parts();
                head.headers.remove(header::CONTENT_LENGTH);
                let body = Body::from(emptied(&body)?).boxed_unsync();
                return Ok(Response::from_parts(head, body));
            }
            _ => {}
        }
        match action {
            Action::Pass => self.forward(request).await,
            Action::Stall => pending().await,
            Action::HoldBefore => {
                self.strike(call);
                pending().await
            }
            Action::HoldAfter => {
                let reply = self.done(request).await;
                self.strike(call);
                let _held = reply?;
                pending().await
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

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Guarded>> {
        let call = Call::of(&request);
        let reading = call.reading();
        let watched = (reading == Some(Reading::Watch)).then(|| call.kind.clone());
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
        let reply = self.client.send(forwarded).await;
        self.gate.passed().await;
        match reply {
            Ok(mut reply) => {
                if reading == Some(Reading::List) && reply.status().is_success() {
                    self.state().listed.push(call.kind);
                }
                for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                    reply.headers_mut().remove(name);
                }
                Ok(reply.map(|body| self.gate.guard(body, watched)))
            }
            // The apiserver is down or gone: what a load balancer would say.
            Err(error) => refusal(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
    }
}

/// A list without its objects.
fn emptied(reply: &[u8]) -> Result<Vec<u8>> {
    let mut list: serde_json::Value = serde_json::from_slice(reply).context("failed to read a list")?;
    list["items"] = serde_json::json!([]);
    if let Some(about) = list["metadata"].as_object_mut() {
        about.remove("continue");
        about.remove("remainingItemCount");
    }
    Ok(serde_json::to_vec(&list)?)
}

/// An answer in the shape that Kubernetes clients expect.
fn refusal(status: StatusCode, message: &str) -> Result<Response<Guarded>> {
    let body = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": status.as_u16(),
        "message": message,
    });
    let mut reply = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json");
    if status == StatusCode::TOO_MANY_REQUESTS {
        reply = reply.header(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
        .body(Body::from(body.to_string().into_bytes()).boxed_unsync())
        .context("failed to build an answer")
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
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
