//! Many agents on one apiserver, on the host: real watches, real reports, kernels in memory.
//!
//! All agents are in this process, each with a client of its own, so the processors are shared by them, the apiserver,
//! etcd and the operator: a time found here is that of a machine that does everything at once.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use culvert_crds::WireGuardKey;
use culvert_e2e::{
    ControlPlane, Program, Scratch,
    bed::definitions,
    figure::{Figures, median, milliseconds, number, quantile},
    kubeconfig, process, wait,
    wait::Stopwatch,
};
use culvert_node_agent::kernel::fake::Fake;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    agent,
    objects::{POOL, public_key},
    probe::{Probe, Probed},
    stage::LONG,
};

/// How many agents there are, step by step.
const AGENTS: [u32; 4] = [10, 50, 100, 200];

/// Keys of each step but the last, which makes what is left.
const STEP: u32 = 1_000;

/// Between two keys: a rate at which nothing queues, so that what is measured is one key's way.
const APART: Duration = Duration::from_millis(20);

struct Fleet {
    plane: ControlPlane,
    client: Client,
    folder: Scratch,
    agents: JoinSet<Result<()>>,
    /// One for all of them.
    probe: Arc<Probe>,
    running: u32,
    keys: u32,
}

/// Measures the curve.
pub async fn measure(keys: u32, figures: &mut Figures) -> Result<()> {
    let mut fleet = Fleet::start().await?;
    let operator = fleet.operator()?;
    for (step, agents) in AGENTS.into_iter().enumerate() {
        fleet.grow(agents).await?;
        let last = step + 1 == AGENTS.len();
        let count = if last {
            keys.saturating_sub(fleet.keys).max(STEP)
        } else {
            STEP
        };
        let before = fleet.processor_time()?;
        let times = fleet.apply(count).await?;
        let spent = fleet.processor_time()?.saturating_sub(before);
        ensure!(
            times.len() == usize::try_from(count)?,
            "some keys were never programmed"
        );
        let events = f64::from(count) * f64::from(agents);
        let name = |what: &str| format!("{agents} agents, {count} keys: {what}");
        figures.add(
            &name("applied to programmed on all, p50"),
            median(times.clone()),
            "ms",
            "",
        );
        figures.add(
            &name("applied to programmed on all, p99"),
            quantile(times, 0.99),
            "ms",
            "",
        );
        figures.add(
            &name("apiserver's processor time for an agent's event"),
            spent.as_secs_f64() * 1e6 / events,
            "us",
            "",
        );
    }
    figures.add("processors that all of them shared", number(processors()), "", "");
    fleet.agents.shutdown().await;
    operator.terminate(LONG).await.map(drop)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(0, std::num::NonZero::get)
}

impl Fleet {
    async fn start() -> Result<Self> {
        eprintln!("starting a control plane …");
        let plane = ControlPlane::start().await?;
        plane.define(&definitions()).await?;
        let fleet = Self {
            client: plane.client().await?,
            plane,
            folder: Scratch::new("culvert-fleet-")?,
            agents: JoinSet::new(),
            probe: Probe::new(),
            running: 0,
            keys: 0,
        };
        fleet
            .make(&json!({
                "apiVersion": "culvert.dev/v1alpha1",
                "kind": "IPPool",
                "metadata": { "name": POOL },
                "spec": { "ipv4": { "cidr": "10.64.0.0/11" }, "ipv6": { "cidr": "fd64:cafe:1::/64" } },
            }))
            .await?;
        fleet
            .make(&json!({
                "apiVersion": "culvert.dev/v1alpha1",
                "kind": "WireGuardGateway",
                "metadata": { "name": "default" },
                "spec": {
                    "nodeSelector": { "culvert.dev/gateway": "true" },
                    "poolRefs": [{ "name": POOL }],
                    "endpoint": { "hostTemplate": "{node}.vpn.example.com" },
                },
            }))
            .await?;
        Ok(fleet)
    }

    async fn make(&self, object: &Value) -> Result<()> {
        self.plane
            .kubectl_text(&["apply", "-f", "-"], Some(&object.to_string()))
            .await
            .map(drop)
    }

    fn operator(&self) -> Result<Program> {
        let mut command = process::built("CULVERT_OPERATOR")?;
        command.env("KUBECONFIG", self.plane.kubeconfig());
        Program::start("operator", &command, self.folder.path())
    }

    /// Has so many nodes, each with its agent, and waits until all of them serve.
    async fn grow(&mut self, agents: u32) -> Result<()> {
        eprintln!("{agents} agents …");
        for n in self.running..agents {
            let node = format!("node-{n:03}");
            self.make(&json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": { "name": node, "labels": { "culvert.dev/gateway": "true" } },
            }))
            .await?;
            // A connection of its own, as another machine has.
            let client = kubeconfig::client(&self.plane.kubeconfig()).await?;
            let kernel = Probed::new(Fake::default(), Arc::clone(&self.probe));
            let keys = self.folder.path().join(&node);
            self.agents
                .spawn(agent::serve(client, node, keys, kernel, std::future::pending()));
        }
        self.running = agents;
        let wanted = format!("{agents}/{agents}");
        wait::until("every agent to serve", LONG, || async {
            let nodes = ["get", "wireguardgateway/default", "-o=jsonpath={.status.nodes}"];
            let now = self.plane.kubectl_text(&nodes, None).await?;
            ensure!(now == wanted, "it is `{now}`");
            Ok(Some(()))
        })
        .await
    }

    /// Applies keys at an even rate; how long each took until the last agent's kernel had it, in milliseconds.
    async fn apply(&mut self, count: u32) -> Result<Vec<f64>> {
        eprintln!("{count} keys …");
        let api: Api<WireGuardKey> = Api::default_namespaced(self.client.clone());
        let first = self.keys;
        self.keys += count;
        self.probe.reset();
        let clock = Stopwatch::start();
        let mut writes = JoinSet::new();
        for number in first..first + count {
            wait::pass((APART * (number - first)).saturating_sub(clock.elapsed())).await;
            let (api, probe, agents) = (api.clone(), Arc::clone(&self.probe), self.running);
            writes.spawn(async move {
                let key = public_key(number);
                let object: WireGuardKey = serde_json::from_value(json!({
                    "apiVersion": "culvert.dev/v1alpha1",
                    "kind": "WireGuardKey",
                    "metadata": { "name": format!("key-{number:06}") },
                    "spec": { "publicKey": STANDARD.encode(key.as_bytes()), "poolRef": { "name": POOL } },
                }))?;
                probe.await_peer(key, agents);
                let made = api.create(&PostParams::default(), &object).await;
                made.context("failed to create a key").map(drop)
            });
        }
        while let Some(written) = writes.join_next().await {
            written.context("a write ended early")??;
        }
        wait::until("every agent to have every key", LONG, || async {
            let missing = self.probe.missing();
            ensure!(missing == 0, "{missing} are missing");
            Ok(Some(()))
        })
        .await?;
        let record = self.probe.record();
        Ok(record.acknowledged.iter().copied().map(milliseconds).collect())
    }

    /// What the apiserver has used of the processors.
    fn processor_time(&self) -> Result<Duration> {
        let pid = self.plane.apiserver_pid().context("there is no apiserver")?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the apiserver is gone")?;
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap_or(0))
            .sum();
        Ok(Duration::from_millis(ticks * 10))
    }
}
