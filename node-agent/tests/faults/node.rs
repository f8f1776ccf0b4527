//! A gateway on a kernel in memory, its API and its ticks. Nothing else in this test calls a gateway.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use culvert_crds::gateway::KeyStorage;
use culvert_crds::gateway_node::Backend;
use culvert_node_agent::assignment::{Assignment, Departure};
use culvert_node_agent::clock::Clocks;
use culvert_node_agent::desired::Shared;
use culvert_node_agent::desired::parse::{Peer, Uid};
use culvert_node_agent::egress::Egress;
use culvert_node_agent::gateway::{Gateway, Ground, PassError, Step};
use culvert_node_agent::interface::Mark;
use culvert_node_agent::kernel::Kernel;
use culvert_node_agent::kernel::fake::Fake;
use culvert_node_agent::keystore::Keystore;
use culvert_node_agent::metrics::Metrics;
use culvert_wireguard::netlink::LinkInfo;
use culvert_wireguard::{AllowedIps, DesiredPeer, DeviceChange, Endpoint, PeerChange, PublicKey, WallTime};

/// The gateway's interface.
pub const NAME: &str = "cv0";
/// Somebody else's.
pub const FOREIGN: &str = "wg0";
/// How long a client is remembered, in seconds.
pub const WINDOW: u64 = 180;

/// Steps after which a gateway rests, or never will.
const STEPS: usize = 1_000;

/// A node.
pub struct Node {
    pub kernel: Fake,
    pub assignment: Assignment,
    /// What the API asks: a second book, that the agent does not read.
    pub wanted: BTreeMap<u8, AllowedIps>,
    /// As much of that as the agent has been told.
    pub told: BTreeMap<u8, AllowedIps>,
    /// Whether the agent has had a whole list.
    pub listed: bool,
    /// The node is asked to leave.
    pub leaving: bool,
    /// Peers whose clients speak before every tick.
    pub speaking: Vec<u8>,
    /// The last moment at which each peer's client was heard, in seconds since boot.
    pub heard: BTreeMap<u8, u64>,
    /// The gateway's key, as the agent before this one has reported it.
    pub own: Option<PublicKey>,
    /// The interface's own addresses, as the API asks.
    pub addresses: Vec<&'static str>,
    /// The purge that the API asks for, and when, in seconds since boot.
    pub purge: (i64, u64),
    /// Since when the agent has had its ticks in time, in seconds since boot.
    pub awake: u64,
    desired: Shared,
    folder: PathBuf,
    keystore: Keystore,
    gateway: Gateway,
    metrics: Metrics,
    boot: u64,
    version: u64,
}

/// What a gateway reports.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub public_key: Option<PublicKey>,
    pub applied: Option<u64>,
    pub refused: i64,
    pub is_troubled: bool,
    pub is_drained: bool,
    pub purged: i64,
}

impl Node {
    /// A node on which the gateway has nothing yet, and somebody else has an interface.
    pub fn new(folder: &Path) -> Self {
        let mark = Mark {
            gateway: "uid".into(),
            window: Duration::from_secs(WINDOW),
        };
        let kernel = Fake::default();
        kernel.make(FOREIGN, "wireguard", None);
        kernel.set(FOREIGN, &DeviceChange::of_peers([stranger()]));
        Self {
            kernel,
            assignment: Assignment {
                name: "gw.a".into(),
                generation: 1,
                mark: mark.clone(),
                interface: NAME.into(),
                listen_port: 51_820,
                mtu: 1_380,
                key_storage: KeyStorage::Memory,
                ranges: HashMap::from([(
                    "default".into(),
                    vec!["10.64.0.0/24".parse().unwrap(), "fd64::/64".parse().unwrap()],
                )]),
                absent: Vec::new(),
                excluded: Vec::new(),
                egress: Egress::default(),
                endpoint_host: None,
                purge_generation: 0,
                purged_generation: 0,
                nodes: 1,
            },
            wanted: BTreeMap::new(),
            told: BTreeMap::new(),
            listed: false,
            leaving: false,
            speaking: Vec::new(),
            heard: BTreeMap::new(),
            own: None,
            addresses: vec!["10.64.0.1/24", "fd64::1/64"],
            purge: (0, 0),
            awake: 0,
            desired: Shared::default(),
            folder: folder.join("keys"),
            keystore: Keystore::new(folder.join("keys")),
            gateway: Gateway::new(mark),
            metrics: Metrics::new(""),
            boot: 10_000,
            version: 100,
        }
    }

