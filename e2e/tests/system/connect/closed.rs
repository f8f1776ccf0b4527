//! What the kill switch does when something else happens: to others' packets, with its table flushed, after an end by error.

use anyhow::{Result, ensure};
use culvert_e2e::{Namespace, bed::SOON, client::GATEWAY_INSIDE, netns, router::forward, wait};
use std::process::Command;

use super::{
    guard::{answered, neighbours, probes},
    stage::{Laptop, NAME, identity, keys, start},
};

/// Something behind the laptop, as a container is, whose packets the laptop forwards under its own address in the tunnel.
fn container(laptop: &Laptop) -> Result<Namespace> {
    let inside = Namespace::new("container")?;
    netns::wire((&laptop.namespace, "pod0"), (&inside, "eth0"))?;
    forward(&laptop.namespace)?;
    for (near, far, net, back) in [
        ("10.88.0.1/24", "10.88.0.2/24", "10.88.0.0/24", "203.0.114.2"),
        ("fd88::1/64", "fd88::2/64", "fd88::/64", "2001:db8:114::2"),
    ] {
        laptop.namespace.address("pod0", near)?;
        inside.address("eth0", far)?;
        let (via, _) = near.split_once('/').unwrap_or((near, ""));
        inside.ip(&["route", "add", "default", "via", via])?;
        netns::run(Command::new("ip").args(["route", "add", net, "via", back]))?;
    }
    let hidden = "table inet hidden { chain out { type nat hook postrouting priority 100; oifname \"cvc*\" masquerade; }; }";
    laptop.namespace.run(&["nft", hidden])?;
    Ok(inside)
}

#[tokio::test]
async fn connect_kill_switch_lets_containers_out_through_the_tunnel_alone() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    neighbours(&laptop)?;
    let inside = container(&laptop)?;
    let all = probes()?.len();
    ensure!(answered(&inside)? == all, "not everything gets out before");
    laptop.flags = vec!["--kill-switch".to_owned()];
    laptop.connect().await?;
    let _ = identity(&bed).await?;
    let through_the_tunnel = || -> Result<()> {
        for target in GATEWAY_INSIDE {
            inside.run(&["ping", "-c1", "-W5", target])?;
        }
        Ok(())
    };
    through_the_tunnel()?;
    ensure!(answered(&inside)? == 0, "something gets out");
    laptop.kill()?;
    ensure!(answered(&inside)? == 0, "something gets out after a kill");
    through_the_tunnel()?;
    netns::run(&mut laptop.plugin(&["connect", NAME, "--down"])?)?;
    ensure!(answered(&inside)? == all, "something is still closed");
    println!("counted: connect: {all} forwarded probes of both families, none past the kill switch");
    bed.finish().await
}

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
