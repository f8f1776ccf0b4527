//! Peers whose session is dead: forget where they were, later remove every trace.
//!
//! Forgetting overwrites the endpoint and is never put off: it loses nothing, even on a live session.
//! Removing the peer and adding it again takes handshake time, counters and session keys, too; it would
//! cut a live session, so it waits until ages are beyond doubt and a later dump shows that nothing has
//! come in since.

use std::time::Duration;

use crate::ages::{Age, Ages, Who};
use crate::clock::Clocks;
use crate::observed::Trace;

/// What to do about the traces of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Nothing.
    Keep,
    /// Overwrite its endpoint.
    Forget,
    /// Remove it and add it again.
    Reinstate,
}

/// What to do about a peer that the tick's look shows. `is_wanted` says whether it may be added again, which is never
/// said while absence is not proved.
pub fn judge(
    ages: &mut Ages,
    who: Who<'_>,
    trace: Option<&Trace>,
    is_wanted: bool,
    window: Duration,
    clocks: Clocks,
) -> Purge {
    let age = ages.observe(who, trace, clocks);
    let (Some(age), Some(trace)) = (age, trace) else {
        return Purge::Keep;
    };
    let is_stale = age >= Age::Since(window);
    if trace.located {
        return if is_stale || ages.jumped() {
            Purge::Forget
        } else {
            Purge::Keep
        };
    }
    // What it has received is noted even where nothing may be done about it yet.
    if is_stale && ages.quiet(who, trace.rx_bytes) && is_wanted && ages.settled(clocks) {
        Purge::Reinstate
    } else {
        Purge::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_wireguard::{PublicKey, WallTime};

    use crate::desired::Slot;

    const WINDOW: Duration = Duration::from_secs(180);

    const KEY: PublicKey = PublicKey::from_bytes([5; 32]);

    /// One peer, one interface, the agent's ticks.
    struct Bed {
        ages: Ages,
        boot: u64,
        /// How far the wall clock is ahead of boot time, in seconds.
        ahead: i64,
        peer: Peer,
        is_wanted: bool,
    }

    /// The peer as the kernel has it.
    #[derive(Default)]
    struct Peer {
        endpoint: Option<bool>,
        last_handshake: Option<WallTime>,
        rx_bytes: u64,
    }

    impl Bed {
        /// An agent that has been running for an hour, and a client that has just made a handshake.
        fn new() -> Self {
            let mut bed = Self {
                ages: Ages::default(),
                boot: 10_000,
                ahead: 1_000_000,
                peer: Peer::default(),
                is_wanted: true,
            };
            bed.tick(0);
            bed.boot += 3_600;
            bed.tick(0);
            bed
        }

        fn clocks(&self) -> Clocks {
            let boot = Duration::from_secs(self.boot);
            let seconds = i64::try_from(self.boot).unwrap() + self.ahead;
            Clocks {
                boot,
                mono: boot,
                wall: WallTime {
                    seconds,
                    nanoseconds: 0,
                },
            }
        }

        fn handshake(&mut self) {
            self.peer.last_handshake = Some(self.clocks().wall);
            self.peer.endpoint = Some(true);
            self.peer.rx_bytes += 100;
        }

        /// Plans a tick and does what the kernel would.
        fn tick(&mut self, seconds: u64) -> Purge {
            self.boot += seconds;
            let clocks = self.clocks();
            let who = Who {
                public_key: &KEY,
                slot: Some(Slot(3)),
            };
            let peer = &self.peer;
            let is_there = peer.endpoint.is_some() || peer.last_handshake.is_some();
            let trace = is_there.then_some(Trace {
                located: peer.endpoint == Some(true),
                handshake: peer.last_handshake,
                rx_bytes: peer.rx_bytes,
            });
            self.ages.begin(clocks, WINDOW);
            let purge = judge(
                &mut self.ages,
                who,
                trace.as_ref(),
                self.is_wanted,
                WINDOW,
                clocks,
            );
            self.ages.end(true);
            match purge {
                Purge::Keep => {}
                Purge::Forget => self.peer.endpoint = Some(false),
                Purge::Reinstate => self.peer = Peer::default(),
            }
            purge
        }
    }

    fn is_forget(purge: Purge) -> bool {
        purge == Purge::Forget
    }

    fn is_reinstate(purge: Purge) -> bool {
        purge == Purge::Reinstate
    }

    #[test]
    fn a_dead_session_is_forgotten_at_the_window_and_reinstated_at_a_later_tick() {
        let mut bed = Bed::new();
        bed.handshake();
        for _ in 0..35 {
            assert_eq!(bed.tick(5), Purge::Keep);
        }
        assert!(is_forget(bed.tick(5)));
        assert_eq!(bed.tick(5), Purge::Keep);
        assert!(is_reinstate(bed.tick(5)));
        for _ in 0..10 {
            assert_eq!(bed.tick(5), Purge::Keep);
        }
    }

    #[test]
    fn a_client_that_keeps_talking_is_left_alone() {
        let mut bed = Bed::new();
        for _ in 0..30 {
            bed.handshake();
            for _ in 0..24 {
                assert_eq!(bed.tick(5), Purge::Keep);
            }
        }
    }

    #[test]
    fn a_handshake_between_forgetting_and_reinstating_saves_the_session() {
        let mut bed = Bed::new();
        bed.handshake();
        assert!(is_forget(bed.tick(180)));
        bed.handshake();
        for _ in 0..30 {
            assert_eq!(bed.tick(5), Purge::Keep);
        }
    }

    #[test]
    fn data_after_forgetting_puts_reinstating_off() {
        let mut bed = Bed::new();
        bed.handshake();
        assert!(is_forget(bed.tick(180)));
        assert_eq!(bed.tick(5), Purge::Keep);
        bed.peer.rx_bytes += 32;
        assert_eq!(bed.tick(5), Purge::Keep);
        assert!(is_reinstate(bed.tick(5)));
    }

    #[test]
    fn an_endpoint_whose_handshake_never_completes_goes_too() {
        let mut bed = Bed::new();
        bed.peer.endpoint = Some(true);
        assert_eq!(bed.tick(5), Purge::Keep);
        assert_eq!(bed.tick(179), Purge::Keep);
        assert!(is_forget(bed.tick(5)));
        assert_eq!(bed.tick(5), Purge::Keep);
        assert!(is_reinstate(bed.tick(5)));
    }

    #[test]
    fn after_a_jump_of_the_clock_every_endpoint_is_overwritten_and_no_peer_removed() {
        let mut bed = Bed::new();
        bed.handshake();
        bed.tick(5);
        bed.ahead += 86_400;
        assert!(is_forget(bed.tick(5)));
    }

    #[test]
    fn for_one_window_after_a_jump_of_the_clock_no_peer_is_removed() {
        for step in [86_400, -86_400] {
            let mut bed = Bed::new();
            bed.handshake();
            for _ in 0..35 {
                assert_eq!(bed.tick(5), Purge::Keep);
            }
            bed.ahead += step;
            assert!(is_forget(bed.tick(5)));
            for second in (5..180).step_by(5) {
                assert_eq!(bed.tick(5), Purge::Keep, "{second} s after a step of {step}");
            }
            assert!(is_reinstate(bed.tick(5)), "a step of {step}");
        }
    }

    #[test]
    fn for_one_window_after_a_start_no_peer_is_removed() {
        let mut bed = Bed::new();
        bed.handshake();
        bed.boot += 3_600;
        bed.ages = Ages::default();
        assert!(
            is_forget(bed.tick(0)),
            "what is stale is overwritten by the first act"
        );
        for _ in 0..35 {
            assert_eq!(bed.tick(5), Purge::Keep);
        }
        assert!(is_reinstate(bed.tick(5)));
    }

    #[test]
    fn without_a_whole_list_no_peer_is_removed() {
        let mut bed = Bed::new();
        bed.handshake();
        bed.is_wanted = false;
        assert!(is_forget(bed.tick(180)));
        for _ in 0..10 {
            assert_eq!(bed.tick(5), Purge::Keep);
        }
    }
}
