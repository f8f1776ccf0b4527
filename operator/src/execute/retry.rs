//! When a failed request is tried again, and whether that is worth a word.

use std::time::Duration;

pub use culvert_follow::Failure;

/// How long to wait before the `attempt`-th try (from 1), before jitter, beyond what the apiserver asks for.
pub fn delay(failure: &Failure, attempt: u32) -> Duration {
    let (first, most) = match failure {
        // The watch is about to bring what this try did not know.
        Failure::Conflict | Failure::AlreadyExists | Failure::NotFound => (50, 5_000),
        Failure::Unclear(_) | Failure::Unavailable(..) | Failure::NoSuchKind => (200, 30_000),
        Failure::Refused(_) => (5_000, 300_000),
    };
    let factor = 1_u64 << attempt.saturating_sub(1).min(16);
    Duration::from_millis(most.min(factor.saturating_mul(first)))
}

/// Whether it is an everyday race that needs no line in the log.
pub fn is_expected(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Conflict | Failure::AlreadyExists | Failure::NotFound
    )
}
