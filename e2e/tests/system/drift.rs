//! What somebody else changes on the node is put right within one tick, and what is somebody else's is left alone.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Client, Namespace,
    bed::{INTERFACE, SOON},
    node, wait,
};
use std::time::Duration;

use crate::fixture::{ONE_TICK, connected, private_key, with_client};

/// Everything of the gateway's interface that is the gateway's: key, port and mark, the link, the addresses.
fn shape(bed: &Bed) -> Result<String> {
    let settings = bed.gateway.run(&["wg", "show", INTERFACE, "dump"])?;
    let settings = settings.lines().next().context("`wg` printed nothing")?;
    let link = bed.gateway.ip(&["-o", "link", "show", "dev", INTERFACE])?;
    let link = link.split_once(": ").map_or("", |(_, rest)| rest);
    let mut addresses: Vec<String> = bed
        .gateway
        .ip(&["-o", "addr", "show", "dev", INTERFACE, "scope", "global"])?
        .lines()
        .map(|line| {
            line.split_whitespace()
                .skip(2)
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    addresses.sort_unstable();
    Ok(format!("{settings}\n{}\n{}", link.trim(), addresses.join("\n")))
}

/// The peers as they are to be: key and allowed IPs.
fn peers(bed: &Bed) -> Result<Vec<(String, Vec<String>)>> {
    let mut peers: Vec<_> = bed
        .peers()?
        .into_iter()
        .map(|peer| {
            let mut allowed = peer.allowed_ips;
            allowed.sort_unstable();
            (peer.public_key, allowed)
        })
        .collect();
    peers.sort_unstable();
    Ok(peers)
}

/// Waits one tick for a state to be what it was.
async fn repaired<T: PartialEq + std::fmt::Debug>(
    words: &[&str],
    before: &T,
    read: impl Fn() -> Result<T>,
) -> Result<()> {
    wait::until("the repair", ONE_TICK, || async {
        let now = read()?;
        ensure!(now == *before, "it is {now:?}");
        Ok(Some(()))
    })
    .await
    .with_context(|| format!("after {words:?}"))
}

#[tokio::test]
async fn drift_of_key_port_address_mtu_and_mark_is_repaired_within_a_tick() -> Result<()> {
    let (bed, laptop) = with_client("laptop", 77).await?;
    let key = private_key(&bed, INTERFACE)?;
    let before = shape(&bed)?;
    let set_key = "wg genkey >/run/other-key && wg set cv0 private-key /run/other-key";
    for words in [
        &["sh", "-c", set_key][..],
        &["wg", "set", INTERFACE, "private-key", "/dev/null"],
        &["wg", "set", INTERFACE, "listen-port", "4444"],
        &["wg", "set", INTERFACE, "fwmark", "0x99"],
        &["ip", "addr", "del", "10.64.0.1/11", "dev", INTERFACE],
        &["ip", "addr", "del", "fd64:cafe:1::1/64", "dev", INTERFACE],
        &["ip", "addr", "add", "10.64.7.7/24", "dev", INTERFACE],
        &["ip", "link", "set", INTERFACE, "mtu", "1300"],
        &["ip", "link", "set", INTERFACE, "down"],
    ] {
        bed.gateway.run(words)?;
        ensure!(shape(&bed)? != before, "{words:?} changed nothing");
        repaired(words, &before, || shape(&bed)).await?;
    }
    // The mark in the alias: its window is the API's, whatever somebody writes.
    let link = bed.gateway.ip(&["-d", "link", "show", "dev", INTERFACE])?;
    let alias = link
        .lines()
        .find_map(|line| line.trim().strip_prefix("alias "))
        .context("the interface has no alias")?
        .to_owned();
    let (mark, _) = alias.rsplit_once('/').context("the alias has no window")?;
    let longer = format!("{mark}/86400");
    let words = ["ip", "link", "set", INTERFACE, "alias", &longer];
    bed.gateway.run(&words)?;
    repaired(&words, &before, || shape(&bed)).await?;
    ensure!(
        private_key(&bed, INTERFACE)? == key,
        "the gateway has another key"
    );
    // Another key ends every session: the client notices after 15 s without an answer and makes another.
    laptop.recover()?;
    bed.finish().await
}

#[tokio::test]
async fn drift_of_a_peer_is_repaired_within_a_tick() -> Result<()> {
    let (bed, laptop) = with_client("laptop", 77).await?;
    let phone = connected(&bed, "phone", 78).await?;
    let before = peers(&bed)?;
    ensure!(before.len() == 2, "there are {} peers", before.len());
    let pinging = phone.start_pinging("1", 40)?;
    let foreign = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let (own, other) = (
        format!("{}/32", laptop.addresses[0]),
        format!("{}/128", laptop.addresses[1]),
    );
    for words in [
        &[
            "wg",
            "set",
            INTERFACE,
            "peer",
            foreign,
            "allowed-ips",
            "10.64.9.9/32",
        ][..],
        &["wg", "set", INTERFACE, "peer", foreign, "allowed-ips", &own],
        &["wg", "set", INTERFACE, "peer", foreign],
        &["wg", "set", INTERFACE, "peer", &laptop.public_key, "remove"],
        &[
            "wg",
            "set",
            INTERFACE,
            "peer",
            &laptop.public_key,
            "allowed-ips",
            "",
        ],
        &[
            "wg",
            "set",
            INTERFACE,
            "peer",
            &laptop.public_key,
            "allowed-ips",
            "10.64.9.9/32",
        ],
        &[
            "wg",
            "set",
            INTERFACE,
            "peer",
            &laptop.public_key,
            "allowed-ips",
            &other,
        ],
    ] {
        bed.gateway.run(words)?;
        ensure!(peers(&bed)? != before, "{words:?} changed nothing");
        repaired(words, &before, || peers(&bed)).await?;
    }
    // Who is not concerned does not notice.
    pinging.lost_none().await?;
    laptop.recover()?;
    bed.finish().await
}

#[tokio::test]
async fn drift_renamed_interface_keeps_its_sessions() -> Result<()> {
    let (bed, laptop) = with_client("laptop", 77).await?;
    let before = bed.peer(&laptop.public_key)?.context("the peer")?;
    let pinging = laptop.start_pinging("0.1", 200)?;
    wait::pass(Duration::from_secs(2)).await;
    let words = ["ip", "link", "set", INTERFACE, "name", "mine"];
    bed.gateway.run(&words)?;
    repaired(&words, &1, || Ok(bed.peers()?.len())).await?;
    pinging.lost_none().await?;
    let after = bed.peer(&laptop.public_key)?.context("the peer")?;
    ensure!(
        after.latest_handshake == before.latest_handshake,
        "the session is another one"
    );
    ensure!(
        after.received > before.received + 200 * 100,
        "the peer is another one"
    );
    let links = bed.gateway.run(&["wg", "show", "interfaces"])?;
    ensure!(links.trim() == INTERFACE, "there are `{}`", links.trim());
    bed.finish().await
}

#[tokio::test]
async fn drift_interface_that_is_deleted_is_made_again_with_its_peers() -> Result<()> {
    let (bed, laptop) = with_client("laptop", 77).await?;
    let (before, wanted) = (shape(&bed)?, peers(&bed)?);
    let (session, _) = bed.session().await?;
    let words = ["ip", "link", "del", INTERFACE];
    bed.gateway.run(&words)?;
    repaired(&words, &wanted, || peers(&bed)).await?;
    let settings = |text: &str| text.lines().next().map(str::to_owned);
    ensure!(
        settings(&shape(&bed)?) == settings(&before),
        "key or port are others"
    );
    // What was programmed into the old one says nothing about the new one.
    bed.caught_up_after(&session).await?;
    laptop.recover()?;
    bed.finish().await
}

#[tokio::test]
async fn drift_interface_that_is_carried_away_is_deleted_there_and_made_again() -> Result<()> {
    let (bed, laptop) = with_client("laptop", 77).await?;
    let wanted = peers(&bed)?;
    let elsewhere = Namespace::new("elsewhere")?;
    let words = ["ip", "link", "set", INTERFACE, "netns", elsewhere.name()];
    bed.gateway.run(&words)?;
    repaired(&words, &wanted, || peers(&bed)).await?;
    wait::until("the carried interface to go", SOON, || async {
        let left = elsewhere.run(&["wg", "show", "interfaces"])?;
        ensure!(left.trim().is_empty(), "there is `{}`", left.trim());
        Ok(Some(()))
    })
    .await?;
    laptop.recover()?;
    bed.finish().await
}

/// Links, peers, addresses, routes and tables that are none of Culvert's.
fn furnish(gateway: &Namespace) -> Result<()> {
    for words in [
        &["ip", "link", "add", "wg7", "type", "wireguard"][..],
        &[
            "sh",
            "-c",
            "wg genkey >/run/wg7 && wg set wg7 private-key /run/wg7 listen-port 4500",
        ],
        &[
            "wg",
            "set",
            "wg7",
            "peer",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
            "endpoint",
            "198.51.100.200:4500",
            "allowed-ips",
            "10.9.0.0/24,10.65.0.0/16",
        ],
        &["ip", "addr", "add", "10.9.0.1/24", "dev", "wg7"],
        &["ip", "link", "set", "wg7", "alias", "somebody's"],
        &["ip", "link", "set", "wg7", "up"],
        // A mark of ours on a link of another kind makes it no link of ours.
        &["ip", "link", "add", "other0", "type", "dummy"],
        &["ip", "link", "set", "other0", "alias", "culvert.dev/somebody/180"],
        &["ip", "addr", "add", "203.0.113.9/24", "dev", "other0"],
        &["ip", "link", "set", "other0", "up"],
        &["ip", "route", "add", "192.0.2.128/25", "dev", "other0"],
        &["ip", "rule", "add", "from", "203.0.113.0/24", "table", "100"],
        &["nft", "add", "table", "inet", "somebody"],
        &[
            "nft",
            "add",
            "chain",
            "inet",
            "somebody",
            "in",
            "{ type filter hook input priority 5 ; }",
        ],
        &[
            "nft", "add", "rule", "inet", "somebody", "in", "udp", "dport", "9", "drop",
        ],
    ] {
        gateway.run(words)?;
    }
    Ok(())
}

#[tokio::test]
async fn drift_leaves_the_rest_of_the_host_as_it_was() -> Result<()> {
    let mut bed = Bed::empty().await?;
    furnish(&bed.gateway)?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    // Link-local addresses take a moment.
    wait::pass(Duration::from_secs(5)).await;
    let before = node::fingerprint(&bed.gateway, &[INTERFACE], None)?;
    ensure!(
        before.contains("198.51.100.200:4500") && before.contains("udp dport 9"),
        "there is nothing to leave alone"
    );
    bed.serve_examples().await?;
    let compare = |when: &str, tables: Option<&str>| -> Result<()> {
        let now = node::fingerprint(&bed.gateway, &[INTERFACE], tables)?;
        let difference = node::difference(&before, &now);
        ensure!(now == before, "{when} the host is another one:\n{difference}");
        Ok(())
    };
    let same = |when: &str| compare(when, Some("culvert-"));
    laptop.register(&bed).await?;
    laptop.connect(&bed).await?;
    laptop.ping(5)?;
    same("with a client")?;
    let whole = || Ok((shape(&bed)?, peers(&bed)?));
    let wanted = whole()?;
    for words in [
        &["ip", "link", "del", INTERFACE][..],
        &["ip", "link", "set", INTERFACE, "down"],
        &["wg", "set", INTERFACE, "listen-port", "4444"],
    ] {
        bed.gateway.run(words)?;
        repaired(words, &wanted, whole).await?;
        same(&format!("after {words:?}"))?;
    }
    wait::pass(Duration::from_mins(6)).await;
    same("after a purge")?;
    bed.kubectl(&["label", "node", "gateway-1", "culvert.dev/gateway-"])
        .await?;
    wait::until("the interface to go", SOON, || async {
        Ok(bed
            .gateway
            .ip(&["link", "show", INTERFACE])
            .is_err()
            .then_some(()))
    })
    .await?;
    // Its table goes right after its interface.
    let left = || async { Ok(compare("after the gateway has left", None).ok()) };
    if wait::until("the host to be as before", SOON, left).await.is_err() {
        compare("after the gateway has left", None)?;
    }
    bed.finish().await
}
