//! One processor of the host for each machine.
//!
//! A test kernel has one processor, and each system call of its programs is a switch between two processes of the host
//! and back: across two processors that costs several times what it costs on one, ten times where the host is itself
//! a virtual machine.

use std::os::{
    linux::net::SocketAddrExt as _,
    unix::net::{SocketAddr, UnixDatagram},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// More machines than anybody starts on one processor.
const MOST: usize = 64;

/// A processor on which a machine runs, as long as this lives.
#[derive(Debug)]
pub struct Processor {
    number: usize,
    /// Where the thread that takes it may run.
    allowed: CpuSet,
    /// Nobody else can have a socket of its name, and it leaves nothing behind.
    _place: UnixDatagram,
}

impl Processor {
    /// The one with the fewest machines of those that this thread may use, whichever program started them; `None` where
    /// the host does not say which.
    pub fn take() -> Option<Self> {
        Self::take_of("culvert-machine")
    }

    fn take_of(family: &str) -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        let numbers: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|number| allowed.is_set(*number))
            .collect();
        let places = (0..MOST).flat_map(|place| numbers.iter().map(move |number| (place, *number)));
        for (place, number) in places {
            let name = SocketAddr::from_abstract_name(format!("{family}/{number}/{place}")).ok()?;
            if let Ok(socket) = UnixDatagram::bind_addr(&name) {
                return Some(Self {
                    number,
                    allowed,
                    _place: socket,
                });
            }
        }
        None
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wait;

    #[test]
    fn each_machine_has_a_processor_and_shares_it_only_when_there_is_no_other() {
        let before = sched_getaffinity(None).unwrap();
        let all = usize::try_from(before.count()).unwrap();
        // Other programs may have machines now.
        let family = format!("culvert-test-{}", std::process::id());
        let take = || Processor::take_of(&family).unwrap();
        let mut taken: Vec<Processor> = (0..all).map(|_| take()).collect();
        for processor in &taken {
            let inside = processor.on(|| sched_getaffinity(None).unwrap());
            assert!(inside.count() == 1 && inside.is_set(processor.number));
        }
        assert!(sched_getaffinity(None).unwrap() == before);
        let mut numbers: Vec<usize> = taken.iter().map(|processor| processor.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
        let further = take();
        assert!(numbers.contains(&further.number));
        // Whoever is done makes room.
        let (done, number) = (taken.remove(0), numbers[0]);
        assert_eq!(done.number, number);
        drop((done, further));
        // A program that another test is just starting has every socket until it is another program.
        let again = wait::until_blocking("the processor to be free", Duration::from_secs(10), || {
            Ok((take().number == number).then_some(()))
        });
        again.unwrap();
    }
}
