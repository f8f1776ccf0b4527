//! Steps: what overtakes what, what a look proves, when the watermark moves.

use super::*;
use crate::plan::drift::Drift;
use crate::plan::link::Shape;

/// A peer of many, by number.
fn nth(n: u32) -> Peer {
    Peer {
        version: u64::from(n) + 1,
        created: i64::from(n),
        key_uid: Uid::from_u128(1 << 64 | u128::from(n)),
        public_key: nth_key(n),
        addresses: vec![std::net::Ipv4Addr::from_bits(0x0a40_0002 + n).into()],
        pool: "default".into(),
        released: false,
    }
}

fn nth_key(n: u32) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn nth_uid(n: u32) -> Uid {
    Uid::from_u128(n.into())
}

/// The numbers of changes in a message.
fn size(call: &Call) -> Option<usize> {
    match call {
        Call::Change(changes) => Some(changes.len()),
        _ => None,
    }
}

impl Bed {
    /// A gateway of many peers, which has not begun.
    fn of_many(count: u32) -> Self {
        let mut bed = Self::new(0);
        bed.assignment.ranges = HashMap::from([("default".into(), vec!["10.64.0.0/11".parse().unwrap()])]);
        bed.list(count);
        bed
    }

    fn list(&mut self, count: u32) {
        let mut table = self.desired.lock();
        let version = u64::from(count).max(table.version());
        table.list_begins(version);
        for n in 0..count {
            table.apply(nth_uid(n), Some(nth(n)));
        }
        table.finish_list(version);
    }

    /// A peer is told of by the watch.
    fn add(&mut self, n: u32) {
        let mut table = self.desired.lock();
        let version = table.version() + 1;
        let peer = Peer { version, ..nth(n) };
        table.apply(nth_uid(n), Some(peer));
        table.note(version);
    }

    fn remove(&mut self, n: u32) {
        let mut table = self.desired.lock();
        let version = table.version() + 1;
        table.delete(version, nth_uid(n));
    }

    /// The gateway hears of what has changed.
    fn hear(&mut self) {
        let news = self.desired.lock().news();
        self.gateway.news(&news);
    }

    /// A tick, without what follows from it.
    async fn begin(&mut self, seconds: u64) {
        self.boot += seconds;
        self.hear();
        self.on(async |gateway, on, assignment| gateway.tick(on, assignment, true).await)
            .await
            .unwrap();
    }

    async fn step(&mut self) -> Step {
        self.on(async |gateway, on, _| gateway.step(on).await)
            .await
            .unwrap()
    }

    /// One step; the calls it made.
    async fn calls_of_step(&mut self) -> Vec<Call> {
        let before = self.kernel.calls().len();
        self.step().await;
        self.kernel.calls().split_off(before)
    }

    async fn until_idle(&mut self) -> Vec<Call> {
        let before = self.kernel.calls().len();
        while self.step().await != Step::Idle {}
        self.kernel.calls().split_off(before)
    }

    fn has(&self, n: u32) -> bool {
        let peers = self.kernel.device(NAME).peers;
        peers.iter().any(|peer| peer.public_key == nth_key(n))
    }

    fn repaired(&self, drift: Drift) -> bool {
        let text = self.metrics.encode().unwrap();
        !text.contains(&format!("repaired_total{{drift=\"{}\"}} 0\n", drift.as_str()))
    }

    /// Steps until a look is open that has shown something, and not all.
    async fn amid_a_look(&mut self) {
        while self.calls_of_step().await != [Call::Begin] {}
        assert_eq!(self.calls_of_step().await, [Call::Next]);
        assert!(!self.gateway.is_at_rest());
    }
}

#[tokio::test]
async fn one_added_peer_costs_one_message_and_no_look() {
    for count in [10, 10_000] {
        let mut bed = Bed::of_many(count);
        bed.tick(5).await;
        bed.add(count);
        bed.hear();
        let calls = bed.calls_of_step().await;
        assert_eq!(calls.iter().map(size).collect::<Vec<_>>(), [Some(1)], "{count}");
        assert!(bed.has(count));
        bed.remove(count);
        bed.hear();
        assert_eq!(
            bed.calls_of_step().await,
            [Call::Change(vec![PeerChange::Remove(nth_key(count))])]
        );
    }
}

