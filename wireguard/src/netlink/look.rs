//! A dump of one interface, datagram by datagram.
//!
//! The kernel writes the first datagram when the look begins and each further one when the one before it is read, so a
//! look may be left alone for a while, and others may change the interface meanwhile: the flag `NLM_F_DUMP_INTR` on any
//! message says that somebody did. It is noted and the rest is read all the same. An undecodable message or a refusal
//! ends the look.
//!
//! What an interrupted dump leaves out, as `get_peer` and `wg_get_device_dump` in drivers/net/wireguard/netlink.c write
//! it: the other prefixes of a peer that goes on, when any peer's prefixes have changed; all peers that follow, when the
//! last one shown is gone; and everything but the key of the peer after one that was to go on and is gone. Such a part
//! goes on where nothing began; it is skipped.
//!
//! The kernel keeps a reference to the interface until the last datagram is read or the socket is closed, and whoever
//! deletes the interface waits for that, this process too: [`Socket::give_up`] comes first.

use ipnet::IpNet;

use super::abi::WGDEVICE_A_IFINDEX;
use super::decode::{self, DecodeError, Part};
use super::encode;
use super::link::numbered;
use super::socket::Socket;
use super::wire::Answer;
use crate::{Error, PeerPart, Progress, PublicKey, Settings};

/// What is kept of a look between two datagrams.
pub(super) struct Look {
    ifindex: u32,
    /// The interface's own attributes, once they have arrived.
    settings: Option<Part>,
    /// The peer that may go on in the next message.
    last: Option<PublicKey>,
    coherent: bool,
    /// Room for one part's prefixes.
    prefixes: Vec<IpNet>,
}

impl Socket {
    /// Begins a look at the interface with this number. One that is open on this socket is given up.
    ///
    /// A refusal, `NotFound` or `NotSupported` when there is no such interface or it is no WireGuard one, comes with
    /// the first [`Socket::next`].
    pub fn begin(&mut self, ifindex: u32) -> Result<(), Error> {
        let request = encode::get_device(self.family(), ifindex);
        self.request(request, "dump", &numbered(ifindex))?;
        self.look = Some(Look::new(ifindex));
        Ok(())
    }

    /// Reads one datagram of the look and hands its parts to `each`. An error ends the look.
    ///
    /// Fails with [`Error::NoLook`] when none is open: any other request over this socket gives it up.
    pub fn next(&mut self, each: &mut dyn FnMut(PeerPart<'_>)) -> Result<Progress, Error> {
        let mut look = self.look.take().ok_or(Error::NoLook)?;
        let object = numbered(look.ifindex);
        let received = self.datagram("dump", &object, |answer| look.message(&answer, each))?;
        // The end may be all that says so.
        look.coherent &= !received.interrupted;
        if !received.over {
            self.look = Some(look);
            return Ok(Progress::More);
        }
        look.finish()
            .map_err(|source| Error::Malformed { object, source })
    }
}

impl Look {
    fn new(ifindex: u32) -> Self {
        Self {
            ifindex,
            settings: None,
            last: None,
            coherent: true,
            prefixes: Vec::new(),
        }
    }

    /// Takes in the next message.
    fn message(
        &mut self,
        answer: &Answer<'_>,
        each: &mut dyn FnMut(PeerPart<'_>),
    ) -> Result<(), DecodeError> {
        self.coherent &= !answer.interrupted;
        let Self {
            last,
            coherent,
            prefixes,
            ..
        } = self;
        let part = decode::device(answer.payload, prefixes, &mut |part| {
            if part.begins {
                *last = Some(*part.public_key);
            } else if last.as_ref() != Some(part.public_key) {
                return if *coherent {
                    Err(DecodeError::Orphan)
                } else {
                    Ok(())
                };
            }
            each(part);
            Ok(())
        })?;
        match part.ifindex {
            // The kernel repeats the settings until the first peer is complete.
            None => {}
            Some(found) if found == self.ifindex => self.settings = Some(part),
            Some(_) => return Err(DecodeError::Interface),
        }
        Ok(())
    }

    fn finish(self) -> Result<Progress, DecodeError> {
        let part = self.settings.ok_or(DecodeError::Missing {
            kind: WGDEVICE_A_IFINDEX,
        })?;
        Ok(Progress::Done {
            settings: Settings {
                private_key: part.private_key,
                public_key: part.public_key,
                listen_port: part.listen_port.unwrap_or_default(),
                fwmark: part.fwmark.unwrap_or_default(),
            },
            coherent: self.coherent,
        })
    }
}

#[cfg(test)]
mod tests;
