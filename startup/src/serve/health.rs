//! What the loop says of itself, where probes can see it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long the loop may be silent. It has nothing long to do: what takes time, it hands to tasks.
const SILENCE: Duration = Duration::from_secs(60);

/// The loop's signs of life. Nothing of it depends on the apiserver: a restart would not bring that back.
#[derive(Debug, Default)]
pub struct Health {
    /// In milliseconds on the program's clock. On one that starts with the program the first beat may take as long as
    /// any other; on another the program beats before anybody can ask.
    beat: AtomicU64,
    ready: AtomicBool,
}

impl Health {
    /// The loop turns. To be said much more often than once a minute, whether or not there is anything to do.
    pub fn beat(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.beat.store(now, Ordering::Relaxed);
    }

    /// The program can do all of its work, or not any more.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Whether the loop has turned lately.
    pub fn is_alive(&self, now: Duration) -> bool {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        now.saturating_sub(beat) < SILENCE
    }

    /// Whether it can do all of its work.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}
