//! The only place that reads clocks and waits. Everything else is told what time it is.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since boot, sleep included: for everything that waits.
    pub boot: Duration,

    /// Wall-clock time: for what people read, and for what outlives a boot.
    pub wall: Timestamp,
}

/// Reads both clocks.
#[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
pub fn now() -> Now {
    let time = clock_gettime(ClockId::Boottime);
    Now {
        boot: Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        ),
        wall: Timestamp::now(),
    }
}

/// The longest wait at a time: the timer stands still while the machine sleeps, and boot time does not.
const STRETCH: Duration = Duration::from_secs(15);

/// Waits until the boot clock shows this.
pub async fn until(boot: Duration) {
    loop {
        let left = boot.saturating_sub(now().boot);
        if left.is_zero() {
            return;
        }
        pause(left.min(STRETCH)).await;
    }
}

/// Lets time go by.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
