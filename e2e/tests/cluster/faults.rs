//! What goes wrong on a cluster: the apiserver, the operator, a node.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    client::DEFAULT_POOL,
    cluster::{SOON, condition, processes},
    netns, wait,
};

use crate::world::{PODS, TEAM, World, fact, items};

const INSIDE: &str = DEFAULT_POOL.inside[0];

/// Where a node's agent says whether it is ready.
const AGENT_READY: &str = "http://127.0.0.1:9820/readyz";

/// Who of the operators leads.
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/culvert-system/leases/culvert-operator";

/// The apiserver is away for ten minutes where sleeping costs nothing, and otherwise for longer than every probe's patience.
fn outage() -> Duration {
    if std::env::var("CULVERT_TIME_TRAVEL").is_ok_and(|value| value != "0") {
        Duration::from_mins(10)
    } else {
        Duration::from_secs(90)
    }
}

pub async fn an_outage_of_the_apiserver_ends_nothing(world: &World) -> Result<()> {
    fact("an apiserver that is away ends no pod and no tunnel", async {
        let before = world.restarts().await?;
        let mut pings = Vec::new();
        for member in &world.members {
            pings.push(member.ping_every(Duration::from_millis(100), INSIDE)?);
        }
        world.cluster()?.plane.kill_apiserver()?;
        wait::pass(outage()).await;
        // Decision 8: what a node serves is served.
        for node in world.nodes() {
            node.run(&["curl", "--silent", "--show-error", "--fail", AGENT_READY])
                .with_context(|| format!("the agent of {} is not ready", node.name))?;
        }
        for pings in pings {
            pings.stop().await?.lost_none()?;
        }
        world.cluster()?.plane.start_apiserver().await?;
        for node in world.nodes() {
            world.cluster()?.node_ready(&node.name, true).await?;
        }
        let ready = wait::until("Culvert's pods to be Ready again", SOON, || async {
            let pods = items(world.tools().get(PODS).await?);
            let ready = pods
                .iter()
                .filter(|pod| condition(pod, "Ready") == "True")
                .count();
            ensure!(ready == pods.len() && ready > 0, "{ready} of {} are", pods.len());
            Ok(Some(ready))
        });
        let ready = ready.await?;
        ensure!(world.restarts().await? == before, "containers were restarted");
        world.all_serve().await?;
        Ok(format!(
            "{} s, no restart, no ping lost, {ready} pods Ready again",
            outage().as_secs()
        ))
    })
    .await
}

pub async fn another_operator_goes_on(world: &World) -> Result<()> {
    fact("when the leader is killed another one acts", async {
        let tools = world.tools();
        let leader = leader(world).await?;
        let killed = processes(&leader)?;
        ensure!(!killed.is_empty(), "{leader} has no process");
        for pid in killed {
            netns::run(Command::new("kill").args(["-KILL", &pid]))?;
        }
        let watch = wait::Stopwatch::start();
        tools
            .plugin(&["-n", TEAM, "key", "new", "after", "--wait", "2m"])
            .await?;
        let took = watch.elapsed();
        unique(world).await?;
        Ok(format!("{:.1} s", took.as_secs_f64()))
    })
    .await
}

/// The pod of the operator that holds the Lease.
async fn leader(world: &World) -> Result<String> {
    let lease = world.tools().get(LEASE).await?;
    let holder = lease["spec"]["holderIdentity"].as_str().context("nobody leads")?;
    let pods = items(world.tools().get(PODS).await?);
    pods.iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .find(|pod| holder.starts_with(pod))
        .map(str::to_owned)
        .with_context(|| format!("no pod is `{holder}`"))
}

/// Fails when two keys have the same address.
pub async fn unique(world: &World) -> Result<()> {
    let keys = items(
        world
            .tools()
            .get("/apis/culvert.dev/v1alpha1/wireguardkeys")
            .await?,
    );
    let mut addresses: Vec<String> = keys
        .iter()
        .flat_map(|key| key["status"]["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    let count = addresses.len();
    ensure!(count > 0, "no key has an address");
    addresses.sort_unstable();
    addresses.dedup();
    ensure!(addresses.len() == count, "an address is there twice");
    Ok(())
}

/// `gateway drain`, and back.
pub async fn a_drained_node_is_clean(world: &World) -> Result<()> {
    fact("a drained node is clean, and serves again when it may", async {
        let tools = world.tools();
        tools
            .plugin(&["gateway", "drain", "gateway-2", "--wait", "2m"])
            .await?;
        clean(world, "gateway-2")?;
        world.members[1].reaches_not(INSIDE)?;
        world.members[0].reaches(INSIDE).await?;
        tools
            .plugin(&["gateway", "drain", "gateway-2", "--undo", "--wait", "2m"])
            .await?;
        world.all_serve().await?;
        world.members[1].reaches(INSIDE).await?;
        Ok(String::new())
    })
    .await
}

/// Fails when something of ours is on a node.
pub fn clean(world: &World, node: &str) -> Result<()> {
    let node = world.cluster()?.node(node)?;
    let links = node.run(&["ip", "-o", "link", "show"])?;
    ensure!(!links.contains("cv0"), "{} has an interface:\n{links}", node.name);
    let wireguard = node.run(&["ip", "-o", "link", "show", "type", "wireguard"]);
    ensure!(
        wireguard.is_err() || wireguard.is_ok_and(|links| links.trim().is_empty()),
        "{} has WireGuard",
        node.name
    );
    let tables = node.run(&["nft", "list", "tables"])?;
    ensure!(
        !tables.contains("culvert"),
        "{} has a table:\n{tables}",
        node.name
    );
    Ok(())
}

/// A node that is off is told of, and the others serve.
pub async fn a_killed_node_leaves_the_others_serving(world: &mut World) -> Result<()> {
    fact("a node that is killed leaves the others serving", async {
        let pings = world.members[0].ping_on(INSIDE)?;
        world.cluster_mut()?.nodes[1].kill()?;
        world.cluster()?.node_ready("gateway-2", false).await?;
        pings.stop().await?.lost_none()?;
        let tools = world.tools();
        // A key is made all the same: a node that is away does not count.
        tools
            .plugin(&["-n", TEAM, "key", "new", "without-node", "--wait", "3m"])
            .await?;
        unique(world).await?;
        Ok("a new key was Ready without it".to_owned())
    })
    .await
}
