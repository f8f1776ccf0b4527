//! One netlink socket, of whatever protocol: a request out, its answers in, to the end.
//!
//! Guarantees: an exchange is over when the kernel said so (acknowledgement or end of dump, with error number 0);
//! anything else is an error, never a shorter answer. An exchange that ended early leaves the rest of its answers in
//! the queue, so the next one starts on a fresh socket. Datagrams from other senders and answers to other requests
//! are skipped. The receive buffer held secrets and is wiped after every exchange, also after a failed one, and when
//! one is given up.
//!
//! The kernel works inside `send` and `recv`, so nothing here waits for anything but the kernel's own work.

use std::io;

use netlink_sys::{Socket as SysSocket, SocketAddr};
use zeroize::{Zeroize as _, Zeroizing};

use super::abi::{
    NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_HEADER, NLMSG_NOOP, NLMSG_OVERRUN, aligned,
};
use super::decode::DecodeError;
use super::frame::Frames;
use crate::Error;

/// Bytes of the receive buffer. The kernel sizes a dump's datagrams by it and stops at 32 KiB.
const BUFFER: usize = 64 * 1024;
/// `recv` gives the datagram's whole length, also when it did not fit (`MSG_TRUNC`).
const MSG_TRUNC: i32 = 0x20;
/// Error number: the receive queue overflowed.
const ENOBUFS: i32 = 105;

/// A netlink socket, in the network namespace it was opened in.
pub struct Wire {
    system: SysSocket,
    protocol: isize,
    port: u32,
    sequence: u32,
    buffer: Zeroizing<Vec<u8>>,
    /// Bytes of the buffer written in this exchange.
    used: usize,
    /// Answers to an earlier request may still arrive.
    unclean: bool,
}

/// What an exchange is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// What is attempted, for its errors.
    pub action: &'static str,

    /// On which object.
    pub object: &'a str,

    /// An error number that does not end it: where a request has several messages, the others go on.
    pub passing: Option<i32>,
}

/// One message that answers the request.
pub struct Answer<'a> {
    /// Its type.
    pub kind: u16,

    /// What follows its header.
    pub payload: &'a [u8],

    /// What is dumped had changed when the kernel wrote this.
    pub interrupted: bool,
}

/// What a datagram was for the exchange it belongs to, or what a whole exchange was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// It was the last.
    pub over: bool,

    /// What is dumped has changed meanwhile.
    pub interrupted: bool,

    /// Refusals in it that do not end the exchange.
    pub passed: usize,
}

impl Wire {
    /// Opens a socket of this netlink protocol (`NETLINK_*`).
    pub fn open(protocol: isize) -> Result<Self, Error> {
        let (system, port) = open(protocol).map_err(Error::Open)?;
        Ok(Self {
            system,
            protocol,
            port,
            sequence: 0,
            buffer: Zeroizing::new(vec![0; BUFFER]),
            used: 0,
            unclean: false,
        })
    }

    /// Gives up an exchange that is under way, or that failed halfway, so that the kernel lets go of what it holds for it.
    pub fn give_up(&mut self) -> Result<(), Error> {
        self.wipe();
        if self.unclean {
            (self.system, self.port) = open(self.protocol).map_err(Error::Open)?;
            self.unclean = false;
        }
        Ok(())
    }

