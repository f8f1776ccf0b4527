//! Any bytes as a datagram of the kernel's.

use std::collections::{BTreeMap, BTreeSet};

use culvert_wireguard::netlink::{Limits, decode, encode, frame::Frames};
use culvert_wireguard::{DesiredPeer, PeerChange, PeerPart, PublicKey};
use ipnet::IpNet;

/// Bytes of a message's header.
const HEADER: usize = 16;
/// The command of an answer to a look.
const GET: u8 = 0;

/// Peers with all the prefixes that any part of them shows.
type Peers = BTreeMap<PublicKey, BTreeSet<IpNet>>;

/// Reads bytes as a datagram, and each of its messages as each sort of answer.
pub fn read(bytes: &[u8]) {
    let mut room = bytes.len();
    for frame in Frames::new(bytes).flatten() {
        let length = frame.payload.len() + HEADER;
        assert!(length <= room, "a message is larger than what holds it");
        room -= length;
        let _ = frame.errno();
        let _ = decode::family(frame.payload);
        let mut peers = Peers::new();
        // Parts that come before an error count: the agent has them by then.
        let _ = decode::device(frame.payload, &mut Vec::new(), &mut |part| {
            assert!(
                part.begins || part.last_handshake.is_none(),
                "a peer goes on with a handshake"
            );
            take_in(&mut peers, &part);
            Ok(())
        });
        write_and_read(&peers);
    }
}

fn take_in(peers: &mut Peers, part: &PeerPart<'_>) {
    let prefixes = peers.entry(*part.public_key).or_default();
    prefixes.extend(part.allowed_ips.iter().map(IpNet::trunc));
}

/// What we write of peers is read as the same peers.
fn write_and_read(peers: &Peers) {
    let changes: Vec<_> = peers
        .iter()
        .map(|(public_key, prefixes)| DesiredPeer {
            public_key: *public_key,
            allowed_ips: prefixes.iter().copied().collect(),
        })
        .map(PeerChange::Set)
        .collect();
    let mut found = Peers::new();
    for message in encode::set_peers(30, 7, &changes, Limits::default()) {
        for frame in Frames::new(message.as_bytes()) {
            // A request to change says what an answer to a look says, under another command.
            let payload = frame.map(|frame| [&[GET], &frame.payload[1..]].concat());
            let read = payload.and_then(|payload| {
                decode::device(&payload, &mut Vec::new(), &mut |part| {
                    take_in(&mut found, &part);
                    Ok(())
                })
            });
            assert!(read.is_ok(), "our own message cannot be read: {:?}", read.err());
        }
    }
    assert!(found == *peers, "{} peers became {}", peers.len(), found.len());
}
