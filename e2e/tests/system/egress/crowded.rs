//! A table of connections without room for one more: who has a connection keeps it, sessions begin and end, whoever is
//! silent is forgotten, and what is new waits for room. It does not get past the rules for want of it.

use std::{fmt::Write, fs, ops::Range, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use culvert_e2e::{Client, Namespace, Scratch, surroundings::FAR, wait};

use super::{
    idle::Ends,
    stage::{Stage, allowed},
};
use crate::fixture::{SLACK, WINDOW};

/// Whose connections fill the table: nobody's here.
const NOBODY: &str = "198.18.0.0/15";

/// What is in the table.
#[derive(Clone, Copy)]
enum Crowd {
    /// Connections of which both ends have been heard: the kernel keeps them, whoever else comes.
    Lasting,
    /// Datagrams that nobody has answered, as a flood leaves them: the kernel gives them up for who comes.
    Passing,
}

fn number(namespace: &Namespace, words: &[&str]) -> Result<usize> {
    let text = namespace.run(words)?;
    text.trim()
        .parse()
        .with_context(|| format!("{text} is no number"))
}

/// How many are added one by one to a table that is almost full.
const FEW: usize = 1_000;

/// Fills the node's table, and says how many are in it.
fn fill(gateway: &Namespace, crowd: Crowd) -> Result<usize> {
    let most = number(gateway, &["cat", "/proc/sys/net/netfilter/nf_conntrack_max"])?;
    add(gateway, crowd, 0..most)?;
    // For one who comes the kernel gives up all of his bucket that it may: the last may have left more room than he took.
    for further in most..most + FEW {
        let known = number(gateway, &["conntrack", "-C"])?;
        if known >= most {
            return Ok(known);
        }
        add(gateway, crowd, further..further + 1)?;
    }
    bail!("there is room in the table after {FEW} more than fit into it")
}

/// Adds connections of nobody, as many as there is room for.
fn add(gateway: &Namespace, crowd: Crowd, numbers: Range<usize>) -> Result<()> {
    let mut lines = String::new();
    for number in numbers {
        let (a, b, c) = (18 + number / 65_536 % 2, number / 256 % 256, number % 256);
        let (from, port) = (format!("198.{a}.{b}.{c}"), 1 + number / 131_072);
        let ends = format!("-s {from} -d 203.0.113.1 -r 203.0.113.1 -q {from}");
        let ports = format!("--sport {port} --dport 443 --reply-port-src 443 --reply-port-dst {port}");
        match crowd {
            Crowd::Lasting => writeln!(
                lines,
                "-A -t 86400 -u SEEN_REPLY,ASSURED {ends} -p tcp {ports} --state ESTABLISHED"
            )?,
            Crowd::Passing => writeln!(lines, "-A -t 86400 {ends} -p udp {ports}")?,
        }
    }
    let folder = Scratch::new("culvert-crowd-")?;
    let file = folder.path().join("connections");
    fs::write(&file, lines).context("failed to write connections")?;
    // It ends with the first for which there is no room.
    let _ = gateway.run(&["conntrack", "-R", &file.display().to_string()]);
    Ok(())
}

fn empty(gateway: &Namespace) -> Result<()> {
    gateway.run(&["conntrack", "-D", "-s", NOBODY]).map(drop)
}

#[tokio::test]
async fn egress_full_table_of_connections_costs_others_nothing_that_they_have() -> Result<()> {
    let stage = Stage::start().await?;
    let gateway = &stage.bed.gateway;
    let mut late = Client::new(&stage.bed, "late", 79)?;
    late.register(&stage.bed).await?;
    let mut streams = Vec::new();
    for address in FAR {
        let mut ends = Ends::open(&stage.phone.namespace, &stage.around.far, address)?;
        ends.talk()?;
        streams.push(ends);
    }

    let known = fill(gateway, Crowd::Lasting)?;
    for ends in &mut streams {
        ends.talk().context("an open connection is dead")?;
    }
    // What was heard last is acknowledged after a moment.
    wait::pass(Duration::from_secs(1)).await;
    let probes = [stage.forbidden()?, stage.neighbours(), allowed()?].concat();
    let reached = stage.around.reached(&stage.laptop.namespace, &probes).await?;
    ensure!(
        reached.is_empty(),
        "something new passes a full table:\n{}",
        reached.join("\n")
    );
    // What is sealed is not tracked.
    late.connect(&stage.bed).await?;
    let _ = late.ping(1);
    let peer = stage.bed.peer(&late.public_key)?.context("the peer")?;
    ensure!(peer.latest_handshake > 0, "nobody begins a session");
    wait::pass(Duration::from_secs(WINDOW + SLACK)).await;
    ensure!(
        stage.laptop.endpoint_at(&stage.bed)?.is_none(),
        "a client is remembered too long"
    );

    empty(gateway)?;
    stage.passes(&allowed()?).await?;
    late.ping(5).context("there is room and nobody gets in")?;
    for ends in &mut streams {
        ends.talk().context("a connection has not outlived it")?;
    }

    let passing = fill(gateway, Crowd::Passing)?;
    stage
        .around
        .answered(&stage.laptop.namespace, &allowed()?)
        .await
        .context("a flood without answers keeps others out")?;
    println!(
        "counted: full table of connections: {known} lasting: {0} of {0} open ones go on, of {1} new ones none passes, sessions begin and end; {passing} passing: {2} of {2} new ones pass",
        streams.len(),
        probes.len(),
        allowed()?.len()
    );
    empty(gateway)?;
    stage.bed.finish().await
}
