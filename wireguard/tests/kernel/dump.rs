//! A dump is whole, or an error, and says what other programs say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use culvert_wireguard::netlink::{self, Limits, Socket};
use culvert_wireguard::{
    AllowedIps, DesiredPeer, DeviceChange, Error, ObservedDevice, PeerChange, PrivateKey, PublicKey, Refusal,
};
use ipnet::IpNet;
use wireguard_control::{Backend, Device};

use crate::harness::{Interface, Links, desired, ipv4, ipv6, key, output, set, unique_name};

/// Peers that are left alone while others come and go.
const BASE: Range<u32> = 0..20_000;
/// Peers that come and go.
const CHURN: Range<u32> = 20_000..20_050;

/// What can be compared of a peer: endpoint, prefixes, keepalive.
type Comparable = BTreeMap<PublicKey, (Option<SocketAddr>, BTreeSet<IpNet>, u16)>;

fn hundred_peers() -> Interface {
    let mut interface = Interface::create();
    interface.change(&DeviceChange {
        private_key: Some(PrivateKey::generate().unwrap()),
        listen_port: Some(51_999),
        fwmark: Some(0x20),
        ..DeviceChange::of_peers((0..100).map(set))
    });
    interface.wg_set_peer(3, &["endpoint", "192.0.2.3:4711"]);
    interface.wg_set_peer(
        4,
        &["endpoint", "[2001:db8::4]:4712", "persistent-keepalive", "25"],
    );
    interface
}

fn ours(interface: &mut Interface) -> Comparable {
    let peers = interface.dump().peers.into_iter();
    peers
        .map(|peer| {
            let endpoint = peer.endpoint.map(|endpoint| endpoint.socket_addr());
            (
                peer.public_key,
                (
                    endpoint,
                    peer.allowed_ips.iter().copied().collect(),
                    peer.persistent_keepalive,
                ),
            )
        })
        .collect()
}

#[test]
fn a_dump_agrees_with_wireguard_control() {
    let mut interface = hundred_peers();
    let theirs = Device::get(&interface.name.parse().unwrap(), Backend::Kernel).unwrap();
    let observed = interface.dump();
    let settings = observed.settings;
    assert_eq!(Some(settings.listen_port), theirs.listen_port);
    assert_eq!(Some(settings.fwmark), theirs.fwmark);
    assert_eq!(
        &settings.private_key.unwrap().as_bytes()[..],
        theirs.private_key.unwrap().as_bytes()
    );
    assert_eq!(
        &settings.public_key.unwrap().as_bytes()[..],
        theirs.public_key.unwrap().as_bytes()
    );
    let mut peers = Comparable::new();
    for peer in theirs.peers {
        let config = peer.config;
        let key = PublicKey::from_base64(&config.public_key.to_base64()).unwrap();
        let keepalive = config.persistent_keepalive_interval.unwrap_or_default();
        let prefixes = config
            .allowed_ips
            .iter()
            .map(|ip| IpNet::new(ip.address, ip.cidr).unwrap());
        // It lists a peer again for every message that the peer spans.
        peers
            .entry(key)
            .or_insert((config.endpoint, BTreeSet::new(), keepalive))
            .1
            .extend(prefixes);
    }
    let ours = ours(&mut interface);
    assert_eq!(ours.len(), 100);
    assert!(ours == peers);
}

#[test]
fn a_dump_agrees_with_wg() {
    let mut interface = hundred_peers();
    let printed = output("wg", &["show", &interface.name, "dump"]);
    let mut lines = printed.lines();
    let own: Vec<_> = lines.next().unwrap().split('\t').collect();
    let observed = interface.dump();
    let private_key = observed.settings.private_key.unwrap();
    assert_eq!(own[0], private_key.to_base64().as_str());
    assert_eq!(own[1], private_key.public_key().to_base64());
    assert_eq!((own[2], own[3]), ("51999", "0x20"));
    let theirs: Comparable = lines
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            let prefixes = fields[3]
                .split(',')
                .map(|prefix| prefix.parse().unwrap())
                .collect();
            let key = PublicKey::from_base64(fields[0]).unwrap();
            (
                key,
                (
                    fields[2].parse().ok(),
                    prefixes,
                    fields[7].parse().unwrap_or_default(),
                ),
            )
        })
        .collect();
    let ours = ours(&mut interface);
    assert_eq!(ours.len(), 100);
    assert!(ours == theirs);
}

#[test]
fn a_peer_with_prefixes_for_several_messages_is_one_peer() {
    let mut interface = Interface::create();
    let peers: Vec<_> = (0..4_u32)
        .map(|number| DesiredPeer {
            public_key: key(number),
            allowed_ips: AllowedIps::hosts(
                (0..900)
                    .map(|host| number * 1_000 + host)
                    .flat_map(|host| [ipv4(host), ipv6(host)]),
            ),
        })
        .collect();
    let change = DeviceChange::of_peers(peers.iter().cloned().map(PeerChange::Set));
    let messages = interface
        .socket
        .set_device(interface.ifindex, &change, Limits::default())
        .unwrap();
    assert!(messages > peers.len());
    let mut found: Vec<_> = interface
        .dump()
        .peers
        .into_iter()
        .map(|peer| (peer.public_key, peer.allowed_ips))
        .collect();
    found.sort_unstable();
    assert!(
        found
            == peers
                .into_iter()
                .map(|peer| (peer.public_key, peer.allowed_ips))
                .collect::<Vec<_>>()
    );
}

