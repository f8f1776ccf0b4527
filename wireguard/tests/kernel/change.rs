//! What the kernel does with each change, and where it says success and does nothing.

use std::collections::BTreeMap;
use std::fs;

use culvert_wireguard::netlink::Limits;
use culvert_wireguard::{
    AllowedIps, DesiredPeer, DeviceChange, Endpoint, PeerChange, PrivateKey, PublicKey, Refusal,
};
use ipnet::IpNet;
use wireguard_control::{Backend, Device};

use crate::harness::{Interface, Links, desired, ipv4, key, output, set};

const ENDPOINT: &str = "192.0.2.9:4711";

#[test]
fn forget_overwrites_the_endpoint_and_keeps_the_peer() {
    for endpoint in [ENDPOINT, "[2001:db8::9]:4711"] {
        let mut interface = Interface::create();
        interface.change_peers([set(1), set(2)]);
        interface.wg_set_peer(1, &["endpoint", endpoint]);
        interface.wg_set_peer(2, &["endpoint", endpoint]);
        assert!(interface.peer(1).unwrap().endpoint == Some(Endpoint::new(endpoint.parse().unwrap())));
        interface.change_peers([PeerChange::Forget(key(1))]);
        let peer = interface.peer(1).unwrap();
        assert!(peer.endpoint == Some(Endpoint::FORGOTTEN));
        assert!(peer.matches(&desired(1)));
        assert!(!interface.peer(2).unwrap().endpoint.unwrap().is_forgotten());
        let printed = output("wg", &["show", &interface.name, "endpoints"]);
        let line = printed
            .lines()
            .find(|line| line.starts_with(&key(1).to_base64()))
            .unwrap();
        assert!(line.ends_with("\t[::]:0"), "{line}");
    }
}

#[test]
fn forget_never_creates_a_peer() {
    let mut interface = Interface::create();
    interface.change_peers([PeerChange::Forget(key(1))]);
    assert_eq!(interface.dump().peers.len(), 0);
}

#[test]
fn reinstate_leaves_a_peer_without_endpoint_and_preshared_key() {
    let mut interface = Interface::create();
    interface.change_peers([set(1), set(2)]);
    let secret = format!("/tmp/{}.key", interface.name);
    fs::write(&secret, PrivateKey::generate().unwrap().to_base64().as_bytes()).unwrap();
    interface.wg_set_peer(
        1,
        &[
            "endpoint",
            ENDPOINT,
            "preshared-key",
            &secret,
            "persistent-keepalive",
            "25",
        ],
    );
    fs::remove_file(&secret).unwrap();
    let peer = interface.peer(1).unwrap();
    assert!(peer.has_preshared_key && peer.persistent_keepalive == 25);
    assert!(!peer.matches(&desired(1)));
    interface.change_peers([PeerChange::Reinstate(desired(1))]);
    let peer = interface.peer(1).unwrap();
    assert!(peer.matches(&desired(1)));
    assert!(peer.endpoint.is_none());
    assert_eq!(interface.dump().peers.len(), 2);
}

#[test]
fn set_replaces_prefixes_and_keeps_the_endpoint() {
    let mut interface = Interface::create();
    interface.change_peers([set(1)]);
    interface.wg_set_peer(1, &["endpoint", ENDPOINT, "persistent-keepalive", "25"]);
    let other = DesiredPeer {
        allowed_ips: AllowedIps::host(ipv4(77)),
        ..desired(1)
    };
    interface.change_peers([PeerChange::Set(other.clone())]);
    let peer = interface.peer(1).unwrap();
    assert!(peer.matches(&other));
    assert!(peer.endpoint == Some(Endpoint::new(ENDPOINT.parse().unwrap())));
}

#[test]
fn the_interfaces_own_key_is_ignored_with_success() {
    let mut interface = Interface::create();
    let private_key = PrivateKey::generate().unwrap();
    let own = private_key.public_key();
    interface.change(&DeviceChange {
        private_key: Some(private_key),
        ..DeviceChange::default()
    });
    interface.change_peers([
        PeerChange::Set(DesiredPeer {
            public_key: own,
            ..desired(1)
        }),
        PeerChange::Reinstate(DesiredPeer {
            public_key: own,
            ..desired(2)
        }),
        set(3),
    ]);
    let device = interface.dump();
    assert_eq!(device.peers.len(), 1);
    assert!(device.peers[0].public_key == key(3));
    assert!(device.settings.public_key == Some(own));
}

#[test]
fn a_key_of_low_order_is_not_refused() {
    let mut interface = Interface::create();
    let private_key = Some(PrivateKey::generate().unwrap());
    interface.change(&DeviceChange {
        private_key,
        ..DeviceChange::default()
    });
    // Linux 6.12 even lists it afterwards: only `check` tells.
    let public_key = PublicKey::from_bytes([0; 32]);
    assert!(!public_key.is_usable());
    interface.change_peers([PeerChange::Set(DesiredPeer {
        public_key,
        ..desired(1)
    })]);
}

