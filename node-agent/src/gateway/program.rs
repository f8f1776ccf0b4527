//! Messages: what the queues mean when it is sent.

use std::net::IpAddr;
use std::time::Duration;

use culvert_wireguard::{Error, PeerChange, Refusal};
use ipnet::IpNet;

use super::{Gateway, Ground, PassError};
use crate::ages::{Age, Who};
use crate::desired::Slot;
use crate::execute::pace::Kind;
use crate::interface::Managed;
use crate::kernel::Kernel;
use crate::plan::{batch, room};

/// Changes of one message, each with its slot.
type Changes = Vec<(Slot, PeerChange)>;

impl Gateway {
    /// Makes these peers what is wanted of them now: first who goes, then who is there, then who comes.
    pub(super) fn program<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
        slots: Vec<Slot>,
    ) -> Result<(), PassError> {
        let (gone, known, mut further) = self.resolve(on, slots);
        let now = (on.clock)().mono;
        let freed = gone.len();
        if !gone.is_empty() || !known.is_empty() {
            let changes = gone.iter().chain(&known).map(|(_, change)| change.clone());
            self.send(on, interface, Kind::Put, changes.collect())?;
            self.disturb(gone.iter().chain(&known).map(|(slot, _)| *slot));
            for (slot, _) in gone {
                self.held.remove(slot);
                self.keyed.remove(slot);
            }
            for (slot, _) in known {
                self.keyed.remove(slot);
                self.proof.put(slot);
            }
        }
        // Whoever goes makes room for those that wait.
        for slot in self.proof.waiting(freed) {
            self.work.put.push(slot);
        }
        if further.is_empty() {
            return Ok(());
        }
        let present = self.held.len() + self.foreign;
        let most = room::most(on.kernel.backend()).saturating_sub(present);
        let room = self.room.most(present, Some(now)).min(most);
        let waiting: Vec<Slot> = further
            .split_off(room.min(further.len()))
            .into_iter()
            .map(|(slot, _)| slot)
            .collect();
        if self.room.is_full() || room == most {
            waiting.into_iter().for_each(|slot| self.proof.lack_room(slot));
        } else {
            self.work.put.put_back(&waiting);
        }
        self.send_further(on, interface, &further, present, now)
    }

    fn send_further<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
        further: &Changes,
        present: usize,
        now: Duration,
    ) -> Result<(), PassError> {
        if further.is_empty() {
            return Ok(());
        }
        let changes = further.iter().map(|(_, change)| change.clone());
        let result = self.send(on, interface, Kind::Put, changes.collect());
        self.disturb(further.iter().map(|(slot, _)| *slot));
        match result {
            Ok(()) => {
                self.room.taken(present);
                for (slot, _) in further {
                    self.held.insert(*slot);
                    self.proof.put(*slot);
                }
                Ok(())
            }
            Err(error) if error.refusal() == Some(Refusal::OutOfMemory) => {
                self.room.refused(further.len(), present, Some(now));
                match further.as_slice() {
                    [(slot, _)] => self.proof.lack_room(*slot),
                    several => {
                        let slots: Vec<Slot> = several.iter().map(|(slot, _)| *slot).collect();
                        self.work.put.put_back(&slots);
                    }
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What is wanted of these peers now: who goes, who is there, who comes.
    fn resolve<K: Kernel>(&mut self, on: &Ground<'_, K>, slots: Vec<Slot>) -> (Changes, Changes, Changes) {
        let (mut gone, mut known, mut further) = (Changes::new(), Changes::new(), Changes::new());
        let table = on.desired.lock();
        for slot in slots {
            let standing = table.standing(&self.view, slot);
            self.proof.note(slot, standing);
            let is_held = self.held.contains(slot);
            let Some(peer) = table.wanted(&self.view, slot) else {
                if table.is_unwanted(&self.view, slot) && (is_held || !self.round.is_synced) {
                    self.flows.extend(table.addresses(slot));
                    gone.push((slot, PeerChange::Remove(table.public_key(slot))));
                }
                continue;
            };
            if self.view.own.is_none() {
                // Whether it may be there is not known before the gateway's own key is; a look comes first.
                continue;
            }
            if self.keyed.contains(slot) {
                // A preshared key that somebody set by hand leaves only with the peer itself.
                known.push((slot, PeerChange::Reinstate(peer)));
            } else if is_held {
                known.push((slot, PeerChange::Set(peer)));
            } else {
                further.push((slot, PeerChange::Set(peer)));
            }
        }
        (gone, known, further)
    }

    /// Removes peers that the API does not know.
    pub(super) fn send_surplus<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
    ) -> Result<(), PassError> {
        let keys = self.work.surplus.take(self.pace.size(Kind::Put));
        // Somebody may have come to know them since.
        let changes: Vec<PeerChange> = {
            let table = on.desired.lock();
            let is_unknown = |key: &_| table.is_complete() && table.slot(key).is_none();
            keys.into_iter()
                .filter(is_unknown)
                .map(PeerChange::Remove)
                .collect()
        };
        let removed = changes.len();
        self.send(on, interface, Kind::Put, changes)?;
        self.foreign = self.foreign.saturating_sub(removed);
        Ok(())
    }

    /// Overwrites endpoints.
    pub(super) fn send_forget<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
    ) -> Result<(), PassError> {
        let number = self.pace.size(Kind::Forget).min(self.work.forget.len());
        let keys: Vec<_> = self.work.forget.drain(..number).collect();
        let changes = keys.iter().copied().map(PeerChange::Forget).collect();
        let result = self.send(on, interface, Kind::Forget, changes);
        self.disturb([]);
        if result.is_err() {
            keys.into_iter()
                .rev()
                .for_each(|key| self.work.forget.push_front(key));
        } else {
            on.metrics.forgotten(number);
        }
        Ok(result?)
    }

    /// Removes peers and adds them again, as long as what was seen of them is fresh.
    pub(super) fn send_reinstate<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
        now: Duration,
    ) -> Result<(), PassError> {
        if now > self.round.reinstate_until {
            self.work.reinstate.clear();
            self.look_for_traces();
            return Ok(());
        }
        let slots = self.work.reinstate.take(self.pace.size(Kind::Reinstate));
        let clocks = (on.clock)();
        let changes: Changes = {
            let table = on.desired.lock();
            let may = table.is_complete() && !self.round.forgets_only;
            // A later look may have shown that somebody is there again.
            let is_stale = |slot: &Slot| {
                let public_key = table.public_key(*slot);
                let who = Who {
                    public_key: &public_key,
                    slot: Some(*slot),
                };
                let age = self.ages.age(who, clocks);
                self.ages.settled(clocks) && age >= Some(Age::Since(self.mark.window))
            };
            let again = |slot| Some((slot, PeerChange::Reinstate(table.wanted(&self.view, slot)?)));
            slots
                .into_iter()
                .filter(|slot| may && (self.purging.is_some() || is_stale(slot)))
                .filter_map(again)
                .collect()
        };
        let messages = changes.iter().map(|(_, change)| change.clone()).collect();
        self.send(on, interface, Kind::Reinstate, messages)?;
        self.flows
            .extend(changes.iter().flat_map(|(_, change)| addresses(change)));
        on.metrics.reinstated(changes.len());
        for (slot, _) in changes {
            self.reinstated.insert(slot);
            if let Some(purging) = &mut self.purging {
                purging.done.insert(slot);
            }
        }
        if self.purging.is_some() && self.work.reinstate.is_empty() {
            self.look_for_traces();
        }
        Ok(())
    }

    fn look_for_traces(&mut self) {
        self.round.is_tick_due = true;
        self.round.is_look_due = true;
    }

    fn send<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
        kind: Kind,
        changes: Vec<PeerChange>,
    ) -> Result<(), Error> {
        for message in batch::messages(changes) {
            let begun = (on.clock)().mono;
            let result = on.kernel.change(interface, &message);
            let took = (on.clock)().mono.saturating_sub(begun);
            self.pace.took(kind, message.len(), took);
            result?;
            if kind == Kind::Put {
                on.metrics.acknowledged(took);
            }
        }
        Ok(())
    }
}

/// What a peer that is made anew may be spoken to under.
fn addresses(change: &PeerChange) -> Vec<IpAddr> {
    match change {
        PeerChange::Reinstate(peer) => peer.allowed_ips.iter().map(IpNet::addr).collect(),
        _ => Vec::new(),
    }
}
