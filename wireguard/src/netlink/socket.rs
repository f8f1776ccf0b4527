//! The blocking generic netlink socket: send a request, read its answers to the end.
//!
//! Guarantees: an exchange is over when the kernel said so (acknowledgement or end of dump, with error number 0);
//! anything else is an error, never a shorter answer. An exchange that ended early leaves the rest of its answers in
//! the queue, so the next one starts on a fresh socket. Datagrams from other senders and answers to other requests
//! are skipped. The receive buffer held secrets and is wiped after every exchange, also after a failed one.
//!
//! The kernel works inside `send` and `recv`, so nothing here waits for anything but the kernel's own work.

use std::io;

use netlink_sys::{Socket as SysSocket, SocketAddr, protocols::NETLINK_GENERIC};
use zeroize::{Zeroize as _, Zeroizing};

use super::abi::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN};
use super::decode::{self, DecodeError};
use super::encode::{self, Limits, Message};
use super::frame::{Frame, Frames};
use crate::{DeviceChange, Error, Refusal};

/// Bytes of the receive buffer. The kernel sizes a dump's datagrams by it and stops at 32 KiB.
const BUFFER: usize = 64 * 1024;
/// `recv` gives the datagram's whole length, also when it did not fit (`MSG_TRUNC`).
const MSG_TRUNC: i32 = 0x20;
/// Error number: the receive queue overflowed.
const ENOBUFS: i32 = 105;

/// A connection to the kernel's WireGuard family, in the network namespace it was opened in.
pub struct Socket {
    system: SysSocket,
    port: u32,
    family: u16,
    sequence: u32,
    buffer: Zeroizing<Vec<u8>>,
    /// Bytes of the buffer written in this exchange.
    used: usize,
    /// Answers to an earlier request may still arrive.
    unclean: bool,
}

