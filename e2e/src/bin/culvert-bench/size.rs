//! A large API: how long the operator takes to start, and what it holds.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_crds::{WireGuardKey, WireGuardPeer};
use culvert_e2e::wait::{self, Stopwatch};
use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{
    bare,
    burst::copier,
    figure::{Figures, median, number},
    keys,
    operator::Operator,
    stage::Stage,
};

/// Rounds, of each of both.
const ROUNDS: usize = 3;

/// Keys of a namespace.
const LOT: usize = 10_000;

/// Objects of a page, as the operator asks for them.
const PAGE: u32 = 250;

/// How long the operator is left alone before its memory is looked at: it gives back what a list took, and counts
/// everything at least once.
const REST: Duration = Duration::from_secs(15);

/// How many keys are filled in at once.
const AT_ONCE: usize = 64;

/// Bytes that the operator holds when there is nothing.
pub async fn empty(stage: &Stage) -> Result<f64> {
    eprintln!("the operator on an empty API …");
    let operator = Operator::start(stage, &[]).await?;
    wait::pass(REST).await;
    let size = operator.resident()?;
    operator.stop().await?;
    stage.make_pools().await?;
    Ok(size)
}

/// Fills the API up to `all` keys and starts the operator in turns with a bare list.
pub async fn measure(stage: &mut Stage, all: usize, empty: f64, figures: &mut Figures) -> Result<()> {
    fill(stage, all).await?;
    let (mut starts, mut lists, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    let user = stage.user.clone();
    for round in 0..ROUNDS {
        eprintln!("{all} keys: start {} of {ROUNDS} …", round + 1);
        let watch = Stopwatch::start();
        let found = list::<WireGuardKey>(&user).await?;
        let peers = list::<WireGuardPeer>(&user).await?;
        let listed = watch.elapsed().as_secs_f64();
        ensure!(
            (found, peers) == (all, all),
            "there are {found} keys and {peers} peers"
        );
        let audit = stage.audit();
        let operator = Operator::start(stage, &[]).await?;
        let started = operator.start.as_secs_f64();
        operator.idle().await?;
        wait::pass(REST).await;
        let resident = operator.resident()?;
        // Otherwise the bare client's writes were not the operator's, and nothing that was compared was alike.
        let writes = audit.writes()?;
        ensure!(
            writes.of_keys == 0,
            "the operator writes after its start: {:?}",
            writes.all
        );
        operator.stop().await?;
        eprintln!(
            "  ready after {started:.2} s, list {listed:.2} s, {:.1} MiB",
            resident / 1_048_576.0
        );
        starts.push(started);
        lists.push(listed);
        sizes.push(resident);
    }
    let name = |what: &str| format!("{all} keys: {what}");
    let ratios: Vec<f64> = starts.iter().zip(&lists).map(|(a, b)| a / b).collect();
    figures.add(&name("start until ready"), median(starts), "s", "");
    figures.add(&name("a bare list of keys and peers"), median(lists), "s", "");
    figures.add(
        &name("start until ready, to a bare list"),
        median(ratios),
        "ratio",
        "<= 2",
    );
    let held = (median(sizes) - empty) / number(all);
    figures.add(
        "the operator's memory without a key",
        empty / 1_048_576.0,
        "MiB",
        "",
    );
    figures.add(&name("memory of a key"), held, "B", "<= 400");
    Ok(())
}

/// Adds published keys with their peers, as fast as they can be written.
async fn fill(stage: &mut Stage, all: usize) -> Result<()> {
    let mut copier = copier(stage).await?;
    // Nobody looks at these writes.
    copier.speak_through(stage.user.clone());
    while stage.keys < all {
        let count = LOT.min(all - stage.keys);
        eprintln!("{all} keys: {} are there …", stage.keys);
        let namespace = format!("fill-{}", stage.keys);
        stage.make_namespace(&namespace).await?;
        let first = stage.number(count)?;
        let made = keys::make_all(&stage.user, &namespace, bare::POOL, first, count).await?;
        copier.serve_all(made, AT_ONCE).await?;
    }
    Ok(())
}

/// Lists a kind page by page and reads it whole, as any client does; how many objects there are.
async fn list<K>(client: &Client) -> Result<usize>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let objects: Api<K> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut count = 0;
    loop {
        let page = objects.list(&params).await.context("failed to list")?;
        count += page.items.len();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(count),
        }
    }
}
