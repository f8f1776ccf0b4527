//! One gateway on this node: its interface, its peers, its ages, and what there is to report of it.
//!
//! Guarantees: nothing is changed on an interface without our mark; a peer counts as programmed only
//! when a dump has shown it; whatever fails is tried again on the next tick, and what has been
//! reported stays true meanwhile.

mod ensure;
mod program;

use culvert_crds::Reason;
use culvert_crds::gateway::KeyStorage;
use culvert_crds::gateway_node::Refused;
use culvert_wireguard::{
    DeviceChange, Error, ErrorClass, ObservedDevice, PeerChange, PrivateKey, PublicKey, Refusal, Settings,
};
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use crate::ages::Ages;
use crate::assignment::Assignment;
use crate::clock::Clocks;
use crate::desired::Wanted;
use crate::interface::{Managed, Mark};
use crate::kernel::{self, Kernel};
use crate::keystore::{Keystore, KeystoreError};
use crate::plan::room::Room;
use crate::plan::{batch, link, purge};
use crate::watch::Shared;

/// What there is to report of a gateway. Nothing in it depends on what clients do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// New at each start and each creation of the interface.
    pub session: String,
    /// The public key of the interface.
    pub public_key: Option<PublicKey>,
    /// Every peer up to this version is in the kernel or refused.
    pub applied: Option<u64>,
    /// The pools that this speaks for.
    pub pools: Vec<String>,
    /// Peers that are not.
    pub refused: Option<Refused>,
    /// The interface is gone, as asked.
    pub drained: bool,
    /// The `purgeGeneration` for which every client has been forgotten. It outlives sessions and interfaces.
    pub purged: i64,
    /// What is wrong.
    pub failure: Option<Reason>,
}

/// Why a pass did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The kernel.
    #[error("the kernel's answer stops the gateway")]
    Kernel(#[from] Error),
    /// The private key.
    #[error("the gateway has no private key")]
    Key(#[from] KeystoreError),
    /// An interface of that name belongs to somebody else.
    #[error("interface `{0}` exists and does not carry our mark; choose another spec.interface")]
    Foreign(String),
    /// Some peers are missing.
    #[error("the kernel has no room for more peers on the interface")]
    TooManyPeers,
}

impl PassError {
    fn reason(&self) -> Reason {
        match self {
            Self::Foreign(_) => Reason::InterfaceConflict,
            Self::TooManyPeers => Reason::TooManyPeers,
            Self::Kernel(error) => match error.refusal() {
                Some(Refusal::NotSupported) => Reason::Unsupported,
                Some(Refusal::PortInUse) => Reason::Conflict,
                _ => Reason::KernelError,
            },
            Self::Key(_) => Reason::KernelError,
        }
    }

    /// Whether all that could be done has been done all the same.
    fn comes_last(&self) -> bool {
        matches!(self, Self::Foreign(_) | Self::TooManyPeers)
    }

    /// Whether the next try may succeed with nothing changed outside.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Kernel(error) if error.class() == ErrorClass::Retry)
    }
}

/// A gateway on this node.
#[derive(Debug)]
pub struct Gateway {
    mark: Mark,
    interface: Option<Managed>,
    ages: Ages,
    state: State,
    room: Room,
    /// The key, where the interface has the only other copy: it must outlive what others do to that.
    key: Option<PrivateKey>,
    /// What the interface was last shaped after, so that a pass leaves addresses alone when nothing has changed.
    shaped: Option<Assignment>,
}

impl Gateway {
    /// A gateway whose interface, if it has one, is yet to be found.
    pub fn new(mark: Mark) -> Self {
        Self {
            mark,
            interface: None,
            ages: Ages::default(),
            state: State::new(),
            room: Room::default(),
            key: None,
            shaped: None,
        }
    }

    /// A gateway whose interface an earlier agent has left.
    pub fn found(interface: Managed) -> Self {
        Self {
            interface: Some(interface.clone()),
            ..Self::new(interface.mark)
        }
    }

    /// What there is to report.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// One tick without any wish of the API: forgets whoever is stale.
    pub fn forget(&mut self, kernel: &mut impl Kernel, clocks: Clocks) -> Result<(), PassError> {
        let Some(interface) = self.interface.clone() else {
            return Ok(());
        };
        let observed = kernel::whole(kernel, &interface)?;
        self.purge(kernel, &interface, &observed, None, clocks)
    }

    /// Makes the kernel what the API asks, and proves it by a dump. `tick` says whether ages are looked at, too.
    pub async fn pass(
        &mut self,
        kernel: &mut impl Kernel,
        keystore: &Keystore,
        assignment: &Assignment,
        desired: &Shared,
        tick: Option<Clocks>,
    ) -> Result<(), PassError> {
        let result = self.try_pass(kernel, keystore, assignment, desired, tick).await;
        match &result {
            Ok(()) => self.state.failure = None,
            // A dump that somebody's change interrupts says nothing about the gateway.
            Err(error) if error.is_passing() => {}
            Err(error) => self.state.failure = Some(error.reason()),
        }
        // Whatever else fails, nobody is remembered for it.
        if let (Err(error), Some(clocks)) = (&result, tick)
            && !error.comes_last()
        {
            self.forget(kernel, clocks)?;
        }
        result
    }

