//! A look at the interface, folded as it arrives: what is wrong goes into the queues, what is stale is forgotten.
//!
//! A look that is interrupted proves what it has shown: that a peer is there, and that an endpoint is stale. It proves
//! no absence, and drops no age. What is sent while a look is open may be shown as it was before, so that of such a
//! peer the look says nothing.

use std::time::Duration;

use culvert_wireguard::{Progress, Settings};
use ipnet::IpNet;

use super::scan::Scan;
use super::step::Stage;
use super::{Gateway, Ground, PassError};
use crate::ages::{Age, Who};
use crate::desired::{Desired, Slot, Slots};
use crate::interface::Managed;
use crate::kernel::Kernel;
use crate::observed::{Fold, Seen, Trace};
use crate::plan::drift::Drift;
use crate::plan::purge::{self, Purge};
use crate::plan::sync::{self, Verdict};

/// How often a look that somebody's change interrupted is begun again before the next tick.
const LOOKS: u32 = 8;
/// Without a whole look for so long, the agent's own messages wait for one.
const BLIND: Duration = Duration::from_mins(1);
/// How long peers may be reinstated for what a look has shown.
const FRESH: Duration = Duration::from_secs(2);

/// A look that is open.
#[derive(Debug)]
pub(super) struct Look {
    fold: Fold,
    picture: Picture,
    /// It is a tick's: the first since.
    is_tick: bool,
    pub begun: Duration,
    /// Nothing may disturb it.
    pub holds_writes: bool,
    /// Everything up to this version had been sent when it began.
    sent: Option<u64>,
    /// The generation of the purge that was under way when it began.
    purges: Option<i64>,
}

/// What a look has shown so far.
#[derive(Debug, Default)]
struct Picture {
    seen: Slots,
    /// Peers that were written since the look began.
    written: Slots,
    is_disturbed: bool,
    wrong: Vec<Slot>,
    /// Peers that others have added.
    added: usize,
    foreign: usize,
    /// Reinstated peers that had somebody right afterwards.
    met: usize,
}

impl Look {
    /// Whether the agent itself has changed the interface since it began.
    pub fn is_disturbed(&self) -> bool {
        self.picture.is_disturbed
    }

    /// Versions mean something else than when it began.
    pub fn forget_versions(&mut self) {
        self.sent = None;
    }
}

