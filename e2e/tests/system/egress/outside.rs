//! Who is not in the tunnel finds neither the gateway's tunnel address nor a client, and clients do not find each other.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Namespace,
    client::GATEWAY_INSIDE,
    probe::{Answer, Kind, send},
    surroundings::{DAEMONS, PATIENCE, UPLINK},
    wire::Wire,
};

use super::stage::{METRICS, Stage, each, without_tables};

/// Who asks: one on the uplink, one on the node's other link.
const OUTSIDERS: [(&str, [&str; 2]); 2] = [
    ("internet", UPLINK),
    ("cluster", ["10.244.1.1", "fd00:10:244:1::1"]),
];

fn outsider<'a>(stage: &'a Stage, name: &str) -> &'a Namespace {
    if name == "internet" {
        &stage.around.internet
    } else {
        &stage.around.cluster
    }
}

/// Sends whatever is for the pools' ranges to the node, as somebody on its links can.
fn know_the_way(stage: &Stage) -> Result<()> {
    for (name, [v4, v6]) in OUTSIDERS {
        let here = outsider(stage, name);
        here.ip(&["route", "add", "10.64.0.0/11", "via", v4])?;
        here.ip(&["route", "add", "fd64:cafe:1::/64", "via", v6])?;
    }
    Ok(())
}

/// How many of all probes are answered: at the gateway's tunnel addresses and at a client's.
fn answers(stage: &Stage) -> Result<(usize, usize)> {
    let mut kinds = DAEMONS.to_vec();
    kinds.extend([Kind::Tcp(METRICS), Kind::Echo]);
    // A daemon at every address answers datagrams from the one that its route chooses.
    kinds.retain(|kind| !matches!(kind, Kind::Udp(_)));
    let probes = [each("gateway", &GATEWAY_INSIDE, &kinds)?, stage.neighbours()].concat();
    let (mut asked, mut answered) = (0, 0);
    for (name, _) in OUTSIDERS {
        let sent = send(outsider(stage, name), &probes, PATIENCE)?;
        asked += sent.len();
        answered += sent.iter().filter(|sent| sent.answer != Answer::Nothing).count();
    }
    Ok((asked, answered))
}

/// Whether the gateway answers who asks its links for the hardware address of its tunnel address.
fn tells_neighbours(stage: &Stage) -> Result<bool> {
    let here = &stage.around.internet;
    let wire = Wire::tap(here)?;
    here.ip(&["route", "replace", "10.64.0.1/32", "dev", "eth0"])?;
    // Who has asked in vain a moment ago does not ask again yet.
    here.ip(&["neigh", "flush", "to", "10.64.0.1", "dev", "eth0"])?;
    // Nobody answers, which is no failure.
    let _ = send(
        here,
        &each("gateway", &GATEWAY_INSIDE[..1], &[Kind::Echo])?,
        PATIENCE,
    )?;
    here.ip(&["route", "del", "10.64.0.1/32", "dev", "eth0"])?;
    let messages = wire.arp()?;
    let kind = |wanted: u8| {
        let about = messages.iter().filter(|message| message.get(7) == Some(&wanted));
        let place = if wanted == 1 { 24..28 } else { 14..18 };
        about
            .filter(|message| message.get(place.clone()) == Some(&[10, 64, 0, 1]))
            .count()
    };
    ensure!(kind(1) > 0, "nobody has asked");
    Ok(kind(2) > 0)
}

#[tokio::test]
async fn egress_nobody_outside_reaches_the_gateways_tunnel_address_or_a_client() -> Result<()> {
    let mut stage = Stage::start().await?;
    know_the_way(&stage)?;
    let (asked, answered) = answers(&stage)?;
    ensure!(answered == 0, "{answered} of {asked} are answered");
    ensure!(
        !tells_neighbours(&stage)?,
        "the gateway tells a neighbour of its tunnel address"
    );
    // Who was spoken to may answer, and no more than that.
    stage.phone.ping(1)?;
    stage.bed.kill_agent()?;
    ensure!(answers(&stage)?.1 == 0, "a dead agent's table lets somebody in");
    ensure!(
        !tells_neighbours(&stage)?,
        "a dead agent's table tells a neighbour"
    );
    println!("counted: from outside: refused {0} of {0}", 2 * asked);

    without_tables(&stage.bed.gateway)?;
    let (_, answered) = answers(&stage)?;
    ensure!(
        answered == asked,
        "without the table {answered} of {asked} are answered: they prove nothing"
    );
    ensure!(
        tells_neighbours(&stage)?,
        "without the table a neighbour is not told either"
    );
    stage.bed.start_agent().context("the agent")?;
    stage.bed.finish().await
}
