//! Plans against an API that keeps what a real one keeps: unique names, versions, no more.

mod allocate;
mod fleet;
mod history;
mod print;
mod publish;
mod ranges;
mod release;
mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use culvert_crds::Reason;
use culvert_crds::gateway::WireGuardGatewayStatus;
use culvert_crds::pool::IPPoolStatus;
use culvert_wireguard::PublicKey;
use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Plan, Promised, Step, check::check, plan};
use crate::clock::Now;
use crate::world::status::KeyStatus;
use crate::world::{
    Addresses, Change, Claim, Gateway, GatewayNode, Key, KeyView, Kind, Node, Pool, Proof, Ranges, Report,
    Target, Uid, World,
};

/// The API, the operator's world, and the clocks.
struct Bed {
    world: World,
    version: u64,
    claims: BTreeMap<String, Claim>,
    now: Now,
    rng: SmallRng,
    /// What people were told.
    events: Vec<Reason>,
    /// What became of no request is known.
    promised: Promised,
}

/// A key as the API would show it.
fn owned(key: KeyView<'_>) -> Key {
    Key {
        uid: key.uid,
        namespace: key.namespace.to_string(),
        name: key.name.to_owned(),
        resource_version: key.resource_version,
        generation: key.generation,
        created: key.created,
        deleting: key.deleting,
        public_key: key.public_key,
        pool: key.pool.to_string(),
        suspend: key.suspend,
        expire_after: key.expire_after,
        address_generation: key.address_generation,
        status: key.status,
    }
}

/// The uid of whatever has this name.
pub(crate) fn uid(name: &str) -> Uid {
    let mix =
        |n: u128, byte: u8| (n ^ u128::from(byte)).wrapping_mul(0x0000_0100_0000_01b3_0000_0000_0000_013b);
    Uid::from_u128(name.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, mix))
}

pub(crate) fn public_key(n: u8) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[0] = n;
    PublicKey::from_bytes(bytes)
}

pub(crate) fn key(name: &str, n: u8) -> Key {
    Key {
        uid: uid(name),
        namespace: "tenant".to_owned(),
        name: name.to_owned(),
        resource_version: 0,
        generation: 1,
        created: 1_000 + u32::from(n),
        deleting: false,
        public_key: Some(public_key(n)),
        pool: "default".to_owned(),
        suspend: false,
        expire_after: None,
        address_generation: 0,
        status: KeyStatus::default(),
    }
}

pub(crate) fn pool(v4: &str) -> Pool {
    Pool {
        uid: uid("pool"),
        created: 1,
        name: "default".to_owned(),
        resource_version: 0,
        generation: 1,
        deleting: false,
        guarded: true,
        ranges: Some(Ranges {
            v4: Some(v4.parse().unwrap()),
            v6: Some("fd64::/64".parse().unwrap()),
            exclude: Vec::new(),
        }),
        allowed_namespaces: Vec::new(),
        max_keys_per_namespace: None,
        max_age: None,
        overlap: Duration::from_secs(300),
        cooldown: Duration::from_secs(600),
        status: IPPoolStatus::default(),
        published: Duration::ZERO,
        free: Vec::new(),
        refused: None,
    }
}

pub(crate) fn gateway() -> Gateway {
    Gateway {
        uid: uid("gateway"),
        created: 1,
        name: "gw".to_owned(),
        resource_version: 0,
        generation: 1,
        deleting: false,
        node_selector: BTreeMap::new(),
        pools: vec!["default".to_owned()],
        interface: "cv0".to_owned(),
        listen_port: 51820,
        host_template: None,
        status: WireGuardGatewayStatus::default(),
    }
}

pub(crate) fn node(name: &str) -> Node {
    Node {
        uid: uid(name),
        name: name.to_owned(),
        labels: BTreeMap::new(),
        external_address: None,
        internal_address: Some("192.0.2.1".to_owned()),
        ranges: Vec::new(),
    }
}

impl Bed {
    fn new(v4: &str) -> Self {
        let now = Now {
            mono: Duration::from_secs(1),
            wall: Timestamp::from_second(2_000).unwrap(),
        };
        let mut bed = Self {
            world: World::default(),
            version: 1,
            claims: BTreeMap::new(),
            now,
            rng: SmallRng::seed_from_u64(9),
            events: Vec::new(),
            promised: Promised::default(),
        };
        for kind in Kind::ALL {
            bed.world.apply(Change::ListBegins(kind, 1), now.mono);
            bed.world.apply(Change::ListComplete(kind), now.mono);
        }
        // The sweep of the start, over nothing.
        while bed.world.has_due() {
            bed.world.take_due(usize::MAX);
        }
        bed.put_pool(pool(v4));
        bed
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn put_pool(&mut self, mut pool: Pool) {
        pool.resource_version = self.next_version();
        self.world.apply(Change::Pool(Box::new(pool)), self.now.mono);
    }

    fn put_key(&mut self, mut key: Key) {
        key.resource_version = self.next_version();
        if let Some(known) = self.world.key(&key.uid) {
            key.status = known.status;
        }
        self.world.apply(Change::Key(Box::new(key)), self.now.mono);
    }

    fn change_key(&mut self, name: &str, change: impl Fn(&mut Key)) {
        let mut key = owned(self.key(name));
        key.generation += 1;
        change(&mut key);
        self.put_key(key);
    }

    fn key(&self, name: &str) -> KeyView<'_> {
        self.world.key(&uid(name)).unwrap()
    }

