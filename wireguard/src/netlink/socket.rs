//! The blocking generic netlink socket of WireGuard's family: changes, and what a look needs.
//!
//! A socket does one thing at a time: whoever changes an interface while a look is open needs two. What an exchange
//! guarantees stands in [`super::wire`].

use netlink_sys::protocols::NETLINK_GENERIC;

use super::abi::WG_GENL_NAME;
use super::decode::{self, DecodeError};
use super::encode::{self, Limits, Message};
use super::link::numbered;
use super::look::Look;
use super::wire::{About, Answer, Received, Wire};
use crate::{DeviceChange, Error, PeerChange, Refusal};

/// A connection to the kernel's WireGuard family, in the network namespace it was opened in.
pub struct Socket {
    wire: Wire,
    family: u16,
    /// The look that is open: its answers are still to be read.
    pub(super) look: Option<Look>,
}

impl Socket {
    /// Opens a socket and resolves the family, which loads the kernel's module where there is one.
    ///
    /// Fails with a refusal `NotSupported` when the kernel has no WireGuard.
    pub fn open() -> Result<Self, Error> {
        Self::open_family(WG_GENL_NAME)
    }

    fn open_family(name: &str) -> Result<Self, Error> {
        let mut socket = Self {
            wire: Wire::open(NETLINK_GENERIC)?,
            family: 0,
            look: None,
        };
        let (object, mut family) = ("the wireguard netlink family", None);
        let found = socket.exchange(encode::get_family(name), "find", object, |answer| {
            family = Some(decode::family(answer.payload)?);
            Ok(())
        });
        match found {
            Err(Error::Refused {
                action,
                object,
                refusal: Refusal::NotFound,
            }) => {
                return Err(Error::Refused {
                    action,
                    object,
                    refusal: Refusal::NotSupported,
                });
            }
            found => found?,
        }
        socket.family = family.ok_or_else(|| Error::Malformed {
            object: object.to_owned(),
            source: DecodeError::Message,
        })?;
        Ok(socket)
    }

    /// The number of WireGuard's family in the running kernel.
    pub const fn family(&self) -> u16 {
        self.family
    }

    /// Carries out a change, one acknowledged message after the other, and says how many there were.
    ///
    /// Stops at the first error; messages before it took effect, and part of the refused one may have. Success does
    /// not prove that a peer is there: the kernel ignores unusable keys and its own.
    pub fn set_device(
        &mut self,
        ifindex: u32,
        change: &DeviceChange,
        limits: Limits,
    ) -> Result<usize, Error> {
        self.send_changes(ifindex, encode::set_device(self.family, ifindex, change, limits))
    }

    /// [`Socket::set_device`] for peers alone.
    pub fn set_peers(
        &mut self,
        ifindex: u32,
        changes: &[PeerChange],
        limits: Limits,
    ) -> Result<usize, Error> {
        self.send_changes(ifindex, encode::set_peers(self.family, ifindex, changes, limits))
    }

    fn send_changes(
        &mut self,
        ifindex: u32,
        messages: impl Iterator<Item = Message>,
    ) -> Result<usize, Error> {
        let mut sent = 0;
        for message in messages {
            self.send_change(ifindex, message)?;
            sent += 1;
        }
        Ok(sent)
    }

    /// Sends one message of a change and waits for its acknowledgement: for callers who pace themselves.
    pub fn send_change(&mut self, ifindex: u32, message: Message) -> Result<(), Error> {
        self.exchange(message, "configure", &numbered(ifindex), |_| {
            Err(DecodeError::Command)
        })
    }

    /// Gives up a look that is open, or that failed halfway, so that the kernel lets go of the interface.
    pub fn give_up(&mut self) -> Result<(), Error> {
        self.look = None;
        self.wire.give_up()
    }

    /// Sends a request and hands each answer's payload to `answer`, to the end.
    fn exchange(
        &mut self,
        mut message: Message,
        action: &'static str,
        object: &str,
        answer: impl FnMut(Answer<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), Error> {
        self.give_up()?;
        self.wire
            .exchange(message.as_bytes_mut(), about(action, object), answer)
            .map(drop)
    }

    /// Sends a request; the answers are to be read. A look that was open is given up.
    pub(super) fn request(
        &mut self,
        mut message: Message,
        action: &'static str,
        object: &str,
    ) -> Result<(), Error> {
        self.give_up()?;
        self.wire.request(message.as_bytes_mut(), about(action, object))
    }

    /// Waits for the next datagram and hands the payload of each answer in it to `answer`.
    pub(super) fn datagram(
        &mut self,
        action: &'static str,
        object: &str,
        answer: impl FnMut(Answer<'_>) -> Result<(), DecodeError>,
    ) -> Result<Received, Error> {
        self.wire.datagram(about(action, object), answer)
    }
}

fn about<'a>(action: &'static str, object: &'a str) -> About<'a> {
    About {
        action,
        object,
        passing: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_family_does_not_support_it() {
        let error = Socket::open_family("culvert-none").err().unwrap();
        assert_eq!(error.refusal(), Some(Refusal::NotSupported));
    }
}