    /// The API claims addresses for a peer.
    pub fn claim(&mut self, number: u8) {
        self.version += 1;
        let peer = peer(number, self.version);
        let hosts = AllowedIps::hosts(peer.addresses.iter().copied());
        self.wanted.insert(number, hosts);
        self.tell(number, peer);
    }

    /// The API releases a peer.
    pub fn release(&mut self, number: u8) {
        self.version += 1;
        self.wanted.remove(&number);
        let released = Peer {
            released: true,
            ..peer(number, self.version)
        };
        self.tell(number, released);
    }

    fn tell(&mut self, number: u8, peer: Peer) {
        match self.wanted.get(&number) {
            Some(hosts) => self.told.insert(number, hosts.clone()),
            None => self.told.remove(&number),
        };
        let mut desired = self.desired.lock();
        desired.apply(uid(number), Some(peer));
        if self.listed {
            desired.note(self.version);
        }
    }

    /// A list of everything that is claimed has come to its end.
    pub fn list(&mut self) {
        let mut desired = self.desired.lock();
        desired.list_begins(self.version);
        for number in self.wanted.keys() {
            desired.apply(uid(*number), Some(peer(*number, self.version)));
        }
        desired.finish_list(self.version);
        self.listed = true;
    }

    /// The agent is started again, and told half of the peers before its list is whole.
    pub fn restart(&mut self) {
        self.own = self.report().public_key;
        self.gateway = Gateway::new(self.assignment.mark.clone());
        self.desired = Shared::default();
        self.listed = false;
        self.told.clear();
        self.desired.lock().list_begins(self.version);
        for number in self.wanted.clone().into_keys().filter(|number| number % 2 == 0) {
            self.tell(number, peer(number, self.version));
        }
    }

    /// The rest of that list.
    pub fn list_the_rest(&mut self) {
        for number in self.wanted.clone().into_keys() {
            self.tell(number, peer(number, self.version));
        }
        self.list();
    }

    /// The API asks that every client be forgotten.
    pub fn ask_to_purge(&mut self) {
        self.purge = (self.purge.0 + 1, self.boot);
        self.assignment.purge_generation = self.purge.0;
    }

    /// Whether that was asked and is not reported done.
    pub fn is_purging(&self) -> bool {
        self.gateway.state().purged < self.purge.0
    }

    /// Whether the gateway's key has a file.
    pub fn has_key_file(&self) -> bool {
        self.folder.join("uid.key").exists()
    }

    /// Time in which the agent does nothing.
    pub fn wait(&mut self, seconds: u64) {
        self.boot += seconds;
        self.awake = self.boot;
    }

    /// The client of a peer completes a handshake, if the kernel knows the peer.
    pub fn speak(&mut self, number: u8) {
        let Some(name) = self.interface() else { return };
        let device = self.kernel.device(&name);
        if !device.peers.iter().any(|peer| peer.public_key == key(number)) {
            return;
        }
        let endpoint = Endpoint::new("192.0.2.1:4711".parse().unwrap());
        self.kernel
            .handshake(&name, &key(number), endpoint, clocks(self.boot).wall);
        self.heard.insert(number, self.boot);
    }

    /// The name of the gateway's interface, whatever it is called, while there is one.
    pub fn interface(&self) -> Option<String> {
        let ours = |link: &LinkInfo| {
            let alias = link.alias.as_deref().unwrap_or_default();
            alias.starts_with("culvert.dev/uid/")
        };
        self.kernel.links().into_iter().find(ours).map(|link| link.name)
    }