#[test]
fn a_prefix_moves_to_its_new_peer_silently() {
    let mut interface = Interface::create();
    interface.change_peers([set(1), set(2)]);
    let thief = DesiredPeer {
        allowed_ips: desired(1).allowed_ips,
        ..desired(2)
    };
    interface.change_peers([PeerChange::Set(thief.clone())]);
    assert!(interface.peer(1).unwrap().allowed_ips.is_empty());
    assert!(interface.peer(2).unwrap().matches(&thief));
}

#[test]
fn removing_is_idempotent_and_flushing_removes_all() {
    let mut interface = Interface::create();
    interface.change_peers((0..10).map(set));
    interface.change_peers([PeerChange::Remove(key(1)), PeerChange::Remove(key(1))]);
    assert_eq!(interface.dump().peers.len(), 9);
    interface.change(&DeviceChange::flush());
    assert_eq!(interface.dump().peers.len(), 0);
}

#[test]
fn the_kernel_gives_the_private_key_back() {
    let mut interface = Interface::create();
    assert!(interface.dump().settings.private_key.is_none());
    let text = PrivateKey::generate().unwrap().to_base64();
    let private_key = PrivateKey::from_base64(&text).unwrap();
    interface.change(&DeviceChange {
        private_key: Some(private_key),
        ..DeviceChange::default()
    });
    assert!(interface.dump().settings.private_key == Some(PrivateKey::from_base64(&text).unwrap()));
}

#[test]
fn a_port_in_use_is_refused_and_named() {
    let mut one = Interface::create();
    let mut two = Interface::create();
    let port = |port| DeviceChange {
        listen_port: Some(port),
        ..DeviceChange::default()
    };
    one.change(&port(51_990));
    let links = Links::open();
    links.run(links.rtnl.set_up(one.ifindex)).unwrap();
    links.run(links.rtnl.set_up(two.ifindex)).unwrap();
    let error = two
        .socket
        .set_device(two.ifindex, &port(51_990), Limits::default())
        .unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::PortInUse));
}

#[test]
fn changes_are_what_wireguard_control_reads() {
    let mut interface = Interface::create();
    interface.change_peers((0..20).map(set));
    for number in [4, 7] {
        interface.wg_set_peer(number, &["endpoint", ENDPOINT]);
    }
    let moved = DesiredPeer {
        allowed_ips: AllowedIps::host(ipv4(77)),
        ..desired(6)
    };
    interface.change_peers([
        PeerChange::Remove(key(1)),
        PeerChange::Forget(key(4)),
        PeerChange::Reinstate(desired(5)),
        PeerChange::Set(moved.clone()),
    ]);
    let theirs = Device::get(&interface.name.parse().unwrap(), Backend::Kernel).unwrap();
    let theirs: BTreeMap<_, _> = theirs
        .peers
        .into_iter()
        .map(|peer| {
            let config = peer.config;
            let prefixes = config.allowed_ips.iter();
            let prefixes = prefixes.map(|ip| IpNet::new(ip.address, ip.cidr).unwrap());
            let key = PublicKey::from_base64(&config.public_key.to_base64()).unwrap();
            (key, (prefixes.collect::<AllowedIps>(), config.endpoint))
        })
        .collect();
    let expected: BTreeMap<_, _> = (0..20)
        .filter(|number| *number != 1)
        .map(|number| {
            let endpoint = match number {
                4 => Some("[::]:0".parse().unwrap()),
                7 => Some(ENDPOINT.parse().unwrap()),
                _ => None,
            };
            let peer = if number == 6 {
                moved.clone()
            } else {
                desired(number)
            };
            (peer.public_key, (peer.allowed_ips, endpoint))
        })
        .collect();
    assert!(theirs == expected);
}

#[test]
fn changes_in_many_small_messages_end_up_as_in_one() {
    let mut interface = Interface::create();
    let change = DeviceChange::of_peers((0..200).map(set).chain((50..100).map(|number| {
        if number % 2 == 0 {
            PeerChange::Remove(key(number))
        } else {
            PeerChange::Reinstate(desired(number))
        }
    })));
    let limits = Limits {
        bytes: 1_000,
        changes: 7,
    };
    assert!(
        interface
            .socket
            .set_device(interface.ifindex, &change, limits)
            .unwrap()
            >= 250 / 7
    );
    let device = interface.dump();
    assert_eq!(device.peers.len(), 175);
    let expected: Vec<_> = (0..200).map(desired).collect();
    assert!(
        device
            .peers
            .iter()
            .all(|peer| expected.iter().any(|desired| peer.matches(desired)))
    );
}
