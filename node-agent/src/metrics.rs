//! What the agent tells of itself in numbers.
//!
//! Labels are closed sets, and no series belongs to a peer: their number is the same for one client and for a hundred
//! thousand. What depends on clients' coming and going is told in tens, so that no scrape shows one of them. Series
//! that can only ever count are there from the start at 0, because a rate over a series that has just appeared misses
//! its first event.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use culvert_crds::Reason;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::plan::drift::Drift;
use crate::privacy::Look;

/// From one peer's arithmetic to a kernel that is in trouble, in seconds.
const ACKNOWLEDGE_BUCKETS: [f64; 11] = [
    0.000_25, 0.000_5, 0.001, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
];

/// From an empty interface to a million peers, in seconds.
const LOOK_BUCKETS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Fewer than this many clients are told as none.
const FEW: u64 = 10;

/// How much longer than its window an endpoint may stand: a tick, and the time to look and write. What is kept no
/// longer is not told, as it would tell when somebody was last there.
const GRACE: Duration = Duration::from_secs(10);

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// `WireGuardPeer`.
    Peer,
    /// `IPPool`.
    Pool,
    /// `WireGuardGateway`.
    Gateway,
    /// `GatewayNode`.
    GatewayNode,
}

impl Watched {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Peer, Self::Pool, Self::Gateway, Self::GatewayNode];

    fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Pool => "pool",
            Self::Gateway => "gateway",
            Self::GatewayNode => "gateway_node",
        }
    }
}

/// Every metric there is.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    repaired: Family<ByDrift, Counter>,
    looks: Family<ByCoherence, Counter>,
    look: Histogram,
    acknowledge: Histogram,
    forgotten: Tens,
    reinstated: Tens,
    met_activity: Tens,
    watch_failures: Family<ByWatched, Counter>,
    peers: Gauge,
    overdue: Gauge,
    privacy_degraded: Family<ByCause, Gauge>,
    privacy_unknown: Family<ByCause, Gauge>,
}

