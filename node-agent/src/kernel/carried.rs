//! Interfaces of ours that somebody carries to another network namespace are deleted there.
//!
//! Out of sight they would keep the gateway's key, its peers and where they were, and nobody would forget them. Their
//! peers cannot be removed first from here, and deleting them with the interface takes long; so it is done by a thread of
//! its own, and the place of the interface is free at once.

use std::future::pending;
use std::thread;

use culvert_crds::gateway_node::Backend;
use culvert_wireguard::Error;
use culvert_wireguard::netlink::Rtnl;
use culvert_wireguard::netlink::departures::{Departed, Departures};
use tokio::runtime::Builder;

use crate::interface::Managed;

/// Listens for them.
pub(super) struct Carried {
    departures: Departures,
    backend: Backend,
}

impl Carried {
    /// Listens for interfaces of this sort.
    pub(super) fn open(backend: Backend) -> Result<Self, Error> {
        let departures = Departures::open()?;
        Ok(Self { departures, backend })
    }

    /// Waits until one has left, and has it deleted.
    pub(super) async fn next(&mut self) {
        loop {
            let Some(departed) = self.departures.next().await else {
                return pending().await;
            };
            let managed = Managed::of(departed.link.clone());
            if managed.is_some_and(|managed| managed.backend() == self.backend) {
                tracing::warn!(
                    interface = departed.link.name,
                    "interface was carried to another network namespace, deleting it there"
                );
                thread::spawn(move || delete(&departed));
                return;
            }
        }
    }
}

fn delete(departed: &Departed) {
    // The kernel deletes it while the request is sent, and the agent's own runtime has more to do.
    let runtime = Builder::new_current_thread().enable_all().build();
    let deleted = runtime.map_err(Error::Open).and_then(|runtime| {
        runtime.block_on(async {
            let rtnl = Rtnl::open()?;
            departed.delete(&rtnl).await
        })
    });
    if let Err(error) = deleted {
        tracing::warn!(
            error = %error,
            cause = error.refusal().map(|refusal| refusal.to_string()),
            "unable to delete an interface in another network namespace: it keeps peers that nobody forgets"
        );
    }
}
