//! A node's interfaces of either sort, the kernel's and those of programs.
//!
//! New ones are made of the sort that is asked for. After a change of back ends the old ones are still there, with keys,
//! peers and endpoints; so each is looked at, forgotten and deleted by what it belongs to.

use std::future::pending;
use std::net::IpAddr;

use culvert_crds::gateway_node::Backend;
use culvert_wireguard::netlink::{LinkInfo, RouteInfo};
use culvert_wireguard::{DeviceChange, Error, PeerChange, PeerPart, Progress, Refusal};
use ipnet::IpNet;

use super::choose::{Choice, choose};
use super::{Kernel, Netlink, Userspace};
use crate::firewall::{Firewall as _, Nft};
use crate::interface::{Managed, Mark};
use crate::plan::link::Shape;

/// The kernel's WireGuard and programs, in the network namespace of this process.
pub struct Both {
    backend: Backend,
    /// None where the kernel has no WireGuard.
    netlink: Option<Netlink>,
    programs: Userspace,
    firewall: Nft,
}

impl Both {
    /// Opens what is asked for, and whatever else there is.
    pub fn open(choice: Choice, programs: Userspace, firewall: Nft) -> Result<Self, Error> {
        let (backend, netlink) = choose(choice, Netlink::open)?;
        Ok(Self {
            backend,
            netlink,
            programs,
            firewall,
        })
    }

    /// Whether the kernel has WireGuard, as far as is known.
    pub fn has_wireguard(&self) -> bool {
        self.netlink.is_some()
    }

    fn netlink(&mut self, interface: &Managed) -> Result<&mut Netlink, Error> {
        self.netlink.as_mut().ok_or_else(|| Error::Refused {
            action: "reach",
            object: format!("interface {}", interface.link.ifindex),
            refusal: Refusal::NotSupported,
        })
    }
}

impl Kernel for Both {
    type Firewall = Nft;

    fn firewall(&mut self) -> &mut Nft {
        &mut self.firewall
    }

    fn backend(&self) -> Backend {
        self.backend
    }

    async fn managed(&mut self) -> Result<Vec<Managed>, Error> {
        let mut managed = self.programs.managed().await?;
        if let Some(netlink) = &mut self.netlink {
            managed.extend(netlink.managed().await?);
        }
        Ok(managed)
    }

    async fn link(&mut self, name: &str) -> Result<Option<LinkInfo>, Error> {
        self.programs.link(name).await
    }

    async fn create(&mut self, name: &str, mark: &Mark, mtu: u32) -> Result<Managed, Error> {
        if self.backend == Backend::Userspace {
            return self.programs.create(name, mark, mtu).await;
        }
        let netlink = match self.netlink.take() {
            Some(netlink) => netlink,
            // The module may have been loaded since.
            None => Netlink::open()?,
        };
        self.netlink.insert(netlink).create(name, mark, mtu).await
    }

    async fn rename(&mut self, interface: &Managed, name: &str) -> Result<(), Error> {
        match interface.backend() {
            Backend::Kernel => self.netlink(interface)?.rename(interface, name).await,
            Backend::Userspace => self.programs.rename(interface, name).await,
        }
    }

    async fn mark(&mut self, interface: &Managed, mark: &Mark) -> Result<(), Error> {
        match interface.backend() {
            Backend::Kernel => self.netlink(interface)?.mark(interface, mark).await,
            Backend::Userspace => self.programs.mark(interface, mark).await,
        }
    }

    async fn addresses(&mut self, interface: &Managed) -> Result<Vec<IpNet>, Error> {
        match interface.backend() {
            Backend::Kernel => self.netlink(interface)?.addresses(interface).await,
            Backend::Userspace => self.programs.addresses(interface).await,
        }
    }

    async fn routes(&mut self) -> Result<Vec<RouteInfo>, Error> {
        self.programs.routes().await
    }

    async fn own_addresses(&mut self) -> Result<Vec<IpAddr>, Error> {
        self.programs.own_addresses().await
    }

    async fn shape(&mut self, interface: &Managed, step: &Shape) -> Result<(), Error> {
        match interface.backend() {
            Backend::Kernel => self.netlink(interface)?.shape(interface, step).await,
            Backend::Userspace => self.programs.shape(interface, step).await,
        }
    }

    async fn delete(&mut self, interface: &Managed) -> Result<(), Error> {
        match interface.backend() {
            Backend::Kernel => self.netlink(interface)?.delete(interface).await,
            Backend::Userspace => self.programs.delete(interface).await,
        }
    }

    fn begin(&mut self, interface: &Managed) -> Result<(), Error> {
        match interface.backend() {
            Backend::Kernel => self.netlink(interface)?.begin(interface),
            Backend::Userspace => self.programs.begin(interface),
        }
    }

    fn next(&mut self, interface: &Managed, each: &mut dyn FnMut(PeerPart<'_>)) -> Result<Progress, Error> {
        match interface.backend() {
            Backend::Kernel => self.netlink(interface)?.next(interface, each),
            Backend::Userspace => self.programs.next(interface, each),
        }
    }

    fn give_up(&mut self, interface: &Managed) {
        match (interface.backend(), &mut self.netlink) {
            (Backend::Kernel, Some(netlink)) => netlink.give_up(interface),
            (Backend::Kernel, None) => {}
            (Backend::Userspace, _) => self.programs.give_up(interface),
        }
    }

    fn configure(&mut self, interface: &Managed, change: &DeviceChange) -> Result<(), Error> {
        match interface.backend() {
            Backend::Kernel => self.netlink(interface)?.configure(interface, change),
            Backend::Userspace => self.programs.configure(interface, change),
        }
    }

    fn change(&mut self, interface: &Managed, changes: &[PeerChange]) -> Result<(), Error> {
        match interface.backend() {
            Backend::Kernel => self.netlink(interface)?.change(interface, changes),
            Backend::Userspace => self.programs.change(interface, changes),
        }
    }

    async fn disturbed(&mut self) {
        let netlink = async {
            match &mut self.netlink {
                Some(netlink) => netlink.disturbed().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = netlink => {}
            () = self.programs.disturbed() => {}
            () = self.firewall.changed() => {}
        }
    }
}
