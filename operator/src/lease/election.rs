//! Who leads: what to do next about the lease, given what was last read of it and the time.
//!
//! A copy of client-go's rules. Wall clocks are written and never compared: a record counts as abandoned when it has
//! stood unchanged for its duration on this replica's own clock. A holder counts itself out at its renew deadline,
//! which is reckoned from before its last good write was sent and is shorter than that duration; so it has stopped
//! before anybody else can begin, also when it was frozen meanwhile. Every write names the version it replaces, so
//! what arrives late, or twice, changes nothing.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::clock::Now;

/// How long a record must stand unchanged before another replica may take the lease.
pub const LEASE_DURATION: Duration = Duration::from_secs(10);

/// How long a holder leads after the last renewal that is known to have worked.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(7);

/// How often a holder renews.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// How often a standby looks, and how soon a failure is tried again: a lease that is released must be taken within
/// [`RETRY_PERIOD`], and a holder must have more than one try before its deadline.
pub const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// How long one request may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest duration that a record is granted, whatever it claims.
const LONGEST: Duration = Duration::from_secs(60);

/// [`LEASE_DURATION`] as the API has it.
const LEASE_SECONDS: i32 = 10;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Nothing before this time.
    Wait(Duration),
    /// Read the lease.
    Look,
    /// Create it.
    Create(Box<Lease>),
    /// Replace it; it carries the version that it replaces.
    Replace(Box<Lease>),
    /// Nothing any more: this replica has left.
    Leave,
}

/// How an act came out.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The lease as it is.
    Found(Lease),
    /// There is none.
    Absent,
    /// The write took effect, and this is the lease now.
    Written(Lease),
    /// The write did not take effect, because somebody else's did.
    Outdated,
    /// It did not take effect.
    Failed,
    /// It may have taken effect, or may yet.
    Unclear,
}

/// When a request was made.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Before it was sent.
    pub sent: Duration,
    /// After its reply came.
    pub received: Duration,
    /// The share of the usual pause to make before the next one, in `0..=1`: replicas should not move in step.
    pub pace: f64,
}

#[derive(Clone, Debug)]
struct Seen {
    lease: Lease,
    /// When this record was first seen.
    since: Duration,
}

/// What `seen` is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// Too old to act upon.
    Stale,
    /// Just read, and a write is due.
    Read,
    /// Written by this replica, which nobody may do after it before its deadline.
    Written,
}

/// One replica's part in the election.
#[derive(Clone, Debug)]
pub struct Candidate {
    name: String,
    identity: String,
    seen: Option<Seen>,
    basis: Basis,
    due: Duration,
    leads_until: Option<Duration>,
    /// A write of this replica may have taken effect without its knowing.
    unsure: bool,
    leaving: bool,
}

impl Candidate {
    /// One that knows nothing yet.
    pub fn new(name: String, identity: String) -> Self {
        Self {
            name,
            identity,
            seen: None,
            basis: Basis::Stale,
            due: Duration::ZERO,
            leads_until: None,
            unsure: false,
            leaving: false,
        }
    }

    /// Until when it leads if nothing else happens; `None` when it does not.
    pub fn leads_until(&self) -> Option<Duration> {
        self.leads_until
    }

    /// Whether it leads.
    pub fn leads(&self, now: Duration) -> bool {
        self.leads_until.is_some_and(|until| now < until)
    }

    /// Whether it is giving up.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether it has to write before all is well.
    pub fn owes_write(&self) -> bool {
        self.basis == Basis::Read
    }

    /// How long the next request may take: a holder wants to know at its deadline at the latest.
    pub fn patience(&self, now: Duration) -> Duration {
        self.leads_until
            .map(|until| until.saturating_sub(now))
            .filter(|left| !left.is_zero())
            .map_or(REQUEST_TIMEOUT, |left| left.min(REQUEST_TIMEOUT))
    }

    /// Stops leading at once; what is next is to give the lease up.
    pub fn leave(&mut self, now: Duration) {
        self.leaving = true;
        self.leads_until = None;
        self.due = now;
    }

