//! What needs planning: now, later, or not before a step under way has ended.
//!
//! Targets stand in lanes, one for each namespace, and are taken from the lanes in turn: whoever applies a hundred
//! thousand keys waits behind nobody but himself, and nobody else waits behind him.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::symbols::Symbol;
use super::{Quick, Uid};

/// Something that is planned as a whole, and not again before its steps have ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A key, by uid.
    Key(Uid),
    /// A claim, by uid.
    Claim(Uid),
    /// A pool, by name.
    Pool(String),
    /// All gateways and their nodes.
    Fleet,
}

/// Room for so many targets is kept when none is left.
const IDLE: usize = 1024;

/// A namespace's lane; the other one is for what belongs to none.
pub(super) type Lane = Option<Symbol>;

/// First come, first served in each lane; a target stands in it once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: HashMap<Lane, VecDeque<Target>>,
    /// The lanes that hold something, the next one first.
    turns: VecDeque<Lane>,
    queued: HashSet<Target, Quick>,
    under_way: HashMap<Target, usize, Quick>,
    /// At most one for each target, the earliest: a plan that comes too early asks again.
    timers: BTreeSet<(Duration, Target)>,
    timer_of: HashMap<Target, Duration, Quick>,
}

impl Queue {
    pub fn touch(&mut self, target: Target, lane: Lane) {
        // Whoever ends what is under way has it planned again.
        if self.under_way.contains_key(&target) || !self.queued.insert(target.clone()) {
            return;
        }
        let waiting = self.lanes.entry(lane).or_default();
        if waiting.is_empty() {
            self.turns.push_back(lane);
        }
        waiting.push_back(target);
    }

    pub fn touch_at(&mut self, at: Duration, target: Target) {
        if let Some(earlier) = self.timer_of.get(&target) {
            if *earlier <= at {
                return;
            }
            self.timers.remove(&(*earlier, target.clone()));
        }
        self.timer_of.insert(target.clone(), at);
        self.timers.insert((at, target));
    }

    /// The next target whose time has come.
    pub fn wake(&mut self, now: Duration) -> Option<Target> {
        let (_, target) = self.timers.first().filter(|(at, _)| *at <= now)?.clone();
        self.timers.pop_first();
        self.timer_of.remove(&target);
        Some(target)
    }

    pub fn next_timer(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub fn has_due(&self) -> bool {
        !self.turns.is_empty()
    }

    pub fn len(&self) -> usize {
        self.queued.len()
    }

    pub fn take_due(&mut self, most: usize) -> Vec<Target> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(lane) = self.turns.pop_front()
        {
            let Some(waiting) = self.lanes.get_mut(&lane) else {
                continue;
            };
            if let Some(target) = waiting.pop_front() {
                self.queued.remove(&target);
                taken.push(target);
            }
            if waiting.is_empty() {
                // Its number may be another namespace's tomorrow.
                self.lanes.remove(&lane);
                if self.lanes.is_empty() {
                    // A flood is over.
                    self.queued.shrink_to(IDLE);
                }
            } else {
                self.turns.push_back(lane);
            }
        }
        taken
    }

    /// Whether a step on this target is under way, or it is queued.
    pub fn knows(&self, target: &Target) -> bool {
        self.under_way.contains_key(target) || self.queued.contains(target)
    }

    /// Forgets everything that is due.
    pub fn leave_due(&mut self) {
        self.lanes = HashMap::new();
        self.turns = VecDeque::new();
        self.queued = HashSet::default();
    }

    /// Forgets when to plan what is no more.
    pub fn forget(&mut self, target: &Target) {
        if let Some(at) = self.timer_of.remove(target) {
            self.timers.remove(&(at, target.clone()));
        }
    }

    pub fn begin(&mut self, target: &Target) {
        *self.under_way.entry(target.clone()).or_default() += 1;
    }

    pub fn finish(&mut self, target: &Target) {
        let Some(steps) = self.under_way.get_mut(target) else {
            return;
        };
        *steps -= 1;
        if *steps == 0 {
            self.under_way.remove(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::symbols::Symbols;
    use super::*;

    fn key(n: u128) -> Target {
        Target::Key(Uid::from_u128(n))
    }

    #[test]
    fn a_target_under_way_is_planned_again_only_when_it_has_finished() {
        let mut queue = Queue::default();
        queue.touch(Target::Fleet, None);
        assert_eq!(queue.take_due(9), [Target::Fleet]);
        queue.begin(&Target::Fleet);
        queue.touch(Target::Fleet, None);
        assert!(!queue.has_due());
        queue.finish(&Target::Fleet);
        queue.touch(Target::Fleet, None);
        assert_eq!(queue.take_due(9), [Target::Fleet]);
    }

    #[test]
    fn a_flood_of_one_namespace_keeps_no_other_waiting() {
        let mut symbols = Symbols::default();
        let (flood, other) = (symbols.hold("flood"), symbols.hold("other"));
        let mut queue = Queue::default();
        (0..1000).for_each(|n| queue.touch(key(n), Some(flood)));
        queue.touch(key(1000), Some(other));
        queue.touch(Target::Fleet, None);
        assert_eq!(queue.take_due(3), [key(0), key(1000), Target::Fleet]);
        assert_eq!(queue.take_due(2), [key(1), key(2)]);
        assert_eq!(queue.len(), 997);
        assert_eq!(queue.take_due(usize::MAX).len(), 997);
        assert!(!queue.has_due() && queue.lanes.is_empty());
    }

    #[test]
    fn a_target_has_one_timer_the_earliest() {
        let mut queue = Queue::default();
        for seconds in [9, 5, 7] {
            queue.touch_at(Duration::from_secs(seconds), Target::Fleet);
        }
        assert_eq!(queue.timers.len(), 1);
        assert_eq!(queue.wake(Duration::from_secs(4)), None);
        assert_eq!(queue.next_timer(), Some(Duration::from_secs(5)));
        assert_eq!(queue.wake(Duration::from_secs(9)), Some(Target::Fleet));
        assert_eq!(queue.next_timer(), None);
    }
}