#[tokio::test]
async fn urgent_peers_overtake_a_bulk() {
    let mut bed = Bed::of_many(1_000);
    bed.begin(5).await;
    while bed.kernel.links().is_empty() || bed.kernel.device(NAME).peers.is_empty() {
        bed.step().await;
    }
    bed.add(5_000);
    bed.hear();
    assert_eq!(
        bed.calls_of_step().await.iter().map(size).collect::<Vec<_>>(),
        [Some(1)]
    );
    assert!(bed.has(5_000) && bed.kernel.device(NAME).peers.len() < 100);
    // Between the datagrams of a look as well.
    bed.until_idle().await;
    bed.kernel.set_room(50);
    bed.begin(5).await;
    bed.amid_a_look().await;
    bed.add(5_001);
    bed.hear();
    assert_eq!(
        bed.calls_of_step().await.iter().map(size).collect::<Vec<_>>(),
        [Some(1)]
    );
}

#[tokio::test]
async fn forgetting_overtakes_a_bulk() {
    let mut bed = Bed::of_many(300);
    bed.tick(5).await;
    let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
    bed.kernel
        .handshake(NAME, &nth_key(7), endpoint, bed.clocks().wall);
    bed.tick(5).await;
    // A bulk is under way when the client's time is over.
    bed.list(5_000);
    bed.begin(100).await;
    for _ in 0..20 {
        bed.step().await;
    }
    assert!(bed.kernel.device(NAME).peers.len() < 4_000);
    bed.begin(90).await;
    let is_forget = |call: &Call| matches!(call, Call::Change(changes) if changes.contains(&PeerChange::Forget(nth_key(7))));
    loop {
        let calls = bed.calls_of_step().await;
        if calls.iter().any(is_forget) {
            break;
        }
        assert!(calls.iter().all(|call| size(call).is_none()), "the bulk went on");
    }
    assert!(bed.kernel.device(NAME).peers.len() < 4_000);
}

#[tokio::test]
async fn forgetting_and_single_peers_take_turns() {
    let mut bed = Bed::of_many(200);
    bed.tick(5).await;
    let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
    for n in 0..200 {
        bed.kernel
            .handshake(NAME, &nth_key(n), endpoint, bed.clocks().wall);
    }
    bed.tick(5).await;
    bed.begin(180).await;
    bed.amid_a_look().await;
    // The look is read to its end; its forgetting and a stream of single peers begin together.
    let mut kinds = Vec::new();
    for n in 0..4 {
        for single in 0..20 {
            bed.add(1_000 + 20 * n + single);
        }
        bed.hear();
        for call in bed.calls_of_step().await {
            if let Call::Change(changes) = call {
                kinds.push(matches!(changes[0], PeerChange::Forget(_)));
            }
        }
    }
    assert!(kinds.contains(&true) && kinds.contains(&false), "{kinds:?}");
}

#[tokio::test]
async fn a_bulk_stops_between_messages_when_asked_to_end() {
    let mut bed = Bed::of_many(5_000);
    bed.begin(5).await;
    for _ in 0..30 {
        bed.step().await;
    }
    let before = bed.kernel.device(NAME).peers.len();
    assert!(before > 0 && before < 4_000);
    bed.on(async |gateway, on, _| gateway.forget(on).await)
        .await
        .unwrap();
    assert_eq!(bed.kernel.device(NAME).peers.len(), before);
    // What was not begun is found again.
    bed.tick(5).await;
    assert_eq!(bed.kernel.device(NAME).peers.len(), 5_000);
}

#[tokio::test]
async fn an_interrupted_look_proves_presence_and_never_absence() {
    let mut bed = Bed::of_many(40);
    bed.kernel.set_room(10);
    bed.tick(5).await;
    let applied = bed.gateway.state().applied;
    bed.add(100);
    bed.hear();
    bed.begin(5).await;
    bed.step().await;
    bed.amid_a_look().await;
    // Somebody removes the last peer that was shown, so that the look ends early: most are not in it.
    let shown = bed.kernel.device(NAME).peers;
    for peer in &shown[..12] {
        let change = DeviceChange::of_peers([PeerChange::Remove(peer.public_key)]);
        bed.kernel.set(NAME, &change);
    }
    let calls = bed.until_idle().await;
    let removed = calls.iter().any(|call| matches!(call, Call::Change(changes) if changes.iter().any(|change| matches!(change, PeerChange::Remove(_)))));
    assert!(!removed);
    assert_eq!(bed.gateway.state().refused, None);
    assert!(bed.gateway.state().applied > applied);
    bed.tick(5).await;
    assert_eq!(bed.kernel.device(NAME).peers.len(), 41);
    assert!(bed.repaired(Drift::PeerMissing));
    assert!(!bed.repaired(Drift::PeerSurplus));
}

