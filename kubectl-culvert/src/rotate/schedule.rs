//! When a key is replaced (pure). Times are on a clock that goes on while the machine sleeps and that nobody sets.
//!
//! A client that has slept over several rotations makes one. Where a draw is asked for, it is any number at all.

use std::time::Duration;

use crate::duration;

const DAY: Duration = Duration::from_hours(24);
const MINUTE: Duration = Duration::from_mins(1);

/// A tenth of the time between two rotations is left to chance, so that no rotation can be foreseen and clients that began
/// together do not stay together.
const JITTER_PARTS: u32 = 10;

/// How often keys are replaced: every 1 to 30 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every(Duration);

/// No such rhythm.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvery {
    /// The text is no duration.
    #[error(transparent)]
    Text(#[from] duration::BadDuration),

    /// Too often or too seldom.
    #[error("keys are replaced every 1 to 30 days: from 24h to 30d")]
    Range,
}

impl Every {
    /// Once a day.
    pub const DEFAULT: Self = Self(DAY);

    /// Checks the bounds.
    pub fn new(every: Duration) -> Result<Self, BadEvery> {
        if (DAY..=30 * DAY).contains(&every) {
            Ok(Self(every))
        } else {
            Err(BadEvery::Range)
        }
    }

    /// Reads it from a command line.
    pub fn parse(text: &str) -> Result<Self, BadEvery> {
        Self::new(duration::parse(text)?)
    }

    /// The time between two rotations, at most.
    pub fn duration(self) -> Duration {
        self.0
    }
}

/// When the next rotation is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timetable {
    every: Every,
    due: Duration,
    failures: u32,
}

impl Timetable {
    /// For a key that has this age, and this time left where it has an end.
    pub fn start(every: Every, age: Duration, left: Option<Duration>, now: Duration, draw: u64) -> Self {
        let life = left.map(|left| age.saturating_add(left));
        Self {
            every,
            due: (now + lifetime(every, life, draw)).saturating_sub(age).max(now),
            failures: 0,
        }
    }

    /// When to rotate.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// A rotation is done; the new key has this time left where it has an end.
    pub fn succeeded(&mut self, now: Duration, left: Option<Duration>, draw: u64) {
        *self = Self::start(self.every, Duration::ZERO, left, now, draw);
    }

    /// A rotation failed; the old key goes on working. Tried again in 5 minutes, then 10, and so on up to an hour.
    pub fn failed(&mut self, now: Duration, draw: u64) {
        self.failures = self.failures.saturating_add(1);
        let pause = MINUTE * self.failures.saturating_mul(5).min(60);
        self.due = now + pause + share(pause / JITTER_PARTS, draw);
    }

    /// How often it has failed since it last succeeded.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// How old a key becomes: what was asked for less its jitter, and no more than nine tenths of its life.
fn lifetime(every: Every, life: Option<Duration>, draw: u64) -> Duration {
    let asked = every.0;
    let bounded = life.map_or(asked, |life| asked.min(life.saturating_sub(life / JITTER_PARTS)));
    bounded.saturating_sub(share(bounded / JITTER_PARTS, draw))
}

/// A part of a duration.
fn share(whole: Duration, draw: u64) -> Duration {
    let nanoseconds = (whole.as_nanos() * u128::from(draw)) >> 64;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
