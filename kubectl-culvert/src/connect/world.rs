//! What there is, on this machine and in the API, as the plan sees it (pure).

use std::net::IpAddr;

use culvert_wireguard::PublicKey;

/// Everything that a plan is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Our tunnels on this machine, by slot.
    pub tunnels: Vec<Tunnel>,

    /// The slot of the tunnel that everything is sent into, in every family.
    pub leader: Option<u8>,

    /// Something of the way into the tunnel is there: a rule, or a route of the table that leads.
    pub leads_partly: bool,

    /// Nothing leaves outside of the tunnel.
    pub closed: bool,

    /// The slot for whose gateway names are resolved.
    pub resolves: Option<u8>,

    /// The key, as the API has it.
    pub key: Key,

    /// The gateways that may be used, as the API has them; empty when it has told nothing.
    pub gateways: Vec<Gateway>,
}

/// One tunnel of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// Its slot.
    pub slot: u8,

    /// The public key of its private key, which the kernel holds; none when it was never given one.
    pub public_key: Option<PublicKey>,

    /// The tunnel addresses it has.
    pub addresses: Vec<IpAddr>,

    /// It is up, and has its own table and rules.
    pub furnished: bool,

    /// Its gateways, those that answered first before others.
    pub peers: Vec<Peer>,

    /// It has led, or was found, and its overlap is over.
    pub is_over: bool,
}

/// A gateway, as a tunnel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is seen by itself")]
pub struct Peer {
    /// The gateway.
    pub key: PublicKey,

    /// Packets are sent to it.
    pub carries: bool,

    /// It has answered a handshake.
    pub met: bool,

    /// It has answered nothing for too long.
    pub silent: bool,

    /// The API has it elsewhere than packets are sent to.
    pub elsewhere: bool,
}

/// The key, as the API has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// The API has not said.
    #[default]
    Unknown,

    /// There is none of this name.
    Absent,

    /// It is there, and its public key has no more addresses to come: its time is over.
    Spent,

    /// It is there.
    Present {
        /// Its public key.
        public_key: PublicKey,

        /// The addresses of that public key; empty until it has any.
        addresses: Vec<IpAddr>,
    },
}

/// A gateway, as the API has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its public key.
    pub key: PublicKey,

    /// It says that it serves.
    pub ready: bool,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A tunnel.
    Connected {
        /// With another key than the one that leads.
        rotate: bool,

        /// Nothing leaves outside of it.
        closed: bool,
    },

    /// Nothing of ours, here or in the API.
    Gone,
}

impl World {
    /// The tunnel in a slot.
    pub fn tunnel(&self, slot: u8) -> Option<&Tunnel> {
        self.tunnels.iter().find(|tunnel| tunnel.slot == slot)
    }

    /// The tunnel with this key.
    pub fn tunnel_of(&self, key: &PublicKey) -> Option<&Tunnel> {
        self.tunnels
            .iter()
            .find(|tunnel| tunnel.public_key.as_ref() == Some(key))
    }
}