#[tokio::test]
async fn a_peer_seen_twice_is_one() {
    let mut bed = Bed::of_many(40);
    bed.kernel.set_room(10);
    bed.tick(5).await;
    bed.begin(5).await;
    bed.amid_a_look().await;
    // It was shown, and is made again at the end.
    let first = bed.kernel.device(NAME).peers.remove(0);
    let again = culvert_wireguard::DesiredPeer {
        public_key: first.public_key,
        allowed_ips: first.allowed_ips,
    };
    let change = DeviceChange {
        peers: vec![PeerChange::Reinstate(again)],
        ..DeviceChange::default()
    };
    bed.kernel.set(NAME, &change);
    bed.until_idle().await;
    assert_eq!(bed.kernel.device(NAME).peers.len(), 40);
    assert_eq!(bed.tick(5).await, []);
}

#[tokio::test]
async fn what_is_put_during_a_look_is_not_missing_in_it() {
    let mut bed = Bed::of_many(40);
    bed.kernel.set_room(10);
    bed.tick(5).await;
    bed.begin(5).await;
    bed.amid_a_look().await;
    bed.add(100);
    bed.remove(20);
    bed.hear();
    assert_eq!(
        bed.calls_of_step().await.iter().map(size).collect::<Vec<_>>(),
        [Some(1), Some(1)]
    );
    let calls = bed.until_idle().await;
    assert!(calls.iter().all(|call| size(call).is_none()), "{calls:?}");
    assert!(bed.has(100) && !bed.has(20));
    assert_eq!(bed.gateway.state().applied, Some(bed.desired.lock().version()));
    assert!(!Drift::ALL.into_iter().any(|drift| bed.repaired(drift)));
}

#[tokio::test]
async fn a_slot_is_not_reused_while_a_look_is_open() {
    let mut bed = Bed::of_many(40);
    bed.kernel.set_room(10);
    bed.tick(5).await;
    assert!(bed.gateway.is_at_rest());
    bed.begin(5).await;
    bed.amid_a_look().await;
    bed.remove(20);
    bed.hear();
    bed.step().await;
    assert!(!bed.gateway.is_at_rest());
    bed.until_idle().await;
    assert!(bed.gateway.is_at_rest());
    let freed = bed.desired.lock().recycle();
    assert_eq!(freed.len(), 1);
    bed.gateway.recycled(&freed);
    bed.add(100);
    assert_eq!(bed.desired.lock().slot(&nth_key(100)), Some(freed[0]));
    bed.tick(5).await;
    assert!(bed.has(100) && !bed.has(20));
}

#[tokio::test]
async fn the_watermark_waits_for_a_look_that_shows_the_peer() {
    let mut bed = Bed::of_many(10);
    bed.tick(5).await;
    let before = bed.gateway.state().applied.unwrap();
    bed.add(10);
    bed.hear();
    assert_eq!(bed.calls_of_step().await.len(), 1);
    assert!(bed.has(10));
    assert_eq!(bed.gateway.state().applied, Some(before));
    bed.until_idle().await;
    assert_eq!(bed.gateway.state().applied, Some(before + 1));
    // Where nothing is to be sent, it waits for nothing.
    bed.desired.lock().note(before + 9);
    bed.hear();
    assert_eq!(bed.until_idle().await, []);
    assert_eq!(bed.gateway.state().applied, Some(before + 9));
    // Nor does it for a removal: its acknowledgement is the proof.
    bed.remove(10);
    bed.hear();
    assert_eq!(bed.until_idle().await.len(), 1);
    assert_eq!(bed.gateway.state().applied, Some(before + 10));
}

