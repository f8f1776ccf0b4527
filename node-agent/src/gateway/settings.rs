//! The interface's own settings: key, port, packet mark, and the link's shape.

use culvert_crds::gateway::KeyStorage;
use culvert_wireguard::{DeviceChange, PrivateKey, PublicKey, Settings};

use super::{Gateway, Ground, PassError};
use crate::assignment::Assignment;
use crate::interface::Managed;
use crate::kernel::Kernel;
use crate::plan::drift::Drift;
use crate::plan::link::{self, Shape};

impl Gateway {
    /// Settles what a look has shown of the interface itself, and after a tick the link's shape.
    pub(super) async fn settle<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        interface: &Managed,
        settings: Settings,
    ) -> Result<(), PassError> {
        let Some(assignment) = self.assignment.clone() else {
            return Ok(());
        };
        // First: whatever else fails, the next agent may have nothing else to go by. The text counts, as one that is out
        // of bounds reads as if it were not.
        let alias = assignment.mark.alias_of(interface.socket.as_deref());
        if interface.link.alias.as_ref() != Some(&alias) {
            on.kernel.mark(interface, &assignment.mark).await?;
            if self.is_drift(&assignment) {
                on.metrics.repaired(Drift::Alias);
            }
            if let Some(known) = &mut self.interface {
                known.link.alias = Some(alias);
            }
        }
        let own = self.settle_settings(on, &assignment, interface, settings)?;
        self.state.public_key = Some(own);
        self.view.own = Some(own);
        if !self.round.is_shape_due && self.shaped.as_ref() == Some(&assignment) {
            return Ok(());
        }
        let is_drift = self.is_drift(&assignment);
        let present = on.kernel.addresses(interface).await?;
        let mut moved = false;
        for step in link::plan(&interface.link, &present, &assignment.addresses(), assignment.mtu) {
            on.kernel.shape(interface, &step).await?;
            let drift = match step {
                Shape::Mtu(_) => Drift::Mtu,
                Shape::Forward => Drift::Forwarding,
                Shape::Up | Shape::Down => Drift::InterfaceDown,
                // One address that is another is one removed and one added.
                Shape::Add(_) | Shape::Remove(_) if std::mem::replace(&mut moved, true) => continue,
                Shape::Add(_) | Shape::Remove(_) => Drift::Address,
            };
            if is_drift {
                on.metrics.repaired(drift);
            }
        }
        if let Some(known) = &mut self.interface {
            // Until it is looked for again.
            known.link.mtu = assignment.mtu;
            known.link.forwards = true;
            known.link.up = true;
        }
        self.round.is_shape_due = false;
        self.shaped = Some(assignment);
        Ok(())
    }

    /// Whether nothing else is asked than what the interface was last made to be.
    fn is_drift(&self, assignment: &Assignment) -> bool {
        self.shaped.as_ref() == Some(assignment)
    }

    /// The interface's key, unless somebody else has set it while the agent ran. A restarted agent takes what it finds.
    pub(super) fn trusted(&self, observed: &mut Settings) -> Option<PrivateKey> {
        let own = observed.public_key;
        let is_ours = self.state.public_key.is_none_or(|known| own == Some(known));
        observed.private_key.take().filter(|_| is_ours)
    }

    /// Gives the interface its key and port, and takes a mark off that others gave its packets.
    fn settle_settings<K: Kernel>(
        &mut self,
        on: &mut Ground<'_, K>,
        assignment: &Assignment,
        interface: &Managed,
        mut observed: Settings,
    ) -> Result<PublicKey, PassError> {
        if let (Some(_), Some(own), Some(reported)) =
            (&observed.private_key, observed.public_key, self.state.public_key)
            && own == reported
            && observed.listen_port == assignment.listen_port
            && observed.fwmark == 0
            && self
                .shaped
                .as_ref()
                .is_some_and(|shaped| shaped.key_storage == assignment.key_storage)
        {
            return Ok(own);
        }
        let trusted = self.trusted(&mut observed);
        let copy = |key: &PrivateKey| PrivateKey::from_bytes(key.as_bytes());
        let in_use = self.key.as_ref().map(copy).or(trusted);
        let key = on
            .keystore
            .key(&self.mark.gateway, assignment.key_storage, in_use)?;
        let own = key.public_key();
        self.key = (assignment.key_storage == KeyStorage::Memory).then(|| copy(&key));
        let change = DeviceChange {
            private_key: (observed.public_key != Some(own)).then_some(key),
            listen_port: (observed.listen_port != assignment.listen_port).then_some(assignment.listen_port),
            fwmark: (observed.fwmark != 0).then_some(0),
            ..DeviceChange::default()
        };
        if change.is_empty() {
            return Ok(own);
        }
        on.kernel.configure(interface, &change)?;
        self.port = Some(assignment.listen_port);
        if self.is_drift(assignment) {
            let changed = [
                (change.private_key.is_some(), Drift::PrivateKey),
                (change.listen_port.is_some(), Drift::Port),
                (change.fwmark.is_some(), Drift::Mark),
            ];
            for (_, drift) in changed.iter().filter(|(is_changed, _)| *is_changed) {
                on.metrics.repaired(*drift);
            }
        }
        Ok(own)
    }
}