/// Adds and removes churned peers until told to pause; again for every token.
fn write(
    ifindex: u32,
    tokens: &Receiver<()>,
    pause: &AtomicBool,
    started: &Sender<()>,
    stopped: &Sender<()>,
) {
    let mut socket = Socket::open().unwrap();
    for () in tokens {
        let mut started = Some(started);
        for number in CHURN.cycle() {
            for change in [set(number), PeerChange::Remove(key(number))] {
                let change = DeviceChange::of_peers([change]);
                socket.set_device(ifindex, &change, Limits::default()).unwrap();
            }
            if let Some(started) = started.take() {
                started.send(()).unwrap();
            }
            if pause.load(Ordering::SeqCst) {
                break;
            }
        }
        stopped.send(()).unwrap();
    }
}

/// Every untouched peer is there once, as it was made, and besides them only churned ones.
fn assert_whole(device: &ObservedDevice) {
    let found: BTreeMap<_, _> = device.peers.iter().map(|peer| (peer.public_key, peer)).collect();
    assert_eq!(found.len(), device.peers.len());
    assert!(
        BASE.clone()
            .all(|number| found[&key(number)].matches(&desired(number)))
    );
    let churned = CHURN.filter(|number| found.contains_key(&key(*number))).count();
    assert_eq!(found.len(), BASE.len() + churned);
}

#[test]
fn a_dump_is_whole_or_interrupted_while_another_writes() {
    let mut interface = Interface::create();
    interface.change_peers(BASE.map(set));
    let ifindex = interface.ifindex;
    let pause = AtomicBool::new(false);
    let mut interrupted = 0;
    thread::scope(|scope| {
        let (token, tokens) = mpsc::channel();
        let (started, starts) = mpsc::channel();
        let (stopped, stops) = mpsc::channel();
        let pause = &pause;
        scope.spawn(move || write(ifindex, &tokens, pause, &started, &stopped));
        for _ in 0..6 {
            pause.store(false, Ordering::SeqCst);
            token.send(()).unwrap();
            starts.recv().unwrap();
            match netlink::dump(&mut interface.socket, ifindex) {
                Ok(device) => assert_whole(&device),
                Err(Error::DumpInterrupted { .. }) => interrupted += 1,
                Err(error) => panic!("{error}"),
            }
            pause.store(true, Ordering::SeqCst);
            stops.recv().unwrap();
            // The same socket, right after an interrupted dump.
            assert_whole(&interface.dump());
        }
    });
    assert!(interrupted > 0, "no dump met a change");
    assert_whole(&interface.dump());
}

/// The writer is wg(8), which shares nothing with this process.
#[test]
fn a_dump_is_whole_or_interrupted_while_another_process_writes() {
    let mut interface = Interface::create();
    interface.change_peers(BASE.map(set));
    let (name, key, address) = (&interface.name, key(CHURN.start).to_base64(), ipv4(CHURN.start));
    let add = format!("wg set {name} peer {key} allowed-ips {address}/32");
    let script = format!("while {add} && wg set {name} peer {key} remove; do echo; done");
    let mut shell = Command::new("sh");
    let mut writer = shell
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first line says that it writes.
    let mut lines = BufReader::new(writer.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    for _ in 0..10 {
        match netlink::dump(&mut interface.socket, interface.ifindex) {
            Ok(device) => assert_whole(&device),
            Err(Error::DumpInterrupted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        writer.try_wait().unwrap().is_none(),
        "the writer ended before the dumps"
    );
    writer.kill().unwrap();
    writer.wait().unwrap();
    // The last `wg` may outlive its shell for a moment.
    let whole = (0..3).find_map(|_| netlink::dump(&mut interface.socket, interface.ifindex).ok());
    assert_whole(&whole.unwrap());
}

#[test]
fn an_interface_that_is_gone_or_of_another_kind_is_refused_and_the_socket_works_on() {
    let mut interface = Interface::create();
    let name = unique_name();
    output("ip", &["link", "add", &name, "type", "dummy"]);
    let links = Links::open();
    let foreign = links.run(links.rtnl.link(&name)).unwrap().unwrap().ifindex;
    let refusal = |socket: &mut Socket, ifindex| netlink::dump(socket, ifindex).unwrap_err().refusal();
    assert_eq!(
        refusal(&mut interface.socket, foreign),
        Some(Refusal::NotSupported)
    );
    links.run(links.rtnl.delete_link(foreign)).unwrap();
    assert_eq!(refusal(&mut interface.socket, foreign), Some(Refusal::NotFound));
    assert_eq!(interface.dump().peers.len(), 0);
}
