//! The planner and the world alone: a million keys in a /10, without an API.
//!
//! Prints figures as JSON, one array: `[{"name","value","unit","goal"}]`. Times are of `plan` and of nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use culvert_crds::gateway::WireGuardGatewayStatus;
use culvert_crds::pool::IPPoolStatus;
use culvert_operator::chance::Chance;
use culvert_operator::clock::Now;
use culvert_operator::plan::{Promised, Step, plan};
use culvert_operator::world::status::KeyStatus;
use culvert_operator::world::{
    Change, Claim, Gateway, GatewayNode, Key, Kind, Pool, Ranges, Report, Target, Uid, World,
};
use culvert_wireguard::PublicKey;
use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many targets as the loop plans at once.
const BATCH: usize = 256;

fn main() {
    let keys = std::env::var("CULVERT_BENCH_KEYS").ok();
    let keys: u32 = keys.and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let mut bench = Bench::new();
    let before = resident();
    bench.fill(keys);
    bench.complete();
    let (allocation, publication) = bench.allocate();
    // Before the benchmark makes a list of its own.
    let held = resident().saturating_sub(before);
    let idle = bench.pass_over(keys);
    let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(keys);
    let figures = [
        ("planner: allocation, each key", each(allocation), "ns", "<= 1000"),
        ("planner: publication, each key", each(publication), "ns", ""),
        (
            "planner: pass with nothing to do, each key",
            each(idle),
            "ns",
            "<= 1000",
        ),
        (
            "planner: memory of all keys",
            f64::from(u32::try_from(held >> 10).unwrap_or(u32::MAX)) / 1024.0,
            "MiB",
            "<= 286 (300 MB)",
        ),
    ];
    let figures = figures.map(|(name, value, unit, goal)| {
        serde_json::json!({ "name": name, "value": value, "unit": unit, "goal": goal })
    });
    println!("{}", serde_json::json!(figures));
}

/// Bytes of memory that the process holds.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

struct Bench {
    world: World,
    now: Now,
    version: u64,
    dice: SmallRng,
}

impl Bench {
    fn new() -> Self {
        let now = Now {
            mono: Duration::from_secs(1),
            wall: Timestamp::UNIX_EPOCH,
        };
        let mut world = World::default();
        for kind in Kind::ALL {
            world.apply(Change::ListBegins(kind, 1), now.mono);
        }
        Self {
            world,
            now,
            version: 1,
            dice: SmallRng::seed_from_u64(1),
        }
    }

    fn uid(&mut self) -> Uid {
        Uid::from_u128(self.dice.random())
    }