#[tokio::test]
async fn a_peer_the_kernel_ignores_is_refused_and_the_watermark_goes_on() {
    let mut bed = Bed::of_many(10);
    bed.tick(5).await;
    // The kernel ignores the key that it has itself.
    let own = || PrivateKey::from_bytes(&[9; 32]);
    let ignored = own().public_key();
    {
        let mut table = bed.desired.lock();
        let peer = Peer {
            version: 50,
            public_key: ignored,
            ..nth(20)
        };
        table.apply(nth_uid(20), Some(peer));
        table.note(50);
    }
    bed.hear();
    let change = || DeviceChange {
        private_key: Some(own()),
        ..DeviceChange::default()
    };
    bed.kernel.set(NAME, &change());
    // Somebody may have removed it by hand, so it is sent again; and again the key is the peer's.
    while !bed.calls_of_step().await.contains(&Call::Configure) {}
    assert_eq!(bed.gateway.state().applied, Some(10));
    bed.kernel.set(NAME, &change());
    bed.until_idle().await;
    let state = bed.gateway.state().clone();
    assert_eq!(state.applied, Some(50));
    let refused = Refused {
        uids: vec![nth_uid(20).to_string()],
        count: 1,
    };
    assert_eq!(state.refused, Some(refused));
    // By and by the key is put right, and the peer served.
    bed.tick(5).await;
    bed.tick(60).await;
    assert_eq!(bed.gateway.state().refused, None);
    assert_eq!(bed.kernel.device(NAME).peers.len(), 11);
}

#[tokio::test]
async fn a_peer_that_is_removed_by_hand_before_a_look_is_put_back_at_once() {
    let mut bed = Bed::of_many(10);
    bed.tick(5).await;
    bed.add(10);
    bed.hear();
    bed.calls_of_step().await;
    bed.kernel.set(
        NAME,
        &DeviceChange {
            peers: vec![PeerChange::Remove(nth_key(10))],
            ..DeviceChange::default()
        },
    );
    bed.until_idle().await;
    assert!(bed.has(10));
    assert_eq!(bed.gateway.state().refused, None);
    assert_eq!(bed.gateway.state().applied, Some(bed.desired.lock().version()));
}

/// Clients that have been silent for so long that their peers are being made anew, and one of those that still wait.
async fn amid_reinstating() -> (Bed, PublicKey) {
    let mut bed = Bed::of_many(100);
    bed.tick(5).await;
    bed.tick(600).await;
    let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
    for n in 0..100 {
        bed.kernel
            .handshake(NAME, &nth_key(n), endpoint, bed.clocks().wall);
    }
    bed.tick(5).await;
    bed.tick(180).await;
    bed.tick(5).await;
    bed.begin(5).await;
    let is_reinstate =
        |call: &Call| matches!(call, Call::Change(changes) if matches!(changes[0], PeerChange::Reinstate(_)));
    while !bed.calls_of_step().await.iter().any(is_reinstate) {}
    let mut left = bed.kernel.device(NAME).peers.into_iter();
    let left = left.find(|peer| peer.endpoint.is_some()).unwrap().public_key;
    (bed, left)
}

impl Bed {
    fn come_back(&self, key: &PublicKey) {
        let endpoint = Endpoint::new("192.0.2.2:4712".parse().unwrap());
        self.kernel.handshake(NAME, key, endpoint, self.clocks().wall);
    }
}

#[tokio::test]
async fn whoever_comes_back_before_a_later_look_is_not_made_anew() {
    let (mut bed, back) = amid_reinstating().await;
    bed.come_back(&back);
    bed.begin(1).await;
    bed.until_idle().await;
    assert!(bed.kernel.has_session(NAME, &back));
    // The others are.
    let peers = bed.kernel.device(NAME).peers;
    assert_eq!(peers.iter().filter(|peer| peer.endpoint.is_some()).count(), 1);
}

#[tokio::test]
async fn reinstating_stops_when_its_look_is_old() {
    let (mut bed, back) = amid_reinstating().await;
    let traces = |bed: &Bed| {
        let peers = bed.kernel.device(NAME).peers;
        peers.iter().filter(|peer| peer.endpoint.is_some()).count()
    };
    // Time goes by; somebody of those that are left comes back.
    bed.boot += 3;
    bed.come_back(&back);
    assert!(bed.calls_of_step().await.is_empty());
    assert_eq!(bed.calls_of_step().await, [Call::Begin]);
    bed.until_idle().await;
    assert!(bed.kernel.has_session(NAME, &back));
    assert_eq!(traces(&bed), 1);
}

