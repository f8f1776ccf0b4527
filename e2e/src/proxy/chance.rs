//! Faults by chance: what stands over every write until a test says otherwise.

use std::{collections::BTreeMap, fmt};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// What may happen to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mishap {
    /// The connection is cut before the write is sent.
    CutBefore,

    /// The write is done, then the connection is cut: the reply is lost.
    ReplyLost,

    /// The write is answered with this code by the proxy, and never sent. 429 comes with `Retry-After: 1`.
    Answered(u16),
}

impl Mishap {
    /// Every way in which an apiserver, or the way to it, is known to fail.
    pub const ALL: [Self; 5] = [
        Self::CutBefore,
        Self::ReplyLost,
        Self::Answered(429),
        Self::Answered(500),
        Self::Answered(503),
    ];
}

/// Mishaps that strike each counted write with one probability. The same seed gives the same sequence of throws; which
/// write meets which throw depends on the program under test.
#[derive(Debug, Clone)]
pub struct Chance {
    probability: f64,
    mishaps: Vec<Mishap>,
    dice: SmallRng,
}

impl Chance {
    /// Strikes with `probability` (0 to 1); each of `mishaps` is as likely as the others.
    pub fn new(seed: u64, probability: f64, mishaps: &[Mishap]) -> Self {
        Self {
            probability,
            mishaps: mishaps.to_vec(),
            dice: SmallRng::seed_from_u64(seed),
        }
    }

    /// What happens to the next write.
    pub(super) fn throw(&mut self) -> Option<Mishap> {
        if self.mishaps.is_empty() || !self.dice.random_bool(self.probability.clamp(0.0, 1.0)) {
            return None;
        }
        let at = self.dice.random_range(0..self.mishaps.len());
        self.mishaps.get(at).copied()
    }
}

/// How often which mishap struck.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toll(BTreeMap<Mishap, usize>);

impl Toll {
    pub(super) fn count(&mut self, mishap: Mishap) {
        *self.0.entry(mishap).or_default() += 1;
    }

    /// All of them together.
    pub fn sum(&self) -> usize {
        self.0.values().sum()
    }
}

/// `3 cut before, 4 replies lost, 2 answered 429`.
impl fmt::Display for Toll {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return out.write_str("none");
        }
        for (at, (mishap, count)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            match mishap {
                Mishap::CutBefore => write!(out, "{comma}{count} cut before")?,
                Mishap::ReplyLost => write!(out, "{comma}{count} replies lost")?,
                Mishap::Answered(code) => write!(out, "{comma}{count} answered {code}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throws(seed: u64, probability: f64) -> Vec<Option<Mishap>> {
        let mut chance = Chance::new(seed, probability, &Mishap::ALL);
        (0..1000).map(|_| chance.throw()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_throws() {
        assert_eq!(throws(7, 0.3), throws(7, 0.3));
        assert_ne!(throws(7, 0.3), throws(8, 0.3));
    }

    #[test]
    fn every_mishap_strikes_about_as_often_as_asked() {
        let thrown = throws(7, 0.5);
        for mishap in Mishap::ALL {
            let count = thrown.iter().filter(|one| **one == Some(mishap)).count();
            assert!((50..150).contains(&count), "{mishap:?}: {count}");
        }
        assert!(throws(7, 0.0).iter().all(Option::is_none));
        assert!(throws(7, 1.0).iter().all(Option::is_some));
        assert_eq!(Chance::new(7, 1.0, &[]).throw(), None);
    }

    #[test]
    fn a_toll_reads_as_a_sentence() {
        let mut toll = Toll::default();
        assert_eq!(toll.to_string(), "none");
        for mishap in [Mishap::Answered(429), Mishap::CutBefore, Mishap::CutBefore] {
            toll.count(mishap);
        }
        assert_eq!(toll.to_string(), "2 cut before, 1 answered 429");
        assert_eq!(toll.sum(), 3);
    }
}
