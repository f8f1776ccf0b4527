//! Real clients by the thousand: each makes one handshake with the gateway and is silent from then on.
//!
//! A handshake is an initiation, its response and an empty packet; with the last one the kernel notes when it was.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519,
};
use culvert_e2e::netns;

use crate::{
    objects::{INTERFACE, private_key},
    probe::Probe,
};

/// How long a response is waited for, and how often an initiation is sent again.
const PATIENCE: Duration = Duration::from_secs(1);
const TRIES: usize = 5;

/// The longest message of a handshake is 148 bytes.
const MESSAGE: usize = 256;

/// The gateway as its clients know it.
pub struct Gateway {
    public_key: x25519::PublicKey,
    endpoint: SocketAddr,
}

impl Gateway {
    /// The agent's.
    pub fn find() -> Result<Self> {
        let ask = |what: &str| netns::run(Command::new("wg").args(["show", INTERFACE, what]));
        let key = STANDARD.decode(ask("public-key")?.trim())?;
        let key: [u8; 32] = key.try_into().ok().context("a public key has 32 bytes")?;
        Ok(Self {
            public_key: key.into(),
            endpoint: (Ipv4Addr::LOCALHOST, ask("listen-port")?.trim().parse()?).into(),
        })
    }

    /// Client number `number` makes a handshake from an address of its own; when, by the probe's clock.
    pub fn shake_hands(&self, probe: &Probe, number: u32) -> Result<Duration> {
        let [_, a, b, c] = number.to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 1 + a, b, c), 0)).context("failed to bind")?;
        socket.connect(self.endpoint).context("failed to connect")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let secret = x25519::StaticSecret::from(private_key(number));
        let mut client = Tunn::new(secret, self.public_key, None, None, number, None);
        let (mut sent, mut received) = ([0; MESSAGE], [0; MESSAGE]);
        for _ in 0..TRIES {
            let TunnResult::WriteToNetwork(initiation) = client.format_handshake_initiation(&mut sent, true)
            else {
                bail!("client {number} makes no initiation");
            };
            socket.send(initiation)?;
            let Ok(length) = socket.recv(&mut received) else {
                continue;
            };
            match client.decapsulate(None, &received[..length], &mut sent) {
                TunnResult::WriteToNetwork(empty) => {
                    let at = probe.now();
                    let length = socket.send(empty)?;
                    ensure!(length > 0, "nothing was sent");
                    return Ok(at);
                }
                // A cookie: the next initiation has it.
                TunnResult::Done => {}
                TunnResult::Err(error) => bail!("client {number} cannot read the response: {error:?}"),
                _ => bail!("client {number} was sent something else"),
            }
        }
        bail!("the gateway does not answer client {number}")
    }
}
