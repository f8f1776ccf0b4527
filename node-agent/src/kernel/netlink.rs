//! The real kernel, over netlink: a socket for each look, one to change WireGuard interfaces, one for links and addresses.

use std::collections::HashMap;
use std::net::IpAddr;

use culvert_crds::gateway_node::Backend;
use culvert_wireguard::netlink::{Limits, LinkInfo, RouteInfo, Rtnl, Socket};
use culvert_wireguard::{DeviceChange, Error, PeerChange, PeerPart, Progress, Refusal};
use ipnet::IpNet;
use tokio::task::block_in_place;

use super::Kernel;
use super::carried::Carried;
use crate::firewall::{NFT, Nft};
use crate::interface::{Managed, Mark};
use crate::plan::link::Shape;

/// The kernel's WireGuard and its links, in the network namespace of this process.
pub struct Netlink {
    /// One for each interface that is looked at, by its number.
    looks: HashMap<u32, Socket>,
    /// One that nobody looks with.
    spare: Option<Socket>,
    sets: Socket,
    rtnl: Rtnl,
    carried: Carried,
    firewall: Nft,
}

impl Netlink {
    /// Opens the sockets. Fails with a refusal `NotSupported` when the kernel has no WireGuard.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            looks: HashMap::new(),
            spare: None,
            sets: Socket::open()?,
            rtnl: Rtnl::open()?,
            carried: Carried::open(Backend::Kernel)?,
            firewall: Nft::new(NFT),
        })
    }

    fn set(&mut self, interface: &Managed, change: &DeviceChange) -> Result<(), Error> {
        let ifindex = interface.link.ifindex;
        block_in_place(|| self.sets.set_device(ifindex, change, Limits::default()).map(drop))
    }
}

/// Takes a step towards the shape of any link.
pub(super) async fn shape(rtnl: &Rtnl, ifindex: u32, step: &Shape) -> Result<(), Error> {
    match *step {
        Shape::Mtu(mtu) => rtnl.set_mtu(ifindex, mtu).await,
        Shape::Add(address) => rtnl.add_address(ifindex, address).await,
        Shape::Remove(address) => rtnl.remove_address(ifindex, address).await,
        Shape::Forward => rtnl.set_forwarding(ifindex).await,
        Shape::Up => rtnl.set_up(ifindex).await,
        Shape::Down => rtnl.set_down(ifindex).await,
    }
}

impl Kernel for Netlink {
    type Firewall = Nft;

    fn firewall(&mut self) -> &mut Nft {
        &mut self.firewall
    }

    fn backend(&self) -> Backend {
        Backend::Kernel
    }

    async fn managed(&mut self) -> Result<Vec<Managed>, Error> {
        let links = self.rtnl.wireguard_links().await?;
        Ok(links.into_iter().filter_map(Managed::of).collect())
    }

    async fn link(&mut self, name: &str) -> Result<Option<LinkInfo>, Error> {
        self.rtnl.link(name).await
    }

    async fn create(&mut self, name: &str, mark: &Mark, mtu: u32) -> Result<Managed, Error> {
        let ifindex = self.rtnl.create_wireguard(name, &mark.alias()).await?;
        self.rtnl.set_mtu(ifindex, mtu).await?;
        let link = self.rtnl.link(name).await?;
        link.and_then(Managed::of).ok_or_else(|| Error::Refused {
            action: "create",
            object: format!("interface `{name}`"),
            refusal: Refusal::NotFound,
        })
    }

    async fn rename(&mut self, interface: &Managed, name: &str) -> Result<(), Error> {
        self.rtnl.rename(interface.link.ifindex, name).await
    }

    async fn mark(&mut self, interface: &Managed, mark: &Mark) -> Result<(), Error> {
        self.rtnl.set_alias(interface.link.ifindex, &mark.alias()).await
    }

    async fn addresses(&mut self, interface: &Managed) -> Result<Vec<IpNet>, Error> {
        self.rtnl.addresses(interface.link.ifindex).await
    }

    async fn routes(&mut self) -> Result<Vec<RouteInfo>, Error> {
        self.rtnl.routes().await
    }

    async fn own_addresses(&mut self) -> Result<Vec<IpAddr>, Error> {
        self.rtnl.own_addresses().await
    }

    async fn shape(&mut self, interface: &Managed, step: &Shape) -> Result<(), Error> {
        shape(&self.rtnl, interface.link.ifindex, step).await
    }

    /// Peers go first: the other way round costs the kernel 18 ms a peer.
    async fn delete(&mut self, interface: &Managed) -> Result<(), Error> {
        let gone = |error: &Error| error.refusal() == Some(Refusal::NotFound);
        self.give_up(interface);
        match self.set(interface, &DeviceChange::flush()) {
            Err(error) if gone(&error) => return Ok(()),
            result => result?,
        }
        match self.rtnl.delete_link(interface.link.ifindex).await {
            Err(error) if gone(&error) => Ok(()),
            result => result,
        }
    }

    fn begin(&mut self, interface: &Managed) -> Result<(), Error> {
        let ifindex = interface.link.ifindex;
        let open = self.looks.remove(&ifindex).or_else(|| self.spare.take());
        let mut socket = open.map_or_else(Socket::open, Ok)?;
        block_in_place(|| socket.begin(ifindex))?;
        self.looks.insert(ifindex, socket);
        Ok(())
    }

    fn next(&mut self, interface: &Managed, each: &mut dyn FnMut(PeerPart<'_>)) -> Result<Progress, Error> {
        let ifindex = interface.link.ifindex;
        // An error ends the look, and with its socket what the kernel holds for it.
        let mut socket = self.looks.remove(&ifindex).ok_or(Error::NoLook)?;
        let progress = block_in_place(|| socket.next(each))?;
        if progress == Progress::More {
            self.looks.insert(ifindex, socket);
        } else {
            self.spare = Some(socket);
        }
        Ok(progress)
    }

    fn give_up(&mut self, interface: &Managed) {
        // Its end is the end of the look.
        self.looks.remove(&interface.link.ifindex);
    }

    fn configure(&mut self, interface: &Managed, change: &DeviceChange) -> Result<(), Error> {
        self.set(interface, change)
    }

    fn change(&mut self, interface: &Managed, changes: &[PeerChange]) -> Result<(), Error> {
        let ifindex = interface.link.ifindex;
        block_in_place(|| self.sets.set_peers(ifindex, changes, Limits::default()).map(drop))
    }

    async fn disturbed(&mut self) {
        self.carried.next().await;
    }
}
