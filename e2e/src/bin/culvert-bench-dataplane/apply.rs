//! How long the table takes to be put in place.

use anyhow::Result;
use culvert_e2e::{
    figure::{Figures, median, milliseconds, quantile},
    wait::Stopwatch,
};

use crate::stage::{Stage, script};

/// How often.
const TIMES: usize = 21;

/// As many ranges as a status can hold.
const MOST: u32 = 4_096;

/// Measures with no range of the cluster, and with as many as there can be.
pub async fn measure(stage: &mut Stage, figures: &mut Figures) -> Result<()> {
    // No two next to each other: they would be joined.
    let many: Vec<String> = (0..MOST)
        .map(|n| format!("11.{}.{}.0/24", n >> 7, n % 128 * 2))
        .collect();
    for (name, ranges) in [
        ("an empty cluster", Vec::new()),
        ("4096 ranges of a cluster", many),
    ] {
        let script = script(&ranges)?;
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let watch = Stopwatch::start();
            stage.apply(&script).await?;
            times.push(milliseconds(watch.elapsed()));
        }
        figures.add(
            &format!("table replaced, {name}, p50"),
            median(times.clone()),
            "ms",
            "",
        );
        figures.add(
            &format!("table replaced, {name}, max"),
            quantile(times, 1.0),
            "ms",
            "",
        );
    }
    // What of it is the program's own start.
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let watch = Stopwatch::start();
        stage.apply("").await?;
        times.push(milliseconds(watch.elapsed()));
    }
    figures.add("nft does nothing, p50", median(times), "ms", "");
    stage.without_table().await
}
