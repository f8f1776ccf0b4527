//! How long ago each peer was last heard from, on boot time.
//!
//! The kernel stamps handshakes with the wall clock, which can be stepped at any moment. So a stamp is
//! mapped to boot time once, on the tick on which it is new, and the result is held between the tick
//! before and this one: whatever the wall clock does, an age is wrong by a tick at most. Without a
//! tick before (after a start) the wall clock is all there is; a stamp from the future, and an endpoint
//! that has no handshake, count as old without limit, because forgetting an endpoint loses nothing and
//! keeping it might break the promise.

use std::collections::HashMap;
use std::time::Duration;

use culvert_wireguard::{ObservedPeer, PublicKey, WallTime};

use crate::clock::Clocks;

/// A wall clock that runs off boot time, or boot time off monotonic time, by more than this between two ticks has been
/// stepped, or the node has slept.
const JUMP: Duration = Duration::from_secs(1);

/// What is known of one peer's activity.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Track {
    handshake: Option<WallTime>,
    /// Boot time of the handshake, or of the tick that first saw an endpoint without one; `None` is older than any.
    since: Option<Duration>,
    quiet: Option<Quiet>,
    seen: u64,
}

/// What a peer looked like when its endpoint had been forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quiet {
    rx_bytes: u64,
    tick: u64,
}

/// The ages of an interface's peers.
#[derive(Debug, Default)]
pub struct Ages {
    tracks: HashMap<PublicKey, Track>,
    previous: Option<Clocks>,
    tick: u64,
    settled: Option<Duration>,
    jumped: bool,
}

/// A peer's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// So long.
    Since(Duration),
    /// Longer than anything.
    Unknown,
}

impl Ages {
    /// Begins a tick.
    ///
    /// For one `window` after the first tick, and after each jump of a clock, ages are not yet beyond doubt.
    pub fn begin(&mut self, clocks: Clocks, window: Duration) {
        self.tick += 1;
        self.jumped = self.previous.is_some_and(|previous| jumped(&previous, &clocks));
        if self.jumped || self.previous.is_none() {
            self.settled = Some(clocks.boot + window);
        }
    }

    /// Takes in one peer of the tick's dump.
    pub fn observe(&mut self, peer: &ObservedPeer, clocks: Clocks) {
        if peer.endpoint.is_none() && peer.last_handshake.is_none() {
            self.tracks.remove(&peer.public_key);
            return;
        }
        let since = match (peer.last_handshake, self.previous) {
            (Some(stamp), Some(previous)) => {
                Some(map(stamp, clocks).clamp(signed(previous.boot), signed(clocks.boot)))
            }
            (Some(stamp), None) => Some(map(stamp, clocks)).filter(|at| *at <= signed(clocks.boot)),
            (None, Some(_)) => Some(signed(clocks.boot)),
            (None, None) => None,
        };
        // Before boot is as good as unknown: nothing can be that young.
        let since = since
            .and_then(|nanos| u64::try_from(nanos).ok())
            .map(Duration::from_nanos);
        let tick = self.tick;
        let track = self.tracks.entry(peer.public_key).or_insert_with(|| Track {
            handshake: peer.last_handshake,
            since,
            quiet: None,
            seen: tick,
        });
        if track.handshake != peer.last_handshake {
            *track = Track {
                handshake: peer.last_handshake,
                since,
                quiet: None,
                seen: tick,
            };
        }
        track.seen = tick;
    }

    /// Ends the tick: peers that it has not shown are forgotten here, too.
    pub fn end(&mut self, clocks: Clocks) {
        let tick = self.tick;
        self.tracks.retain(|_, track| track.seen == tick);
        self.previous = Some(clocks);
    }

    /// The age of a peer; `None` when it shows no trace of anybody.
    pub fn age(&self, peer: &PublicKey, clocks: Clocks) -> Option<Age> {
        let track = self.tracks.get(peer)?;
        Some(track.since.map_or(Age::Unknown, |since| {
            Age::Since(clocks.boot.saturating_sub(since))
        }))
    }

