//! Follows the peers: list, then watch, straight into the shared table.
//!
//! The socket is always drained: an event costs an entry of the table, and programming the kernel is somebody else's
//! work. The versions of lists and bookmarks are what a watermark is made of, and how a history that went back is
//! noticed; [`culvert_follow`] tells them.

use std::sync::Arc;
use std::time::Duration;

use culvert_crds::WireGuardPeer;
use culvert_follow::{Deaf, Listener, Next, Params, Raw, Told, Uid, follow};
use kube::{Client, Resource};

use crate::clock::Clocks;
use crate::desired::{Shared, Verdict, parse};
use crate::metrics::{Metrics, Watched};

/// Peers in one page of a list.
const PAGE: u32 = 500;

/// First and longest pause after a failure: less than one request a second, and a gateway that is cut off for long
/// knows soon after everybody else that it is not any more.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1_300), Duration::from_secs(20));

/// The time between a list that would remove what it should not and the one that must agree.
pub(crate) const SECOND_OPINION: Duration = Duration::from_secs(5);

/// How the agent follows a kind.
pub(crate) fn params<K: Resource<DynamicType = ()>>() -> Params {
    Params {
        pause: PAUSE,
        ..Params::new(K::kind(&()).into_owned(), K::url_path(&(), None))
    }
}

/// Follows the peers for ever.
pub async fn run(client: Client, metrics: Arc<Metrics>, shared: Shared) {
    let params = Params {
        page: PAGE,
        ..params::<WireGuardPeer>()
    };
    follow(client, params, Peers { shared, metrics }).await;
}

/// Listens for the table. It is held for one object at a time.
struct Peers {
    shared: Shared,
    metrics: Arc<Metrics>,
}

impl Listener for Peers {
    async fn list_begins(&mut self, version: u64) -> Told {
        let mut desired = self.shared.lock();
        desired.pass_time(Clocks::read().boot);
        desired.list_begins(version);
        Ok(())
    }

    async fn now_is(&mut self, object: &Raw) -> Told {
        let Some(uid) = object.metadata.uid else {
            return Ok(());
        };
        let peer = parse::peer(object);
        if peer.is_none() {
            tracing::warn!(%uid, "a peer cannot be read and is refused");
        }
        self.shared.lock().apply(uid, peer);
        Ok(())
    }

    async fn gone(&mut self, uid: Uid, version: u64) -> Told {
        self.shared.lock().delete(version, uid);
        Ok(())
    }

    async fn seen(&mut self, version: u64) -> Told {
        let mut desired = self.shared.lock();
        desired.note(version);
        // Bookmarks come often enough for what is to be forgotten after an hour.
        desired.pass_time(Clocks::read().boot);
        drop(desired);
        self.shared.tell();
        Ok(())
    }

    async fn list_complete(&mut self, version: u64) -> Result<Next, Deaf> {
        let verdict = self.shared.lock().finish_list(version);
        self.shared.tell();
        Ok(match verdict {
            Verdict::Believed => Next::Watch,
            Verdict::ListAgain => {
                tracing::warn!(
                    version,
                    "a list would remove many peers; nothing is removed before a second one agrees"
                );
                Next::ListAgain(SECOND_OPINION)
            }
            Verdict::TooOld => {
                tracing::warn!(
                    version,
                    "a list is older than what was seen before; it removes nothing"
                );
                Next::Watch
            }
        })
    }

    async fn rewound(&mut self) -> Told {
        tracing::warn!(
            "the API's history has gone back, as after a restore from a backup; every peer is served on until two lists agree that it is gone"
        );
        self.shared.lock().rewound();
        self.shared.tell();
        Ok(())
    }

    fn failed(&mut self) {
        self.metrics.watch_failed(Watched::Peer);
    }
}

#[cfg(test)]
mod tests;
