//! Any bytes are survived, and what was written as a dump is read as it was meant.

use proptest::prelude::*;

use super::super::abi::{WG_GENL_VERSION, WGDEVICE_A_IFNAME, WGPEER_A_FLAGS};
use super::super::write::Writer;
use super::*;
use crate::ObservedPeer;

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; KEY_BYTES])
}

fn start() -> Writer {
    let mut writer = Writer::with_capacity(4_096);
    writer.raw(&[WG_CMD_GET_DEVICE, WG_GENL_VERSION, 0, 0]);
    writer
}

fn socket_address(endpoint: Endpoint) -> Vec<u8> {
    match endpoint.socket_addr() {
        SocketAddr::V4(address) => {
            let mut bytes = AF_INET.to_ne_bytes().to_vec();
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(address.ip().octets());
            bytes.extend([0; 8]);
            bytes
        }
        SocketAddr::V6(address) => {
            let mut bytes = AF_INET6.to_ne_bytes().to_vec();
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(address.flowinfo().to_be_bytes());
            bytes.extend(address.ip().octets());
            bytes.extend(address.scope_id().to_ne_bytes());
            bytes
        }
    }
}

/// A peer as `get_peer` in drivers/net/wireguard/netlink.c writes it.
fn write_peer(writer: &mut Writer, peer: &ObservedPeer, continues: bool) {
    let nest = writer.nest(0);
    writer.put(WGPEER_A_PUBLIC_KEY, peer.public_key.as_bytes());
    if !continues {
        writer.put(
            WGPEER_A_PRESHARED_KEY,
            &[u8::from(peer.has_preshared_key); KEY_BYTES],
        );
        let time = peer.last_handshake.unwrap_or(WallTime {
            seconds: 0,
            nanoseconds: 0,
        });
        let mut bytes = time.seconds.to_ne_bytes().to_vec();
        bytes.extend(i64::from(time.nanoseconds).to_ne_bytes());
        writer.put(WGPEER_A_LAST_HANDSHAKE_TIME, &bytes);
        writer.put(
            WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
            &peer.persistent_keepalive.to_ne_bytes(),
        );
        writer.put(WGPEER_A_TX_BYTES, &peer.tx_bytes.to_ne_bytes());
        writer.put(WGPEER_A_RX_BYTES, &peer.rx_bytes.to_ne_bytes());
        if let Some(endpoint) = peer.endpoint {
            writer.put(WGPEER_A_ENDPOINT, &socket_address(endpoint));
        }
    }
    let allowed_ips = writer.nest(WGPEER_A_ALLOWEDIPS);
    for prefix in &peer.allowed_ips {
        writer.allowed_ip(prefix);
    }
    writer.end(allowed_ips);
    writer.end(nest);
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| Endpoint::new((ip, port).into())),
        any::<([u8; 16], u16, u32, u32)>().prop_map(|(ip, port, flow, scope)| {
            Endpoint::new(SocketAddrV6::new(ip.into(), port, flow, scope).into())
        }),
    ]
}

fn any_prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(ip, length)| IpNet::new(ip.into(), length).unwrap()),
        (any::<[u8; 16]>(), 0_u8..=128).prop_map(|(ip, length)| IpNet::new(ip.into(), length).unwrap()),
    ]
}

fn any_peer() -> impl Strategy<Value = ObservedPeer> {
    (
        any::<[u8; KEY_BYTES]>(),
        proptest::option::of(any_endpoint()),
        proptest::option::of((1_i64..i64::MAX, 0_u32..1_000_000_000)),
        any::<(u64, u64, u16, bool)>(),
        proptest::collection::vec(any_prefix(), 0..5),
    )
        .prop_map(
            |(bytes, endpoint, handshake, (rx_bytes, tx_bytes, keepalive, preshared), prefixes)| {
                ObservedPeer {
                    public_key: PublicKey::from_bytes(bytes),
                    endpoint,
                    last_handshake: handshake.map(|(seconds, nanoseconds)| WallTime { seconds, nanoseconds }),
                    rx_bytes,
                    tx_bytes,
                    allowed_ips: prefixes.into_iter().collect(),
                    persistent_keepalive: keepalive,
                    has_preshared_key: preshared,
                }
            },
        )
}

