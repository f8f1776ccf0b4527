//! A hostile client: sources, headers and messages that no kernel of a client would send. None gets anywhere, and nothing
//! that comes back tells an address of the node.

mod cases;
mod traces;
mod tunnel;
mod watch;

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{bed::INTERFACE, node, packet::Read, surroundings::NODE, wait};

use crate::egress::stage::without_tables;
use cases::{Bare, Case, Who};
use watch::Hostile;

/// What a theme makes of the parties.
type Theme = fn(&Who) -> Result<Vec<Case>>;

/// The theme whose packets the kernel keeps for a while.
const FRAGMENTS: &str = "fragments";

/// Every case, by theme. A session lasts for as long as one takes.
const THEMES: [(&str, Theme); 6] = [
    ("sources", cases::sources),
    ("destinations", cases::destinations),
    (FRAGMENTS, cases::fragments),
    ("headers", cases::headers),
    ("control messages", cases::control),
    ("broken packets", cases::broken),
];

#[tokio::test]
async fn hostile_packets_get_nowhere_and_are_not_answered() -> Result<()> {
    let mut hostile = Hostile::start().await?;
    // Its links have made sure of their addresses by then.
    wait::pass(LOOKED_FOR).await;
    let before = node::fingerprint(&hostile.bed.gateway, &["cv0"], Some("culvert-"))?;
    let (mut sent, mut wrong) = (0, Vec::new());
    for (theme, cases) in THEMES {
        hostile.tunnel.shake_hands().await?;
        for case in cases(&hostile.who)? {
            let became = hostile.becomes(&case).await?;
            sent += 1;
            if !became.is_empty() {
                wrong.push(format!("{theme}: {}: {}", case.name, became.join("; ")));
            }
        }
        if theme == FRAGMENTS {
            let (v4, v6) = hostile.who.gateway;
            let told = [
                format!("came back from {v4}: ICMP 11/1"),
                format!("came back from {v6}: ICMP 3/1"),
            ];
            let mut late = hostile.given_up().await?;
            late.retain(|what| !told.contains(what));
            wrong.extend(late.into_iter().map(|what| format!("{theme}, later: {what}")));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {sent} got through:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // Nobody has told the node another way to anywhere.
    let after = node::fingerprint(&hostile.bed.gateway, &["cv0"], Some("culvert-"))?;
    ensure!(
        before == after,
        "the node has changed:\n{}",
        node::difference(&before, &after)
    );
    println!("counted: hostile packets: refused {sent} of {sent}");

    hostile.bed.kill_agent()?;
    without_tables(&hostile.bed.gateway)?;
    let (mut passed, mut wrong) = (0, Vec::new());
    for (theme, cases) in THEMES {
        hostile.tunnel.shake_hands().await?;
        for case in cases(&hostile.who)? {
            let became = hostile.becomes(&case).await?;
            let passes = if became.is_empty() {
                Bare::Nothing
            } else {
                Bare::Passes
            };
            passed += usize::from(passes == Bare::Passes);
            if passes != case.bare {
                wrong.push(format!("{theme}: {}: {}", case.name, became.join("; ")));
            }
        }
        if theme == FRAGMENTS {
            hostile.given_up().await?;
        }
    }
    ensure!(
        wrong.is_empty(),
        "without the table it is otherwise:\n{}",
        wrong.join("\n")
    );
    println!(
        "counted: hostile packets: without the table {passed} of {sent} get through, and the kernel refuses the others"
    );
    hostile.bed.start_agent()?;
    hostile.bed.finish().await
}

/// Longer than the kernel looks for a neighbour that is not there.
const LOOKED_FOR: Duration = Duration::from_secs(5);

#[tokio::test]
async fn hostile_traces_show_no_address_of_the_node() -> Result<()> {
    let mut hostile = Hostile::start().await?;
    let gateway = &hostile.bed.gateway;
    gateway.ip(&["link", "set", "up0", "mtu", "1280"])?;
    gateway.ip(&["route", "add", "unreachable", "203.0.114.0/24"])?;
    gateway.ip(&["route", "add", "unreachable", "2001:db8:f00e::/48"])?;
    let own: Vec<IpAddr> = NODE
        .iter()
        .map(|address| address.parse())
        .collect::<Result<_, _>>()?;
    let mut told = Vec::new();
    for trace in traces::all(&hostile.who)? {
        hostile.tunnel.received()?;
        hostile.tunnel.send(&trace.packet)?;
        wait::pass(LOOKED_FOR).await;
        let mut sources = Vec::new();
        for packet in hostile.tunnel.received()? {
            sources.push(Read::packet(&packet).context("no packet")?.from);
            // It quotes what it is about, as the client had sent it.
            let shown = own.iter().find(|address| holds(&packet, **address));
            ensure!(
                shown.is_none(),
                "{}: the node tells its address {shown:?}",
                trace.name
            );
        }
        if let Some(from) = trace.from {
            ensure!(
                sources == [from],
                "{}: {from} has to tell, not {sources:?}",
                trace.name
            );
        } else {
            let (v4, v6) = hostile.who.gateway;
            let others = sources
                .iter()
                .find(|source| **source != IpAddr::from(v4) && **source != IpAddr::from(v6));
            ensure!(others.is_none(), "{}: {others:?} tells", trace.name);
        }
        told.push(format!("{} {sources:?}", trace.name));
    }
    println!(
        "counted: traces: {} packets, no address of the node; {}",
        told.len(),
        told.join(", ")
    );
    hostile.bed.finish().await
}

/// Whether an address is anywhere in a packet.
fn holds(packet: &[u8], address: IpAddr) -> bool {
    let octets = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    packet.windows(octets.len()).any(|window| window == octets)
}

#[tokio::test]
async fn hostile_sources_are_refused_also_where_wireguard_takes_them() -> Result<()> {
    let mut hostile = Hostile::start().await?;
    hostile.bed.kill_agent()?;
    let peer = hostile.mallory.public_key.clone();
    // What nobody repairs any more.
    let widen = [
        "wg",
        "set",
        INTERFACE,
        "peer",
        &peer,
        "allowed-ips",
        "0.0.0.0/0,::/0",
    ];
    hostile.bed.gateway.run(&widen)?;
    let (v4, v6) = hostile.who.other;
    let of_pools = [
        "10.64.77.77".to_owned(),
        "fd64:cafe:1::77".to_owned(),
        v4.to_string(),
        v6.to_string(),
    ];
    let mut cases = cases::sources(&hostile.who)?;
    // Which client has which address of the pools is WireGuard's to know.
    cases.retain(|case| {
        !of_pools
            .iter()
            .any(|address| case.name == format!("source {address}"))
    });
    for case in &cases {
        let became = hostile.becomes(case).await?;
        ensure!(became.is_empty(), "{}: {}", case.name, became.join("; "));
    }
    without_tables(&hostile.bed.gateway)?;
    hostile.tunnel.shake_hands().await?;
    let mut passed = 0;
    for case in &cases {
        passed += usize::from(!hostile.becomes(case).await?.is_empty());
    }
    // The others are the node's own, or nobody's.
    ensure!(
        passed >= cases.len() / 2,
        "without the table {passed} of {} get through",
        cases.len()
    );
    println!(
        "counted: foreign sources: refused {0} of {0}, of which without the table {passed} get through",
        cases.len()
    );
    hostile.bed.start_agent()?;
    hostile.bed.finish().await
}
