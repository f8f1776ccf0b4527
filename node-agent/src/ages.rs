//! How long ago each peer was last heard from, on boot time.
//!
//! The kernel stamps handshakes with the wall clock, which can be stepped at any moment. So a stamp is
//! mapped to boot time once, on the tick on which it is new, and the result is held between the tick
//! before and this one: whatever the wall clock does, an age is wrong by a tick at most. Without a
//! tick before that has seen everything (after a start) the wall clock is all there is; a stamp from
//! the future, and an endpoint that has no handshake, count as old without limit, because forgetting
//! an endpoint loses nothing and keeping it might break the promise.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use culvert_wireguard::{PublicKey, WallTime};

use crate::clock::Clocks;
use crate::desired::Slot;
use crate::observed::Trace;

/// A wall clock that runs off boot time, or boot time off monotonic time, by more than this between two ticks has been
/// stepped, or the node has slept.
const JUMP: Duration = Duration::from_secs(1);

/// There was no handshake.
const NEVER: i64 = i64::MIN;
/// Older than any.
const UNKNOWN: u64 = u64::MAX;

/// Which peer an age is of.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Its public key.
    pub public_key: &'a PublicKey,
    /// Its number, when the API knows it.
    pub slot: Option<Slot>,
}

/// What is known of one peer's activity, as nanoseconds. It does not print.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Track {
    /// The stamp of the handshake, on the wall clock.
    handshake: i64,
    /// Boot time of the handshake, or of the tick that first saw an endpoint without one.
    since: u64,
    /// Bytes that had come in when its endpoint had been forgotten …
    quiet_rx: u64,
    /// … and the tick of that; 0 before.
    quiet: u32,
    /// The last tick that saw it.
    seen: u32,
}

/// The ages of an interface's peers. Nothing is kept of a peer that shows no trace of anybody.
#[derive(Debug, Default)]
pub struct Ages {
    tracks: HashMap<Slot, Track, foldhash::fast::RandomState>,
    /// Of peers that the API does not know, or not yet.
    foreign: HashMap<PublicKey, Track>,
    /// What the clocks showed at this tick …
    current: Option<Clocks>,
    /// … and at the last one that had a whole look: what is new since happened after it.
    proven: Option<Clocks>,
    tick: u32,
    settled: Option<Duration>,
    jumped: bool,
}

/// A peer's age: when somebody was active, so it does not print.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// So long.
    Since(Duration),
    /// Longer than anything.
    Unknown,
}

impl fmt::Debug for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Track(…)")
    }
}

impl fmt::Debug for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Age(…)")
    }
}

impl Track {
    fn age(&self, clocks: Clocks) -> Age {
        match self.since {
            UNKNOWN => Age::Unknown,
            since => Age::Since(clocks.boot.saturating_sub(Duration::from_nanos(since))),
        }
    }
}

impl Ages {
    /// Begins a tick.
    ///
    /// For one `window` after the first tick, and after each jump of a clock, ages are not yet beyond doubt.
    pub fn begin(&mut self, clocks: Clocks, window: Duration) {
        self.tick += 1;
        let previous = self.current.replace(clocks);
        self.jumped = previous.is_some_and(|previous| jumped(&previous, &clocks));
        if self.jumped || previous.is_none() {
            self.settled = Some(clocks.boot + window);
        }
    }

    /// Takes in what the tick's look shows of a peer, and says how old that is: once a tick, and only when there is a
    /// trace of somebody.
    pub fn observe(&mut self, who: Who<'_>, trace: Option<&Trace>, clocks: Clocks) -> Option<Age> {
        let known = self.take(who);
        let trace = trace?;
        let tick = self.tick;
        let stamp = trace.handshake.map_or(NEVER, nanos);
        let track = match known {
            Some(track) if track.handshake == stamp => Track { seen: tick, ..track },
            _ => Track {
                handshake: stamp,
                since: self.since(trace.handshake, clocks),
                quiet_rx: 0,
                quiet: 0,
                seen: tick,
            },
        };
        match who.slot {
            Some(slot) => self.tracks.insert(slot, track),
            None => self.foreign.insert(*who.public_key, track),
        };
        let is_first = known.is_none_or(|known| known.seen != tick);
        is_first.then(|| track.age(clocks))
    }

    /// When something that is new on this tick happened, on boot time.
    fn since(&self, handshake: Option<WallTime>, clocks: Clocks) -> u64 {
        let since = match (handshake, self.proven) {
            (Some(stamp), Some(proven)) => {
                Some(map(stamp, clocks).clamp(signed(proven.boot), signed(clocks.boot)))
            }
            (Some(stamp), None) => Some(map(stamp, clocks)).filter(|at| *at <= signed(clocks.boot)),
            (None, Some(_)) => Some(signed(clocks.boot)),
            (None, None) => None,
        };
        // Before boot is as good as unknown: nothing can be that young.
        since
            .and_then(|nanos| u64::try_from(nanos).ok())
            .unwrap_or(UNKNOWN)
    }

