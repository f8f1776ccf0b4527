//! How large the segments of a connection through the tunnel are: what both ends say is cut to what fits, as nobody tells
//! them of the tunnel.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use culvert_e2e::{
    packet::{Read, protocol, segment_size},
    probe::Kind,
    surroundings::NEAR,
    wire::Wire,
};

use super::stage::{Stage, each};

/// `spec.mtu` of a gateway that says nothing of it, and that of every other link here, in bytes.
const MTU: u16 = 1_380;
const WIDE: u16 = 1_500;

/// IP header and TCP header of each family.
const HEADERS: [u16; 2] = [20 + 20, 40 + 20];

/// What those say who open a connection on the wire, or take one: to or from `host`, and each size once.
fn sizes(packets: &[Vec<u8>], host: IpAddr) -> Vec<(bool, u16)> {
    let mut sizes: Vec<_> = packets
        .iter()
        .filter_map(|packet| Read::packet(packet))
        .filter(|read| read.protocol == protocol::TCP && [read.from, read.to].contains(&host))
        .filter_map(|read| Some((read.to == host, segment_size(&read.payload)?)))
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[tokio::test]
async fn egress_segments_fit_the_tunnel_both_ways() -> Result<()> {
    const FROM: bool = false;
    const TO: bool = true;
    let stage = Stage::start().await?;
    let (laptop, internet) = (&stage.laptop.namespace, &stage.around.internet);
    let gateway = stage.bed.gateway.ip(&["link", "show", "cv0"])?;
    ensure!(gateway.contains(&format!("mtu {MTU} ")), "it is {gateway}");
    // A client that believes its tunnel to be as wide as all else.
    laptop.ip(&["link", "set", "wg0", "mtu", &WIDE.to_string()])?;
    for (address, headers) in NEAR.iter().zip(HEADERS) {
        let host: IpAddr = address.parse()?;
        let (inside, outside) = (Wire::tap(laptop)?, Wire::tap(internet)?);
        let probes = each("host of the internet", &[address], &[Kind::Tcp(80)])?;
        stage.around.answered(laptop, &probes).await?;
        let (fits, wide) = (MTU - headers, WIDE - headers);
        let seen = sizes(&outside.packets()?, host);
        ensure!(
            seen == [(FROM, wide), (TO, fits)],
            "at {host} are seen {seen:?}, not {fits} and {wide}"
        );
        // Beside what is sealed.
        let seen = sizes(&inside.packets()?, host);
        ensure!(
            seen == [(FROM, fits), (TO, wide)],
            "at the client are seen {seen:?}, not {wide} and {fits}"
        );
        println!("counted: segments with {host}: {wide} bytes said, {fits} heard, both ways");
    }
    stage.bed.finish().await
}
