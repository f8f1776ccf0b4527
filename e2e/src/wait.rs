//! Waiting for a condition, with a deadline. The only place of the tests that reads a clock or sleeps.
//!
//! A wait that runs out is an error that names what was awaited and the last reason why it was not there yet, so a
//! hang shows as a failure at a place. Within a machine whose time travels, the waiting costs no real time.

use std::{
    future::Future,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use k8s_openapi::jiff::Timestamp;

/// The first pause between two looks; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(10);

/// The longest pause between two looks.
const LONGEST: Duration = Duration::from_millis(200);

/// Looks until `condition` gives a value. An error of `condition` counts as "not yet" and is told at the deadline.
pub async fn until<T, F, Fut>(what: &str, within: Duration, mut condition: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let watch = Stopwatch::start();
    let mut pause = SHORTEST;
    loop {
        let last = match condition().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if watch.elapsed() >= within {
            return Err(overdue(what, within, last));
        }
        pass(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// As [`until`], for code that is not async.
pub fn until_blocking<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let watch = Stopwatch::start();
    let mut pause = SHORTEST;
    loop {
        let last = match condition() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if watch.elapsed() >= within {
            return Err(overdue(what, within, last));
        }
        sleep(pause);
        pause = (pause * 2).min(LONGEST);
    }
}

/// Lets time go by: for tests whose subject is age. To wait for an effect, use [`until`].
#[expect(
    clippy::disallowed_methods,
    reason = "the tests' one place that sleeps: between two looks, and to age"
)]
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests' one place that sleeps: between two looks"
)]
fn sleep(time: Duration) {
    thread::sleep(time);
}

/// The time of day, for what is written to the API; durations are a [`Stopwatch`]'s.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests' one place that reads a clock"
)]
pub fn wall() -> Timestamp {
    Timestamp::now()
}

fn overdue(what: &str, within: Duration, last: Option<anyhow::Error>) -> anyhow::Error {
    let message = format!("waited {} s in vain for {what}", within.as_secs_f32());
    match last {
        Some(reason) => reason.context(message),
        None => anyhow!(message),
    }
}

/// Measures how long something took.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    since: Instant,
}

impl Stopwatch {
    /// Starts measuring.
    #[expect(
        clippy::disallowed_methods,
        reason = "the tests' one place that reads a clock"
    )]
    pub fn start() -> Self {
        Self {
            since: Instant::now(),
        }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}
