//! How much goes into one message: what the kernel takes some milliseconds for.
//!
//! While the kernel carries a message out nobody on the node can change any link, so a message is to take
//! [`TARGET`] and no longer; how many changes that is depends on the node and on what else it does, and is learned from
//! the last acknowledgement.

use std::time::Duration;

use crate::plan::batch::PAIRS;

/// How long the kernel may take for a message.
const TARGET: Duration = Duration::from_millis(3);

/// What a message does, by what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Adds peers, changes or removes them.
    Put,
    /// Removes peers and adds them again.
    Reinstate,
    /// Overwrites endpoints.
    Forget,
}

/// Sizes of messages, in peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    put: usize,
    reinstate: usize,
    forget: usize,
}

impl Default for Pace {
    /// What a slow node manages.
    fn default() -> Self {
        Self {
            put: 8,
            reinstate: 4,
            forget: 100,
        }
    }
}

impl Kind {
    fn most(self) -> usize {
        match self {
            Self::Put => 64,
            // One message more would be split.
            Self::Reinstate => PAIRS,
            Self::Forget => 400,
        }
    }
}

impl Pace {
    /// How many peers the next message of this kind may be about.
    pub fn size(&self, kind: Kind) -> usize {
        match kind {
            Kind::Put => self.put,
            Kind::Reinstate => self.reinstate,
            Kind::Forget => self.forget,
        }
    }

    /// Takes in how long the kernel took for a message about so many.
    pub fn took(&mut self, kind: Kind, number: usize, time: Duration) {
        let size = match kind {
            Kind::Put => &mut self.put,
            Kind::Reinstate => &mut self.reinstate,
            Kind::Forget => &mut self.forget,
        };
        if time > TARGET {
            // Less than there might have been took too long: what was sent counts.
            let number = number.min(*size);
            let fewer = if time > 2 * TARGET {
                number.div_ceil(2)
            } else {
                number.div_ceil(8)
            };
            *size = (number - fewer).max(1);
        } else if number >= *size {
            *size = (*size + (*size).div_ceil(4)).min(kind.most());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [(Kind, usize); 3] = [(Kind::Put, 64), (Kind::Reinstate, PAIRS), (Kind::Forget, 400)];

    #[test]
    fn a_message_shrinks_when_acknowledgements_are_slow() {
        for (kind, _) in KINDS {
            let mut pace = Pace::default();
            let before = pace.size(kind);
            pace.took(kind, before, Duration::from_millis(4));
            let fewer = pace.size(kind);
            assert!(fewer < before && fewer > before / 2);
            pace.took(kind, fewer, Duration::from_millis(7));
            assert_eq!(pace.size(kind), fewer / 2);
            for _ in 0..20 {
                pace.took(kind, pace.size(kind), Duration::from_secs(1));
            }
            assert_eq!(pace.size(kind), 1);
        }
    }

    #[test]
    fn a_message_grows_while_acknowledgements_are_quick_up_to_a_bound() {
        for (kind, most) in KINDS {
            let mut pace = Pace::default();
            // A small message says nothing about a large one.
            pace.took(kind, 1, Duration::ZERO);
            assert_eq!(pace, Pace::default());
            for _ in 0..40 {
                pace.took(kind, pace.size(kind), Duration::from_millis(3));
            }
            assert_eq!(pace.size(kind), most);
        }
    }
}