    /// What to do next.
    pub fn act(&self, now: Now) -> Act {
        let has_nothing_to_leave = self.leaving && !self.unsure && !self.holds();
        if has_nothing_to_leave {
            return Act::Leave;
        }
        if now.mono < self.due {
            let deadline = self.leads_until.filter(|until| now.mono < *until);
            return Act::Wait(deadline.map_or(self.due, |deadline| deadline.min(self.due)));
        }
        match (&self.seen, self.basis) {
            (Some(seen), Basis::Read | Basis::Written) if self.leaving => {
                Act::Replace(Box::new(released(&seen.lease, now.wall)))
            }
            (Some(seen), Basis::Read) => Act::Replace(Box::new(self.taken(&seen.lease, now.wall))),
            (Some(seen), Basis::Written) if self.leads(now.mono) => {
                Act::Replace(Box::new(self.taken(&seen.lease, now.wall)))
            }
            (None, Basis::Read) => Act::Create(Box::new(self.taken(&Lease::default(), now.wall))),
            _ => Act::Look,
        }
    }

    /// Takes in how the act came out.
    pub fn learn(&mut self, reply: Reply, exchange: Exchange) {
        let Exchange { sent, received, pace } = exchange;
        let soon = received.max(sent + LOOK_PERIOD.mul_f64(pace));
        match reply {
            Reply::Found(lease) => self.found(lease, received, soon),
            Reply::Absent => {
                self.seen = None;
                self.basis = Basis::Read;
                self.unsure = false;
                self.leads_until = None;
                self.due = received;
            }
            Reply::Written(lease) => {
                self.seen = Some(Seen {
                    lease,
                    since: received,
                });
                self.basis = Basis::Written;
                self.unsure = false;
                self.leads_until = (!self.leaving).then_some(sent + RENEW_DEADLINE);
                self.due = received.max(sent + RETRY_PERIOD.mul_f64(pace));
            }
            Reply::Outdated => {
                // A renewal is most often outdated by itself, when its first reply was lost: look at once.
                self.due = if self.basis == Basis::Written {
                    received
                } else {
                    soon
                };
                self.basis = Basis::Stale;
            }
            Reply::Failed => {
                self.basis = Basis::Stale;
                self.due = soon;
            }
            Reply::Unclear => {
                self.unsure |= self.basis != Basis::Stale;
                if self.basis == Basis::Read {
                    self.basis = Basis::Stale;
                }
                self.due = soon;
            }
        }
    }

    fn found(&mut self, lease: Lease, received: Duration, soon: Duration) {
        self.unsure = false;
        let since = match &self.seen {
            // The record counts, not the version: an annotation is no sign of life.
            Some(seen) if seen.lease.spec == lease.spec => seen.since,
            _ => received,
        };
        let free_at = match holder(&lease) {
            Some(holder) if *holder != self.identity => since + duration(&lease),
            _ => received,
        };
        self.seen = Some(Seen { lease, since });
        if !self.holds() {
            self.leads_until = None;
        }
        if free_at <= received {
            self.basis = Basis::Read;
            self.due = received;
        } else {
            self.basis = Basis::Stale;
            self.due = soon.min(free_at);
        }
    }

    /// Whether the lease as last seen is this replica's.
    fn holds(&self) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|seen| holder(&seen.lease) == Some(&self.identity))
    }

    /// The lease as it is when this replica has it.
    fn taken(&self, lease: &Lease, wall: Timestamp) -> Lease {
        let mut lease = lease.clone();
        lease.metadata.name = Some(self.name.clone());
        let is_new = lease.spec.is_none();
        let is_own = holder(&lease) == Some(&self.identity);
        let spec = lease.spec.get_or_insert_default();
        if !is_own {
            spec.acquire_time = Some(MicroTime(wall));
            let before = spec.lease_transitions.unwrap_or(0);
            spec.lease_transitions = Some(if is_new { before } else { before.saturating_add(1) });
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(LEASE_SECONDS);
        spec.renew_time = Some(MicroTime(wall));
        lease
    }
}

/// The lease as it is when nobody has it.
fn released(lease: &Lease, wall: Timestamp) -> Lease {
    let mut lease = lease.clone();
    let spec = lease.spec.get_or_insert_default();
    *spec = LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(MicroTime(wall)),
        renew_time: Some(MicroTime(wall)),
        ..std::mem::take(spec)
    };
    lease
}

/// Who holds it; an empty name is nobody's.
fn holder(lease: &Lease) -> Option<&String> {
    let holder = lease.spec.as_ref()?.holder_identity.as_ref()?;
    (!holder.is_empty()).then_some(holder)
}

/// How long its record must stand unchanged. A replica of another version may have its own idea, within bounds.
fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let asked = seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(0);
    Duration::from_secs(asked).clamp(LEASE_DURATION, LONGEST)
}
