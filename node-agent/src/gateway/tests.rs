//! A gateway on a kernel in memory.

use std::collections::HashMap;
use std::time::Duration;

use culvert_crds::gateway::KeyStorage;
use culvert_crds::gateway_node::Backend;
use culvert_wireguard::{DeviceChange, Endpoint, PeerChange, WallTime};
use tempfile::TempDir;

use super::*;
use crate::desired::parse::{Peer, Uid};
use crate::egress::Egress;
use crate::kernel::fake::{Call, Failure, Fake};
use crate::plan::link::Shape;
use crate::report::Report;
use crate::run::look_through;

mod drift;
mod engine;
mod faults;
mod guard;
mod looks;
mod many;
mod messages;
mod print;
mod purge;
mod room;

use many::{give, messages, nth, nth_key, nth_uid, size};

const NAME: &str = "cv0";

/// An agent's parts around one gateway, and its ticks.
struct Bed {
    kernel: Fake,
    keystore: Keystore,
    assignment: Assignment,
    desired: Shared,
    gateway: Gateway,
    metrics: Metrics,
    boot: u64,
    /// How far the wall clock is ahead of boot time, in seconds.
    ahead: i64,
    /// How long the kernel takes for one peer of a message.
    cost: Duration,
    _folder: TempDir,
}

fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

fn uid(n: u8) -> Uid {
    Uid::from_u128(n.into())
}

fn peer(n: u8) -> Peer {
    Peer {
        version: n.into(),
        created: n.into(),
        key_uid: uid(100 + n),
        public_key: key(n),
        addresses: vec![[10, 64, 0, n + 1].into()],
        pool: "default".into(),
        released: false,
    }
}

impl Bed {
    /// A gateway that is to have so many peers, on a node where it has nothing yet.
    fn new(count: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark {
            gateway: uid(200).to_string(),
            window: Duration::from_secs(180),
        };
        let desired = Shared::default();
        desired.lock().list_begins(count.into());
        for n in 1..=count {
            desired.lock().apply(uid(n), Some(peer(n)));
        }
        desired.lock().finish_list(count.into());
        Self {
            kernel: Fake::default(),
            keystore: Keystore::new(folder.path().join("keys")),
            assignment: Assignment {
                name: "gw.a".into(),
                generation: 1,
                mark: mark.clone(),
                interface: NAME.into(),
                listen_port: 51_820,
                mtu: 1_380,
                key_storage: KeyStorage::Memory,
                ranges: HashMap::from([("default".into(), vec!["10.64.0.0/24".parse().unwrap()])]),
                absent: Vec::new(),
                excluded: Vec::new(),
                egress: Egress::default(),
                endpoint_host: None,
                purge_generation: 0,
                purged_generation: 0,
                nodes: 1,
            },
            desired,
            gateway: Gateway::new(mark),
            metrics: Metrics::new(""),
            boot: 10_000,
            ahead: 0,
            cost: Duration::ZERO,
            _folder: folder,
        }
    }

    fn clocks(&self) -> Clocks {
        self.clock()()
    }

    /// A clock that goes on with what the kernel is asked.
    fn clock(&self) -> impl Fn() -> Clocks + Sync + use<> {
        let kernel = self.kernel.clone();
        let (begun, ahead, cost) = (Duration::from_secs(self.boot), self.ahead, self.cost);
        move || {
            let boot = begun + cost * u32::try_from(kernel.asked()).unwrap();
            Clocks {
                boot,
                mono: boot,
                wall: WallTime {
                    seconds: i64::try_from(boot.as_secs()).unwrap() + ahead,
                    nanoseconds: boot.subsec_nanos(),
                },
            }
        }
    }

