//! One network namespace: its links, their addresses, its UDP ports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use culvert_crds::gateway_node::Backend;
use culvert_wireguard::netlink::{LinkInfo, MAIN_TABLE, RouteInfo};
use culvert_wireguard::{DeviceChange, PeerChange, Refusal};
use ipnet::IpNet;

use super::device::Device;
use super::firewall::Tables;
use super::script::{Call, Failure};
use crate::interface::{Managed, Mark, SOCKET_PREFIX};
use crate::plan::link::Shape;

/// What the kernel gives an interface that asks for no MTU.
const MTU: u32 = 1_420;
/// The first port that the kernel chooses itself.
const CHOSEN_PORTS: u16 = 32_768;

/// A link with all that it has.
pub(super) struct Interface {
    pub(super) link: LinkInfo,
    pub(super) addresses: BTreeSet<IpNet>,
    pub(super) device: Device,
}

/// A namespace.
pub(super) struct World {
    interfaces: BTreeMap<u32, Interface>,
    /// Links of another namespace that were once here.
    pub(super) elsewhere: Vec<LinkInfo>,
    /// Numbers are not used again.
    numbers: u32,
    /// UDP ports of other programs.
    pub(super) occupied: BTreeSet<u16>,
    /// What moves the packets of interfaces that are created.
    pub(super) backend: Backend,
    /// Peers that an interface takes.
    pub(super) most: usize,
    /// Peers and prefixes in a datagram.
    pub(super) room: usize,
    pub(super) tables: Tables,
    pub(super) calls: Vec<Call>,
    /// Changes of peers that were asked for.
    pub(super) asked: usize,
    pub(super) failures: HashMap<usize, Failure>,
    /// A call that fails whenever it is made.
    pub(super) lasting: Vec<(Call, Failure)>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            interfaces: BTreeMap::new(),
            elsewhere: Vec::new(),
            numbers: 1,
            occupied: BTreeSet::new(),
            backend: Backend::Kernel,
            // MAX_PEERS_PER_DEVICE in drivers/net/wireguard/messages.h.
            most: 1 << 20,
            room: 200,
            tables: Tables::default(),
            calls: Vec::new(),
            asked: 0,
            failures: HashMap::new(),
            lasting: Vec::new(),
        }
    }
}

impl World {
    pub(super) fn get(&self, ifindex: u32) -> Result<&Interface, Refusal> {
        self.interfaces.get(&ifindex).ok_or(Refusal::NotFound)
    }

    pub(super) fn get_mut(&mut self, ifindex: u32) -> Result<&mut Interface, Refusal> {
        self.interfaces.get_mut(&ifindex).ok_or(Refusal::NotFound)
    }

    pub(super) fn links(&self) -> impl Iterator<Item = &LinkInfo> {
        self.interfaces.values().map(|interface| &interface.link)
    }

    pub(super) fn named(&self, name: &str) -> Option<&LinkInfo> {
        self.links().find(|link| link.name == name)
    }

    pub(super) fn create(
        &mut self,
        name: &str,
        kind: &str,
        alias: Option<String>,
    ) -> Result<LinkInfo, Refusal> {
        if self.named(name).is_some() {
            return Err(Refusal::AlreadyExists);
        }
        self.numbers += 1;
        let link = LinkInfo {
            ifindex: self.numbers,
            name: name.to_owned(),
            kind: Some(kind.to_owned()),
            alias,
            mtu: MTU,
            forwards: true,
            up: false,
        };
        let interface = Interface {
            link: link.clone(),
            addresses: BTreeSet::new(),
            device: Device::default(),
        };
        self.interfaces.insert(link.ifindex, interface);
        Ok(link)
    }

    /// Every address of every link.
    pub(super) fn own_addresses(&self) -> Vec<IpAddr> {
        let all = self
            .interfaces
            .values()
            .flat_map(|interface| &interface.addresses);
        all.map(IpNet::addr).collect()
    }

    /// The routes of addresses: there are no others.
    pub(super) fn routes(&self) -> Vec<RouteInfo> {
        let up = self.interfaces.values().filter(|interface| interface.link.up);
        up.flat_map(|interface| {
            interface.addresses.iter().map(|address| RouteInfo {
                destination: address.trunc(),
                ifindex: Some(interface.link.ifindex),
                table: MAIN_TABLE,
            })
        })
        .collect()
    }

    /// What becomes of the next call, which is this one.
    pub(super) fn failure(&self, call: &Call) -> Option<Failure> {
        let lasting = self.lasting.iter().find(|(failing, _)| failing == call);
        let once = self.failures.get(&self.calls.len());
        once.copied().or(lasting.map(|(_, failure)| *failure))
    }

