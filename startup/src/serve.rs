//! Probes and metrics over HTTP: probes in plain, as whoever reaches the port may know whether a program lives; metrics by
//! TLS, and to those who may see them.
//!
//! Whoever can reach the port can ask; so a connection is good for one request, small and soon, and when there are too
//! many of them the oldest goes, never the newest: a probe takes a millisecond, and one that is kept waiting would have
//! the program killed. Nothing is logged of who asks.

mod answer;
mod args;
mod certificate;
mod guard;
mod health;
#[cfg(test)]
mod tests;

pub use args::{Ports, ServeArgs, ServeError};
pub use certificate::CertificateError;
pub use health::Health;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use answer::Answer;
use certificate::Certificate;
use guard::Guard;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// The type of what [`Program::metrics`] writes.
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The largest head of a request, in bytes.
const LARGEST_HEAD: usize = 16 * 1024;

/// The most headers of a request.
const MOST_HEADERS: usize = 64;

/// How long to wait after a connection could not be accepted: the program has no file descriptors left, most likely.
const BREATH: Duration = Duration::from_millis(100);

/// What one client may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at the same time.
    connections: usize,
    /// How long each may last.
    time: Duration,
}

const LIMITS: Limits = Limits {
    connections: 64,
    time: Duration::from_secs(10),
};

/// Nobody can be served.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}; name another with {flag}")]
pub struct BindError {
    address: SocketAddr,
    flag: &'static str,
    #[source]
    source: io::Error,
}

/// The program that is asked about.
pub trait Program: fmt::Debug + Send + Sync + 'static {
    /// The time on the clock by which its loop beats, to tell how old the last beat is.
    fn now(&self) -> Duration;

    /// What it counts, as a text of the type [`METRICS_TYPE`].
    fn metrics(&self) -> Result<String, fmt::Error>;

    /// What to look at while it is not ready, as one line.
    fn unready(&self) -> &'static str;
}

/// What is asked about.
#[derive(Clone, Debug)]
pub struct State {
    /// What the loop says of itself.
    pub health: Arc<Health>,
    /// The rest.
    pub program: Arc<dyn Program>,
}

/// How one comes in.
#[derive(Clone)]
enum Door {
    /// In plain, for probes.
    Open { with_metrics: bool },
    /// By TLS, for metrics.
    Guarded {
        certificate: Arc<Certificate>,
        guard: Arc<Guard>,
    },
}

async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError {
        address,
        flag,
        source,
    })
}

async fn serve(listener: TcpListener, door: Door, state: State, limits: Limits) -> Infallible {
    let mut open = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    breathe().await;
                    continue;
                };
                oldest_first.retain(|connection| !connection.is_finished());
                if oldest_first.len() >= limits.connections
                    && let Some(oldest) = oldest_first.pop_front()
                {
                    oldest.abort();
                }
                let connection = enter(stream, door.clone(), state.clone());
                oldest_first.push_back(open.spawn(async move {
                    // Whether the client was content is its own business.
                    let _ = tokio::time::timeout(limits.time, connection).await;
                }));
            }
            Some(_) = open.join_next() => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
async fn breathe() {
    tokio::time::sleep(BREATH).await;
}

/// The handshake of TLS is within the same time.
async fn enter(stream: TcpStream, door: Door, state: State) {
    match door {
        Door::Open { with_metrics } => {
            let answer = |request| ready(answer::plain(&request, &state, with_metrics));
            converse(stream, answer).await;
        }
        Door::Guarded { certificate, guard } => {
            let acceptor = TlsAcceptor::from(certificate.current());
            if let Ok(stream) = acceptor.accept(stream).await {
                let answer = |request| {
                    let (state, guard) = (&state, &guard);
                    async move { answer::guarded(&request, state, guard).await }
                };
                converse(stream, answer).await;
            }
        }
    }
}

async fn converse<S, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Answer>,
{
    let answered = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let _ = http1::Builder::new()
        .keep_alive(false)
        .max_headers(MOST_HEADERS)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), answered)
        .await;
}
