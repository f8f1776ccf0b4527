//! The only place that reads clocks. Everything else is told what time it is.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since the program started, on the monotonic clock: for everything that waits.
    pub mono: Duration,
    /// Wall-clock time: for what people read, and for expiry.
    pub wall: Timestamp,
}

/// The program's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts counting.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
    pub fn now(&self) -> Now {
        Now {
            mono: self.start.elapsed(),
            wall: Timestamp::now(),
        }
    }

    /// Waits until the monotonic clock shows `mono`; for ever when there is nothing to wait for.
    pub async fn until(&self, mono: Option<Duration>) {
        match mono {
            Some(mono) => tokio::time::sleep_until((self.start + mono).into()).await,
            None => std::future::pending().await,
        }
    }
}

/// Lets time go by: between two tries of what has failed.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
