//! What the kill switch does when something else happens: with its table flushed, after an end by error.

use anyhow::{Result, ensure};
use culvert_e2e::{bed::SOON, netns, wait};

use super::{
    guard::{answered, neighbours, probes},
    stage::{Laptop, NAME, identity, keys, start},
};

#[tokio::test]
async fn connect_closes_again_what_somebody_has_flushed() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    neighbours(&laptop)?;
    laptop.flags = vec!["--kill-switch".to_owned()];
    laptop.connect().await?;
    let _ = identity(&bed).await?;
    for _ in 0..3 {
        laptop.namespace.run(&["nft", "flush", "ruleset"])?;
        wait::until("the kill switch", SOON, || async {
            let tables = laptop.namespace.run(&["nft", "list", "tables"])?;
            Ok(tables.contains("culvert-connect").then_some(()))
        })
        .await?;
        ensure!(answered(&laptop.namespace)? == 0, "something gets out");
        laptop.ping()?;
    }
    laptop.disconnect().await?;
    laptop.is_clean()?;
    ensure!(answered(&laptop.namespace)? == probes()?.len());
    bed.finish().await
}

#[tokio::test]
async fn connect_that_cannot_go_on_stays_closed_until_somebody_opens_it() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    neighbours(&laptop)?;
    laptop.flags = vec!["--kill-switch".to_owned()];
    laptop.connect().await?;
    let _ = identity(&bed).await?;
    bed.kubectl(&["delete", "wireguardkey", NAME]).await?;
    let status = laptop.ended().await?;
    let said = laptop.output();
    ensure!(
        status == 4 && said.contains("the kill switch stays") && said.contains("was revoked"),
        "{status}: {said}"
    );
    ensure!(laptop.tunnels()?.is_empty(), "the tunnel is left");
    ensure!(answered(&laptop.namespace)? == 0, "something gets out");
    laptop.kill()?;
    netns::run(&mut laptop.plugin(&["connect", NAME, "--down"])?)?;
    laptop.is_clean()?;
    Laptop::left_no_file()?;
    ensure!(
        answered(&laptop.namespace)? == probes()?.len(),
        "something is still closed"
    );
    ensure!(keys(&bed).await?.is_empty());
    bed.finish().await
}
