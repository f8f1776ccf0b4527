//! An agent that dies and comes back.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Bed, Client, Program, wait};
use std::time::Duration;

fn key_of_interface(bed: &Bed) -> Result<String> {
    bed.gateway.run(&["wg", "show", "cv0", "private-key"])
}

#[tokio::test]
async fn agent_killed_and_restarted_loses_no_ping_and_no_key() -> Result<()> {
    let mut bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    laptop.connect(&bed).await?;
    laptop.ping(5)?;
    let key = key_of_interface(&bed)?;
    let mut ping = laptop.namespace.command("ping");
    ping.args(["-q", "-i", "0.1", "-c", "600", "-W", "5", "10.64.0.1"]);
    let folder = culvert_e2e::Scratch::new("culvert-ping-")?;
    let mut pinging = Program::start("ping", &ping, folder.path())?;
    for round in 0..4 {
        wait::pass(Duration::from_secs(6)).await;
        let (session, _) = bed.session().await?;
        bed.kill_agent()?;
        if round % 2 == 1 {
            std::fs::remove_dir_all(bed.keys()).context("failed to remove the key file")?;
        }
        wait::pass(Duration::from_secs(3)).await;
        bed.start_agent()?;
        bed.caught_up_after(&session).await?;
        ensure!(bed.key_files()?.len() == 1, "the key file is not back");
    }
    ensure!(pinging.wait(Duration::from_mins(3)).await? == 0);
    let report = pinging.output()?;
    ensure!(report.contains("600 received, 0% packet loss"), "{report}");
    ensure!(key_of_interface(&bed)? == key, "the gateway has another key");
    ensure!(
        bed.peer(&laptop.public_key)?.context("the peer")?.received > 600 * 100,
        "the peer was made anew"
    );
    bed.finish().await
}

#[tokio::test]
async fn agent_that_returns_after_hours_forgets_before_it_reaches_the_apiserver() -> Result<()> {
    let mut bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    laptop.connect(&bed).await?;
    laptop.ping(5)?;
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
    let mut bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    laptop.connect(&bed).await?;
    laptop.ping(5)?;
    bed.terminate_agent().await?;
    ensure!(laptop.endpoint_at(&bed)? == Some(laptop.expected_endpoint()));
    laptop.ping(5)?;
    let (session, _) = bed.session().await?;
    bed.start_agent()?;
    bed.caught_up_after(&session).await?;
    laptop.ping(5)?;
    bed.finish().await
}

#[tokio::test]
async fn agent_repairs_what_somebody_else_changed() -> Result<()> {
    let bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    laptop.connect(&bed).await?;
    laptop.ping(5)?;
    let key = key_of_interface(&bed)?;
    let foreign = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let stolen = format!("{}/32", laptop.addresses[0]);
    for words in [
        &["wg", "set", "cv0", "peer", foreign, "allowed-ips", &stolen][..],
        &["wg", "set", "cv0", "peer", &laptop.public_key, "remove"],
        &["ip", "link", "set", "cv0", "down"],
        &["sh", "-c", "ip link set cv0 down && ip link set cv0 name mine"],
        &["ip", "link", "del", "cv0"],
    ] {
        bed.gateway.run(words)?;
        wait::until("the repair", Duration::from_secs(11), || async {
            let Ok(peers) = bed.peers() else { return Ok(None) };
            let up = !bed
                .gateway
                .ip(&["-o", "link", "show", "dev", "cv0", "up"])?
                .is_empty();
            let whole = up
                && peers.len() == 1
                && peers[0].public_key == laptop.public_key
                && peers[0].allowed_ips.len() == 2;
            Ok(whole.then_some(()))
        })
        .await
        .with_context(|| format!("after {words:?}"))?;
        ensure!(
            key_of_interface(&bed)? == key,
            "the gateway has another key after {words:?}"
        );
    }
    // The new interface knows no session: the client notices after 15 s without an answer and makes another.
    laptop
        .namespace
        .run(&["ping", "-q", "-i", "1", "-c", "30", "10.64.0.1"])?;
    laptop.ping(1)?;
    bed.finish().await
}
