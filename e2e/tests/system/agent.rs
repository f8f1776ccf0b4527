//! An agent that dies and comes back.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Bed, bed::INTERFACE, leaks::Canary, wait};
use std::time::Duration;

use crate::{
    fixture::{connected, private_key, with_client},
    scale::scale,
};

/// Pings of one round of a kill, ten a second; it takes less.
const PINGS: u32 = 140;

#[tokio::test]
async fn agent_killed_a_hundred_times_loses_no_ping() -> Result<()> {
    let kills = scale().kills;
    let (mut bed, laptop) = with_client("laptop", 77).await?;
    let key = private_key(&bed, INTERFACE)?;
    let mut pinging = laptop.start_pinging("0.1", kills * PINGS)?;
    for round in 0..kills {
        wait::pass(Duration::from_secs(6)).await;
        let (session, _) = bed.session().await?;
        pinging.ensure_running()?;
        bed.kill_agent()?;
        // Every other time somebody has lost the file as well.
        if round % 2 == 1 {
            std::fs::remove_dir_all(bed.keys()).context("failed to remove the key file")?;
        }
        wait::pass(Duration::from_secs(3)).await;
        bed.start_agent()?;
        bed.caught_up_after(&session).await?;
        ensure!(bed.key_files()?.len() == 1, "the key file is not back");
    }
    pinging.lost_none().await?;
    println!("{} mode: {kills} kills, {} pings", scale().mode, kills * PINGS);
    ensure!(
        private_key(&bed, INTERFACE)? == key,
        "the gateway has another key"
    );
    ensure!(
        bed.peer(&laptop.public_key)?.context("the peer")?.received > u64::from(kills * PINGS) * 100,
        "the peer was made anew"
    );
    bed.finish().await
}

#[tokio::test]
async fn agent_that_returns_after_hours_forgets_before_it_reaches_the_apiserver() -> Result<()> {
    let (mut bed, laptop) = with_client("laptop", 77).await?;
    bed.kill_agent()?;
    bed.plane.kill_all()?;
    wait::pass(Duration::from_hours(2)).await;
    ensure!(laptop.endpoint_at(&bed)?.is_some(), "somebody else forgets here");
    bed.start_agent()?;
    wait::until("the endpoint to go", Duration::from_secs(5), || async {
        Ok(laptop.endpoint_at(&bed)?.is_none().then_some(()))
    })
    .await?;
    laptop.ping(1).context("the client could not come back")?;
    bed.finish().await
}

#[tokio::test]
async fn agent_that_is_stopped_leaves_sessions_alone() -> Result<()> {
    let (mut bed, laptop) = with_client("laptop", 77).await?;
    let mut pinging = laptop.start_pinging("0.1", 400)?;
    let (session, _) = bed.session().await?;
    bed.terminate_agent().await?;
    ensure!(laptop.endpoint_at(&bed)? == Some(laptop.expected_endpoint()));
    bed.start_agent()?;
    bed.caught_up_after(&session).await?;
    // The next that looks at everything.
    wait::pass(Duration::from_secs(6)).await;
    pinging.ensure_running()?;
    pinging.lost_none().await?;
    bed.finish().await
}

/// What a reboot leaves of a gateway: its files, and nothing in the kernel.
async fn reboot(bed: &mut Bed) -> Result<()> {
    let (session, _) = bed.session().await?;
    bed.kill_agent()?;
    bed.gateway.ip(&["link", "del", INTERFACE])?;
    wait::pass(Duration::from_secs(20)).await;
    bed.start_agent()?;
    bed.caught_up_after(&session).await
}

#[tokio::test]
async fn agent_after_a_reboot_has_its_key() -> Result<()> {
    let (mut bed, laptop) = with_client("laptop", 77).await?;
    let key = private_key(&bed, INTERFACE)?;
    reboot(&mut bed).await?;
    ensure!(
        private_key(&bed, INTERFACE)? == key,
        "the gateway has another key"
    );
    // The new interface knows no session: the client notices after 15 s without an answer and makes another.
    laptop.recover()?;
    bed.finish().await
}

#[tokio::test]
async fn agent_with_a_key_in_memory_leaves_no_file() -> Result<()> {
    let mut bed = Bed::start().await?;
    let stored = private_key(&bed, INTERFACE)?;
    let patch = r#"{"spec":{"keyStorage":"Memory"}}"#;
    bed.kubectl(&["patch", "wireguardgateway/default", "--type=merge", "-p", patch])
        .await?;
    wait::until("the file to go", Duration::from_secs(10), || async {
        Ok(bed.key_files()?.is_empty().then_some(()))
    })
    .await?;
    ensure!(
        private_key(&bed, INTERFACE)? == stored,
        "the key was changed for no reason"
    );
    // The log is searched for it, as there is no file to read it from at the end.
    bed.secret(Canary::gateway_key("the key in memory", stored.trim())?);
    let laptop = connected(&bed, "laptop", 77).await?;

    // It outlives the agent in the kernel …
    let (session, _) = bed.session().await?;
    bed.kill_agent()?;
    bed.start_agent()?;
    bed.caught_up_after(&session).await?;
    ensure!(
        private_key(&bed, INTERFACE)? == stored,
        "a restart made a new key"
    );
    laptop.ping(5)?;

    // … and the interface in the agent.
    let (session, _) = bed.session().await?;
    bed.gateway.ip(&["link", "del", INTERFACE])?;
    bed.caught_up_after(&session).await?;
    ensure!(
        private_key(&bed, INTERFACE)? == stored,
        "a deleted interface made a new key"
    );

    // A reboot ends it, and clients can read the new one.
    reboot(&mut bed).await?;
    let made = private_key(&bed, INTERFACE)?;
    ensure!(made != stored, "the key outlived a reboot");
    bed.secret(Canary::gateway_key("the second key in memory", made.trim())?);
    let public = bed.gateway.run(&["wg", "show", INTERFACE, "public-key"])?;
    ensure!(bed.gateway_for_clients().await?.0 == public.trim());
    ensure!(bed.key_files()?.is_empty(), "a key was written to a file");
    bed.finish().await
}
