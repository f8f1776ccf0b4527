//! The only place that reads clocks.

use std::time::Duration;

use culvert_wireguard::WallTime;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// One reading of the three clocks that tell a wall-clock step, a suspend and plain time apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Time since boot, suspend included: what ages are counted in.
    pub boot: Duration,
    /// Time since boot, suspend left out.
    pub mono: Duration,
    /// What the node believes the time of day to be; the kernel stamps handshakes with it.
    pub wall: WallTime,
}

impl Clocks {
    /// Reads them, one right after the other.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
    pub fn read() -> Self {
        let since = |id| {
            let t = clock_gettime(id);
            (t.tv_sec, u32::try_from(t.tv_nsec).unwrap_or(0))
        };
        let duration =
            |(seconds, nanoseconds)| Duration::new(u64::try_from(seconds).unwrap_or(0), nanoseconds);
        let (seconds, nanoseconds) = since(ClockId::Realtime);
        Self {
            boot: duration(since(ClockId::Boottime)),
            mono: duration(since(ClockId::Monotonic)),
            wall: WallTime { seconds, nanoseconds },
        }
    }

    /// The time of day, for what people read.
    pub fn timestamp(&self) -> Timestamp {
        let nanoseconds = i32::try_from(self.wall.nanoseconds).unwrap_or(0);
        Timestamp::new(self.wall.seconds, nanoseconds).unwrap_or_default()
    }
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
