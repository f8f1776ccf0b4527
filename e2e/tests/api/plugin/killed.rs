//! Killed at any step, the next run goes on where it was, and no key is left behind.

use anyhow::{Result, ensure};
use culvert_e2e::{Fault, Program, process::Signal, wait};
use serde_json::Value;

use super::{Site, public_half};
use crate::fixture::SOON;

/// Starts a command whose first write is held at the proxy, and kills it there.
async fn killed_at(site: &Site, proxy: &culvert_e2e::FaultProxy, fault: Fault, words: &[&str]) -> Result<()> {
    let struck = proxy.arm(fault);
    let program = Program::start("killed", &site.command(words)?, site.home.path())?;
    struck.wait(SOON).await?;
    program.kill()?;
    proxy.arm(Fault::None);
    Ok(())
}

/// The only key there is, and its private half is the only one here.
async fn settled(site: &Site) -> Result<Value> {
    let keys = site.api.list("wireguardkeys").await?;
    ensure!(keys.len() == 1, "{} keys", keys.len());
    let files = site.files()?;
    ensure!(files.len() == 1, "{files:?}");
    let private = site.private_key("laptop.key")?;
    ensure!(
        keys[0]["spec"]["publicKey"] == *public_half(&private)?,
        "the private key is another's"
    );
    ensure!(
        keys[0]["status"]["publicKey"] == keys[0]["spec"]["publicKey"],
        "it is not served"
    );
    Ok(keys[0].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_killed_in_the_making_of_a_key_goes_on_with_it() -> Result<()> {
    let mut site = Site::start().await?;
    let proxy = site.behind_proxy().await?;
    let new = ["key", "new", "laptop"];
    for fault in [Fault::HoldBefore(1), Fault::HoldAfter(1)] {
        killed_at(&site, &proxy, fault, &new).await?;
        let kept = site.private_key("laptop.next")?;
        site.run(&new).await?.well()?;
        settled(&site).await?;
        ensure!(site.private_key("laptop.key")? == kept, "another pair was drawn");
        site.run(&["key", "revoke", "laptop"]).await?.well()?;
    }
    // A name that is taken leaves nothing.
    site.run(&new).await?.well()?;
    std::fs::remove_file(&site.files()?[0])?;
    let said = site.run(&new).await?;
    ensure!(
        said.code == 6 && said.err.contains("the name is taken"),
        "{said:?}"
    );
    ensure!(site.files()?.is_empty());
    site.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_killed_in_a_rotation_goes_on_where_it_was() -> Result<()> {
    let mut site = Site::start().await?;
    let proxy = site.behind_proxy().await?;
    site.overlap("0s").await?;
    site.run(&["key", "new", "laptop"]).await?.well()?;
    let rotate = ["key", "rotate", "laptop"];
    // Before and after the cluster was told.
    for fault in [Fault::HoldBefore(1), Fault::HoldAfter(1)] {
        let before = settled(&site).await?;
        killed_at(&site, &proxy, fault, &rotate).await?;
        let next = site.private_key("laptop.next")?;
        site.run(&rotate).await?.well()?;
        let after = settled(&site).await?;
        ensure!(
            after["spec"]["publicKey"] == *public_half(&next)?,
            "another pair was drawn"
        );
        ensure!(after["spec"]["publicKey"] != before["spec"]["publicKey"]);
        let peers = site.has_peers(1).await?;
        ensure!(peers[0]["spec"]["publicKey"] == after["spec"]["publicKey"]);
    }
    // While it waits for the gateways: the operator is stopped.
    let operator = site.operator.take();
    let signal = |signal| {
        operator
            .as_ref()
            .map_or(Ok(()), |operator| operator.signal(signal))
    };
    signal(Signal::STOP)?;
    let before = site.key("laptop").await?;
    let program = Program::start("waiting", &site.command(&rotate)?, site.home.path())?;
    wait::until("the cluster to be told", SOON, || async {
        let key = site.key("laptop").await?;
        Ok((key["spec"]["publicKey"] != before["spec"]["publicKey"]).then_some(()))
    })
    .await?;
    // The old key works as before.
    let peers = site.peers().await?;
    ensure!(
        peers
            .iter()
            .any(|peer| peer["spec"]["publicKey"] == before["spec"]["publicKey"])
    );
    program.kill()?;
    signal(Signal::CONT)?;
    site.run(&rotate).await?.well()?;
    settled(&site).await?;
    site.has_peers(1).await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_rotation_that_fails_leaves_the_old_key_working() -> Result<()> {
    let mut site = Site::start().await?;
    let proxy = site.behind_proxy().await?;
    site.run(&["key", "new", "laptop"]).await?.well()?;
    let before = settled(&site).await?;
    // Nobody answers the write.
    proxy.arm(Fault::Answer(1, http::StatusCode::SERVICE_UNAVAILABLE));
    let said = site.run(&["key", "rotate", "laptop"]).await?;
    ensure!(
        said.code == 1 && said.err.contains("run the command again"),
        "{said:?}"
    );
    // No operator gives addresses in time.
    let operator = site.operator.take();
    let signal = |signal| {
        operator
            .as_ref()
            .map_or(Ok(()), |operator| operator.signal(signal))
    };
    signal(Signal::STOP)?;
    let said = site.run(&["key", "rotate", "laptop", "--wait", "1s"]).await?;
    ensure!(
        said.code == 5 && said.err.contains("the old key works as before"),
        "{said:?}"
    );
    let old = &before["spec"]["publicKey"];
    ensure!(
        site.peers()
            .await?
            .iter()
            .any(|peer| peer["spec"]["publicKey"] == *old)
    );
    ensure!(site.private_key("laptop.key").and_then(|key| public_half(&key))? == *old);
    // And is what the cluster asks for, so it works on whatever the gateways do.
    ensure!(site.key("laptop").await?["spec"]["publicKey"] == *old);
    ensure!(site.private_key("laptop.next").is_err(), "the new pair is kept");
    signal(Signal::CONT)?;
    site.run(&["key", "rotate", "laptop"]).await?.well()?;
    settled(&site).await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_that_rotates_for_ever_switches_when_late_gateways_have_the_key() -> Result<()> {
    let mut site = Site::start().await?;
    site.run(&["key", "new", "laptop"]).await?.well()?;
    let before = settled(&site).await?;
    let operator = site.operator.take();
    let signal = |signal| {
        operator
            .as_ref()
            .map_or(Ok(()), |operator| operator.signal(signal))
    };
    signal(Signal::STOP)?;
    // So old that it is due, and nobody gives addresses in time.
    let path = site.files()?.remove(0);
    std::fs::File::options()
        .write(true)
        .open(&path)?
        .set_modified(std::time::SystemTime::UNIX_EPOCH)?;
    let words = ["key", "rotate", "laptop", "--every", "1d", "--wait", "1s"];
    let program = Program::start("for-ever", &site.command(&words)?, site.home.path())?;
    wait::until("the failure to be told", SOON, || async {
        Ok(program.output()?.contains("tried again in 5m").then_some(()))
    })
    .await?;
    ensure!(site.private_key("laptop.key").and_then(|key| public_half(&key))? == before["spec"]["publicKey"]);
    // Long before it would try again.
    signal(Signal::CONT)?;
    wait::until("the switch", SOON, || async {
        let now = settled(&site).await?;
        Ok((now["spec"]["publicKey"] != before["spec"]["publicKey"]).then_some(()))
    })
    .await?;
    program.kill()?;
    site.stop().await
}