    /// Gives the gateway and what it stands on to somebody.
    async fn on<T>(
        &mut self,
        act: impl AsyncFnOnce(&mut Gateway, &mut Ground<'_, Fake>, &Assignment) -> T,
    ) -> T {
        let clock = self.clock();
        let mut on = Ground {
            kernel: &mut self.kernel,
            keystore: &self.keystore,
            desired: &self.desired,
            metrics: &self.metrics,
            clock: &clock,
        };
        act(&mut self.gateway, &mut on, &self.assignment).await
    }

    async fn pass(&mut self, is_tick: bool) -> Result<(), PassError> {
        self.on(async |gateway, on, assignment| gateway.pass(on, assignment, is_tick).await)
            .await
    }

    async fn leave(&mut self, departure: Departure) -> Result<(), PassError> {
        self.on(async |gateway, on, _| gateway.leave(on, departure).await)
            .await
    }

    /// The client of a peer completes a handshake.
    fn shake_hands(&self, n: u8) {
        let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
        let name = &self.kernel.links()[0].name;
        self.kernel.handshake(name, &key(n), endpoint, self.clocks().wall);
    }

    /// A peer is released.
    fn release(&self, n: u8) {
        let version = self.desired.lock().version() + 1;
        let mut desired = self.desired.lock();
        desired.apply(
            uid(n),
            Some(Peer {
                version,
                released: true,
                ..peer(n)
            }),
        );
        desired.note(version);
    }

    /// A tick after so many seconds.
    async fn try_tick(&mut self, seconds: u64) -> Result<(), PassError> {
        self.boot += seconds;
        self.pass(true).await
    }

    /// A tick that succeeds; the calls that changed something.
    async fn tick(&mut self, seconds: u64) -> Vec<Call> {
        let before = self.kernel.calls().len();
        self.try_tick(seconds).await.unwrap();
        let mut calls = self.kernel.calls().split_off(before);
        calls.retain(|call| {
            let looks = [
                Call::Link,
                Call::Addresses,
                Call::Routes,
                Call::Generation,
                Call::ReadTable,
                Call::TableStands,
                Call::Chains,
                Call::Begin,
                Call::Next,
            ];
            !looks.contains(call)
        });
        calls
    }
}

/// Numbers of the peers that the kernel has.
fn served(bed: &Bed) -> Vec<u8> {
    let peers = bed.kernel.device(NAME).peers;
    peers.iter().map(|peer| peer.public_key.as_bytes()[0]).collect()
}

#[tokio::test]
async fn a_gateway_comes_to_what_is_asked_and_then_changes_nothing() {
    let mut bed = Bed::new(3);
    assert_ne!(bed.tick(5).await, []);
    let link = &bed.kernel.links()[0];
    assert_eq!((link.name.as_str(), link.mtu, link.up), (NAME, 1_380, true));
    let device = bed.kernel.device(NAME);
    assert_eq!(device.settings.listen_port, 51_820);
    assert_eq!(device.settings.public_key, bed.gateway.state().public_key);
    assert_eq!(device.peers.len(), 3);
    assert_eq!(bed.gateway.state().applied, Some(3));
    assert_eq!(bed.tick(5).await, []);
}

#[tokio::test]
async fn a_pool_whose_traffic_another_route_takes_has_no_address_and_the_others_are_served() {
    let mut bed = Bed::new(3);
    let other: IpNet = "10.65.0.0/16".parse().unwrap();
    bed.assignment.ranges.insert("other".into(), vec![other]);
    let guest = Peer {
        addresses: vec![[10, 65, 0, 4].into()],
        pool: "other".into(),
        ..peer(4)
    };
    bed.desired.lock().apply(uid(4), Some(guest));
    bed.desired.lock().note(4);
    bed.kernel.make("eth0", "veth", None);
    let part: IpNet = "10.65.7.9/24".parse().unwrap();
    bed.kernel.shape_by_hand("eth0", Shape::Add(part));
    bed.kernel.shape_by_hand("eth0", Shape::Up);
    let error = bed.try_tick(5).await.unwrap_err();
    assert!(matches!(error, PassError::Routed { .. }), "{error}");
    assert_eq!(bed.gateway.state().failure, Some(Reason::Conflict));
    let served: IpNet = "10.64.0.1/24".parse().unwrap();
    assert_eq!(bed.kernel.addresses_of(NAME), [served]);
    assert_eq!(bed.kernel.device(NAME).peers.len(), 3);
    assert_eq!(bed.gateway.state().applied, Some(4));
    assert_eq!(bed.gateway.state().pools, ["default"]);
    // Whoever was there first may come later to one that serves already.
    bed.kernel.shape_by_hand("eth0", Shape::Remove(part));
    bed.tick(5).await;
    assert_eq!(bed.kernel.addresses_of(NAME).len(), 2);
    assert_eq!(bed.kernel.device(NAME).peers.len(), 4);
    assert_eq!(bed.gateway.state().pools, ["default", "other"]);
    bed.kernel.shape_by_hand("eth0", Shape::Add(part));
    assert_eq!(bed.tick(5).await, []);
    assert_eq!(bed.gateway.state().failure, None);
}

#[tokio::test]
async fn a_pool_that_is_not_there_takes_nobody_away() {
    let mut bed = Bed::new(3);
    bed.tick(5).await;
    let ranges = std::mem::take(&mut bed.assignment.ranges);
    bed.assignment.absent = vec!["default".into()];
    // Its range, and with it the gateway's address, is not known; its peers are.
    bed.tick(5).await;
    assert_eq!(bed.kernel.device(NAME).peers.len(), 3);
    // Whoever is revoked goes all the same.
    bed.release(2);
    bed.tick(5).await;
    assert_eq!(bed.kernel.device(NAME).peers.len(), 2);
    bed.assignment.ranges = ranges;
    bed.assignment.absent.clear();
    bed.tick(5).await;
    assert_eq!(bed.kernel.device(NAME).peers.len(), 2);
    // A gateway that does not name it any more is another matter.
    bed.assignment.ranges.clear();
    bed.tick(5).await;
    assert_eq!(bed.kernel.device(NAME).peers.len(), 0);
}

#[tokio::test]
async fn a_key_in_memory_survives_a_deleted_interface() {
    let mut bed = Bed::new(2);
    bed.tick(5).await;
    let before = bed.gateway.state().clone();
    bed.kernel.unmake(NAME);
    bed.tick(5).await;
    assert_eq!(bed.gateway.state().public_key, before.public_key);
    assert_eq!(bed.kernel.device(NAME).settings.public_key, before.public_key);
    assert_ne!(bed.gateway.state().session, before.session);
    // A node without the interface for a while is no different.
    bed.kernel.unmake(NAME);
    bed.kernel.make(NAME, "dummy", None);
    assert!(bed.try_tick(5).await.is_err());
    bed.kernel.unmake(NAME);
    bed.tick(5).await;
    assert_eq!(bed.gateway.state().public_key, before.public_key);
}

#[tokio::test]
async fn a_key_in_memory_survives_one_set_by_hand() {
    let mut bed = Bed::new(2);
    bed.tick(5).await;
    let own = bed.gateway.state().public_key;
    let change = DeviceChange {
        private_key: Some(PrivateKey::from_bytes(&[9; 32])),
        ..DeviceChange::default()
    };
    bed.kernel.set(NAME, &change);
    bed.tick(5).await;
    assert_eq!(bed.gateway.state().public_key, own);
    assert_eq!(bed.kernel.device(NAME).settings.public_key, own);
    assert_eq!(bed.tick(5).await, []);
}

#[tokio::test]
async fn a_key_that_moves_between_memory_and_file_stays_the_same() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    let own = bed.gateway.state().public_key;
    for storage in [KeyStorage::Node, KeyStorage::Memory] {
        bed.assignment.key_storage = storage;
        bed.tick(5).await;
        bed.kernel.unmake(NAME);
        bed.tick(5).await;
        assert_eq!(bed.gateway.state().public_key, own, "{storage:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_comes_back_has_its_key_when_it_left_for_now_and_had_a_file() {
    for (storage, departure, keeps) in [
        (KeyStorage::Memory, Departure::ForNow, false),
        (KeyStorage::Memory, Departure::ForGood, false),
        (KeyStorage::Node, Departure::ForNow, true),
        (KeyStorage::Node, Departure::ForGood, false),
    ] {
        let mut bed = Bed::new(1);
        bed.assignment.key_storage = storage;
        bed.tick(5).await;
        let own = bed.gateway.state().public_key;
        bed.leave(departure).await.unwrap();
        bed.tick(5).await;
        let has_kept = bed.gateway.state().public_key == own;
        assert_eq!(has_kept, keeps, "{storage:?} {departure:?}");
    }
}

#[tokio::test]
async fn a_drained_gateway_that_is_to_leave_for_good_takes_its_key_too() {
    let mut bed = Bed::new(1);
    bed.assignment.key_storage = KeyStorage::Node;
    bed.tick(5).await;
    bed.leave(Departure::ForNow).await.unwrap();
    assert!(bed.gateway.has_left(Departure::ForNow));
    assert!(!bed.gateway.has_left(Departure::ForGood));
    assert_eq!(bed.keystore.gateways().unwrap().len(), 1);
    bed.leave(Departure::ForGood).await.unwrap();
    assert!(bed.gateway.has_left(Departure::ForGood));
    assert_eq!(bed.keystore.gateways().unwrap().len(), 0);
}

#[tokio::test]
async fn a_key_without_an_interface_is_found_at_the_start() {
    let mut bed = Bed::new(1);
    bed.assignment.key_storage = KeyStorage::Node;
    bed.tick(5).await;
    let uid = bed.assignment.mark.gateway.clone();
    bed.kernel.unmake(NAME);
    let found = look_through(&mut bed.kernel, &bed.keystore, &bed.metrics)
        .await
        .unwrap();
    assert!(found.contains_key(&uid));
}

#[tokio::test]
async fn a_gateway_that_leaves_takes_everything_with_its_mark_and_nothing_else() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    // One that was made, and whose answer was lost; and one that somebody has taken the mark off.
    let alias = bed.assignment.mark.alias();
    bed.kernel.make("left", "wireguard", Some(&alias));
    bed.kernel.set_alias(NAME, "somebody's");
    bed.leave(Departure::ForGood).await.unwrap();
    let names: Vec<String> = bed.kernel.links().into_iter().map(|link| link.name).collect();
    assert_eq!(names, [NAME]);
}

#[tokio::test]
async fn a_gateway_that_comes_back_is_not_drained_when_the_answer_to_its_creation_is_lost() {
    let mut bed = Bed::new(1);
    bed.leave(Departure::ForGood).await.unwrap();
    assert!(bed.gateway.state().drained);
    bed.kernel.fail_every(Call::Create, Failure::LostAck);
    bed.try_tick(5).await.unwrap_err();
    bed.tick(5).await;
    assert!(!bed.gateway.state().drained);
    assert_eq!(bed.gateway.state().applied, Some(1));
}

#[tokio::test]
async fn a_renamed_interface_gets_its_name_back_with_its_peers_and_sessions() {
    let mut bed = Bed::new(2);
    bed.tick(5).await;
    bed.shake_hands(1);
    let before = bed.gateway.state().clone();
    let link = bed.kernel.links();
    bed.kernel.rename_by_hand(NAME, "other");
    assert_eq!(bed.tick(5).await, [Call::Managed, Call::Rename]);
    assert_eq!(bed.kernel.links(), link);
    assert!(bed.kernel.has_session(NAME, &key(1)));
    assert_eq!(bed.gateway.state(), &before);
    // A name that the API changes is nothing else.
    bed.assignment.interface = "cv1".into();
    assert_eq!(bed.tick(5).await, [Call::Managed, Call::Rename]);
    assert!(bed.kernel.has_session("cv1", &key(1)));
}

#[tokio::test]
async fn a_restarted_agent_gives_a_renamed_interface_its_name_back() {
    let mut bed = Bed::new(2);
    bed.tick(5).await;
    bed.shake_hands(1);
    let own = bed.gateway.state().public_key;
    bed.kernel.rename_by_hand(NAME, "other");
    bed.gateway = Gateway::new(bed.assignment.mark.clone());
    bed.tick(5).await;
    assert!(bed.kernel.has_session(NAME, &key(1)));
    assert_eq!(bed.gateway.state().public_key, own);
}

#[tokio::test]
async fn a_renamed_interface_whose_name_is_taken_is_served_and_nothing_is_deleted() {
    let mut bed = Bed::new(2);
    bed.tick(5).await;
    bed.shake_hands(1);
    bed.kernel.rename_by_hand(NAME, "other");
    let foreign = bed.kernel.make(NAME, "dummy", None);
    bed.release(2);
    let error = bed.try_tick(5).await.unwrap_err();
    assert!(matches!(error, PassError::Foreign(_)));
    let state = bed.gateway.state();
    assert_eq!(state.failure, Some(Reason::InterfaceConflict));
    assert_eq!(bed.kernel.links().len(), 2);
    assert!(bed.kernel.links().contains(&foreign));
    assert!(bed.kernel.has_session("other", &key(1)));
    // Whoever is revoked goes, and whoever falls silent is forgotten.
    assert_eq!(bed.kernel.device("other").peers.len(), 1);
    bed.try_tick(180).await.unwrap_err();
    let peer = bed.kernel.device("other").peers.pop().unwrap();
    assert!(peer.endpoint.unwrap().is_forgotten());
    bed.kernel.unmake(NAME);
    assert_eq!(bed.tick(5).await, [Call::Managed, Call::Rename]);
    assert_eq!(bed.gateway.state().failure, None);
}

#[tokio::test]
async fn an_interface_that_cannot_be_renamed_while_it_is_up_is_made_anew() {
    let mut bed = Bed::new(2);
    bed.tick(5).await;
    let before = bed.gateway.state().clone();
    bed.kernel.rename_by_hand(NAME, "other");
    // After the link of that name and our links are asked for.
    bed.kernel.fail(bed.kernel.calls().len() + 2, Failure::Ebusy);
    assert!(
        bed.tick(5)
            .await
            .starts_with(&[Call::Managed, Call::Rename, Call::Delete, Call::Create])
    );
    assert_eq!(bed.kernel.links().len(), 1);
    assert_eq!(bed.kernel.device(NAME).peers.len(), 2);
    assert_eq!(bed.gateway.state().public_key, before.public_key);
    assert_ne!(bed.gateway.state().session, before.session);
}

#[tokio::test]
async fn an_interface_of_another_back_end_is_replaced_and_its_key_and_peers_stay() {
    for storage in [KeyStorage::Memory, KeyStorage::Node] {
        let mut bed = Bed::new(2);
        bed.assignment.key_storage = storage;
        for (backend, kind) in [
            (Backend::Userspace, "tun"),
            (Backend::Kernel, "wireguard"),
            (Backend::Userspace, "tun"),
        ] {
            bed.kernel.set_backend(backend);
            let own = bed.gateway.state().public_key;
            // It takes a new agent to change its back end.
            bed.gateway = Gateway::new(bed.assignment.mark.clone());
            bed.tick(5).await;
            assert_eq!(bed.kernel.links().len(), 1);
            assert_eq!(bed.kernel.links()[0].kind.as_deref(), Some(kind));
            assert_eq!(bed.kernel.device(NAME).peers.len(), 2);
            assert_eq!(
                bed.kernel.device(NAME).settings.public_key,
                bed.gateway.state().public_key
            );
            assert!(own.is_none() || own == bed.gateway.state().public_key);
            assert_eq!(bed.tick(5).await, []);
        }
    }
}

#[tokio::test]
async fn whoever_falls_silent_is_forgotten_on_an_interface_that_cannot_be_replaced() {
    let mut bed = Bed::new(2);
    bed.tick(5).await;
    bed.shake_hands(1);
    bed.kernel.set_backend(Backend::Userspace);
    bed.gateway = Gateway::new(bed.assignment.mark.clone());
    bed.kernel.fail_every(Call::Delete, Failure::Ebusy);
    for _ in 0..36 {
        bed.try_tick(5).await.unwrap_err();
    }
    let peers = bed.kernel.device(NAME).peers;
    let peer = peers.iter().find(|peer| peer.public_key == key(1)).unwrap();
    assert!(peer.endpoint.unwrap().is_forgotten());
    assert_eq!(bed.kernel.links()[0].kind.as_deref(), Some("wireguard"));
}

#[tokio::test]
async fn a_mark_on_packets_set_by_hand_is_taken_off() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    bed.shake_hands(1);
    let change = DeviceChange {
        fwmark: Some(0x20),
        ..DeviceChange::default()
    };
    bed.kernel.set(NAME, &change);
    assert_eq!(bed.tick(5).await, [Call::Configure]);
    assert_eq!(bed.kernel.device(NAME).settings.fwmark, 0);
    assert!(bed.kernel.has_session(NAME, &key(1)));
    assert_eq!(bed.tick(5).await, []);
}

