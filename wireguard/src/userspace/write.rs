//! Changes as the text that a program takes.
//!
//! Guarantees: no set is about more than [`PEERS`] peers; a [remove, add] pair stands in one set; a peer that is set
//! has no preshared key and no keepalive afterwards, whatever it had before, as they would persist. The buffer of a
//! text never grows, so that a secret in it is in no other place, and it wipes itself.

use std::fmt::Arguments;
use std::io::Write as _;
use std::iter;

use zeroize::Zeroizing;

use crate::key::KEY_BYTES;
use crate::{DesiredPeer, DeviceChange, GatewayPeer, PeerChange, PublicKey};

/// Peers that one set is about, at most. The daemon answers nobody else meanwhile.
pub const PEERS: usize = 100;

/// Room for the first line, an interface's settings and the end: the longest is a private key of 77 bytes.
const SETTINGS: usize = 256;
/// Room for a peer's lines without its prefixes: two keys of 76 and 79 bytes, 32 bytes of keepalive, and flags.
const PEER: usize = 256;
/// Room for one prefix: 39 digits of address, 4 of length, and the key.
const PREFIX: usize = 64;

/// The operation that reads everything.
pub const GET: &[u8] = b"get=1\n\n";

/// A text that wipes itself.
pub type Text = Zeroizing<Vec<u8>>;

/// The sets that carry out a change, in order.
pub fn device(change: &DeviceChange) -> impl Iterator<Item = Text> {
    let mut settings = change.changes_settings().then_some(change);
    let mut left = change.peers.as_slice();
    iter::from_fn(move || {
        let settings = settings.take();
        let now = take(&mut left);
        (settings.is_some() || !now.is_empty()).then(|| text(settings, now))
    })
}

/// The sets that change peers, in order.
pub fn peers(changes: &[PeerChange]) -> impl Iterator<Item = Text> {
    let mut left = changes;
    iter::from_fn(move || {
        let now = take(&mut left);
        (!now.is_empty()).then(|| text(None, now))
    })
}

/// The set of a client's gateways, and the removal of others.
pub fn gateways(set: &[GatewayPeer], remove: &[PublicKey]) -> Text {
    let prefixes: usize = set.iter().map(|gateway| gateway.allowed_ips.len()).sum();
    let room = SETTINGS + PEER * (set.len() + remove.len()) + PREFIX * prefixes;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    text.extend_from_slice(b"set=1\n");
    for gateway in set {
        write_key(&mut text, "public_key", gateway.public_key.as_bytes());
        write_line(
            &mut text,
            format_args!("endpoint={}", gateway.endpoint.socket_addr()),
        );
        text.extend_from_slice(b"replace_allowed_ips=true\n");
        for prefix in &gateway.allowed_ips {
            write_line(&mut text, format_args!("allowed_ip={prefix}"));
        }
        write_line(
            &mut text,
            format_args!("persistent_keepalive_interval={}", gateway.keepalive),
        );
    }
    for public_key in remove {
        write_remove(&mut text, public_key);
    }
    text.push(b'\n');
    debug_assert!(text.len() <= room, "the text has moved");
    text
}

/// Takes as many changes as one set may be about.
fn take<'a>(left: &mut &'a [PeerChange]) -> &'a [PeerChange] {
    let mut peers = 0;
    let fits = left.iter().take_while(|change| {
        let pair = matches!(change, PeerChange::Reinstate(_));
        peers += if pair { 2 } else { 1 };
        peers <= PEERS
    });
    let (now, later) = left.split_at(fits.count());
    *left = later;
    now
}

fn text(settings: Option<&DeviceChange>, changes: &[PeerChange]) -> Text {
    let room = SETTINGS + changes.iter().map(room).sum::<usize>();
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    text.extend_from_slice(b"set=1\n");
    if let Some(change) = settings {
        write_settings(&mut text, change);
    }
    for change in changes {
        write_change(&mut text, change);
    }
    text.push(b'\n');
    debug_assert!(text.len() <= room, "the text has moved and left a copy behind");
    text
}

fn room(change: &PeerChange) -> usize {
    match change {
        PeerChange::Set(peer) => PEER + PREFIX * peer.allowed_ips.len(),
        PeerChange::Reinstate(peer) => 2 * PEER + PREFIX * peer.allowed_ips.len(),
        PeerChange::Remove(_) | PeerChange::Forget(_) => PEER,
    }
}

fn write_settings(text: &mut Vec<u8>, change: &DeviceChange) {
    if let Some(key) = &change.private_key {
        write_key(text, "private_key", key.as_bytes());
    }
    if let Some(port) = change.listen_port {
        write_line(text, format_args!("listen_port={port}"));
    }
    if let Some(mark) = change.fwmark {
        write_line(text, format_args!("fwmark={mark}"));
    }
    if change.replace_peers {
        text.extend_from_slice(b"replace_peers=true\n");
    }
}

fn write_change(text: &mut Vec<u8>, change: &PeerChange) {
    match change {
        PeerChange::Set(peer) => write_set(text, peer),
        PeerChange::Reinstate(peer) => {
            write_remove(text, &peer.public_key);
            // The daemon makes a peer only at a line with its key.
            write_set(text, peer);
        }
        PeerChange::Remove(key) => write_remove(text, key),
        PeerChange::Forget(key) => {
            write_key(text, "public_key", key.as_bytes());
            // Before the endpoint, which would otherwise be that of a peer made for it.
            text.extend_from_slice(b"update_only=true\nendpoint=[::]:0\n");
        }
    }
}

fn write_set(text: &mut Vec<u8>, peer: &DesiredPeer) {
    write_key(text, "public_key", peer.public_key.as_bytes());
    write_key(text, "preshared_key", &[0; KEY_BYTES]);
    text.extend_from_slice(b"persistent_keepalive_interval=0\nreplace_allowed_ips=true\n");
    for prefix in &peer.allowed_ips {
        write_line(text, format_args!("allowed_ip={prefix}"));
    }
}

fn write_remove(text: &mut Vec<u8>, key: &PublicKey) {
    write_key(text, "public_key", key.as_bytes());
    text.extend_from_slice(b"remove=true\n");
}

fn write_key(text: &mut Vec<u8>, name: &str, key: &[u8; KEY_BYTES]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.extend_from_slice(name.as_bytes());
    text.push(b'=');
    for byte in key {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 0xf)]);
    }
    text.push(b'\n');
}

/// A line without secrets.
fn write_line(text: &mut Vec<u8>, line: Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests;
