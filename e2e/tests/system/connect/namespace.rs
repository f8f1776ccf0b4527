//! A tunnel in a network namespace of its own.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use culvert_e2e::{Bed, Namespace, bed::SOON, client::GATEWAY_INSIDE, netns, wait};

use super::{
    stage::{self, Laptop, NAME, identity, keys, resolv_conf, resolvers, start},
    userspace,
};

/// The namespace.
const BLUE: &str = "blue";

/// What programs there are shown by `ip netns exec`.
const RESOLVERS: &str = "/etc/netns/blue/resolv.conf";

/// A laptop that has not connected yet, and the namespace.
async fn begin(flags: &[String]) -> Result<(Bed, Laptop, Namespace)> {
    let (bed, mut laptop) = start().await?;
    resolvers(&bed, &["10.64.0.1"]).await?;
    laptop.flags = [&["--netns".to_owned(), BLUE.to_owned()], flags].concat();
    Ok((bed, laptop, Namespace::new(BLUE)?))
}

fn ping(blue: &Namespace) -> Result<()> {
    for target in GATEWAY_INSIDE {
        blue.run(&["ping", "-c1", "-W5", target])?;
    }
    Ok(())
}

async fn resolved() -> Result<()> {
    wait::until("the namespace's resolvers", SOON, || async {
        Ok(fs::read_to_string(RESOLVERS)?.contains("10.64.0.1").then_some(()))
    })
    .await
}

/// Ensures that nothing is left there, nor outside, nor in the API.
async fn left_nothing(bed: &Bed, laptop: &Laptop, blue: &Namespace) -> Result<()> {
    let links = stage::tunnels(blue)?;
    ensure!(links.is_empty(), "links are left: {links:?}");
    for family in ["-4", "-6"] {
        let routes = blue.ip(&[family, "route", "list", "table", "all"])?;
        ensure!(!routes.contains("cvc") && !routes.contains("default"), "{routes}");
    }
    ensure!(!Path::new(RESOLVERS).exists(), "its resolvers are left");
    laptop.is_clean()?;
    Laptop::left_no_file()?;
    ensure!(keys(bed).await?.is_empty(), "the key is left");
    Ok(())
}

/// From the first key to the last, with a rotation in between.
async fn leaves_the_machine_alone(flags: &[String]) -> Result<()> {
    let (bed, mut laptop, blue) = begin(flags).await?;
    let before = resolv_conf();
    laptop.connect().await?;
    let first = identity(&bed).await?;
    laptop.is_clean()?;
    ensure!(stage::tunnels(&blue)? == ["cvc0"]);
    ping(&blue)?;
    resolved().await?;
    laptop.rotate()?;
    let second = identity(&bed).await?;
    ensure!(first != second);
    ping(&blue)?;
    ensure!(resolv_conf() == before, "names outside are resolved otherwise");
    laptop.disconnect().await?;
    left_nothing(&bed, &laptop, &blue).await?;
    bed.finish().await
}

#[tokio::test]
async fn connect_in_a_namespace_leaves_the_machine_alone() -> Result<()> {
    leaves_the_machine_alone(&[]).await
}

#[tokio::test]
async fn connect_in_a_namespace_by_wireguard_go_leaves_the_machine_alone() -> Result<()> {
    leaves_the_machine_alone(&userspace()?).await?;
    stage::no_wireguard_go().await
}

/// Killed, the tunnel works on; the next run goes on with it, and one with `--down` takes it away.
async fn killed_leaves_a_tunnel_that_goes_on_and_goes(flags: &[String]) -> Result<()> {
    let (bed, mut laptop, blue) = begin(flags).await?;
    laptop.connect().await?;
    let first = identity(&bed).await?;
    resolved().await?;
    laptop.kill()?;
    ping(&blue)?;
    laptop.connect().await?;
    ensure!(identity(&bed).await? == first, "it has begun anew");
    ping(&blue)?;
    laptop.rotate()?;
    ping(&blue)?;
    // With both tunnels there.
    laptop.kill()?;
    ping(&blue)?;
    let words = [
        &["connect".to_owned(), NAME.to_owned(), "--down".to_owned()],
        &laptop.flags[..],
    ]
    .concat();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    netns::run(&mut laptop.plugin(&words)?)?;
    left_nothing(&bed, &laptop, &blue).await?;
    bed.finish().await
}

#[tokio::test]
async fn connect_in_a_namespace_killed_leaves_a_tunnel_that_goes_on_and_goes() -> Result<()> {
    killed_leaves_a_tunnel_that_goes_on_and_goes(&[]).await
}

#[tokio::test]
async fn connect_in_a_namespace_by_wireguard_go_killed_leaves_a_tunnel_that_goes_on_and_goes() -> Result<()> {
    killed_leaves_a_tunnel_that_goes_on_and_goes(&userspace()?).await?;
    stage::no_wireguard_go().await
}
