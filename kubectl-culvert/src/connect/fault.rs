//! Dies after as many steps as `CULVERT_DIE_AFTER` says, as if killed: nothing is taken back.

use std::sync::atomic::{AtomicU32, Ordering};

static DONE: AtomicU32 = AtomicU32::new(0);

/// Before each step.
pub fn step() {
    let bound = std::env::var("CULVERT_DIE_AFTER").ok();
    let bound: Option<u32> = bound.and_then(|bound| bound.parse().ok());
    if bound.is_some_and(|bound| DONE.fetch_add(1, Ordering::Relaxed) >= bound) {
        std::process::abort();
    }
}
