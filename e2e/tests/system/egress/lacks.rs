//! What keeps clients' packets on the node although Culvert's table lets them pass: the gateway says so, and takes it back
//! as soon as it is mended.

use std::net::{Ipv6Addr, SocketAddrV6};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Namespace,
    bed::{DEFAULT, SOON, said},
    packet::{V6, icmpv6, protocol},
    surroundings::UPLINK,
    wait,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};

use super::stage::{Stage, allowed};

/// A router that nobody has told the node of.
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);

/// Another firewall, which has never heard of the gateway.
const OTHER: &str = "
table inet other {
    chain forward { type filter hook forward priority 10; policy drop; }
}";

async fn says(stage: &Stage, wanted: &str) -> Result<()> {
    wait::until(&format!("the gateway to say {wanted}"), SOON, || async {
        let said = said(&stage.bed.gateway_node(DEFAULT).await?.conditions, "EgressReady");
        ensure!(said == wanted, "it says `{said}`");
        Ok(Some(()))
    })
    .await
}

/// Does something to the node, which is to be told by this reason, and undoes it.
async fn told(stage: &Stage, reason: &str, harm: &str, mend: &str) -> Result<()> {
    let gateway = &stage.bed.gateway;
    gateway.run(&["sh", "-c", harm])?;
    says(stage, &format!("False {reason}")).await?;
    gateway.run(&["sh", "-c", mend])?;
    says(stage, "True Ready").await?;
    stage.passes(&allowed()?).await
}

/// Has the router tell the node that it is the way to everywhere.
fn advertise(from: &Namespace) -> Result<()> {
    // Hops, flags, and for half an hour; what else it could say it leaves open.
    const BODY: [u8; 12] = [64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let node: Ipv6Addr = UPLINK[1].parse()?;
    let mut packet = V6::new(
        ROUTER,
        node,
        protocol::ICMPV6,
        icmpv6(ROUTER, node, 134, 0, &BODY),
    );
    // It has come over no other router.
    packet.hops = 255;
    from.within(|| {
        let raw = Some(ipproto::RAW);
        let socket = socket_with(AddressFamily::INET6, SocketType::RAW, SocketFlags::CLOEXEC, raw)?;
        let to = SocketAddrV6::new(node, 0, 0, 0);
        sendto(&socket, &packet.bytes(), SendFlags::empty(), &to).context("failed to send")?;
        Ok(())
    })
}

#[tokio::test]
async fn egress_node_that_does_not_forward_is_told_until_it_does() -> Result<()> {
    let stage = Stage::start().await?;
    says(&stage, "True Ready").await?;
    for setting in ["ipv4/conf/up0/forwarding", "ipv6/conf/all/forwarding"] {
        let set = |value: u8| format!("echo {value} >/proc/sys/net/{setting}");
        told(&stage, "ForwardingDisabled", &set(0), &set(1))
            .await
            .context(setting)?;
    }
    stage.bed.finish().await
}

#[tokio::test]
async fn egress_node_that_will_not_hear_its_router_again_is_told_until_it_does() -> Result<()> {
    let stage = Stage::start().await?;
    let gateway = &stage.bed.gateway;
    let set = |value: u8| format!("echo {value} >/proc/sys/net/ipv6/conf/up0/accept_ra");
    gateway.run(&["sh", "-c", &set(2)])?;
    advertise(&stage.around.internet)?;
    wait::until("the route of the advertisement", SOON, || async {
        let routes = gateway.ip(&["-6", "route", "show", "default", "proto", "ra"])?;
        Ok(routes.contains(&ROUTER.to_string()).then_some(()))
    })
    .await?;
    // Nobody is there: what passes has the other one.
    let away = format!("ip -6 route del default via {ROUTER} dev up0");
    says(&stage, "True Ready").await?;
    gateway.run(&["sh", "-c", &set(1)])?;
    says(&stage, "False RouterAdvertisements").await?;
    gateway.run(&["sh", "-c", &set(2)])?;
    says(&stage, "True Ready").await?;
    // A route by hand is nobody's to renew.
    told(&stage, "RouterAdvertisements", &set(1), &away).await?;
    stage.bed.finish().await
}

#[tokio::test]
async fn egress_another_firewall_that_drops_what_is_forwarded_is_told_until_it_is_gone() -> Result<()> {
    let stage = Stage::start().await?;
    says(&stage, "True Ready").await?;
    let gateway = &stage.bed.gateway;
    gateway.run(&["nft", OTHER])?;
    says(&stage, "False OtherFirewall").await?;
    // It is true.
    let mut outside = allowed()?;
    outside.retain(|probe| probe.name != "gateway");
    let reached = stage.around.reached(&stage.laptop.namespace, &outside).await?;
    ensure!(reached.is_empty(), "it lets pass:\n{}", reached.join("\n"));
    told(&stage, "OtherFirewall", "true", "nft delete table inet other").await?;
    stage.bed.finish().await
}
