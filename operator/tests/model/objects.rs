//! The objects of the model, a few bytes each, and what they are in the operator's own types.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use culvert_crds::gateway::WireGuardGatewayStatus;
use culvert_crds::pool::IPPoolStatus;
use culvert_operator::world::status::KeyStatus;
use culvert_operator::world::{
    self, Addresses, ClaimView, Gateway, GatewayNode, KeyView, Pool, Ranges, Report, Uid,
};
use culvert_wireguard::PublicKey;

/// Seconds in a step of the model's clock: longer than the cooldown and the overlap.
const TICK: u64 = 1000;
const COOLDOWN: Duration = Duration::from_secs(600);
const OVERLAP: Duration = Duration::from_secs(300);

/// The wall clock stands still: nothing expires here.
pub const WALL: u32 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::struct_field_names, reason = "the name of the field in the API")]
pub struct Key {
    pub uid: u8,
    pub name: u8,
    pub version: u8,
    pub generation: u8,
    pub public_key: u8,
    pub address_generation: u8,
    pub suspended: bool,
    /// Number of its status.
    pub status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    pub address: u8,
    pub uid: u8,
    /// Uids are random: where this one's stands among those of the same second.
    pub rank: u8,
    pub version: u8,
    pub public_key: u8,
    pub key: u8,
    pub key_name: u8,
    pub address_generation: u8,
    pub released: bool,
}

/// What a watch brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Key(Key),
    KeyGone(u8),
    Claim(Claim),
    ClaimGone(u8),
}

/// When claims are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seconds {
    /// Each in a second of its own.
    Apart,
    /// All in one second: only their random uids tell which is first.
    Same,
}

pub fn mono(time: u8) -> Duration {
    Duration::from_secs(TICK * (u64::from(time) + 1))
}

pub fn time(mono: Duration) -> u8 {
    u8::try_from(mono.as_secs() / TICK - 1).expect("few ticks")
}

pub fn key_uid(uid: u8) -> Uid {
    Uid::from_u128(0x1_0000 | u128::from(uid))
}

/// The model's number of a uid, whatever it is of.
pub fn number(uid: Uid) -> u8 {
    uid.as_bytes()[15]
}

pub fn claim_uid(claim: &Claim) -> Uid {
    Uid::from_u128(0x2_0000 << 16 | u128::from(claim.rank) << 8 | u128::from(claim.uid))
}

fn rank(uid: Uid) -> u8 {
    uid.as_bytes()[14]
}

pub fn public_key(n: u8) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[0] = n;
    PublicKey::from_bytes(bytes)
}

fn public_key_number(key: &PublicKey) -> u8 {
    key.as_bytes()[0]
}

pub fn addresses(n: u8) -> Addresses {
    Addresses::new([IpAddr::V4(Ipv4Addr::new(10, 64, 0, 2 + n))]).expect("one address")
}

pub fn address(addresses: &Addresses) -> Option<u8> {
    match addresses.first()? {
        IpAddr::V4(v4) => Some(v4.octets()[3] - 2),
        IpAddr::V6(_) => None,
    }
}

pub fn name(key: u8) -> String {
    ["a", "b"][usize::from(key)].to_owned()
}

pub fn name_number(name: &str) -> u8 {
    u8::from(name == "b")
}

impl Key {
    pub fn to_world(self, status: KeyStatus) -> world::Key {
        world::Key {
            uid: key_uid(self.uid),
            namespace: "tenant".to_owned(),
            name: name(self.name),
            resource_version: self.version.into(),
            generation: self.generation.into(),
            created: 1_000 + u32::from(self.uid),
            deleting: false,
            public_key: Some(public_key(self.public_key)),
            pool: "default".to_owned(),
            suspend: self.suspended,
            expire_after: None,
            address_generation: self.address_generation.into(),
            status,
        }
    }

