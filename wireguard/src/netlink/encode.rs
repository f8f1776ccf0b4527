//! Requests to WireGuard's netlink family, as bytes. Pure.
//!
//! Guarantees: no message exceeds its byte bound, so none meets the 64 KiB of an attribute's length or the socket's
//! send buffer; changes keep their order; [remove, add] of a reinstated peer stand side by side in one message,
//! because between two messages a client would find its key unknown. A peer with more allowed IPs than one message
//! holds goes on in the next ones, which add to it and never create it (`UPDATE_ONLY`). A change that says nothing
//! gives no message.
//!
//! The sequence number stays 0 here; the socket writes its own.

mod gateway;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::abi::{
    AF_INET6, CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, GENL_HEADER, GENL_ID_CTRL, NFPROTO_INET,
    NFT_MSG_GETTABLE, NFTA_TABLE_NAME, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_HEADER, SOCKADDR_IN6,
    WG_CMD_GET_DEVICE, WG_CMD_SET_DEVICE, WG_GENL_VERSION, WGDEVICE_A_FLAGS, WGDEVICE_A_FWMARK,
    WGDEVICE_A_IFINDEX, WGDEVICE_A_LISTEN_PORT, WGDEVICE_A_PEERS, WGDEVICE_A_PRIVATE_KEY,
    WGDEVICE_F_REPLACE_PEERS, WGPEER_A_ALLOWEDIPS, WGPEER_A_ENDPOINT, WGPEER_A_FLAGS,
    WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, WGPEER_A_PUBLIC_KEY, WGPEER_F_REMOVE_ME,
    WGPEER_F_REPLACE_ALLOWEDIPS, WGPEER_F_UPDATE_ONLY,
};
use super::write::{Writer, allowed_ip_size, attribute};
use crate::key::KEY_BYTES;
use crate::{DesiredPeer, DeviceChange, PeerChange, PublicKey};

pub use gateway::{GATEWAYS, set_gateways};

/// Smallest byte bound: the settings, a [remove, add] pair and one allowed IP fit in any case.
const LEAST_BYTES: usize = 512;
/// Largest byte bound: below 2^16 with room for headers, as an attribute's length has 16 bits.
const MOST_BYTES: usize = 60_000;

/// Bytes of a peer with public key and flags.
const PEER_BARE: usize = attribute(attribute(KEY_BYTES) + attribute(4));
/// Bytes of a peer with an endpoint besides.
const PEER_FORGET: usize = PEER_BARE + attribute(SOCKADDR_IN6);
/// Bytes of a peer with a keepalive besides, and no allowed IPs.
const PEER_SET: usize = PEER_BARE + attribute(2);

/// How large a message may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, header included; taken as at least 512 and at most 60,000.
    pub bytes: usize,

    /// Peer changes; at least one is always taken. A peer that goes on in the next message counts in each.
    pub changes: usize,
}

impl Default for Limits {
    /// 32 KiB, and as many changes as that holds.
    fn default() -> Self {
        Self {
            bytes: 32 * 1024,
            changes: usize::MAX,
        }
    }
}

/// One request, wiped when dropped: it may carry the interface's secret.
pub struct Message {
    bytes: Zeroizing<Vec<u8>>,
    changes: usize,
}

impl Message {
    /// The whole message, header included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many peer changes it carries, whole or in part.
    pub const fn changes(&self) -> usize {
        self.changes
    }

    pub(super) fn as_bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn start(capacity: usize, kind: u16, flags: u16, command: u8, version: u8) -> Writer {
        let mut writer = Writer::with_capacity(capacity);
        writer.raw(&[0; 4]);
        writer.raw(&kind.to_ne_bytes());
        writer.raw(&flags.to_ne_bytes());
        writer.raw(&[0; 8]);
        writer.raw(&[command, version, 0, 0]);
        writer
    }

    fn finish(writer: Writer, changes: usize) -> Self {
        let mut bytes = writer.finish();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
        bytes[..4].copy_from_slice(&length);
        Self { bytes, changes }
    }
}

