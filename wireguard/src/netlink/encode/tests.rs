//! Golden bytes, and a second opinion: what another crate reads in our messages, applied to a model of the kernel,
//! must come out as the changes say, however the messages were split.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_packet_core::ParseableParametrized as _;
use netlink_packet_generic::GenlHeader;
use netlink_packet_wireguard::{
    WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd, WireguardDeviceFlags,
    WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use proptest::prelude::*;

use super::super::abi::WG_GENL_NAME;
use super::*;
use crate::{AllowedIps, Endpoint, PrivateKey};

const FAMILY: u16 = 0x1d;
const PAYLOAD: usize = NLMSG_HEADER + GENL_HEADER;

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn desired(number: u8, prefixes: &[&str]) -> DesiredPeer {
    let allowed_ips = prefixes
        .iter()
        .map(|text| text.parse::<IpNet>().unwrap())
        .collect();
    DesiredPeer {
        public_key: key(number),
        allowed_ips,
    }
}

/// A peer with this many host prefixes of both families.
fn large(number: u8, prefixes: u16) -> DesiredPeer {
    let hosts = (0..prefixes).map(|host| -> IpAddr {
        if host % 2 == 0 {
            Ipv4Addr::from(0x0a40_0000 + u32::from(number) * 0x1_0000 + u32::from(host)).into()
        } else {
            Ipv6Addr::from((0xfd_u128 << 120) + u128::from(number) * 0x1_0000 + u128::from(host)).into()
        }
    });
    DesiredPeer {
        public_key: key(number),
        allowed_ips: AllowedIps::hosts(hosts),
    }
}

fn messages(change: &DeviceChange, limits: Limits) -> Vec<Message> {
    set_device(FAMILY, 7, change, limits).collect()
}

fn small(bytes: usize) -> Limits {
    Limits {
        bytes,
        ..Limits::default()
    }
}

/// What the other crate reads.
fn read(message: &Message) -> Vec<WireguardAttribute> {
    let header = GenlHeader {
        cmd: message.as_bytes()[16],
        version: message.as_bytes()[17],
    };
    let parsed = WireguardMessage::parse_with_param(&message.as_bytes()[PAYLOAD..], header).unwrap();
    assert_eq!(parsed.cmd, WireguardCmd::SetDevice);
    assert_eq!(parsed.attributes[0], WireguardAttribute::IfIndex(7));
    parsed.attributes
}

fn peers(message: &Message) -> Vec<WireguardPeer> {
    read(message)
        .into_iter()
        .find_map(|attribute| match attribute {
            WireguardAttribute::Peers(peers) => Some(peers),
            _ => None,
        })
        .unwrap_or_default()
}

fn public_key(peer: &WireguardPeer) -> PublicKey {
    match peer[0] {
        WireguardPeerAttribute::PublicKey(bytes) => PublicKey::from_bytes(bytes),
        _ => panic!("a peer begins with its key"),
    }
}

fn flags(peer: &WireguardPeer) -> WireguardPeerFlags {
    match peer[1] {
        WireguardPeerAttribute::Flags(flags) => flags,
        _ => panic!("flags follow the key"),
    }
}

fn prefix(allowed_ip: &WireguardAllowedIp) -> IpNet {
    let (mut address, mut length) = (None, None);
    for attribute in allowed_ip.iter() {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(found) => address = Some(*found),
            WireguardAllowedIpAttr::Cidr(found) => length = Some(*found),
            _ => {}
        }
    }
    IpNet::new(address.unwrap(), length.unwrap()).unwrap()
}

/// The kernel's peers: key, allowed IPs, and whether the endpoint was forgotten.
type Model = BTreeMap<PublicKey, (BTreeSet<IpNet>, bool)>;

fn give(model: &mut Model, to: PublicKey, prefixes: impl IntoIterator<Item = IpNet>) {
    for prefix in prefixes {
        for (held, _) in model.values_mut() {
            held.remove(&prefix);
        }
        model.entry(to).or_default().0.insert(prefix);
    }
}

/// What the changes mean.
fn intended(model: &mut Model, change: &DeviceChange) {
    if change.replace_peers {
        model.clear();
    }
    for change in &change.peers {
        match change {
            PeerChange::Set(peer) => {
                model.entry(peer.public_key).or_default().0.clear();
                give(model, peer.public_key, peer.allowed_ips.iter().copied());
            }
            PeerChange::Reinstate(peer) => {
                model.insert(peer.public_key, Default::default());
                give(model, peer.public_key, peer.allowed_ips.iter().copied());
            }
            PeerChange::Remove(key) => drop(model.remove(key)),
            PeerChange::Forget(key) => {
                if let Some((_, forgotten)) = model.get_mut(key) {
                    *forgotten = true;
                }
            }
        }
    }
}

