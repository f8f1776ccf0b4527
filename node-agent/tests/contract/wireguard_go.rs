//! The contract with a kernel, held by wireguard-go, and what is true of programs alone.
//!
//! Needs `CULVERT_WIREGUARD_GO`, the program. What others do to a peer goes through its socket as well.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use culvert_crds::gateway::KeyStorage;
use culvert_node_agent::assignment::Assignment;
use culvert_node_agent::clock::Clocks;
use culvert_node_agent::desired::Shared;
use culvert_node_agent::desired::parse::{Peer, Uid};
use culvert_node_agent::egress::Egress;
use culvert_node_agent::gateway::{Gateway, Ground};
use culvert_node_agent::interface::Managed;
use culvert_node_agent::kernel::{Kernel, Userspace, whole};
use culvert_node_agent::keystore::Keystore;
use culvert_node_agent::metrics::Metrics;
use culvert_node_agent::plan::link::Shape;
use culvert_wireguard::netlink::LinkInfo;
use culvert_wireguard::{DeviceChange, PrivateKey, PublicKey, Refusal};
use futures::FutureExt as _;

use super::facts::{self, Bed, Hand};
use super::{carry, clear, is_elsewhere, name, run, runtime};

#[derive(Default)]
pub struct WireguardGo {
    /// Names that were given out.
    names: RefCell<Vec<String>>,
}

impl Bed for WireguardGo {
    type Kernel = Userspace;

    const SNAPSHOT: bool = true;
    const KEEPS_PRESHARED_KEY: bool = false;
    const FREES_ITS_PORT: bool = false;

    fn open(&self) -> Userspace {
        programs()
    }

    fn name(&self) -> String {
        let name = name();
        self.names.borrow_mut().push(name.clone());
        name
    }

    fn make(&self, name: &str, kind: &str) {
        run("ip", &["link", "add", name, "type", kind]);
    }

    fn rename(&self, from: &str, to: &str) {
        run("ip", &["link", "set", from, "name", to]);
    }

    fn carry(&self, name: &str) {
        carry(name);
    }

    fn is_elsewhere(&self, name: &str) -> bool {
        is_elsewhere(name)
    }

    fn set_down(&self, name: &str) {
        run("ip", &["link", "set", name, "down"]);
    }

    fn set_peer(&self, name: &str, key: &PublicKey, hand: Hand) {
        let hex = |bytes: &[u8; 32]| bytes.map(|byte| format!("{byte:02x}")).concat();
        let line = match hand {
            Hand::Endpoint(address) => format!("endpoint={address}"),
            Hand::Keepalive(seconds) => format!("persistent_keepalive_interval={seconds}"),
            Hand::PresharedKey => format!("preshared_key={}", hex(&[0x77; 32])),
        };
        let set = format!("set=1\npublic_key={}\n{line}\n\n", hex(key.as_bytes()));
        let mut stream = UnixStream::connect(socket(&managed(name))).unwrap();
        stream.write_all(set.as_bytes()).unwrap();
        let mut answer = [0; 9];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"errno=0\n\n");
    }
}

/// Programs, as an agent has them that starts.
pub fn programs() -> Userspace {
    let program = std::env::var_os("CULVERT_WIREGUARD_GO").unwrap();
    Userspace::open(program.as_ref()).unwrap()
}

/// The interface of this name, which is one of ours.
fn managed(name: &str) -> Managed {
    let output = Command::new("ip")
        .args(["-j", "link", "show", name])
        .output()
        .unwrap();
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    Managed::of(LinkInfo {
        ifindex: u32::try_from(links[0]["ifindex"].as_u64().unwrap()).unwrap(),
        name: name.to_owned(),
        kind: Some("tun".into()),
        alias: links[0]["ifalias"].as_str().map(str::to_owned),
        mtu: 0,
        forwards: true,
        up: false,
    })
    .unwrap()
}

impl Drop for WireguardGo {
    fn drop(&mut self) {
        clear(self, &self.names.borrow());
    }
}

pub fn hold(fact: impl AsyncFnOnce(&WireguardGo)) {
    runtime().block_on(fact(&WireguardGo::default()));
}

every_fact!(hold);

fn socket(interface: &Managed) -> PathBuf {
    let name = interface.socket.as_deref().unwrap();
    format!("/var/run/wireguard/{name}.sock").into()
}

/// Kills the program of an interface, and waits for the interface to go.
async fn kill(kernel: &mut Userspace, interface: &Managed) {
    kill_program(interface);
    while kernel.link(&interface.link.name).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
}

/// Kills the program of an interface, which is found by what it was started with.
fn kill_program(interface: &Managed) {
    let name = interface.socket.as_deref().unwrap();
    let last = format!("-f\0{name}\0");
    let is_it = |process: &fs::DirEntry| {
        let line = fs::read(process.path().join("cmdline"));
        line.is_ok_and(|line| line.ends_with(last.as_bytes()))
    };
    let process = fs::read_dir("/proc").unwrap().flatten().find(is_it).unwrap();
    let pid = process.file_name().into_string().unwrap();
    run("kill", &["-KILL", &pid]);
}