    pub fn of(view: &KeyView<'_>, status: u16) -> Self {
        let small = |n: u64| u8::try_from(n).expect("small");
        Self {
            uid: number(view.uid),
            name: name_number(view.name),
            version: small(view.resource_version),
            generation: small(view.generation.into()),
            public_key: public_key_number(&view.public_key.expect("readable")),
            address_generation: small(view.address_generation.into()),
            suspended: view.suspend,
            status,
        }
    }
}

impl Claim {
    pub fn to_world(self, seconds: Seconds) -> world::Claim {
        let created = match seconds {
            Seconds::Apart => self.uid.into(),
            Seconds::Same => 0,
        };
        world::Claim {
            uid: claim_uid(&self),
            resource_version: self.version.into(),
            created: 2_000 + created,
            public_key: public_key(self.public_key),
            addresses: addresses(self.address),
            pool: "default".to_owned(),
            key: key_uid(self.key),
            key_namespace: "tenant".to_owned(),
            key_name: name(self.key_name),
            address_generation: self.address_generation.into(),
            released: self.released,
        }
    }

    pub fn of(claim: &world::Claim) -> Self {
        let small = |n: u64| u8::try_from(n).expect("small");
        Self {
            address: address(&claim.addresses).expect("one address"),
            uid: number(claim.uid),
            rank: rank(claim.uid),
            version: small(claim.resource_version),
            public_key: public_key_number(&claim.public_key),
            key: number(claim.key),
            key_name: name_number(&claim.key_name),
            address_generation: small(claim.address_generation.into()),
            released: claim.released,
        }
    }

    pub fn of_view(view: &ClaimView<'_>) -> Self {
        Self::of(&view.to_claim())
    }

    /// Who comes first holds the public key.
    pub fn place(&self, seconds: Seconds) -> (u8, u8, u8) {
        match seconds {
            Seconds::Apart => (self.uid, 0, 0),
            Seconds::Same => (0, self.rank, self.uid),
        }
    }
}

/// A pool with so many addresses for keys, two to five.
pub fn pool(free: u8, cooldown: bool) -> Pool {
    let exclude = (free..5).map(|n| IpAddr::V4(Ipv4Addr::new(10, 64, 0, 2 + n)).into());
    Pool {
        uid: Uid::from_u128(1),
        created: 1,
        name: "default".to_owned(),
        resource_version: 1,
        generation: 1,
        deleting: false,
        guarded: true,
        ranges: Some(Ranges {
            v4: Some("10.64.0.0/29".parse().expect("a range")),
            v6: None,
            exclude: exclude.collect(),
        }),
        allowed_namespaces: Vec::new(),
        max_keys_per_namespace: None,
        max_age: None,
        overlap: OVERLAP,
        cooldown: if cooldown { COOLDOWN } else { Duration::ZERO },
        status: IPPoolStatus::default(),
        published: Duration::ZERO,
        free: Vec::new(),
        refused: None,
    }
}

pub fn gateway() -> Gateway {
    Gateway {
        uid: Uid::from_u128(2),
        created: 1,
        name: "gw".to_owned(),
        resource_version: 1,
        generation: 1,
        deleting: false,
        node_selector: [("gateway".to_owned(), "yes".to_owned())].into(),
        pools: vec!["default".to_owned()],
        interface: "cv0".to_owned(),
        listen_port: 51820,
        host_template: None,
        status: WireGuardGatewayStatus::default(),
    }
}

/// The gateway's one node, which has everything up to `applied`.
pub fn gateway_node(applied: u8) -> GatewayNode {
    GatewayNode {
        uid: Uid::from_u128(3),
        name: "gw.node".to_owned(),
        resource_version: 1_000 + u64::from(applied),
        gateway: "gw".to_owned(),
        gateway_uid: Uid::from_u128(2),
        node: "node".to_owned(),
        endpoint_host: None,
        drain: false,
        leaving: false,
        report: Some(Report {
            session: "s".to_owned(),
            applied: Some(applied.into()),
            pools: ["default".to_owned()].into(),
            renew_time: applied.to_string(),
            ..Report::default()
        }),
        renewed: Duration::ZERO,
    }
}
