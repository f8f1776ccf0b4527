//! Many keys at once.
//!
//! What the user's own requests take is nobody's merit, so all keys are there before the first of them is served: they
//! are made while the operator stands by (it takes in every change, and waits for its lease), and the bare client is
//! handed them. The time counts from the first peer that a watch shows to the last key that a watch shows with
//! addresses, the same watches for both. The bare client keeps a watch on keys and peers open while it works, as the
//! operator does.

use std::time::Duration;

use anyhow::Result;
use culvert_e2e::wait;

use crate::{
    agent::Agent,
    bare::{self, Bare},
    figure::{Figures, median, number},
    keys,
    observer::Observer,
    operator::{CONCURRENCY, Operator},
    stage::{POOL, SERVED_POOL, Stage},
};

/// Rounds, of each of both.
const ROUNDS: usize = 3;

/// The most keys of a round.
const MOST: usize = 10_000;

/// Long enough for all keys to be served.
const WITHIN: Duration = Duration::from_mins(5);

/// After the last write, before writes are counted: one too many would be late.
const SETTLE: Duration = Duration::from_secs(3);

/// Without a gateway in turns with the bare client, then with one that answers.
pub async fn measure(stage: &mut Stage, all: usize, figures: &mut Figures) -> Result<()> {
    // What is left over is for the round with a gateway, and to fill up.
    let count = (all.saturating_sub(stage.keys) / (2 * ROUNDS + 2)).min(MOST);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        eprintln!("{count} keys at once, round {} of {ROUNDS} …", round + 1);
        // Who comes first has the smaller API, by a little.
        if round % 2 == 0 {
            ours.push(operator(stage, round, count).await?);
            theirs.push(bare(stage, round, count).await?);
        } else {
            theirs.push(bare(stage, round, count).await?);
            ours.push(operator(stage, round, count).await?);
        }
    }
    let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a / b).collect();
    let name = |what: &str| format!("{count} keys at once: {what}");
    figures.add(&name("published by the operator"), median(ours), "keys/s", "");
    figures.add(&name("published by a bare client"), median(theirs), "keys/s", "");
    figures.add(
        &name("throughput to a bare client's"),
        median(ratios),
        "ratio",
        ">= 0.85",
    );

    eprintln!("{count} keys at once, with a gateway …");
    let writes = served(stage, count).await?;
    figures.add(&name("writes of a key until Ready"), writes, "writes", "<= 3");
    Ok(())
}

/// Keys that the operator publishes in a second.
async fn operator(stage: &mut Stage, round: usize, count: usize) -> Result<f64> {
    let namespace = format!("burst-a-{round}");
    let (operator, lease) = laden(stage, &namespace, POOL, count).await?;
    let mut observer = Observer::start(&stage.user, Some(&namespace)).await?;
    lease.release().await?;
    observer
        .until("all addresses", |seen| seen.published.len() >= count)
        .await?;
    operator.stop().await?;
    let speed = number(count) / observer.took()?.as_secs_f64();
    eprintln!("  the operator: {speed:.0} keys/s");
    Ok(speed)
}

/// Keys that the bare client publishes in a second.
async fn bare(stage: &mut Stage, round: usize, count: usize) -> Result<f64> {
    let namespace = format!("burst-b-{round}");
    stage.make_namespace(&namespace).await?;
    let first = stage.number(count)?;
    let keys = keys::make_all(&stage.user, &namespace, bare::POOL, first, count).await?;
    let bare = copier(stage).await?;
    let _own = Observer::start(&stage.bare, None).await?;
    let mut observer = Observer::start(&stage.user, Some(&namespace)).await?;
    bare.serve_all(keys, CONCURRENCY).await?;
    observer
        .until("all addresses", |seen| seen.published.len() >= count)
        .await?;
    let speed = number(count) / observer.took()?.as_secs_f64();
    eprintln!("  a bare client: {speed:.0} keys/s");
    Ok(speed)
}

/// The operator's writes of a key while a gateway answers.
async fn served(stage: &mut Stage, count: usize) -> Result<f64> {
    let namespace = "burst-g";
    let _agent = Agent::start(stage.user.clone()).await?;
    let (operator, lease) = laden(stage, namespace, SERVED_POOL, count).await?;
    let audit = stage.audit();
    let mut observer = Observer::start(&stage.user, Some(namespace)).await?;
    lease.release().await?;
    observer
        .until("all keys to be programmed", |seen| seen.programmed.len() >= count)
        .await?;
    wait::pass(SETTLE).await;
    let writes = audit.writes()?;
    operator.stop().await?;
    eprintln!("  the operator's writes: {:?}", writes.all);
    Ok(number(writes.of_keys) / number(count))
}

/// An operator that has all keys to serve, and waits for its lease.
async fn laden(
    stage: &mut Stage,
    namespace: &str,
    pool: &str,
    count: usize,
) -> Result<(Operator, crate::stage::HeldLease)> {
    stage.make_namespace(namespace).await?;
    let lease = stage.hold_lease().await?;
    let flags = ["--leader-elect", "--lease-namespace=default"];
    let operator = Operator::start(stage, &flags).await?;
    let first = stage.number(count)?;
    keys::make_all(&stage.user, namespace, pool, first, count).await?;
    // Whoever stands by queues nothing: it plans everything when it leads.
    let unserved = "culvert_keys{state=\"Pending\"}";
    wait::until("the operator to have seen all keys", WITHIN, || async {
        Ok((operator.metric(unserved).await? >= number(count)).then_some(()))
    })
    .await?;
    Ok((operator, lease))
}

/// A bare client, which copies a key that the operator has served before.
pub async fn copier(stage: &Stage) -> Result<Bare> {
    let name = keys::any(&stage.user, "idle-a").await?;
    Bare::copying(stage.bare.clone(), "idle-a", &name).await
}
