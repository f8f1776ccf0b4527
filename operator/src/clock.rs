//! The only place that reads clocks. Everything else is told what time it is.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since the program started, on a clock that nobody sets and that goes on while the machine sleeps: for
    /// everything that waits. A holder of the lease that slept through its deadline must know it.
    pub mono: Duration,
    /// Wall-clock time: for what people read, and for expiry.
    pub wall: Timestamp,
}

/// The program's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// Starts counting.
    pub fn start() -> Self {
        Self { start: boot() }
    }

    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
    pub fn now(&self) -> Now {
        Now {
            mono: self.mono(),
            wall: Timestamp::now(),
        }
    }

    /// Waits until the monotonic clock shows `mono`; for ever when there is nothing to wait for.
    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    pub async fn until(&self, mono: Option<Duration>) {
        match mono {
            Some(mono) => tokio::time::sleep(mono.saturating_sub(self.mono())).await,
            None => std::future::pending().await,
        }
    }

    fn mono(&self) -> Duration {
        boot().saturating_sub(self.start)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
fn boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Lets time go by: between two tries of what has failed.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
