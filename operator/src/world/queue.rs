//! What needs planning: now, later, or not before a step under way has ended.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::Uid;

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

/// First come, first served; a target stands in it once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: VecDeque<Target>,
    queued: HashSet<Target>,
    under_way: HashMap<Target, usize>,
    /// At most one for each target, the earliest: a plan that comes too early asks again.
    timers: BTreeSet<(Duration, Target)>,
    timer_of: HashMap<Target, Duration>,
}

impl Queue {
    pub fn touch(&mut self, target: Target) {
        // Whoever ends what is under way has it planned again.
        if !self.under_way.contains_key(&target) && self.queued.insert(target.clone()) {
            self.due.push_back(target);
        }
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

    pub fn wake(&mut self, now: Duration) {
        while let Some(at) = self.next_timer()
            && at <= now
            && let Some((_, target)) = self.timers.pop_first()
        {
            self.timer_of.remove(&target);
            self.touch(target);
        }
    }

    pub fn next_timer(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub fn take_due(&mut self, most: usize) -> Vec<Target> {
        let count = most.min(self.due.len());
        let taken: Vec<_> = self.due.drain(..count).collect();
        for target in &taken {
            self.queued.remove(target);
        }
        taken
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
    use super::*;

    #[test]
    fn a_target_under_way_is_planned_again_only_when_it_has_finished() {
        let mut queue = Queue::default();
        queue.touch(Target::Fleet);
        assert_eq!(queue.take_due(9), [Target::Fleet]);
        queue.begin(&Target::Fleet);
        queue.touch(Target::Fleet);
        assert!(!queue.has_due());
        queue.finish(&Target::Fleet);
        queue.touch(Target::Fleet);
        assert_eq!(queue.take_due(9), [Target::Fleet]);
    }

    #[test]
    fn a_target_has_one_timer_the_earliest() {
        let mut queue = Queue::default();
        for seconds in [9, 5, 7] {
            queue.touch_at(Duration::from_secs(seconds), Target::Fleet);
        }
        assert_eq!(queue.timers.len(), 1);
        queue.wake(Duration::from_secs(4));
        assert_eq!(queue.next_timer(), Some(Duration::from_secs(5)));
        queue.wake(Duration::from_secs(9));
        assert_eq!(queue.next_timer(), None);
        assert_eq!(queue.take_due(9), [Target::Fleet]);
    }

    #[test]
    fn a_timer_touches_its_target_when_its_time_has_come() {
        let mut queue = Queue::default();
        queue.touch_at(Duration::from_secs(5), Target::Fleet);
        queue.wake(Duration::from_secs(4));
        assert_eq!(queue.next_timer(), Some(Duration::from_secs(5)));
        assert!(!queue.has_due());
        queue.wake(Duration::from_secs(5));
        assert_eq!(queue.next_timer(), None);
        assert_eq!(queue.take_due(9), [Target::Fleet]);
    }
}
