//! How often an agent writes its report: no more often than an apiserver can bear that hears of every node.

use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_e2e::wait::{self, Stopwatch};

use crate::{
    agent::{Agent, Site},
    fixture::SOON,
};

/// Peers before, and those that come one by one.
const PEERS: u32 = 5;
const FURTHER: u32 = 60;

/// Between two of those.
const APART: Duration = Duration::from_millis(100);

/// What the operator says of the gateway's nodes, and the pause that this asks for: 5 ms a node.
const NODES: &str = r#"{"status":{"nodes":"1/200"}}"#;
const PAUSE: Duration = Duration::from_secs(1);

/// The agent's own writes so far.
fn reports(agent: &Agent) -> usize {
    let calls = agent.proxy.calls();
    calls
        .iter()
        .filter(|call| call.kind == "gatewaynodes/status")
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_reports_no_more_often_than_its_gateways_nodes_allow() -> Result<()> {
    let site = Site::start(PEERS).await?;
    let agent = Agent::start(&site, PEERS).await?;
    let patch = [
        "patch",
        "wireguardgateway/default",
        "--subresource=status",
        "--type=merge",
        "-p",
        NODES,
    ];
    site.api.kubectl(&patch, None).await?;
    // Whatever was under way under the old pace.
    wait::pass(2 * PAUSE).await;
    let (before, clock) = (reports(&agent), Stopwatch::start());
    for n in PEERS..PEERS + FURTHER {
        site.add(n).await?;
        wait::pass(APART).await;
    }
    agent.serves(0..PEERS + FURTHER).await?;
    let (written, seconds) = (reports(&agent) - before, clock.elapsed().as_secs());
    println!("{FURTHER} peers within {seconds} s: {written} reports");
    // One at once, and one for each pause that began.
    ensure!(
        written > 0 && u64::try_from(written)? <= seconds / PAUSE.as_secs() + 2,
        "{written} reports in {seconds} s"
    );
    // And in the end it says that it is done.
    let last = site.version_of_peer(PEERS + FURTHER - 1).await?;
    wait::until("the last peer to be reported", SOON, || async {
        let applied = site
            .report()
            .await?
            .status
            .and_then(|status| status.applied_resource_version);
        let applied: u64 = applied.unwrap_or_default().parse()?;
        Ok((applied >= last).then_some(()))
    })
    .await?;
    agent.stop().await
}