    /// Ends a look of the tick: peers that no look of it has shown are forgotten here, too. What an interrupted one has
    /// not shown may be there all the same, and would come back as young as the tick.
    pub fn end(&mut self, is_whole: bool) {
        let tick = self.tick;
        if is_whole {
            self.proven = self.current;
            self.tracks.retain(|_, track| track.seen == tick);
            self.foreign.retain(|_, track| track.seen == tick);
        }
    }

    /// The age of a peer; `None` when it shows no trace of anybody.
    pub fn age(&self, who: Who<'_>, clocks: Clocks) -> Option<Age> {
        let by_slot = who.slot.and_then(|slot| self.tracks.get(&slot));
        let track = by_slot.or_else(|| self.foreign.get(who.public_key))?;
        Some(track.age(clocks))
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
    pub fn quiet(&mut self, who: Who<'_>, rx_bytes: u64) -> bool {
        let tick = self.tick;
        let by_slot = who.slot.and_then(|slot| self.tracks.get_mut(&slot));
        let Some(track) = by_slot.or_else(|| self.foreign.get_mut(who.public_key)) else {
            return false;
        };
        if track.quiet == 0 || track.quiet_rx != rx_bytes {
            track.quiet = tick;
            track.quiet_rx = rx_bytes;
        }
        track.quiet < tick
    }

    /// Takes in that these slots will be others'.
    pub fn recycled(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.tracks.remove(slot);
        }
    }

    fn take(&mut self, who: Who<'_>) -> Option<Track> {
        let by_slot = who.slot.and_then(|slot| self.tracks.remove(&slot));
        // Only now and then is anybody there whom the API does not know.
        if by_slot.is_some() || self.foreign.is_empty() {
            return by_slot;
        }
        self.foreign.remove(who.public_key)
    }
}

fn jumped(before: &Clocks, now: &Clocks) -> bool {
    let boot = signed(now.boot) - signed(before.boot);
    let mono = signed(now.mono) - signed(before.mono);
    let wall = i128::from(nanos(now.wall)) - i128::from(nanos(before.wall));
    let limit = signed(JUMP);
    (wall - boot).abs() > limit || (boot - mono).abs() > limit
}

/// The boot time, in nanoseconds, of a wall-clock stamp, by what both clocks show now.
fn map(stamp: WallTime, clocks: Clocks) -> i128 {
    signed(clocks.boot) - (i128::from(nanos(clocks.wall)) - i128::from(nanos(stamp)))
}

