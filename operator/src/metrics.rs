//! What the operator tells of itself in numbers.
//!
//! Labels are closed sets, but for the name of a pool, which its administrator chose: nothing is told of one key, so
//! the number of series depends on the number of pools alone. Series that can only ever count are there from the
//! start at 0, because a rate over a series that has just appeared misses its first event.

mod labels;
#[cfg(test)]
mod tests;

pub use labels::{Expires, StepKind, StepResult};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use culvert_crds::Reason;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::world::Kind;
use labels::{
    AddressState, Build, ByExpiry, ByKind, ByPoolAddress, ByPoolGateway, ByState, ByStep, GatewayState,
    KEY_STATES, KeyState, WatchKind,
};

/// From a busy apiserver's answer to a person's patience, in seconds.
const ALLOCATION_BUCKETS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// A pool in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolFigures {
    /// Addresses that claims hold.
    pub allocated: u128,
    /// Addresses that can be drawn.
    pub free: u128,
    /// Gateways that serve it.
    pub serving: usize,
    /// Gateways that should.
    pub expected: usize,
}

/// Every metric there is.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    steps: Family<ByStep, Counter>,
    queue_depth: Gauge,
    steps_under_way: Gauge,
    allocation: Histogram,
    oldest_unapplied: Gauge<f64, AtomicU64>,
    pool_addresses: Family<ByPoolAddress, Gauge<f64, AtomicU64>>,
    pool_gateways: Family<ByPoolGateway, Gauge>,
    pools: Mutex<BTreeSet<String>>,
    keys: Family<ByState, Gauge>,
    keys_expiring: Family<ByExpiry, Gauge>,
    leading: Gauge,
    watch_failures: Family<ByKind, Counter>,
    ranges_left_out: Gauge,
}

