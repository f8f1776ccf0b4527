//! Whether something on the node can write down where clients are: the kernel's debug messages, a core dump, swap, somebody
//! who reads packets, connection tracking of the gateways' own ports.
//!
//! The agent changes none of it, as none of it is Culvert's: it looks once a minute and says what it has found in every
//! report. What cannot be looked at is unknown, never fine; that is said by the absence of a finding, and once in the log.
//! Nothing of it depends on what a single client does: connection tracking, which shows clients, is said for an hour after.

mod network;
mod node;
mod sockets;
mod swap;
#[cfg(test)]
mod tests;

pub use node::Node;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use culvert_crds::Reason;
use tokio::sync::watch;

use crate::clock::sleep;
use crate::metrics::Metrics;

/// The time between two looks: twelve ticks.
const PERIOD: Duration = Duration::from_secs(60);

/// For so many looks, an hour of them, connection tracking is said after it was seen: what tracks is there to stay, and
/// whether anybody is tracked at the moment is the clients' business.
const TRACKED_FOR: u32 = 60;

/// What the node was found to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finding {
    /// Nothing was found, and not everything could be looked at.
    #[default]
    Unknown,
    /// Everything was looked at, and nothing found.
    Nothing,
    /// These were found.
    Degraded(Causes),
}

/// What was found, at least one, in the order of how much it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Causes([Option<Reason>; CAUSES]);

/// How many causes there are.
const CAUSES: usize = 5;

impl Causes {
    /// Each of them.
    pub fn reasons(&self) -> Vec<Reason> {
        self.0.iter().copied().flatten().collect()
    }
}

/// What one look has shown, cause by cause; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The kernel logs WireGuard's debug messages, which name clients' addresses.
    pub debug_messages: Option<bool>,
    /// A core dump of the agent, or of wireguard-go, can be stored.
    pub core_dumps: Option<bool>,
    /// Memory can be swapped to a disk as it is.
    pub plain_swap: Option<bool>,
    /// A program reads packets where clients arrive.
    pub packet_sockets: Option<bool>,
    /// The kernel tracks packets of the gateways' own ports.
    pub connection_tracking: Option<bool>,
}

impl Look {
    /// Each cause, and whether it is so.
    pub fn causes(self) -> [(Option<bool>, Reason); CAUSES] {
        [
            (self.debug_messages, Reason::DebugMessages),
            (self.core_dumps, Reason::CoreDumps),
            (self.plain_swap, Reason::PlainSwap),
            (self.packet_sockets, Reason::PacketSockets),
            (self.connection_tracking, Reason::ConnectionTracking),
        ]
    }

    /// What it comes to.
    pub fn finding(self) -> Finding {
        let causes = self.causes();
        let found = causes.map(|(is_so, reason)| (is_so == Some(true)).then_some(reason));
        if found.iter().any(Option::is_some) {
            Finding::Degraded(Causes(found))
        } else if causes.iter().all(|(is_so, _)| is_so.is_some()) {
            Finding::Nothing
        } else {
            Finding::Unknown
        }
    }

    fn with(self, wanted: Option<bool>) -> Vec<&'static str> {
        let causes = self.causes();
        let of = causes.iter().filter(|(is_so, _)| *is_so == wanted);
        of.map(|(_, reason)| reason.as_str()).collect()
    }

    /// Says in the log what is new since the look before.
    fn log(self, before: Option<&Self>) {
        if before == Some(&self) {
            return;
        }
        let (found, unknown) = (self.with(Some(true)), self.with(None));
        if !found.is_empty() {
            tracing::warn!(
                ?found,
                "the node can write down where clients are; each has a page in docs/reasons"
            );
        } else if before.is_some_and(|before| !before.with(Some(true)).is_empty()) {
            tracing::info!("the node does not write down any more where clients are");
        }
        if !unknown.is_empty() && before.is_none_or(|before| before.with(None) != unknown) {
            tracing::warn!(
                ?unknown,
                "unable to see whether the node can write down where clients are"
            );
        }
    }
}

/// Looks once a minute, and when the gateways' ports are others, for ever; the newest finding is in `findings`. `first` is
/// what was seen at the start.
pub async fn run(
    node: Node,
    first: Look,
    findings: watch::Sender<Finding>,
    mut ports: watch::Receiver<HashSet<u16>>,
    metrics: Arc<Metrics>,
) {
    first.log(None);
    metrics.privacy(first);
    let mut last = first;
    let mut tracking = Tracking::default();
    loop {
        tokio::select! {
            () = sleep(PERIOD) => {}
            Ok(()) = ports.changed() => {}
        }
        let of_gateways = ports.borrow_and_update().clone();
        let seen = node.look(&of_gateways).await;
        let look = Look {
            connection_tracking: tracking.after(seen.connection_tracking),
            ..seen
        };
        look.log(Some(&last));
        metrics.privacy(look);
        last = look;
        let finding = look.finding();
        findings.send_if_modified(|old| std::mem::replace(old, finding) != finding);
    }
}

/// How many looks ago connection tracking was seen.
#[derive(Debug, Default)]
struct Tracking {
    left: u32,
}

impl Tracking {
    /// What is to be said after a look.
    fn after(&mut self, seen: Option<bool>) -> Option<bool> {
        self.left = match seen {
            Some(true) => TRACKED_FOR,
            _ => self.left.saturating_sub(1),
        };
        if self.left > 0 { Some(true) } else { seen }
    }
}

/// Whether the kernel prints any debug message of WireGuard's, by its table of them: `file:line [module]function =flags
/// "format"`. `p` is the flag that prints.
fn debug_messages(control: &str) -> bool {
    control.lines().any(|line| {
        let ours = line.split_once(" [wireguard]").map(|(_, rest)| rest);
        let flags = ours.and_then(|rest| rest.split_ascii_whitespace().nth(1)?.strip_prefix('='));
        flags.is_some_and(|flags| flags.contains('p'))
    })
}

/// What decides whether this process leaves a core dump, or one that it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cores {
    /// Others of the same user may read the agent's memory, and the kernel may store it.
    dumpable: bool,
    /// The agent starts wireguard-go, which is always dumpable.
    starts_programs: bool,
    /// The largest core file in bytes; `None` is no limit. A program that is started has the same.
    limit: Option<u64>,
    /// The kernel hands cores to a program. It does so whatever the limit, unless that is 1 byte.
    piped: bool,
}

impl Cores {
    fn possible(self) -> bool {
        let stopped = match self.limit {
            Some(1) => true,
            Some(0) => !self.piped,
            _ => false,
        };
        self.dumpable || (self.starts_programs && !stopped)
    }
}