fn signed(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn nanos(time: WallTime) -> i64 {
    // The API's own clock ends in 2262 as well.
    let whole = time.seconds.saturating_mul(1_000_000_000);
    whole.saturating_add(time.nanoseconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;
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

    const KEY: PublicKey = PublicKey::from_bytes([5; 32]);
    const WHO: Who<'static> = Who {
        public_key: &KEY,
        slot: Some(Slot(7)),
    };

    /// A peer whose client is known.
    fn peer(handshake: Option<i64>) -> Trace {
        Trace {
            located: true,
            handshake: handshake.map(|seconds| WallTime {
                seconds,
                nanoseconds: 0,
            }),
            rx_bytes: 0,
        }
    }

    fn tick(ages: &mut Ages, peer: Option<&Trace>, clocks: Clocks) -> Option<Age> {
        ages.begin(clocks, WINDOW);
        let told = ages.observe(WHO, peer, clocks);
        ages.end(true);
        assert_eq!(told, ages.age(WHO, clocks));
        told
    }

    #[test]
    fn a_handshake_ages_with_boot_time() {
        let mut ages = Ages::default();
        tick(&mut ages, Some(&peer(Some(1_000))), clocks(100, 1_000));
        assert_eq!(
            tick(&mut ages, Some(&peer(Some(1_000))), clocks(160, 1_060)),
            Some(Age::Since(Duration::from_secs(60)))
        );
    }

    #[test]
    fn a_wall_clock_step_changes_no_age_by_more_than_a_tick() {
        for step in [3_600, -3_600, 315_360_000, -315_360_000] {
            let mut ages = Ages::default();
            tick(
                &mut ages,
                Some(&peer(Some(2_000_000_000))),
                clocks(100, 2_000_000_000),
            );
            let aged = tick(
                &mut ages,
                Some(&peer(Some(2_000_000_000))),
                clocks(105, 2_000_000_005 + step),
            );
            assert_eq!(aged, Some(Age::Since(Duration::from_secs(5))), "step {step}");
            // A handshake under the stepped clock, too, lies between the ticks around it.
            let fresh = peer(Some(2_000_000_008 + step));
            assert_eq!(
                tick(&mut ages, Some(&fresh), clocks(110, 2_000_000_010)),
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
            tick(&mut Ages::default(), Some(&peer(Some(2_000))), clocks(100, 1_000)),
            Some(Age::Unknown)
        );
    }

    #[test]
    fn after_a_start_an_endpoint_without_handshake_is_older_than_any() {
        assert_eq!(
            tick(&mut Ages::default(), Some(&peer(None)), clocks(100, 1_000)),
            Some(Age::Unknown)
        );
    }

    #[test]
    fn an_endpoint_without_handshake_ages_from_when_it_was_first_seen() {
        let mut ages = Ages::default();
        assert_eq!(tick(&mut ages, None, clocks(100, 1_000)), None);
        tick(&mut ages, Some(&peer(None)), clocks(105, 1_005));
        assert_eq!(
            tick(&mut ages, Some(&peer(None)), clocks(285, 1_185)),
            Some(Age::Since(WINDOW))
        );
    }

    #[test]
    fn a_suspend_and_a_step_are_jumps_and_plain_time_is_none() {
        let mut ages = Ages::default();
        tick(&mut ages, Some(&peer(None)), clocks(100, 1_000));
        tick(&mut ages, Some(&peer(None)), clocks(300, 1_200));
        assert!(!ages.jumped());
        tick(&mut ages, Some(&peer(None)), clocks(305, 5_000));
        assert!(ages.jumped());
        let asleep = Clocks {
            mono: Duration::from_secs(310),
            ..clocks(400, 5_095)
        };
        tick(&mut ages, Some(&peer(None)), asleep);
        assert!(ages.jumped());
    }

    #[test]
    fn ages_are_in_doubt_for_one_window_after_a_start() {
        let mut ages = Ages::default();
        tick(&mut ages, Some(&peer(None)), clocks(100, 1_000));
        assert!(!ages.settled(clocks(279, 1_179)));
        assert!(ages.settled(clocks(280, 1_180)));
    }

    #[test]
    fn a_peer_that_sends_again_is_not_quiet() {
        let mut ages = Ages::default();
        let stale = peer(Some(1_000));
        tick(&mut ages, Some(&stale), clocks(100, 1_000));
        assert!(!ages.quiet(WHO, 0));
        tick(&mut ages, Some(&stale), clocks(105, 1_005));
        assert!(ages.quiet(WHO, 0));
        assert!(!ages.quiet(WHO, 32));
    }

    #[test]
    fn an_interrupted_look_drops_no_age() {
        let mut ages = Ages::default();
        tick(&mut ages, None, clocks(95, 995));
        tick(&mut ages, Some(&peer(Some(1_000))), clocks(100, 1_000));
        ages.begin(clocks(105, 1_005), WINDOW);
        ages.end(false);
        let age = tick(&mut ages, Some(&peer(Some(1_000))), clocks(160, 1_060));
        assert_eq!(age, Some(Age::Since(Duration::from_secs(60))));
        // A whole one does: it is not there.
        tick(&mut ages, None, clocks(165, 1_065));
        assert_eq!(ages.age(WHO, clocks(165, 1_065)), None);
    }

    #[test]
    fn a_tick_that_saw_nothing_makes_nobody_young() {
        let mut ages = Ages::default();
        ages.begin(clocks(10_000, 11_000), WINDOW);
        ages.end(false);
        // The agent was away for an hour, and its first look has failed.
        let age = tick(&mut ages, Some(&peer(Some(7_405))), clocks(10_005, 11_005));
        assert_eq!(age, Some(Age::Since(Duration::from_secs(3_600))));
        let mut ages = Ages::default();
        ages.begin(clocks(10_000, 11_000), WINDOW);
        assert_eq!(
            tick(&mut ages, Some(&peer(None)), clocks(10_005, 11_005)),
            Some(Age::Unknown)
        );
    }

    #[test]
    fn an_age_goes_on_when_the_api_comes_to_know_its_peer() {
        let mut ages = Ages::default();
        let foreign = Who { slot: None, ..WHO };
        for boot in [95, 100] {
            let now = clocks(boot, 1_000);
            ages.begin(now, WINDOW);
            ages.observe(foreign, Some(&peer(None)).filter(|_| boot == 100), now);
            ages.end(true);
        }
        let age = tick(&mut ages, Some(&peer(None)), clocks(160, 1_060));
        assert_eq!(age, Some(Age::Since(Duration::from_secs(60))));
        assert!(ages.foreign.is_empty());
        // Whoever has its slot after it is somebody else.
        ages.recycled(&[Slot(7)]);
        assert_eq!(ages.age(WHO, clocks(160, 1_060)), None);
    }

    #[test]
    fn what_is_seen_twice_in_a_tick_is_told_once() {
        let mut ages = Ages::default();
        let now = clocks(100, 1_000);
        ages.begin(now, WINDOW);
        assert!(ages.observe(WHO, Some(&peer(None)), now).is_some());
        assert_eq!(ages.observe(WHO, Some(&peer(None)), now), None);
    }

    #[test]
    fn what_is_kept_of_an_active_peer_is_small() {
        assert!(size_of::<(Slot, Track)>() <= 40);
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
                let observed = stamp.is_some().then(|| peer(stamp));
                let age = tick(&mut ages, observed.as_ref(), now);
                if stamp.is_some() {
                    let truth = Duration::from_secs(5 * (n - at) + 2);
                    let Some(Age::Since(age)) = age else { return Err(TestCaseError::fail("no age")) };
                    prop_assert!(age.abs_diff(truth) <= Duration::from_secs(5), "{age:?} for {truth:?}");
                }
            }
        }
    }
}
