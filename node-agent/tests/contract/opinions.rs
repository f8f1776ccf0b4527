//! What a program says to us, as others read it, and that we keep none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use culvert_node_agent::interface::Managed;
use culvert_node_agent::kernel::{Kernel, whole};
use culvert_wireguard::{DeviceChange, PrivateKey, Progress, PublicKey};
use ipnet::IpNet;
use wireguard_control::{Backend, Device};

use super::facts::{self, Bed as _, set};
use super::memory;
use super::userspace::hold;

/// Somebody's `wg` on the program of an interface; `$f` is a file with this secret.
fn wg(interface: &Managed, arguments: &str) {
    let socket = interface.socket.as_deref().unwrap();
    let script = format!(
        "f=$(mktemp) && for i in 0 1 2 3 4 5 6 7; do printf '\\245\\132\\303\\074'; done | base64 -w0 > $f && \
         wg set {socket} {arguments} && rm $f"
    );
    let done = Command::new("sh").args(["-c", &script]).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "wg set {arguments}: {error}");
}

#[test]
fn userspace_look_agrees_with_wireguard_control() {
    hold(async |bed| {
        let (mut kernel, interface) = facts::created(bed).await;
        let change = DeviceChange {
            private_key: Some(PrivateKey::generate().unwrap()),
            listen_port: Some(51_970),
            fwmark: Some(0x20),
            peers: (0..150).map(set).collect(),
            ..DeviceChange::default()
        };
        kernel.configure(&interface, &change).unwrap();
        let name = interface.socket.as_deref().unwrap().parse().unwrap();
        let theirs = Device::get(&name, Backend::Userspace).unwrap();
        let ours = whole(&mut kernel, &interface).unwrap();
        assert_eq!(Some(ours.settings.listen_port), theirs.listen_port);
        assert_eq!(Some(ours.settings.fwmark), theirs.fwmark);
        let theirs: BTreeMap<PublicKey, BTreeSet<IpNet>> = theirs
            .peers
            .into_iter()
            .map(|peer| {
                let config = peer.config;
                let prefixes = config.allowed_ips.iter();
                let prefixes = prefixes.map(|ip| IpNet::new(ip.address, ip.cidr).unwrap());
                let key = PublicKey::from_base64(&config.public_key.to_base64());
                (key.unwrap(), prefixes.collect())
            })
            .collect();
        let ours = ours.peers.into_iter();
        let ours: BTreeMap<_, BTreeSet<_>> = ours
            .map(|peer| (peer.public_key, peer.allowed_ips.iter().copied().collect()))
            .collect();
        assert_eq!(ours.len(), 150);
        assert!(ours == theirs);
    });
}

/// How often a program's text of the secret stands in our memory.
fn held() -> usize {
    memory::count(64, |index| b"a55ac33c"[index % 8])
}

#[test]
fn userspace_secrets_are_wiped() {
    hold(async |bed| {
        let (mut kernel, interface) = facts::created(bed).await;
        kernel.change(&interface, &[set(1)]).unwrap();
        // A private key that is read; its first and last bytes are clamped.
        let middle = || memory::count(60, |index| b"a55ac33c"[(index + 2) % 8]);
        wg(&interface, "private-key $f");
        assert_eq!(middle(), 0, "before any look");
        kernel.begin(&interface).unwrap();
        assert!(middle() > 0, "in the middle of a look");
        while kernel.next(&interface, &mut |_| {}).unwrap() == Progress::More {}
        assert_eq!(middle(), 0, "after a look");
        let peer = whole(&mut kernel, &interface).unwrap().peers[0].public_key;
        wg(&interface, &format!("peer {} preshared-key $f", peer.to_base64()));
        assert_eq!(held(), 0, "before any look");
        kernel.begin(&interface).unwrap();
        assert!(held() > 0, "in the middle of a look");
        while kernel.next(&interface, &mut |_| {}).unwrap() == Progress::More {}
        assert_eq!(held(), 0, "after a look");
        kernel.begin(&interface).unwrap();
        drop(kernel);
        assert_eq!(held(), 0, "after a look that is given up");
        // What we say ourselves.
        let key: Vec<_> = [0xa5, 0x5a, 0xc3, 0x3c].repeat(8);
        let change = DeviceChange {
            private_key: Some(PrivateKey::from_bytes(&key.try_into().unwrap())),
            ..DeviceChange::default()
        };
        bed.open().configure(&interface, &change).unwrap();
        assert_eq!(middle(), 0, "after a change");
    });
}
