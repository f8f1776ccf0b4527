//! Tunnels through two gateways, and what must not disturb them: rotation, purge, restarts, upgrades.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    client::DEFAULT_POOL,
    cluster::{INTERNET, Pings},
    wait,
};
use serde_json::Value;

use crate::world::{KEYS, NAMESPACE, RELEASE, TEAM, World, fact, helm, items};

/// The gateways' own address.
const INSIDE: &str = DEFAULT_POOL.inside[0];

/// The agents.
const AGENTS: &str = "/apis/apps/v1/namespaces/culvert-system/daemonsets/culvert-agent";

/// How long a userspace gateway may be away.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// How many pings are answered before and after what is tested.
const SOME: usize = 200;

/// Two keys, made with the plugin, each with a tunnel through a gateway of its own.
pub async fn two_keys_have_tunnels_through_two_gateways(world: &mut World) -> Result<()> {
    for (key, node) in [("laptop", "gateway-1"), ("phone", "gateway-2")] {
        world.client(key, node).await?;
    }
    fact("two keys have tunnels through two gateways", async {
        let keys = world.tools().get(KEYS).await?;
        let addresses: Vec<Value> = items(keys)
            .iter()
            .map(|key| key["status"]["addresses"][0].clone())
            .collect();
        ensure!(
            addresses.len() == 2 && addresses[0] != addresses[1],
            "keys have {addresses:?}"
        );
        for member in &world.members {
            member.reaches(INSIDE).await?;
            member.reaches(INTERNET).await?;
        }
        Ok("and reach the internet".to_owned())
    })
    .await
}

/// Pings of every member, for as long as something goes on.
struct Traffic {
    pings: Vec<Pings>,
    handshakes: Vec<u64>,
}

impl Traffic {
    async fn start(world: &World) -> Result<Self> {
        let mut pings = Vec::new();
        let mut handshakes = Vec::new();
        for member in &world.members {
            pings.push(member.ping_on(INSIDE)?);
            handshakes.push(member.latest_handshake()?);
        }
        let traffic = Self { pings, handshakes };
        traffic.go_on().await?;
        Ok(traffic)
    }

    async fn go_on(&self) -> Result<()> {
        for pings in &self.pings {
            pings.go_on(SOME).await?;
        }
        Ok(())
    }

    /// Ends it, and fails when more was lost than may be: nothing, or with WireGuard as a program what comes within the
    /// time that it takes to be back.
    async fn end(self, may_be_away: bool) -> Result<String> {
        self.go_on().await?;
        let mut told = Vec::new();
        for pings in self.pings {
            let report = pings.stop().await?;
            if may_be_away {
                report.silent_at_most(BACK_WITHIN)?;
            } else {
                report.lost_none()?;
            }
            told.push(format!(
                "{} of {} pings lost, {:.1} s silent",
                report.lost,
                report.answered + report.lost,
                report.silence.as_secs_f64()
            ));
        }
        Ok(told.join("; "))
    }
}

/// A rollout of the operator's and of the agents' pods.
pub async fn restarts_keep_tunnels(world: &World) -> Result<()> {
    fact("a restart of the operators loses no ping", async {
        let traffic = Traffic::start(world).await?;
        restart(world, "deployment/culvert-operator").await?;
        traffic.end(false).await
    })
    .await?;
    let name = if world.kernel {
        "a restart of the agents loses no ping, and no session"
    } else {
        "after a restart of the agents tunnels are back within 20 s"
    };
    fact(name, async {
        let traffic = Traffic::start(world).await?;
        let before = traffic.handshakes.clone();
        restart(world, "daemonset/culvert-agent").await?;
        let told = traffic.end(!world.kernel).await?;
        if world.kernel {
            for (member, before) in world.members.iter().zip(before) {
                let now = member.latest_handshake()?;
                // A session is renewed after two minutes, by the protocol itself.
                ensure!(
                    now == before || now >= before + 120,
                    "there was a handshake {} s after the one before",
                    now - before
                );
            }
        }
        world.all_serve().await?;
        Ok(told)
    })
    .await
}

async fn restart(world: &World, what: &str) -> Result<()> {
    let tools = world.tools();
    tools
        .kubectl(&["-n", NAMESPACE, "rollout", "restart", what])
        .await?;
    let status = ["-n", NAMESPACE, "rollout", "status", what, "--timeout=5m"];
    let done = tools.kubectl(&status).await;
    match done {
        Ok(_) => Ok(()),
        Err(error) => Err(error.context(world.pods().await)),
    }
}