pub fn assignment(interface: &str) -> Assignment {
    Assignment {
        name: "gw.a".into(),
        generation: 1,
        mark: facts::mark(),
        interface: interface.to_owned(),
        listen_port: 51_990,
        mtu: 1_380,
        key_storage: KeyStorage::Node,
        ranges: HashMap::from([("default".into(), vec!["10.64.0.0/24".parse().unwrap()])]),
        absent: Vec::new(),
        excluded: Vec::new(),
        egress: Egress::default(),
        endpoint_host: None,
        purge_generation: 0,
        purged_generation: 0,
        nodes: 1,
    }
}

/// A hundred peers, listed.
pub fn desired() -> Shared {
    let desired = Shared::default();
    let uid = |number: u128| Uid::from_u128(number);
    desired.lock().list_begins(100);
    for number in 1..=100 {
        let peer = Peer {
            version: number.into(),
            created: number.into(),
            key_uid: uid(1_000 + u128::from(number)),
            public_key: PublicKey::from_bytes([number; 32]),
            addresses: vec![[10, 64, 0, number + 1].into()],
            pool: "default".into(),
            released: false,
        };
        desired.lock().apply(uid(number.into()), Some(peer));
    }
    desired.lock().finish_list(100);
    desired
}

#[test]
fn userspace_daemon_that_is_killed_is_started_again_with_its_peers() {
    hold(async |bed| {
        let mut kernel = bed.open();
        let name = bed.name();
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::new(folder.path().join("keys"));
        let (assignment, desired) = (assignment(&name), desired());
        let mut gateway = Gateway::new(facts::mark());
        let metrics = Metrics::new("");
        let mut sessions = Vec::new();
        let mut sockets = Vec::new();
        for _ in 0..2 {
            let mut on = Ground {
                kernel: &mut kernel,
                keystore: &keystore,
                desired: &desired,
                metrics: &metrics,
                clock: &Clocks::read,
            };
            gateway.pass(&mut on, &assignment, true).await.unwrap();
            let interface = managed(&name);
            let device = whole(&mut kernel, &interface).unwrap();
            assert_eq!((device.peers.len(), device.settings.listen_port), (100, 51_990));
            assert!(kernel.link(&name).await.unwrap().unwrap().up);
            kill(&mut kernel, &interface).await;
            sessions.push(gateway.state().session.clone());
            sockets.push(socket(&interface));
        }
        assert_ne!(sessions[0], sessions[1]);
        assert_ne!(sockets[0], sockets[1]);
        for socket in sockets {
            fs::remove_file(socket).unwrap();
        }
    });
}

#[test]
fn userspace_end_of_a_program_is_noticed_at_once_also_of_an_earlier_agents() {
    hold(async |bed| {
        for is_found in [false, true] {
            let (mut kernel, interface) = facts::created(bed).await;
            if is_found {
                kernel = bed.open();
                assert!(kernel.managed().await.unwrap().contains(&interface));
            }
            assert!(kernel.disturbed().now_or_never().is_none());
            kill_program(&interface);
            kernel.disturbed().await;
            // By then it is plain what has ended, and it is told once.
            assert_eq!(kernel.link(&interface.link.name).await.unwrap(), None);
            assert!(kernel.disturbed().now_or_never().is_none());
            fs::remove_file(socket(&interface)).unwrap();
        }
    });
}

#[test]
fn userspace_set_that_fails_halfway_is_repaired() {
    hold(async |bed| {
        let (mut kernel, interface) = facts::created(bed).await;
        kernel.shape(&interface, &Shape::Up).await.unwrap();
        let text = PrivateKey::generate().unwrap().to_base64();
        let key = || PrivateKey::from_base64(&text).unwrap();
        let change = |port| DeviceChange {
            private_key: Some(key()),
            listen_port: Some(port),
            peers: (0..350).map(facts::set).collect(),
            ..DeviceChange::default()
        };
        let somebody = UdpSocket::bind("0.0.0.0:0").unwrap();
        let taken = somebody.local_addr().unwrap().port();
        let refused = kernel.configure(&interface, &change(taken)).unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::PortInUse));
        // The line before the one that was refused is done, and none after it.
        let device = whole(&mut kernel, &interface).unwrap();
        assert!(device.settings.private_key == Some(key()) && device.peers.is_empty());
        drop(somebody);
        kernel.configure(&interface, &change(taken)).unwrap();
        let device = whole(&mut kernel, &interface).unwrap();
        assert_eq!((device.settings.listen_port, device.peers.len()), (taken, 350));
    });
}

#[test]
fn userspace_socket_is_waited_for_by_connecting() {
    hold(async |bed| {
        let (mut kernel, interface) = facts::created(bed).await;
        kernel.begin(&interface).unwrap();
        kill(&mut kernel, &interface).await;
        // The file outlives its program, and says nothing.
        assert!(socket(&interface).exists());
        let refused = kernel.begin(&interface).unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::NotFound));
        fs::remove_file(socket(&interface)).unwrap();
    });
}

#[test]
fn userspace_without_its_program_is_not_supported() {
    runtime().block_on(async {
        let mut kernel = Userspace::open("/none/wireguard-go".as_ref()).unwrap();
        let error = kernel
            .create(&name(), &facts::mark(), facts::MTU)
            .await
            .unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::NotSupported));
    });
}