#[tokio::test]
async fn purge_generation_purges_everything_once() {
    let mut bed = Bed::of_many(30);
    bed.tick(5).await;
    let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
    let shake = |bed: &Bed, n| {
        bed.kernel
            .handshake(NAME, &nth_key(n), endpoint, bed.clocks().wall);
    };
    (0..20).for_each(|n| shake(&bed, n));
    bed.tick(5).await;
    bed.assignment.purge_generation = 3;
    bed.tick(5).await;
    let traces = |bed: &Bed| {
        let peers = bed.kernel.device(NAME).peers;
        peers
            .iter()
            .filter(|peer| peer.endpoint.is_some() || peer.last_handshake.is_some())
            .count()
    };
    assert_eq!((traces(&bed), bed.gateway.state().purged), (0, 3));
    assert_eq!(bed.kernel.device(NAME).peers.len(), 30);
    // Whoever comes back is no longer meant.
    shake(&bed, 4);
    assert_eq!(bed.tick(5).await, []);
    // Nor is anybody by an agent that starts after it.
    bed.assignment.purged_generation = 3;
    bed.gateway = Gateway::new(bed.assignment.mark.clone());
    bed.tick(5).await;
    assert_eq!((traces(&bed), bed.gateway.state().purged), (1, 3));
    assert!(bed.kernel.has_session(NAME, &nth_key(4)));
}

#[tokio::test]
async fn a_purge_that_is_asked_for_while_a_look_is_open_waits_for_the_next() {
    let mut bed = Bed::of_many(30);
    bed.kernel.set_room(10);
    bed.tick(5).await;
    let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
    bed.kernel
        .handshake(NAME, &nth_key(0), endpoint, bed.clocks().wall);
    bed.begin(5).await;
    bed.amid_a_look().await;
    bed.assignment.purge_generation = 1;
    bed.begin(0).await;
    bed.until_idle().await;
    assert!(!bed.kernel.has_session(NAME, &nth_key(0)));
    assert_eq!(bed.gateway.state().purged, 1);
}

#[tokio::test]
async fn a_history_that_went_back_begins_a_session_and_cuts_nobody() {
    let mut bed = Bed::of_many(30);
    bed.tick(5).await;
    let before = bed.gateway.state().clone();
    bed.desired.lock().rewound();
    assert_eq!(bed.tick(5).await, []);
    let state = bed.gateway.state().clone();
    assert_ne!(state.session, before.session);
    assert_eq!(state.applied, None);
    bed.list(30);
    assert_eq!(bed.tick(5).await, []);
    assert_eq!(bed.gateway.state().applied, Some(30));
    assert_eq!(bed.gateway.state().session, state.session);
}

#[tokio::test]
async fn whoever_was_told_to_go_goes_though_not_everything_is_known() {
    let mut bed = Bed::of_many(30);
    bed.tick(5).await;
    bed.desired.lock().rewound();
    bed.remove(7);
    bed.hear();
    bed.until_idle().await;
    assert!(!bed.has(7));
    assert_eq!(bed.kernel.device(NAME).peers.len(), 29);
}

#[tokio::test]
async fn an_address_that_moves_is_taken_from_one_before_the_other_has_it() {
    let mut bed = Bed::of_many(10);
    bed.tick(5).await;
    {
        // The object is another, and has the name of one that is gone.
        let mut table = bed.desired.lock();
        let peer = Peer {
            version: 60,
            addresses: nth(3).addresses,
            ..nth(50)
        };
        table.apply(nth_uid(50), Some(peer));
        table.note(60);
    }
    bed.hear();
    let calls = bed.until_idle().await;
    let messages: Vec<_> = calls
        .iter()
        .filter_map(|call| match call {
            Call::Change(changes) => Some(changes.as_slice()),
            _ => None,
        })
        .collect();
    assert!(matches!(
        messages.as_slice(),
        [[PeerChange::Remove(_)], [PeerChange::Set(_)]]
    ));
    assert!(bed.has(50) && !bed.has(3));
}

