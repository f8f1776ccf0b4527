//! The blocking generic netlink socket: send a request, read its answers to the end.
//!
//! Guarantees: an exchange is over when the kernel said so (acknowledgement or end of dump, with error number 0);
//! anything else is an error, never a shorter answer. An exchange that ended early leaves the rest of its answers in
//! the queue, so the next one starts on a fresh socket. Datagrams from other senders and answers to other requests
//! are skipped. The receive buffer held secrets and is wiped after every exchange, also after a failed one, and when a
//! look is given up. A socket does one thing at a time: whoever changes an interface while a look is open needs two.
//!
//! The kernel works inside `send` and `recv`, so nothing here waits for anything but the kernel's own work.

use std::io;

use netlink_sys::{Socket as SysSocket, SocketAddr, protocols::NETLINK_GENERIC};
use zeroize::{Zeroize as _, Zeroizing};

use super::abi::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, WG_GENL_NAME};
use super::decode::{self, DecodeError};
use super::encode::{self, Limits, Message};
use super::frame::Frames;
use super::link::numbered;
use super::look::Look;
use crate::{DeviceChange, Error, PeerChange, Refusal};

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
    /// The look that is open: its answers are still to be read.
    pub(super) look: Option<Look>,
}

/// One message that answers the request.
pub(super) struct Answer<'a> {
    pub(super) payload: &'a [u8],
    /// What is dumped had changed when the kernel wrote this.
    pub(super) interrupted: bool,
}

/// What a datagram was for the exchange it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// It was the last.
    pub(super) over: bool,
    /// What is dumped has changed meanwhile.
    pub(super) interrupted: bool,
}

impl Socket {
    /// Opens a socket and resolves the family, which loads the kernel's module where there is one.
    ///
    /// Fails with a refusal `NotSupported` when the kernel has no WireGuard.
    pub fn open() -> Result<Self, Error> {
        Self::open_family(WG_GENL_NAME)
    }

    fn open_family(name: &str) -> Result<Self, Error> {
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
        self.wipe();
        if self.unclean {
            (self.system, self.port) = open().map_err(Error::Open)?;
            self.unclean = false;
        }
        Ok(())
    }

