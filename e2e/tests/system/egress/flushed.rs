//! The gateway's tables when somebody else lays hands on them: they are as they were within one tick, and are before the
//! interface is up.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use culvert_e2e::{Namespace, bed::SOON, wait};
use serde_json::Value;

use super::stage::{Count, METRICS, Stage, allowed};
use crate::fixture::ONE_TICK;

/// How often another firewall's manager writes its rules anew.
const FLUSHES: usize = 20;

/// Culvert's tables as `nft` prints them, without numbers that count.
pub fn tables(gateway: &Namespace) -> Result<String> {
    let all = gateway.run(&["nft", "--stateless", "--terse", "list", "ruleset"])?;
    let mut ours = Vec::new();
    let mut is_ours = false;
    for line in all.lines() {
        if line.starts_with("table ") {
            is_ours = line.contains(" culvert-");
        }
        if is_ours {
            ours.push(line);
        }
    }
    Ok(ours.join("\n"))
}

/// Everything that somebody can do to a table of Culvert's, as commands for `nft`: each chain is emptied, gets a rule
/// that accepts all, loses its last rule; each set is emptied; each table goes, and all at once.
fn damages(gateway: &Namespace) -> Result<BTreeSet<String>> {
    let text = gateway.run(&["nft", "--json", "list", "ruleset"])?;
    let ruleset: Value = serde_json::from_str(&text).context("nft prints no JSON")?;
    let objects = ruleset["nftables"].as_array().context("nft prints no list")?;
    let mut damages = BTreeSet::from(["flush ruleset".to_owned()]);
    let has_rules = |chain: &Value| {
        let mut rules = objects.iter().map(|object| &object["rule"]);
        let place = ["family", "table"];
        rules.any(|rule| rule["chain"] == chain["name"] && place.iter().all(|name| rule[name] == chain[name]))
    };
    for object in objects {
        let Some((kind, fields)) = object.as_object().and_then(|object| object.iter().next()) else {
            bail!("nft prints {object}");
        };
        let word = |name: &str| fields[name].as_str().unwrap_or_default();
        let table = if kind == "table" {
            word("name")
        } else {
            word("table")
        };
        if !table.starts_with("culvert-") {
            continue;
        }
        let place = format!("{} {table}", word("family"));
        match kind.as_str() {
            "table" => damages.insert(format!("delete table {place}")),
            "chain" => {
                let chain = format!("{place} {}", word("name"));
                if has_rules(&object["chain"]) {
                    damages.insert(format!("flush chain {chain}"));
                }
                damages.insert(format!("insert rule {chain} accept"))
            }
            "rule" => damages.insert(format!(
                "delete rule {place} {} handle {}",
                word("chain"),
                fields["handle"]
            )),
            // One that the kernel fills itself has nothing to lose; that it does is not in the JSON of nft 1.0.6.
            "set" if !word("name").starts_with("connections") => {
                damages.insert(format!("flush set {place} {}", word("name")))
            }
            _ => false,
        };
    }
    Ok(damages)
}

/// Waits until the tables are as they were, and says how long it took.
async fn restored(gateway: &Namespace, before: &str) -> Result<Duration> {
    let watch = wait::Stopwatch::start();
    wait::until("the tables to be restored", ONE_TICK, || async {
        Ok((tables(gateway)? == before).then_some(()))
    })
    .await?;
    Ok(watch.elapsed())
}

/// How often the agent has put the tables right, by its own count.
fn repairs(gateway: &Namespace) -> Result<u64> {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{METRICS}; printf 'GET /metrics HTTP/1.1\\r\\nHost: culvert\\r\\n\\r\\n' >&3; cat <&3"
    );
    let told = gateway.run(&["bash", "-c", &script])?;
    let line = told
        .lines()
        .find(|line| line.starts_with("culvert_agent_repaired_total{drift=\"table\"}"));
    let count = line
        .and_then(|line| line.rsplit(' ').next())
        .context("no such number")?;
    count.parse().context("a count is a number")
}

#[tokio::test]
async fn egress_table_that_somebody_changes_is_restored_within_a_tick() -> Result<()> {
    let stage = Stage::start().await?;
    let gateway = &stage.bed.gateway;
    let before = tables(gateway)?;
    ensure!(
        before.matches("table ").count() == 2,
        "not a table of each family:\n{before}"
    );
    // Handles are new each time, so what can be done is asked again before each.
    let all = damages(gateway)?.len();
    let (mut longest, mut done) = (Duration::ZERO, 0);
    for number in 0..all {
        let damage = damages(gateway)?
            .into_iter()
            .nth(number)
            .context("the tables have shrunk")?;
        let counted = repairs(gateway)?;
        gateway.run(&["nft", &damage]).with_context(|| damage.clone())?;
        let took = restored(gateway, &before).await.with_context(|| damage.clone())?;
        longest = longest.max(took);
        wait::until("the repair to be counted", ONE_TICK, || async {
            Ok((repairs(gateway)? > counted).then_some(()))
        })
        .await
        .with_context(|| damage.clone())?;
        done += 1;
    }
    println!(
        "counted: tables: {done} of {all} changes by hand put right, the longest after {} ms",
        longest.as_millis()
    );

    let mut count = Count::default();
    stage.around.serve_services(gateway)?;
    stage.round(&mut count).await?;
    // Somebody who does so again and again.
    for _ in 0..FLUSHES {
        gateway.run(&["nft", "flush ruleset"])?;
        restored(gateway, &before).await?;
    }
    stage.around.serve_services(gateway)?;
    stage.round(&mut count).await?;
    count.tell("forbidden matrix after flushes");
    stage.bed.finish().await
}

#[tokio::test]
async fn egress_table_flushed_behind_a_dead_agents_back_is_restored_before_anything_else() -> Result<()> {
    let mut stage = Stage::start().await?;
    let before = tables(&stage.bed.gateway)?;
    stage.bed.kill_agent()?;
    stage.bed.gateway.run(&["nft", "flush ruleset"])?;
    stage.around.serve_services(&stage.bed.gateway)?;
    // Without an apiserver nobody says what may pass, so nothing does.
    stage.bed.plane.kill_apiserver()?;
    stage.bed.start_agent()?;
    wait::until("the gateway to be closed", ONE_TICK, || async {
        Ok(tables(&stage.bed.gateway)?
            .contains("chain prerouting")
            .then_some(()))
    })
    .await?;
    let all = [stage.forbidden()?, stage.neighbours(), allowed()?].concat();
    stage.phone.ping(1).err().context("a closed gateway answers")?;
    let reached = stage.around.reached(&stage.laptop.namespace, &all).await?;
    ensure!(
        reached.is_empty(),
        "a closed gateway let pass:\n{}",
        reached.join("\n")
    );
    println!(
        "counted: a gateway without a table, whose agent knows nothing of it: refused {0} of {0}",
        all.len()
    );
    stage.bed.plane.start_apiserver().await?;
    wait::until("the tables to be restored", SOON, || async {
        Ok((tables(&stage.bed.gateway)? == before).then_some(()))
    })
    .await?;
    let mut count = Count::default();
    stage.round(&mut count).await?;
    count.tell("forbidden matrix of an agent that had no apiserver");
    stage.bed.finish().await
}