#[tokio::test]
async fn every_drift_is_repaired_and_counted() {
    type Hand = fn(&Bed);
    let cases: [(Drift, Hand); 12] = [
        (Drift::InterfaceGone, |bed| bed.kernel.unmake(NAME)),
        (Drift::InterfaceRenamed, |bed| {
            bed.kernel.rename_by_hand(NAME, "other");
        }),
        (Drift::InterfaceDown, |bed| bed.kernel.set_down(NAME)),
        (Drift::Mtu, |bed| {
            bed.kernel.shape_by_hand(NAME, Shape::Mtu(1_300));
        }),
        (Drift::Address, |bed| {
            let shape = Shape::Add("192.0.2.1/32".parse().unwrap());
            bed.kernel.shape_by_hand(NAME, shape);
        }),
        (Drift::Alias, |bed| {
            bed.kernel
                .set_alias(NAME, &format!("culvert.dev/{}/999", uid(200)));
        }),
        (Drift::PrivateKey, |bed| {
            let private_key = Some(PrivateKey::from_bytes(&[9; 32]));
            bed.kernel.set(
                NAME,
                &DeviceChange {
                    private_key,
                    ..DeviceChange::default()
                },
            );
        }),
        (Drift::Port, |bed| {
            bed.kernel.set(
                NAME,
                &DeviceChange {
                    listen_port: Some(1),
                    ..DeviceChange::default()
                },
            );
        }),
        (Drift::Mark, |bed| {
            bed.kernel.set(
                NAME,
                &DeviceChange {
                    fwmark: Some(1),
                    ..DeviceChange::default()
                },
            );
        }),
        (Drift::PeerMissing, |bed| {
            bed.kernel
                .set(NAME, &DeviceChange::of_peers([PeerChange::Remove(nth_key(1))]));
        }),
        (Drift::PeerAltered, |bed| {
            bed.kernel
                .set_peer(NAME, &nth_key(1), |peer| peer.has_preshared_key = true);
        }),
        (Drift::PeerSurplus, |bed| {
            let peer = culvert_wireguard::DesiredPeer {
                public_key: key(99),
                allowed_ips: culvert_wireguard::AllowedIps::new(),
            };
            bed.kernel
                .set(NAME, &DeviceChange::of_peers([PeerChange::Set(peer)]));
        }),
    ];
    for (drift, hand) in cases {
        let mut bed = Bed::of_many(3);
        bed.tick(5).await;
        let right = bed.kernel.device(NAME);
        hand(&bed);
        assert!(!Drift::ALL.into_iter().any(|drift| bed.repaired(drift)));
        assert_ne!(bed.tick(5).await, [], "{drift:?}");
        let others = Drift::ALL.into_iter().filter(|other| bed.repaired(*other));
        assert_eq!(others.collect::<Vec<_>>(), [drift]);
        let mut peers = bed.kernel.device(NAME).peers;
        peers.sort_unstable_by_key(|peer| peer.public_key);
        assert!(peers == right.peers, "{drift:?}");
        let settings = bed.kernel.device(NAME).settings;
        assert!(settings == right.settings, "{drift:?}");
        assert_eq!(bed.tick(5).await, [], "{drift:?}");
    }
}

#[tokio::test]
async fn an_interface_that_nobody_asks_for_loses_nobody() {
    let mut bed = Bed::of_many(30);
    bed.tick(5).await;
    let interface = bed.gateway.interface.clone().unwrap();
    // An agent that starts finds it before it knows what is asked of it.
    bed.gateway = Gateway::found(interface);
    bed.on(async |gateway, on, _| gateway.forget(on).await)
        .await
        .unwrap();
    bed.remove(7);
    bed.add(40);
    bed.hear();
    let calls = bed.until_idle().await;
    assert!(calls.iter().all(|call| size(call).is_none()), "{calls:?}");
    assert_eq!(bed.kernel.device(NAME).peers.len(), 30);
    bed.tick(5).await;
    assert!(bed.has(40) && !bed.has(7));
}

#[tokio::test]
async fn what_is_told_while_the_table_is_gone_through_is_not_lost() {
    let mut bed = Bed::of_many(2_000);
    bed.begin(5).await;
    while !matches!(bed.gateway.stage, Stage::Scanning(_)) {
        bed.step().await;
    }
    bed.step().await;
    // One that was gone through already, and one that is new.
    let moved = Peer {
        version: 9_000,
        addresses: vec![[10, 70, 0, 9].into()],
        ..nth(3)
    };
    bed.desired.lock().apply(nth_uid(3), Some(moved));
    bed.add(5_000);
    bed.hear();
    bed.until_idle().await;
    let peers = bed.kernel.device(NAME).peers;
    assert_eq!(peers.len(), 2_001);
    let moved = peers.iter().find(|peer| peer.public_key == nth_key(3)).unwrap();
    assert_eq!(moved.allowed_ips.as_slice(), ["10.70.0.9/32".parse().unwrap()]);
    assert_eq!(bed.tick(5).await, []);
}
