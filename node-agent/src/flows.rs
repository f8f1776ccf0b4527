//! Whom clients have talked to, as far as the kernel's connection tracking remembers it, goes with their traces.
//!
//! A peer that leaves, and one that is purged, leave their tunnel addresses here. They wait for a whole tick, so that the
//! peer is gone from the kernel by then and makes no connection any more; then all of them go in one pass through the
//! table, by a thread of its own: the table may be large, and nobody waits for it. Fails towards remembering: what could
//! not be deleted is tried again with the next, and ends by the kernel's own timeouts.

use std::collections::HashSet;
use std::mem;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::conntrack::Conntrack;

/// Addresses whose flows are to be forgotten.
#[derive(Debug)]
pub struct Flows {
    /// Since the last tick.
    fresh: HashSet<IpAddr>,
    /// Before.
    aged: HashSet<IpAddr>,
    to: Sender<HashSet<IpAddr>>,
}

impl Flows {
    /// Those of the network namespace of this process.
    pub fn start() -> Self {
        let (flows, addresses) = Self::handed_over();
        thread::spawn(move || forget(&addresses));
        flows
    }

    /// Whoever has the other end is to forget them.
    pub fn handed_over() -> (Self, Receiver<HashSet<IpAddr>>) {
        let (to, addresses) = channel();
        let flows = Self {
            fresh: HashSet::new(),
            aged: HashSet::new(),
            to,
        };
        (flows, addresses)
    }

    /// Takes in addresses whose peers have just left or been purged, or are about to.
    pub fn add(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.fresh.extend(addresses);
    }

    /// A tick: who has waited for one is forgotten.
    pub fn tick(&mut self) {
        let aged = mem::replace(&mut self.aged, mem::take(&mut self.fresh));
        if !aged.is_empty() {
            // The other end lives as long as the agent.
            let _ = self.to.send(aged);
        }
    }
}

fn forget(addresses: &Receiver<HashSet<IpAddr>>) {
    let mut conntrack = None;
    let mut left = HashSet::new();
    let mut has_failed = false;
    while let Ok(next) = addresses.recv() {
        left.extend(next);
        // All that has come meanwhile costs no more.
        addresses.try_iter().for_each(|next| left.extend(next));
        let open = match conntrack.take() {
            Some(open) => Ok(open),
            None => Conntrack::open(),
        };
        let forgotten = open.and_then(|mut open| {
            open.forget(&left)?;
            conntrack = Some(open);
            Ok(())
        });
        match forgotten {
            Ok(()) => left = HashSet::new(),
            Err(error) if !mem::replace(&mut has_failed, true) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "unable to delete connections of clients that have gone");
                continue;
            }
            Err(_) => continue,
        }
        has_failed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(last: &[u8]) -> HashSet<IpAddr> {
        last.iter().map(|last| IpAddr::from([10, 64, 0, *last])).collect()
    }

    #[test]
    fn addresses_wait_for_a_whole_tick_and_go_together() {
        let (mut flows, forgotten) = Flows::handed_over();
        flows.add(set(&[2]));
        flows.tick();
        assert!(forgotten.try_recv().is_err(), "its peer may still be there");
        flows.add(set(&[3, 4]));
        flows.add(set(&[3]));
        flows.tick();
        assert_eq!(forgotten.try_recv(), Ok(set(&[2])));
        flows.tick();
        assert_eq!(forgotten.try_recv(), Ok(set(&[3, 4])));
        flows.tick();
        assert!(forgotten.try_recv().is_err(), "nobody is forgotten twice");
    }
}
