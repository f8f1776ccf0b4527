//! Parts put together as the kernel sends them.

use super::*;
use crate::{AllowedIps, ObservedPeer, PublicKey, WallTime};

fn part(ifindex: Option<u32>, peers: Vec<PeerPart>) -> Part {
    Part {
        ifindex,
        name: ifindex.map(|_| "cv0".into()),
        listen_port: ifindex.map(|_| 51_820),
        peers,
        ..Part::default()
    }
}

fn peer(number: u8, continues: bool, prefixes: &[&str]) -> PeerPart {
    let allowed_ips: AllowedIps = prefixes
        .iter()
        .map(|text| text.parse::<ipnet::IpNet>().unwrap())
        .collect();
    let peer = ObservedPeer {
        public_key: PublicKey::from_bytes([number; 32]),
        endpoint: None,
        last_handshake: (!continues).then_some(WallTime {
            seconds: 5,
            nanoseconds: 0,
        }),
        rx_bytes: if continues { 0 } else { 7 },
        tx_bytes: 0,
        allowed_ips,
        persistent_keepalive: 0,
        has_preshared_key: false,
    };
    PeerPart { peer, continues }
}

fn assembled(parts: Vec<Part>) -> Result<ObservedDevice, DecodeError> {
    let mut assembly = Assembly::default();
    for part in parts {
        assembly.add(part)?;
    }
    assembly.finish(3)
}

#[test]
fn a_peer_that_goes_on_in_later_messages_is_one_peer() {
    let device = assembled(vec![
        part(
            Some(3),
            vec![peer(1, false, &["10.0.0.1/32"]), peer(2, false, &["10.0.0.2/32"])],
        ),
        part(None, vec![peer(2, true, &["10.0.0.3/32", "10.0.0.4/32"])]),
        part(None, vec![peer(2, true, &["10.0.0.5/32"]), peer(3, false, &[])]),
    ])
    .unwrap();
    assert_eq!(device.peers.len(), 3);
    assert_eq!(device.peers[1].allowed_ips.len(), 4);
    assert_eq!(device.peers[1].rx_bytes, 7);
    assert_eq!(
        device.peers[1].last_handshake,
        Some(WallTime {
            seconds: 5,
            nanoseconds: 0
        })
    );
    assert_eq!(
        (device.ifindex, device.name.as_str(), device.listen_port),
        (3, "cv0", 51_820)
    );
}

#[test]
fn settings_may_be_repeated_while_the_first_peer_goes_on() {
    let device = assembled(vec![
        part(Some(3), vec![peer(1, false, &["10.0.0.1/32"])]),
        part(Some(3), vec![peer(1, true, &["10.0.0.2/32"])]),
    ])
    .unwrap();
    assert_eq!(device.peers.len(), 1);
    assert_eq!(device.peers[0].allowed_ips.len(), 2);
}

#[test]
fn a_peer_that_did_not_begin_is_an_error() {
    let first = assembled(vec![part(Some(3), vec![peer(1, true, &[])])]);
    assert_eq!(first.err(), Some(DecodeError::Orphan));
    let other = assembled(vec![part(Some(3), vec![peer(1, false, &[]), peer(2, true, &[])])]);
    assert_eq!(other.err(), Some(DecodeError::Orphan));
}

#[test]
fn another_interface_is_an_error() {
    assert_eq!(
        assembled(vec![part(Some(4), vec![])]).err(),
        Some(DecodeError::Interface)
    );
    let two = assembled(vec![part(Some(3), vec![]), part(Some(4), vec![])]);
    assert_eq!(two.err(), Some(DecodeError::Interface));
}

#[test]
fn an_answer_without_an_interface_is_an_error() {
    let missing = DecodeError::Missing {
        kind: WGDEVICE_A_IFINDEX,
    };
    assert_eq!(assembled(vec![part(None, vec![])]).err(), Some(missing));
    assert_eq!(assembled(vec![]).err(), Some(missing));
}