    fn claim_of(&self, name: &str) -> Claim {
        let key = self.key(name);
        self.world.claims_of(&key).next().unwrap().to_claim()
    }

    fn delete_key(&mut self, name: &str) {
        self.world
            .apply(Change::Gone(Kind::Key, uid(name)), self.now.mono);
    }

    fn ready(&self, name: &str) -> Option<Reason> {
        self.key(name).status.ready()
    }

    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.key(name).status.shown.addresses.iter().collect()
    }

    fn put_claim(&mut self, mut claim: Claim) {
        claim.resource_version = self.next_version();
        self.claims.insert(claim.name(), claim.clone());
        self.world.apply(Change::Claim(Box::new(claim)), self.now.mono);
    }

    fn pass(&mut self, seconds: u64) {
        self.now.mono += Duration::from_secs(seconds);
        self.now.wall =
            Timestamp::from_second(self.now.wall.as_second() + i64::try_from(seconds).unwrap()).unwrap();
    }

    /// A gateway node whose kernel has everything up to `applied`.
    fn report(&mut self, node: &str, applied: Option<u64>, refused: &[Uid]) {
        let name = format!("gw.{node}");
        let resource_version = self.next_version();
        let report = Report {
            session: "s".to_owned(),
            applied,
            pools: ["default".to_owned()].into(),
            refused: refused.iter().copied().collect(),
            refused_count: refused.len(),
            renew_time: format!("{resource_version}"),
            ..Report::default()
        };
        let node = GatewayNode {
            uid: uid(&name),
            name,
            resource_version,
            gateway: "gw".to_owned(),
            gateway_uid: uid("gateway"),
            node: node.to_owned(),
            endpoint_host: Some("192.0.2.1".to_owned()),
            drain: false,
            leaving: false,
            report: Some(report),
            renewed: Duration::ZERO,
        };
        self.world
            .apply(Change::GatewayNode(Box::new(node)), self.now.mono);
    }

    fn change_node(&mut self, name: &str, change: impl Fn(&mut GatewayNode)) {
        let mut node = self.world.gateway_node(name).unwrap().clone();
        node.resource_version = self.next_version();
        change(&mut node);
        self.world
            .apply(Change::GatewayNode(Box::new(node)), self.now.mono);
    }

    /// The operator starts again: what the API shows is all that is left.
    fn restart(&mut self) {
        let old = std::mem::take(&mut self.world);
        let keys = old.keys().map(|key| Change::Key(Box::new(owned(key))));
        let claims = old
            .claims()
            .map(|claim| Change::Claim(Box::new(claim.to_claim())));
        let pools = old.pools().map(|pool| Change::Pool(Box::new(pool.clone())));
        let gateways = old.gateways().map(|g| Change::Gateway(Box::new(g.clone())));
        let gateway_nodes = old
            .gateway_nodes()
            .map(|n| Change::GatewayNode(Box::new(n.clone())));
        let nodes = old.nodes().map(|node| Change::Node(Box::new(node.clone())));
        for kind in Kind::ALL {
            self.world
                .apply(Change::ListBegins(kind, self.version), self.now.mono);
        }
        let all = keys.chain(claims).chain(pools).chain(gateways);
        all.chain(gateway_nodes)
            .chain(nodes)
            .for_each(|change| self.world.apply(change, self.now.mono));
        for kind in Kind::ALL {
            self.world.apply(Change::ListComplete(kind), self.now.mono);
        }
    }

    fn add_gateway(&mut self) {
        let mut gateway = gateway();
        gateway.resource_version = self.next_version();
        self.world
            .apply(Change::Gateway(Box::new(gateway)), self.now.mono);
        self.world.apply(Change::Node(Box::new(node("a"))), self.now.mono);
        self.report("a", Some(1), &[]);
    }

    /// The gateway on this node has everything there is.
    fn catch_up(&mut self, node: &str) {
        let version = self.version;
        self.report(node, Some(version), &[]);
        self.settle();
    }

    /// Plans and executes once.
    fn step(&mut self) {
        let steps = self.plan().steps;
        steps.into_iter().for_each(|(_, step)| self.execute(step));
    }

    fn plan(&mut self) -> Plan {
        self.world.notice_silence(self.now.mono);
        self.world.wake(self.now.mono);
        let targets = self.world.take_due(usize::MAX);
        let plan = plan(&self.world, &targets, &self.promised, self.now, &mut self.rng);
        for (at, target) in &plan.wakes {
            self.world.touch_at(*at, target.clone());
        }
        plan.programmed
            .iter()
            .for_each(|uid| self.world.mark_programmed(uid, self.now.mono));
        plan.waiting
            .iter()
            .for_each(|(uid, queue)| self.world.wait(uid, *queue));
        plan
    }

    fn execute(&mut self, step: Step) {
        match step {
            Step::CreateClaim(new) => {
                let version = self.version;
                let mut claim = Claim {
                    uid: Uid::nil(),
                    resource_version: 0,
                    created: u32::try_from(self.now.wall.as_second()).unwrap(),
                    public_key: new.public_key,
                    addresses: new.addresses,
                    pool: new.pool.to_string(),
                    key: new.key,
                    key_namespace: new.namespace.to_string(),
                    key_name: new.name,
                    address_generation: new.address_generation,
                    released: false,
                };
                claim.uid = uid(&format!("{}-{version}", claim.name()));
                let taken = self.claims.contains_key(&claim.name());
                assert!(!taken, "an address in use was drawn");
                self.put_claim(claim);
            }
            Step::PublishKey(news) => {
                let mut key = owned(self.world.key(&news.uid).unwrap());
                key.status = KeyStatus::read(Some(&news.status.write()));
                assert_eq!(key.status, news.status, "a status reads back as it was written");
                self.events.extend(news.event);
                key.resource_version = self.next_version();
                self.world.apply(Change::Key(Box::new(key)), self.now.mono);
            }
            Step::ProveGone { namespace, asked } => {
                let keys = self.world.keys().filter(|key| **key.namespace == *namespace);
                let present = keys.map(|key| key.uid).collect();
                let proof = Proof {
                    namespace,
                    asked,
                    present,
                };
                self.world.apply(Change::LiveKeys(Box::new(proof)), self.now.mono);
            }
            Step::ReleaseClaim { claim, .. } | Step::ReleaseOrphan(claim) => {
                self.put_claim(Claim {
                    released: true,
                    ..*claim
                });
            }
            Step::DeleteClaim { uid, addresses, .. } => {
                self.claims.remove(&addresses.claim_name());
                self.world.learn(Change::Gone(Kind::Claim, uid), self.now.mono);
            }
            Step::PublishPool { name, status, .. } => {
                let mut pool = self.world.pool(&name).unwrap().clone();
                pool.status = *status;
                self.put_pool(pool);
            }
            Step::GuardPool { name, guarded } => {
                let mut pool = self.world.pool(&name).unwrap().clone();
                pool.guarded = guarded;
                self.put_pool(pool);
            }
            Step::PublishGateway { name, status, .. } => {
                let mut gateway = self.world.gateway(&name).unwrap().clone();
                gateway.status = *status;
                gateway.resource_version = self.next_version();
                self.world
                    .apply(Change::Gateway(Box::new(gateway)), self.now.mono);
            }
            Step::CreateGatewayNode(new) => {
                let resource_version = self.next_version();
                let node = GatewayNode {
                    uid: uid(&format!("{}-{resource_version}", new.name)),
                    name: new.name,
                    resource_version,
                    gateway: new.gateway.name,
                    gateway_uid: Uid::try_parse(&new.gateway.uid).unwrap(),
                    node: new.node,
                    endpoint_host: new.endpoint_host,
                    drain: false,
                    leaving: false,
                    report: None,
                    renewed: Duration::ZERO,
                };
                self.world
                    .apply(Change::GatewayNode(Box::new(node)), self.now.mono);
            }
            Step::MoveGatewayNode {
                name, endpoint_host, ..
            } => {
                self.change_node(&name, |node| node.endpoint_host = Some(endpoint_host.clone()));
            }
            Step::DrainGatewayNode { name, .. } => {
                self.change_node(&name, |node| {
                    node.drain = true;
                    node.leaving = true;
                });
            }
            Step::DeleteGatewayNode { uid, .. } => {
                self.world
                    .learn(Change::Gone(Kind::GatewayNode, uid), self.now.mono);
            }
        }
    }

    /// Plans and executes until nothing is left to do, then proves that planning everything again finds nothing.
    fn settle(&mut self) -> usize {
        let mut writes = 0;
        for _ in 0..100 {
            let steps = self.plan().steps;
            if steps.is_empty() {
                self.assert_at_rest();
                return writes;
            }
            writes += steps.len();
            steps.into_iter().for_each(|(_, step)| self.execute(step));
        }
        panic!("the plan does not come to rest");
    }

    fn assert_at_rest(&mut self) {
        let keys: Vec<_> = self.world.keys().map(|key| Target::Key(key.uid)).collect();
        let claims: Vec<_> = self
            .world
            .claims()
            .map(|claim| Target::Claim(claim.uid))
            .collect();
        let pools: Vec<_> = self
            .world
            .pools()
            .map(|pool| Target::Pool(pool.name.clone()))
            .collect();
        let targets = keys.into_iter().chain(claims).chain(pools).chain([Target::Fleet]);
        let targets: Vec<_> = targets.collect();
        let again = plan(
            &self.world,
            &targets,
            &Promised::default(),
            self.now,
            &mut self.rng,
        );
        assert_eq!(again.steps, [], "the second plan is empty");
        assert_eq!(check(&self.world), []);
    }
}