    async fn try_pass(
        &mut self,
        kernel: &mut impl Kernel,
        keystore: &Keystore,
        assignment: &Assignment,
        desired: &Shared,
        tick: Option<Clocks>,
    ) -> Result<(), PassError> {
        if self.mark.window != assignment.mark.window {
            self.mark = assignment.mark.clone();
        }
        let (interface, is_named) = self.ensure(kernel, assignment).await?;
        let mut observed = kernel::whole(kernel, &interface)?;
        let own = self.settle_settings(kernel, keystore, assignment, &interface, &mut observed.settings)?;
        if tick.is_some() || self.shaped.as_ref() != Some(assignment) {
            let present = kernel.addresses(&interface).await?;
            for step in link::plan(&interface.link, &present, &assignment.addresses(), assignment.mtu) {
                kernel.shape(&interface, &step).await?;
            }
            // The text: one that is out of bounds reads as if it were not.
            if interface.link.alias.as_ref() != Some(&assignment.mark.alias()) {
                kernel.mark(&interface, &assignment.mark).await?;
            }
            self.shaped = Some(assignment.clone());
        }
        // The lock is held for the copy alone, so that the watch never waits for the kernel.
        let (version, complete, wanted) = {
            let mut desired = desired.lock();
            (
                desired.version(),
                desired.is_complete(),
                desired.all_wanted(&assignment.ranges, &own),
            )
        };
        let now = tick.map(|clocks| clocks.mono);
        let fits = self.program(kernel, &interface, &wanted, complete, &mut observed, now)?;
        self.state.public_key = Some(own);
        if complete {
            self.state.applied = Some(version);
            self.state.pools = assignment.ranges.keys().cloned().collect();
            self.state.pools.sort_unstable();
            self.state.refused = program::refused(&wanted, &observed);
        }
        if let Some(clocks) = tick {
            self.purge(kernel, &interface, &observed, complete.then_some(&wanted), clocks)?;
        }
        if !is_named {
            return Err(PassError::Foreign(assignment.interface.clone()));
        }
        fits.then_some(()).ok_or(PassError::TooManyPeers)
    }

    /// Gives the interface its key and port, and takes a mark off that others gave its packets.
    fn settle_settings(
        &mut self,
        kernel: &mut impl Kernel,
        keystore: &Keystore,
        assignment: &Assignment,
        interface: &Managed,
        observed: &mut Settings,
    ) -> Result<PublicKey, PassError> {
        let in_kernel = observed.private_key.take();
        if let (Some(_), Some(own), Some(reported)) = (&in_kernel, observed.public_key, self.state.public_key)
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
        // A key that somebody else has set while the agent ran is not the gateway's; a restarted agent takes it.
        let trusted = in_kernel.filter(|_| {
            self.state
                .public_key
                .is_none_or(|own| observed.public_key == Some(own))
        });
        let copy = |key: &PrivateKey| PrivateKey::from_bytes(key.as_bytes());
        let in_use = self.key.as_ref().map(copy).or(trusted);
        let key = keystore.key(&self.mark.gateway, assignment.key_storage, in_use)?;
        let own = key.public_key();
        self.key = (assignment.key_storage == KeyStorage::Memory).then(|| copy(&key));
        let change = DeviceChange {
            private_key: (observed.public_key != Some(own)).then_some(key),
            listen_port: (observed.listen_port != assignment.listen_port).then_some(assignment.listen_port),
            fwmark: (observed.fwmark != 0).then_some(0),
            ..DeviceChange::default()
        };
        if !change.is_empty() {
            kernel.configure(interface, &change)?;
        }
        Ok(own)
    }

    fn purge(
        &mut self,
        kernel: &mut impl Kernel,
        interface: &Managed,
        observed: &ObservedDevice,
        wanted: Option<&Wanted>,
        clocks: Clocks,
    ) -> Result<(), PassError> {
        self.ages.begin(clocks, self.mark.window);
        for peer in &observed.peers {
            self.ages.observe(peer, clocks);
        }
        let changes = purge::plan(&observed.peers, &mut self.ages, wanted, self.mark.window, clocks);
        self.ages.end(clocks);
        change(kernel, interface, changes)?;
        Ok(())
    }

    /// Leaves the node: removes every peer, then the interface.
    pub async fn drain(&mut self, kernel: &mut impl Kernel) -> Result<(), PassError> {
        if let Some(interface) = &self.interface {
            kernel.delete(interface).await?;
            tracing::info!(interface = interface.link.name, "interface drained and deleted");
        }
        let state = State {
            drained: true,
            failure: Some(Reason::Draining),
            ..State::new()
        };
        *self = Self {
            state,
            ..Self::new(self.mark.clone())
        };
        Ok(())
    }
}

impl State {
    fn new() -> Self {
        let session: u64 = UnwrapErr(SysRng).random();
        Self {
            session: format!("{session:016x}"),
            public_key: None,
            applied: None,
            pools: Vec::new(),
            refused: None,
            drained: false,
            purged: 0,
            failure: None,
        }
    }
}

fn change(kernel: &mut impl Kernel, interface: &Managed, changes: Vec<PeerChange>) -> Result<(), Error> {
    batch::messages(changes)
        .iter()
        .try_for_each(|message| kernel.change(interface, message))
}

#[cfg(test)]
mod tests;
