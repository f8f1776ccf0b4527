//! One processor of the host for each machine.
//!
//! A test kernel has one processor, and each system call of its programs is a switch between two processes of the host
//! and back: across two processors that costs several times what it costs on one, ten times where the host is itself
//! a virtual machine.

use std::sync::{Mutex, PoisonError};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How many machines of this process each processor has.
static TAKEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// A processor on which a machine runs, as long as this lives.
#[derive(Debug)]
pub struct Processor {
    number: usize,
    /// Where the thread that takes it may run.
    allowed: CpuSet,
}

impl Processor {
    /// The one with the fewest machines of those that this thread may use; `None` where the host does not say which.
    pub fn take() -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken.resize(CpuSet::MAX_CPU, 0);
        // Others of these programs begin elsewhere.
        let first = usize::try_from(std::process::id()).unwrap_or(0);
        let mut numbers: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|number| allowed.is_set(*number))
            .collect();
        let count = numbers.len().max(1);
        numbers.rotate_left(first % count);
        let number = numbers.into_iter().min_by_key(|number| taken[*number])?;
        taken[number] += 1;
        Some(Self { number, allowed })
    }

    /// Calls this on that processor; what it starts stays there.
    pub fn on<T>(&self, start: impl FnOnce() -> T) -> T {
        let mut one = CpuSet::new();
        one.set(self.number);
        // Anywhere else it would be slow, not wrong.
        let _ = sched_setaffinity(None, &one);
        let started = start();
        let _ = sched_setaffinity(None, &self.allowed);
        started
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner)[self.number] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, as they would count each other's machines.
    #[test]
    fn each_machine_has_a_processor_and_shares_it_only_when_there_is_no_other() {
        let before = sched_getaffinity(None).unwrap();
        let all = usize::try_from(before.count()).unwrap();
        let taken: Vec<Processor> = (0..all).map(|_| Processor::take().unwrap()).collect();
        for processor in &taken {
            let inside = processor.on(|| sched_getaffinity(None).unwrap());
            assert!(inside.count() == 1 && inside.is_set(processor.number));
        }
        assert!(sched_getaffinity(None).unwrap() == before);
        let mut numbers: Vec<usize> = taken.iter().map(|processor| processor.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
        assert!(numbers.contains(&Processor::take().unwrap().number));
    }
}
