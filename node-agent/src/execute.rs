//! What is to be done on an interface, in queues of slots: what each means is found out when it is sent, so nothing in a
//! queue is ever out of date.

pub mod pace;

use std::collections::{HashSet, VecDeque};

use culvert_wireguard::PublicKey;

use crate::desired::{Slot, Slots};

/// Room that an empty queue keeps.
const KEPT: usize = 1024;

/// Slots in order, each once.
#[derive(Debug, Default)]
pub struct Queue {
    order: VecDeque<Slot>,
    queued: Slots,
}

impl Queue {
    /// Puts a slot at the end, unless it is in it.
    pub fn push(&mut self, slot: Slot) {
        if self.queued.insert(slot) {
            self.order.push_back(slot);
        }
    }

    /// Puts slots at the front, in this order.
    pub fn put_back(&mut self, slots: &[Slot]) {
        for slot in slots.iter().rev() {
            if self.queued.insert(*slot) {
                self.order.push_front(*slot);
            }
        }
    }

    /// Takes up to so many from the front.
    pub fn take(&mut self, most: usize) -> Vec<Slot> {
        let slots: Vec<Slot> = self.order.drain(..most.min(self.order.len())).collect();
        for slot in &slots {
            self.queued.remove(*slot);
        }
        if self.order.is_empty() && self.order.capacity() > KEPT {
            // A bulk is over.
            self.order = VecDeque::new();
        }
        slots
    }

    /// Whether a slot is in it.
    pub fn contains(&self, slot: Slot) -> bool {
        self.queued.contains(slot)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Takes all out, and gives the room back.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Public keys that the API does not know, in order, each once.
#[derive(Debug, Default)]
pub struct Strangers {
    order: VecDeque<PublicKey>,
    queued: HashSet<PublicKey>,
}

impl Strangers {
    /// Puts a public key at the end; whether it was not in it.
    pub fn push(&mut self, public_key: PublicKey) -> bool {
        let is_new = self.queued.insert(public_key);
        if is_new {
            self.order.push_back(public_key);
        }
        is_new
    }

    /// Takes up to so many from the front.
    pub fn take(&mut self, most: usize) -> Vec<PublicKey> {
        let keys: Vec<PublicKey> = self.order.drain(..most.min(self.order.len())).collect();
        for key in &keys {
            self.queued.remove(key);
        }
        if self.order.is_empty() {
            // There are hardly ever any.
            *self = Self::default();
        }
        keys
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Work {
    /// Peers that somebody waits for.
    pub urgent: Queue,
    /// Endpoints to overwrite.
    pub forget: VecDeque<PublicKey>,
    /// Peers that should not be there.
    pub remove: Queue,
    /// The same, of peers that the API does not know.
    pub surplus: Strangers,
    /// Peers that are missing or wrong.
    pub put: Queue,
    /// Peers to be removed and added again.
    pub reinstate: Queue,
    /// The last message forgot somebody: neither urgent peers nor forgetting may keep the other waiting.
    pub has_forgotten: bool,
}

impl Work {
    /// Whether nobody is to be added, changed or removed as the API asks.
    pub fn is_programmed(&self) -> bool {
        self.urgent.is_empty() && self.remove.is_empty() && self.surplus.is_empty() && self.put.is_empty()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.is_programmed() && self.forget.is_empty() && self.reinstate.is_empty()
    }

    /// Leaves all that the next look finds again; who is to be forgotten stays so.
    pub fn give_up(&mut self) {
        let forget = std::mem::take(&mut self.forget);
        *self = Self {
            forget,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_in_a_queue_once() {
        let mut queue = Queue::default();
        for slot in [3, 1, 3, 2] {
            queue.push(Slot(slot));
        }
        assert_eq!(queue.take(2), [Slot(3), Slot(1)]);
        queue.put_back(&[Slot(1), Slot(2), Slot(9)]);
        queue.push(Slot(1));
        assert_eq!(queue.take(9), [Slot(1), Slot(9), Slot(2)]);
        assert!(queue.is_empty());
    }
}