/// The request for the number of WireGuard's family.
pub fn get_family(name: &str) -> Message {
    let mut writer = Message::start(64, GENL_ID_CTRL, NLM_F_REQUEST | NLM_F_ACK, CTRL_CMD_GETFAMILY, 1);
    writer.put(CTRL_ATTR_FAMILY_NAME, format!("{name}\0").as_bytes());
    Message::finish(writer, 0)
}

/// The request for a table of nftables, in the family `inet`.
pub fn get_table(name: &str) -> Message {
    // Its header after netlink's own begins with the family and a version, as generic netlink's does with a command.
    let mut writer = Message::start(64, NFT_MSG_GETTABLE, NLM_F_REQUEST | NLM_F_ACK, NFPROTO_INET, 0);
    writer.put(NFTA_TABLE_NAME, format!("{name}\0").as_bytes());
    Message::finish(writer, 0)
}

/// The request for a dump of one interface.
pub fn get_device(family: u16, ifindex: u32) -> Message {
    let flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut writer = Message::start(64, family, flags, WG_CMD_GET_DEVICE, WG_GENL_VERSION);
    writer.put(WGDEVICE_A_IFINDEX, &ifindex.to_ne_bytes());
    Message::finish(writer, 0)
}

/// The requests that carry out a change, in order, each to be acknowledged before the next is sent.
pub fn set_device(family: u16, ifindex: u32, change: &DeviceChange, limits: Limits) -> SetMessages<'_> {
    SetMessages {
        settings: change.changes_settings().then_some(change),
        ..set_peers(family, ifindex, &change.peers, limits)
    }
}

/// The requests that change peers alone, in order, each to be acknowledged before the next is sent.
pub fn set_peers(family: u16, ifindex: u32, peers: &[PeerChange], limits: Limits) -> SetMessages<'_> {
    SetMessages {
        family,
        ifindex,
        bytes: limits.bytes.clamp(LEAST_BYTES, MOST_BYTES),
        changes: limits.changes.max(1),
        settings: None,
        peers,
        rest: None,
    }
}

/// The messages of one change, made one at a time.
pub struct SetMessages<'a> {
    family: u16,
    ifindex: u32,
    bytes: usize,
    changes: usize,
    /// Settings not yet written.
    settings: Option<&'a DeviceChange>,
    /// Changes not yet begun.
    peers: &'a [PeerChange],
    /// A peer begun in the last message, and its allowed IPs that are still to come.
    rest: Option<(PublicKey, &'a [IpNet])>,
}

impl Iterator for SetMessages<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        if self.settings.is_none() && self.peers.is_empty() && self.rest.is_none() {
            return None;
        }
        let flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut writer = Message::start(self.bytes, self.family, flags, WG_CMD_SET_DEVICE, WG_GENL_VERSION);
        debug_assert_eq!(writer.written(), NLMSG_HEADER + GENL_HEADER);
        writer.put(WGDEVICE_A_IFINDEX, &self.ifindex.to_ne_bytes());
        if let Some(change) = self.settings.take() {
            settings(&mut writer, change);
        }
        let mut changes = 0;
        if !self.peers.is_empty() || self.rest.is_some() {
            let nest = writer.nest(WGDEVICE_A_PEERS);
            changes = self.fill(&mut writer);
            writer.end(nest);
        }
        Some(Message::finish(writer, changes))
    }
}

impl<'a> SetMessages<'a> {
    /// Writes as many changes as fit and says how many. Always makes progress.
    fn fill(&mut self, writer: &mut Writer) -> usize {
        let mut changes = 0;
        if let Some((public_key, prefixes)) = self.rest.take() {
            let peer = peer(writer, &public_key, WGPEER_F_UPDATE_ONLY);
            self.rest = self.allowed_ips(writer, public_key, prefixes);
            writer.end(peer);
            changes += 1;
        }
        while self.rest.is_none() && changes < self.changes {
            let Some((change, later)) = self.peers.split_first() else {
                break;
            };
            if changes > 0 && writer.written() + size(change) > self.bytes {
                break;
            }
            self.peers = later;
            self.rest = self.change(writer, change);
            changes += 1;
        }
        changes
    }

