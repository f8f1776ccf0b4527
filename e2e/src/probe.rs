//! Who can reach what: many probes at a time from one place, over TCP, UDP and ICMP.
//!
//! A probe is answered or not, and that it was not says something only where somebody would have: the same probes are
//! sent from a place that may as well ([`Answer::Nothing`] there is a fault of the test's), and before and after silence
//! something that is allowed is asked. What leaves and is not answered is seen by the listeners ([`crate::listen`]) and on
//! the wire ([`crate::wire`]): each datagram carries a token of its own.

use std::{
    collections::HashMap,
    fmt,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use futures::future::join_all;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::{Namespace, packet};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A connection to a port.
    Tcp(u16),

    /// A datagram to a port.
    Udp(u16),

    /// An echo request.
    Echo,
}

/// One question: what is sent where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Probe {
    /// What is there, for people.
    pub name: String,

    /// Its address.
    pub to: IpAddr,

    /// How it is asked.
    pub kind: Kind,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was answered as it should be.
    Yes,

    /// Somebody has refused it: somebody was reached.
    Refused,

    /// Nobody has said anything, or that there is no way.
    Nothing,
}

/// A probe that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What was asked.
    pub probe: Probe,

    /// What a datagram of it carries, and nobody else's.
    pub token: Vec<u8>,

    /// What came of it.
    pub answer: Answer,
}

impl Probe {
    /// A probe.
    pub fn new(name: &str, to: IpAddr, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            to,
            kind,
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, to, kind } = self;
        match kind {
            Kind::Tcp(port) => write!(out, "{name}: TCP {}", SocketAddr::new(*to, *port)),
            Kind::Udp(port) => write!(out, "{name}: UDP {}", SocketAddr::new(*to, *port)),
            Kind::Echo => write!(out, "{name}: ping {to}"),
        }
    }
}

/// Something that no two packets of a test carry.
pub fn token() -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    [b"culvert-probe".as_slice(), &number.to_be_bytes()].concat()
}

/// Sends all of them at once from this namespace, and waits for each answer no longer than that.
pub fn send(from: &Namespace, probes: &[Probe], patience: Duration) -> Result<Vec<Sent>> {
    from.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start a runtime")?;
        runtime.block_on(all(probes, patience))
    })
}

async fn all(probes: &[Probe], patience: Duration) -> Result<Vec<Sent>> {
    let tokens: Vec<Vec<u8>> = probes.iter().map(|_| token()).collect();
    let echoes: HashMap<&[u8], IpAddr> = probes
        .iter()
        .zip(&tokens)
        .filter(|(probe, _)| probe.kind == Kind::Echo)
        .map(|(probe, token)| (token.as_slice(), probe.to))
        .collect();
    let others = join_all(probes.iter().zip(&tokens).map(async |(probe, token)| {
        let asked = async {
            match probe.kind {
                Kind::Tcp(port) => TcpStream::connect((probe.to, port)).await.map(drop),
                Kind::Udp(port) => datagram(SocketAddr::new(probe.to, port), token).await,
                Kind::Echo => Err(ErrorKind::TimedOut.into()),
            }
        };
        match timeout(patience, asked).await {
            Ok(Ok(())) => Answer::Yes,
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Answer::Refused,
            Ok(Err(_)) | Err(_) => Answer::Nothing,
        }
    }));
    let (answers, echoed) = tokio::join!(others, pings(&echoes, patience));
    let echoed = echoed?;
    let sent = probes.iter().zip(tokens).zip(answers);
    Ok(sent
        .map(|((probe, token), answer)| {
            let answer = if echoed.contains(&token) {
                Answer::Yes
            } else {
                answer
            };
            Sent {
                probe: probe.clone(),
                token,
                answer,
            }
        })
        .collect())
}

/// Sends a token and waits for it to come back.
async fn datagram(to: SocketAddr, token: &[u8]) -> std::io::Result<()> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    socket.send(token).await?;
    let mut buffer = [0; 64];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if &buffer[..length] == token {
            return Ok(());
        }
    }
}

/// Sends an echo request for each token, and gives the tokens that came back from where they were sent to.
async fn pings(echoes: &HashMap<&[u8], IpAddr>, patience: Duration) -> Result<Vec<Vec<u8>>> {
    if echoes.is_empty() {
        return Ok(Vec::new());
    }
    let (v4, v6) = (
        raw(AddressFamily::INET, ipproto::ICMP)?,
        raw(AddressFamily::INET6, ipproto::ICMPV6)?,
    );
    for (token, to) in echoes {
        let (socket, request) = match to {
            IpAddr::V4(_) => (&v4, packet::echo_request(false, token)),
            // Its sum is over addresses as well, and the kernel makes it.
            IpAddr::V6(_) => (&v6, packet::echo_request(true, token)),
        };
        // That there is no way is an answer, too.
        let _ = socket.send_to(&request, (*to, 0)).await;
    }
    let mut back = Vec::new();
    let listening = async {
        let (mut one, mut other) = ([0; 2048], [0; 2048]);
        while back.len() < echoes.len() {
            let message = tokio::select! {
                length = v4.recv(&mut one) => length.map(|length| &one[..length]),
                length = v6.recv(&mut other) => length.map(|length| &other[..length]),
            };
            // An ICMP error about one of them is an error of a call.
            let Ok(message) = message else {
                continue;
            };
            let Some(payload) = packet::echo_reply(message) else {
                continue;
            };
            if echoes.contains_key(payload) && !back.iter().any(|known: &Vec<u8>| known == payload) {
                back.push(payload.to_vec());
            }
        }
    };
    let _ = timeout(patience, listening).await;
    Ok(back)
}

/// A socket for whole messages of a protocol. To the runtime it is like any that has no connections.
fn raw(family: AddressFamily, protocol: Protocol) -> Result<UdpSocket> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        socket_with(family, SocketType::RAW, flags, Some(protocol)).context("failed to open a raw socket")?;
    UdpSocket::from_std(socket.into()).context("failed to watch a socket")
}
