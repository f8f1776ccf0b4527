//! Where to answer, as flags, and the ports that are taken for it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::certificate::{Certificate, CertificateError};
use super::guard::Guard;
use super::{BindError, Door, LIMITS, State, bind, serve};

/// Where a program answers.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Where to serve /livez and /readyz, as in `0.0.0.0:8080` or `[::]:8080`. Nothing is served without it.
    #[arg(long, env = "CULVERT_LISTEN", value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,

    /// Where to serve /metrics by TLS, to those whose token the apiserver knows and who may `get` the path /metrics.
    #[arg(long, env = "CULVERT_METRICS_LISTEN", value_name = "IP:PORT")]
    pub metrics_listen: Option<SocketAddr>,

    /// The folder of `tls.crt` and `tls.key` for /metrics, which may change at any time; without it a certificate of our
    /// own is made at each start.
    #[arg(
        long,
        env = "CULVERT_METRICS_TLS_DIR",
        value_name = "DIR",
        requires = "metrics_listen"
    )]
    pub metrics_tls_dir: Option<PathBuf>,

    /// Serve /metrics to everybody who reaches --listen as well, and in plain text.
    #[arg(long, env = "CULVERT_METRICS_PLAIN", requires = "listen")]
    pub metrics_plain: bool,
}

/// Why nobody can be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),

    /// There is nothing to begin TLS with.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Ports that were taken, on which nobody is answered yet.
#[derive(Debug)]
pub struct Ports {
    plain: Option<TcpListener>,
    with_metrics: bool,
    metrics: Option<(TcpListener, Certificate)>,
}

impl ServeArgs {
    /// Takes the ports, so that a program that cannot have them says so before it does anything else.
    pub async fn bind(&self) -> Result<Ports, ServeError> {
        let plain = match self.listen {
            Some(address) => Some(bind(address, "--listen").await?),
            None => None,
        };
        let metrics = match self.metrics_listen {
            Some(address) => Some((
                bind(address, "--metrics-listen").await?,
                Certificate::new(self.metrics_tls_dir.clone())?,
            )),
            None => None,
        };
        Ok(Ports {
            plain,
            with_metrics: self.metrics_plain,
            metrics,
        })
    }
}

impl Ports {
    /// Answers until what it gives back is dropped. The client asks the apiserver who wants to see the metrics.
    pub fn start(self, state: &State, client: &Client) -> JoinSet<Infallible> {
        let mut tasks = JoinSet::new();
        if let Some(listener) = self.plain {
            let door = Door::Open {
                with_metrics: self.with_metrics,
            };
            tasks.spawn(serve(listener, door, state.clone(), LIMITS));
        }
        if let Some((listener, certificate)) = self.metrics {
            let door = Door::Guarded {
                certificate: Arc::new(certificate),
                guard: Arc::new(Guard::new(client.clone())),
            };
            tasks.spawn(serve(listener, door, state.clone(), LIMITS));
        }
        tasks
    }
}
