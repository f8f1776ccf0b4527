//! One key at a time.
//!
//! From the request that makes a key until the event that shows what is wanted has been read; beside it the two writes
//! of the bare client, one after the other, each until its reply has been read. In turns, some keys each: the operator is
//! away while the bare client works, because it would serve the same keys.

use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_e2e::wait::{self, Stopwatch};
use kube::Client;

use crate::{
    agent::{self, Agent},
    bare::{self, Bare},
    figure::{Figures, median, milliseconds, number},
    keys,
    observer::{Observer, Seen},
    operator::Operator,
    stage::{POOL, SERVED_POOL, Stage},
};

/// Turns, and keys in each of both.
const TURNS: (usize, usize) = (10, 20);

/// Between two keys, without and with a gateway: longer than an agent is silent after a report.
const APART: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(300));

/// After the last write, before writes are counted: one too many would be late.
const SETTLE: Duration = Duration::from_secs(2);

/// What a turn waits for.
struct Wanted {
    namespace: &'static str,
    pool: &'static str,
    apart: Duration,
    seen: fn(&Seen, &str) -> bool,
}

/// What came of it: medians in milliseconds.
struct Found {
    /// The user's own request, which is in `answered` as well.
    made: f64,
    /// From the user's request until what is wanted was seen.
    answered: f64,
    /// The bare client's two writes.
    bare: f64,
    /// The operator's writes of a key.
    writes: f64,
}

/// Without a gateway, then with one that answers.
pub async fn measure(stage: &mut Stage, figures: &mut Figures) -> Result<()> {
    eprintln!("one key at a time, no gateway …");
    let addressed = Wanted {
        namespace: "idle-a",
        pool: POOL,
        apart: APART.0,
        seen: |seen, name| seen.published.contains(name),
    };
    let found = turns(stage, &addressed).await?;
    figures.add("idle: apply to address in status, p50", found.answered, "ms", "");
    figures.add("idle: of which the user's own write, p50", found.made, "ms", "");
    figures.add("idle: a bare client's two writes, p50", found.bare, "ms", "");
    figures.add(
        "idle: apply to address, to two bare writes",
        found.answered / found.bare,
        "ratio",
        "<= 1.5",
    );
    figures.add(
        "idle: the same without the user's own write",
        (found.answered - found.made) / found.bare,
        "ratio",
        "",
    );

    eprintln!("one key at a time, with a gateway …");
    let operator = Operator::start(stage, &[]).await?;
    agent::make_gateway(stage).await?;
    let _agent = Agent::start(stage.user.clone()).await?;
    operator.stop().await?;
    let programmed = Wanted {
        namespace: "idle-g",
        pool: SERVED_POOL,
        apart: APART.1,
        seen: |seen, name| seen.programmed.contains(name),
    };
    let found = turns(stage, &programmed).await?;
    figures.add("idle: apply to Programmed, p50", found.answered, "ms", "");
    figures.add(
        "idle: apply to Programmed, to two bare writes",
        found.answered / found.bare,
        "ratio",
        "<= 3.5",
    );
    figures.add(
        "idle: writes of a key until Ready",
        found.writes,
        "writes",
        "<= 2",
    );
    Ok(())
}

async fn turns(stage: &mut Stage, wanted: &Wanted) -> Result<Found> {
    let (turns, keys) = TURNS;
    let bare_namespace = format!("{}-bare", wanted.namespace);
    stage.make_namespace(wanted.namespace).await?;
    stage.make_namespace(&bare_namespace).await?;
    let (mut made, mut answered, mut bare, mut writes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..turns {
        let operator = Operator::start(stage, &[]).await?;
        operator.idle().await?;
        let audit = stage.audit();
        let mut observer = Observer::start(&stage.user, Some(wanted.namespace)).await?;
        let mut name = String::new();
        for _ in 0..keys {
            wait::pass(wanted.apart).await;
            let number = stage.number(1)?;
            let watch = Stopwatch::start();
            let key = keys::make(&stage.user, wanted.namespace, wanted.pool, number).await?;
            made.push(milliseconds(watch.elapsed()));
            observer
                .until("an answer to a key", |seen| (wanted.seen)(seen, &key.name))
                .await?;
            answered.push(milliseconds(watch.elapsed()));
            name = key.name;
        }
        wait::pass(SETTLE).await;
        let written = audit.writes()?;
        ensure!(
            written.of_keys >= 2 * keys,
            "the audit log misses writes: {:?}",
            written.all
        );
        writes += written.of_keys;
        operator.stop().await?;
        let copied = Bare::copying(stage.bare.clone(), wanted.namespace, &name).await?;
        bare.extend(bare_turn(stage, copied, &bare_namespace, keys, wanted.apart).await?);
    }
    Ok(Found {
        made: median(made),
        answered: median(answered),
        bare: median(bare),
        writes: number(writes) / number(turns * keys),
    })
}

async fn bare_turn(
    stage: &mut Stage,
    bare: Bare,
    namespace: &str,
    keys: usize,
    apart: Duration,
) -> Result<Vec<f64>> {
    // As many watches as before, so that the apiserver has as much to tell.
    let _own = Observer::start(&stage.bare, None).await?;
    let _users = Observer::start(&stage.user, Some(namespace)).await?;
    let user: Client = stage.user.clone();
    let mut times = Vec::new();
    for _ in 0..keys {
        wait::pass(apart).await;
        let key = keys::make(&user, namespace, bare::POOL, stage.number(1)?).await?;
        let watch = Stopwatch::start();
        bare.serve(key).await?;
        times.push(milliseconds(watch.elapsed()));
    }
    Ok(times)
}
