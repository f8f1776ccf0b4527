//! A client without a kernel: whatever it likes goes into the tunnel, and what comes out is kept.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use boringtun::{
    noise::{Tunn, TunnResult, rate_limiter::RateLimiter},
    x25519,
};
use culvert_e2e::{Bed, Client, client::PORT, wait};

/// How long a message of a handshake is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The gateway takes no two handshakes of a peer right after each other.
const APART: Duration = Duration::from_millis(100);

/// Larger than anything that is sent.
const PACKET: usize = 1 << 16;

/// A tunnel to the gateway from a client's namespace, with its key.
pub struct Tunnel {
    socket: UdpSocket,
    noise: Tunn,
    buffer: Vec<u8>,
    sent: Vec<u8>,
}

impl Tunnel {
    /// Shakes hands. The client must not be connected otherwise.
    pub async fn open(bed: &Bed, client: &Client) -> Result<Self> {
        let (gateway, endpoint) = bed.gateway_for_clients().await?;
        let endpoint: SocketAddr = endpoint.parse().context("the gateway's endpoint")?;
        let socket = client.namespace.within(|| {
            let socket = UdpSocket::bind(("0.0.0.0", PORT)).context("failed to bind")?;
            socket.connect(endpoint).context("failed to connect")?;
            Ok(socket)
        })?;
        let secret = x25519::StaticSecret::from(key(&client.private_key()?)?);
        // Its own limit is of handshakes since it was made, as nobody tells it of the time.
        let unlimited = Arc::new(RateLimiter::new(&x25519::PublicKey::from(&secret), u64::MAX));
        let mut tunnel = Self {
            socket,
            noise: Tunn::new(secret, key(&gateway)?.into(), None, None, 1, Some(unlimited)),
            buffer: vec![0; PACKET],
            sent: vec![0; PACKET],
        };
        tunnel.shake_hands().await?;
        Ok(tunnel)
    }

    /// Makes another session: one lasts for three minutes.
    pub async fn shake_hands(&mut self) -> Result<()> {
        wait::pass(APART).await;
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(Some(PATIENCE))?;
        let TunnResult::WriteToNetwork(initiation) =
            self.noise.format_handshake_initiation(&mut self.sent, true)
        else {
            bail!("no initiation was made");
        };
        self.socket.send(initiation)?;
        loop {
            let length = self
                .socket
                .recv(&mut self.buffer)
                .context("the gateway does not answer")?;
            let answer = self
                .noise
                .decapsulate(None, &self.buffer[..length], &mut self.sent);
            match answer {
                TunnResult::WriteToNetwork(empty) => {
                    self.socket.send(empty)?;
                    break;
                }
                // The session before was kept alive.
                TunnResult::Done => {}
                answer => bail!("the gateway's answer is no response: {answer:?}"),
            }
        }
        self.socket.set_nonblocking(true)?;
        Ok(())
    }

    /// Sends a packet, whatever it is.
    pub fn send(&mut self, packet: &[u8]) -> Result<()> {
        let sealed = self.noise.encapsulate(packet, &mut self.sent);
        let TunnResult::WriteToNetwork(sealed) = sealed else {
            bail!("there is no session: {sealed:?}");
        };
        self.socket.send(sealed).context("failed to send").map(drop)
    }

    /// What has come out of the tunnel since the last time.
    pub fn received(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut packets = Vec::new();
        loop {
            let length = match self.socket.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(packets),
                Err(error) => return Err(error).context("failed to receive"),
            };
            match self
                .noise
                .decapsulate(None, &self.buffer[..length], &mut self.sent)
            {
                TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                    packets.push(packet.to_vec());
                }
                // The gateway's own handshake, answered as it should be.
                TunnResult::WriteToNetwork(answer) => {
                    self.socket.send(answer)?;
                }
                // A packet that carries nothing.
                TunnResult::Done => {}
                TunnResult::Err(error) => bail!("a packet cannot be read: {error:?}"),
            }
        }
    }
}

fn key(text: &str) -> Result<[u8; 32]> {
    let bytes = STANDARD.decode(text).context("a key is base64")?;
    ensure!(bytes.len() == 32, "a key has 32 bytes");
    bytes.try_into().ok().context("a key has 32 bytes")
}