impl Socket {
    /// Opens a socket and resolves the family, which loads the kernel's module where there is one.
    ///
    /// Fails with a refusal `NotSupported` when the kernel has no WireGuard.
    pub fn open() -> Result<Self, Error> {
        let (system, port) = open().map_err(Error::Open)?;
        let buffer = Zeroizing::new(vec![0; BUFFER]);
        let mut socket = Self {
            system,
            port,
            family: 0,
            sequence: 0,
            buffer,
            used: 0,
            unclean: false,
        };
        let (object, mut family) = ("the wireguard netlink family", None);
        let found = socket.exchange(encode::get_family(), "find", object, |payload| {
            family = Some(decode::family(payload)?);
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
        let mut sent = 0;
        for message in encode::set_device(self.family, ifindex, change, limits) {
            self.send_change(ifindex, message)?;
            sent += 1;
        }
        Ok(sent)
    }

    /// Sends one message of a change and waits for its acknowledgement: for callers who pace themselves.
    pub fn send_change(&mut self, ifindex: u32, message: Message) -> Result<(), Error> {
        let object = format!("interface {ifindex}");
        self.exchange(message, "configure", &object, |_| Err(DecodeError::Command))
    }

    /// Sends a request and hands each answer's payload to `answer`, to the end.
    pub(super) fn exchange(
        &mut self,
        message: Message,
        action: &'static str,
        object: &str,
        answer: impl FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), Error> {
        if self.unclean {
            (self.system, self.port) = open().map_err(Error::Open)?;
        }
        self.unclean = true;
        let result = self.exchange_inner(message, action, object, answer);
        // Complete answers and refusals leave the queue empty.
        self.unclean = !matches!(result, Ok(()) | Err(Error::Refused { .. }));
        let used = std::mem::take(&mut self.used);
        self.buffer[..used].zeroize();
        result
    }

    fn exchange_inner(
        &mut self,
        mut message: Message,
        action: &'static str,
        object: &str,
        mut answer: impl FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        message.set_sequence(self.sequence);
        self.send(&message).map_err(|source| Error::Send {
            action,
            object: object.to_owned(),
            source,
        })?;
        drop(message);
        loop {
            let size = self.receive(action, object)?;
            let datagram = self.buffer.get(..size).ok_or_else(|| Error::Truncated {
                object: object.to_owned(),
                size,
                capacity: BUFFER,
            })?;
            for frame in Frames::new(datagram) {
                let malformed = |source| Error::Malformed {
                    object: object.to_owned(),
                    source,
                };
                let frame = frame.map_err(malformed)?;
                if frame.sequence != self.sequence || frame.port != self.port {
                    continue;
                }
                match verdict(&frame).map_err(malformed)? {
                    Verdict::Nothing => {}
                    Verdict::Answer => answer(frame.payload).map_err(malformed)?,
                    Verdict::End => return Ok(()),
                    Verdict::Refused(errno) => return Err(Error::refused(action, object, errno)),
                    Verdict::Interrupted => {
                        return Err(Error::DumpInterrupted {
                            object: object.to_owned(),
                        });
                    }
                    Verdict::Lost => {
                        return Err(Error::Overrun {
                            action,
                            object: object.to_owned(),
                        });
                    }
                }
            }
        }
    }

    fn send(&self, message: &Message) -> io::Result<()> {
        let kernel = SocketAddr::new(0, 0);
        let sent = uninterrupted(|| self.system.send_to(message.as_bytes(), &kernel, 0))?;
        if sent == message.as_bytes().len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Waits for the kernel's next datagram and gives its length, which may exceed the buffer's.
    fn receive(&mut self, action: &'static str, object: &str) -> Result<usize, Error> {
        loop {
            let received =
                uninterrupted(|| self.system.recv_from(&mut self.buffer.as_mut_slice(), MSG_TRUNC));
            match received {
                Ok((size, sender)) => {
                    self.used = self.used.max(size.min(BUFFER));
                    if sender.port_number() == 0 {
                        return Ok(size);
                    }
                }
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                    return Err(Error::Overrun {
                        action,
                        object: object.to_owned(),
                    });
                }
                Err(source) => {
                    return Err(Error::Receive {
                        action,
                        object: object.to_owned(),
                        source,
                    });
                }
            }
        }
    }
}

/// What one message means for the exchange it belongs to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Nothing,
    Answer,
    End,
    Refused(i32),
    Interrupted,
    Lost,
}

fn verdict(frame: &Frame<'_>) -> Result<Verdict, DecodeError> {
    // Any message may carry the flag, also the last.
    if frame.flags & NLM_F_DUMP_INTR != 0 {
        return Ok(Verdict::Interrupted);
    }
    Ok(match frame.kind {
        NLMSG_NOOP => Verdict::Nothing,
        NLMSG_OVERRUN => Verdict::Lost,
        NLMSG_ERROR | NLMSG_DONE => match frame.errno()? {
            0 => Verdict::End,
            errno => Verdict::Refused(errno),
        },
        _ => Verdict::Answer,
    })
}

fn open() -> io::Result<(SysSocket, u32)> {
    let mut socket = SysSocket::new(NETLINK_GENERIC)?;
    // Without this a refusal repeats the whole request, secret included.
    socket.set_cap_ack(true)?;
    let address = socket.bind_auto()?;
    Ok((socket, address.port_number()))
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(kind: u16, flags: u16, code: i32) -> Verdict {
        let payload = code.to_ne_bytes();
        verdict(&Frame {
            kind,
            flags,
            sequence: 1,
            port: 1,
            payload: &payload,
        })
        .unwrap()
    }

    #[test]
    fn an_interrupted_dump_is_noticed_on_any_message() {
        for kind in [NLMSG_DONE, NLMSG_ERROR, 30] {
            assert_eq!(verdict_of(kind, NLM_F_DUMP_INTR | 2, 0), Verdict::Interrupted);
        }
    }

    #[test]
    fn the_end_of_a_dump_can_carry_an_error() {
        assert_eq!(verdict_of(NLMSG_DONE, 2, 0), Verdict::End);
        assert_eq!(verdict_of(NLMSG_DONE, 2, -90), Verdict::Refused(90));
        assert_eq!(verdict_of(NLMSG_ERROR, 0, -19), Verdict::Refused(19));
    }

    #[test]
    fn an_error_message_without_a_number_is_malformed() {
        let frame = Frame {
            kind: NLMSG_ERROR,
            flags: 0,
            sequence: 1,
            port: 1,
            payload: &[0],
        };
        assert_eq!(verdict(&frame), Err(DecodeError::Message));
    }
}
