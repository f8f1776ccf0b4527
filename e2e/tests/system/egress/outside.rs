//! Who is not in the tunnel finds neither the gateway's tunnel address nor a client, and clients do not find each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Somebody on the uplink who believes that a tunnel address is on its link, and so asks for its hardware address.
fn ask_neighbours(stage: &Stage, address: &str) -> Result<Wire> {
    let here = &stage.around.internet;
    let wire = Wire::tap(here)?;
    here.ip(&["route", "replace", address, "dev", "eth0"])?;
    // Who has asked in vain a moment ago does not ask again yet.
    here.ip(&["neigh", "flush", "to", address, "dev", "eth0"])?;
    // Nobody answers, which is no failure.
    let _ = send(
        here,
        &each("tunnel address", &[address], &[Kind::Echo])?,
        PATIENCE,
    )?;
    here.ip(&["route", "del", address, "dev", "eth0"])?;
    Ok(wire)
}

/// Whether the gateway tells the hardware address of an IPv4 tunnel address to who asks its links for it.
fn tells_by_arp(stage: &Stage, address: Ipv4Addr) -> Result<bool> {
    let messages = ask_neighbours(stage, &address.to_string())?.arp()?;
    let kind = |wanted: u8| {
        let about = messages.iter().filter(|message| message.get(7) == Some(&wanted));
        let place = if wanted == 1 { 24..28 } else { 14..18 };
        about
            .filter(|message| message.get(place.clone()) == Some(&address.octets()))
            .count()
    };
    ensure!(kind(1) > 0, "nobody has asked for {address}");
    Ok(kind(2) > 0)
}

/// The same of an IPv6 one.
fn tells_by_discovery(stage: &Stage, address: Ipv6Addr) -> Result<bool> {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    let messages = ask_neighbours(stage, &address.to_string())?.discovery()?;
    let kind = |wanted: u8| {
        let about = messages.iter().filter(|message| message[0] == wanted);
        about
            .filter(|message| message.get(8..24) == Some(&address.octets()))
            .count()
    };
    ensure!(kind(SOLICITATION) > 0, "nobody has asked for {address}");
    Ok(kind(ADVERTISEMENT) > 0)
}

/// Those tunnel addresses, the gateway's own and a client's, of which the gateway tells a neighbour.
fn told_neighbours(stage: &Stage) -> Result<Vec<IpAddr>> {
    let mut all = stage.phone.addresses.clone();
    for address in GATEWAY_INSIDE {
        all.push(address.parse()?);
    }
    let mut told = Vec::new();
    for address in all {
        let tells = match address {
            IpAddr::V4(address) => tells_by_arp(stage, address)?,
            IpAddr::V6(address) => tells_by_discovery(stage, address)?,
        };
        if tells {
            told.push(address);
        }
    }
    Ok(told)
}

#[tokio::test]
async fn egress_nobody_outside_reaches_the_gateways_tunnel_address_or_a_client() -> Result<()> {
    let mut stage = Stage::start().await?;
    know_the_way(&stage)?;
    let (asked, answered) = answers(&stage)?;
    ensure!(answered == 0, "{answered} of {asked} are answered");
    let told = told_neighbours(&stage)?;
    ensure!(told.is_empty(), "the gateway tells a neighbour of {told:?}");
    // Who was spoken to may answer, and no more than that.
    stage.phone.ping(1)?;
    stage.bed.kill_agent()?;
    ensure!(answers(&stage)?.1 == 0, "a dead agent's table lets somebody in");
    let told = told_neighbours(&stage)?;
    ensure!(
        told.is_empty(),
        "a dead agent's table tells a neighbour of {told:?}"
    );
    println!("counted: from outside: refused {0} of {0}", 2 * asked);

    without_tables(&stage.bed.gateway)?;
    let (_, answered) = answers(&stage)?;
    ensure!(
        answered == asked,
        "without the table {answered} of {asked} are answered: they prove nothing"
    );
    // IPv6 answers for what a link has and nothing else, unless it is told to.
    let gateway = &stage.bed.gateway;
    let all: [IpAddr; 2] = [GATEWAY_INSIDE[0].parse()?, GATEWAY_INSIDE[1].parse()?];
    let told = told_neighbours(&stage)?;
    ensure!(
        told == all[..1],
        "without the table a neighbour is told of {told:?}"
    );
    gateway.run(&["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/up0/proxy_ndp"])?;
    gateway.ip(&["neigh", "add", "proxy", GATEWAY_INSIDE[1], "dev", "up0"])?;
    let told = told_neighbours(&stage)?;
    ensure!(told == all, "it is told to tell, and tells of {told:?}");
    stage.bed.start_agent().context("the agent")?;
    stage.bed.finish().await
}
