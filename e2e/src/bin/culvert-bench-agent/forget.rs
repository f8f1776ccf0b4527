//! Clients that nobody has heard of for a window are forgotten, and their peers made anew.
//!
//! Where a few thousand are enough, endpoints are planted by `wg`, without a handshake: the agent counts from when it first
//! sees them. All of them are forgotten after a handshake of their own. Either takes the window, and whatever comes after
//! it, in real time.

use std::{ops::Range, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use culvert_e2e::{
    figure::{Figures, median, quantile},
    netns, wait,
    wait::Stopwatch,
};

use crate::{
    clients::Gateway,
    objects::{INTERFACE, configuration, public_key},
    probe::{Probe, Sum},
    stage::Stage,
    wg,
};

/// How many are forgotten beside wg(8).
const SOME: u32 = 1_000;

/// The window, what a tick and a look may add, and a minute until peers are made anew.
const ALL_OVER: Duration = Duration::from_secs(180 + 60 + 60);

/// Gives peers an endpoint; how long that took.
pub fn plant(stage: &Stage, numbers: Range<u32>) -> Result<Duration> {
    let file = stage.folder.path().join("endpoints.conf");
    std::fs::write(&file, configuration(numbers, true)).context("failed to write a file")?;
    wg::timed(&["wg", "addconf", INTERFACE, &file.display().to_string()])
}

/// Waits until so many changes of a sort were made.
pub async fn made(
    probe: &Probe,
    what: &str,
    count: u32,
    within: Duration,
    of: impl Fn(&Probe) -> Sum,
) -> Result<Sum> {
    let count = usize::try_from(count)?;
    wait::until(what, within, || async {
        let sum = of(probe);
        ensure!(sum.count >= count, "{} of {count}", sum.count);
        Ok(Some(sum))
    })
    .await
}

pub fn forgotten(probe: &Probe) -> Sum {
    probe.record().forgotten
}

pub fn reinstated(probe: &Probe) -> Sum {
    probe.record().reinstated
}

/// A thousand of all peers.
pub async fn some(stage: &mut Stage, peers: u32, figures: &mut Figures) -> Result<()> {
    let probe = stage.have(peers).await?;
    probe.reset();
    plant(stage, 0..SOME)?;
    eprintln!("{SOME} peers go stale; this takes four minutes …");
    let overwritten = made(&probe, "all to be forgotten", SOME, ALL_OVER, forgotten).await?;
    let anew = made(&probe, "all to be made anew", SOME, ALL_OVER, reinstated).await?;

    probe.close(true);
    wg::create(stage)?;
    let file = wg::file(stage, 0..peers)?.display().to_string();
    wg::timed(&["wg", "setconf", wg::INTERFACE, &file])?;
    let words: Vec<[String; 2]> = (0..SOME).map(again).collect();
    let each = Stopwatch::start();
    for [remove, add] in &words {
        for words in [remove, add] {
            let mut command = Command::new("wg");
            command.args(["set", wg::INTERFACE]).args(words.split(' '));
            netns::run(&mut command)?;
        }
    }
    let each = each.elapsed().as_secs_f64();
    let mut command = Command::new("wg");
    command.args(["set", wg::INTERFACE]);
    for [remove, add] in &words {
        command.args(remove.split(' ')).args(add.split(' '));
    }
    let at_once = Stopwatch::start();
    netns::run(&mut command)?;
    let at_once = at_once.elapsed().as_secs_f64();
    probe.open();
    stage.delete(wg::INTERFACE).await?;

    let ours = |sum: Sum| sum.took.as_secs_f64();
    figures.add(
        &format!("{SOME} peers forgotten / removed and added by one `wg`"),
        ours(overwritten) / at_once,
        "ratio",
        "<= 0.05",
    );
    figures.add(
        &format!("{SOME} peers made anew / removed and added by one `wg`"),
        ours(anew) / at_once,
        "ratio",
        "<= 0.9",
    );
    figures.add(
        &format!("{SOME} peers made anew / removed and added by two `wg` each"),
        ours(anew) / each,
        "ratio",
        "",
    );
    figures.add(&format!("{SOME} peers forgotten"), ours(overwritten), "s", "");
    figures.add(&format!("{SOME} peers made anew"), ours(anew), "s", "");
    figures.add(
        &format!("{SOME} peers removed and added by one `wg`"),
        at_once,
        "s",
        "",
    );
    Ok(())
}

/// The words that have `wg set` remove a peer, and add it again.
fn again(number: u32) -> [String; 2] {
    let key = STANDARD.encode(public_key(number).as_bytes());
    let addresses = crate::objects::allowed_ips(number);
    [
        format!("peer {key} remove"),
        format!("peer {key} allowed-ips {addresses}"),
    ]
}

/// All of them, as when an uplink fails: every client has made a handshake within the last minutes, and is silent.
pub async fn everybody(stage: &mut Stage, peers: u32, figures: &mut Figures) -> Result<()> {
    let probe = stage.have(peers).await?;
    probe.reset();
    let gateway = Gateway::find()?;
    eprintln!("{peers} clients make a handshake each …");
    let begun = probe.now();
    for number in 0..peers {
        probe.await_forgetting(public_key(number), gateway.shake_hands(&probe, number)?);
    }
    let silent = probe.now();
    eprintln!("… and are silent; this takes four minutes …");
    wait::until("all to be forgotten", ALL_OVER, || async {
        let left = probe.remembered();
        ensure!(left == 0, "{left} are remembered");
        Ok(Some(()))
    })
    .await?;
    let anew = made(&probe, "all to be made anew", peers, ALL_OVER * 2, reinstated).await?;
    // A look of its own says the same.
    let look = stage.converged(&probe, anew.last).await?;
    ensure!(look.located == 0, "{} are still somewhere", look.located);
    let kept: Vec<f64> = probe.record().kept.iter().map(Duration::as_secs_f64).collect();
    let name = |what: &str| format!("{peers} clients go silent: {what}");
    figures.add(
        &name("endpoint kept after the handshake, p50"),
        median(kept.clone()),
        "s",
        "",
    );
    figures.add(
        &name("endpoint kept after the handshake, longest"),
        quantile(kept, 1.0),
        "s",
        "<= 190",
    );
    let since = |at: Duration, from: Duration| at.saturating_sub(from).as_secs_f64();
    figures.add(&name("their handshakes took"), since(silent, begun), "s", "");
    figures.add(
        &name("the last peer was made anew after the last handshake"),
        since(anew.last, silent),
        "s",
        "",
    );
    Ok(())
}