/// Another key and other addresses, while the old ones still work.
pub async fn a_rotation_loses_no_ping(world: &World) -> Result<()> {
    fact("a rotation loses no ping", async {
        let tools = world.tools();
        let before = key(world, "laptop").await?;
        let member = &world.members[0];
        let pings = member.ping_on(INSIDE)?;
        pings.go_on(SOME).await?;
        tools
            .plugin(&["-n", TEAM, "key", "rotate", "laptop", "--wait", "2m"])
            .await?;
        pings.go_on(SOME).await?;
        // The old addresses have worked until here.
        pings.stop().await?.lost_none()?;
        let after = key(world, "laptop").await?;
        ensure!(
            before["status"]["addresses"] != after["status"]["addresses"],
            "the addresses are the same"
        );
        ensure!(
            before["spec"]["publicKey"] != after["spec"]["publicKey"],
            "the key is the same"
        );
        let configuration = world.configuration("laptop", "gateway-1").await?;
        member.rotate(&configuration)?;
        member.reaches(INSIDE).await?;
        member.reaches(INTERNET).await?;
        Ok("the old addresses until the new ones".to_owned())
    })
    .await
}

async fn key(world: &World, name: &str) -> Result<Value> {
    world.tools().get(&format!("{KEYS}/{name}")).await
}

/// `gateway purge`: every session ends, and begins anew.
pub async fn a_purge_forgets_everybody(world: &World) -> Result<()> {
    fact("a purge forgets everybody, and clients come back", async {
        let before: Vec<u64> = world
            .members
            .iter()
            .map(culvert_e2e::cluster::Member::latest_handshake)
            .collect::<Result<_>>()?;
        // Handshakes are told apart by their seconds.
        wait::pass(Duration::from_secs(2)).await;
        world
            .tools()
            .plugin(&["gateway", "purge", "--all", "--wait", "2m"])
            .await?;
        if world.kernel {
            for node in world.nodes() {
                let known = node.run(&["wg", "show", "cv0", "endpoints"])?;
                let known = known
                    .lines()
                    .filter(|line| !line.ends_with("(none)") && !line.ends_with("[::]:0"));
                ensure!(known.count() == 0, "{} knows an endpoint", node.name);
            }
        }
        for (member, before) in world.members.iter().zip(before) {
            member.reaches(INSIDE).await?;
            ensure!(member.latest_handshake()? > before, "it was no new session");
        }
        Ok(String::new())
    })
    .await
}

/// From this version to itself with another value, under traffic.
pub async fn upgrades_keep_tunnels(world: &World) -> Result<()> {
    let tools = world.tools();
    fact("an upgrade of the operator alone leaves agents alone", async {
        let before = generation(world).await?;
        let traffic = Traffic::start(world).await?;
        // Twice: the second finds what the first has written. Neither forces anything.
        for _ in 0..2 {
            helm(tools, &["upgrade"], &["operator.concurrency=16"]).await?;
        }
        let told = traffic.end(false).await?;
        ensure!(generation(world).await? == before, "the DaemonSet has changed");
        Ok(told)
    })
    .await?;
    fact("what is installed is what Helm thinks", async {
        let manifest = tools
            .helm(&["get", "manifest", RELEASE, "--namespace", NAMESPACE])
            .await?;
        let output = tools
            .kubectl_output(&["diff", "-f", "-"], Some(&manifest))
            .await?;
        ensure!(
            output.status.success(),
            "kubectl diff ends with {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::new())
    })
    .await?;
    fact(
        "an upgrade of the agents, the way back, and the upgrade again keep tunnels",
        async {
            let before = generation(world).await?;
            let traffic = Traffic::start(world).await?;
            let values = ["operator.concurrency=16", "agent.podAnnotations.round=second"];
            helm(tools, &["upgrade"], &values).await?;
            let second = generation(world).await?;
            ensure!(second > before, "the DaemonSet has not changed");
            tools
                .helm(&[
                    "rollback",
                    RELEASE,
                    "--namespace",
                    NAMESPACE,
                    "--wait",
                    "--timeout",
                    "5m",
                ])
                .await?;
            let back = generation(world).await?;
            ensure!(back > second, "nothing was rolled back");
            helm(tools, &["upgrade"], &values).await?;
            ensure!(generation(world).await? > back, "nothing was upgraded again");
            let told = traffic.end(!world.kernel).await?;
            world.all_serve().await?;
            Ok(told)
        },
    )
    .await
}

async fn generation(world: &World) -> Result<i64> {
    let set = world.tools().get(AGENTS).await?;
    set["metadata"]["generation"]
        .as_i64()
        .context("a DaemonSet has a generation")
}
