//! Measures `kubectl culvert connect`, from its start to the first ping that is answered: `cargo xtask bench connect` runs
//! this in a machine, in real time.
//!
//! Control plane, operator, agent and client share one processor there, and the pings besides. Each part is the time from
//! the end of the one before, as the program tells it (`--times`). Ours alone are `key` (with all that a start takes),
//! `address`, `routes` and `up`; the others wait for the apiserver (`known` for its first word), the operator and the
//! gateway. What goes on is told on standard error; the figures are one line of standard output that begins with `FIGURES`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use culvert_e2e::{
    Bed,
    bed::SOON,
    client::GATEWAY_INSIDE,
    figure::{Figures, median, milliseconds, quantile},
    laptop::Laptop,
    probe::{self, Answer, Kind, Probe},
    wait::{self, Stopwatch},
};
use serde_json::Value;

/// How often it connects.
const TIMES: usize = 30;

/// The parts, in order; whether they are ours alone.
const PARTS: [(&str, bool); 8] = [
    ("key", true),
    ("known", false),
    ("applied", false),
    ("programmed", false),
    ("address", true),
    ("handshake", false),
    ("routes", true),
    ("up", true),
];

/// How long a ping waits for its answer before the next is sent.
const PING: Duration = Duration::from_millis(10);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match measure().await {
        Ok(figures) => {
            println!("FIGURES {}", figures.json());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<Figures> {
    let bed = Bed::start().await?;
    let mut laptop = Laptop::new(&bed).await?;
    laptop.flags = vec!["--times".to_owned()];
    let mut totals = Vec::new();
    let mut parts: Vec<Vec<f64>> = vec![Vec::new(); PARTS.len()];
    for round in 0..TIMES {
        let (total, times) = once(&mut laptop)
            .await
            .with_context(|| format!("round {round}"))?;
        totals.push(total);
        let mut before = 0.0;
        for ((name, _), found) in PARTS.iter().zip(&mut parts) {
            let at = times[name]
                .as_f64()
                .with_context(|| format!("no time of {name}"))?;
            found.push(at - before);
            before = at;
        }
        laptop.disconnect().await?;
        wait::pass(Duration::from_millis(500)).await;
    }
    let mut figures = Figures::default();
    figures.add(
        "connect: first ping answered, p50",
        median(totals.clone()),
        "ms",
        "<= 300",
    );
    figures.add(
        "connect: first ping answered, p99",
        quantile(totals, 0.99),
        "ms",
        "",
    );
    for ((name, ours), found) in PARTS.iter().zip(parts) {
        let goal = if *ours { "<= 50" } else { "" };
        figures.add(
            &format!("connect: {name}, p50"),
            median(found.clone()),
            "ms",
            goal,
        );
        figures.add(&format!("connect: {name}, p99"), quantile(found, 0.99), "ms", "");
    }
    Ok(figures)
}

/// Connects, and gives how long it took until a ping was answered, and what the program tells of its parts.
async fn once(laptop: &mut Laptop) -> Result<(f64, Value)> {
    let watch = Stopwatch::start();
    laptop.start()?;
    let place = &laptop.namespace;
    let target = Probe::new("the gateway", GATEWAY_INSIDE[0].parse()?, Kind::Echo);
    let mut total = None;
    while total.is_none() && watch.elapsed() < SOON {
        let sent = probe::send(place, std::slice::from_ref(&target), PING)?;
        let answered = sent.iter().any(|sent| sent.answer == Answer::Yes);
        total = answered.then(|| milliseconds(watch.elapsed()));
    }
    let total = total.context("no ping is answered")?;
    laptop.says("\"up\":").await?;
    let output = laptop.output();
    let line = output.lines().find(|line| line.starts_with('{'));
    let times = serde_json::from_str(line.context("no times")?).context("the times are no JSON")?;
    Ok((total, times))
}