impl Metrics {
    /// All at 0.
    pub fn new(version: &'static str) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            repaired: Family::default(),
            looks: Family::default(),
            look: Histogram::new(LOOK_BUCKETS),
            acknowledge: Histogram::new(ACKNOWLEDGE_BUCKETS),
            forgotten: Tens::default(),
            reinstated: Tens::default(),
            met_activity: Tens::default(),
            watch_failures: Family::default(),
            peers: Gauge::default(),
            overdue: Gauge::default(),
            privacy_degraded: Family::default(),
            privacy_unknown: Family::default(),
        };
        for drift in Drift::ALL {
            drop(metrics.repaired.get_or_create(&ByDrift { drift }));
        }
        for coherent in [Coherent(true), Coherent(false)] {
            drop(metrics.looks.get_or_create(&ByCoherence { coherent }));
        }
        for kind in Watched::ALL {
            drop(metrics.watch_failures.get_or_create(&ByWatched { kind }));
        }
        metrics.privacy(Look::default());
        metrics.registered(version)
    }

    fn registered(mut self, version: &'static str) -> Self {
        let to = &mut self.registry;
        // The format itself ends a counter's name in `_total` and this one's in `_info`.
        to.register("culvert_build", "What runs", Info::new(Build { version }));
        to.register(
            "culvert_agent_repaired",
            "What others changed on Culvert's interfaces and the agent put right",
            self.repaired.clone(),
        );
        to.register(
            "culvert_agent_looks",
            "Looks at an interface, and whether it kept still meanwhile",
            self.looks.clone(),
        );
        to.register(
            "culvert_agent_look_seconds",
            "How long a look at a whole interface took",
            self.look.clone(),
        );
        to.register(
            "culvert_agent_acknowledge_seconds",
            "How long the kernel took for a message that programs peers",
            self.acknowledge.clone(),
        );
        to.register(
            "culvert_agent_forgotten",
            "Endpoints of clients that were overwritten, in tens",
            self.forgotten.told.clone(),
        );
        to.register(
            "culvert_agent_reinstated",
            "Peers that were made anew without a trace of their past, in tens",
            self.reinstated.told.clone(),
        );
        to.register(
            "culvert_agent_reinstated_into_activity",
            "Peers that were made anew and had a client right afterwards, in tens",
            self.met_activity.told.clone(),
        );
        to.register(
            "culvert_agent_watch_failures",
            "Watches and lists that failed",
            self.watch_failures.clone(),
        );
        to.register(
            "culvert_agent_peers",
            "Peers that the node is to have; fewer than ten are told as none",
            self.peers.clone(),
        );
        to.register(
            "culvert_agent_overdue_seconds",
            "How much longer than its window and ten seconds an endpoint was kept, at the last tick; 0 when none was",
            self.overdue.clone(),
        );
        to.register(
            "culvert_agent_privacy_degraded",
            "1 for what was found on the node that can write down where clients are",
            self.privacy_degraded.clone(),
        );
        to.register(
            "culvert_agent_privacy_unknown",
            "1 for what could not be looked at",
            self.privacy_unknown.clone(),
        );
        self
    }

    /// The text that a scrape gets.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Something that others did has been put right.
    pub fn repaired(&self, drift: Drift) {
        self.repaired.get_or_create(&ByDrift { drift }).inc();
    }

    /// An interface was looked at, whole; `coherent` when nobody changed it meanwhile.
    pub fn looked(&self, coherent: bool, took: Duration) {
        let coherent = Coherent(coherent);
        self.looks.get_or_create(&ByCoherence { coherent }).inc();
        self.look.observe(took.as_secs_f64());
    }

    /// The kernel has answered a message that sets or removes peers as the API asks. Not to be told of messages that
    /// forget or reinstate: how many there are depends on clients.
    pub fn acknowledged(&self, took: Duration) {
        self.acknowledge.observe(took.as_secs_f64());
    }

    /// So many endpoints were overwritten.
    pub fn forgotten(&self, number: usize) {
        self.forgotten.add(number);
    }

    /// So many peers were removed and added again.
    pub fn reinstated(&self, number: usize) {
        self.reinstated.add(number);
    }

    /// So many of those that were reinstated had a client again at the next look: a handshake may have been in flight.
    pub fn met_activity(&self, number: usize) {
        self.met_activity.add(number);
    }

    /// A watch or its list has failed.
    pub fn watch_failed(&self, kind: Watched) {
        self.watch_failures.get_or_create(&ByWatched { kind }).inc();
    }

    /// How many peers the node is to have, over all its gateways.
    pub fn peers(&self, number: usize) {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let told = if number < FEW { 0 } else { number };
        self.peers.set(i64::try_from(told).unwrap_or(i64::MAX));
    }

    /// Once a tick: the longest that any endpoint, of any gateway, has stood beyond its window.
    pub fn overdue(&self, longest: Duration) {
        let told = longest.saturating_sub(GRACE).as_secs();
        self.overdue.set(i64::try_from(told).unwrap_or(i64::MAX));
    }

    /// What the last look at the node has shown.
    pub fn privacy(&self, look: Look) {
        for (is_so, cause) in look.causes() {
            let by = ByCause { cause: Cause(cause) };
            let set = |of: &Family<ByCause, Gauge>, is: bool| of.get_or_create(&by).set(i64::from(is));
            set(&self.privacy_degraded, is_so == Some(true));
            set(&self.privacy_unknown, is_so.is_none());
        }
    }
}

/// A count that is told rounded down to tens, whatever the steps in which it grows.
#[derive(Debug, Default)]
struct Tens {
    counted: AtomicU64,
    told: Counter,
}

impl Tens {
    fn add(&self, number: usize) {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let before = self.counted.fetch_add(number, Ordering::Relaxed);
        let after = before.wrapping_add(number);
        self.told
            .inc_by((after / FEW).wrapping_sub(before / FEW).wrapping_mul(FEW));
    }
}

/// Whether a look was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Coherent(bool);

impl EncodeLabelValue for Coherent {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(if self.0 { &"true" } else { &"false" }, encoder)
    }
}

impl EncodeLabelValue for Drift {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for Watched {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// What can write down where clients are, by the reason of `PrivacyDegraded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Cause(Reason);

impl EncodeLabelValue for Cause {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.0.as_str(), encoder)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDrift {
    drift: Drift,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCoherence {
    coherent: Coherent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWatched {
    kind: Watched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCause {
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}
