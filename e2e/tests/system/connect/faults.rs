//! Whatever happens, there is a tunnel again as soon as that is possible, and no key is left behind.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Program, Scratch,
    bed::SOON,
    client::{GATEWAY_INSIDE, Pinging},
    process::Signal,
    wait,
};

use super::stage::{Laptop, NAME, OVERLAP, gone, identity, keys, start};

/// Steps of a first connection, and one.
const FIRST: u32 = 9;

/// Steps from a tunnel that was left to the end of a rotation, and one.
const ROTATION: u32 = 10;

/// The variable that has `connect` die after so many steps.
const DIE_AFTER: &str = "CULVERT_DIE_AFTER";

/// What is left once everything is as it should be: one tunnel, one peer, one key.
async fn settled(bed: &Bed, laptop: &Laptop) -> Result<()> {
    laptop.ping()?;
    wait::until("the others to go", OVERLAP + SOON, || async {
        let tunnels = laptop.tunnels()?;
        let peers = bed.peers()?;
        ensure!(tunnels.len() == 1, "tunnels: {tunnels:?}");
        ensure!(peers.len() == 1, "{} peers", peers.len());
        Ok(Some(()))
    })
    .await?;
    let known = identity(bed).await?;
    ensure!(bed.peer(&known.public_key)?.is_some(), "the peer is another's");
    ensure!(keys(bed).await? == [NAME]);
    laptop.ping()
}

/// It is asked to end, and leaves no key.
async fn ended(bed: Bed, mut laptop: Laptop) -> Result<()> {
    laptop.disconnect().await?;
    ensure!(keys(&bed).await?.is_empty(), "a key is left");
    bed.finish().await
}

/// Starts it so that it dies after so many steps, asks it to rotate when it is connected, and waits for its end; false when
/// it has come to the end of the rotation's overlap instead.
async fn die(laptop: &mut Laptop, steps: u32) -> Result<bool> {
    laptop.start_with(&[(DIE_AFTER, &steps.to_string())])?;
    let mut asked = false;
    loop {
        if laptop.exited()?.is_some() {
            laptop.kill()?;
            return Ok(true);
        }
        if asked && laptop.tunnels()?.len() == 1 {
            laptop.kill()?;
            return Ok(false);
        }
        if !asked && laptop.output().contains("connected as") {
            asked = true;
            // It may die of it.
            let _ = laptop.rotate();
        }
        wait::pass(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn connect_killed_after_any_step_of_its_first_goes_on_and_leaves_no_key() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.flags = vec!["--kill-switch".to_owned()];
    for steps in 0..FIRST {
        let died = die(&mut laptop, steps).await?;
        ensure!(died, "{steps} steps are more than there are");
        laptop
            .connect()
            .await
            .with_context(|| format!("after {steps} steps"))?;
        settled(&bed, &laptop)
            .await
            .with_context(|| format!("after {steps} steps"))?;
        laptop.disconnect().await?;
        laptop.is_clean()?;
        ensure!(keys(&bed).await?.is_empty(), "a key is left");
    }
    println!("counted: connect: killed after each of {FIRST} steps of a first connection");
    bed.finish().await
}

#[tokio::test]
async fn connect_killed_after_any_step_of_a_rotation_goes_on_and_leaves_no_key() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.flags = vec!["--kill-switch".to_owned()];
    laptop.connect().await?;
    laptop.kill()?;
    let mut killed = 0;
    for steps in 0..ROTATION {
        killed += u32::from(die(&mut laptop, steps).await?);
        laptop
            .ping()
            .with_context(|| format!("with nobody there, after {steps} steps"))?;
        laptop
            .connect()
            .await
            .with_context(|| format!("after {steps} steps"))?;
        settled(&bed, &laptop)
            .await
            .with_context(|| format!("after {steps} steps"))?;
        laptop.kill()?;
        laptop.ping().context("who is killed leaves a tunnel")?;
    }
    ensure!(killed >= 8, "only {killed} were killed");
    println!("counted: connect: killed after each of {killed} steps of a rotation");
    laptop.connect().await?;
    laptop.disconnect().await?;
    laptop.is_clean()?;
    ensure!(keys(&bed).await?.is_empty(), "a key is left");
    bed.finish().await
}

#[tokio::test]
async fn connect_without_the_apiserver_at_a_rotation_keeps_its_key_and_rotates_later() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.connect().await?;
    let pinging = Pinging::start(&laptop.namespace, GATEWAY_INSIDE[0], "0.2", 600)?;
    let known = identity(&bed).await?;
    bed.plane.kill_apiserver()?;
    ensure!(laptop.rotate().is_err(), "it rotates without an apiserver");
    laptop.ping()?;
    bed.plane.start_apiserver().await?;
    wait::until("a rotation", SOON, || async { laptop.rotate().map(Some) }).await?;
    let next = identity(&bed).await?;
    ensure!(next != known);
    settled(&bed, &laptop).await?;
    pinging.lost_none().await?;
    ended(bed, laptop).await
}

#[tokio::test]
async fn connect_whose_gateway_is_out_of_reach_at_a_rotation_goes_on_when_it_is_back() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.connect().await?;
    let known = identity(&bed).await?;
    bed.gateway.ip(&["link", "set", "c77", "down"])?;
    let folder = Scratch::new("culvert-rotate-")?;
    let command = laptop.plugin(&["key", "rotate", NAME, "--wait", "10m"])?;
    let mut rotating = Program::start("rotate", &command, folder.path())?;
    wait::until("another key", SOON, || async {
        Ok((bed.key(NAME).await?.public_key.as_ref() != Some(&known.public_key)).then_some(()))
    })
    .await?;
    // Longer than the overlap: nothing is left for the old key to come back to.
    wait::pass(OVERLAP * 3).await;
    rotating.ensure_running()?;
    bed.gateway.ip(&["link", "set", "c77", "up"])?;
    wait::until("a tunnel", Duration::from_secs(15), || async {
        laptop.ping().map(Some)
    })
    .await?;
    ensure!(rotating.wait(SOON).await? == 0, "{}", rotating.tail(5));
    settled(&bed, &laptop).await?;
    gone(&bed, &known.public_key).await?;
    ended(bed, laptop).await
}

#[tokio::test]
async fn connect_asleep_over_three_rotations_makes_one() -> Result<()> {
    let (mut bed, mut laptop) = start().await?;
    laptop.connect().await?;
    let known = identity(&bed).await?;
    laptop.signal(Signal::STOP)?;
    // What would only spend the machine's time meanwhile.
    bed.terminate_operator().await?;
    bed.kill_agent()?;
    bed.plane.kill_all()?;
    wait::pass(Duration::from_hours(75)).await;
    bed.plane.start_again().await?;
    bed.start_operator()?;
    let (before, _) = bed.session().await?;
    bed.start_agent()?;
    bed.caught_up_after(&before).await?;
    laptop.signal(Signal::CONT)?;
    laptop.says("key and addresses are new").await?;
    let next = identity(&bed).await?;
    ensure!(next != known);
    settled(&bed, &laptop).await?;
    ensure!(identity(&bed).await? == next, "it has rotated more than once");
    ended(bed, laptop).await
}

#[tokio::test]
async fn connect_whose_key_is_revoked_ends_and_says_so() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    laptop.connect().await?;
    let _ = identity(&bed).await?;
    bed.kubectl(&["delete", "wireguardkey", NAME]).await?;
    laptop.ended().await?;
    ensure!(laptop.output().contains("was revoked"), "{}", laptop.output());
    laptop.is_clean()?;
    bed.finish().await
}