    /// Creates an interface of the sort that is asked for.
    pub(super) fn create_marked(&mut self, name: &str, mark: &Mark) -> Result<LinkInfo, Refusal> {
        let (kind, alias) = match self.backend {
            Backend::Kernel => ("wireguard", mark.alias()),
            Backend::Userspace => {
                let socket = format!("{SOCKET_PREFIX}{:08x}", self.numbers);
                ("tun", mark.alias_of(Some(&socket)))
            }
        };
        self.create(name, kind, Some(alias))
    }

    pub(super) fn delete(&mut self, ifindex: u32) {
        self.interfaces.remove(&ifindex);
    }

    /// Takes a link to another namespace.
    pub(super) fn carry(&mut self, ifindex: u32) -> Result<(), Refusal> {
        let interface = self.interfaces.remove(&ifindex).ok_or(Refusal::NotFound)?;
        self.elsewhere.push(interface.link);
        Ok(())
    }

    /// Deletes what is ours of what was carried away; whether there was any.
    pub(super) fn delete_carried(&mut self) -> bool {
        let before = self.elsewhere.len();
        self.elsewhere.retain(|link| Managed::of(link.clone()).is_none());
        self.elsewhere.len() < before
    }

    pub(super) fn rename(&mut self, ifindex: u32, name: &str) -> Result<(), Refusal> {
        self.get(ifindex)?;
        if self.named(name).is_some_and(|link| link.ifindex != ifindex) {
            return Err(Refusal::AlreadyExists);
        }
        name.clone_into(&mut self.get_mut(ifindex)?.link.name);
        Ok(())
    }

    pub(super) fn shape(&mut self, ifindex: u32, step: Shape) -> Result<(), Refusal> {
        let interface = self.get_mut(ifindex)?;
        match step {
            Shape::Mtu(mtu) => interface.link.mtu = mtu,
            Shape::Add(address) if !interface.addresses.insert(address) => {
                return Err(Refusal::AlreadyExists);
            }
            Shape::Remove(address) if !interface.addresses.remove(&address) => {
                return Err(Refusal::NotFound);
            }
            Shape::Add(_) | Shape::Remove(_) => {}
            Shape::Forward => interface.link.forwards = true,
            Shape::Down => return self.set_down(ifindex),
            Shape::Up if interface.link.up => {}
            Shape::Up => {
                let port = interface.device.listen_port;
                let port = self.take_port(port)?;
                let interface = self.get_mut(ifindex)?;
                interface.link.up = true;
                interface.device.listen_port = port;
            }
        }
        Ok(())
    }

    /// Sessions and the port go, and IPv6 addresses, which Linux keeps on no link that is down.
    pub(super) fn set_down(&mut self, ifindex: u32) -> Result<(), Refusal> {
        let interface = self.get_mut(ifindex)?;
        interface.link.up = false;
        interface.addresses.retain(|address| address.addr().is_ipv4());
        interface.device.end_sessions();
        Ok(())
    }

    pub(super) fn set(&mut self, ifindex: u32, change: &DeviceChange) -> Result<(), Refusal> {
        let most = self.most;
        let interface = self.get_mut(ifindex)?;
        interface.device.generation += 1;
        if let Some(mark) = change.fwmark {
            interface.device.fwmark = mark;
        }
        if let Some(port) = change.listen_port
            && port != interface.device.listen_port
        {
            let port = if interface.link.up {
                self.take_port(port)?
            } else {
                port
            };
            self.get_mut(ifindex)?.device.listen_port = port;
        }
        let device = &mut self.get_mut(ifindex)?.device;
        device.set(change);
        device.change(&change.peers, most)
    }

    pub(super) fn change(&mut self, ifindex: u32, changes: &[PeerChange]) -> Result<(), Refusal> {
        let most = self.most;
        self.asked += changes.len();
        let device = &mut self.get_mut(ifindex)?.device;
        device.generation += 1;
        device.change(changes, most)
    }

    /// The port, or one that the kernel chooses for 0.
    fn take_port(&self, port: u16) -> Result<u16, Refusal> {
        let taken = |port| {
            let ours = |other: &Interface| other.link.up && other.device.listen_port == port;
            self.occupied.contains(&port) || self.interfaces.values().any(ours)
        };
        if port == 0 {
            return (CHOSEN_PORTS..=u16::MAX)
                .find(|port| !taken(*port))
                .ok_or(Refusal::PortInUse);
        }
        if taken(port) {
            Err(Refusal::PortInUse)
        } else {
            Ok(port)
        }
    }
}
