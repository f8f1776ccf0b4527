//! What each change does to peers.

use culvert_node_agent::kernel::Kernel;
use culvert_wireguard::{AllowedIps, DesiredPeer, DeviceChange, Endpoint, PeerChange, PrivateKey};

use super::{Bed, Hand, created, desired, ipv4, ipv6, key, keys, peer, peers, set};

pub async fn a_set_replaces_prefixes_and_keepalive_and_keeps_the_rest<B: Bed>(bed: &B) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(1)]).unwrap();
    let somewhere = "192.0.2.9:4711";
    for hand in [
        Hand::Endpoint(somewhere.parse().unwrap()),
        Hand::Keepalive(25),
        Hand::PresharedKey,
    ] {
        bed.set_peer(&interface.link.name, &key(1), hand);
    }
    let found = peer(&mut kernel, &interface, 1).unwrap();
    assert!(found.has_preshared_key && found.persistent_keepalive == 25);
    let other = DesiredPeer {
        allowed_ips: AllowedIps::host(ipv4(77)),
        ..desired(1)
    };
    kernel
        .change(&interface, &[PeerChange::Set(other.clone())])
        .unwrap();
    let found = peer(&mut kernel, &interface, 1).unwrap();
    assert!(found.allowed_ips == other.allowed_ips && found.persistent_keepalive == 0);
    assert!(found.endpoint == Some(Endpoint::new(somewhere.parse().unwrap())));
    assert_eq!(found.has_preshared_key, B::KEEPS_PRESHARED_KEY);
}

pub async fn a_prefix_moves_silently(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(1), set(2)]).unwrap();
    let thief = DesiredPeer {
        allowed_ips: AllowedIps::hosts([ipv4(1), ipv4(2)]),
        ..desired(2)
    };
    kernel
        .change(&interface, &[PeerChange::Set(thief.clone())])
        .unwrap();
    let robbed = peer(&mut kernel, &interface, 1).unwrap();
    assert!(robbed.allowed_ips == AllowedIps::host(ipv6(1)));
    assert!(peer(&mut kernel, &interface, 2).unwrap().matches(&thief));
    // What the thief loses nobody has.
    kernel.change(&interface, &[PeerChange::Remove(key(2))]).unwrap();
    let robbed = peer(&mut kernel, &interface, 1).unwrap();
    assert!(robbed.allowed_ips == AllowedIps::host(ipv6(1)));
}

pub async fn the_own_key_is_ignored_with_success(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let private_key = PrivateKey::generate().unwrap();
    let own = DesiredPeer {
        public_key: private_key.public_key(),
        ..desired(1)
    };
    let change = DeviceChange {
        private_key: Some(private_key),
        ..DeviceChange::default()
    };
    kernel.configure(&interface, &change).unwrap();
    kernel
        .change(
            &interface,
            &[PeerChange::Set(own.clone()), PeerChange::Reinstate(own), set(3)],
        )
        .unwrap();
    assert!(keys(&mut kernel, &interface) == [key(3)]);
}

pub async fn a_peer_whose_key_becomes_the_interfaces_own_is_gone(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let private_key = PrivateKey::generate().unwrap();
    let own = DesiredPeer {
        public_key: private_key.public_key(),
        ..desired(1)
    };
    kernel
        .change(&interface, &[PeerChange::Set(own), set(2)])
        .unwrap();
    let change = DeviceChange {
        private_key: Some(private_key),
        ..DeviceChange::default()
    };
    kernel.configure(&interface, &change).unwrap();
    assert!(keys(&mut kernel, &interface) == [key(2)]);
}

pub async fn removing_an_absent_peer_succeeds(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    let twice = [PeerChange::Remove(key(1)), PeerChange::Remove(key(1))];
    kernel.change(&interface, &[set(1), set(2)]).unwrap();
    kernel.change(&interface, &twice).unwrap();
    assert!(keys(&mut kernel, &interface) == [key(2)]);
}

pub async fn forgetting_overwrites_the_endpoint_and_creates_no_peer(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(1), set(2)]).unwrap();
    for (number, somewhere) in [(1, "192.0.2.9:4711"), (2, "[2001:db8::9]:4711")] {
        let somewhere = somewhere.parse().unwrap();
        bed.set_peer(&interface.link.name, &key(number), Hand::Endpoint(somewhere));
        kernel
            .change(
                &interface,
                &[PeerChange::Forget(key(number)), PeerChange::Forget(key(9))],
            )
            .unwrap();
        let found = peer(&mut kernel, &interface, number).unwrap();
        assert!(found.endpoint.unwrap().is_forgotten() && found.matches(&desired(number)));
    }
    assert_eq!(peers(&mut kernel, &interface).len(), 2);
}

pub async fn reinstating_leaves_no_trace(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(1)]).unwrap();
    for hand in [
        Hand::Endpoint("192.0.2.9:4711".parse().unwrap()),
        Hand::Keepalive(25),
        Hand::PresharedKey,
    ] {
        bed.set_peer(&interface.link.name, &key(1), hand);
    }
    // One that is absent is made.
    let both = [1, 2].map(|number| PeerChange::Reinstate(desired(number)));
    kernel.change(&interface, &both).unwrap();
    let mut found = peers(&mut kernel, &interface);
    found.sort_unstable_by_key(|peer| peer.public_key);
    assert_eq!(found.len(), 2);
    for (peer, number) in found.iter().zip(1..) {
        assert!(peer.matches(&desired(number)) && peer.endpoint.is_none());
    }
}

pub async fn a_flush_removes_all_peers(bed: &impl Bed) {
    let (mut kernel, interface) = created(bed).await;
    kernel.change(&interface, &[set(1), set(2)]).unwrap();
    let change = DeviceChange {
        peers: vec![set(3)],
        ..DeviceChange::flush()
    };
    kernel.configure(&interface, &change).unwrap();
    assert!(keys(&mut kernel, &interface) == [key(3)]);
}
