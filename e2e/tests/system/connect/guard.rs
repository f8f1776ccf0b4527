//! The kill switch, and another gateway when one falls silent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Namespace,
    bed::SOON,
    client::{GATEWAY_INSIDE, Pinging},
    netns,
    probe::{self, Answer, Kind, Probe},
    wait,
};
use std::process::Command;

use super::stage::{Laptop, NAME, SECOND, answer_in_root, identity, keys, second_gateway, start};

/// Who is around the laptop, in both families.
pub const NEIGHBOURS: [&str; 2] = ["203.0.114.1", "2001:db8:114::1"];

/// What would leave outside of the tunnel: to the neighbour and beyond it, names' resolvers among it.
pub fn probes() -> Result<Vec<Probe>> {
    let mut probes = Vec::new();
    for address in NEIGHBOURS {
        let address = address.parse()?;
        for kind in [
            Kind::Echo,
            Kind::Tcp(5380),
            Kind::Udp(5353),
            Kind::Tcp(53),
            Kind::Udp(53),
        ] {
            probes.push(Probe::new("the neighbour", address, kind));
        }
    }
    Ok(probes)
}

/// How many of them are answered.
pub fn answered(from: &Namespace) -> Result<usize> {
    let sent = probe::send(from, &probes()?, Duration::from_secs(2))?;
    Ok(sent.iter().filter(|sent| sent.answer == Answer::Yes).count())
}

/// Has the neighbours answer.
pub fn neighbours(laptop: &Laptop) -> Result<()> {
    laptop.namespace.address("eth1", "2001:db8:114::2/64")?;
    netns::run(Command::new("ip").args(["addr", "add", "2001:db8:114::1/64", "dev", "home0", "nodad"]))?;
    for ports in [(5380, 5353), (53, 53)] {
        answer_in_root(&NEIGHBOURS.map(|address| (address, ports.0, ports.1)))?;
    }
    Ok(())
}

#[tokio::test]
async fn connect_kill_switch_lets_nothing_out_of_the_tunnel() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    neighbours(&laptop)?;
    let all = probes()?.len();
    ensure!(
        answered(&laptop.namespace)? == all,
        "not everything gets out before"
    );

    laptop.flags = vec!["--kill-switch".to_owned()];
    laptop.connect().await?;
    laptop.ping()?;
    ensure!(answered(&laptop.namespace)? == 0, "something gets out");
    // The apiserver is reached all the same.
    let known = identity(&bed).await?;
    laptop.rotate()?;
    ensure!(identity(&bed).await? != known);
    ensure!(
        answered(&laptop.namespace)? == 0,
        "something gets out after a rotation"
    );

    // Who is killed leaves it closed, and a tunnel that works.
    laptop.kill()?;
    laptop.ping()?;
    ensure!(
        answered(&laptop.namespace)? == 0,
        "something gets out after a kill"
    );

    netns::run(&mut laptop.plugin(&["connect", NAME, "--down"])?)?;
    laptop.is_clean()?;
    ensure!(keys(&bed).await?.is_empty(), "the key is left");
    ensure!(answered(&laptop.namespace)? == all, "something is still closed");
    println!("counted: connect: {all} probes of both families, none past the kill switch");
    bed.finish().await
}

/// Where the tunnel's gateway is.
fn carrier(laptop: &Laptop) -> Result<String> {
    let text = laptop.namespace.run(&["wg", "show", "cvc0", "endpoints"])?;
    let endpoint = text.split_whitespace().nth(1).context("no gateway")?;
    Ok(endpoint.to_owned())
}

#[tokio::test]
async fn connect_turns_to_another_gateway_when_one_falls_silent() -> Result<()> {
    let (bed, mut laptop) = start().await?;
    let (_place, second) = second_gateway(&bed, &laptop).await?;
    laptop.flags = vec!["--gateway".to_owned(), SECOND.to_owned()];
    laptop.connect().await?;
    ensure!(
        carrier(&laptop)?.starts_with("198.52.100.1:"),
        "the gateway is not the one asked for"
    );
    laptop.disconnect().await?;

    laptop.flags.clear();
    laptop.connect().await?;
    laptop.ping()?;
    let known = identity(&bed).await?;
    let first = carrier(&laptop)?;
    let link = if first.starts_with("198.52.100.1:") {
        "eth2"
    } else {
        "eth0"
    };
    let pinging = Pinging::start(&laptop.namespace, GATEWAY_INSIDE[0], "1", 90)?;
    laptop
        .namespace
        .run(&["tc", "qdisc", "add", "dev", link, "root", "netem", "loss", "100%"])?;
    wait::until("another gateway", Duration::from_secs(40), || async {
        let now = carrier(&laptop)?;
        Ok((now != first).then_some(()))
    })
    .await?;
    laptop.ping()?;
    let answered = pinging.answered().await?;
    ensure!(answered >= 60, "only {answered} of 90 pings were answered");
    println!("counted: connect: fail-over, {answered} of 90 pings answered");
    ensure!(identity(&bed).await? == known, "the key is another");
    laptop.disconnect().await?;
    laptop.is_clean()?;
    second.terminate(SOON).await?;
    bed.finish().await
}