    /// Sends a request and hands each answer's payload to `answer`, to the end.
    fn exchange(
        &mut self,
        message: Message,
        action: &'static str,
        object: &str,
        mut answer: impl FnMut(Answer<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), Error> {
        self.request(message, action, object)?;
        while !self.datagram(action, object, &mut answer)?.over {}
        Ok(())
    }

    /// Sends a request; the answers are to be read. A look that was open is given up.
    pub(super) fn request(
        &mut self,
        mut message: Message,
        action: &'static str,
        object: &str,
    ) -> Result<(), Error> {
        self.give_up()?;
        self.sequence = self.sequence.wrapping_add(1);
        message.set_sequence(self.sequence);
        self.unclean = true;
        self.send(&message).map_err(|source| Error::Send {
            action,
            object: object.to_owned(),
            source,
        })
    }

    /// Waits for the next datagram and hands the payload of each answer in it to `answer`. After the last one, and
    /// after a failure, the buffer is wiped.
    pub(super) fn datagram(
        &mut self,
        action: &'static str,
        object: &str,
        answer: impl FnMut(Answer<'_>) -> Result<(), DecodeError>,
    ) -> Result<Received, Error> {
        let received = self.read(action, object, answer);
        if matches!(received, Ok(Received { over: false, .. })) {
            return received;
        }
        // Complete answers and refusals leave the queue empty.
        self.unclean = !matches!(received, Ok(_) | Err(Error::Refused { .. }));
        self.wipe();
        received
    }

    fn read(
        &mut self,
        action: &'static str,
        object: &str,
        answer: impl FnMut(Answer<'_>) -> Result<(), DecodeError>,
    ) -> Result<Received, Error> {
        let size = self.receive(action, object)?;
        let datagram = self.buffer.get(..size).ok_or_else(|| Error::Truncated {
            object: object.to_owned(),
            size,
            capacity: BUFFER,
        })?;
        let owned = || object.to_owned();
        messages(datagram, self.sequence, self.port, answer).map_err(|fault| match fault {
            Fault::Malformed(source) => Error::Malformed {
                object: owned(),
                source,
            },
            Fault::Refused(errno) => Error::refused(action, object, errno),
            Fault::Lost => Error::Overrun {
                action,
                object: owned(),
            },
        })
    }

    fn wipe(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.buffer[..used].zeroize();
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

/// Why a datagram ends its exchange before the end.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Malformed(DecodeError),
    Refused(i32),
    Lost,
}

/// Hands the payload of each answer in a datagram to `answer`. Messages for another port or request are skipped.
fn messages(
    datagram: &[u8],
    sequence: u32,
    port: u32,
    mut answer: impl FnMut(Answer<'_>) -> Result<(), DecodeError>,
) -> Result<Received, Fault> {
    let mut received = Received {
        over: false,
        interrupted: false,
    };
    for frame in Frames::new(datagram) {
        let frame = frame.map_err(Fault::Malformed)?;
        if frame.sequence != sequence || frame.port != port {
            continue;
        }
        // Any message may carry the flag, also the last.
        received.interrupted |= frame.flags & NLM_F_DUMP_INTR != 0;
        match frame.kind {
            NLMSG_NOOP => {}
            NLMSG_OVERRUN => return Err(Fault::Lost),
            NLMSG_ERROR | NLMSG_DONE => match frame.errno().map_err(Fault::Malformed)? {
                0 => {
                    received.over = true;
                    break;
                }
                errno => return Err(Fault::Refused(errno)),
            },
            _ => answer(Answer {
                payload: frame.payload,
                interrupted: received.interrupted,
            })
            .map_err(Fault::Malformed)?,
        }
    }
    Ok(received)
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

    const PORT: u32 = 77;

    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(PORT.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    fn end(kind: u16, flags: u16, code: i32) -> Vec<u8> {
        message(kind, flags, 1, &code.to_ne_bytes())
    }

    /// How many answers a datagram held for us, and what it was.
    fn read(datagram: &[u8]) -> (usize, Result<Received, Fault>) {
        let mut answers = 0;
        let received = messages(datagram, 1, PORT, |_| {
            answers += 1;
            Ok(())
        });
        (answers, received)
    }

    #[test]
    fn an_interrupted_dump_is_noticed_on_any_message_and_read_to_its_end() {
        for interrupted in 0..3 {
            let flags = |place| if place == interrupted { NLM_F_DUMP_INTR } else { 2 };
            let datagram = [
                message(30, flags(0), 1, &[0; 4]),
                message(30, flags(1), 1, &[0; 4]),
                end(NLMSG_DONE, flags(2), 0),
            ];
            let expected = Received {
                over: true,
                interrupted: true,
            };
            assert_eq!(read(&datagram.concat()), (2, Ok(expected)));
        }
    }

    #[test]
    fn the_end_of_a_dump_can_carry_an_error() {
        assert!(read(&end(NLMSG_DONE, 2, 0)).1.unwrap().over);
        for (kind, errno) in [(NLMSG_DONE, 90), (NLMSG_ERROR, 19)] {
            assert_eq!(read(&end(kind, 2, -errno)).1, Err(Fault::Refused(errno)));
        }
    }

    #[test]
    fn answers_to_another_request_are_skipped() {
        let datagram = [message(30, 2, 9, &[0; 4]), message(30, 2, 1, &[0; 4])].concat();
        let (answers, received) = read(&datagram);
        assert_eq!(answers, 1);
        assert!(!received.unwrap().over);
    }

    #[test]
    fn an_error_message_without_a_number_is_malformed() {
        let datagram = message(NLMSG_ERROR, 0, 1, &[0]);
        assert_eq!(read(&datagram).1, Err(Fault::Malformed(DecodeError::Message)));
    }

    #[test]
    fn a_kernel_without_the_family_does_not_support_it() {
        let error = Socket::open_family("culvert-none").err().unwrap();
        assert_eq!(error.refusal(), Some(Refusal::NotSupported));
    }

    #[test]
    fn lost_data_is_no_end() {
        assert_eq!(read(&message(NLMSG_OVERRUN, 0, 1, &[])).1, Err(Fault::Lost));
    }
}
