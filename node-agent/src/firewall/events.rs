//! What the kernel tells of its ruleset: the number of it and whether a table has rules when asked, and whose table somebody
//! has just changed.
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
/// Which rules there are, and one of them.
const GET_RULE: u8 = 7;
const NEW_RULE: u8 = 6;
/// The second attribute of a rule: the name of its chain.
const CHAIN: u16 = 2;
/// Tables of all protocols.
const INET: u8 = 1;
/// The end of a list.
const DONE: u16 = 3;
/// `NLM_F_DUMP`.
const DUMP: u16 = 0x300;
const ENOENT: i32 = 2;
/// The chain that every table of ours begins with.
const CHAIN_NAME: &str = "prerouting";
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

    /// Whether a table has rules that packets meet before all others.
    pub fn has_rules(&mut self, table: &str) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        self.asked.send(&rules(self.sequence, table), 0)?;
        let mut has_rules = false;
        loop {
            let size = self.asked.recv(&mut &mut self.buffer[..], 0)?;
            let datagram = self.buffer.get(..size).ok_or(io::ErrorKind::InvalidData)?;
            match listed(datagram, self.sequence) {
                Listed::Part(found) => has_rules |= found,
                Listed::End(found) => return Ok(has_rules || found),
                Listed::Failed(ENOENT) => return Ok(false),
                Listed::Failed(code) => return Err(io::Error::from_raw_os_error(code)),
            }
        }
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

/// The question for the rules of a table's first chain.
fn rules(sequence: u32, table: &str) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(kind(GET_RULE).to_ne_bytes());
    message.extend((REQUEST | DUMP).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend([INET, 0, 0, 0]);
    for (attribute, text) in [(FIRST, table), (CHAIN, CHAIN_NAME)] {
        // With its length, its number, and a zero at the end; names are short.
        let length = u16::try_from(4 + text.len() + 1).unwrap_or(u16::MAX);
        message.extend(length.to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(text.as_bytes());
        message.push(0);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// What a datagram of a list says.
#[derive(Debug, PartialEq, Eq)]
enum Listed {
    /// Whether there were rules in it; there is more.
    Part(bool),
    /// The same, and that was all.
    End(bool),
    /// There is no list.
    Failed(i32),
}

fn listed(datagram: &[u8], sequence: u32) -> Listed {
    let mut has_rules = false;
    for (found, _, payload) in messages(datagram).filter(|(_, answered, _)| *answered == sequence) {
        if found == kind(NEW_RULE) {
            has_rules = true;
        }
        // Either ends with a number: 0, or why it ends.
        if found == DONE || found == ERROR {
            let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
            return match code {
                0 => Listed::End(has_rules),
                code => Listed::Failed(code.saturating_abs()),
            };
        }
    }
    Listed::Part(has_rules)
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

    #[test]
    fn a_list_of_rules_is_read_to_its_end() {
        let rule = message(kind(NEW_RULE), 7, b"culvert-0a\0");
        assert_eq!(listed(&rule, 7), Listed::Part(true));
        assert_eq!(listed(&rule, 8), Listed::Part(false));
        let end = |code: i32| {
            let mut bytes = 20_u32.to_ne_bytes().to_vec();
            bytes.extend(DONE.to_ne_bytes());
            bytes.extend([0; 2]);
            bytes.extend(7_u32.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(code.to_ne_bytes());
            bytes
        };
        assert_eq!(listed(&end(0), 7), Listed::End(false));
        assert_eq!(listed(&[rule, end(0)].concat(), 7), Listed::End(true));
        assert_eq!(listed(&end(-ENOENT), 7), Listed::Failed(ENOENT));
    }

    #[test]
    fn the_question_for_rules_names_table_and_chain() {
        let question = rules(9, "culvert-0a");
        assert_eq!(question.len() % 4, 0);
        let (found, sequence, payload) = messages(&question).next().unwrap();
        assert_eq!((found, sequence, payload[0]), (kind(GET_RULE), 9, INET));
        assert_eq!(first(payload), Some(&b"culvert-0a\0"[..]));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, sequence: u32) {
            is_ours(&bytes);
            listed(&bytes, sequence);
            let _ = answer(&bytes, sequence);
        }
    }
}
