//! This machine, as far as tunnels go: what is there, and one effect at a time.
//!
//! Everything that is looked at or changed is in the network namespace of the thread; an interface alone is made in the one
//! that the program was started in, as its encrypted packets go out where it was made.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::thread;

use culvert_wireguard::netlink::{Family, LinkInfo, MAIN_TABLE, Rtnl, Rule};
use culvert_wireguard::{AllowedIps, Error, GatewayPeer, PrivateKey, PublicKey, Refusal, WallTime};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::device::{self, Device, Devices};
use super::guard::{self, GuardError};
use super::names::{self, LEAD_TABLE, MARK, Mark, interface, is_our_rule, lead_rules, own_rules, own_table};
use crate::chance;

/// Seconds between handshakes with a gateway that is to be met.
const MEET_EVERY: u16 = 5;

/// The machine did not do it.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The kernel, or the program in its place.
    #[error(transparent)]
    Kernel(#[from] Error),

    /// The kill switch.
    #[error(transparent)]
    Guard(#[from] GuardError),

    /// The system's random source.
    #[error("failed to draw a private key")]
    Draw,

    /// There is no such network namespace.
    #[error("failed to enter the network namespace `{0}`")]
    Namespace(String),

    /// A thread ended.
    #[error("the thread that works on interfaces has ended")]
    Ended,
}

/// What moves packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// The kernel, and wireguard-go where it has no WireGuard.
    #[default]
    Auto,
    /// The kernel or nothing.
    Kernel,
    /// wireguard-go, whatever the kernel has.
    Userspace,
}

/// How tunnels are made here.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The key that they belong to, as `namespace/name`.
    pub owner: String,

    /// What moves packets.
    pub backend: Backend,

    /// wireguard-go.
    pub program: PathBuf,

    /// The namespace that tunnels are in, when it is not the program's own.
    pub netns: Option<String>,
}

/// What was seen of a tunnel.
#[derive(Debug)]
pub struct SeenTunnel {
    /// Its slot.
    pub slot: u8,
    /// Its public key.
    pub public_key: Option<PublicKey>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// It is up, with table and rules.
    pub furnished: bool,
    /// Its gateways.
    pub peers: Vec<SeenPeer>,
}

/// What was seen of a gateway.
#[derive(Debug)]
pub struct SeenPeer {
    /// Who it is.
    pub key: PublicKey,
    /// Packets go to it.
    pub carries: bool,
    /// Its last handshake.
    pub handshake: Option<WallTime>,
    /// Bytes from it.
    pub received: u64,
    /// Bytes to it.
    pub sent: u64,
}

/// What was seen of the machine.
#[derive(Debug, Default)]
pub struct Seen {
    /// Our tunnels, by slot.
    pub tunnels: Vec<SeenTunnel>,
    /// The one that leads.
    pub leader: Option<u8>,
    /// Something that leads is there.
    pub leads_partly: bool,
    /// The kill switch is on.
    pub closed: bool,
    /// Somebody else's tunnel of this sort is there.
    pub other: Option<String>,
}

/// One effect.
#[derive(Debug)]
pub enum Effect {
    /// Make an interface with a new private key.
    Make {
        /// Where.
        slot: u8,
    },
    /// Give it addresses, table and rules, and set it up.
    Furnish {
        /// Which.
        slot: u8,
        /// With these.
        addresses: Vec<IpAddr>,
        /// Largest packet.
        mtu: u32,
    },
    /// Have gateways answer a handshake.
    Meet {
        /// Over which.
        slot: u8,
        /// Whom, and where they are.
        gateways: Vec<(PublicKey, culvert_wireguard::Endpoint)>,
    },
    /// Have one carry, and forget the others.
    Settle {
        /// Over which.
        slot: u8,
        /// Whom, and where it is.
        gateway: (PublicKey, culvert_wireguard::Endpoint),
    },
    /// Send everything there.
    Lead {
        /// Where.
        slot: u8,
    },
    /// Send nothing there.
    Unlead,
    /// Remove one.
    Remove {
        /// Which.
        slot: u8,
    },
    /// The kill switch on.
    Close,
    /// And off.
    Open,
}

/// The machine, in the thread's namespace.
pub struct Machine {
    setting: Setting,
    /// The namespace in which interfaces are made, when it is another.
    outside: Option<File>,
    rtnl: Rtnl,
    devices: Devices,
    closed: Option<bool>,
}