/// What `set_peer` in drivers/net/wireguard/netlink.c does with a message.
fn carried_out(model: &mut Model, message: &Message) {
    for attribute in read(message) {
        if attribute == WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers) {
            model.clear();
        }
    }
    for peer in peers(message) {
        let (key, flags) = (public_key(&peer), flags(&peer));
        if flags.contains(WireguardPeerFlags::RemoveMe) {
            model.remove(&key);
            continue;
        }
        if flags.contains(WireguardPeerFlags::UpdateOnly) && !model.contains_key(&key) {
            continue;
        }
        let entry = model.entry(key).or_default();
        if flags.contains(WireguardPeerFlags::ReplaceAllowedIps) {
            entry.0.clear();
        }
        for attribute in peer.iter() {
            match attribute {
                WireguardPeerAttribute::Endpoint(SocketAddr::V6(endpoint)) => {
                    assert!(Endpoint::new((*endpoint).into()) == Endpoint::FORGOTTEN);
                    model.get_mut(&key).unwrap().1 = true;
                }
                WireguardPeerAttribute::AllowedIps(found) => give(model, key, found.iter().map(prefix)),
                WireguardPeerAttribute::PersistentKeepalive(seconds) => assert_eq!(*seconds, 0),
                WireguardPeerAttribute::PublicKey(_) | WireguardPeerAttribute::Flags(_) => {}
                _ => panic!("nothing else is ever set"),
            }
        }
    }
}

#[cfg(target_endian = "little")]
#[test]
fn the_request_for_the_family_is_this() {
    let golden = b"\x24\0\0\0\x10\0\x05\0\0\0\0\0\0\0\0\0\x03\x01\0\0\x0e\0\x02\0wireguard\0\0\0";
    assert_eq!(get_family(WG_GENL_NAME).as_bytes(), golden);
}

#[cfg(target_endian = "little")]
#[test]
fn the_request_for_a_dump_is_this() {
    let golden = b"\x1c\0\0\0\x1d\0\x01\x03\0\0\0\0\0\0\0\0\0\x01\0\0\x08\0\x01\0\x07\0\0\0";
    assert_eq!(get_device(FAMILY, 7).as_bytes(), golden);
}

#[cfg(target_endian = "little")]
#[test]
fn a_change_of_settings_and_one_peer_is_this() {
    let private_key = PrivateKey::from_bytes(&[0x42; 32]);
    let mut golden = b"\xb4\0\0\0\x1d\0\x05\0\0\0\0\0\0\0\0\0\x01\x01\0\0\x08\0\x01\0\x07\0\0\0".to_vec();
    golden.extend(b"\x24\0\x03\0");
    golden.extend(private_key.as_bytes());
    golden.extend(b"\x06\0\x06\0\x6c\xca\0\0");
    golden.extend(b"\x08\0\x07\0\x01\0\0\0");
    golden.extend(b"\x08\0\x05\0\x01\0\0\0");
    golden.extend(b"\x5c\0\x08\x80\x58\0\0\x80\x24\0\x01\0");
    golden.extend([9; 32]);
    golden.extend(b"\x08\0\x03\0\x02\0\0\0\x06\0\x05\0\0\0\0\0\x20\0\x09\x80");
    golden.extend(b"\x1c\0\0\x80\x06\0\x01\0\x02\0\0\0\x08\0\x02\0\x0a\x40\0\x09\x05\0\x03\0\x20\0\0\0");
    let change = DeviceChange {
        private_key: Some(private_key),
        listen_port: Some(51_820),
        fwmark: Some(1),
        replace_peers: true,
        peers: vec![PeerChange::Set(desired(9, &["10.64.0.9/32"]))],
    };
    let [message] = &messages(&change, Limits::default())[..] else {
        panic!("one message")
    };
    assert_eq!(message.as_bytes(), golden);
}

#[cfg(target_endian = "little")]
#[test]
fn forgetting_an_endpoint_is_this() {
    let mut golden = b"\x70\0\0\0\x1d\0\x05\0\0\0\0\0\0\0\0\0\x01\x01\0\0\x08\0\x01\0\x07\0\0\0".to_vec();
    golden.extend(b"\x54\0\x08\x80\x50\0\0\x80\x24\0\x01\0");
    golden.extend([9; 32]);
    golden.extend(b"\x08\0\x03\0\x04\0\0\0\x20\0\x04\0\x0a\0");
    golden.extend([0; 26]);
    let [message] = &messages(
        &DeviceChange::of_peers([PeerChange::Forget(key(9))]),
        Limits::default(),
    )[..] else {
        panic!("one message")
    };
    assert_eq!(message.as_bytes(), golden);
    assert_eq!(message.changes(), 1);
}

#[test]
fn a_change_that_says_nothing_sends_nothing() {
    assert!(messages(&DeviceChange::default(), Limits::default()).is_empty());
    assert_eq!(messages(&DeviceChange::flush(), Limits::default()).len(), 1);
}

