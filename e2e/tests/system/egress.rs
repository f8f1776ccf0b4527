//! Where clients get through the gateway, and where they never do: every probe is answered when it comes from the node,
//! and from a client without the gateway's table.

mod allowed;
mod crowded;
mod flushed;
mod idle;
mod lacks;
pub mod order;
mod outside;
mod segments;
pub mod stage;

use std::time::Duration;

use anyhow::Result;
use culvert_e2e::{probe::Kind, wait};

use stage::{Count, METRICS, Stage, without_tables};

#[tokio::test]
async fn egress_forbidden_stays_closed_whatever_becomes_of_the_agent() -> Result<()> {
    let mut stage = Stage::start().await?;
    let forbidden = stage.forbidden()?;
    stage.around.answered(&stage.bed.gateway, &forbidden).await?;
    stage
        .around
        .answered(&stage.phone.namespace, &stage.neighbours())
        .await?;
    let mut count = Count::default();
    stage.round(&mut count).await?;

    let (session, _) = stage.bed.session().await?;
    stage.bed.kill_agent()?;
    stage.round(&mut count).await?;
    wait::pass(Duration::from_mins(20)).await;
    stage.round(&mut count).await?;

    stage.bed.start_agent()?;
    let mut rounds = 0;
    while rounds == 0 || stage.bed.session().await?.0 == session {
        stage.round(&mut count).await?;
        rounds += 1;
    }
    stage.bed.caught_up_after(&session).await?;
    stage.round(&mut count).await?;
    count.tell("forbidden matrix");

    // What was refused is refused by the table and nothing else.
    stage.bed.kill_agent()?;
    without_tables(&stage.bed.gateway)?;
    let mut probes = [forbidden, stage.neighbours()].concat();
    // Who is killed does not answer.
    probes.retain(|probe| probe.kind != Kind::Tcp(METRICS));
    stage.phone.ping(5)?;
    stage.around.answered(&stage.laptop.namespace, &probes).await?;
    println!(
        "counted: forbidden matrix: without the table {0} of {0} get through",
        probes.len()
    );
    stage.bed.start_agent()?;
    stage.bed.finish().await
}
