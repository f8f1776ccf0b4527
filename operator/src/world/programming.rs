//! Whether the gateways have a claim, and who waits for them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::claims::Moment;
use super::table::{NOWHERE, Record, Slot};
use super::{ClaimView, Target, Uid, World};

/// Whether the gateways of a pool have a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programming {
    /// No gateway serves the pool.
    NoGateway,
    /// At least one has not got so far.
    Pending,
    /// At least one cannot program it.
    Refused,
    /// Every serving gateway has it.
    Done,
}

impl World {
    /// Whether the gateways that serve the claim's pool have it in their kernels.
    pub fn programming(&self, claim: &ClaimView<'_>, now: Duration) -> Programming {
        let mut any = false;
        let mut done = true;
        for node in self.serving(claim.pool, now) {
            any = true;
            let Some(report) = &node.report else { continue };
            if report.refused.contains(&claim.uid) {
                return Programming::Refused;
            }
            // What is refused beyond the names in the list may be any newer peer.
            let overflow = report.refused_count > report.refused.len() && claim.programmed.is_none();
            done &= report
                .applied
                .is_some_and(|applied| applied >= claim.resource_version)
                && !overflow;
        }
        match (any, done) {
            (false, _) => Programming::NoGateway,
            (true, false) => Programming::Pending,
            (true, true) => Programming::Done,
        }
    }

    /// Plans the owners of claims of this pool again that wait for one of these versions.
    pub(super) fn touch_awaiting(&mut self, pool: &str, passed: RangeInclusive<u64>) {
        let Some(pool) = self.symbols.find(pool) else {
            return;
        };
        // A range that ends before it begins is an error to the tree.
        if passed.is_empty() {
            return;
        }
        let passed = (pool, *passed.start(), 0)..=(pool, *passed.end(), NOWHERE);
        let due: Vec<Slot> = self.awaiting.range(passed).map(|(_, _, slot)| *slot).collect();
        for slot in due {
            let claim = self.claims.at(slot);
            let (key, claim) = (self.keys.at(claim.key).uid(), claim.uid);
            self.touch(Target::Key(key));
            self.touch(Target::Claim(claim));
        }
    }

    /// When the oldest claim of a pool was first seen that is newer than a watermark.
    pub(super) fn oldest_awaiting(&self, pool: &str, applied: u64) -> Option<Duration> {
        let pool = self.symbols.find(pool)?;
        let newer = (pool, applied.saturating_add(1), 0)..=(pool, u64::MAX, NOWHERE);
        let since = |slot: Slot| self.claims.at(slot).since.time();
        self.awaiting
            .range(newer)
            .filter_map(|(_, _, slot)| since(*slot))
            .min()
    }

    /// Notes that every serving gateway has the claim: it waits for no watermark any more.
    pub fn mark_programmed(&mut self, uid: &Uid, now: Duration) {
        let Some(slot) = self.claims.slot(uid) else { return };
        let record = self.claims.at_mut(slot);
        if record.programmed == Moment::default() {
            record.programmed = Moment::at(now);
        }
        let (key, place) = (record.key, (record.pool, record.resource_version, slot));
        self.awaiting.remove(&place);
        // The overlap with what it replaces begins now.
        self.touch_claims_at(key);
    }
}
