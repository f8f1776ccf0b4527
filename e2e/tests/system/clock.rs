//! The node's clock is wrong, and is put right. Ages are counted by time since boot, whatever it says.
//!
//! Clients and gateway share the machine's clock, and a WireGuard client whose own clock goes back is not believed until
//! the gateway has forgotten its last handshake; so where it goes back a session is watched for as long as it needs no
//! other one. An agent that meets a jump overwrites every endpoint, whatever its age: a live session has its own back
//! with the next packet, so what counts is that no ping is lost and that no peer is made anew.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Client, netns,
    wait::{self, Stopwatch},
};

use crate::fixture::{SLACK, WINDOW, blank, connected, forgotten_by_then};

pub const HOUR: i64 = 3_600;
pub const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;

/// Sets the machine's clock to so many seconds since the epoch.
fn set(seconds: i64) -> Result<()> {
    let processor = fs::read_to_string("/proc/cpuinfo").context("failed to read what this machine is")?;
    ensure!(
        processor.contains("User Mode Linux"),
        "this clock is the host's own: clock tests run in a test kernel alone (CULVERT_MACHINE=uml)"
    );
    netns::run(Command::new("date").args(["-u", "-s", &format!("@{seconds}")]))?;
    let now = wait::wall().as_second();
    ensure!((now - seconds).abs() < 5, "the clock did not take the step");
    Ok(())
}

/// The time since boot in seconds. Linux lets nobody set the clock to less: a node without a clock of its own begins there.
fn since_boot() -> Result<i64> {
    let text = fs::read_to_string("/proc/uptime").context("failed to read the time since boot")?;
    let (seconds, _) = text.split_once('.').context("the time since boot is no time")?;
    seconds.parse().context("the time since boot is no number")
}

/// Sets the clock forward, or back.
pub fn step(by: i64) -> Result<()> {
    set(wait::wall().as_second() + by)
}

/// Two clients' handshakes, a step of the clock, and what becomes of them: one talks on, one is silent.
async fn stepped(bed: &Bed, idle: &Client, busy: &Client, by: i64) -> Result<()> {
    let since = Stopwatch::start();
    idle.ping(5)?;
    busy.ping(5)?;
    // Where it goes back, also the keepalive 10 s after the last must come before a session is renewed, at 120 s.
    let pings = if by > 0 { 260 } else { 100 };
    let pinging = busy.start_pinging("1", pings)?;
    wait::pass(Duration::from_secs(5)).await;
    step(by)?;
    forgotten_by_then(bed, idle, since.elapsed()).await?;
    pinging.lost_none().await?;
    // The count goes on from handshake to handshake unless somebody makes the peer anew.
    if by > 0 {
        let peer = bed.peer(&busy.public_key)?.context("the peer")?;
        ensure!(
            peer.received > u64::from(pings) * 100,
            "the busy client's peer was made anew"
        );
    }
    // A jump is a reason to delete nobody for a window.
    let within = Duration::from_secs(2 * WINDOW + SLACK + 60);
    for client in [idle, busy] {
        blank(bed, client, within).await?;
    }
    Ok(())
}

#[tokio::test]
async fn clock_stepped_by_an_hour_or_ten_years_cuts_no_session_and_keeps_no_endpoint() -> Result<()> {
    let bed = Bed::start().await?;
    let idle = connected(&bed, "idle", 77).await?;
    let busy = connected(&bed, "busy", 78).await?;
    for by in [HOUR, -HOUR, TEN_YEARS, -TEN_YEARS] {
        stepped(&bed, &idle, &busy, by)
            .await
            .with_context(|| format!("after a step of {by} s"))?;
    }
    bed.finish().await
}

#[tokio::test]
async fn clock_that_begins_in_1970_forgets_in_time() -> Result<()> {
    let mut bed = Bed::start().await?;
    let mut clients = Vec::new();
    for (name, n) in [("idle", 77), ("later", 78), ("busy", 79)] {
        let mut client = Client::new(&bed, name, n)?;
        client.register(&bed).await?;
        clients.push(client);
    }
    let [idle, later, busy] = &clients[..] else {
        unreachable!("three clients")
    };
    let (key, endpoint) = bed.gateway_for_clients().await?;
    bed.kill_agent()?;
    let today = wait::wall().as_second();
    let since = Stopwatch::start();
    set(since_boot()? + 5)?;
    bed.start_agent()?;
    for client in [idle, busy] {
        client.connect_to(&key, &endpoint)?;
        client.ping(5)?;
    }
    let of_idle = Stopwatch::start();
    let pinging = busy.start_pinging("1", 400)?;
    // Somebody tells the time, a hundred seconds later.
    wait::pass(Duration::from_secs(90)).await;
    later.connect_to(&key, &endpoint)?;
    later.ping(5)?;
    let of_later = Stopwatch::start();
    wait::pass(Duration::from_secs(10)).await;
    set(today + i64::try_from(since.elapsed().as_secs())?)?;
    forgotten_by_then(&bed, idle, of_idle.elapsed()).await?;
    forgotten_by_then(&bed, later, of_later.elapsed()).await?;
    pinging.lost_none().await?;
    ensure!(
        bed.peer(&busy.public_key)?.context("the peer")?.received > 400 * 100,
        "the busy client's peer was made anew"
    );
    bed.finish().await
}
