//! The only place that waits, and that looks how long something took.

use std::time::{Duration, Instant};

/// Now.
#[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets time go by: between two tries of what has failed.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
