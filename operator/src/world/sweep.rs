//! Planning everything there is, once: at the start.
//!
//! A queue of a million targets would take more memory than the keys themselves, so the sweep is a place in the tables.
//! What changes while it goes on is queued as ever.

use super::table::{NOWHERE, Record, Slot, Table};
use super::{Target, World};

/// How far it has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sweep {
    keys: Slot,
    claims: Slot,
}

impl World {
    /// Up to `most` targets of the sweep.
    pub(super) fn sweep(&mut self, most: usize) -> Vec<Target> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(sweep) = &mut self.sweep
        {
            let next = next(&self.keys, &mut sweep.keys)
                .map(Target::Key)
                .or_else(|| next(&self.claims, &mut sweep.claims).map(Target::Claim));
            match next {
                None => self.sweep = None,
                Some(target) if self.queue.knows(&target) => {}
                Some(target) => taken.push(target),
            }
        }
        taken
    }
}

/// The next record; a table that has no more is not looked through again.
fn next<T: Record>(table: &Table<T>, place: &mut Slot) -> Option<super::Uid> {
    let found = table.from(*place);
    *place = found.map_or(NOWHERE, |(slot, _)| slot + 1);
    found.map(|(_, record)| record.uid())
}