impl Machine {
    /// Opens it; the thread enters the namespace that is asked for, for good. Needs a runtime that is this thread's own.
    pub fn open(setting: Setting) -> Result<Self, MachineError> {
        let mut outside = None;
        if let Some(name) = &setting.netns {
            let failed = || MachineError::Namespace(name.clone());
            let here = File::open("/proc/thread-self/ns/net").map_err(|_| failed())?;
            let there = File::open(namespace(name)).map_err(|_| failed())?;
            move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|_| failed())?;
            outside = Some(here);
        }
        Ok(Self {
            setting,
            outside,
            rtnl: Rtnl::open()?,
            devices: Devices::default(),
            closed: None,
        })
    }

    fn lead_table(&self) -> u32 {
        if self.outside.is_some() {
            MAIN_TABLE
        } else {
            LEAD_TABLE
        }
    }

    /// In a namespace of its own nothing else leads anywhere.
    fn lead_rules(&self) -> Vec<Rule> {
        if self.outside.is_some() {
            Vec::new()
        } else {
            lead_rules()
        }
    }

    /// Looks at everything.
    pub async fn look(&mut self) -> Result<Seen, MachineError> {
        let links = self.rtnl.links().await?;
        let rules = self.rtnl.rules().await?;
        let routes = self.rtnl.routes().await?;
        let leads = |ifindex: u32, table: u32| {
            let default = |family| {
                routes.iter().any(|route| {
                    route.table == table
                        && route.ifindex == Some(ifindex)
                        && route.destination.prefix_len() == 0
                        && Family::of(route.destination.addr()) == family
                })
            };
            Family::ALL.map(default)
        };
        let mut seen = Seen::default();
        let ruled = self.lead_rules().iter().all(|rule| rules.contains(rule));
        for link in links {
            let Some(mark) = link.alias.as_deref().and_then(Mark::read) else {
                continue;
            };
            if mark.owner != self.setting.owner {
                seen.other = Some(mark.owner);
                continue;
            }
            let Some(slot) = names::slot(&link.name) else {
                continue;
            };
            let tunnel = self
                .tunnel(
                    slot,
                    &link,
                    mark.socket,
                    &rules,
                    leads(link.ifindex, own_table(slot)),
                )
                .await?;
            let led = leads(link.ifindex, self.lead_table());
            seen.leads_partly |= led.contains(&true);
            if ruled && !tunnel.addresses.is_empty() && has_all(&tunnel.addresses, led) {
                seen.leader = Some(slot);
            }
            seen.tunnels.push(tunnel);
        }
        seen.leads_partly |= rules.iter().any(is_our_rule);
        seen.tunnels.sort_by_key(|tunnel| tunnel.slot);
        let closed = match self.closed {
            Some(closed) => closed,
            None => guard::is_closed().await?,
        };
        seen.closed = *self.closed.insert(closed);
        Ok(seen)
    }

    async fn tunnel(
        &mut self,
        slot: u8,
        link: &LinkInfo,
        socket: Option<String>,
        rules: &[Rule],
        routed: [bool; 2],
    ) -> Result<SeenTunnel, MachineError> {
        let device = Device {
            ifindex: link.ifindex,
            socket,
        };
        let found = self.rtnl.addresses(link.ifindex).await?;
        let addresses: Vec<IpAddr> = found.iter().map(IpNet::addr).collect();
        let observed = self.devices.look(&device)?;
        let own = own_rules(slot, &addresses);
        let furnished = link.up
            && !addresses.is_empty()
            && own.iter().all(|rule| rules.contains(rule))
            && has_all(&addresses, routed);
        let mut peers: Vec<SeenPeer> = observed
            .peers
            .iter()
            .map(|peer| SeenPeer {
                key: peer.public_key,
                carries: !peer.allowed_ips.is_empty(),
                handshake: peer.last_handshake,
                received: peer.rx_bytes,
                sent: peer.tx_bytes,
            })
            .collect();
        // Who has answered first is the nearest.
        peers.sort_by_key(|peer| (peer.handshake.is_none(), peer.handshake));
        Ok(SeenTunnel {
            slot,
            public_key: observed.settings.public_key.or_else(|| {
                let private = observed.settings.private_key.as_ref();
                private.map(PrivateKey::public_key)
            }),
            addresses,
            furnished,
            peers,
        })
    }

    /// Does one thing.
    pub async fn act(&mut self, effect: Effect) -> Result<(), MachineError> {
        match effect {
            Effect::Make { slot } => self.make(slot).await,
            Effect::Furnish { slot, addresses, mtu } => self.furnish(slot, &addresses, mtu).await,
            Effect::Meet { slot, gateways } => {
                let peers: Vec<GatewayPeer> = gateways
                    .into_iter()
                    .map(|(public_key, endpoint)| GatewayPeer {
                        public_key,
                        endpoint,
                        allowed_ips: AllowedIps::new(),
                        keepalive: MEET_EVERY,
                    })
                    .collect();
                let device = self.device(slot).await?;
                Ok(self.devices.set_gateways(&device, &peers, &[])?)
            }
            Effect::Settle { slot, gateway } => self.settle(slot, gateway).await,
            Effect::Lead { slot } => self.lead(slot).await,
            Effect::Unlead => self.unlead().await,
            Effect::Remove { slot } => self.remove(slot).await,
            Effect::Close => {
                self.closed = None;
                Ok(guard::close().await?)
            }
            Effect::Open => {
                self.closed = None;
                Ok(guard::open().await?)
            }
        }
    }

    async fn link(&self, slot: u8) -> Result<(LinkInfo, Device), MachineError> {
        let name = interface(slot);
        let link = self.rtnl.link(&name).await?;
        let found = link.and_then(|link| {
            let mark = link.alias.as_deref().and_then(Mark::read)?;
            let device = Device {
                ifindex: link.ifindex,
                socket: mark.socket,
            };
            (mark.owner == self.setting.owner).then_some((link, device))
        });
        found.ok_or_else(|| MachineError::Kernel(missing(&name)))
    }

    async fn device(&self, slot: u8) -> Result<Device, MachineError> {
        Ok(self.link(slot).await?.1)
    }

    async fn make(&mut self, slot: u8) -> Result<(), MachineError> {
        self.forget_rules(|rule| rule.table == own_table(slot)).await?;
        let private = PrivateKey::generate().map_err(|_| MachineError::Draw)?;
        match &self.outside {
            None => create(&self.rtnl, &self.setting, slot).await?,
            Some(outside) => create_outside(outside, &self.setting, slot)?,
        }
        let device = self.device(slot).await?;
        Ok(self.devices.set_key(&device, private, Some(MARK))?)
    }

    async fn furnish(&mut self, slot: u8, addresses: &[IpAddr], mtu: u32) -> Result<(), MachineError> {
        let (link, device) = self.link(slot).await?;
        let ifindex = link.ifindex;
        if link.mtu != mtu {
            self.rtnl.set_mtu(ifindex, mtu).await?;
        }
        let wanted: Vec<IpNet> = addresses.iter().map(|address| host(*address)).collect();
        for surplus in self.rtnl.addresses(ifindex).await? {
            if !wanted.contains(&surplus) {
                gone(self.rtnl.remove_address(ifindex, surplus).await)?;
            }
        }
        for address in wanted {
            there(self.rtnl.add_address(ifindex, address).await)?;
        }
        self.rtnl.set_up(ifindex).await?;
        device::hears_up(&device).await?;
        let rules = own_rules(slot, addresses);
        let table = own_table(slot);
        self.forget_rules(|rule| rule.table == table && !rules.contains(rule))
            .await?;
        for address in addresses {
            self.rtnl.lead(table, ifindex, *address).await?;
        }
        for rule in &rules {
            there(self.rtnl.add_rule(rule).await)?;
        }
        Ok(())
    }

    async fn settle(
        &mut self,
        slot: u8,
        (public_key, endpoint): (PublicKey, culvert_wireguard::Endpoint),
    ) -> Result<(), MachineError> {
        let device = self.device(slot).await?;
        let peers = self.devices.look(&device)?.peers;
        let others: Vec<PublicKey> = peers
            .iter()
            .map(|peer| peer.public_key)
            .filter(|key| *key != public_key)
            .collect();
        let gateway = GatewayPeer {
            public_key,
            endpoint,
            allowed_ips: [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())]
                .into_iter()
                .collect(),
            keepalive: 0,
        };
        Ok(self.devices.set_gateways(&device, &[gateway], &others)?)
    }

    async fn lead(&mut self, slot: u8) -> Result<(), MachineError> {
        let (link, _) = self.link(slot).await?;
        let table = self.lead_table();
        let addresses = self.rtnl.addresses(link.ifindex).await?;
        for family in Family::ALL {
            let of_family = addresses.iter().find(|a| Family::of(a.addr()) == family);
            match of_family {
                Some(address) => self.rtnl.lead(table, link.ifindex, address.addr()).await?,
                // What has no address in the tunnel goes nowhere, instead of around it.
                None if self.outside.is_none() => self.rtnl.refuse(table, family).await?,
                None => {}
            }
        }
        let rules = self.rtnl.rules().await?;
        for rule in self.lead_rules() {
            if !rules.contains(&rule) {
                there(self.rtnl.add_rule(&rule).await)?;
            }
        }
        Ok(())
    }

    /// The routes of the table that leads go with their interfaces.
    async fn unlead(&mut self) -> Result<(), MachineError> {
        self.forget_rules(is_our_rule).await?;
        for family in Family::ALL {
            gone(self.rtnl.unrefuse(LEAD_TABLE, family).await)?;
        }
        Ok(())
    }

    async fn remove(&mut self, slot: u8) -> Result<(), MachineError> {
        let (link, device) = self.link(slot).await?;
        self.forget_rules(|rule| rule.table == own_table(slot)).await?;
        // Peers first: an interface that holds some is slow to go.
        let peers = self.devices.look(&device).map(|found| found.peers);
        let keys: Vec<PublicKey> = peers.unwrap_or_default().iter().map(|p| p.public_key).collect();
        if !keys.is_empty() {
            let _ = self.devices.set_gateways(&device, &[], &keys);
        }
        Ok(gone(self.rtnl.delete_link(link.ifindex).await)?)
    }

    async fn forget_rules(&self, which: impl Fn(&Rule) -> bool) -> Result<(), MachineError> {
        for rule in self.rtnl.rules().await? {
            if which(&rule) {
                gone(self.rtnl.remove_rule(&rule).await)?;
            }
        }
        Ok(())
    }
}

