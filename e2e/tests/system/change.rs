//! A gateway's spec is changed while clients talk.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed,
    bed::{DEFAULT, INTERFACE, SOON, said},
    client::SECOND_POOL,
    wait,
};

use crate::fixture::with_client;

async fn patch(bed: &Bed, spec: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{spec}}}"#);
    bed.kubectl(&["patch", "wireguardgateway/default", "--type=merge", "-p", &patch])
        .await
        .map(drop)
}

/// Waits until `ip` or `wg` shows what was asked for.
async fn shows(bed: &Bed, words: &[&str], wanted: &str, is_there: bool) -> Result<()> {
    wait::until(&format!("`{wanted}` to be {is_there}"), SOON, || async {
        let text = bed.gateway.run(words)?;
        Ok((text.contains(wanted) == is_there).then_some(()))
    })
    .await
}

#[tokio::test]
async fn change_of_port_mtu_and_pools_cuts_no_session() -> Result<()> {
    let (bed, laptop) = with_client("laptop", 77).await?;
    let (session, _) = bed.session().await?;
    let before = bed.peer(&laptop.public_key)?.context("the peer")?;
    let pinging = laptop.start_pinging("0.1", 300)?;
    let link = ["ip", "-o", "link", "show", "dev", INTERFACE];
    patch(&bed, r#"{"mtu":1380}"#).await?;
    shows(&bed, &link, " mtu 1380 ", true).await?;

    // A further pool, and back.
    bed.kubectl_with(&["apply", "-f", "-"], Some(&SECOND_POOL.manifest()))
        .await?;
    let addresses = ["ip", "-o", "addr", "show", "dev", INTERFACE];
    // The node has a way to a part of it already: nobody takes that, and the first pool is served meanwhile.
    let part = ["route", "add", "10.130.0.0/16", "dev", "br0"];
    bed.gateway.ip(&part)?;
    patch(&bed, r#"{"poolRefs":[{"name":"default"},{"name":"second"}]}"#).await?;
    wait::until("the conflict to be said", SOON, || async {
        let status = bed.gateway_node(DEFAULT).await?;
        let is_said = said(&status.conditions, "Ready") == "False Conflict" && status.pools == ["default"];
        Ok(is_said.then_some(()))
    })
    .await?;
    shows(&bed, &addresses, " 10.128.0.1/11 ", false).await?;
    bed.gateway
        .ip(&part.map(|word| if word == "add" { "del" } else { word }))?;
    shows(&bed, &addresses, " 10.128.0.1/11 ", true).await?;
    shows(&bed, &addresses, " fd64:cafe:2::1/64 ", true).await?;
    patch(&bed, r#"{"poolRefs":[{"name":"default"}]}"#).await?;
    shows(&bed, &addresses, " 10.128.0.1/11 ", false).await?;
    shows(&bed, &addresses, " 10.64.0.1/11 ", true).await?;
    pinging.lost_none().await?;

    // Nobody can follow to another port without a word; but the session that was made by way of the old one goes on.
    patch(&bed, r#"{"listenPort":51830}"#).await?;
    shows(&bed, &["wg", "show", INTERFACE, "listen-port"], "51830", true).await?;
    let (key, endpoint) = wait::until("the new port to be published", SOON, || async {
        let (key, endpoint) = bed.gateway_for_clients().await?;
        Ok(endpoint.ends_with(":51830").then_some((key, endpoint)))
    })
    .await?;
    laptop
        .namespace
        .run(&["wg", "set", "wg0", "peer", &key, "endpoint", &endpoint])?;
    laptop.ping(1)?;
    let after = bed.peer(&laptop.public_key)?.context("the peer")?;
    ensure!(
        after.latest_handshake == before.latest_handshake,
        "the session is another one"
    );
    ensure!(
        after.received > before.received + 300 * 100,
        "the peer is another one"
    );
    ensure!(bed.session().await?.0 == session, "the interface was made anew");

    // A longer memory is the admin's to ask for, and holds from then on.
    patch(&bed, r#"{"purge":{"handshakeWindow":"10m"}}"#).await?;
    shows(&bed, &link, "/600", true).await?;
    wait::pass(Duration::from_secs(400)).await;
    ensure!(
        laptop.endpoint_at(&bed)?.is_some(),
        "forgotten before the window is over"
    );
    wait::pass(Duration::from_secs(210)).await;
    ensure!(laptop.endpoint_at(&bed)?.is_none(), "remembered too long");
    bed.finish().await
}