    fn fill(&mut self, keys: u32) {
        let pool = Pool {
            uid: self.uid(),
            name: "default".to_owned(),
            resource_version: 1,
            generation: 1,
            created: 1,
            deleting: false,
            guarded: true,
            ranges: Some(Ranges {
                v4: "10.64.0.0/10".parse().ok(),
                v6: None,
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
        };
        self.world.apply(Change::Pool(Box::new(pool)), self.now.mono);
        for n in 0..keys {
            let mut public_key = [0; 32];
            self.dice.fill_bytes(&mut public_key);
            self.version += 1;
            let key = Key {
                uid: self.uid(),
                namespace: format!("tenant-{}", n % 100),
                name: format!("device-{n}"),
                resource_version: self.version,
                generation: 1,
                created: n,
                deleting: false,
                public_key: Some(PublicKey::from_bytes(public_key)),
                pool: "default".to_owned(),
                suspend: false,
                expire_after: None,
                address_generation: 0,
                status: KeyStatus::default(),
            };
            self.world.apply(Change::Key(Box::new(key)), self.now.mono);
        }
    }

    /// A gateway whose kernel has everything, and the end of all lists.
    fn complete(&mut self) {
        let gateway = Gateway {
            uid: self.uid(),
            name: "edge".to_owned(),
            resource_version: 1,
            generation: 1,
            created: 1,
            deleting: false,
            node_selector: BTreeMap::new(),
            pools: vec!["default".to_owned()],
            interface: "cv0".to_owned(),
            listen_port: 51820,
            host_template: None,
            status: WireGuardGatewayStatus::default(),
        };
        let report = Report {
            session: "one".to_owned(),
            applied: Some(u64::MAX),
            pools: ["default".to_owned()].into(),
            ..Report::default()
        };
        let node = GatewayNode {
            uid: self.uid(),
            name: "edge.one".to_owned(),
            resource_version: u64::MAX,
            gateway: gateway.name.clone(),
            gateway_uid: gateway.uid,
            node: "one".to_owned(),
            endpoint_host: None,
            drain: false,
            leaving: false,
            report: Some(report),
            renewed: Duration::ZERO,
        };
        self.world
            .apply(Change::Gateway(Box::new(gateway)), self.now.mono);
        self.world
            .apply(Change::GatewayNode(Box::new(node)), self.now.mono);
        for kind in Kind::ALL {
            self.world.apply(Change::ListComplete(kind), self.now.mono);
        }
    }

    /// Plans and carries out until nothing is left; how long planning took while keys were given addresses, and while
    /// these were published.
    fn allocate(&mut self) -> (Duration, Duration) {
        let mut rng = Chance::new();
        let (mut allocation, mut publication) = (Duration::ZERO, Duration::ZERO);
        while self.world.has_due() {
            let targets = self.world.take_due(BATCH);
            let begun = begin();
            let planned = plan(&self.world, &targets, &Promised::default(), self.now, &mut rng);
            let took = begun.elapsed();
            let allocates = planned
                .steps
                .iter()
                .any(|(_, step)| matches!(step, Step::CreateClaim(_)));
            *(if allocates {
                &mut allocation
            } else {
                &mut publication
            }) += took;
            for uid in &planned.programmed {
                self.world.mark_programmed(uid, self.now.mono);
            }
            for (_, step) in planned.steps {
                self.carry_out(step);
            }
        }
        (allocation, publication)
    }

    fn carry_out(&mut self, step: Step) {
        self.version += 1;
        match step {
            Step::CreateClaim(new) => {
                let claim = Claim {
                    uid: self.uid(),
                    resource_version: self.version,
                    created: 1,
                    public_key: new.public_key,
                    addresses: new.addresses,
                    pool: new.pool.to_string(),
                    key: new.key,
                    key_namespace: new.namespace.to_string(),
                    key_name: new.name,
                    address_generation: new.address_generation,
                    released: false,
                };
                self.world.apply(Change::Claim(Box::new(claim)), self.now.mono);
            }
            Step::PublishKey(news) => {
                let Some(key) = self.world.key(&news.uid) else {
                    return;
                };
                let key = Key {
                    uid: key.uid,
                    namespace: key.namespace.to_string(),
                    name: key.name.to_owned(),
                    resource_version: self.version,
                    generation: key.generation,
                    created: key.created,
                    deleting: false,
                    public_key: key.public_key,
                    pool: key.pool.to_string(),
                    suspend: false,
                    expire_after: None,
                    address_generation: 0,
                    status: news.status,
                };
                self.world.apply(Change::Key(Box::new(key)), self.now.mono);
            }
            _ => {}
        }
    }

    /// Plans every key once more.
    fn pass_over(&mut self, keys: u32) -> Duration {
        let mut rng = Chance::new();
        let targets: Vec<Target> = self.world.keys().map(|key| Target::Key(key.uid)).collect();
        assert_eq!(targets.len(), keys as usize);
        let mut took = Duration::ZERO;
        for batch in targets.chunks(BATCH) {
            let begun = begin();
            let planned = plan(&self.world, batch, &Promised::default(), self.now, &mut rng);
            took += begun.elapsed();
            assert!(planned.steps.is_empty(), "there is something left to do");
        }
        took
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn begin() -> Instant {
    Instant::now()
}