    /// Whether a clock has jumped between the last tick and this one.
    pub fn jumped(&self) -> bool {
        self.jumped
    }

    /// Whether ages are beyond doubt, so that a peer may be removed for its age.
    pub fn settled(&self, clocks: Clocks) -> bool {
        self.settled.is_none_or(|at| clocks.boot >= at)
    }

    /// Notes that a stale peer's endpoint is forgotten; whether nothing has come from it since an earlier tick.
    pub fn quiet(&mut self, peer: &ObservedPeer) -> bool {
        let tick = self.tick;
        let Some(track) = self.tracks.get_mut(&peer.public_key) else {
            return false;
        };
        let quiet = track.quiet.get_or_insert(Quiet {
            rx_bytes: peer.rx_bytes,
            tick,
        });
        if quiet.rx_bytes != peer.rx_bytes {
            *quiet = Quiet {
                rx_bytes: peer.rx_bytes,
                tick,
            };
        }
        quiet.tick < tick
    }
}

fn jumped(before: &Clocks, now: &Clocks) -> bool {
    let boot = signed(now.boot) - signed(before.boot);
    let mono = signed(now.mono) - signed(before.mono);
    let wall = nanos(now.wall) - nanos(before.wall);
    let limit = signed(JUMP);
    (wall - boot).abs() > limit || (boot - mono).abs() > limit
}

/// The boot time, in nanoseconds, of a wall-clock stamp, by what both clocks show now.
fn map(stamp: WallTime, clocks: Clocks) -> i128 {
    signed(clocks.boot) - (nanos(clocks.wall) - nanos(stamp))
}

