//! Messages read as the kernel sends them.

use super::super::abi::{
    WG_CMD_GET_DEVICE, WG_GENL_VERSION, WGDEVICE_A_LISTEN_PORT, WGDEVICE_A_PEERS, WGPEER_A_ALLOWEDIPS,
    WGPEER_A_LAST_HANDSHAKE_TIME, WGPEER_A_PUBLIC_KEY,
};
use super::super::write::Writer;
use super::*;
use crate::{ObservedDevice, look};

/// A peer in a message: its number, whether it goes on from an earlier one, how many prefixes.
type Piece = (u8, bool, u8);

fn message(ifindex: Option<u32>, peers: &[Piece]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(4_096);
    writer.raw(&[WG_CMD_GET_DEVICE, WG_GENL_VERSION, 0, 0]);
    if let Some(ifindex) = ifindex {
        writer.put(WGDEVICE_A_LISTEN_PORT, &51_820_u16.to_ne_bytes());
        writer.put(WGDEVICE_A_IFINDEX, &ifindex.to_ne_bytes());
    }
    let nest = writer.nest(WGDEVICE_A_PEERS);
    for (number, continues, prefixes) in peers {
        let peer = writer.nest(0);
        writer.put(WGPEER_A_PUBLIC_KEY, &[*number; 32]);
        if !continues {
            writer.put(WGPEER_A_LAST_HANDSHAKE_TIME, &[0; 16]);
        }
        let allowed_ips = writer.nest(WGPEER_A_ALLOWEDIPS);
        for host in 0..*prefixes {
            let last = 2 * host + u8::from(*continues);
            writer.allowed_ip(&IpNet::from(std::net::IpAddr::from([10, 0, *number, last])));
        }
        writer.end(allowed_ips);
        writer.end(peer);
    }
    writer.end(nest);
    writer.finish().to_vec()
}

/// A look of these messages at interface 3, interrupted before this one: the keys of its parts, and its end.
fn parts(messages: &[Vec<u8>], interrupted: usize) -> Result<(Vec<u8>, Progress), DecodeError> {
    let mut look = Look::new(3);
    let mut seen = Vec::new();
    for (place, payload) in messages.iter().enumerate() {
        let answer = Answer {
            kind: 30,
            payload,
            interrupted: place == interrupted,
        };
        look.message(&answer, &mut |part| seen.push(part.public_key.as_bytes()[0]))?;
    }
    Ok((seen, look.finish()?))
}

/// A look of these messages at interface 3 that nothing interrupts.
fn read(messages: &[Vec<u8>]) -> Result<Option<ObservedDevice>, DecodeError> {
    let mut open = Some(Look::new(3));
    let mut messages = messages.iter();
    look::whole(|each| match messages.next() {
        Some(payload) => {
            let answer = Answer {
                kind: 30,
                payload,
                interrupted: false,
            };
            open.as_mut()
                .unwrap()
                .message(&answer, each)
                .map(|()| Progress::More)
        }
        None => open.take().unwrap().finish(),
    })
}

#[test]
fn a_peer_that_goes_on_in_later_messages_is_one_peer() {
    let messages = [
        message(Some(3), &[(1, false, 1), (2, false, 1)]),
        message(None, &[(2, true, 2)]),
        message(None, &[(2, true, 0), (3, false, 0)]),
    ];
    let device = read(&messages).unwrap().unwrap();
    assert_eq!(device.peers.len(), 3);
    assert_eq!(device.peers[1].allowed_ips.len(), 3);
    assert_eq!(device.settings.listen_port, 51_820);
}

#[test]
fn settings_may_be_repeated_while_the_first_peer_goes_on() {
    let messages = [
        message(Some(3), &[(1, false, 1)]),
        message(Some(3), &[(1, true, 1)]),
    ];
    let device = read(&messages).unwrap().unwrap();
    assert_eq!(device.peers.len(), 1);
    assert_eq!(device.peers[0].allowed_ips.len(), 2);
}

#[test]
fn a_peer_that_did_not_begin_is_an_error() {
    for peers in [&[(1, true, 0)][..], &[(1, false, 0), (2, true, 0)]] {
        let orphan = read(&[message(Some(3), peers)]);
        assert_eq!(orphan.err(), Some(DecodeError::Orphan));
    }
}

#[test]
fn another_interface_is_an_error() {
    for messages in [
        vec![message(Some(4), &[])],
        vec![message(Some(3), &[]), message(Some(4), &[])],
    ] {
        assert_eq!(read(&messages).err(), Some(DecodeError::Interface));
    }
}

#[test]
fn an_answer_without_an_interface_is_an_error() {
    let missing = DecodeError::Missing {
        kind: WGDEVICE_A_IFINDEX,
    };
    assert_eq!(read(&[message(None, &[])]).err(), Some(missing));
    assert_eq!(read(&[]).err(), Some(missing));
}

#[test]
fn an_interrupted_look_is_read_to_its_end_and_says_so() {
    let messages = [
        message(Some(3), &[(1, false, 1)]),
        message(None, &[(2, false, 1)]),
        message(None, &[(3, false, 1)]),
    ];
    for interrupted in 1..3 {
        let (seen, end) = parts(&messages, interrupted).unwrap();
        assert_eq!(seen, [1, 2, 3]);
        assert!(matches!(end, Progress::Done { coherent: false, .. }));
    }
}

/// The second peer was to go on, and was removed; the kernel then writes the third as if it were the one that goes on.
#[test]
fn a_peer_without_its_beginning_is_skipped_in_an_interrupted_look() {
    let messages = [
        message(Some(3), &[(1, false, 1), (2, false, 1)]),
        message(None, &[(3, true, 0), (4, false, 1)]),
    ];
    assert_eq!(parts(&messages, 1).unwrap().0, [1, 2, 4]);
    assert_eq!(parts(&messages, 2).err(), Some(DecodeError::Orphan));
}
