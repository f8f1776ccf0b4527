//! The gateway's interface: known by its mark, whatever name it has by now.
//!
//! An interface that somebody has renamed is renamed back, as to make another one would cut every client off. When its
//! name is taken meanwhile, it is served under the one it has: whoever is revoked must go, and whoever is silent be
//! forgotten, there as well.
//!
//! One of the other sort, on a node whose back end has been changed, gives its key to the one that takes its place.

use culvert_crds::gateway::KeyStorage;
use culvert_wireguard::Refusal;

use super::{Gateway, Ground, PassError};
use crate::assignment::Assignment;
use crate::interface::Managed;
use crate::kernel::{self, Kernel};
use crate::plan::drift::Drift;

impl Gateway {
    /// Finds the gateway's interface, or creates it; and whether it has its name, or somebody else's interface has.
    pub(super) async fn ensure<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        assignment: &Assignment,
    ) -> Result<bool, PassError> {
        let name = &assignment.interface;
        let was_there = self.interface.is_some();
        // Another name that the API asks for is no drift.
        let was_named = self
            .shaped
            .as_ref()
            .is_some_and(|shaped| shaped.interface == *name);
        let kernel = &mut *on.kernel;
        let named = kernel.link(name).await?;
        let mut is_taken = named.is_some();
        match named.and_then(Managed::of).filter(|found| self.is_ours(found)) {
            Some(ours) if ours.backend() == kernel.backend() => {
                self.interface = Some(ours);
                return Ok(true);
            }
            // It is among the others, and goes.
            Some(_) => is_taken = false,
            None => {}
        }
        let mut others = kernel.managed().await?;
        others.retain(|found| self.is_ours(found));
        let (others, unfit): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|found| found.backend() == kernel.backend());
        for unfit in unfit {
            self.replace(kernel, unfit, assignment.key_storage).await?;
        }
        let known = self.interface.as_ref().map(|known| known.link.ifindex);
        // One that the agent has never seen is not the one it has lost.
        let renamed = others
            .iter()
            .find(|other| known.is_none_or(|known| known == other.link.ifindex));
        if let Some(renamed) = renamed.cloned() {
            if is_taken {
                self.interface = Some(renamed);
                return Ok(false);
            }
            match kernel.rename(&renamed, name).await {
                Ok(()) => {
                    tracing::info!(interface = name, "interface renamed back");
                    let mut ours = renamed;
                    ours.link.name.clone_from(name);
                    self.interface = Some(ours);
                    if was_named {
                        on.metrics.repaired(Drift::InterfaceRenamed);
                    }
                    return Ok(true);
                }
                // Somebody was quicker.
                Err(error) if error.refusal() == Some(Refusal::AlreadyExists) => {
                    self.interface = Some(renamed);
                    return Ok(false);
                }
                // Linux before 6.2, where whoever renamed it had to set it down: sessions are young.
                Err(error) if error.refusal() == Some(Refusal::Busy) && renamed.link.up => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.lose_interface();
        if is_taken {
            return Err(PassError::Foreign(name.clone()));
        }
        // Under another name it would hold the port, and its peers would be nobody's.
        for other in &others {
            kernel.delete(other).await?;
        }
        let created = kernel.create(name, &assignment.mark, assignment.mtu).await?;
        tracing::info!(interface = name, "interface created");
        self.begin_anew(Some(created));
        if was_there {
            on.metrics.repaired(Drift::InterfaceGone);
        }
        Ok(true)
    }

    /// Deletes an interface of the other sort and keeps its key. As long as it is there, it is the gateway's: whoever
    /// falls silent is forgotten there, too.
    async fn replace(
        &mut self,
        kernel: &mut impl Kernel,
        unfit: Managed,
        storage: KeyStorage,
    ) -> Result<(), PassError> {
        self.interface = Some(unfit.clone());
        match kernel::whole(kernel, &unfit) {
            Ok(mut observed) => self.key = self.key.take().or(self.trusted(&mut observed.settings)),
            // A program that has ended has taken its key with it.
            Err(error) if error.refusal() == Some(Refusal::NotFound) => {}
            // Nobody else has the key: the next tick looks again.
            Err(error) if self.key.is_none() && storage == KeyStorage::Memory => return Err(error.into()),
            Err(_) => {}
        }
        kernel.delete(&unfit).await?;
        let interface = unfit.link.name;
        tracing::info!(interface, "interface of another back end deleted");
        self.lose_interface();
        Ok(())
    }

    pub(super) fn is_ours(&self, found: &Managed) -> bool {
        found.mark.gateway == self.mark.gateway
    }

    /// What was known and reported of an interface is not true without it.
    fn lose_interface(&mut self) {
        if self.interface.is_some() || self.state.applied.is_some() {
            self.begin_anew(None);
        }
    }
}