#[tokio::test]
async fn a_window_changed_by_hand_is_put_back() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    let alias = bed.assignment.mark.alias();
    assert_eq!(bed.kernel.links()[0].alias.as_ref(), Some(&alias));
    for window in ["0", "999999"] {
        bed.kernel
            .set_alias(NAME, &format!("culvert.dev/{}/{window}", uid(200)));
        assert_eq!(bed.tick(5).await, [Call::Mark], "{window}");
        assert_eq!(bed.kernel.links()[0].alias.as_ref(), Some(&alias));
    }
}

#[tokio::test]
async fn nothing_reported_changes_when_clients_come_and_go() {
    let mut bed = Bed::new(3);
    bed.tick(5).await;
    let told = |bed: &Bed| {
        let last = bed.desired.lock().last_change(["default"].into_iter());
        Report::of(
            &bed.assignment,
            Backend::Kernel,
            bed.gateway.state().clone(),
            last,
        )
    };
    let before = told(&bed);
    let elsewhere = Endpoint::new("198.51.100.7:9".parse().unwrap());
    let mut changes = Vec::new();
    for round in 0..150_u8 {
        for n in 1..=3 {
            // Each comes twice, roams a little, and falls silent for good or comes back.
            if round == 10 * n || round == 50 * n {
                bed.shake_hands(n);
            }
            if round % 17 == n {
                bed.kernel.data(NAME, &key(n), elsewhere, 1_000);
            }
        }
        changes.extend(bed.tick(5).await);
        assert_eq!(told(&bed), before, "round {round}");
    }
    let is = |wanted: fn(&PeerChange) -> bool| {
        let all = changes.iter().filter_map(|call| match call {
            Call::Change(changes) => Some(changes),
            _ => None,
        });
        all.flatten().any(wanted)
    };
    assert!(
        is(|change| matches!(change, PeerChange::Forget(_))),
        "nobody was forgotten"
    );
    assert!(
        is(|change| matches!(change, PeerChange::Reinstate(_))),
        "nobody was made anew"
    );
}
