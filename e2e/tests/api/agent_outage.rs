//! The apiserver goes, falls silent or tells half of it: an agent goes on serving, and costs the apiserver next to
//! nothing when it returns.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Reading, Spoilt, wait};

use crate::agent::{Agent, KINDS, Site};

/// Peers before anything goes wrong.
const PEERS: u32 = 40;

/// More than fit a page of a list.
const PAGES: u32 = 620;

/// How long the apiserver is away.
const AWAY: Duration = Duration::from_secs(12);

/// Within this a watch that has gone silent is given up, and what it missed is made good.
const STALL: Duration = Duration::from_secs(90);

/// Every way to read a kind without naming an object.
const ANY: [Reading; 4] = [Reading::Watch, Reading::One, Reading::List, Reading::Page];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_lists_each_kind_once_when_the_apiserver_returns() -> Result<()> {
    let site = Site::start(PEERS).await?;
    let agent = Agent::start(&site, PEERS).await?;
    let changes = agent.changes();
    for round in 0..2 {
        let before = agent.proxy.calls().len();
        let listed: HashMap<_, _> = KINDS.map(|kind| (kind, agent.proxy.lists(kind))).into();
        let watch = wait::Stopwatch::start();
        site.api.plane.kill_apiserver()?;
        wait::pass(AWAY).await;
        for kind in KINDS {
            let (count, seconds) = (agent.read(before, kind, &ANY), watch.elapsed().as_secs());
            println!("{kind}: {count} requests in {seconds} s without an apiserver");
            ensure!(
                u64::try_from(count)? <= seconds,
                "{count} requests for {kind} in {seconds} s"
            );
        }
        site.api.plane.start_apiserver().await?;
        site.answers().await?;
        site.add(PEERS + round).await?;
        agent.serves(0..=PEERS + round).await?;
        // It has a watch of every kind again.
        for kind in KINDS {
            wait::until(&format!("the watch of {kind}"), STALL, || async {
                let watches = agent.read(before, kind, &[Reading::Watch]);
                let sorts = [Reading::One, Reading::List];
                Ok((watches > 0 && agent.read(before, kind, &sorts) > 0).then_some(()))
            })
            .await?;
            let lists = agent.proxy.lists(kind) - listed[kind];
            println!("{kind}: {lists} lists on return");
            ensure!(lists <= 1, "{kind} was listed {lists} times");
        }
    }
    agent.ensure_sessions(0..PEERS)?;
    let since = agent.changes() - changes;
    ensure!(since == 2, "{since} changes in the kernel for two new peers");
    agent.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_recovers_a_silent_watch_within_90_seconds() -> Result<()> {
    let site = Site::start(PEERS).await?;
    let agent = Agent::start(&site, PEERS).await?;
    let before = agent.proxy.calls().len();
    agent.proxy.stall_watches();
    let watch = wait::Stopwatch::start();
    site.add(PEERS).await?;
    site.release(0).await?;
    agent.serves_within(STALL, 1..=PEERS).await?;
    println!(
        "served {:.1} s after the watches went silent",
        watch.elapsed().as_secs_f32()
    );
    ensure!(
        agent.read(before, KINDS[0], &[Reading::List]) == 0,
        "it listed everything, where the watch could go on"
    );
    agent.ensure_sessions(1..PEERS)?;
    agent.stop().await
}

/// Peers on more than one page, and an apiserver that has forgotten where the watch was: the agent has to list.
async fn has_to_list(agent: &Agent, site: &Site) -> Result<usize> {
    agent.proxy.black_hole();
    site.delete(0).await?;
    site.release(1).await?;
    site.add(PAGES).await?;
    site.api.plane.compact().await?;
    site.api.plane.kill_apiserver()?;
    site.api.plane.start_apiserver().await?;
    site.answers().await?;
    Ok(agent.proxy.calls().len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_believes_no_half_list() -> Result<()> {
    let site = Site::start(PAGES).await?;
    let agent = Agent::start(&site, PAGES).await?;
    let before = has_to_list(&agent, &site).await?;
    agent.proxy.spoil(KINDS[0], Spoilt::Halved);
    agent.proxy.heal();
    wait::until("three lists that end after a page", STALL, || async {
        Ok((agent.read(before, KINDS[0], &[Reading::Page]) >= 3).then_some(()))
    })
    .await?;
    // More than a hundred of them are on no page that has come.
    agent.ensure_sessions(2..PAGES)?;
    agent.proxy.mend();
    agent.serves_within(STALL, 2..=PAGES).await?;
    agent.ensure_sessions(2..PAGES)?;
    agent.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_believes_no_empty_list_alone() -> Result<()> {
    let site = Site::start(PAGES).await?;
    let agent = Agent::start(&site, PAGES).await?;
    let before = has_to_list(&agent, &site).await?;
    for kind in KINDS {
        agent.proxy.spoil(kind, Spoilt::Emptied);
    }
    agent.proxy.heal();
    for kind in KINDS {
        wait::until(&format!("an empty list of {kind}"), STALL, || async {
            Ok((agent.read(before, kind, &[Reading::List]) > 0).then_some(()))
        })
        .await?;
    }
    agent.proxy.mend();
    agent.ensure_sessions(2..PAGES)?;
    agent.serves_within(STALL, 2..=PAGES).await?;
    agent.ensure_sessions(2..PAGES)?;
    agent.stop().await
}

/// As of an apiserver that is slow, or that finds its client too slow: the connection ends, the place is still known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_whose_watch_is_cut_goes_on_where_it_was() -> Result<()> {
    let site = Site::start(PEERS).await?;
    let agent = Agent::start(&site, PEERS).await?;
    let before = agent.proxy.calls().len();
    for n in 0..10 {
        site.add(PEERS + n).await?;
        agent.proxy.cut_watches();
        site.release(n).await?;
    }
    agent.serves(10..PEERS + 10).await?;
    for kind in KINDS {
        let lists = agent.read(before, kind, &[Reading::List]);
        ensure!(lists == 0, "{kind} was listed {lists} times");
    }
    agent.ensure_sessions(10..PEERS)?;
    agent.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_writes_nothing_when_all_is_done() -> Result<()> {
    let site = Site::start(PEERS).await?;
    let agent = Agent::start(&site, PEERS).await?;
    site.release(0).await?;
    agent.serves(1..PEERS).await?;
    let settled = |node: &culvert_crds::GatewayNode| {
        let mut status = node.status.clone().unwrap_or_default();
        status.renew_time = None;
        // It moves as bookmarks come, and is told with the next renewal.
        status.applied_resource_version = None;
        status
    };
    let first = wait::until("the report", STALL, || async {
        let report = site.report().await?;
        let applied = report
            .status
            .as_ref()
            .and_then(|status| status.applied_resource_version.clone());
        Ok(applied.is_some().then_some(report))
    })
    .await?;
    let (written, changes) = (agent.proxy.written(), agent.changes());
    // Two renewals of its report: these and no others.
    let before = wait::Stopwatch::start();
    wait::until("two renewals", STALL, || async {
        Ok((agent.proxy.written() >= written + 2).then_some(()))
    })
    .await?;
    let seconds = before.elapsed().as_secs();
    ensure!(seconds >= 27, "two reports within {seconds} s");
    let last = site.report().await?;
    ensure!(settled(&first) == settled(&last), "the report has changed");
    ensure!(agent.changes() == changes, "the kernel was changed");
    let writes = agent.proxy.writes().split_off(written);
    ensure!(
        writes.iter().all(|write| write == "PUT gatewaynodes/status"),
        "{writes:?}"
    );
    agent.stop().await.context("at the end")
}
