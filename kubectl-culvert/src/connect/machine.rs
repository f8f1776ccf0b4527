//! This machine, as far as tunnels go: what is there, and one effect at a time.
//!
//! Everything that is looked at or changed is in the network namespace of the thread; an interface alone is made in the one
//! that the program was started in, as its encrypted packets go out where it was made.

mod act;
mod create;
mod look;

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use culvert_wireguard::netlink::{MAIN_TABLE, Rtnl, Rule};
use culvert_wireguard::{Endpoint, Error, PublicKey, Refusal, WallTime};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::device::Devices;
use super::guard::GuardError;
use super::names::{LEAD_TABLE, lead_rules};

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
    /// Where packets go to.
    pub endpoint: Option<Endpoint>,
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
        gateways: Vec<(PublicKey, Endpoint)>,
    },
    /// Have one carry, and forget the others.
    Settle {
        /// Over which.
        slot: u8,
        /// Whom, and where it is.
        gateway: (PublicKey, Endpoint),
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
    /// When that was last looked at.
    closed_at: Duration,
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
            closed_at: Duration::ZERO,
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
}

/// The file of a namespace: `ip netns`' name for it, or a path.
fn namespace(name: &str) -> PathBuf {
    if name.contains('/') {
        PathBuf::from(name)
    } else {
        PathBuf::from("/run/netns").join(name)
    }
}

fn missing(name: &str) -> Error {
    Error::Refused {
        action: "find",
        object: format!("interface `{name}`"),
        refusal: Refusal::NotFound,
    }
}
