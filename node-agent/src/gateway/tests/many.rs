//! Many peers, and one step after another.

use super::*;
use crate::plan::drift::Drift;

/// A peer of many, by number.
pub(super) fn nth(n: u32) -> Peer {
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

pub(super) fn nth_key(n: u32) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

pub(super) fn nth_uid(n: u32) -> Uid {
    Uid::from_u128(n.into())
}

/// `wg set` of a peer's allowed IPs, to those of these peers of ours.
pub(super) fn give(bed: &Bed, public_key: PublicKey, numbers: impl IntoIterator<Item = u32>) {
    let addresses = numbers.into_iter().map(|n| IpNet::from(nth(n).addresses[0]));
    let peer = culvert_wireguard::DesiredPeer {
        public_key,
        allowed_ips: addresses.collect(),
    };
    bed.kernel
        .set(NAME, &DeviceChange::of_peers([PeerChange::Set(peer)]));
}

/// The numbers of changes in a message.
pub(super) fn size(call: &Call) -> Option<usize> {
    match call {
        Call::Change(changes) => Some(changes.len()),
        _ => None,
    }
}

impl Bed {
    /// A gateway of many peers, which has not begun.
    pub(super) fn of_many(count: u32) -> Self {
        let mut bed = Self::new(0);
        bed.assignment.ranges = HashMap::from([("default".into(), vec!["10.64.0.0/11".parse().unwrap()])]);
        bed.list(count);
        bed
    }

    pub(super) fn list(&mut self, count: u32) {
        let mut table = self.desired.lock();
        let version = u64::from(count).max(table.version());
        table.list_begins(version);
        for n in 0..count {
            table.apply(nth_uid(n), Some(nth(n)));
        }
        table.finish_list(version);
    }

    /// A peer is told of by the watch.
    pub(super) fn add(&mut self, n: u32) {
        let mut table = self.desired.lock();
        let version = table.version() + 1;
        let peer = Peer { version, ..nth(n) };
        table.apply(nth_uid(n), Some(peer));
        table.note(version);
    }

    pub(super) fn remove(&mut self, n: u32) {
        let mut table = self.desired.lock();
        let version = table.version() + 1;
        table.delete(version, nth_uid(n));
    }

    /// The gateway hears of what has changed.
    pub(super) fn hear(&mut self) {
        let news = self.desired.lock().news();
        self.gateway.news(&news);
    }

    /// A tick, without what follows from it.
    pub(super) async fn begin(&mut self, seconds: u64) {
        self.boot += seconds;
        self.hear();
        self.on(async |gateway, on, assignment| gateway.tick(on, assignment, true).await)
            .await
            .unwrap();
    }

    pub(super) async fn step(&mut self) -> Step {
        self.on(async |gateway, on, _| gateway.step(on).await)
            .await
            .unwrap()
    }

    /// One step; the calls it made.
    pub(super) async fn calls_of_step(&mut self) -> Vec<Call> {
        let before = self.kernel.calls().len();
        self.step().await;
        self.kernel.calls().split_off(before)
    }

    pub(super) async fn until_idle(&mut self) -> Vec<Call> {
        let before = self.kernel.calls().len();
        while self.step().await != Step::Idle {}
        self.kernel.calls().split_off(before)
    }

    pub(super) fn has(&self, n: u32) -> bool {
        let peers = self.kernel.device(NAME).peers;
        peers.iter().any(|peer| peer.public_key == nth_key(n))
    }

    pub(super) fn repaired(&self, drift: Drift) -> bool {
        let text = self.metrics.encode().unwrap();
        !text.contains(&format!("repaired_total{{drift=\"{}\"}} 0\n", drift.as_str()))
    }

    pub(super) fn has_repaired(&self) -> bool {
        Drift::ALL.into_iter().any(|drift| self.repaired(drift))
    }

    /// Steps until nothing is left to do at once.
    pub(super) async fn until_rest(&mut self) -> Vec<Call> {
        let before = self.kernel.made();
        while self.step().await == Step::More {}
        self.kernel.calls_from(before)
    }

    /// What a counter shows.
    pub(super) fn counted(&self, series: &str) -> u64 {
        let text = self.metrics.encode().unwrap();
        let mut lines = text.lines();
        let shown = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        shown.unwrap().parse().unwrap()
    }

    /// The client of each of these peers completes a handshake.
    pub(super) fn shake_hands_of(&self, numbers: std::ops::Range<u32>) {
        let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
        let wall = self.clocks().wall;
        for n in numbers {
            self.kernel.handshake(NAME, &nth_key(n), endpoint, wall);
        }
    }

    /// Of how many peers it is known where their clients are.
    pub(super) fn located(&self) -> usize {
        let is_located = |endpoint: Endpoint| !endpoint.is_forgotten();
        let peers = self.kernel.device(NAME).peers;
        peers
            .iter()
            .filter(|peer| peer.endpoint.is_some_and(is_located))
            .count()
    }

    /// Steps until a look is open that has shown something, and not all.
    pub(super) async fn amid_a_look(&mut self) {
        while self.calls_of_step().await != [Call::Begin] {}
        assert_eq!(self.calls_of_step().await, [Call::Next]);
        assert!(!self.gateway.is_at_rest());
    }
}

/// The messages among calls.
pub(super) fn messages(calls: &[Call]) -> impl Iterator<Item = &[PeerChange]> {
    calls.iter().filter_map(|call| match call {
        Call::Change(changes) => Some(changes.as_slice()),
        _ => None,
    })
}
