//! One peer is added: from the moment its event is there for the agent's watch until the kernel has acknowledged it.

use std::{ops::Range, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use culvert_e2e::{
    figure::{Figures, median, milliseconds, number, quantile},
    wait,
};

use crate::{
    objects::public_key,
    outside::First,
    probe::Probe,
    stage::{LONG, Stage},
};

/// The small gateway that the large one is compared with.
const FEW: u32 = 1_000;

/// How many are added, one after the other. They have numbers that nobody else has, and each once: an object that was
/// deleted does not come back.
const ADDS: u32 = 1_000;
const NUMBERS: Range<u32> = 1_000_000..1_000_000 + ADDS;
const FURTHER: Range<u32> = 2_000_000..2_000_000 + ADDS;

/// Between the acknowledgement of one and the event of the next; no divisor of a tick.
const APART: Duration = Duration::from_millis(7);

/// Between two events while all peers are programmed.
const DURING: Duration = Duration::from_millis(50);

/// Adds peers to a small gateway and to a large one.
pub async fn measure(stage: &mut Stage, peers: u32, figures: &mut Figures) -> Result<()> {
    let few = added(stage, FEW).await?;
    let many = added(stage, peers).await?;
    let (p99_few, p99_many) = (quantile(few.clone(), 0.99), quantile(many.clone(), 0.99));
    figures.add(
        &format!("one peer added at {FEW} peers, p50"),
        median(few),
        "ms",
        "",
    );
    figures.add(&format!("one peer added at {FEW} peers, p99"), p99_few, "ms", "");
    figures.add(
        &format!("one peer added at {peers} peers, p50"),
        median(many),
        "ms",
        "",
    );
    figures.add(
        &format!("one peer added at {peers} peers, p99"),
        p99_many,
        "ms",
        "",
    );
    figures.add(
        &format!("one peer added, p99 at {peers} peers / at {FEW}"),
        p99_many / p99_few,
        "ratio",
        "<= 1.5",
    );
    Ok(())
}

async fn added(stage: &mut Stage, peers: u32) -> Result<Vec<f64>> {
    let probe = stage.have(peers).await?;
    let first = First::with(stage.api.thread)?;
    probe.reset();
    eprintln!("adding {ADDS} peers, one by one …");
    for number in NUMBERS {
        add(stage, &probe, number);
        acknowledged(&probe).await?;
        wait::pass(APART).await;
    }
    drop(first);
    let times = times(&probe);
    ensure!(times.len() == NUMBERS.len(), "{} were acknowledged", times.len());
    leave(stage, &probe, NUMBERS).await?;
    Ok(times)
}

/// Adds one peer each 50 ms while the agent programs all of them into an interface that was emptied.
pub async fn during_resync(stage: &mut Stage, peers: u32, figures: &mut Figures) -> Result<()> {
    let probe = stage.have(peers).await?;
    let all = usize::try_from(peers)?;
    probe.reset();
    eprintln!(
        "programming {peers} peers anew, and one more each {} ms …",
        DURING.as_millis()
    );
    stage.flush(crate::objects::INTERFACE).await?;
    wait::until("the agent to begin", LONG, || async {
        Ok((probe.record().sets.count > all / 100).then_some(()))
    })
    .await?;
    let mut numbers = FURTHER;
    let first = First::with(stage.api.thread)?;
    // Those of the last moments would meet an agent that is done.
    while probe.record().sets.count < all / 100 * 97
        && let Some(number) = numbers.next()
    {
        add(stage, &probe, number);
        wait::pass(DURING).await;
    }
    acknowledged(&probe).await?;
    drop(first);
    let times = times(&probe);
    ensure!(!times.is_empty(), "nothing was added meanwhile");
    figures.add(
        "one peer added during a full resync: how many were",
        number(times.len()),
        "",
        "",
    );
    figures.add(
        "one peer added during a full resync, p50",
        median(times.clone()),
        "ms",
        "",
    );
    figures.add(
        "one peer added during a full resync, p99",
        quantile(times, 0.99),
        "ms",
        "<= 10",
    );
    leave(stage, &probe, FURTHER).await
}

fn add(stage: &Stage, probe: &Probe, number: u32) {
    probe.await_peer(public_key(number), 1);
    stage.api.add(number);
}

async fn acknowledged(probe: &Probe) -> Result<()> {
    wait::until("an acknowledgement", LONG, || async {
        Ok((probe.missing() == 0).then_some(()))
    })
    .await
}

fn times(probe: &Probe) -> Vec<f64> {
    probe
        .record()
        .acknowledged
        .iter()
        .copied()
        .map(milliseconds)
        .collect()
}

/// Takes the added ones away again.
async fn leave(stage: &Stage, probe: &Arc<Probe>, numbers: Range<u32>) -> Result<()> {
    stage.api.remove(numbers);
    stage.converged(probe, probe.now()).await.map(drop)
}