impl Metrics {
    /// All at 0.
    pub fn new(version: &'static str) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            steps: Family::default(),
            queue_depth: Gauge::default(),
            steps_under_way: Gauge::default(),
            allocation: Histogram::new(ALLOCATION_BUCKETS),
            oldest_unapplied: Gauge::default(),
            pool_addresses: Family::default(),
            pool_gateways: Family::default(),
            pools: Mutex::default(),
            keys: Family::default(),
            keys_expiring: Family::default(),
            leading: Gauge::default(),
            watch_failures: Family::default(),
            ranges_left_out: Gauge::default(),
        };
        for (step, result) in StepKind::ALL
            .iter()
            .flat_map(|step| StepResult::ALL.map(|result| (*step, result)))
        {
            drop(metrics.steps.get_or_create(&ByStep { step, result }));
        }
        for kind in WatchKind::ALL {
            drop(metrics.watch_failures.get_or_create(&ByKind { kind }));
        }
        metrics.set_keys(&BTreeMap::new());
        metrics.set_keys_expiring(&BTreeMap::new());
        metrics.registered(version)
    }

    fn registered(mut self, version: &'static str) -> Self {
        let to = &mut self.registry;
        // The format itself ends a counter's name in `_total` and this one's in `_info`.
        to.register("culvert_build", "What runs", Info::new(Build { version }));
        to.register(
            "culvert_operator_steps",
            "Writes to the apiserver, by what they do and how they came out",
            self.steps.clone(),
        );
        to.register(
            "culvert_operator_queue_depth",
            "Keys, claims, pools and nodes that wait to be planned for",
            self.queue_depth.clone(),
        );
        to.register(
            "culvert_operator_steps_under_way",
            "Writes that have not been answered yet",
            self.steps_under_way.clone(),
        );
        to.register(
            "culvert_operator_allocation_seconds",
            "From a key first seen without an address to an address bound to it",
            self.allocation.clone(),
        );
        to.register(
            "culvert_operator_oldest_unapplied_seconds",
            "Age of the oldest claim or release that a serving gateway has not applied",
            self.oldest_unapplied.clone(),
        );
        to.register(
            "culvert_operator_leading",
            "1 on the replica that allocates, 0 on those that stand by",
            self.leading.clone(),
        );
        to.register(
            "culvert_operator_watch_failures",
            "Watches and lists that failed",
            self.watch_failures.clone(),
        );
        to.register(
            "culvert_operator_cluster_ranges_left_out",
            "Ranges of the cluster's own that no gateway's status has room for; clients may reach them unless a gateway denies them",
            self.ranges_left_out.clone(),
        );
        to.register(
            "culvert_pool_addresses",
            "Addresses of a pool",
            self.pool_addresses.clone(),
        );
        to.register(
            "culvert_pool_gateways",
            "Gateway nodes of a pool",
            self.pool_gateways.clone(),
        );
        to.register(
            "culvert_keys",
            "Keys, by the reason of their Ready condition",
            self.keys.clone(),
        );
        to.register(
            "culvert_keys_expiring",
            "Keys, by the time they have left; each key counts in one of them",
            self.keys_expiring.clone(),
        );
        self
    }

    /// The text that a scrape gets.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A step has come out.
    pub fn count_step(&self, step: StepKind, result: StepResult) {
        self.steps.get_or_create(&ByStep { step, result }).inc();
    }

    /// A watch or its list has failed.
    pub fn count_watch_failure(&self, kind: Kind) {
        let kind = kind.into();
        self.watch_failures.get_or_create(&ByKind { kind }).inc();
    }

    /// How much waits, and how much is being written.
    pub fn set_queue(&self, waiting: usize, under_way: usize) {
        self.queue_depth.set(count(waiting));
        self.steps_under_way.set(count(under_way));
    }

    /// An address has been bound, so long after its key was first seen without one.
    pub fn observe_allocation(&self, took: Duration) {
        self.allocation.observe(took.as_secs_f64());
    }

    /// The age of the oldest change that a serving gateway has not applied; zero when there is none.
    pub fn set_oldest_unapplied(&self, age: Duration) {
        self.oldest_unapplied.set(age.as_secs_f64());
    }

    /// Whether this replica allocates.
    pub fn set_leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// How many of the cluster's ranges gateways are not told of.
    pub fn set_ranges_left_out(&self, number: usize) {
        self.ranges_left_out.set(count(number));
    }

    /// Every pool there is; the series of those that are no more go.
    pub fn set_pools(&self, pools: &BTreeMap<String, PoolFigures>) {
        let mut known = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.iter().filter(|name| !pools.contains_key(*name)) {
            for labels in AddressState::ALL.map(|state| ByPoolAddress::new(gone, state)) {
                self.pool_addresses.remove(&labels);
            }
            for labels in GatewayState::ALL.map(|state| ByPoolGateway::new(gone, state)) {
                self.pool_gateways.remove(&labels);
            }
        }
        for (name, figures) in pools {
            for (state, number) in [
                (AddressState::Allocated, figures.allocated),
                (AddressState::Free, figures.free),
            ] {
                let labels = ByPoolAddress::new(name, state);
                self.pool_addresses.get_or_create(&labels).set(rounded(number));
            }
            for (state, number) in [
                (GatewayState::Serving, figures.serving),
                (GatewayState::Expected, figures.expected),
            ] {
                let labels = ByPoolGateway::new(name, state);
                self.pool_gateways.get_or_create(&labels).set(count(number));
            }
        }
        *known = pools.keys().cloned().collect();
    }

    /// How many keys there are, by the reason of their Ready condition; what is left out is 0.
    pub fn set_keys(&self, keys: &BTreeMap<Reason, usize>) {
        for reason in Reason::ALL {
            let labels = ByState {
                state: KeyState(*reason),
            };
            let number = keys.get(reason).copied().unwrap_or(0);
            // A reason that no key should have is told while one has it, rather than lost.
            if number > 0 || KEY_STATES.contains(reason) {
                self.keys.get_or_create(&labels).set(count(number));
            } else {
                self.keys.remove(&labels);
            }
        }
    }

    /// How many keys there are, by the time they have left; what is left out is 0.
    pub fn set_keys_expiring(&self, keys: &BTreeMap<Expires, usize>) {
        for within in Expires::ALL {
            let number = keys.get(&within).copied().unwrap_or(0);
            self.keys_expiring
                .get_or_create(&ByExpiry { within })
                .set(count(number));
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An IPv6 pool has more addresses than an integer gauge can hold, and nobody counts those one by one.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn rounded(number: u128) -> f64 {
    number as f64
}
