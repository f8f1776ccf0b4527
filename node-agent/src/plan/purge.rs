//! Peers whose session is dead: forget where they were, later remove every trace.
//!
//! Forgetting overwrites the endpoint and is never put off: it loses nothing, even on a live session.
//! Removing the peer and adding it again takes handshake time, counters and session keys, too; it would
//! cut a live session, so it waits until ages are beyond doubt and a later dump shows that nothing has
//! come in since.

use std::time::Duration;

use culvert_wireguard::{ObservedPeer, PeerChange};

use crate::ages::{Age, Ages};
use crate::clock::Clocks;
use crate::desired::Wanted;

/// The changes of one tick. `wanted` is `None` while absence is not proved.
pub fn plan(
    observed: &[ObservedPeer],
    ages: &mut Ages,
    wanted: Option<&Wanted>,
    window: Duration,
    clocks: Clocks,
) -> Vec<PeerChange> {
    let mut forget = Vec::new();
    let mut reinstate = Vec::new();
    for peer in observed {
        let Some(age) = ages.age(&peer.public_key, clocks) else {
            continue;
        };
        let stale = age >= Age::Since(window);
        let known = peer.endpoint.is_some_and(|endpoint| !endpoint.is_forgotten());
        if known && (stale || ages.jumped()) {
            forget.push(PeerChange::Forget(peer.public_key));
        }
        if !stale || known {
            continue;
        }
        let quiet = ages.quiet(peer);
        let desired = wanted.and_then(|wanted| wanted.peers.get(&peer.public_key));
        if let Some(desired) = desired
            && quiet
            && ages.settled(clocks)
        {
            reinstate.push(PeerChange::Reinstate(desired.clone()));
        }
    }
    forget.extend(reinstate);
    forget
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_wireguard::{AllowedIps, DesiredPeer, Endpoint, PublicKey, WallTime};

    const WINDOW: Duration = Duration::from_secs(180);

    /// One peer, one interface, the agent's ticks.
    struct Bed {
        ages: Ages,
        boot: u64,
        peer: ObservedPeer,
        wanted: Wanted,
    }

    fn key() -> PublicKey {
        PublicKey::from_bytes([5; 32])
    }

    fn somewhere() -> Endpoint {
        Endpoint::new("192.0.2.1:1".parse().unwrap())
    }

    impl Bed {
        /// An agent that has been running for an hour, and a client that has just made a handshake.
        fn new() -> Self {
            let desired = DesiredPeer {
                public_key: key(),
                allowed_ips: AllowedIps::new(),
            };
            let wanted = Wanted {
                peers: [(key(), desired)].into(),
                ..Wanted::default()
            };
            let peer = ObservedPeer {
                public_key: key(),
                endpoint: None,
                last_handshake: None,
                rx_bytes: 0,
                tx_bytes: 0,
                allowed_ips: AllowedIps::new(),
                persistent_keepalive: 0,
                has_preshared_key: false,
            };
            let mut bed = Self {
                ages: Ages::default(),
                boot: 10_000,
                peer,
                wanted,
            };
            bed.tick(0);
            bed.boot += 3_600;
            bed.tick(0);
            bed
        }

        fn clocks(&self) -> Clocks {
            let boot = Duration::from_secs(self.boot);
            let seconds = i64::try_from(self.boot).unwrap() + 1_000_000;
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
            self.peer.endpoint = Some(somewhere());
            self.peer.rx_bytes += 100;
        }

        /// Plans a tick and does what the kernel would.
        fn tick(&mut self, seconds: u64) -> Vec<PeerChange> {
            self.boot += seconds;
            let clocks = self.clocks();
            self.tick_at(clocks)
        }

        fn tick_at(&mut self, clocks: Clocks) -> Vec<PeerChange> {
            self.ages.begin(clocks, WINDOW);
            self.ages.observe(&self.peer, clocks);
            let changes = plan(
                std::slice::from_ref(&self.peer),
                &mut self.ages,
                Some(&self.wanted),
                WINDOW,
                clocks,
            );
            self.ages.end(clocks);
            for change in &changes {
                match change {
                    PeerChange::Forget(_) => self.peer.endpoint = Some(Endpoint::FORGOTTEN),
                    PeerChange::Reinstate(_) => {
                        self.peer.endpoint = None;
                        self.peer.last_handshake = None;
                        self.peer.rx_bytes = 0;
                    }
                    other => panic!("{other:?}"),
                }
            }
            changes
        }
    }

    fn is_forget(changes: &[PeerChange]) -> bool {
        matches!(changes, [PeerChange::Forget(_)])
    }

    fn is_reinstate(changes: &[PeerChange]) -> bool {
        matches!(changes, [PeerChange::Reinstate(_)])
    }

    #[test]
    fn a_dead_session_is_forgotten_at_the_window_and_reinstated_at_a_later_tick() {
        let mut bed = Bed::new();
        bed.handshake();
        for _ in 0..35 {
            assert_eq!(bed.tick(5), []);
        }
        assert!(is_forget(&bed.tick(5)));
        assert_eq!(bed.tick(5), []);
        assert!(is_reinstate(&bed.tick(5)));
        for _ in 0..10 {
            assert_eq!(bed.tick(5), []);
        }
    }

    #[test]
    fn a_client_that_keeps_talking_is_left_alone() {
        let mut bed = Bed::new();
        for _ in 0..30 {
            bed.handshake();
            for _ in 0..24 {
                assert_eq!(bed.tick(5), []);
            }
        }
    }

    #[test]
    fn a_handshake_between_forgetting_and_reinstating_saves_the_session() {
        let mut bed = Bed::new();
        bed.handshake();
        assert!(is_forget(&bed.tick(180)));
        bed.handshake();
        for _ in 0..30 {
            assert_eq!(bed.tick(5), []);
        }
    }

    #[test]
    fn data_after_forgetting_puts_reinstating_off() {
        let mut bed = Bed::new();
        bed.handshake();
        assert!(is_forget(&bed.tick(180)));
        assert_eq!(bed.tick(5), []);
        bed.peer.rx_bytes += 32;
        assert_eq!(bed.tick(5), []);
        assert!(is_reinstate(&bed.tick(5)));
    }

    #[test]
    fn an_endpoint_whose_handshake_never_completes_goes_too() {
        let mut bed = Bed::new();
        bed.peer.endpoint = Some(somewhere());
        assert_eq!(bed.tick(5), []);
        assert_eq!(bed.tick(179), []);
        assert!(is_forget(&bed.tick(5)));
        assert_eq!(bed.tick(5), []);
        assert!(is_reinstate(&bed.tick(5)));
    }

    #[test]
    fn after_a_jump_of_the_clock_every_endpoint_is_overwritten_and_no_peer_removed() {
        let mut bed = Bed::new();
        bed.handshake();
        bed.tick(5);
        bed.boot += 5;
        let mut stepped = bed.clocks();
        stepped.wall.seconds += 86_400;
        assert!(is_forget(&bed.tick_at(stepped)));
    }

    #[test]
    fn for_one_window_after_a_start_no_peer_is_removed() {
        let mut bed = Bed::new();
        bed.handshake();
        bed.boot += 3_600;
        bed.ages = Ages::default();
        assert!(
            is_forget(&bed.tick(0)),
            "what is stale is overwritten by the first act"
        );
        for _ in 0..35 {
            assert_eq!(bed.tick(5), []);
        }
        assert!(is_reinstate(&bed.tick(5)));
    }

    #[test]
    fn without_a_whole_list_no_peer_is_removed() {
        let mut bed = Bed::new();
        bed.handshake();
        bed.wanted = Wanted::default();
        assert!(is_forget(&bed.tick(180)));
        for _ in 0..10 {
            assert_eq!(bed.tick(5), []);
        }
    }
}
