//! One whole dump of an interface, or an error.
//!
//! Whoever reads a dump concludes from what is *not* in it: an absent peer is added, an absent handshake is stale.
//! So there is no partial result. A dump that the kernel marked as interrupted is
//! [`Error::DumpInterrupted`], an undecodable message an error, and a peer whose allowed IPs span messages is put
//! together again. Datagrams are decoded as they arrive; their bytes, which hold secrets, are wiped by the socket.

use super::abi::{WGDEVICE_A_IFINDEX, WGDEVICE_A_IFNAME};
use super::decode::{self, DecodeError, Part, PeerPart};
use super::encode;
use super::socket::Socket;
use crate::{Error, ObservedDevice};

/// Reads the interface with this number and all its peers.
///
/// Fails with [`Error::DumpInterrupted`] when anybody changed the interface meanwhile, and with a refusal
/// `NotFound` or `NotSupported` when there is no such interface or it is no WireGuard one.
pub fn dump(socket: &mut Socket, ifindex: u32) -> Result<ObservedDevice, Error> {
    let object = format!("interface {ifindex}");
    let request = encode::get_device(socket.family(), ifindex);
    let mut assembly = Assembly::default();
    socket.exchange(request, "dump", &object, |payload| {
        assembly.add(decode::device(payload)?)
    })?;
    assembly
        .finish(ifindex)
        .map_err(|source| Error::Malformed { object, source })
}

/// [`dump`], tried up to `attempts` times (at least once) while it is interrupted. Does not wait in between.
pub fn dump_whole(socket: &mut Socket, ifindex: u32, attempts: u32) -> Result<ObservedDevice, Error> {
    for _ in 1..attempts {
        match dump(socket, ifindex) {
            Err(Error::DumpInterrupted { .. }) => {}
            whole => return whole,
        }
    }
    dump(socket, ifindex)
}

/// The parts of a dump, put together.
#[derive(Default)]
pub(super) struct Assembly {
    /// The interface's own attributes; its peers stay empty.
    settings: Part,
    peers: Vec<crate::ObservedPeer>,
}

impl Assembly {
    /// Adds the next part, in the kernel's order.
    pub(super) fn add(&mut self, mut part: Part) -> Result<(), DecodeError> {
        self.peers.reserve(part.peers.len());
        for PeerPart { peer, continues } in part.peers.drain(..) {
            if !continues {
                self.peers.push(peer);
                continue;
            }
            match self.peers.last_mut() {
                Some(begun) if begun.public_key == peer.public_key => {
                    begun.allowed_ips.extend(peer.allowed_ips.iter().copied());
                }
                _ => return Err(DecodeError::Orphan),
            }
        }
        if let (Some(known), Some(again)) = (self.settings.ifindex, part.ifindex)
            && known != again
        {
            return Err(DecodeError::Interface);
        }
        // The kernel repeats these until the first peer is complete.
        if part.ifindex.is_some() {
            self.settings = part;
        }
        Ok(())
    }

    /// The whole interface, when it is the one that was asked for.
    pub(super) fn finish(self, ifindex: u32) -> Result<ObservedDevice, DecodeError> {
        let Part {
            ifindex: found,
            name,
            private_key,
            public_key,
            listen_port,
            fwmark,
            ..
        } = self.settings;
        match found {
            None => {
                return Err(DecodeError::Missing {
                    kind: WGDEVICE_A_IFINDEX,
                });
            }
            Some(found) if found != ifindex => return Err(DecodeError::Interface),
            Some(_) => {}
        }
        Ok(ObservedDevice {
            ifindex,
            name: name.ok_or(DecodeError::Missing {
                kind: WGDEVICE_A_IFNAME,
            })?,
            private_key,
            public_key,
            listen_port: listen_port.unwrap_or_default(),
            fwmark: fwmark.unwrap_or_default(),
            peers: self.peers,
        })
    }
}

#[cfg(test)]
mod tests;
