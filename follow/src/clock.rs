//! The only place that waits.

use std::time::Duration;

/// Lets time go by: between two tries of what has failed.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
