//! A pool of one family: what is of the other goes nowhere.

use std::{net::IpAddr, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed,
    bed::SOON,
    client::GATEWAY_INSIDE,
    leaks::Canary,
    netns,
    probe::{self, Answer, Kind, Probe},
    wait,
};
use serde_json::json;

use super::stage::{self, Laptop, NAME, keys};

/// Somebody far from the laptop, behind its router.
const FAR: [&str; 2] = ["203.0.113.77", "2001:db8:f00d:77::77"];

/// The ranges of the examples' pool.
const RANGES: [(&str, &str); 2] = [("ipv4", "10.64.0.0/11"), ("ipv6", "fd64:cafe:1::/64")];

/// A gateway whose pool has one family, and a laptop with routes of both.
async fn begin(family: usize) -> Result<(Bed, Laptop)> {
    let mut bed = Bed::empty().await?;
    let (name, cidr) = RANGES[family];
    let pool = json!({
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "IPPool",
        "metadata": { "name": "default" },
        "spec": { name: { "cidr": cidr } },
    });
    bed.apply(&pool.to_string()).await?;
    bed.apply_example("gateway.yaml").await?;
    bed.start_operator()?;
    bed.start_agent()?;
    bed.serving().await?;
    stage::short_overlap(&bed).await?;
    let laptop = Laptop::new(&bed).await?;
    laptop.namespace.address("eth1", "2001:db8:114::2/64")?;
    for words in [
        &["addr", "add", "2001:db8:114::1/64", "dev", "home0", "nodad"][..],
        &["addr", "add", FAR[0], "dev", "lo"],
        &["addr", "add", FAR[1], "dev", "lo"],
    ] {
        netns::run(Command::new("ip").args(words))?;
    }
    laptop
        .namespace
        .ip(&["route", "add", "default", "via", "2001:db8:114::1"])?;
    Ok((bed, laptop))
}

/// Whether somebody far is reached past the tunnel.
fn is_reached(laptop: &Laptop, family: usize) -> Result<bool> {
    let probe = Probe::new("far", FAR[family].parse()?, Kind::Echo);
    let sent = probe::send(&laptop.namespace, &[probe], Duration::from_secs(2))?;
    Ok(sent.iter().any(|sent| sent.answer == Answer::Yes))
}

fn ping(laptop: &Laptop, family: usize) -> Result<()> {
    let words = ["ping", "-c1", "-W5", GATEWAY_INSIDE[family]];
    laptop.namespace.run(&words).map(drop)
}

/// The address of the key, the only one that it has.
async fn address(bed: &Bed) -> Result<IpAddr> {
    let key = bed.key(NAME).await?;
    ensure!(key.addresses.len() == 1, "{:?}", key.addresses);
    bed.secret(Canary::public_key(
        "a public key of the laptop",
        &key.public_key.context("no public key")?,
    )?);
    let address = key.addresses[0].parse()?;
    bed.secret(Canary::tunnel("a tunnel address of the laptop", address));
    Ok(address)
}

async fn other_family_goes_nowhere(family: usize) -> Result<()> {
    let (bed, mut laptop) = begin(family).await?;
    let other = 1 - family;
    ensure!(
        is_reached(&laptop, 0)? && is_reached(&laptop, 1)?,
        "far is not reached before"
    );
    laptop.connect().await?;
    let first = address(&bed).await?;
    ensure!(first.is_ipv6() == (family == 1), "an address of the other family");
    ping(&laptop, family)?;
    ensure!(!is_reached(&laptop, other)?, "it goes past the tunnel");
    let far = laptop.namespace.ip(&["route", "get", FAR[family]])?;
    ensure!(far.contains("dev cvc0"), "{far}");
    // After a rotation as well, and after a kill.
    laptop.rotate()?;
    ping(&laptop, family)?;
    ensure!(address(&bed).await? != first);
    ensure!(
        !is_reached(&laptop, other)?,
        "it goes past the tunnel after a rotation"
    );
    wait::until("the old tunnel to go", stage::OVERLAP + SOON, || async {
        Ok((laptop.tunnels()?.len() == 1).then_some(()))
    })
    .await?;
    ping(&laptop, family)?;
    laptop.kill()?;
    ensure!(
        !is_reached(&laptop, other)?,
        "it goes past the tunnel after a kill"
    );
    laptop.connect().await?;
    ping(&laptop, family)?;
    laptop.disconnect().await?;
    laptop.is_clean()?;
    ensure!(keys(&bed).await?.is_empty(), "the key is left");
    ensure!(is_reached(&laptop, other)?, "something is still closed");
    bed.finish().await
}

#[tokio::test]
async fn connect_with_a_pool_of_ipv4_lets_no_ipv6_past_the_tunnel() -> Result<()> {
    other_family_goes_nowhere(0).await
}

#[tokio::test]
async fn connect_with_a_pool_of_ipv6_lets_no_ipv4_past_the_tunnel() -> Result<()> {
    other_family_goes_nowhere(1).await
}