    /// Whether the interface is of another sort than the node makes now.
    pub fn is_unfit(&self) -> bool {
        let kind = match self.kernel.backend() {
            Backend::Kernel => "wireguard",
            Backend::Userspace => "tun",
        };
        let name = self.interface();
        let mut links = self.kernel.links().into_iter();
        let link = name.and_then(|name| links.find(|link| link.name == name));
        link.is_some_and(|link| link.kind.as_deref() != Some(kind))
    }

    /// The version up to which the API has told everything.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Seconds since boot.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Clients speak, five seconds pass, and the agent does all that it would do of itself.
    pub async fn tick(&mut self) -> Result<(), String> {
        for number in self.speaking.clone() {
            self.speak(number);
        }
        self.boot += 5;
        if self.leaving && self.gateway.has_left(Departure::ForGood) {
            return Ok(());
        }
        let now = AtomicU64::new(self.boot);
        let result = self.steps(&now).await;
        self.boot = now.into_inner();
        result.map_err(|error| format!("{error}: {error:?}"))
    }

    /// A tick and all that follows, with waits that take no time; the first failure on the way.
    async fn steps(&mut self, now: &AtomicU64) -> Result<(), PassError> {
        let mut on = Ground {
            kernel: &mut self.kernel,
            keystore: &self.keystore,
            desired: &self.desired,
            metrics: &self.metrics,
            clock: &|| clocks(now.load(Ordering::Relaxed)),
        };
        if self.leaving {
            return self.gateway.leave(&mut on, Departure::ForGood).await;
        }
        let news = on.desired.lock().news();
        self.gateway.news(&news);
        let mut first = self.gateway.tick(&mut on, &self.assignment, true).await;
        for _ in 0..STEPS {
            match self.gateway.step(&mut on).await {
                Ok(Step::More) => {}
                Ok(Step::Later(at)) => now.store(at.as_secs() + 1, Ordering::Relaxed),
                Ok(Step::Idle) if self.gateway.needs_tick() => {
                    let again = self.gateway.tick(&mut on, &self.assignment, false).await;
                    first = first.and(again);
                }
                Ok(Step::Idle) => return first.and_then(|()| self.gateway.outcome()),
                Err(error) => first = first.and(Err(error)),
            }
        }
        panic!("a gateway that does not come to rest: {first:?}");
    }

    /// What there is to report.
    pub fn report(&self) -> Report {
        let state = self.gateway.state();
        Report {
            public_key: state.public_key,
            applied: state.applied,
            refused: state.refused.as_ref().map_or(0, |refused| refused.count),
            is_troubled: state.failure.is_some(),
            is_drained: state.drained,
            purged: state.purged,
        }
    }
}

fn clocks(seconds: u64) -> Clocks {
    let boot = Duration::from_secs(seconds);
    Clocks {
        boot,
        mono: boot,
        wall: WallTime {
            seconds: i64::try_from(seconds).unwrap(),
            nanoseconds: 0,
        },
    }
}

/// The public key of a peer.
pub fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

/// A peer that nobody claims.
pub fn stranger() -> PeerChange {
    PeerChange::Set(DesiredPeer {
        public_key: key(250),
        allowed_ips: AllowedIps::host([10, 64, 0, 250].into()),
    })
}

fn uid(number: u8) -> Uid {
    Uid::from_u128(number.into())
}

fn peer(number: u8, version: u64) -> Peer {
    Peer {
        version,
        created: number.into(),
        key_uid: uid(number),
        public_key: key(number),
        addresses: vec![
            [10, 64, 0, number + 1].into(),
            [0xfd64, 0, 0, 0, 0, 0, 0, u16::from(number) + 1].into(),
        ],
        pool: "default".into(),
        released: false,
    }
}
