//! One whole dump of an interface, or an error.
//!
//! Whoever reads a dump concludes from what is *not* in it: an absent peer is added, an absent handshake is stale.
//! So there is no partial result: a dump that the kernel marked as interrupted is [`Error::DumpInterrupted`].

use super::link::numbered;
use super::socket::Socket;
use crate::{Error, ObservedDevice, look};

/// Reads the interface with this number and all its peers.
///
/// Fails with [`Error::DumpInterrupted`] when anybody changed the interface meanwhile, and with a refusal
/// `NotFound` or `NotSupported` when there is no such interface or it is no WireGuard one.
pub fn dump(socket: &mut Socket, ifindex: u32) -> Result<ObservedDevice, Error> {
    socket.begin(ifindex)?;
    look::whole(|each| socket.next(each))?.ok_or_else(|| Error::DumpInterrupted {
        object: numbered(ifindex),
    })
}
