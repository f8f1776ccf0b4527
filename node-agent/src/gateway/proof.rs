//! How far the interface has come to what the API asks: the watermark, and who is left out of it.
//!
//! A peer whose message was acknowledged is still to be shown by a look: the kernel may have ignored it without a word.
//! A removal is proved by its acknowledgement. So the watermark stands at the version up to which everything is sent,
//! once a look has shown, or a whole one has not shown, whatever was sent before it began.

use std::collections::HashMap;
use std::time::Duration;

use culvert_crds::gateway_node::{MAX_REFUSED, Refused};

use super::{Gateway, Ground};
use crate::desired::parse::Uid;
use crate::desired::{Desired, Slot, Slots, Standing, View};
use crate::kernel::Kernel;

/// The pause between two looks for the sake of single peers, in lengths of a look.
const PAUSE: u32 = 4;
/// How long a peer that the kernel has ignored is left alone.
const IGNORED: Duration = Duration::from_mins(1);
/// Missing peers beyond these are counted as one claim each.
const COUNTED: usize = 1024;

/// What is proved, and what is not.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// Peers that were acknowledged and not shown since.
    unproved: Slots,
    /// Peers that were acknowledged once and were not there: somebody may have removed them before a look.
    missed: Slots,
    /// Peers that were acknowledged twice and are not there, and when that was seen.
    ignored: HashMap<Slot, Duration>,
    /// Peers that the interface has no room for.
    unserved: Slots,
    /// How many claims of a public key are refused by rule.
    refused: HashMap<Slot, u32>,
    /// Peers beyond what an interface takes.
    beyond: Slots,
    /// Everything up to this version is proved.
    proven: u64,
    wanted: usize,
    /// When the last look ended, and how long it took.
    looked: Option<(Duration, Duration)>,
    /// When the last whole look ended, or the first look began.
    whole: Option<Duration>,
}

impl Proof {
    /// A peer was acknowledged.
    pub fn put(&mut self, slot: Slot) {
        self.unproved.insert(slot);
        self.ignored.remove(&slot);
        self.unserved.remove(slot);
    }

    /// A look shows a peer as it should be.
    pub fn show(&mut self, slot: Slot) {
        self.unproved.remove(slot);
        self.missed.remove(slot);
        self.ignored.remove(&slot);
        self.unserved.remove(slot);
    }

    /// A peer is not wanted any more.
    pub fn leave(&mut self, slot: Slot) {
        self.show(slot);
    }

    /// There is no room for a peer.
    pub fn lack_room(&mut self, slot: Slot) {
        self.unproved.remove(slot);
        self.missed.remove(slot);
        self.unserved.insert(slot);
    }

    /// Up to so many of those that wait for room.
    pub fn waiting(&self, most: usize) -> Vec<Slot> {
        self.unserved.iter().take(most).collect()
    }

    /// Takes in what the rules say of a public key.
    pub fn note(&mut self, slot: Slot, standing: Standing) {
        if standing.refused > 0 {
            self.refused.insert(slot, standing.refused);
        } else {
            self.refused.remove(&slot);
        }
        if standing.is_beyond {
            self.beyond.insert(slot);
        } else {
            self.beyond.remove(slot);
        }
        if !standing.is_wanted {
            self.leave(slot);
        }
    }

    /// Whether a peer's message was acknowledged and nothing is known yet of what became of it.
    pub fn awaits(&self, slot: Slot) -> bool {
        self.unproved.contains(slot)
    }

    /// Whether a peer was acknowledged and is not there, for the first time.
    pub fn is_missed(&self, slot: Slot) -> bool {
        self.missed.contains(slot)
    }

    /// Whether the kernel has ignored a peer lately.
    pub fn is_ignored(&self, slot: Slot, now: Duration) -> bool {
        let since = self.ignored.get(&slot);
        since.is_some_and(|since| now.saturating_sub(*since) < IGNORED)
    }

    /// Whether peers are missing for want of room.
    pub fn is_short(&self) -> bool {
        !self.unserved.is_empty() || !self.beyond.is_empty()
    }

    pub fn wanted(&self) -> usize {
        self.wanted
    }

