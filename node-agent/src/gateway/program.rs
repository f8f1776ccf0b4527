//! The interface's peers become the wanted ones, as far as the kernel takes them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use culvert_crds::gateway_node::{MAX_REFUSED, Refused};
use culvert_wireguard::{Error, ObservedDevice, PeerChange, Refusal};

use super::{Gateway, change};
use crate::desired::Wanted;
use crate::desired::parse::Uid;
use crate::interface::Managed;
use crate::kernel::{self, Kernel};
use crate::plan::room::Room;
use crate::plan::sync::{self, Changes};

/// How often a set of peers is sent before what the kernel ignores counts as refused.
const ROUNDS: usize = 3;

impl Gateway {
    /// Programs peers until a look shows them; whether there was room for all. `surplus` says whether what is not
    /// wanted may be removed.
    pub(super) fn program(
        &mut self,
        kernel: &mut impl Kernel,
        interface: &Managed,
        wanted: &Wanted,
        surplus: bool,
        observed: &mut ObservedDevice,
        now: Option<Duration>,
    ) -> Result<bool, Error> {
        let mut refusal = None;
        let mut is_short = false;
        for _ in 0..ROUNDS {
            let Changes { known, mut further } = sync::plan(wanted, &observed.peers, surplus);
            let removed = known
                .iter()
                .filter(|change| matches!(change, PeerChange::Remove(_)))
                .count();
            let present = observed.peers.len().saturating_sub(removed);
            if further.is_empty() {
                // Nobody waits: the next one finds out anew.
                self.room = Room::default();
            }
            let most = self.room.most(present, now);
            is_short = further.len() > most;
            further.truncate(most);
            if known.is_empty() && further.is_empty() {
                break;
            }
            tracing::debug!(known = known.len(), further = further.len(), "programming peers");
            let only_further = known.is_empty();
            change(kernel, interface, known)?;
            let sent = further.len();
            match change(kernel, interface, further) {
                Ok(()) if sent == 0 => {}
                Ok(()) => self.room.taken(present),
                Err(error) if error.refusal() == Some(Refusal::OutOfMemory) => {
                    self.room.refused(sent, present, now);
                    is_short = true;
                    refusal = Some(error);
                    if sent == 1 && only_further {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
            *observed = kernel::whole(kernel, interface)?;
        }
        match refusal {
            // Not for want of room, then: the next pass goes on where this one was stopped.
            Some(error) if is_short && !self.room.is_full() => Err(error),
            _ => Ok(!is_short),
        }
    }
}

/// What is not to be programmed, and what the kernel has silently ignored or has no room for.
pub(super) fn refused(wanted: &Wanted, observed: &ObservedDevice) -> Option<Refused> {
    let present: HashMap<_, _> = observed
        .peers
        .iter()
        .map(|peer| (peer.public_key, peer))
        .collect();
    let ignored = wanted
        .peers
        .values()
        .filter(|peer| {
            !present
                .get(&peer.public_key)
                .is_some_and(|found| found.matches(peer))
        })
        .flat_map(|peer| wanted.uids.get(&peer.public_key).into_iter().flatten().copied());
    let all: HashSet<Uid> = wanted.refused.iter().copied().chain(ignored).collect();
    let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let mut uids: Vec<_> = all.into_iter().collect();
    uids.sort_unstable();
    uids.truncate(MAX_REFUSED);
    let uids = uids.iter().map(Uid::to_string).collect();
    (count > 0).then_some(Refused { uids, count })
}