    fn change(&self, writer: &mut Writer, change: &'a PeerChange) -> Option<(PublicKey, &'a [IpNet])> {
        match change {
            PeerChange::Set(desired) => self.set(writer, desired),
            PeerChange::Reinstate(desired) => {
                let removed = peer(writer, &desired.public_key, WGPEER_F_REMOVE_ME);
                writer.end(removed);
                self.set(writer, desired)
            }
            PeerChange::Remove(public_key) => {
                let removed = peer(writer, public_key, WGPEER_F_REMOVE_ME);
                writer.end(removed);
                None
            }
            PeerChange::Forget(public_key) => {
                let forgotten = peer(writer, public_key, WGPEER_F_UPDATE_ONLY);
                writer.put(WGPEER_A_ENDPOINT, &forgotten_endpoint());
                writer.end(forgotten);
                None
            }
        }
    }

    fn set(&self, writer: &mut Writer, desired: &'a DesiredPeer) -> Option<(PublicKey, &'a [IpNet])> {
        let peer = peer(writer, &desired.public_key, WGPEER_F_REPLACE_ALLOWEDIPS);
        writer.put(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, &0_u16.to_ne_bytes());
        let rest = self.allowed_ips(writer, desired.public_key, desired.allowed_ips.as_slice());
        writer.end(peer);
        rest
    }

    /// Writes as many prefixes as fit, at least one, and gives back the others.
    fn allowed_ips(
        &self,
        writer: &mut Writer,
        public_key: PublicKey,
        prefixes: &'a [IpNet],
    ) -> Option<(PublicKey, &'a [IpNet])> {
        if prefixes.is_empty() {
            return None;
        }
        let nest = writer.nest(WGPEER_A_ALLOWEDIPS);
        let mut written = 0;
        for prefix in prefixes {
            if written > 0 && writer.written() + allowed_ip_size(prefix) > self.bytes {
                break;
            }
            writer.allowed_ip(prefix);
            written += 1;
        }
        writer.end(nest);
        let rest = &prefixes[written..];
        (!rest.is_empty()).then_some((public_key, rest))
    }
}

fn settings(writer: &mut Writer, change: &DeviceChange) {
    if let Some(key) = &change.private_key {
        writer.put(WGDEVICE_A_PRIVATE_KEY, key.as_bytes());
    }
    if let Some(port) = change.listen_port {
        writer.put(WGDEVICE_A_LISTEN_PORT, &port.to_ne_bytes());
    }
    if let Some(mark) = change.fwmark {
        writer.put(WGDEVICE_A_FWMARK, &mark.to_ne_bytes());
    }
    if change.replace_peers {
        writer.put(WGDEVICE_A_FLAGS, &WGDEVICE_F_REPLACE_PEERS.to_ne_bytes());
    }
}

/// Opens a peer; the caller closes it.
fn peer(writer: &mut Writer, public_key: &PublicKey, flags: u32) -> super::write::Nest {
    let nest = writer.nest(0);
    writer.put(WGPEER_A_PUBLIC_KEY, public_key.as_bytes());
    writer.put(WGPEER_A_FLAGS, &flags.to_ne_bytes());
    nest
}

/// [`Endpoint::FORGOTTEN`](crate::Endpoint::FORGOTTEN) as a `sockaddr_in6`: a family and zeros.
fn forgotten_endpoint() -> [u8; SOCKADDR_IN6] {
    let mut address = [0; SOCKADDR_IN6];
    address[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
    address
}

/// Bytes that a whole change takes inside the nest of peers.
fn size(change: &PeerChange) -> usize {
    match change {
        PeerChange::Set(desired) => size_of_set(desired),
        PeerChange::Reinstate(desired) => PEER_BARE + size_of_set(desired),
        PeerChange::Remove(_) => PEER_BARE,
        PeerChange::Forget(_) => PEER_FORGET,
    }
}

fn size_of_set(desired: &DesiredPeer) -> usize {
    if desired.allowed_ips.is_empty() {
        return PEER_SET;
    }
    PEER_SET + attribute(desired.allowed_ips.iter().map(allowed_ip_size).sum())
}

#[cfg(test)]
mod tests;
