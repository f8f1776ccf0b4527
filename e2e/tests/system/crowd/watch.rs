//! What becomes of endpoints and sessions, from looks alone.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use culvert_e2e::tunnel::Peer;

use crate::fixture::WINDOW;

/// One peer as it was last seen.
#[derive(Default)]
struct Seen {
    /// When it was seen to have an endpoint, from the look before the first that showed one.
    known_since: Option<Duration>,
    endpoint: Option<String>,
    /// The last handshake as the kernel stamps it, and the look before the first that showed it.
    stamp: u64,
    handshake: Option<Duration>,
    received: u64,
}

/// What all looks have shown.
#[derive(Default)]
pub struct Watch {
    peers: HashMap<String, Seen>,
    last_look: Duration,
    /// How long each was remembered, in seconds, since its last handshake or since it was first seen.
    retention: BTreeMap<u64, usize>,
    longest: Option<Duration>,
    handshakes: usize,
    moved: usize,
    cut: usize,
    early: usize,
}

impl Watch {
    /// Takes in what `wg` shows now.
    pub fn look(&mut self, peers: Vec<Peer>, now: Duration) {
        let before = std::mem::replace(&mut self.last_look, now);
        for peer in peers {
            self.take(peer, before, now);
        }
    }

    fn take(&mut self, peer: Peer, before: Duration, now: Duration) {
        let seen = self.peers.entry(peer.public_key).or_default();
        // A session that is certainly alive.
        let age = seen.handshake.map(|at| now.saturating_sub(at));
        let is_alive = age.is_some_and(|age| age < Duration::from_secs(WINDOW - 2));
        if is_alive && (peer.latest_handshake == 0 || peer.received < seen.received) {
            self.cut += 1;
        } else if is_alive && seen.endpoint.is_some() && peer.endpoint.is_none() {
            self.early += 1;
        }
        if peer.latest_handshake != seen.stamp {
            seen.stamp = peer.latest_handshake;
            seen.handshake = (peer.latest_handshake != 0).then_some(before);
            self.handshakes += usize::from(peer.latest_handshake != 0);
        }
        match (&seen.endpoint, &peer.endpoint) {
            (None, Some(_)) => seen.known_since = Some(before),
            (Some(old), Some(new)) if old != new => self.moved += 1,
            (Some(_), None) => {
                // One that is planted without a handshake counts from there.
                let since = seen.known_since.max(seen.handshake).unwrap_or_default();
                let kept = now.saturating_sub(since);
                *self.retention.entry(kept.as_secs()).or_default() += 1;
                self.longest = self.longest.max(Some(kept));
                seen.known_since = None;
            }
            _ => {}
        }
        seen.endpoint = peer.endpoint;
        seen.received = peer.received;
    }

    /// Whether nobody has an endpoint.
    pub fn knows_nobody(&self) -> bool {
        self.peers.values().all(|seen| seen.endpoint.is_none())
    }

    /// How often an endpoint was forgotten.
    pub fn forgotten(&self) -> usize {
        self.retention.values().sum()
    }

    /// The longest that anybody was remembered.
    pub fn longest(&self) -> Option<Duration> {
        self.longest
    }

    /// How many handshakes there were.
    pub fn handshakes(&self) -> usize {
        self.handshakes
    }

    /// How often an endpoint became another one.
    pub fn moved(&self) -> usize {
        self.moved
    }

    /// How often a live session's endpoint was forgotten; that costs it nothing.
    pub fn early(&self) -> usize {
        self.early
    }

    /// How many sessions were cut that were alive.
    pub fn cut(&self) -> usize {
        self.cut
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} handshakes, {} changes of endpoint, {} endpoints forgotten ({} of live sessions), {} live sessions cut, \
             longest {:.1} s",
            self.handshakes,
            self.moved,
            self.forgotten(),
            self.early,
            self.cut,
            self.longest.unwrap_or_default().as_secs_f64()
        )?;
        write!(out, "remembered, seconds: times ")?;
        for (seconds, times) in &self.retention {
            write!(out, " {seconds}: {times}")?;
        }
        Ok(())
    }
}
