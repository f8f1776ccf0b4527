//! The text that a program answers with, read in place.
//!
//! Guarantees: any bytes give a value or an error. Lines that carry a secret are read out of the caller's buffer into
//! types that wipe themselves, and become no `String`; a preshared key is not kept at all. An error repeats nothing of
//! the text, as all of it is secret or says where a client is.
//!
//! An answer is one snapshot, with peers in no order, each of them beginning with its `public_key`.

use std::fmt;
use std::net::SocketAddr;
use std::str::{self, FromStr};

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::END;
use crate::key::KEY_BYTES;
use crate::{Endpoint, PeerPart, PrivateKey, PublicKey, Settings, WallTime};

/// Prefixes that are handed on together.
const PREFIXES: usize = 256;

/// Why a text is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The text does not end in a status and an empty line.
    #[error("the answer has no end")]
    Unfinished,

    /// A line is not `key=value`.
    #[error("a line has no key")]
    Key,

    /// A value is none of its key.
    #[error("the value of `{0}` cannot be read")]
    Value(&'static str),

    /// A peer's line stands before any peer.
    #[error("`{0}` belongs to no peer")]
    NoPeer(&'static str),
}

/// Splits a whole answer into what it says and its status: 0, or a positive error number.
pub fn status(text: &[u8]) -> Result<(&[u8], i32), LineError> {
    let lines = text.strip_suffix(END).ok_or(LineError::Unfinished)?;
    let start = lines
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let (said, last) = lines.split_at(start);
    let errno = last.strip_prefix(b"errno=").ok_or(LineError::Unfinished)?;
    let errno: i32 = value("errno", errno)?;
    Ok((said, errno.saturating_abs()))
}

/// Folds the lines of an answer, in order.
#[derive(Default)]
pub struct Lines {
    settings: Settings,
    peer: Option<Peer>,
    /// Prefixes of the peer that were not handed on yet.
    prefixes: Vec<IpNet>,
}

/// What the lines have said of a peer so far.
struct Peer {
    public_key: PublicKey,
    /// Whether a part of it was handed on.
    begun: bool,
    endpoint: Option<Endpoint>,
    handshake: WallTime,
    rx_bytes: u64,
    tx_bytes: u64,
    persistent_keepalive: u16,
    has_preshared_key: bool,
}

impl Lines {
    /// Reads one line, without its end, and hands on what is known by then.
    ///
    /// Keys that nobody knows are passed over, as the protocol may grow.
    pub fn line(&mut self, line: &[u8], each: &mut dyn FnMut(PeerPart<'_>)) -> Result<(), LineError> {
        let at = line.iter().position(|byte| *byte == b'=').ok_or(LineError::Key)?;
        let (key, text) = (&line[..at], &line[at + 1..]);
        match key {
            b"private_key" => {
                let key = PrivateKey::fill(|key| bytes("private_key", text, key))?;
                self.settings.public_key = Some(key.public_key());
                self.settings.private_key = Some(key);
            }
            b"listen_port" => self.settings.listen_port = value("listen_port", text)?,
            b"fwmark" => self.settings.fwmark = value("fwmark", text)?,
            b"public_key" => {
                self.hand_on(each);
                let mut key = [0; KEY_BYTES];
                bytes("public_key", text, &mut key)?;
                self.peer = Some(Peer::new(PublicKey::from_bytes(key)));
            }
            b"preshared_key" => {
                let mut key = Zeroizing::new([0; KEY_BYTES]);
                bytes("preshared_key", text, &mut key)?;
                self.peer("preshared_key")?.has_preshared_key = key.iter().any(|byte| *byte != 0);
            }
            b"endpoint" => self.peer("endpoint")?.endpoint = Some(endpoint(text)?),
            b"last_handshake_time_sec" => {
                let name = "last_handshake_time_sec";
                self.peer(name)?.handshake.seconds = value(name, text)?;
            }
            b"last_handshake_time_nsec" => {
                let name = "last_handshake_time_nsec";
                self.peer(name)?.handshake.nanoseconds = value(name, text)?;
            }
            b"rx_bytes" => self.peer("rx_bytes")?.rx_bytes = value("rx_bytes", text)?,
            b"tx_bytes" => self.peer("tx_bytes")?.tx_bytes = value("tx_bytes", text)?,
            b"persistent_keepalive_interval" => {
                let name = "persistent_keepalive_interval";
                self.peer(name)?.persistent_keepalive = value(name, text)?;
            }
            b"allowed_ip" => {
                self.peer("allowed_ip")?;
                self.prefixes.push(value("allowed_ip", text)?);
                if self.prefixes.len() == PREFIXES {
                    self.hand_on(each);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the answer: hands on the last peer, and gives the interface's own settings.
    pub fn finish(mut self, each: &mut dyn FnMut(PeerPart<'_>)) -> Settings {
        self.hand_on(each);
        self.settings
    }

    fn peer(&mut self, key: &'static str) -> Result<&mut Peer, LineError> {
        self.peer.as_mut().ok_or(LineError::NoPeer(key))
    }

    fn hand_on(&mut self, each: &mut dyn FnMut(PeerPart<'_>)) {
        let Some(peer) = &mut self.peer else {
            return;
        };
        if !peer.begun {
            peer.begun = true;
            let never = peer.handshake == WallTime::default();
            each(PeerPart {
                begins: true,
                endpoint: peer.endpoint,
                last_handshake: (!never).then_some(peer.handshake),
                rx_bytes: peer.rx_bytes,
                tx_bytes: peer.tx_bytes,
                persistent_keepalive: peer.persistent_keepalive,
                has_preshared_key: peer.has_preshared_key,
                ..PeerPart::more(&peer.public_key, &self.prefixes)
            });
        } else if !self.prefixes.is_empty() {
            each(PeerPart::more(&peer.public_key, &self.prefixes));
        }
        self.prefixes.clear();
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines(…)")
    }
}

impl Peer {
    fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            begun: false,
            endpoint: None,
            handshake: WallTime::default(),
            rx_bytes: 0,
            tx_bytes: 0,
            persistent_keepalive: 0,
            has_preshared_key: false,
        }
    }
}

/// The value of a line that holds no secret.
fn value<T: FromStr>(key: &'static str, text: &[u8]) -> Result<T, LineError> {
    let text = str::from_utf8(text).map_err(|_| LineError::Value(key))?;
    text.parse().map_err(|_| LineError::Value(key))
}

/// An endpoint; the zone of a link-local address is a name here, and of no interest.
fn endpoint(text: &[u8]) -> Result<Endpoint, LineError> {
    let error = LineError::Value("endpoint");
    let text = str::from_utf8(text).map_err(|_| error)?;
    let address: SocketAddr = match text.split_once('%') {
        None => text.parse().map_err(|_| error)?,
        Some((address, zone)) => {
            let (_, port) = zone.rsplit_once("]:").ok_or(error)?;
            let address = address.strip_prefix('[').ok_or(error)?;
            let port = port.parse().map_err(|_| error)?;
            SocketAddr::new(address.parse().map_err(|_| error)?, port)
        }
    };
    Ok(Endpoint::new(address))
}

/// Writes the bytes of a key, which are written in hexadecimal, to where they are to stay: what is moved leaves a copy.
fn bytes(key: &'static str, text: &[u8], bytes: &mut [u8; KEY_BYTES]) -> Result<(), LineError> {
    if text.len() != 2 * KEY_BYTES {
        return Err(LineError::Value(key));
    }
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |text: u8| {
            char::from(text)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let (Some(high), Some(low)) = (digit(digits[0]), digit(digits[1])) else {
            return Err(LineError::Value(key));
        };
        *byte = high << 4 | low;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
