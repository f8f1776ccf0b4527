//! What the kernel tells of its ruleset: the number of it when asked, and whose table somebody has just changed.
//!
//! Two sockets, as an answer would otherwise hide among what is told unasked. Nothing here reads rules: that a name
//! begins like ours is enough to look.

use std::future::{pending, poll_fn};
use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, Socket, SocketAddr, TokioSocket};

use super::rules::PREFIX;

/// The group of all that is told of nftables.
const GROUP: u32 = 7;
/// The subsystem of nfnetlink.
const NFTABLES: u8 = 10;
/// Which number the ruleset has, and the answer.
const GET_GENERATION: u8 = 16;
const NEW_GENERATION: u8 = 15;
/// The first attribute: of all but a generation the name of the table, of that its number.
const FIRST: u16 = 1;
/// An error, or with 0 none.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// The header of a message, and what nfnetlink puts after it.
const HEADER: usize = 16;
const NFGENMSG: usize = 4;
const BUFFER: usize = 64 * 1024;
const ENOBUFS: i32 = 105;

/// Listens, and asks.
pub(super) struct Events {
    told: TokioSocket,
    asked: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Events {
    /// Begins to listen.
    pub fn open() -> io::Result<Self> {
        let mut told = TokioSocket::new(NETLINK_NETFILTER)?;
        told.socket_mut().bind_auto()?;
        told.socket_mut().add_membership(GROUP)?;
        let mut asked = Socket::new(NETLINK_NETFILTER)?;
        asked.bind_auto()?;
        asked.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            told,
            asked,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// The number of the ruleset. The kernel answers while it takes the question.
    pub fn generation(&mut self) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        self.asked.send(&question(self.sequence), 0)?;
        let size = self.asked.recv(&mut &mut self.buffer[..], 0)?;
        let datagram = self.buffer.get(..size).ok_or(io::ErrorKind::InvalidData)?;
        answer(datagram, self.sequence)
    }

    /// Waits until a table of ours has been changed, or so much that the kernel could not tell all of it.
    pub async fn ours(&mut self) {
        loop {
            match poll_fn(|context| self.told.poll_recv_from_full(context)).await {
                Ok((datagram, _)) if is_ours(&datagram) => return,
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => return,
                // Nothing is told any more; every tick looks all the same.
                Err(_) => return pending().await,
            }
        }
    }
}

fn question(sequence: u32) -> [u8; HEADER + NFGENMSG] {
    let mut message = [0; HEADER + NFGENMSG];
    message[0] = 20;
    message[4..6].copy_from_slice(&kind(GET_GENERATION).to_ne_bytes());
    message[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    message[8..12].copy_from_slice(&sequence.to_ne_bytes());
    message
}

fn kind(message: u8) -> u16 {
    u16::from(NFTABLES) << 8 | u16::from(message)
}

/// The messages of a datagram: kind, sequence number, and what follows the header.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, l2, l3, k0, k1, _, _, s0, s1, s2, s3] = *datagram.first_chunk()?;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let payload = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        let sequence = u32::from_ne_bytes([s0, s1, s2, s3]);
        Some((u16::from_ne_bytes([k0, k1]), sequence, payload))
    })
}

/// The value of the first attribute after nfnetlink's own header.
fn first(payload: &[u8]) -> Option<&[u8]> {
    let attributes = payload.get(NFGENMSG..)?;
    let [l0, l1, k0, k1] = *attributes.first_chunk()?;
    let length = usize::from(u16::from_ne_bytes([l0, l1]));
    let value = attributes.get(4..length)?;
    (u16::from_ne_bytes([k0, k1]) == FIRST).then_some(value)
}

fn answer(datagram: &[u8], sequence: u32) -> io::Result<u32> {
    for (found, _, payload) in messages(datagram).filter(|(_, answered, _)| *answered == sequence) {
        if found == kind(NEW_GENERATION)
            && let Some(number) = first(payload).and_then(|value| value.first_chunk())
        {
            return Ok(u32::from_be_bytes(*number));
        }
        if found == ERROR
            && let Some(code) = payload.first_chunk()
        {
            return Err(io::Error::from_raw_os_error(
                i32::from_ne_bytes(*code).saturating_abs(),
            ));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Whether something was done to a table of ours.
fn is_ours(datagram: &[u8]) -> bool {
    messages(datagram).any(|(found, _, payload)| {
        found != kind(NEW_GENERATION)
            && found >> 8 == u16::from(NFTABLES)
            && first(payload).is_some_and(|name| name.starts_with(PREFIX.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, sequence: u32, value: &[u8]) -> Vec<u8> {
        let length = HEADER + NFGENMSG + 4 + value.len();
        let mut bytes = u32::try_from(length).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4 + NFGENMSG]);
        bytes.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
        bytes.extend(FIRST.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(length.next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn the_rulesets_number_is_read_from_the_answer_to_this_question() {
        let mut datagram = message(kind(NEW_GENERATION), 6, &[0, 0, 0, 9]);
        datagram.extend(message(kind(NEW_GENERATION), 7, &[0, 0, 1, 2]));
        assert_eq!(answer(&datagram, 7).unwrap(), 258);
        assert!(answer(&datagram, 8).is_err());
    }

    #[test]
    fn what_is_done_to_our_tables_is_heard_and_nothing_else() {
        let deletes_table = kind(2);
        assert!(is_ours(&message(deletes_table, 0, b"culvert-0a\0")));
        assert!(!is_ours(&message(deletes_table, 0, b"kube-proxy\0")));
        let mut both = message(kind(8), 0, b"other\0");
        both.extend(message(kind(8), 0, b"culvert-0a\0"));
        assert!(is_ours(&both));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, sequence: u32) {
            is_ours(&bytes);
            let _ = answer(&bytes, sequence);
        }
    }
}
