//! The node's kernel: one netlink socket for WireGuard, one for links and addresses.
//!
//! A dump is whole or an error. Every change goes to an interface that carries our mark
//! ([`Managed`]); there is no way to name another one.

use culvert_wireguard::netlink::{Limits, LinkInfo, Rtnl, Socket, dump};
use culvert_wireguard::{DeviceChange, Error, ObservedDevice, PeerChange, Refusal};
use ipnet::IpNet;

use crate::interface::{Managed, Mark};

/// How often a dump that somebody's change interrupted is tried again before the tick goes without.
const DUMPS: u32 = 8;

/// Peers in a message that reinstates: each pair waits for RCU, with the lock of all links held.
const PAIRS: usize = 8;

/// The kernel's WireGuard and its links, in the network namespace of this process.
pub struct Kernel {
    socket: Socket,
    rtnl: Rtnl,
}

impl Kernel {
    /// Opens both sockets. Fails with a refusal `NotSupported` when the kernel has no WireGuard.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            socket: Socket::open()?,
            rtnl: Rtnl::open()?,
        })
    }

    /// Every interface that carries our mark.
    pub async fn managed(&self) -> Result<Vec<Managed>, Error> {
        Ok(self
            .rtnl
            .wireguard_links()
            .await?
            .into_iter()
            .filter_map(Managed::of)
            .collect())
    }

    /// The interface of this name, whosever it is.
    pub async fn link(&self, name: &str) -> Result<Option<LinkInfo>, Error> {
        self.rtnl.link(name).await
    }

    /// Creates an interface that carries `mark`.
    pub async fn create(&self, name: &str, mark: &Mark) -> Result<Managed, Error> {
        self.rtnl.create_wireguard(name, &mark.alias()).await?;
        let link = self.rtnl.link(name).await?;
        link.and_then(Managed::of).ok_or_else(|| Error::Refused {
            action: "create",
            object: format!("interface `{name}`"),
            refusal: Refusal::NotFound,
        })
    }

    /// Writes a new mark of the same gateway.
    pub async fn mark(&self, interface: &Managed, mark: &Mark) -> Result<(), Error> {
        self.rtnl.set_alias(interface.link.ifindex, &mark.alias()).await
    }

    /// Gives the interface its addresses and no others, its MTU, and sets it up.
    pub async fn shape(&self, interface: &Managed, addresses: &[IpNet], mtu: u32) -> Result<(), Error> {
        let ifindex = interface.link.ifindex;
        if interface.link.mtu != mtu {
            self.rtnl.set_mtu(ifindex, mtu).await?;
        }
        let present = self.rtnl.addresses(ifindex).await?;
        for address in addresses.iter().filter(|address| !present.contains(address)) {
            self.rtnl.add_address(ifindex, *address).await?;
        }
        for address in present.iter().filter(|address| !addresses.contains(address)) {
            self.rtnl.remove_address(ifindex, *address).await?;
        }
        if !interface.link.up {
            self.rtnl.set_up(ifindex).await?;
        }
        Ok(())
    }

    /// A whole dump.
    pub fn dump(&mut self, interface: &Managed) -> Result<ObservedDevice, Error> {
        let ifindex = interface.link.ifindex;
        tokio::task::block_in_place(|| {
            for _ in 1..DUMPS {
                match dump(&mut self.socket, ifindex) {
                    Err(Error::DumpInterrupted { .. }) => {}
                    whole => return whole,
                }
            }
            dump(&mut self.socket, ifindex)
        })
    }

    /// Changes the interface's own settings.
    pub fn configure(&mut self, interface: &Managed, change: &DeviceChange) -> Result<(), Error> {
        tokio::task::block_in_place(|| {
            self.socket
                .set_device(interface.link.ifindex, change, Limits::default())
                .map(drop)
        })
    }

    /// Changes peers, in order. Those that are reinstated go in small messages.
    pub fn change(&mut self, interface: &Managed, changes: Vec<PeerChange>) -> Result<(), Error> {
        let (reinstate, others): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|change| matches!(change, PeerChange::Reinstate(_)));
        let ifindex = interface.link.ifindex;
        tokio::task::block_in_place(|| {
            if !others.is_empty() {
                self.socket
                    .set_device(ifindex, &DeviceChange::of_peers(others), Limits::default())?;
            }
            if !reinstate.is_empty() {
                let limits = Limits {
                    changes: PAIRS,
                    ..Limits::default()
                };
                self.socket
                    .set_device(ifindex, &DeviceChange::of_peers(reinstate), limits)?;
            }
            Ok(())
        })
    }

    /// Removes every peer, then the interface: the other way round costs the kernel 18 ms a peer.
    pub async fn delete(&mut self, interface: &Managed) -> Result<(), Error> {
        let gone = |error: &Error| error.refusal() == Some(Refusal::NotFound);
        match self.configure(interface, &DeviceChange::flush()) {
            Err(error) if gone(&error) => return Ok(()),
            result => result?,
        }
        match self.rtnl.delete_link(interface.link.ifindex).await {
            Err(error) if gone(&error) => Ok(()),
            result => result,
        }
    }
}
