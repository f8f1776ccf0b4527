//! Looks, ticks and whole interfaces, beside what wg(8) takes for the same.

use std::time::Duration;

use anyhow::{Context, Result};
use culvert_e2e::{
    figure::{Figures, median},
    wait,
};

use crate::{
    objects::INTERFACE,
    probe::Probe,
    stage::{LONG, Stage},
    wg::{self, timed},
};

/// Both sides in turns, so many times; what is shown is the middle one.
const ROUNDS: usize = 5;

/// Measures looks and ticks, and interfaces that are filled.
pub async fn measure(
    stage: &mut Stage,
    peers: u32,
    looks: bool,
    fills: bool,
    figures: &mut Figures,
) -> Result<()> {
    let probe = stage.have(peers).await?;
    wg::create(stage)?;
    let file = wg::file(stage, 0..peers)?.display().to_string();
    probe.close(true);
    eprintln!("wg setconf of {peers} peers, to warm up …");
    timed(&["wg", "setconf", wg::INTERFACE, &file])?;
    if looks {
        measure_looks(stage, &probe, &file, figures).await?;
    }
    if fills {
        measure_fills(stage, &probe, &file, figures).await?;
    }
    probe.open();
    stage.delete(wg::INTERFACE).await
}

/// A tick with nothing to do, from its first question to the kernel until the end of its look.
async fn measure_looks(stage: &Stage, probe: &Probe, file: &str, figures: &mut Figures) -> Result<()> {
    let (mut looks, mut ticks) = (Vec::new(), Vec::new());
    let (mut shows, mut syncs) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        eprintln!("looks, round {round} …");
        probe.open();
        let look = stage.converged(probe, probe.now()).await?;
        // What the agent makes of the look is part of the tick, and over before the next one begins.
        wait::pass(Duration::from_secs(1)).await;
        probe.close(true);
        let show = timed(&["wg", "show", INTERFACE, "dump"])?;
        let sync = timed(&["wg", "syncconf", wg::INTERFACE, file])?;
        if round == 0 {
            continue;
        }
        looks.push(look.ended.saturating_sub(look.begun).as_secs_f64());
        ticks.push(look.ended.saturating_sub(look.ticked).as_secs_f64());
        shows.push(show.as_secs_f64());
        syncs.push(sync.as_secs_f64());
    }
    let ratios = |ours: &[f64], theirs: &[f64]| -> f64 {
        median(
            ours.iter()
                .zip(theirs)
                .map(|(ours, theirs)| ours / theirs)
                .collect(),
        )
    };
    figures.add(
        "whole look / `wg show dump`",
        ratios(&looks, &shows),
        "ratio",
        "<= 0.5",
    );
    figures.add(
        "tick without anything to do / `wg syncconf`",
        ratios(&ticks, &syncs),
        "ratio",
        "<= 0.25",
    );
    figures.add("whole look", median(looks), "s", "");
    figures.add("`wg show dump`", median(shows), "s", "");
    figures.add("tick without anything to do", median(ticks), "s", "");
    figures.add("`wg syncconf`", median(syncs), "s", "");
    Ok(())
}

/// From the agent's first question after its interface was emptied until the end of the look that shows every peer.
async fn measure_fills(stage: &mut Stage, probe: &Probe, file: &str, figures: &mut Figures) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        eprintln!("an empty interface becomes a full one, round {round} …");
        probe.close(true);
        stage.flush(wg::INTERFACE).await?;
        let their = timed(&["wg", "setconf", wg::INTERFACE, file])?;
        stage.flush(INTERFACE).await?;
        let from = probe.now();
        probe.open();
        let look = stage.converged(probe, from).await?;
        let begun = wait::until("the agent's first call", LONG, || async { Ok(probe.begun()) }).await?;
        let our = look
            .ended
            .checked_sub(begun)
            .context("it ended before it began")?;
        eprintln!("  {:.1} s, wg {:.1} s", our.as_secs_f64(), their.as_secs_f64());
        if round == 0 {
            continue;
        }
        ours.push(our.as_secs_f64());
        theirs.push(their.as_secs_f64());
    }
    let ratios = ours
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    figures.add(
        "empty to converged / `wg setconf`",
        median(ratios),
        "ratio",
        "<= 1.15",
    );
    figures.add("empty to converged", median(ours), "s", "");
    figures.add("`wg setconf`", median(theirs), "s", "");
    Ok(())
}
