//! What becomes of a hostile client's packets: on the links behind the node, at another client, on the node itself, and
//! what comes back.

use std::time::Duration;

use anyhow::{Context, Result};
use culvert_e2e::{
    Bed, Client,
    packet::{Read, protocol},
    surroundings::{Surroundings, seen},
    wait,
    wire::Wire,
};

use super::{
    cases::{Case, Who, pair},
    tunnel::Tunnel,
};
use crate::egress::stage::{answering, surrounded};

/// Longer than the kernel waits for the rest of a packet: 30 s, IPv6 60 s (`net.ipv4.ipfrag_time`, `net.ipv6.ip6frag_time`).
const REASSEMBLY: Duration = Duration::from_secs(61);

/// For a packet to get wherever it gets.
const MOMENT: Duration = Duration::from_millis(200);

/// Counts what the node itself takes from the gateway's interface, after every other table.
const COUNT: &str = "
table inet watch
delete table inet watch
table inet watch {
    counter taken { }
    chain input { type filter hook input priority 32000; iifname cv0 counter name taken; }
}";

/// A hostile client, its gateway, and everybody who could see what it sends.
pub struct Hostile {
    /// Culvert.
    pub bed: Bed,

    /// The hostile client: a key and a place, and no interface.
    pub mallory: Client,

    /// Its tunnel.
    pub tunnel: Tunnel,

    /// Who is who.
    pub who: Who,

    wires: Vec<(&'static str, Wire)>,
    phone: (Client, Wire),
    _around: Surroundings,
    _answers: culvert_e2e::listen::Listeners,
}

impl Hostile {
    /// Starts everything.
    pub async fn start() -> Result<Self> {
        let (bed, around) = surrounded().await?;
        let (phone, answers) = answering(&bed).await?;
        let mut mallory = Client::new(&bed, "mallory", 77)?;
        mallory.register(&bed).await?;
        let tunnel = Tunnel::open(&bed, &mallory).await?;
        let inside = mallory.pool.inside;
        let who = Who {
            own: pair(&mallory.addresses)?,
            other: pair(&phone.addresses)?,
            gateway: (inside[0].parse()?, inside[1].parse()?),
        };
        let hostile = Self {
            wires: around.wires()?,
            phone: {
                let wire = Wire::tap(&phone.namespace)?;
                (phone, wire)
            },
            bed,
            mallory,
            tunnel,
            who,
            _around: around,
            _answers: answers,
        };
        hostile.count()?;
        Ok(hostile)
    }

    /// Counts on the node, from now on.
    pub fn count(&self) -> Result<()> {
        self.bed.gateway.run(&["nft", COUNT]).map(drop)
    }

    /// Sends a case and gives what came of it, wherever it was seen.
    pub async fn becomes(&mut self, case: &Case) -> Result<Vec<String>> {
        self.seen().context("before anything was sent")?;
        for packet in &case.packets {
            self.tunnel.send(packet).with_context(|| case.name.clone())?;
        }
        wait::pass(MOMENT).await;
        self.seen().with_context(|| case.name.clone())
    }

    /// Waits until the kernel has given up what never came whole, and gives what became of that: it tells whoever sent it,
    /// and another case is not to be blamed.
    pub async fn given_up(&mut self) -> Result<Vec<String>> {
        wait::pass(REASSEMBLY).await;
        self.seen()
    }

    fn seen(&mut self) -> Result<Vec<String>> {
        let mut found = seen(&self.wires)?;
        let (phone, wire) = &self.phone;
        for read in wire.packets()?.iter().filter_map(|packet| Read::packet(packet)) {
            // What is sealed goes between outer addresses.
            if phone.addresses.contains(&read.to) {
                found.push(format!(
                    "at another client: from {}, protocol {}",
                    read.from, read.protocol
                ));
            }
        }
        let text = self.bed.gateway.run(&["nft", "reset counter inet watch taken"])?;
        let count = text
            .split_once("packets ")
            .and_then(|(_, rest)| rest.split_whitespace().next());
        if count.context("nft shows no counter")? != "0" {
            found.push("taken by the node itself".to_owned());
        }
        for packet in self.tunnel.received()? {
            found.push(match Read::packet(&packet) {
                Some(read) => format!("came back from {}: {}", read.from, told(&read)),
                None => "something came back that is no packet".to_owned(),
            });
        }
        Ok(found)
    }
}

/// A packet for people: what an ICMP message is matters.
fn told(read: &Read) -> String {
    match (read.protocol, read.payload.as_slice()) {
        (protocol::ICMP | protocol::ICMPV6, [kind, code, ..]) => format!("ICMP {kind}/{code}"),
        _ => format!("protocol {}", read.protocol),
    }
}
