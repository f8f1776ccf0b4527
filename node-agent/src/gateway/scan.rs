//! After a look the table is gone through, a slice at a time, for what the look has not shown.

use super::step::Stage;
use super::{Gateway, Ground};
use crate::desired::{Place, Slot, Slots};
use crate::kernel::Kernel;
use crate::plan::drift::Drift;
use crate::plan::room;

/// Public keys in a slice.
const SLICE: u32 = 512;

/// How far it has got.
#[derive(Debug)]
pub(super) struct Scan {
    next: u32,
    /// The look was whole.
    pub is_coherent: bool,
    /// Peers that others have removed.
    lost: Slots,
    wanted: usize,
    /// While there are more public keys than an interface takes: where those stand that are asked for.
    places: Option<Vec<Place>>,
    is_counted: bool,
}

impl Scan {
    pub fn new(is_coherent: bool, lost: Slots) -> Self {
        Self {
            next: 0,
            is_coherent,
            lost,
            wanted: 0,
            places: None,
            is_counted: false,
        }
    }
}

impl Gateway {
    /// Goes through a slice.
    pub(super) fn scan<K: Kernel>(&mut self, on: &Ground<'_, K>, mut scan: Box<Scan>) {
        let now = (on.clock)().mono;
        let most = room::most(on.kernel.backend());
        let table = on.desired.lock();
        if scan.next == 0 && !scan.is_counted {
            scan.is_counted = true;
            scan.places = (table.len() > most).then(Vec::new);
            if scan.places.is_none() {
                self.view.last = None;
            }
        }
        let all = table.end().0;
        let end = all.min(scan.next + SLICE);
        for slot in (scan.next..end).map(Slot) {
            let standing = table.standing(&self.view, slot);
            if let Some(places) = &mut scan.places {
                if standing.is_wanted || standing.is_beyond {
                    places.extend(table.place(slot));
                }
                continue;
            }
            self.proof.note(slot, standing);
            let is_held = self.held.contains(slot);
            if standing.is_wanted {
                scan.wanted += 1;
                if !is_held && !self.proof.is_ignored(slot, now) {
                    if scan.lost.contains(slot) && !self.proof.is_missed(slot) {
                        on.metrics.repaired(Drift::PeerMissing);
                    }
                    self.work.put.push(slot);
                }
            } else if is_held && table.is_unwanted(&self.view, slot) {
                self.work.remove.push(slot);
            }
        }
        drop(table);
        scan.next = end;
        if end == all {
            let Some(mut places) = scan.places.take() else {
                self.proof.set_wanted(scan.wanted);
                self.round.is_synced = true;
                return;
            };
            self.view.last = if places.len() > most {
                Some(*places.select_nth_unstable(most - 1).1)
            } else {
                None
            };
            scan.next = 0;
        }
        self.stage = Stage::Scanning(scan);
    }
}