/// A message's own part, and each peer in it with whether it begins there.
type Decoded = (Part, Vec<(ObservedPeer, bool)>);

fn decoded(payload: &[u8]) -> Result<Decoded, DecodeError> {
    let mut peers = Vec::new();
    let part = device(payload, &mut Vec::new(), &mut |part| {
        let peer = ObservedPeer {
            public_key: *part.public_key,
            endpoint: part.endpoint,
            last_handshake: part.last_handshake,
            rx_bytes: part.rx_bytes,
            tx_bytes: part.tx_bytes,
            allowed_ips: part.allowed_ips.iter().copied().collect(),
            persistent_keepalive: part.persistent_keepalive,
            has_preshared_key: part.has_preshared_key,
        };
        peers.push((peer, part.begins));
        Ok(())
    })?;
    Ok((part, peers))
}

/// One peer's nest of raw attributes in a message, decoded.
fn one_peer(attributes: &[(u16, &[u8])]) -> Result<(ObservedPeer, bool), DecodeError> {
    let mut writer = start();
    let peers = writer.nest(WGDEVICE_A_PEERS);
    let peer = writer.nest(0);
    for (kind, value) in attributes {
        writer.put(*kind, value);
    }
    writer.end(peer);
    writer.end(peers);
    decoded(&writer.finish()).map(|(_, mut peers)| peers.remove(0))
}

#[test]
fn a_handshake_of_zero_is_none() {
    let (peer, begins) = one_peer(&[
        (WGPEER_A_PUBLIC_KEY, &[1; 32]),
        (WGPEER_A_LAST_HANDSHAKE_TIME, &[0; 16]),
    ])
    .unwrap();
    assert_eq!(peer.last_handshake, None);
    assert!(begins);
}

