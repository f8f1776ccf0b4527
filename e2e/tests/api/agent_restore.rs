//! etcd comes back as it was some time ago, under a running agent. What was revoked since stays revoked, what came since
//! goes, whoever was there and is there keeps the session; and from now on the new history counts.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Reading, wait};

use crate::{
    agent::{Agent, KINDS, Site},
    fixture::SOON,
};

/// Peers of the snapshot.
const PEERS: u32 = 40;

/// What the agent says of itself.
async fn session(site: &Site) -> Result<(String, u64)> {
    let report = site.report().await?;
    let status = report.status.context("it has not reported")?;
    let applied = status.applied_resource_version.context("it has not caught up")?;
    Ok((status.session.context("it has no session")?, applied.parse()?))
}

/// The newest version of any peer.
async fn newest(site: &Site) -> Result<u64> {
    let peers = site.api.list("wireguardpeers").await?;
    let versions = peers
        .iter()
        .map(|peer| peer["metadata"]["resourceVersion"].as_str());
    let newest = versions
        .flatten()
        .filter_map(|version| version.parse().ok())
        .max();
    newest.context("there is no peer")
}

/// Waits until the agent has said, in this or another session, that it has everything up to now.
async fn caught_up(site: &Site) -> Result<String> {
    let newest = newest(site).await?;
    wait::until("the agent to catch up", SOON, || async {
        let (session, applied) = session(site).await?;
        ensure!(applied >= newest, "{applied} of {newest}");
        Ok(Some(session))
    })
    .await
}

/// What the restore is going to undo: 0 is released, 1 deleted, and five are new.
async fn since(site: &Site, agent: &Agent) -> Result<String> {
    site.release(0).await?;
    site.delete(1).await?;
    site.add_all(PEERS..PEERS + 5).await?;
    agent.serves(2..PEERS + 5).await?;
    // Versions that the history to come will not have reached for a while.
    for n in 0..60 {
        site.add(1_000 + n).await?;
        site.delete(1_000 + n).await?;
    }
    agent.serves(2..PEERS + 5).await?;
    caught_up(site).await
}

/// What has come back stays off, what was not yet there goes, and everything of now is taken in.
async fn goes_on(site: &Site, agent: &Agent) -> Result<()> {
    agent.serves(2..PEERS).await.context("after the restore")?;
    // Revoked under versions that were given before.
    site.release(2).await?;
    site.delete(3).await?;
    site.add(2_000).await?;
    agent.serves((4..PEERS).chain([2_000])).await?;
    // Who is off since before the restore is so for the agent alone, until the API says it, too.
    site.release(0).await?;
    site.delete(1).await?;
    site.add(1).await?;
    agent
        .serves((4..PEERS).chain([1, 2_000]))
        .await
        .context("a peer of a new claim")?;
    agent.ensure_sessions(4..PEERS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_survives_a_restored_etcd() -> Result<()> {
    let site = Site::start(PEERS).await?;
    let agent = Agent::start(&site, PEERS).await?;
    let snapshot = site.api.plane.snapshot().await?;
    let before = since(&site, &agent).await?;
    site.api.plane.restore(&snapshot).await?;
    site.answers().await?;
    goes_on(&site, &agent).await?;
    let after = caught_up(&site).await?;
    ensure!(
        before != after,
        "what it has applied is said of the history that is no more"
    );
    agent.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_survives_a_restored_etcd_with_raised_revisions() -> Result<()> {
    let site = Site::start(PEERS).await?;
    let agent = Agent::start(&site, PEERS).await?;
    let snapshot = site.api.plane.snapshot().await?;
    since(&site, &agent).await?;
    let calls = agent.proxy.calls().len();
    site.api.plane.restore_raised(&snapshot).await?;
    site.answers().await?;
    goes_on(&site, &agent).await?;
    caught_up(&site).await?;
    for kind in KINDS {
        let lists = agent.read(calls, kind, &[Reading::List]);
        println!("{kind}: {lists} lists");
    }
    agent.stop().await
}