fn signed(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn nanos(time: WallTime) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_wireguard::{AllowedIps, Endpoint};
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_secs(180);

    fn clocks(boot: u64, wall: i64) -> Clocks {
        let boot = Duration::from_secs(boot);
        Clocks {
            boot,
            mono: boot,
            wall: WallTime {
                seconds: wall,
                nanoseconds: 0,
            },
        }
    }

    fn peer(handshake: Option<i64>) -> ObservedPeer {
        ObservedPeer {
            public_key: PublicKey::from_bytes([5; 32]),
            endpoint: Some(Endpoint::new("192.0.2.1:1".parse().unwrap())),
            last_handshake: handshake.map(|seconds| WallTime {
                seconds,
                nanoseconds: 0,
            }),
            rx_bytes: 0,
            tx_bytes: 0,
            allowed_ips: AllowedIps::new(),
            persistent_keepalive: 0,
            has_preshared_key: false,
        }
    }

    fn tick(ages: &mut Ages, peer: &ObservedPeer, clocks: Clocks) -> Option<Age> {
        ages.begin(clocks, WINDOW);
        ages.observe(peer, clocks);
        ages.end(clocks);
        ages.age(&peer.public_key, clocks)
    }

    #[test]
    fn a_handshake_ages_with_boot_time() {
        let mut ages = Ages::default();
        tick(&mut ages, &peer(Some(1_000)), clocks(100, 1_000));
        assert_eq!(
            tick(&mut ages, &peer(Some(1_000)), clocks(160, 1_060)),
            Some(Age::Since(Duration::from_secs(60)))
        );
    }

    #[test]
    fn a_wall_clock_step_changes_no_age_by_more_than_a_tick() {
        for step in [3_600, -3_600, 315_360_000, -315_360_000] {
            let mut ages = Ages::default();
            tick(&mut ages, &peer(Some(2_000_000_000)), clocks(100, 2_000_000_000));
            let aged = tick(
                &mut ages,
                &peer(Some(2_000_000_000)),
                clocks(105, 2_000_000_005 + step),
            );
            assert_eq!(aged, Some(Age::Since(Duration::from_secs(5))), "step {step}");
            // A handshake under the stepped clock, too, lies between the ticks around it.
            let fresh = peer(Some(2_000_000_008 + step));
            assert_eq!(
                tick(&mut ages, &fresh, clocks(110, 2_000_000_010)),
                Some(Age::Since(match step {
                    s if s > 0 => Duration::ZERO,
                    _ => Duration::from_secs(5),
                })),
                "step {step}"
            );
        }
    }

    #[test]
    fn after_a_start_a_stamp_from_the_future_is_older_than_any() {
        assert_eq!(
            tick(&mut Ages::default(), &peer(Some(2_000)), clocks(100, 1_000)),
            Some(Age::Unknown)
        );
    }

    #[test]
    fn after_a_start_an_endpoint_without_handshake_is_older_than_any() {
        assert_eq!(
            tick(&mut Ages::default(), &peer(None), clocks(100, 1_000)),
            Some(Age::Unknown)
        );
    }

    #[test]
    fn an_endpoint_without_handshake_ages_from_when_it_was_first_seen() {
        let mut ages = Ages::default();
        let nobody = ObservedPeer {
            endpoint: None,
            ..peer(None)
        };
        assert_eq!(tick(&mut ages, &nobody, clocks(100, 1_000)), None);
        tick(&mut ages, &peer(None), clocks(105, 1_005));
        assert_eq!(
            tick(&mut ages, &peer(None), clocks(285, 1_185)),
            Some(Age::Since(WINDOW))
        );
    }

    #[test]
    fn a_suspend_and_a_step_are_jumps_and_plain_time_is_none() {
        let mut ages = Ages::default();
        tick(&mut ages, &peer(None), clocks(100, 1_000));
        tick(&mut ages, &peer(None), clocks(300, 1_200));
        assert!(!ages.jumped());
        tick(&mut ages, &peer(None), clocks(305, 5_000));
        assert!(ages.jumped());
        let asleep = Clocks {
            mono: Duration::from_secs(310),
            ..clocks(400, 5_095)
        };
        tick(&mut ages, &peer(None), asleep);
        assert!(ages.jumped());
    }

    #[test]
    fn ages_are_in_doubt_for_one_window_after_a_start() {
        let mut ages = Ages::default();
        tick(&mut ages, &peer(None), clocks(100, 1_000));
        assert!(!ages.settled(clocks(279, 1_179)));
        assert!(ages.settled(clocks(280, 1_180)));
    }

    #[test]
    fn a_peer_that_sends_again_is_not_quiet() {
        let mut ages = Ages::default();
        let mut stale = peer(Some(1_000));
        tick(&mut ages, &stale, clocks(100, 1_000));
        assert!(!ages.quiet(&stale));
        tick(&mut ages, &stale, clocks(105, 1_005));
        assert!(ages.quiet(&stale));
        stale.rx_bytes = 32;
        assert!(!ages.quiet(&stale));
    }

    proptest! {
        /// Whatever the wall clock shows at each tick, the age of a handshake is right within one tick.
        #[test]
        fn no_sequence_of_wall_clock_steps_makes_an_age_wrong(
            offsets in prop::collection::vec(-400_000_000_i64..400_000_000, 2..12),
            at in 1_u64..10,
        ) {
            let mut ages = Ages::default();
            let mut stamp = None;
            for (n, offset) in (0_u64..).zip(&offsets) {
                let boot = 1_000 + 5 * n;
                let now = clocks(boot, 1_000_000_000 + i64::try_from(5 * n).unwrap() + offset);
                if n == at {
                    // The handshake took place two seconds ago, under the clock of this tick.
                    stamp = Some(now.wall.seconds - 2);
                }
                let observed = ObservedPeer { endpoint: stamp.and(peer(None).endpoint), ..peer(stamp) };
                let age = tick(&mut ages, &observed, now);
                if stamp.is_some() {
                    let truth = Duration::from_secs(5 * (n - at) + 2);
                    let Some(Age::Since(age)) = age else { return Err(TestCaseError::fail("no age")) };
                    prop_assert!(age.abs_diff(truth) <= Duration::from_secs(5), "{age:?} for {truth:?}");
                }
            }
        }
    }
}