impl Gateway {
    pub(super) fn begin_look<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
    ) -> Result<(), PassError> {
        let clocks = (on.clock)();
        let is_tick = std::mem::take(&mut self.round.is_tick_due);
        if is_tick {
            self.ages.begin(clocks, self.mark.window);
            // Whoever is in it for an earlier look may have come back since; this one tells.
            self.work.reinstate.clear();
            self.round.clocks = Some(clocks);
            self.overdue = Duration::ZERO;
        }
        self.round.is_look_due = false;
        self.round.has_failed = false;
        on.kernel.begin(interface)?;
        let is_sent = self.round.is_synced && self.work.is_programmed();
        self.stage = Stage::Looking(Box::new(Look {
            fold: Fold::default(),
            picture: Picture::default(),
            is_tick,
            begun: clocks.mono,
            // Nothing is programmed before the first whole look, and none is whole that is disturbed.
            holds_writes: !self.round.is_synced || self.proof.is_blind(clocks.mono, BLIND),
            sent: is_sent.then_some(self.known.version),
            purges: self.purging.as_ref().map(|purging| purging.generation),
        }));
        Ok(())
    }

    /// Notes that a message was sent, and what it was about.
    pub(super) fn disturb(&mut self, slots: impl IntoIterator<Item = Slot>) {
        if let Stage::Looking(look) = &mut self.stage {
            look.picture.is_disturbed = true;
            slots.into_iter().for_each(|slot| {
                look.picture.written.insert(slot);
            });
        }
    }

    /// Reads a datagram of the look.
    pub(super) fn read<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
        mut look: Box<Look>,
    ) -> Result<(), PassError> {
        let Look { fold, picture, .. } = &mut *look;
        let table = on.desired;
        // Taken with the first peer and not before: the kernel takes its time to write a datagram.
        let mut guard = None;
        let progress = on.kernel.next(interface, &mut |part| {
            let table = guard.get_or_insert_with(|| table.lock());
            fold.part(&part, &mut |seen| self.take_in(table, picture, seen));
        })?;
        drop(guard);
        let Progress::Done { settings, coherent } = progress else {
            self.stage = Stage::Looking(look);
            return Ok(());
        };
        {
            let table = table.lock();
            fold.finish(&mut |seen| self.take_in(&table, picture, seen));
        }
        tracing::trace!(interface = interface.link.name, coherent, "look ended");
        self.end_look(on, *look, settings, coherent);
        Ok(())
    }

    fn take_in(&mut self, table: &Desired, picture: &mut Picture, seen: &Seen<'_>) {
        let slot = table.slot(seen.public_key);
        let verdict = sync::judge(table, &self.view, slot, seen);
        // A peer that was removed and made again while the look was open comes twice.
        let is_first = slot.is_none_or(|slot| picture.seen.insert(slot));
        picture.foreign += usize::from(slot.is_none());
        let is_written = slot.is_some_and(|slot| picture.written.contains(slot));
        if is_first && !self.round.forgets_only {
            match (verdict, slot) {
                (Verdict::Right, Some(slot)) => {
                    self.proof.show(slot);
                    if !is_written {
                        self.keyed.remove(slot);
                    }
                }
                (Verdict::Wrong, Some(slot)) if !is_written => {
                    picture.wrong.push(slot);
                    if seen.has_preshared_key {
                        self.keyed.insert(slot);
                    }
                }
                (Verdict::Surplus, Some(slot)) if !is_written => {
                    let is_ours = self.held.contains(slot) || self.work.urgent.contains(slot);
                    picture.added += usize::from(!is_ours);
                    self.flows.extend(seen.prefixes.iter().map(IpNet::addr));
                    self.work.remove.push(slot);
                }
                (Verdict::Surplus, None) => {
                    self.flows.extend(seen.prefixes.iter().map(IpNet::addr));
                    picture.added += usize::from(self.work.surplus.push(*seen.public_key));
                }
                _ => {}
            }
        }
        let is_wanted = matches!(verdict, Verdict::Right | Verdict::Wrong);
        let may_return = is_wanted && self.known.complete && !self.round.forgets_only;
        let who = Who {
            public_key: seen.public_key,
            slot,
        };
        self.age(picture, who, seen.trace.as_ref(), may_return);
    }

    /// Looks at what a peer shows of somebody.
    fn age(&mut self, picture: &mut Picture, who: Who<'_>, trace: Option<&Trace>, may_return: bool) {
        let Some(clocks) = self.round.clocks else {
            return;
        };
        let window = self.mark.window;
        let mut purge = purge::judge(&mut self.ages, who, trace, may_return, window, clocks);
        let Some(trace) = trace else {
            return;
        };
        if purge == Purge::Forget
            && let Some(Age::Since(age)) = self.ages.age(who, clocks)
        {
            self.overdue = self.overdue.max(age.saturating_sub(window));
        }
        if let Some(slot) = who.slot
            && (trace.located || trace.rx_bytes > 0)
            && self.reinstated.remove(slot)
        {
            picture.met += 1;
        }
        if let Some(purging) = &self.purging {
            let is_done = who.slot.is_some_and(|slot| purging.done.contains(slot));
            if !is_done && (may_return || trace.located) {
                purge = Purge::Reinstate;
            }
            if !is_done && trace.located {
                // At once; the rest may have to wait.
                self.work.forget.push_back(*who.public_key);
            }
        }
        match (purge, who.slot) {
            (Purge::Forget, _) => self.work.forget.push_back(*who.public_key),
            (Purge::Reinstate, Some(slot)) if may_return => self.work.reinstate.push(slot),
            _ => {}
        }
    }

    fn end_look<K: Kernel>(&mut self, on: &Ground<'_, K>, look: Look, settings: Settings, coherent: bool) {
        let now = (on.clock)().mono;
        let picture = look.picture;
        on.metrics.looked(coherent, now.saturating_sub(look.begun));
        self.proof.looked(look.begun, now, coherent);
        self.ages.end(coherent);
        if !coherent {
            // Whom it has not shown may be stale as well. What the agent itself does goes on, and one more look is enough.
            let most = if picture.is_disturbed && self.round.is_synced {
                1
            } else {
                LOOKS
            };
            self.round.is_look_due |= self.round.interruptions < most;
            self.round.interruptions += 1;
        }
        self.round.is_new = true;
        if look.is_tick {
            self.round.reinstate_until = now + FRESH;
            on.metrics.met_activity(picture.met);
            self.reinstated.clear();
        }
        self.foreign = if coherent {
            picture.foreign
        } else {
            // So many are there at least.
            self.foreign.max(picture.foreign)
        };
        self.port = Some(settings.listen_port).filter(|port| *port != 0);
        if self.round.forgets_only {
            return;
        }
        let was_synced = self.round.is_synced;
        if was_synced {
            (0..picture.added).for_each(|_| on.metrics.repaired(Drift::PeerSurplus));
        }
        for slot in &picture.wrong {
            let is_told = self.work.urgent.contains(*slot) || self.proof.awaits(*slot);
            if was_synced && coherent && !is_told {
                on.metrics.repaired(Drift::PeerAltered);
            }
            self.work.put.push(*slot);
        }
        let mut lost = Slots::default();
        if coherent {
            let is_lost = |slot: &Slot| !picture.seen.contains(*slot) && !picture.written.contains(*slot);
            let gone: Vec<Slot> = self.held.iter().filter(is_lost).collect();
            for slot in gone {
                self.held.remove(slot);
                lost.insert(slot);
            }
            self.proof.miss(now, &picture.seen, &picture.written);
            self.finish_purge(look.purges.filter(|_| look.is_tick));
        }
        for slot in picture
            .seen
            .iter()
            .filter(|slot| !picture.written.contains(*slot))
        {
            self.held.insert(slot);
        }
        self.proof.prove(look.sent, &picture.written);
        let scan = Scan::new(coherent, if was_synced { lost } else { Slots::default() });
        self.stage = Stage::Settling(settings, Box::new(scan));
    }

    /// A purge is over when a whole look that began after it shows nobody who has not been purged.
    fn finish_purge(&mut self, looked_for: Option<i64>) {
        let generation = self.purging.as_ref().map(|purging| purging.generation);
        let is_over = generation == looked_for && self.known.complete && self.work.reinstate.is_empty();
        if let Some(generation) = generation.filter(|_| is_over) {
            self.purging = None;
            self.state.purged = generation;
            tracing::info!(generation, "every client has been forgotten, as asked");
        }
    }
}
