//! Telling in time that a key's addresses will be released: a client that rotates by itself never gets so far, one that
//! was set up by hand must be.

use std::time::Duration;

use culvert_crds::Reason;

use super::{Subject, verdict};
use crate::clock::Now;
use crate::world::status::{EXPIRING, KeyStatus, seconds};
use crate::world::{ClaimView, World};

/// Nobody is warned earlier than this.
const MOST: Duration = Duration::from_secs(3 * 24 * 3600);

/// How long before the end it is said: a quarter of the key's life, three days at most.
fn notice(lifetime: Duration) -> u32 {
    u32::try_from((lifetime / 4).min(MOST).as_secs()).unwrap_or(u32::MAX)
}

/// When the key has to be planned again for its age.
pub fn next(world: &World, subject: &Subject<'_>, claim: &ClaimView<'_>, now: Now) -> Option<Duration> {
    let notice = notice(verdict::lifetime(subject)?);
    let end = verdict::expiry(world, subject, claim)?;
    let warning = end.saturating_sub(notice);
    let at = if seconds(now.wall) < warning { warning } else { end };
    Some(verdict::when(at, now))
}

/// Sets the condition on a key whose addresses have an end.
pub fn mark(subject: &Subject<'_>, status: &mut KeyStatus, now: Now) {
    let (Some(end), Some(lifetime)) = (status.expires_at, verdict::lifetime(subject)) else {
        return;
    };
    let soon = seconds(now.wall) >= end.saturating_sub(notice(lifetime));
    let reason = if soon { Reason::ExpiresSoon } else { Reason::Fresh };
    status.set(EXPIRING, soon, reason, &subject.key.status, now.wall);
}
