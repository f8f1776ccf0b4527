//! Peers that are known to be off: an older picture of the API may still show them as they were.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::parse::{Peer, Uid};

/// How many are remembered.
const MOST: usize = 65_536;
/// How long one is remembered.
const LONGEST: Duration = Duration::from_hours(1);

/// What is known of peers that were released or deleted.
#[derive(Debug, Default)]
pub(super) struct Tombs {
    uids: HashSet<Uid, foldhash::fast::RandomState>,
    order: VecDeque<(Duration, Uid)>,
    /// What the API shows of some all the same, and the last list that did.
    withheld: HashMap<Uid, (Peer, u32)>,
}

impl Tombs {
    /// Remembers that a peer is off.
    pub fn add(&mut self, uid: Uid, now: Duration) {
        if self.uids.insert(uid) {
            self.order.push_back((now, uid));
        }
        while self.uids.len() > MOST {
            let Some((_, oldest)) = self.order.pop_front() else {
                return;
            };
            self.uids.remove(&oldest);
        }
    }

    /// Whether a peer is off; what the API says of it is kept until that is forgotten.
    pub fn withhold(&mut self, uid: Uid, peer: &Peer, listed: u32) -> bool {
        let is_off = self.uids.contains(&uid);
        if is_off {
            self.withheld.insert(uid, (peer.clone(), listed));
        }
        is_off
    }

    /// The API agrees: it is released, or gone.
    pub fn remove(&mut self, uid: &Uid) {
        self.uids.remove(uid);
        self.withheld.remove(uid);
    }

    /// The API no longer shows it.
    pub fn show_no_more(&mut self, uid: &Uid) {
        self.withheld.remove(uid);
    }

    /// Peers that the API shows as if they were on.
    pub fn withheld(&self) -> impl Iterator<Item = &Uid> {
        self.withheld.keys()
    }

    /// A list is over: what it has not shown is gone.
    pub fn finish_list(&mut self, list: u32) {
        self.withheld.retain(|_, (_, listed)| *listed == list);
    }

    /// Forgets what is too old; what the API shows of those is to be believed from now on.
    pub fn expire(&mut self, now: Duration) -> Vec<(Uid, Peer)> {
        while let Some((_, uid)) = self
            .order
            .front()
            .filter(|(since, _)| now.saturating_sub(*since) >= LONGEST)
        {
            self.uids.remove(uid);
            self.order.pop_front();
        }
        if self.withheld.is_empty() {
            return Vec::new();
        }
        let uids = &self.uids;
        let back = self.withheld.extract_if(|uid, _| !uids.contains(uid));
        back.map(|(uid, (peer, _))| (uid, peer)).collect()
    }
}