#[test]
fn values_of_the_wrong_length_or_range_are_errors() {
    let nanoseconds = [[0; 8], 1_000_000_000_i64.to_ne_bytes()].concat();
    let mut family = [0; SOCKADDR_IN];
    family[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
    for (kind, value) in [
        (WGPEER_A_PUBLIC_KEY, &[1; 31][..]),
        (WGPEER_A_PRESHARED_KEY, &[1; 33]),
        (WGPEER_A_LAST_HANDSHAKE_TIME, &[0; 8]),
        (WGPEER_A_LAST_HANDSHAKE_TIME, &nanoseconds),
        (WGPEER_A_RX_BYTES, &[0; 4]),
        (WGPEER_A_ENDPOINT, &[0; 12]),
        (WGPEER_A_ENDPOINT, &family),
        (WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, &[]),
    ] {
        let peer = one_peer(&[(WGPEER_A_PUBLIC_KEY, &[1; 32]), (kind, value)]);
        assert_eq!(peer.err(), Some(DecodeError::Value { kind }));
    }
}

#[test]
fn a_peer_without_a_key_is_an_error() {
    let missing = DecodeError::Missing {
        kind: WGPEER_A_PUBLIC_KEY,
    };
    assert_eq!(one_peer(&[(WGPEER_A_RX_BYTES, &[0; 8])]).err(), Some(missing));
}

#[test]
fn unknown_attributes_are_skipped() {
    let (peer, _) = one_peer(&[
        (WGPEER_A_PUBLIC_KEY, &[1; 32]),
        (WGPEER_A_FLAGS, &[0; 4]),
        (99, b"new"),
    ])
    .unwrap();
    assert!(peer.public_key == key(1));
}

#[test]
fn a_prefix_longer_than_its_address_is_an_error() {
    let mut writer = start();
    let peers = writer.nest(WGDEVICE_A_PEERS);
    let peer = writer.nest(0);
    writer.put(WGPEER_A_PUBLIC_KEY, &[1; 32]);
    let allowed_ips = writer.nest(WGPEER_A_ALLOWEDIPS);
    let nest = writer.nest(0);
    writer.put(WGALLOWEDIP_A_FAMILY, &AF_INET.to_ne_bytes());
    writer.put(WGALLOWEDIP_A_IPADDR, &[10, 0, 0, 1]);
    writer.put(WGALLOWEDIP_A_CIDR_MASK, &[33]);
    for nest in [nest, allowed_ips, peer, peers] {
        writer.end(nest);
    }
    let error = decoded(&writer.finish()).err();
    assert_eq!(
        error,
        Some(DecodeError::Value {
            kind: WGALLOWEDIP_A_CIDR_MASK
        })
    );
}

#[test]
fn another_command_is_not_an_interface() {
    assert_eq!(decoded(&[1, 1, 0, 0]).err(), Some(DecodeError::Command));
    assert_eq!(decoded(&[0, 1, 0]).err(), Some(DecodeError::Message));
}

#[test]
fn the_family_number_is_found_among_other_attributes() {
    let mut writer = start();
    writer.put(2, b"wireguard\0");
    writer.put(CTRL_ATTR_FAMILY_ID, &0x1d_u16.to_ne_bytes());
    assert_eq!(family(&writer.finish()), Ok(0x1d));
    let missing = DecodeError::Missing {
        kind: CTRL_ATTR_FAMILY_ID,
    };
    assert_eq!(family(&[0, 1, 0, 0]), Err(missing));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = decoded(&bytes);
        let _ = family(&bytes);
    }

    #[test]
    fn no_cut_or_changed_byte_panics(
        peer in any_peer(), cut in 0_usize..600, place in 0_usize..600, byte: u8,
    ) {
        let mut writer = start();
        let peers = writer.nest(WGDEVICE_A_PEERS);
        write_peer(&mut writer, &peer, false);
        writer.end(peers);
        let mut bytes = writer.finish();
        if let Some(there) = bytes.get_mut(place) {
            *there = byte;
        }
        let _ = decoded(&bytes[..cut.min(bytes.len())]);
        let _ = decoded(&bytes);
    }

    #[test]
    fn a_dump_message_reads_as_it_was_written(
        secret: [u8; KEY_BYTES], ifindex: u32, port: u16, mark: u32,
        peers in proptest::collection::vec((any_peer(), any::<bool>()), 0..6),
    ) {
        let private_key = PrivateKey::from_bytes(&secret);
        let mut writer = start();
        writer.put(WGDEVICE_A_LISTEN_PORT, &port.to_ne_bytes());
        writer.put(WGDEVICE_A_FWMARK, &mark.to_ne_bytes());
        writer.put(WGDEVICE_A_IFINDEX, &ifindex.to_ne_bytes());
        writer.put(WGDEVICE_A_IFNAME, b"cv0\0");
        writer.put(WGDEVICE_A_PRIVATE_KEY, private_key.as_bytes());
        writer.put(WGDEVICE_A_PUBLIC_KEY, private_key.public_key().as_bytes());
        let nest = writer.nest(WGDEVICE_A_PEERS);
        for (peer, continues) in &peers {
            write_peer(&mut writer, peer, *continues);
        }
        writer.end(nest);
        let (part, found) = decoded(&writer.finish()).unwrap();
        prop_assert_eq!(part.ifindex, Some(ifindex));
        prop_assert_eq!(part.listen_port, Some(port));
        prop_assert_eq!(part.fwmark, Some(mark));
        prop_assert!(part.public_key == Some(private_key.public_key()));
        prop_assert!(part.private_key == Some(private_key));
        prop_assert_eq!(found.len(), peers.len());
        for ((found, begins), (peer, continues)) in found.iter().zip(&peers) {
            prop_assert_eq!(*begins, !continues);
            prop_assert!(found.public_key == peer.public_key);
            prop_assert!(found.allowed_ips == peer.allowed_ips);
            prop_assert!(*continues || found == peer);
        }
    }
}