    /// Sends a request and hands each answer to `answer`, to the end.
    pub fn exchange(
        &mut self,
        request: &mut [u8],
        about: About<'_>,
        mut answer: impl FnMut(Answer<'_>) -> Result<(), DecodeError>,
    ) -> Result<Received, Error> {
        self.request(request, about)?;
        let mut sum = Received::default();
        while !sum.over {
            let received = self.datagram(about, &mut answer)?;
            sum.over = received.over;
            sum.interrupted |= received.interrupted;
            sum.passed += received.passed;
        }
        Ok(sum)
    }

    /// Sends a request, of one message or several; the answers are to be read. An exchange that was under way is given
    /// up.
    pub fn request(&mut self, request: &mut [u8], about: About<'_>) -> Result<(), Error> {
        self.give_up()?;
        self.sequence = self.sequence.wrapping_add(1);
        number(request, self.sequence);
        self.unclean = true;
        self.send(request).map_err(|source| Error::Send {
            action: about.action,
            object: about.object.to_owned(),
            source,
        })
    }

    /// Waits for the next datagram and hands each answer in it to `answer`. After the last one, and after a failure, the
    /// buffer is wiped.
    pub fn datagram(
        &mut self,
        about: About<'_>,
        answer: impl FnMut(Answer<'_>) -> Result<(), DecodeError>,
    ) -> Result<Received, Error> {
        let received = self.read(about, answer);
        if matches!(received, Ok(Received { over: false, .. })) {
            return received;
        }
        // The end leaves the queue empty, and so does the refusal of a request of one message.
        let is_refused = matches!(received, Err(Error::Refused { .. })) && about.passing.is_none();
        self.unclean = received.is_err() && !is_refused;
        self.wipe();
        received
    }

    fn read(
        &mut self,
        about: About<'_>,
        answer: impl FnMut(Answer<'_>) -> Result<(), DecodeError>,
    ) -> Result<Received, Error> {
        let About { action, object, .. } = about;
        let size = self.receive(about)?;
        let datagram = self.buffer.get(..size).ok_or_else(|| Error::Truncated {
            object: object.to_owned(),
            size,
            capacity: self.buffer.len(),
        })?;
        let owned = || object.to_owned();
        messages(datagram, (self.sequence, self.port), about.passing, answer).map_err(|fault| match fault {
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

    fn send(&self, request: &[u8]) -> io::Result<()> {
        let kernel = SocketAddr::new(0, 0);
        let sent = uninterrupted(|| self.system.send_to(request, &kernel, 0))?;
        if sent == request.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Waits for the kernel's next datagram and gives its length, which may exceed the buffer's.
    fn receive(&mut self, about: About<'_>) -> Result<usize, Error> {
        let About { action, object, .. } = about;
        loop {
            let received =
                uninterrupted(|| self.system.recv_from(&mut self.buffer.as_mut_slice(), MSG_TRUNC));
            match received {
                Ok((size, sender)) => {
                    self.used = self.used.max(size.min(self.buffer.len()));
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
    (sequence, port): (u32, u32),
    passing: Option<i32>,
    mut answer: impl FnMut(Answer<'_>) -> Result<(), DecodeError>,
) -> Result<Received, Fault> {
    let mut received = Received::default();
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
                errno if Some(errno) == passing => received.passed += 1,
                errno => return Err(Fault::Refused(errno)),
            },
            _ => answer(Answer {
                kind: frame.kind,
                payload: frame.payload,
                interrupted: received.interrupted,
            })
            .map_err(Fault::Malformed)?,
        }
    }
    Ok(received)
}

/// Writes the sequence number into each message.
fn number(request: &mut [u8], sequence: u32) {
    let mut rest = request;
    while let Some(header) = rest.first_chunk_mut::<NLMSG_HEADER>() {
        header[8..12].copy_from_slice(&sequence.to_ne_bytes());
        let [l0, l1, l2, l3, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let next = aligned(length.clamp(NLMSG_HEADER, rest.len()));
        rest = rest.get_mut(next..).unwrap_or_default();
    }
}

fn open(protocol: isize) -> io::Result<(SysSocket, u32)> {
    let mut socket = SysSocket::new(protocol)?;
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
        let received = messages(datagram, (1, PORT), None, |_| {
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
                passed: 0,
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

    /// A socket of the kernel's links, which anybody may ask.
    fn links() -> Wire {
        Wire::open(0).unwrap()
    }

    const ABOUT: About<'static> = About {
        action: "ask",
        object: "the kernel",
        passing: None,
    };

    /// So many messages that do nothing, each to be acknowledged.
    fn nothings(count: usize) -> Vec<u8> {
        message(NLMSG_NOOP, 5, 0, &[]).repeat(count)
    }

    #[test]
    fn answers_that_the_queue_has_no_room_for_are_an_error_and_the_next_exchange_is_whole() {
        let mut wire = links();
        let lost = wire.exchange(&mut nothings(4_000), ABOUT, |_| Ok(()));
        assert!(matches!(lost, Err(Error::Overrun { .. })), "{lost:?}");
        let received = wire.exchange(&mut nothings(1), ABOUT, |_| Ok(())).unwrap();
        assert!(received.over);
    }

    #[test]
    fn an_answer_that_the_buffer_has_no_room_for_is_an_error() {
        let mut wire = links();
        wire.buffer.truncate(20);
        let cut = wire.exchange(&mut nothings(1), ABOUT, |_| Ok(()));
        assert!(matches!(cut, Err(Error::Truncated { size: 36, .. })), "{cut:?}");
    }

    #[test]
    fn what_is_asked_of_nobody_is_refused_and_the_rest_is_still_answered() {
        // No such message, and one that does nothing.
        let mut request = [message(0xfff, 1, 0, &[]), nothings(1)].concat();
        let refused = links().exchange(&mut request, ABOUT, |_| Ok(()));
        let Err(Error::Refused { refusal, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(refusal, crate::Refusal::NotSupported);
        let passing = Some(95);
        let about = About { passing, ..ABOUT };
        assert_eq!(
            links().exchange(&mut request, about, |_| Ok(())).unwrap().passed,
            1
        );
    }

    #[test]
    fn an_error_message_without_a_number_is_malformed() {
        let datagram = message(NLMSG_ERROR, 0, 1, &[0]);
        assert_eq!(read(&datagram).1, Err(Fault::Malformed(DecodeError::Message)));
    }

    #[test]
    fn a_refusal_that_passes_is_counted_and_ends_nothing() {
        let datagram = [
            end(NLMSG_ERROR, 0, -2),
            end(NLMSG_ERROR, 0, -2),
            end(NLMSG_ERROR, 0, 0),
        ]
        .concat();
        let passed = |passing| messages(&datagram, (1, PORT), passing, |_| Ok(()));
        let expected = Received {
            over: true,
            interrupted: false,
            passed: 2,
        };
        assert_eq!(passed(Some(2)), Ok(expected));
        assert_eq!(passed(Some(3)), Err(Fault::Refused(2)));
        assert_eq!(passed(None), Err(Fault::Refused(2)));
    }

    #[test]
    fn every_message_of_a_request_has_its_number() {
        let mut request = [message(30, 5, 0, &[7; 3]), vec![0], message(31, 5, 0, &[])].concat();
        number(&mut request, 0x0102_0304);
        let numbered = [
            message(30, 5, 0x0102_0304, &[7; 3]),
            vec![0],
            message(31, 5, 0x0102_0304, &[]),
        ];
        assert_eq!(request, numbered.concat());
        for length in [0, 15, 17, u32::MAX] {
            request[..4].copy_from_slice(&length.to_ne_bytes());
            number(&mut request, 1);
        }
    }

    #[test]
    fn lost_data_is_no_end() {
        assert_eq!(read(&message(NLMSG_OVERRUN, 0, 1, &[])).1, Err(Fault::Lost));
    }
}
