//! Somebody on the way who keeps a client's first message and sends it again: a UDP relay in the test's own process.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use tokio::{
    net::UdpSocket,
    task::{JoinSet, yield_now},
};

/// Larger than any packet that passes.
const PACKET: usize = 2048;

/// How a handshake initiation begins, and how long it is.
const INITIATION: (u8, usize) = (1, 148);

/// A relay between one client and a gateway; it ends with its value.
pub struct Replay {
    gateway: SocketAddr,
    recorded: Arc<Mutex<Option<Vec<u8>>>>,
    _tasks: JoinSet<()>,
}

/// Whoever sends an initiation that is not theirs.
pub struct Elsewhere {
    gateway: SocketAddr,
    packet: Vec<u8>,
    socket: UdpSocket,
}

impl Elsewhere {
    /// Sends it, and says how many bytes.
    pub async fn send_again(&self) -> Result<usize> {
        let sent = self.socket.send_to(&self.packet, self.gateway).await;
        sent.context("failed to send an initiation again")
    }

    /// How many bytes each packet has that came back since the last time.
    pub fn answers(&self) -> Result<Vec<usize>> {
        let (mut answers, mut buffer) = (Vec::new(), [0; PACKET]);
        loop {
            match self.socket.try_recv(&mut buffer) {
                Ok(length) => answers.push(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answers),
                Err(error) => return Err(error).context("failed to receive"),
            }
        }
    }
}

impl Replay {
    /// Relays what comes to `listen`, and the answers.
    pub async fn start(listen: SocketAddr, gateway: SocketAddr) -> Result<Self> {
        let client_side = UdpSocket::bind(listen)
            .await
            .with_context(|| format!("failed to listen on {listen}"))?;
        let any = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        let gateway_side = UdpSocket::bind(any).await.context("failed to make a socket")?;
        gateway_side
            .connect(gateway)
            .await
            .context("failed to connect a socket")?;
        let recorded = Arc::new(Mutex::new(None));
        let mut tasks = JoinSet::new();
        tasks.spawn(relay(client_side, gateway_side, Arc::clone(&recorded)));
        Ok(Self {
            gateway,
            recorded,
            _tasks: tasks,
        })
    }

    /// Whether an initiation was seen.
    pub fn has_recorded(&self) -> bool {
        self.lock().is_some()
    }

    /// Goes to another address, from which the recorded initiation can be sent again.
    pub async fn elsewhere(&self, from: SocketAddr) -> Result<Elsewhere> {
        let packet = self.lock().clone().context("nothing was recorded")?;
        let socket = UdpSocket::bind(from)
            .await
            .with_context(|| format!("failed to send from {from}"))?;
        Ok(Elsewhere {
            gateway: self.gateway,
            packet,
            socket,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Vec<u8>>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn relay(client_side: UdpSocket, gateway_side: UdpSocket, recorded: Arc<Mutex<Option<Vec<u8>>>>) {
    let (mut from_client, mut from_gateway) = ([0; PACKET], [0; PACKET]);
    let mut client = None;
    loop {
        // Whatever cannot be sent is lost, as packets are.
        tokio::select! {
            Ok((length, address)) = client_side.recv_from(&mut from_client) => {
                let packet = &from_client[..length];
                if (packet.first(), length) == (Some(&INITIATION.0), INITIATION.1) {
                    let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
                    recorded.get_or_insert_with(|| packet.to_vec());
                }
                client = Some(address);
                let _ = gateway_side.send(packet).await;
            }
            Ok(length) = gateway_side.recv(&mut from_gateway) => {
                if let Some(client) = client {
                    let _ = client_side.send_to(&from_gateway[..length], client).await;
                }
            }
            // A refused packet is told once, as an error of the next call.
            else => yield_now().await,
        }
    }
}