#[test]
fn settings_are_sent_once_and_first() {
    let change = DeviceChange {
        listen_port: Some(51_820),
        replace_peers: true,
        ..DeviceChange::of_peers((0..100).map(|number| PeerChange::Set(large(number, 2))))
    };
    let messages = messages(&change, small(2_000));
    assert!(messages.len() > 1);
    for (index, message) in messages.iter().enumerate() {
        assert_eq!(
            read(message).contains(&WireguardAttribute::ListenPort(51_820)),
            index == 0
        );
    }
}

#[test]
fn a_pair_is_never_split() {
    let pairs = (0..100).map(|number| PeerChange::Reinstate(large(number, 2)));
    for limits in [
        small(0),
        small(1_000),
        Limits {
            changes: 7,
            ..Limits::default()
        },
    ] {
        for message in messages(&DeviceChange::of_peers(pairs.clone()), limits) {
            let peers = peers(&message);
            assert_eq!(peers.len() % 2, 0);
            for pair in peers.chunks(2) {
                assert_eq!(public_key(&pair[0]), public_key(&pair[1]));
                assert_eq!(flags(&pair[0]), WireguardPeerFlags::RemoveMe);
                assert_eq!(flags(&pair[1]), WireguardPeerFlags::ReplaceAllowedIps);
            }
        }
    }
}

#[test]
fn the_number_of_changes_in_a_message_is_bounded() {
    let change = DeviceChange::of_peers((0..25).map(|number| PeerChange::Reinstate(large(number, 2))));
    let counts: Vec<_> = messages(
        &change,
        Limits {
            changes: 10,
            ..Limits::default()
        },
    )
    .iter()
    .map(Message::changes)
    .collect();
    assert_eq!(counts, [10, 10, 5]);
}

#[test]
fn a_peer_with_more_prefixes_than_a_message_holds_goes_on_in_the_next() {
    for change in [
        PeerChange::Set(large(1, 5_000)),
        PeerChange::Reinstate(large(1, 5_000)),
    ] {
        let pair = usize::from(matches!(change, PeerChange::Reinstate(_)));
        let messages = messages(&DeviceChange::of_peers([change]), Limits::default());
        assert!(messages.len() > 4);
        assert_eq!(peers(&messages[0]).len(), 1 + pair);
        for message in &messages[1..] {
            let [peer] = &peers(message)[..] else {
                panic!("one peer")
            };
            assert_eq!(flags(peer), WireguardPeerFlags::UpdateOnly);
            assert_eq!(peer.len(), 3);
        }
    }
}

#[test]
fn sizes_are_what_is_written() {
    for change in [
        PeerChange::Set(large(1, 0)),
        PeerChange::Set(large(1, 1)),
        PeerChange::Set(large(1, 9)),
        PeerChange::Reinstate(large(1, 2)),
        PeerChange::Remove(key(1)),
        PeerChange::Forget(key(1)),
    ] {
        let expected = size(&change) + PAYLOAD + attribute(4) + attribute(0);
        let [message] = &messages(&DeviceChange::of_peers([change]), Limits::default())[..] else {
            panic!("one message")
        };
        assert_eq!(message.as_bytes().len(), expected);
    }
}

fn any_change() -> impl Strategy<Value = PeerChange> {
    // Few keys and prefixes, so that changes meet; some peers too large for a message.
    let peer = (0_u8..6, 0_u8..3, prop_oneof![4 => 0_u16..4, 1 => 30_u16..80]).prop_map(
        |(number, range, prefixes)| DesiredPeer {
            public_key: key(number),
            ..large(range, prefixes)
        },
    );
    prop_oneof![
        peer.clone().prop_map(PeerChange::Set),
        peer.prop_map(PeerChange::Reinstate),
        (0_u8..6).prop_map(|number| PeerChange::Remove(key(number))),
        (0_u8..6).prop_map(|number| PeerChange::Forget(key(number))),
    ]
}

proptest! {
    #[test]
    fn however_it_is_split_the_kernel_ends_up_as_intended(
        changes in proptest::collection::vec(any_change(), 0..40),
        replace_peers: bool,
        bytes in 0_usize..5_000,
        most in 1_usize..20,
    ) {
        let change = DeviceChange { replace_peers, ..DeviceChange::of_peers(changes) };
        let mut expected = Model::from([(key(0), Default::default()), (key(200), Default::default())]);
        let mut found = expected.clone();
        intended(&mut expected, &change);
        for message in messages(&change, Limits { bytes, changes: most }) {
            prop_assert!(message.as_bytes().len() <= bytes.max(LEAST_BYTES));
            prop_assert!(message.changes() <= most);
            carried_out(&mut found, &message);
        }
        prop_assert_eq!(found, expected);
    }
}
