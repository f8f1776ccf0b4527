//! The gateway's interface: known by its mark, whatever name it has by now.
//!
//! An interface that somebody has renamed is renamed back, as to make another one would cut every client off. When its
//! name is taken meanwhile, it is served under the one it has: whoever is revoked must go, and whoever is silent be
//! forgotten, there as well.

use culvert_wireguard::Refusal;

use super::{Gateway, PassError, State};
use crate::assignment::Assignment;
use crate::interface::Managed;
use crate::kernel::Kernel;

impl Gateway {
    /// Finds the gateway's interface, or creates it; and whether it has its name, or somebody else's interface has.
    pub(super) async fn ensure(
        &mut self,
        kernel: &mut impl Kernel,
        assignment: &Assignment,
    ) -> Result<(Managed, bool), PassError> {
        let name = &assignment.interface;
        let named = kernel.link(name).await?;
        let is_taken = named.is_some();
        if let Some(ours) = named.and_then(Managed::of).filter(|found| self.is_ours(found)) {
            return Ok((self.keep(ours), true));
        }
        let mut others = kernel.managed().await?;
        others.retain(|found| self.is_ours(found));
        let known = self.interface.as_ref().map(|known| known.link.ifindex);
        // One that the agent has never seen is not the one it has lost.
        let renamed = others
            .iter()
            .find(|other| known.is_none_or(|known| known == other.link.ifindex));
        if let Some(renamed) = renamed.cloned() {
            if is_taken {
                return Ok((self.keep(renamed), false));
            }
            match kernel.rename(&renamed, name).await {
                Ok(()) => {
                    tracing::info!(interface = name, "interface renamed back");
                    let mut ours = renamed;
                    ours.link.name.clone_from(name);
                    return Ok((self.keep(ours), true));
                }
                // Somebody was quicker.
                Err(error) if error.refusal() == Some(Refusal::AlreadyExists) => {
                    return Ok((self.keep(renamed), false));
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
        let created = kernel.create(name, &assignment.mark).await?;
        tracing::info!(interface = name, "interface created");
        *self = Self {
            key: self.key.take(),
            ..Self::found(created.clone())
        };
        Ok((created, true))
    }

    fn is_ours(&self, found: &Managed) -> bool {
        found.mark.gateway == self.mark.gateway
    }

    fn keep(&mut self, found: Managed) -> Managed {
        self.interface = Some(found.clone());
        found
    }

    /// What was known and reported of an interface is not true without it.
    fn lose_interface(&mut self) {
        if self.interface.is_some() || self.state.applied.is_some() {
            *self = Self {
                state: State {
                    failure: self.state.failure,
                    ..State::new()
                },
                key: self.key.take(),
                ..Self::new(self.mark.clone())
            };
        }
    }
}
