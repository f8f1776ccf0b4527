//! Nothing on the whole machine knows a client that has gone, and what is left of one would be found.
//!
//! One story with all that may go wrong in it ([`story`], [`errors`]), then a search of every sink for everything that was
//! in it; then something is left by hand in each sink ([`plants`]), and the same search has to find it there.

mod errors;
mod plants;
mod story;

use std::{fs::OpenOptions, io::Write, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Sink,
    leaks::{self, Canary, Class},
    sinks, wait,
};

use crate::fixture::{SLACK, WINDOW, blank};
use story::Story;

/// What a gateway may take beyond its window for what tells that somebody was there, but not where.
const MINUTE: Duration = Duration::from_mins(1);

/// What forgets: whatever else there is keeps what it was told.
const FORGETFUL: [Sink; 13] = [
    Sink::AgentMetrics,
    Sink::AgentMemory,
    Sink::WireGuard,
    Sink::Links,
    Sink::Connections,
    Sink::Nftables,
    Sink::NftablesJson,
    Sink::Routes,
    Sink::RouteExceptions,
    Sink::Neighbours,
    Sink::TcpMetrics,
    Sink::ProcNet,
    Sink::KernelLog,
];

/// What is in these sinks and must not be.
async fn searched(story: &Story, list: &[Sink], canaries: &[Canary]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for sink in list {
        let bytes = sinks::read(&story.bed, *sink).await?;
        let forbidden = sink.forbidden(canaries);
        let leaks = leaks::search(&bytes, &forbidden);
        found.extend(leaks.into_iter().map(|leak| format!("{sink:?} holds {leak}")));
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn privacy_no_sink_knows_a_client_and_each_would_tell() -> Result<()> {
    let mut story = Story::begin().await?;
    let decoys = plants::decoys();
    story.connect().await?;
    // Where they are, and the gateway's key, are in no memory even while they are there, but for the moment of a look.
    let mut found = Vec::new();
    for _ in 0..3 {
        found.extend(searched(&story, &[Sink::AgentMemory], &story.secrets()?).await?);
        wait::pass(Duration::from_secs(1)).await;
    }

    errors::provoke(&mut story).await?;
    story.roam()?;
    story.restart_agent().await?;
    story.last_words().await?;

    // An endpoint is gone by now, and with it whatever else tells where its client was.
    wait::pass(Duration::from_secs(WINDOW + SLACK)).await;
    for client in [&story.laptop, &story.phone] {
        ensure!(
            client.endpoint_at(&story.bed)?.is_none(),
            "{} is remembered too long",
            client.name
        );
    }
    let canaries = story.secrets()?;
    let where_they_were: Vec<Canary> = canaries
        .iter()
        .filter(|canary| canary.class() == Class::Whereabouts)
        .cloned()
        .collect();
    found.extend(searched(&story, &FORGETFUL, &where_they_were).await?);

    // A minute later nothing tells when, either.
    for client in [&story.laptop, &story.phone] {
        blank(&story.bed, client, MINUTE).await?;
    }
    let canaries = [canaries, story.handshakes()?].concat();
    let everybody = [&canaries[..], &decoys].concat();
    found.extend(searched(&story, &Sink::ALL, &everybody).await?);
    println!(
        "counted: canaries: {} sinks, {} canaries in {} shapes, {} found",
        Sink::ALL.len(),
        canaries.len(),
        canaries.iter().map(Canary::shapes).sum::<usize>(),
        found.len()
    );
    for leak in &found {
        println!("counted: canaries: {leak}");
    }
    story.took_place().await?;

    let missed = plants::missed(&mut story, &decoys).await?;
    println!(
        "counted: canaries: planted {}, found {}",
        decoys.len(),
        decoys.len() - missed.len()
    );
    ensure!(found.is_empty(), "{}", found.join("\n"));
    ensure!(missed.is_empty(), "not found where it was planted: {missed:?}");

    // So does the search of the logs with which every other test ends.
    for log in story.bed.logs() {
        let mut log = OpenOptions::new().append(true).open(log)?;
        log.write_all(b"peer at 198.51.100.77:47077\n")?;
    }
    let error = story.bed.finish().await.err().context("nothing was found")?;
    for log in ["agent.log", "operator.log"] {
        let said = format!("{log} holds the outer address of laptop");
        ensure!(error.to_string().contains(&said), "{error:#}");
    }
    Ok(())
}
