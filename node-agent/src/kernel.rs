//! The node's WireGuard and its links, as the agent needs them.
//!
//! Every change goes to an interface that carries our mark ([`Managed`]); there is no way to name another one. What an
//! interface holds is seen by a look, datagram by datagram; [`whole`] makes one device of it, or an error.
//!
//! Success of a change does not prove that a peer is there: a peer with the interface's own key is ignored without a
//! word. A failure says as little, as part of the change, or all of it, may have been done: look again.

mod both;
mod carried;
pub mod choose;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod netlink;
mod userspace;

pub use both::Both;
pub use netlink::Netlink;
pub use userspace::Userspace;

use culvert_crds::gateway_node::Backend;
use culvert_wireguard::netlink::{LinkInfo, RouteInfo};
use culvert_wireguard::{DeviceChange, Error, ObservedDevice, PeerChange, PeerPart, Progress, look};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::firewall::Firewall;
use crate::interface::{Managed, Mark};
use crate::plan::link::Shape;

/// How often a look that somebody's change interrupted is begun again before the tick goes without.
const LOOKS: u32 = 8;

/// What the agent asks of a kernel. Interfaces are those of one network namespace.
///
/// All but names is known by the interface's number, so whoever renames an interface stops nothing; on one that is gone
/// every call is refused with `NotFound`, unless it says otherwise.
pub trait Kernel {
    /// The node's packet filter.
    type Firewall: Firewall + Send + 'static;

    /// The node's packet filter.
    fn firewall(&mut self) -> &mut Self::Firewall;

    /// What moves the packets of an interface that is created.
    fn backend(&self) -> Backend;

    /// Every interface that carries our mark. Where the node's back end has been changed, some are of the other sort.
    fn managed(&mut self) -> impl Future<Output = Result<Vec<Managed>, Error>>;

    /// The interface of this name, whosever it is.
    fn link(&mut self, name: &str) -> impl Future<Output = Result<Option<LinkInfo>, Error>>;

    /// Creates an interface that carries `mark`, down and empty, with this MTU. Refused with `AlreadyExists` when the
    /// name is taken.
    fn create(&mut self, name: &str, mark: &Mark, mtu: u32) -> impl Future<Output = Result<Managed, Error>>;

    /// Gives the interface another name; its peers and their sessions stay. Refused with `AlreadyExists` when the name is
    /// taken. Linux before 6.2 refuses it with `Busy` to a link that is up.
    fn rename(&mut self, interface: &Managed, name: &str) -> impl Future<Output = Result<(), Error>>;

    /// Writes a new mark of the same gateway.
    fn mark(&mut self, interface: &Managed, mark: &Mark) -> impl Future<Output = Result<(), Error>>;

    /// The interface's addresses, in order; none when it is gone.
    fn addresses(&mut self, interface: &Managed) -> impl Future<Output = Result<Vec<IpNet>, Error>>;

    /// Every route that leads somewhere, whosever it is; that of an address is there while its link is up.
    fn routes(&mut self) -> impl Future<Output = Result<Vec<RouteInfo>, Error>>;

    /// Every address of the node, on whichever link.
    fn own_addresses(&mut self) -> impl Future<Output = Result<Vec<IpAddr>, Error>>;

    /// Changes one thing of the link. An address that is there is refused with `AlreadyExists`, one to remove that is
    /// not with `NotFound`, and to set up while somebody else has the UDP port with `PortInUse`.
    fn shape(&mut self, interface: &Managed, step: &Shape) -> impl Future<Output = Result<(), Error>>;

    /// Removes every peer, then the interface; one that is gone is no error. Gives up a look that is open, as the kernel
    /// waits with the end of an interface for whoever looks at it.
    fn delete(&mut self, interface: &Managed) -> impl Future<Output = Result<(), Error>>;

    /// Begins a look at an interface; one that is open there is given up. Looks at other interfaces go on.
    fn begin(&mut self, interface: &Managed) -> Result<(), Error>;

    /// Reads the next part of the look at an interface and hands its peers to `each`. Fails with [`Error::NoLook`] when
    /// none is open. An error ends the look.
    fn next(&mut self, interface: &Managed, each: &mut dyn FnMut(PeerPart<'_>)) -> Result<Progress, Error>;

    /// Gives up a look that is open at an interface: as long as it is, the kernel keeps everybody who deletes the
    /// interface waiting.
    fn give_up(&mut self, interface: &Managed);

    /// Changes the interface's own settings. A look may stay open meanwhile.
    fn configure(&mut self, interface: &Managed, change: &DeviceChange) -> Result<(), Error>;

    /// Changes peers, in order, up to the first that fails. A look may stay open meanwhile, and is interrupted.
    ///
    /// All of it is one message if it fits, during which nobody else changes any link; so the caller sizes it.
    fn change(&mut self, interface: &Managed, changes: &[PeerChange]) -> Result<(), Error>;

    /// Waits until an interface has gone that nobody here has deleted: the program that moved its packets has ended, or
    /// somebody has carried it to another network namespace, where it is deleted. Also until somebody has changed a table
    /// of ours. May be dropped and asked again: nothing is missed.
    fn disturbed(&mut self) -> impl Future<Output = ()>;
}

/// A whole look. One that somebody's change interrupts is begun again, a few times.
pub fn whole(kernel: &mut impl Kernel, interface: &Managed) -> Result<ObservedDevice, Error> {
    for _ in 0..LOOKS {
        kernel.begin(interface)?;
        if let Some(device) = look::whole(|each| kernel.next(interface, each))? {
            return Ok(device);
        }
    }
    Err(Error::DumpInterrupted {
        object: format!("interface {}", interface.link.ifindex),
    })
}

#[cfg(test)]
mod tests;
