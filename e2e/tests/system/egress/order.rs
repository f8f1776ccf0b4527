//! A new interface is not up before its table stands, however long that takes.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Namespace, Scratch,
    bed::{DEFAULT, INTERFACE, SOON, example, said},
    surroundings::Surroundings,
    wait::{self, Stopwatch},
};

use super::{
    flushed::tables,
    stage::{Count, METRICS, Stage, know_cluster},
};

/// How long nft takes here: less than it may.
const SLOW: Duration = Duration::from_secs(2);

/// Between two looks.
const LOOKS: Duration = Duration::from_millis(100);

/// Writes a program that stands for nft.
pub fn write(path: &Path, script: &str) -> Result<()> {
    let real = "PATH=/usr/local/sbin:/usr/sbin:/sbin:$PATH";
    fs::write(path, format!("#!/bin/sh\n{real}\n{script}\n")).context("failed to write a program")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("failed to make a program")
}

/// Whether the interface is there, and whether it is up.
fn link(gateway: &Namespace) -> Result<Option<bool>> {
    let links = gateway.ip(&["-o", "link", "show", "type", "wireguard"])?;
    let line = links
        .lines()
        .find(|line| line.contains(&format!(" {INTERFACE}: ")));
    Ok(line.map(|line| {
        let flags = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        flags.is_some_and(|(flags, _)| flags.split(',').any(|flag| flag == "UP"))
    }))
}

/// Looks all the time until the interface is up, and fails when it was so without its tables; says for how long it was
/// seen down.
async fn up_with_tables(gateway: &Namespace) -> Result<Duration> {
    let (all, mut down) = (Stopwatch::start(), None);
    loop {
        match link(gateway)? {
            // The interface first: tables that come in between are too late.
            Some(true) => {
                let tables = tables(gateway)?;
                ensure!(
                    tables.matches("table ").count() == 2,
                    "it is up, and has\n{tables}"
                );
                return Ok(down.map_or(Duration::ZERO, |down: Stopwatch| down.elapsed()));
            }
            Some(false) => drop(down.get_or_insert_with(Stopwatch::start)),
            None => {}
        }
        ensure!(all.elapsed() < SOON * 2, "the interface does not come up");
        wait::pass(LOOKS).await;
    }
}

#[tokio::test]
async fn egress_interface_is_down_until_its_table_stands() -> Result<()> {
    let mut bed = Bed::empty().await?;
    let around = Surroundings::around(&bed.gateway)?;
    let folder = Scratch::new("culvert-nft-")?;
    let program = folder.path().join("nft");
    let slow = format!(
        "case \"$*\" in *-f*) sleep {};; esac; exec nft \"$@\"",
        SLOW.as_secs()
    );
    bed.agent_flags(&[
        "--listen",
        &format!("[::]:{METRICS}"),
        "--nft",
        &program.display().to_string(),
    ]);
    for file in ["pool.yaml", "gateway.yaml"] {
        bed.kubectl(&["apply", "-f", &example(file)]).await?;
    }
    bed.start_operator()?;

    // One that cannot write at all: the gateway says so, and stays down.
    write(
        &program,
        "case \"$*\" in *-f*) echo no >&2; exit 1;; esac; exec nft \"$@\"",
    )?;
    bed.start_agent()?;
    wait::until("the gateway to say that it has no table", SOON, || async {
        let conditions = bed.gateway_node(DEFAULT).await?.conditions;
        let said = said(&conditions, "EgressReady");
        ensure!(said == "False FirewallError", "it says `{said}`");
        Ok(Some(()))
    })
    .await?;
    for _ in 0..100 {
        ensure!(
            link(&bed.gateway)? == Some(false),
            "a gateway without a table is up, or none"
        );
        wait::pass(LOOKS).await;
    }

    write(&program, &slow)?;
    let down = up_with_tables(&bed.gateway).await?;
    ensure!(down > SLOW / 2, "it was seen down for {} s only", down.as_secs());
    bed.serving().await?;

    // What a reboot leaves, and an interface that somebody has deleted.
    bed.kill_agent()?;
    bed.gateway.ip(&["link", "del", INTERFACE])?;
    bed.gateway.run(&["nft", "flush ruleset"])?;
    bed.start_agent()?;
    let after_reboot = up_with_tables(&bed.gateway).await?;
    ensure!(
        after_reboot > SLOW / 2,
        "it was seen down for {} s only",
        after_reboot.as_secs()
    );
    println!(
        "counted: a new interface without its table: down for {} s and {} s",
        down.as_secs(),
        after_reboot.as_secs()
    );

    write(&program, "exec nft \"$@\"")?;
    around.serve_services(&bed.gateway)?;
    know_cluster(&bed).await?;
    let stage = Stage::of(bed, around).await?;
    let mut count = Count::default();
    stage.round(&mut count).await?;
    count.tell("forbidden matrix after a reboot");
    stage.bed.finish().await
}
