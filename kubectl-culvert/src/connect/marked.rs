//! The way to the apiserver outside of the tunnel: its connections have our mark, so rules and kill switch let them pass.
//!
//! A gateway leads to no apiserver, so without this a connected client could never rotate its key. The apiserver's name is
//! resolved anew for each connection, and where that fails, as it may while no gateway answers, what it was before is tried
//! ([`Addresses`]).
//! The mark needs `CAP_NET_ADMIN`, as the tunnel does.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt as _;
use kube::{Client, Config};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};
use tower::{Service, ServiceBuilder};

use super::addresses::Addresses;
use super::names::MARK;

/// How long a connection to one address may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// A client whose connections have our mark, and that goes by these addresses where the apiserver's name leads nowhere.
pub fn client(config: &Config, known: Addresses) -> kube::Result<Client> {
    let namespace = config.default_namespace.clone();
    let connector = config.rustls_https_connector_with_connector(Connector { known })?;
    let http = HttpClient::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(Client::new(service, namespace))
}

#[derive(Clone)]
struct Connector {
    known: Addresses,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let known = self.known.clone();
        Box::pin(async move {
            let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
            for address in addresses(&uri, &known).await? {
                match tokio::time::timeout(CONNECT, connect(address)).await {
                    Ok(Ok(stream)) => return Ok(TokioIo::new(stream)),
                    Ok(Err(error)) => last = error,
                    Err(_) => last = io::ErrorKind::TimedOut.into(),
                }
            }
            Err(last)
        })
    }
}

async fn addresses(uri: &Uri, known: &Addresses) -> io::Result<Vec<SocketAddr>> {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let plain = uri.scheme_str() == Some("http");
    let port = uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
    let found = tokio::time::timeout(CONNECT, tokio::net::lookup_host((host, port))).await;
    let failure = match found {
        Ok(Ok(found)) => {
            let found: Vec<SocketAddr> = found.collect();
            known.learn(found.clone());
            return Ok(found);
        }
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    match known.last() {
        none if none.is_empty() => Err(failure),
        last => Ok(last),
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_mark(MARK)?;
    let stream = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    stream.set_nodelay(true)?;
    // A watch may be silent for minutes; a connection that is dead is noticed all the same.
    let alive = TcpKeepalive::new()
        .with_time(Duration::from_secs(20))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&alive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(35)))?;
    Ok(stream)
}