/// Makes an interface in the namespace of `rtnl`, with our mark and the slot's name.
async fn create(rtnl: &Rtnl, setting: &Setting, slot: u8) -> Result<(), MachineError> {
    let mut mark = Mark {
        owner: setting.owner.clone(),
        socket: None,
    };
    let name = interface(slot);
    if setting.backend != Backend::Userspace {
        match rtnl.create_wireguard(&name, &mark.alias()).await {
            Err(error)
                if setting.backend == Backend::Auto && error.refusal() == Some(Refusal::NotSupported) => {}
            made => {
                made?;
                return Ok(());
            }
        }
    }
    let number = chance::draw().map_err(|_| MachineError::Draw)?;
    let socket = format!("cvu-{:08x}", number & 0xffff_ffff);
    mark.socket = Some(socket.clone());
    let ifindex = device::start(&setting.program, rtnl, &socket).await?;
    let settled = match rtnl.set_alias(ifindex, &mark.alias()).await {
        Ok(()) => rtnl.rename(ifindex, &name).await,
        Err(error) => Err(error),
    };
    if let Err(error) = settled {
        rtnl.delete_link(ifindex).await?;
        return Err(error.into());
    }
    Ok(())
}

/// Makes an interface in that namespace and moves it to the one of this thread. What an earlier run has left there on its
/// way goes first.
fn create_outside(outside: &File, setting: &Setting, slot: u8) -> Result<(), MachineError> {
    let inside = File::open("/proc/thread-self/ns/net").map_err(|_| MachineError::Ended)?;
    let job = || -> Result<(), MachineError> {
        move_into_link_name_space(outside.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|_| MachineError::Ended)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| MachineError::Ended)?;
        runtime.block_on(async {
            let rtnl = Rtnl::open()?;
            for link in rtnl.links().await? {
                let mark = link.alias.as_deref().and_then(Mark::read);
                if mark.is_some_and(|mark| mark.owner == setting.owner) {
                    rtnl.delete_link(link.ifindex).await?;
                }
            }
            create(&rtnl, setting, slot).await?;
            let name = interface(slot);
            let link = rtnl.link(&name).await?.ok_or_else(|| missing(&name))?;
            Ok(rtnl.move_link(link.ifindex, inside.as_fd()).await?)
        })
    };
    thread::scope(|scope| scope.spawn(job).join()).map_err(|_| MachineError::Ended)?
}

/// The file of a namespace: `ip netns`' name for it, or a path.
fn namespace(name: &str) -> PathBuf {
    if name.contains('/') {
        PathBuf::from(name)
    } else {
        PathBuf::from("/run/netns").join(name)
    }
}

fn has_all(addresses: &[IpAddr], families: [bool; 2]) -> bool {
    let is_there = |address: &IpAddr| families[usize::from(address.is_ipv6())];
    addresses.iter().all(is_there)
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn missing(name: &str) -> Error {
    Error::Refused {
        action: "find",
        object: format!("interface `{name}`"),
        refusal: Refusal::NotFound,
    }
}

/// It is there, whoever made it so.
fn there(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.refusal() == Some(Refusal::AlreadyExists) => Ok(()),
        result => result,
    }
}

/// It is gone, whoever made it so.
fn gone(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.refusal() == Some(Refusal::NotFound) => Ok(()),
        result => result,
    }
}