    pub fn set_wanted(&mut self, wanted: usize) {
        self.wanted = wanted;
    }

    /// A look has ended.
    pub fn looked(&mut self, begun: Duration, ended: Duration, coherent: bool) {
        self.looked = Some((ended, ended.saturating_sub(begun)));
        if coherent {
            self.whole = Some(ended);
        } else {
            self.whole.get_or_insert(begun);
        }
    }

    /// Whether no look was whole for so long.
    pub fn is_blind(&self, now: Duration, limit: Duration) -> bool {
        self.whole.is_some_and(|at| now.saturating_sub(at) >= limit)
    }

    /// When the next look is to begin, if one is needed.
    pub fn look_at(&self) -> Option<Duration> {
        let (ended, took) = self.looked.unwrap_or_default();
        (!self.unproved.is_empty()).then(|| ended + took * PAUSE)
    }

    /// A whole look has not shown peers that were acknowledged before it began: whoever it was for the second time, the
    /// kernel has ignored.
    pub fn miss(&mut self, now: Duration, seen: &Slots, written: &Slots) {
        let is_missing = |slot: &Slot| !seen.contains(*slot) && !written.contains(*slot);
        let missing: Vec<Slot> = self.unproved.iter().filter(is_missing).collect();
        for slot in missing {
            self.unproved.remove(slot);
            if !self.missed.insert(slot) {
                self.missed.remove(slot);
                self.ignored.insert(slot, now);
            }
        }
    }

    /// A look has ended that began when everything up to `sent` was: nothing of that is in doubt but what was written
    /// since.
    pub fn prove(&mut self, sent: Option<u64>, written: &Slots) {
        if let Some(sent) = sent
            && self.missed.is_empty()
            && self.unproved.iter().all(|slot| written.contains(slot))
        {
            self.proven = self.proven.max(sent);
        }
    }

    pub fn forget_versions(&mut self) {
        self.proven = 0;
    }

    pub fn recycled(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.leave(*slot);
            self.refused.remove(slot);
            self.beyond.remove(*slot);
        }
    }

    /// Who is left out.
    fn refused(&self, table: &Desired, view: &View) -> Option<Refused> {
        let mut uids: Vec<Uid> = Vec::new();
        let mut name = |uid: Uid| {
            if uids.len() < MAX_REFUSED {
                uids.push(uid);
            }
        };
        let mut count = 0;
        for uid in table.doubtful() {
            count += 1;
            name(*uid);
        }
        let missing = || self.unserved.iter().chain(self.ignored.keys().copied());
        let is_missing = |slot: &Slot| self.unserved.contains(*slot) || self.ignored.contains_key(slot);
        let all = missing().count();
        for slot in missing().take(COUNTED) {
            table.refused(view, slot, true, &mut |uid| {
                count += 1;
                name(uid);
            });
        }
        count += all.saturating_sub(COUNTED);
        for (slot, number) in self.refused.iter().filter(|(slot, _)| !is_missing(slot)) {
            count += *number as usize;
            table.refused(view, *slot, false, &mut name);
        }
        uids.sort_unstable();
        (count > 0).then(|| Refused {
            uids: uids.iter().map(Uid::to_string).collect(),
            count: i64::try_from(count).unwrap_or(i64::MAX),
        })
    }
}

impl Gateway {
    /// Moves the watermark as far as everything is proved. It never goes back within a session.
    pub(super) fn advance<K: Kernel>(&mut self, on: &Ground<'_, K>) {
        let Some(assignment) = self.assignment.as_ref().filter(|_| self.known.complete) else {
            return;
        };
        let proven = if self.proof.unproved.is_empty() && self.proof.missed.is_empty() {
            self.known.version
        } else {
            self.proof.proven
        };
        if proven == 0 {
            return;
        }
        self.proof.proven = self.proof.proven.max(proven);
        self.state.applied = self.state.applied.max(Some(proven));
        self.state.pools = assignment.ranges.keys().cloned().collect();
        self.state.pools.sort_unstable();
        self.state.refused = self.proof.refused(&on.desired.lock(), &self.view);
    }
}
